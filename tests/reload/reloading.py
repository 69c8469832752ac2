# SPDX-License-Identifier: GPL-2.0-or-later
"""In a module VM: processes of several users are merged while the module is replaced, again and again.

Each function of STEPS is a test; they run in their order, and one that failed does not keep the
others from running. test_reload.py reads what is printed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

PAGE = 4096
PAGES = 128
RELEASE = os.uname().release
INSTALLED = Path(f"/lib/modules/{RELEASE}/updates/dkms/ksm.ko")
KEPT_BY_DKMS = Path(f"/var/lib/dkms/ksm/0.0.1/{RELEASE}/x86_64/module/ksm.ko")
OPTIONS = Path("/etc/modprobe.d/ksm.conf")
STATE = Path("/run/ksm/reload.json")
ENGINE = Path("/sys/class/misc/ksm")
PATIENCE = 60.0
# In force unless they are handed over: another domain_mode cannot even be set while pages are merged.
LOADED_WITH = "options ksm run=1 pages_to_scan=7 advisor_mode=scan-time\n"
HANDED_OVER = {
    "domain_mode": "user",
    "max_page_sharing": 200,
    "smart_scan": 1,
    "scan_all_exclude_uids": "33,1000-1999",
    "advisor_min_pages_to_scan": 900,
    "advisor_max_pages_to_scan": 800,
}
# Neither can be set by sysfs: a pause in microseconds, and most merges of a scan.
PACE = ["20000", "9999", "1500"]


@dataclass
class Worker:
    """A process with PAGES pages of known contents; a byte on its pipe is a command."""

    pid: int
    addr: int
    commands: int

    def frames(self) -> list[int]:
        # Of a leader that has ended there is none.
        thread = os.listdir(f"/proc/{self.pid}/task")[-1]
        with open(f"/proc/{self.pid}/task/{thread}/pagemap", "rb") as stream:
            stream.seek(self.addr // PAGE * 8)
            entries = struct.unpack(f"{PAGES}Q", stream.read(PAGES * 8))
        return [entry & (1 << 55) - 1 for entry in entries]

    def tell(self, command: bytes) -> None:
        os.write(self.commands, command)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@dataclass(frozen=True)
class Domain:
    number: int
    system: bool = False
    zero_pages: bool = False


def register_self(mapping: mmap.mmap, domain: Optional[Domain], euid: int, uid: int) -> None:
    """Register the mapping as a program of that user does, in a domain of the effective one."""
    from ksm.device import Device

    addr = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    with Device() as device, device.create_area() as area, open("/proc/self/mem", "rb") as memory:
        if domain:
            os.setresuid(0, euid, 0)
            area.set_domain(domain.number, system=domain.system, zero_pages=domain.zero_pages)
            os.setresuid(0, 0, 0)
        os.setresuid(uid, 0, 0)
        area.register_task(memory, addr, PAGES * PAGE, detached=True)
        os.setresuid(0, 0, 0)


def worker(
    base: str,
    *,
    uid: int = 0,
    euid: Optional[int] = None,
    domain: Optional[Domain] = None,
    registered: bool = False,
    headless: bool = False,
    marked: bool = False,
) -> Worker:
    """Start one; with `headless` its first thread ends, and another goes on; `marked`: MADV_MERGEABLE."""
    ready, told = os.pipe()
    orders, commands = os.pipe()
    pid = os.fork()
    if not pid:
        run_worker(base, told, orders, uid, uid if euid is None else euid, domain, registered, headless, marked)
    os.close(told)
    os.close(orders)
    with open(ready, "rb") as stream:
        addr = struct.unpack("Q", stream.read(8))[0]
    return Worker(pid, addr, commands)


def run_worker(
    base: str,
    told: int,
    orders: int,
    uid: int,
    euid: int,
    domain: Optional[Domain],
    registered: bool,
    headless: bool,
    marked: bool,
) -> None:
    try:
        mapping = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(PAGES):
            # Two pages of each content, so that one process alone has something to merge.
            mapping[page * PAGE : page * PAGE + 64] = f"{base} {page // 2}".encode().ljust(64, b".")
        if marked:
            mapping.madvise(mmap.MADV_MERGEABLE)
        if registered:
            register_self(mapping, domain, euid, uid)
        os.write(told, struct.pack("Q", ctypes.addressof(ctypes.c_char.from_buffer(mapping))))
        os.close(told)
        if headless:
            import threading

            threading.Thread(target=obey, args=(orders,)).start()
            ctypes.CDLL(None).syscall(60, 0)  # exit(2), of this thread alone
        obey(orders)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def obey(orders: int) -> None:
    while True:
        command = os.read(orders, 1)
        if command == b"x":
            os.execv("/bin/sleep", ["sleep", "1000"])
        elif command == b"f":
            # A child with a child, which descends from nobody here once the former has ended.
            if os.fork():
                os.wait()
            elif os.fork():
                os.read(orders, 1)
                os._exit(0)
            else:
                time.sleep(1000)
        elif not command:
            time.sleep(1000)


def few_descriptors() -> None:
    """Less than there are processes registered: who needs more has to ask for them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))


