# SPDX-License-Identifier: GPL-2.0-or-later
"""In a module VM: processes of several tenants come and go, and policies keep them in their domains.

All hold the same contents, so that what merges with what is decided by policies alone. Each function of
STEPS is a test; they run in their order, and one that failed does not keep the others from running.
test_policy.py reads what is printed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from worker import PAGE, PAGES

RELEASE = os.uname().release
INSTALLED = Path(f"/lib/modules/{RELEASE}/updates/dkms/ksm.ko")
ENGINE = Path("/sys/class/misc/ksm")
GROUPS = Path("/sys/fs/cgroup")
FOLDER = Path("/etc/ksm/policy.d")
LOG = Path("/tmp/service.log")
PATIENCE = 60.0
# Passes until all is merged: the one that is under way leaves newcomers out, in two pages are found out,
# and new ones may wait in a CPU's list for one or two more.
SETTLE = 6
UNIT_A = "system.slice/system-qemu.slice/qemu@a1.service"
GROUP_B = "machine.slice/b1"
GROUP_F = "families"
# Of the same contents as everybody.
COMMON = "common"
USER_C = 1003
TENANTS = """
[a]
unit = qemu@a*.service
domain = tenant-a

[b]
cgroup = /machine.slice/b*
domain = tenant-b

[family]
cgroup = /families
children = yes
domain = tenant-f
"""
USERS = f"[c]\nuser = {USER_C}\ndomain = tenant-c\n"
COMMANDS = "[d]\ncommand = server-d\ndomain = 4711\n"


class Worker:
    """A process of worker.py."""

    def __init__(self, group: str = "", uid: int = 0, program: str = "/usr/bin/python3") -> None:
        def move() -> None:
            (GROUPS / group / "cgroup.procs").write_text("0")

        self.process = subprocess.Popen(
            [program, "/opt/worker.py", str(uid), COMMON],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=move,
            cwd="/",
        )
        self.pid = self.process.pid
        self.addr = int(self.answer())

    def answer(self) -> str:
        return self.process.stdout.readline()

    def order(self, line: str) -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def frames(self) -> list[int]:
        return frames(self.pid, self.addr)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def frames(pid: int, addr: int) -> list[int]:
    with open(f"/proc/{pid}/pagemap", "rb") as stream:
        stream.seek(addr // PAGE * 8)
        entries = struct.unpack(f"{PAGES}Q", stream.read(PAGES * 8))
    return [entry & (1 << 55) - 1 for entry in entries]


def ksmctl(*arguments: str, status: int = 0) -> Any:
    command = [sys.executable, "-m", "ksm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"ksmctl {arguments}: {done}"
    return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr


def ansible(**parameters: Any) -> dict[str, Any]:
    """Run the collection's ksm_policy as Ansible does once its arguments have arrived."""
    arguments = {"_ansible_check_mode": parameters.pop("check", False), "_ansible_diff": True, **parameters}
    Path("/root/arguments").write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    module = "/opt/ansible_collections/ksm/fleet/plugins/modules/ksm_policy.py"
    done = subprocess.run([sys.executable, module, "/root/arguments"], capture_output=True, text=True, check=False)
    answer: dict[str, Any] = json.loads(done.stdout or json.dumps({"msg": done.stderr}))
    assert answer.get("failed", False) == bool(done.returncode), done
    return answer


def domains() -> dict[int, int]:
    """Return the domain of each process that is registered; none is twice."""
    from ksm.device import Device

    with Device() as device:
        regions = device.regions()
    assert len({region.pid for region in regions}) == len(regions), regions
    assert all(region.whole and region.domain_system for region in regions), regions
    return {region.pid: region.domain for region in regions}


def numbers() -> dict[int, int]:
    from ksm.device import Device

    with Device() as device:
        return {region.pid: region.number for region in device.regions()}


def number(name: str) -> int:
    from ksm.policy.model import domain_number

    return domain_number(name)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: {ksmctl('regions')}\n{LOG.read_text()}"
        time.sleep(0.1)


def passes(count: int) -> None:
    wanted = int((ENGINE / "full_scans").read_text()) + count
    until(lambda: int((ENGINE / "full_scans").read_text()) >= wanted, f"{count} passes")


