# SPDX-License-Identifier: GPL-2.0-or-later
"""Find what a kernel complains of in its log."""

from __future__ import annotations

import re

# A line that matches begins a splat. Words of userland and of boot-time chatter must not match:
# "DEBUG" is no BUG, and the harmless "possible" of ACPI or PCI lines is no lockdep report.
SPLAT = re.compile(
    r"""
      \bWARNING:
    | \bBUG[:\ ]
    | \bkernel\ BUG\ at\b
    | \bOops\b
    | \bKernel\ panic\b
    | \bBad\ (page|rss-counter|swap)\b
    | \bbad\ p([mug4]d|te|age)\b
    | \bBad\ pagetable\b
    | \b(KASAN|KCSAN|KFENCE|KMSAN|UBSAN):
    | \bINFO:\ (task|possible|suspicious|trying\ to\ register|rcu|lockdep)
    | \blockdep:.*\bturning\ off\b
    | \bturning\ off\ the\ locking\ correctness\ validator\b
    | \bODEBUG:
    | \bpossible\ (circular|recursive|irq|deadlock|unsafe)
    | \brcu:?.*\bdetected\b.*\bstalls?\b
    | \bgeneral\ protection\ fault\b.*\[\#
    | \bunable\ to\ handle\b
    | \blist_(add|del)\ corruption\b
    | \brefcount_t:
    | \bSlab\ cache\ still\ has\ objects\b
    | \bObjects\ remaining\b
    | ^rmmod:
    | \bpage\ dumped\ because\b
    | \bdouble\ fault\b
    """,
    re.VERBOSE,
)
# What looks like a splat and is none: KFENCE announces itself at boot, and a block of memory that cannot
# be taken away tells which of its pages stood in the way.
HARMLESS = re.compile(
    r"\bkfence: initialized\b|\bpage dumped because: (unmovable page|isolation failed|migration failure)$"
)
# kmemleak's report of an object, which follows the log, and code in its trace of who allocated it: of a
# module, or bare, of one that was unloaded.
LEAK = re.compile(r"^unreferenced object ")
MODULE_CODE = re.compile(r"^ +(?:\S+ \[\w+\]|0x[0-9a-f]{16})$")
# Lost by core mm on a module's behalf: the name of a slab cache whose creation failed in sysfs (an allocation that
# was made to fail), which the kernel does not free (6.12).
KERNELS_OWN = re.compile(r"^ +kobject_set_name_vargs\+.*(?:\n.*)*?\n +sysfs_slab_add\+", re.MULTILINE)
# A raw record begins with <N>; N >> 3 is the facility, and the kernel's own is 0.
RAW = re.compile(r"^<(\d+)>")
KERNEL_FACILITY = 0
SPLAT_END = re.compile(r"---\[ end (trace|Kernel panic)")
SPLAT_LINES = 60

# QEMU's TCG may lose a race when a kernel with several CPUs patches its own code: a CPU then
# trips over the breakpoint that the patching sets. Not a fault of the code under test.
EMULATOR_OOPS = re.compile(r"\bOops: int3\b")


def is_splat_line(line: str) -> bool:
    raw = RAW.match(line)
    if raw and int(raw.group(1)) >> 3 != KERNEL_FACILITY:
        return False
    return bool(SPLAT.search(line)) and not HARMLESS.search(line)


def find_splats(log: str) -> list[str]:
    """Every complaint in a kernel log, each with the lines that follow it, and every leak of a module's."""
    log, leaks = _without_leaks(log)
    splats: list[str] = []
    current: list[str] = []
    for line in log.splitlines():
        if current:
            current.append(line)
            if SPLAT_END.search(line) or len(current) >= SPLAT_LINES:
                splats.append("\n".join(current))
                current = []
        elif is_splat_line(line):
            current = [line]
    if current:
        splats.append("\n".join(current))
    return splats + leaks


def _without_leaks(log: str) -> tuple[str, list[str]]:
    """The log, and what kmemleak reported of modules; what the kernel itself lost is not ours to mend."""
    lines: list[str] = []
    leaks: list[list[str]] = []
    inside = False
    for line in log.splitlines():
        if LEAK.search(line):
            leaks.append([])
            inside = True
        inside = inside and (not leaks[-1] or line.startswith(" "))
        (leaks[-1] if inside else lines).append(line)
    ours = [leak for leak in leaks if any(MODULE_CODE.search(line) for line in leak)]
    reports = ["\n".join(leak) for leak in ours]
    return "\n".join(lines), [report for report in reports if not KERNELS_OWN.search(report)]


def is_emulator_oops(splats: list[str], own_module: str = "ksm") -> bool:
    """Whether the first complaint is exactly the emulator's, and not in the module's own code."""
    if not splats:
        return False
    lines = splats[0].splitlines()
    if not EMULATOR_OOPS.search(lines[0]):
        return False
    where = next((line for line in lines if "RIP:" in line), "")
    return bool(where) and f"[{own_module}]" not in where