def sh(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=few_descriptors)


def ksmctl(*arguments: str, status: int = 0) -> Any:
    """Run it; return what it said, as JSON where that was asked for. `status` is the one expected."""
    done = sh(sys.executable, "-m", "ksm", *arguments)
    assert done.returncode == status, f"ksmctl {arguments}: {done}"
    if "--json" in arguments and done.stdout:
        answer = json.loads(done.stdout)
        if isinstance(answer, dict):
            answer["stderr"] = done.stderr
        return answer
    return done.stdout + done.stderr


def ansible(**parameters: Any) -> dict[str, Any]:
    """Run the collection's ksm_module as Ansible does once its arguments have arrived."""
    arguments = {"_ansible_check_mode": parameters.pop("check", False), "_ansible_diff": True, **parameters}
    Path("/root/arguments").write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    done = sh(sys.executable, "/opt/ansible_collections/ksm/fleet/plugins/modules/ksm_module.py", "/root/arguments")
    answer: dict[str, Any] = json.loads(done.stdout or json.dumps({"msg": done.stderr}))
    assert answer.get("failed", False) == bool(done.returncode), done
    return answer


def read(name: str) -> str:
    return (ENGINE / name).read_text().strip()


def passes(count: int) -> None:
    wanted = int(read("full_scans")) + count
    end = time.monotonic() + PATIENCE
    while int(read("full_scans")) < wanted:
        assert time.monotonic() < end, f"{count} passes take too long: run {read('run')}"
        time.sleep(0.05)


def running() -> str:
    return Path("/sys/module/ksm/version").read_text().strip()


def install(build: str, options: str = LOADED_WITH) -> None:
    shutil.copy(f"/builds/{build}.ko", INSTALLED)
    OPTIONS.write_text(options)


def regions() -> list[dict[str, Any]]:
    """Return them without the numbers, which are new after each load; a family by its processes."""
    from ksm.device import Device

    with Device() as device:
        listed: list[dict[str, Any]] = [region._asdict() for region in device.regions()]
    families: dict[int, list[int]] = {}
    for region in listed:
        families.setdefault(region["family"], []).append(region["pid"])
    for region in listed:
        del region["number"]
        if region["family"]:
            region["family"] = sorted(families[region["family"]])
    return sorted(listed, key=lambda region: (region["pid"], region["addr"]))


def tunables() -> dict[str, Any]:
    from ksm.device import Device
    from ksm.engine import Engine

    with Device() as device:
        return {**Engine.module().tunables(), **device.info()._asdict()}


workers: dict[str, Worker] = {}
before: dict[str, Any] = {}