def service() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ksm", "policy", "run", "--interval", "0.5"]
    return subprocess.Popen(command, stdout=LOG.open("a"), stderr=subprocess.STDOUT)


def put(name: str, text: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "draft").write_text(text)
    (FOLDER / "draft").rename(FOLDER / name)


workers: dict[str, Worker] = {}
daemon: list[subprocess.Popen[bytes]] = []


def wanted() -> dict[int, int]:
    """Return the domains that all workers should have, by their names."""
    of_tenant = {name: number(f"tenant-{name}") for name in "abcf"} | {"d": 4711}
    return {one.pid: of_tenant[name[0]] for name, one in workers.items() if name[0] in of_tenant}


def settled() -> None:
    until(lambda: domains() == wanted(), f"other domains than {wanted()}")


def together(*names: str) -> None:
    """These are merged with each other; no page of theirs is anybody else's."""
    first = workers[names[0]].frames()
    for name in names[1:]:
        apart = [page for page, of in enumerate(workers[name].frames()) if of != first[page]]
        assert not apart, f"{name} is not merged with {names[0]} in pages {apart}"
    for name, other in workers.items():
        if name not in names:
            assert not set(other.frames()) & set(first), f"{name} has pages of {names[0]}"


def start() -> None:
    """Two processes of each tenant by unit, group, user and command, and two that no policy knows."""
    INSTALLED.parent.mkdir(parents=True)
    shutil.copy("/builds/ksm.ko", INSTALLED)
    for command in (["depmod", "-a"], ["modprobe", "ksm"], ["mount", "-t", "cgroup2", "cgroup2", str(GROUPS)]):
        subprocess.run(command, check=True)
    for group in (UNIT_A, GROUP_B, GROUP_F, "elsewhere"):
        (GROUPS / group).mkdir(parents=True)
    shutil.copy("/usr/bin/python3", "/usr/bin/server-d")
    ksmctl("set", "run=1", "pages_to_scan=20000", "sleep_millisecs=20", "smart_scan=0")
    put("tenants.conf", TENANTS)
    put("users.conf", USERS)
    put("commands.conf", COMMANDS)
    for which in "12":
        workers[f"a{which}"] = Worker(UNIT_A)
        workers[f"b{which}"] = Worker(GROUP_B)
        workers[f"c{which}"] = Worker(uid=USER_C)
        workers[f"d{which}"] = Worker(program="/usr/bin/server-d")
        workers[f"nobody's {which}"] = Worker()
    daemon.append(service())
    settled()


def within_a_domain_and_not_across() -> None:
    passes(SETTLE)
    for tenant in "abcd":
        together(f"{tenant}1", f"{tenant}2")
    for which in "12":
        together(f"nobody's {which}")
    status = ksmctl("policy", "status", "--json")
    assert status["running"], status
    assert {task["pid"]: task["number"] for task in status["tasks"]} == wanted(), status
    assert all(task["registered"] for task in status["tasks"]), status


def one_that_starts_later() -> None:
    workers["a3"] = Worker(UNIT_A)
    settled()
    passes(SETTLE)
    together("a1", "a2", "a3")


def one_that_executes_itself_anew() -> None:
    before = numbers()[workers["b2"].pid]
    workers["b2"].addr = int(workers["b2"].order("exec"))
    until(lambda: numbers().get(workers["b2"].pid, before) != before, "not registered again")
    settled()
    passes(SETTLE)
    together("b1", "b2")


def children() -> None:
    """By their parents, also in other groups, and one that matches itself by itself."""
    workers["f1"] = Worker(GROUP_F)
    settled()
    parent = workers["f1"]
    for group, name in (("elsewhere", "f2"), (UNIT_A, "a4")):
        pid = int(parent.order(f"fork {COMMON}"))
        child = Worker.__new__(Worker)
        child.pid, child.addr = pid, parent.addr
        (GROUPS / group / "cgroup.procs").write_text(str(pid))
        workers[name] = child
    passes(1)
    settled()
    # It was of its parent's domain first, and what was merged there stays until it is written.
    os.kill(workers["a4"].pid, signal.SIGUSR1)
    until(lambda: not set(workers["a4"].frames()) & set(parent.frames()), "a4 did not write")
    passes(SETTLE)
    together("f1", "f2")
    together("a1", "a2", "a3", "a4")


