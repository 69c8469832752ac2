# SPDX-License-Identifier: GPL-2.0-or-later
"""The checker that decides whether a kernel was content."""

import pytest
from ksmvm.kernel_log import SPLAT_LINES, find_splats, is_emulator_oops

SPLATS = [
    "WARNING: CPU: 0 PID: 89 at /mnt/ksm.c:4 f+0x2c/0x1000 [ksm]",
    "WARNING: possible circular locking dependency detected",
    "WARNING: suspicious RCU usage",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "BUG: Bad page map in process sh  pte:8000000012345067 pmd:012345067",
    "BUG: Bad rss-counter state mm:00000000abcdef type:MM_ANONPAGES val:1",
    "BUG: sleeping function called from invalid context at mm/ksm.c:1",
    "BUG: scheduling while atomic: ksmd/12/0x00000002",
    "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [ksmd:12]",
    "BUG ksm_rmap (Tainted: G    B): Objects remaining in ksm_rmap on __kmem_cache_shutdown()",
    "kernel BUG at /mnt/ksm.c:4!",
    "Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "Kernel panic - not syncing: Fatal exception",
    "BUG: KASAN: slab-use-after-free in ksm_scan+0x10/0x20 [ksm]",
    "UBSAN: array-index-out-of-bounds in /mnt/ksm.c:4:2",
    "INFO: task ksmd:12 blocked for more than 120 seconds.",
    "INFO: possible recursive locking detected",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
    "list_del corruption. prev->next should be ffff, but was eeee",
    "refcount_t: underflow; use-after-free.",
    "kmem_cache_destroy ksm_rmap: Slab cache still has objects when called from f+0x1/0x2",
    "WARNING: possible irq lock inversion dependency detected",
    "WARNING: inconsistent lock state",
    "WARNING: bad unlock balance detected!",
    "BUG: MAX_LOCKDEP_ENTRIES too low!",
    "BUG: MAX_LOCKDEP_CHAINS too low!",
    "turning off the locking correctness validator.",
    "lockdep: fixing up recursion, turning off",
    "INFO: lockdep is turned off.",
    "BUG: using smp_processor_id() in preemptible [00000000] code: ksmd/12",
    "kernel BUG at mm/page_table_check.c:104!",
    "ODEBUG: free active (active state 0) object: ffff88 object type: work_struct hint: f+0x0/0x10",
    "WARNING: CPU: 0 PID: 9 at lib/debugobjects.c:612 debug_print_object+0x1/0x2",
    "BUG: KASAN: vmalloc-out-of-bounds in ksm_scan+0x10/0x20 [ksm]",
    "page dumped because: VM_BUG_ON_PAGE(page_ref_count(page) == 0)",
    "mm/pgtable-generic.c:50: bad pmd 00000000abcd(80000000)",
    "swap_info_get: Bad swap offset entry 3ffffffff",
]
HARMLESS = [
    "ksm: loading out-of-tree module taints kernel.",
    "ksm: module verification failed: signature and/or required key missing - tainting kernel",
    "RAS: Correctable Errors collector initialized.",
    "kfence: initialized - using 2097152 bytes for 255 objects at 0x(____ptrval____)",
    "kmemleak: 0 new suspected memory leaks",
    # Of whose memory, its report says.
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "FAULT_INJECTION: forcing a failure.",
    "DEBUG: nothing to see here",
    "tsc: Unable to calibrate against PIT",
    "ACPI: possible address clash ignored",
    "page dumped because: unmovable page",
    "page dumped because: migration failure",
    "Out of memory: Killed process 12 (hog) total-vm:1kB",
    "test[77]: segfault at 0 ip 0000 sp 0000 error 6",
]


@pytest.mark.parametrize("line", SPLATS)
def test_a_complaint_is_found(line: str) -> None:
    log = f"<6>[    1.0] all is well\n<4>[    2.0] {line}\n<4>[    2.1] Call Trace:\n"
    assert find_splats(log) == [f"<4>[    2.0] {line}\n<4>[    2.1] Call Trace:"]