def same_as_before() -> None:
    """Regions, tunables and pace are as they were; after one pass, every frame and what is counted."""
    assert regions() == before["regions"], (regions(), before["regions"])
    assert tunables() == before["tunables"], (tunables(), before["tunables"])
    passes(2)
    for name, one in workers.items():
        assert one.frames() == before["frames"][name], f"{name}: other frames"
    merged = PAGES * len(workers)
    assert int(read("pages_shared")) + int(read("pages_sharing")) >= merged, "not taken over"


def look() -> None:
    before["regions"] = regions()
    before["tunables"] = tunables()
    before["frames"] = {name: one.frames() for name, one in workers.items()}


def start() -> None:
    """Processes of several users, domains and a family; all of it is merged."""
    sh("depmod", "-a")
    done = sh("modprobe", "ksm", "run=0", "advisor_mode=none")
    assert not done.returncode, done
    ksmctl("start", *PACE)
    ksmctl("stop")
    for name, value in HANDED_OVER.items():
        (ENGINE / name).write_text(f"{value}\n")
    workers.update(
        {
            "root": worker("common"),
            "root, too": worker("common"),
            "headless": worker("common", headless=True),
            "alice": worker("alice", uid=1001, registered=True),
            "bob in 7": worker("seven", uid=1002, registered=True, domain=Domain(7)),
            "bob in 7, too": worker("seven", uid=1002, registered=True, domain=Domain(7)),
            # A set-user-ID program: the number is carol's, the region counts for dave.
            "dave in carol's 7": worker("seven", uid=1004, euid=1003, registered=True, domain=Domain(7)),
            "system 9": worker("nine", uid=1001, registered=True, euid=0, domain=Domain(9, True, True)),
            "in the common one": worker(
                "common", uid=1001, registered=True, euid=0, domain=Domain(0, True), marked=True
            ),
            "parent": worker("family"),
        }
    )
    whole = [str(workers[name].pid) for name in ("root", "root, too", "headless")]
    ksmctl("register", "--pid", *whole)
    ksmctl("register", "--children", "--pid", str(workers["parent"].pid))
    ksmctl("set", "run=1")
    workers["parent"].tell(b"f")
    passes(4)
    workers["parent"].tell(b"e")
    while len([r for r in regions() if r["family"]]) > 2:
        time.sleep(0.1)
    look()
    for name, one in workers.items():
        frames = one.frames()
        assert len(set(frames)) == PAGES // 2, f"{name}: {len(set(frames))} frames"
    assert workers["bob in 7"].frames() == workers["bob in 7, too"].frames()
    assert not set(workers["bob in 7"].frames()) & set(workers["dave in carol's 7"].frames())
    owners = {(r["uid"], r["domain"], r["domain_owner"]) for r in before["regions"]}
    assert {(0, 0, 0), (1001, 0, 0), (1002, 7, 1002), (1004, 7, 1003), (1001, 9, 0)} <= owners, owners
    # The parent and its grandchild, which descends from it no more.
    families = [r["family"] for r in before["regions"] if r["family"]]
    assert len(families) == 2, families
    assert before["tunables"]["max_merge"] == 9999
    assert before["tunables"]["sleep_us"] == 1500


def nothing_to_do_where_the_installed_build_runs() -> None:
    answer = ksmctl("reload", "--json")
    assert answer["action"] == "nothing", answer
    assert not ksmctl("status", "--json")["reload_required"]


def pending_is_told() -> None:
    install("new")
    status = ksmctl("status", "--json")
    assert status["reload_required"]
    assert (status["version"], status["version_installed"]) == ("0.0.1", "0.0.2")
    assert "0.0.2, reload pending: ksmctl reload" in ksmctl("status")


def dry_run_changes_nothing() -> None:
    answer = ksmctl("reload", "--dry-run", "--json")
    assert answer["action"] == "would" and answer["regions"] == len(before["regions"]), answer
    assert running() == "0.0.1"
    assert not STATE.exists()