def killed_and_started_again() -> None:
    """What came and went meanwhile is seen; what stayed is left alone, and nothing is there twice."""
    before = numbers()
    daemon[0].kill()
    daemon[0].wait()
    assert domains() == wanted()
    workers["b3"] = Worker(GROUP_B)
    workers.pop("a3").end()
    daemon[0] = service()
    settled()
    now = numbers()
    assert {pid: of for pid, of in now.items() if pid in before} == {
        pid: of for pid, of in before.items() if pid in now
    }
    passes(SETTLE)
    together("b1", "b2", "b3")


def to_another_group() -> None:
    """It is of the other tenant; what was merged stays until it is written."""
    (GROUPS / GROUP_B / "cgroup.procs").write_text(str(workers["a2"].pid))
    workers["b4"] = workers.pop("a2")
    settled()
    assert workers["b4"].frames() == workers["a1"].frames()
    assert workers["b4"].order("write " + COMMON) == "written\n"
    passes(SETTLE)
    together("b1", "b2", "b3", "b4")
    together("a1", "a4")


def a_bad_file_beside_good_ones() -> None:
    """Its last good version holds, also for new tasks and after a restart; the others go on."""
    put("users.conf", f"[c]\nuser = {USER_C}\ndomain = tenant c\n")
    put("commands.conf", COMMANDS.replace("4711", "tenant-d"))
    of_d = {workers[name].pid for name in ("d1", "d2")}
    until(lambda: {domains().get(pid) for pid in of_d} == {number("tenant-d")}, "d is not in its new domain")
    workers["c3"] = Worker(uid=USER_C)
    expected = {**wanted(), **dict.fromkeys(of_d, number("tenant-d"))}
    until(lambda: domains() == expected, "c3 is not registered")
    said = ksmctl("policy", "check", status=1)
    assert "users.conf, [c]: domain 'tenant c' has white space in it; write it without" in said, said
    assert "users.conf, [c]: domain 'tenant c'" in LOG.read_text()
    daemon[0].terminate()
    assert daemon[0].wait() == 0
    daemon[0] = service()
    workers["c4"] = Worker(uid=USER_C)
    expected[workers["c4"].pid] = number("tenant-c")
    until(lambda: domains() == expected, "c4 is not registered")
    put("users.conf", USERS)
    put("commands.conf", COMMANDS)
    settled()


def what_others_registered() -> None:
    """It is told, and left as it is."""
    pid = workers["nobody's 1"].pid
    ksmctl("register", "--pid", str(pid))
    (GROUPS / GROUP_B / "cgroup.procs").write_text(str(pid))
    task = next(task for task in ksmctl("policy", "status", "--json")["tasks"] if task["pid"] == pid)
    assert not task["registered"] and "is registered already, by somebody else" in task["why"], task
    assert "by somebody else" in ksmctl("policy", "apply", status=1)
    (GROUPS / "cgroup.procs").write_text(str(pid))
    ksmctl("unregister", "--pid", str(pid))
    settled()