@pytest.mark.parametrize("line", SPLATS)
def test_a_complaint_on_the_console_has_no_priority(line: str) -> None:
    assert find_splats(f"[    2.0] {line}") == [f"[    2.0] {line}"]


@pytest.mark.parametrize("line", HARMLESS)
def test_other_lines_are_left_alone(line: str) -> None:
    assert find_splats(f"<6>[    1.0] {line}") == []


def test_userland_may_write_what_it_likes_into_the_log() -> None:
    # Facility 3 (daemon), priority 4: what systemd writes to /dev/kmsg.
    assert find_splats("<28>[    1.0] systemd[1]: WARNING: BUG: Oops") == []
    # Facility 0 is the kernel's own, whatever the priority.
    assert len(find_splats("<7>[    1.0] WARNING: it said")) == 1


def test_a_splat_ends_with_its_trace() -> None:
    log = "\n".join(["WARNING: one", "RIP: 0010:f", "---[ end trace 0000 ]---", "quiet", "WARNING: two"])
    assert find_splats(log) == [
        "WARNING: one\nRIP: 0010:f\n---[ end trace 0000 ]---",
        "WARNING: two",
    ]


def leak(frame: str) -> str:
    return (
        "unreferenced object 0xffff8880012a0000 (size 64):\n"
        '  comm "insmod", pid 55, jiffies 4294678\n'
        "  hex dump (first 8 bytes):\n"
        "    00 01 02 03 04 05 06 07  ........\n"
        "  backtrace (crc 0):\n"
        "    __kmalloc_cache_noprof+0x286/0x300\n"
        f"    {frame}\n"
        "    do_syscall_64+0xc1/0x1d0"
    )


@pytest.mark.parametrize("frame", ["ks_init+0x10/0x20 [ksm]", "0xffffffffc0201234"], ids=["loaded", "unloaded"])
def test_memory_that_a_module_lost_is_a_complaint(frame: str) -> None:
    log = f"<6>[    1.0] all is well\n{leak('vfs_open+0x1/0x2')}\n{leak(frame)}\n{leak(frame)}\n"
    assert find_splats(log) == [leak(frame)] * 2


def test_the_name_of_a_slab_cache_is_lost_by_the_kernel() -> None:
    created = "kobject_init_and_add+0xd2/0x160\n    sysfs_slab_add+0x190/0x1e0\n    0xffffffffc015c3ec"
    assert find_splats(leak(f"kobject_set_name_vargs+0x43/0x110\n    {created}")) == []
    assert len(find_splats(leak(created))) == 1


def test_a_module_that_does_not_go_is_a_complaint() -> None:
    line = "rmmod: can't unload module 'ksm': Resource temporarily unavailable"
    assert find_splats(f"<6>[    1.0] all is well\n{line}") == [line]


def test_memory_that_the_kernel_lost_is_not() -> None:
    assert find_splats(f"{leak('vfs_open+0x1/0x2')}\n<4>[    1.0] WARNING: odd") == ["<4>[    1.0] WARNING: odd"]


def test_a_splat_without_an_end_is_cut_short() -> None:
    lines = ["WARNING: one", *(f"line {number}" for number in range(SPLAT_LINES * 2))]
    assert find_splats("\n".join(lines)) == ["\n".join(lines[:SPLAT_LINES])]


INT3 = "[    0.5] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"


def test_the_emulators_own_oops_is_known() -> None:
    assert is_emulator_oops([f"{INT3}\n[    0.5] RIP: 0010:sched_clock_tick+0x5/0xc0", "more"])


@pytest.mark.parametrize(
    "splats",
    [
        [],
        [f"{INT3}\nRIP: 0010:ksm_scan+0x5/0xc0 [ksm]"],
        [INT3],
        ["WARNING: first", f"{INT3}\nRIP: 0010:sched_clock_tick+0x5/0xc0"],
        ["Oops: 0000 [#1]\nRIP: 0010:sched_clock_tick+0x5/0xc0"],
    ],
    ids=["none", "in our module", "nowhere", "not first", "another"],
)
def test_no_other_oops_is_blamed_on_the_emulator(splats: list) -> None:
    assert not is_emulator_oops(splats)