def refuses_while_somebody_holds_the_device() -> None:
    with open("/dev/ksm", "rb"):
        said = ksmctl("reload", status=1)
        assert f"(pid {os.getpid()})" in said, said
    assert running() == "0.0.1"
    same_as_before()


def refuses_a_build_for_another_kernel() -> None:
    image = INSTALLED.read_bytes()
    other = RELEASE[:-1] + ("x" if RELEASE[-1] != "x" else "y")
    # The file's own note of its kernel is all that is changed.
    INSTALLED.write_bytes(image.replace(f"vermagic={RELEASE} ".encode(), f"vermagic={other} ".encode()))
    said = ksmctl("reload", status=1)
    assert f"was built for the kernel {other}" in said, said
    assert running() == "0.0.1"
    install("new")


def hands_everything_over() -> None:
    answer = ksmctl("reload", "--json")
    assert answer["action"] == "reloaded", answer
    assert answer["registered"] == len(before["regions"]) == answer["regions"], answer
    assert not (answer["ended"] or answer["present"] or answer["lost"] or answer["problems"]), answer
    assert running() == "0.0.2"
    assert not STATE.exists()
    same_as_before()


def newcomers_join_their_own_domain_only() -> None:
    """So the numbers' owners were handed over, too."""
    bob = worker("seven", uid=1002, registered=True, domain=Domain(7))
    erin = worker("seven", uid=1005, registered=True, domain=Domain(7))
    passes(5)
    assert bob.frames() == workers["bob in 7"].frames()
    erins = set(erin.frames())
    assert len(erins) == PAGES // 2
    assert not erins & {*workers["bob in 7"].frames(), *workers["dave in carol's 7"].frames()}
    bob.end()
    erin.end()


def the_same_build_when_asked_for() -> None:
    loading = os.stat("/sys/module/ksm").st_ino
    assert ksmctl("reload", "--json")["action"] == "nothing"
    assert os.stat("/sys/module/ksm").st_ino == loading
    assert ksmctl("reload", "--same", "--json")["action"] == "reloaded"
    assert os.stat("/sys/module/ksm").st_ino != loading
    same_as_before()


def goes_back_to_the_old_build_when_the_new_one_is_refused() -> None:
    KEPT_BY_DKMS.parent.mkdir(parents=True)
    shutil.copy("/builds/new.ko", KEPT_BY_DKMS)
    install("old", "options ksm smart_scan=7\n")
    answer = ksmctl("reload", "--json", status=1)
    assert answer["action"] == "kept" and answer["registered"] == len(before["regions"]), answer
    assert "cannot be loaded" in answer["stderr"], answer
    assert "The old build was loaded again" in answer["stderr"], answer
    assert running() == "0.0.2"
    assert not STATE.exists()
    same_as_before()


def waits_for_a_remedy_when_neither_can_be_loaded() -> None:
    shutil.rmtree("/var/lib/dkms")
    answer = ksmctl("reload", "--json", status=3)
    assert not Path("/sys/module/ksm").exists()
    assert "No module is loaded now" in answer["stderr"], answer
    assert STATE.stat().st_mode & 0o777 == 0o600
    ksmctl("reload", status=3)
    OPTIONS.write_text(LOADED_WITH)
    answer = ksmctl("reload", "--json")
    assert answer["action"] == "resumed" and answer["registered"] == len(before["regions"]), answer
    assert running() == "0.0.1"
    assert not STATE.exists()
    same_as_before()