def one_that_has_not_come_to_execve() -> None:
    """After vfork() it is the tenant's, and has the memory of its parent, which is not."""
    code = f"""
import ctypes
libc = ctypes.CDLL(None)
if not libc.vfork():
    libc.setresuid({USER_C}, {USER_C}, {USER_C})
    libc.sleep(1000000)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    try:
        until(lambda: bool(listed.read_text()), "no child")
        child = int(listed.read_text())
        until(lambda: os.stat(f"/proc/{child}").st_uid == USER_C, "the child is not of the tenant")
        until(lambda: f"process {child}: shares its memory with" in LOG.read_text(), "not told")
        time.sleep(1)
        assert domains() == wanted()
        os.kill(child, signal.SIGKILL)
    finally:
        parent.kill()
        parent.wait()


def reload_of_the_module() -> None:
    """While the service runs; each is in its domain once. One that hands nothing over is seen, too."""
    passes(SETTLE)
    before = {name: one.frames() for name, one in workers.items()}
    assert ksmctl("reload", "--same", "--json")["action"] == "reloaded"
    time.sleep(1)
    assert domains() == wanted()
    subprocess.run(["rmmod", "ksm"], check=True)
    until(lambda: "is missing; load the module" in LOG.read_text(), "the service did not notice")
    assert "is missing" in ksmctl("policy", "apply", status=1)
    subprocess.run(["modprobe", "ksm"], check=True)
    # Children are taken in by passes.
    ksmctl("set", "run=1", "pages_to_scan=20000", "sleep_millisecs=20", "smart_scan=0")
    settled()
    passes(SETTLE)
    assert {name: one.frames() for name, one in workers.items()} == before


def a_policy_that_is_removed() -> None:
    """Its tasks are not scanned any more, with their children; what was merged stays."""
    gone = [workers[name] for name in ("d1", "d2", "f1", "f2")]
    merged = workers["d1"].frames()
    (FOLDER / "commands.conf").unlink()
    put("tenants.conf", TENANTS.partition("[family]")[0])
    for name in ("d1", "d2", "f1", "f2"):
        workers[f"nobody's {name}"] = workers.pop(name)
    settled()
    assert not {one.pid for one in gone} & set(domains())
    passes(2)
    assert gone[0].frames() == gone[1].frames() == merged
    for one in gone[:2]:
        one.order("write " + COMMON)
    passes(SETTLE)
    assert not set(gone[0].frames()) & set(gone[1].frames())


def stopping_ends_nothing() -> None:
    daemon[0].terminate()
    assert daemon[0].wait() == 0
    assert domains() == wanted()
    assert not ksmctl("policy", "status", "--json")["running"]


def by_ansible() -> None:
    """Check mode, in earnest, again, one policy less, and none."""
    for file in FOLDER.glob("*.conf"):
        file.unlink()
    ksmctl("policy", "apply")
    assert domains() == {}
    policies = [
        {"name": "a", "match": {"unit": "qemu@a*.service"}, "domain": "tenant-a"},
        {"name": "c", "match": {"user": USER_C}, "domain": "tenant-c"},
    ]
    both = {pid: of for pid, of in wanted().items() if of in (number("tenant-a"), number("tenant-c"))}
    arguments: dict[str, Any] = {"policies": policies, "purge": True, "service": False}
    answer = ansible(check=True, **arguments)
    assert answer["changed"] and set(answer["registered"]) == set(both), answer
    assert domains() == {}
    answer = ansible(**arguments)
    assert answer["changed"] and domains() == both, answer
    assert {task["pid"]: task["registered"] for task in answer["tasks"]} == dict.fromkeys(both, True), answer
    assert not ansible(**arguments)["changed"]
    bad = [{**policies[0], "domain": "x"}, {**policies[1], "domain": "two words"}]
    assert "'two words' has white space" in ansible(**{**arguments, "policies": bad})["msg"]
    assert domains() == both
    answer = ansible(name="c", state="absent", service=False)
    assert answer["changed"] and set(domains().values()) == {number("tenant-a")}, answer
    answer = ansible(policies=[], purge=True, service=False)
    assert answer["changed"] and domains() == {}, answer


STEPS: list[Callable[[], None]] = [
    start,
    within_a_domain_and_not_across,
    one_that_starts_later,
    one_that_executes_itself_anew,
    children,
    killed_and_started_again,
    to_another_group,
    a_bad_file_beside_good_ones,
    what_others_registered,
    one_that_has_not_come_to_execve,
    reload_of_the_module,
    a_policy_that_is_removed,
    stopping_ends_nothing,
    by_ansible,
]


def run(step: Callable[[], None]) -> Optional[str]:
    try:
        step()
    except Exception:
        return traceback.format_exc()
    return None


def main() -> None:
    for step in STEPS:
        began = time.monotonic()
        failed = run(step)
        if failed is None:
            print(f"ok {step.__name__} # {time.monotonic() - began:.1f} s", flush=True)
            continue
        log = LOG.read_text() if LOG.exists() else ""
        print(f"not ok {step.__name__}", failed, log, f"end {step.__name__}", sep="\n", flush=True)
        if step is start:
            break
    for process in daemon:
        process.send_signal(signal.SIGKILL)


if __name__ == "__main__":
    main()