def goes_on_after_it_was_killed() -> None:
    """Between unloading and loading; then processes end, and one calls execve()."""
    install("new", 'install ksm kill -9 $(cut -d " " -f 4 /proc/$PPID/stat)\n')
    done = sh(sys.executable, "-m", "ksm", "reload")
    assert done.returncode == -signal.SIGKILL, done
    assert not Path("/sys/module/ksm").exists() and STATE.exists()
    workers["root, too"].end()
    workers["bob in 7, too"].tell(b"x")
    gone = {workers[name].pid for name in ("root, too", "bob in 7, too")}
    executing = workers["bob in 7, too"].pid
    end = time.monotonic() + PATIENCE
    while os.readlink(f"/proc/{executing}/exe") == os.readlink("/proc/self/exe"):
        assert time.monotonic() < end, "no execve()"
        time.sleep(0.05)
    # Somebody loaded it, and it is at work: domain_mode cannot be set any more.
    OPTIONS.write_text("options ksm run=1 adopt_mergeable=1 pages_to_scan=20000\n")
    assert not sh("modprobe", "ksm").returncode
    passes(3)
    assert int(read("pages_shared")) > 0
    assert "go on with it: ksmctl reload" in ksmctl("status")
    answer = ksmctl("reload", "--json", status=3)
    assert answer["registered"] and "rmmod ksm" in answer["stderr"], answer
    assert read("run") == "0" and STATE.exists()
    assert not sh("rmmod", "ksm").returncode
    answer = ksmctl("reload", "--json")
    assert (answer["action"], answer["ended"]) == ("resumed", 2), answer
    before["regions"] = [region for region in before["regions"] if region["pid"] not in gone]
    OPTIONS.write_text(LOADED_WITH)
    del workers["root, too"], workers["bob in 7, too"]
    same_as_before()


def left_over_state_of_a_reload_that_never_began() -> None:
    """Killed before it unloaded: what was noted is of no use, the regions are all there."""
    install("old")
    state = {"instance": os.stat("/sys/module/ksm").st_ino, "format": 1, "regions": []}
    state |= {"build": {"version": "0.0.2", "srcversion": None}, "began": "", "tunables": {}}
    state |= {"pace": {"run": 0, "pages_to_scan": 1, "sleep_us": 1, "max_merge": 1}}
    STATE.write_text(json.dumps(state))
    assert ksmctl("reload", "--json")["registered"] == len(before["regions"])
    same_as_before()


def by_ansible() -> None:
    """state: latest, in check mode, in earnest, and where nothing is to be done any more."""
    install("new")
    answer = ansible(state="latest", at_boot=False, check=True)
    assert answer["changed"] and answer["reload"]["regions"] == len(before["regions"]), answer
    assert "version: 0.0.1" in answer["diff"][0]["before"] and "version: 0.0.2" in answer["diff"][0]["after"]
    assert running() == "0.0.1"
    answer = ansible(state="latest", at_boot=False)
    assert answer["changed"] and answer["reload"]["registered"] == len(before["regions"]), answer
    assert (answer["version_running"], answer["reload_required"], running()) == ("0.0.2", False, "0.0.2")
    assert not ansible(state="latest", at_boot=False)["changed"]
    same_as_before()


STEPS: list[Callable[[], None]] = [
    start,
    nothing_to_do_where_the_installed_build_runs,
    pending_is_told,
    dry_run_changes_nothing,
    refuses_while_somebody_holds_the_device,
    refuses_a_build_for_another_kernel,
    hands_everything_over,
    newcomers_join_their_own_domain_only,
    the_same_build_when_asked_for,
    goes_back_to_the_old_build_when_the_new_one_is_refused,
    waits_for_a_remedy_when_neither_can_be_loaded,
    goes_on_after_it_was_killed,
    left_over_state_of_a_reload_that_never_began,
    by_ansible,
]


def main() -> None:
    INSTALLED.parent.mkdir(parents=True)
    OPTIONS.parent.mkdir(parents=True)
    install("old")
    for step in STEPS:
        began = time.monotonic()
        try:
            step()
        except Exception:
            print(f"not ok {step.__name__}", traceback.format_exc(), f"end {step.__name__}", sep="\n", flush=True)
            if step is start:
                break
        else:
            print(f"ok {step.__name__} # {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
