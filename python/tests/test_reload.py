# SPDX-License-Identifier: GPL-2.0-or-later
"""Reloading, as far as it takes no module: tests/reload has real ones in a VM."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from conftest import Driver, System

from ksm import abi, device, handover, holders, kmod, reload, state
from ksm.engine import select
from ksm.errors import EngineUnavailable, KsmError, ProcessError
from ksm.handover import Held
from ksm.kmod import Build, KmodError
from ksm.region import Region
from ksm.reload import Report
from ksm.task import identity, open_task_memory

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def region(number: int, pid: int, **fields: Any) -> Region:
    values = dict.fromkeys(Region._fields, 0) | {"whole": True} | fields
    return Region(**{**values, "number": number, "pid": pid})


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


class Listing:
    """Stands in for a device whose list of regions is another one each time."""

    def __init__(self, *lists: list[Region]) -> None:
        self.lists = list(lists)

    def regions(self) -> list[Region]:
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]


def collect(*lists: list[Region]) -> AbstractContextManager[list[Held]]:
    return handover.collect(Listing(*lists), reload.silent)  # type: ignore[arg-type]


def test_collects_until_number_and_pid_stay_together(sleeper: int) -> None:
    own = os.getpid()
    # The first process went on to execute something else; another one has the memory, too.
    with collect([region(1, own)], [region(1, sleeper)], [region(1, sleeper)]) as (one,):
        assert one.memory is not None
        assert os.readlink(f"/proc/self/fd/{one.memory.fileno()}") == f"/proc/{sleeper}/mem"
        assert one.identity == identity(sleeper)
    assert one.memory.closed


def test_collects_what_came_meanwhile_and_leaves_out_what_went(sleeper: int) -> None:
    lists = [[region(1, sleeper), region(2, sleeper)], [region(2, sleeper), region(3, 0)]]
    with collect(*lists) as held:
        pass
    assert [one.region.number for one in held] == [2, 3]
    assert held[0].memory is not None
    assert held[1].memory is None
    assert "no process of it is seen from here" in held[1].why


def test_one_descriptor_serves_all_regions_of_a_process(sleeper: int) -> None:
    with collect([region(1, sleeper), region(2, sleeper, whole=False, addr=4096)]) as held:
        assert held[0].memory is held[1].memory
        assert [one.region.number for one in held] == [1, 2]


def test_registrations_without_an_end_are_given_up() -> None:
    endless = collect(*[[region(number, 0)] for number in range(20)])
    with pytest.raises(KsmError, match="faster than they can be looked at"), endless:
        pass


@root_only
def test_reopens_only_what_is_the_same_process(sleeper: int) -> None:
    was = identity(sleeper)
    executed = (was[0], was[1], was[2] + 16)
    ended = 2**22 - 1
    saved = [Held(region(1, sleeper), one, None) for one in (was, executed)]
    with handover.reopen([*saved, Held(region(2, ended), was, None)]) as now:
        pass
    assert [one.memory is not None for one in now] == [True, False, False]
    assert [one.ended for one in now] == [False, True, True]
    assert "is another one now" in now[1].why


def test_what_cannot_be_reopened_has_not_ended(sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> io.FileIO:
        raise ProcessError(f"process {pid}: Too many open files", pid)

    monkeypatch.setattr(handover, "open_task_memory", refuse)
    with handover.reopen([Held(region(1, sleeper), (1, 2, 3), None)]) as (one,):
        assert (one.memory, one.ended) == (None, False)
        assert one.why.endswith("Too many open files")


def test_memory_of_a_process_whose_first_thread_has_ended() -> None:
    script = (
        "import ctypes, threading, time;"
        "threading.Thread(target=time.sleep, args=(60,)).start();"
        "print(flush=True);"
        "ctypes.CDLL(None).syscall(60, 0)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            stat = Path(f"/proc/{process.pid}/stat")
            while stat.read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.01)
            # Nothing is mapped there: an error, and not the end of what can be read.
            unmapped = pytest.raises(OSError, match="Input/output error")
            with open_task_memory(process.pid) as memory, unmapped:
                os.pread(memory.fileno(), 1, 0)
        finally:
            process.kill()


@root_only
def test_registers_as_who_registered(driver: Driver, tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """The commands of the child, with the users that it was at the time of each."""
    log = tmp_path / "log"
    # The users may not open it.
    stream = stack.enter_context(log.open("a", buffering=1))
    answers = {3: errno.ESRCH, 4: errno.EEXIST, 5: errno.ENOMEM}

    def tell(request: int, argument: bytearray) -> int:
        layout = {abi.SET_DOMAIN: abi.DOMAIN, abi.REGISTER_TASK: abi.TASK_REGION}[request]
        fields = layout.unpack(argument)
        stream.write(json.dumps([*os.getresuid(), request, *fields[1:]]) + "\n")
        code = answers.get(fields[4] // 4096) if request == abi.REGISTER_TASK else None
        if code:
            raise OSError(code, "refused")
        return 0

    for request in (abi.SET_DOMAIN, abi.REGISTER_TASK):
        driver.answers[request] = functools.partial(tell, request)
    memory = stack.enter_context(io.FileIO("/proc/self/mem"))
    ranges = {"whole": False, "uid": 1001, "length": 4096}
    held = [
        Held(one, (), memory)
        for one in (
            region(1, 9, uid=1002, domain=7, domain_owner=1003, children=True, family=5),
            region(2, 9, uid=1002, domain=7, domain_owner=1003, children=True, family=5),
            region(3, 9, uid=0, domain=8, domain_system=True, zero_pages=True),
            *(region(10 + at, 9, addr=4096 * at, **ranges) for at in (2, 3, 4, 5)),
        )
    ]
    held.append(Held(region(20, 9), (), None, "gone", ended=True))
    held.append(Held(region(21, 9), (), None, "process 9: no right to its memory"))
    with device.Device(str(tmp_path / "ksm-node")) as opened:
        outcome = handover.register(opened, held, reload.silent)
    assert (outcome.registered, outcome.ended, outcome.present) == (4, 2, 1)
    assert outcome.failed == [
        "process 9: no right to its memory",
        "process 9, 0x5000-0x6000: Cannot allocate memory (ENOMEM)",
    ]
    assert os.getresuid() == (0, 0, 0)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    detached, family = abi.TASK_DETACHED, abi.TASK_WHOLE | abi.TASK_CHILDREN | abi.TASK_JOIN
    zeros = abi.DOMAIN_SYSTEM | abi.DOMAIN_ZERO_PAGES
    fd = memory.fileno()
    task = [fd, 0, 0, 0]
    assert [0, 0, 0, abi.SET_DOMAIN, zeros, 8, 0] in calls
    assert [0, 1003, 0, abi.SET_DOMAIN, 0, 7, 0] in calls
    assert calls.count([1002, 0, 0, abi.REGISTER_TASK, detached | family, *task]) == 2
    assert [1001, 0, 0, abi.REGISTER_TASK, detached, fd, 0, 8192, 4096] in calls


def test_state_is_for_root_alone_and_comes_back(tmp_path: Path) -> None:
    held = [Held(region(1, 7, domain=3), (1, 2, 3), None)]
    pace = device.ThreadInfo(1, 100, 1500, 9999)
    saved = state.State(Build("1", "A"), 5, "now", pace, {"run": 1, "thp_mode": "share"}, held)
    (tmp_path / "run/ksm").mkdir(parents=True)
    saved.save(tmp_path)
    file = tmp_path / state.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    back = state.State.load(tmp_path)
    assert back is not None
    assert back.held[0].region == held[0].region
    assert list(back.held[0].identity) == [1, 2, 3]
    assert (back.build, back.pace, back.tunables) == (saved.build, pace, saved.tunables)
    file.write_text('{"format": 2}')
    with pytest.raises(KsmError, match=r"reload\.json is not what this version of ksmctl wrote"):
        state.State.load(tmp_path)
    state.forget(tmp_path)
    assert state.State.load(tmp_path) is None


def test_two_at_once(tmp_path: Path) -> None:
    second = state.alone(tmp_path)
    under_way = pytest.raises(KsmError, match="another reload is under way")
    with state.alone(tmp_path), under_way, second:
        pass
    (lock,) = (tmp_path / "run/ksm").iterdir()
    assert lock.stat().st_mode & 0o777 == 0o600, "who may open a lock can hold it for ever"


def test_what_happens_meanwhile_is_not_taken_for_another_one(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), state.alone(tmp_path):
        raise BlockingIOError(errno.EAGAIN, "no process could be made")


def test_a_tool_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", none_left)
    with pytest.raises(KmodError, match="cannot be run: Resource temporarily unavailable"):
        kmod.load()


def test_no_engine_is_chosen_amid_a_reload(system: System) -> None:
    system.add_kernel()
    assert select("auto", system.root).name == "kernel"
    file = system.root / state.FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    with pytest.raises(EngineUnavailable, match="ksmctl reload goes on with it"):
        select("auto", system.root)
    system.add_module()
    assert select("auto", system.root).name == "module"


@pytest.mark.parametrize(
    ("running", "other", "differs"),
    [
        (Build("1", "A"), Build("1", "A"), False),
        (Build("1", "A"), Build("2", "A"), True),
        (Build("1", "A"), Build("1", "B"), True),
        (Build(None, "A"), Build("1", "A"), False),
        (Build(None, None), Build("1", "B"), False),
    ],
)
def test_builds(running: Build, other: Build, differs: bool) -> None:
    assert running.differs(other) == differs


def test_what_is_loaded(system: System) -> None:
    assert kmod.loaded(system.root) is None
    assert kmod.instance(system.root) is None
    system.add_module(version="0.2.0")
    assert kmod.loaded(system.root) == Build("0.2.0", None)
    assert kmod.instance(system.root) is not None
    (system.root / "sys/module/ksm/refcnt").write_text("2\n")
    assert kmod.users(system.root) == 2


def tools(monkeypatch: pytest.MonkeyPatch, folder: Path, **scripts: str) -> None:
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(kmod, "_PATH", str(folder))


MODINFO = """cat <<'END'
filename:       /lib/modules/6.1/updates/dkms/ksm.ko
version:        0.2.0
srcversion:     533BB7E5866E52F63B9ACCB
depends:
vermagic:       6.1 SMP preempt mod_unload modversions
sig_id:         PKCS#7
signer:         DKMS module signing key
END"""


def test_what_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tools(monkeypatch, tmp_path)
    assert kmod.installed() is None
    tools(monkeypatch, tmp_path, modinfo=MODINFO)
    found = kmod.installed()
    assert found is not None
    assert found.build == Build("0.2.0", "533BB7E5866E52F63B9ACCB")
    assert (found.release, found.signed) == ("6.1", True)
    tools(monkeypatch, tmp_path, modinfo="exit 1", modprobe="echo 'in use' >&2; exit 1")
    assert kmod.installed() is None
    with pytest.raises(kmod.KmodError, match="modprobe -r ksm: in use"):
        kmod.unload()


@pytest.mark.parametrize(
    ("enforce", "lockdown", "wants"),
    [("N", "[none] integrity", False), ("Y", None, True), ("N", "none [integrity]", True)],
)
def test_signatures(system: System, enforce: str, lockdown: str | None, wants: bool) -> None:
    for path, text in (
        ("sys/module/module/parameters/sig_enforce", enforce),
        ("sys/kernel/security/lockdown", lockdown),
    ):
        if text:
            (system.root / path).parent.mkdir(parents=True)
            (system.root / path).write_text(text + "\n")
    assert kmod.wants_signature(system.root) == wants


def test_who_holds_the_device(tmp_path: Path) -> None:
    links = {7: "/dev/ksm", 8: "anon_inode:[ksm-area]", 9: "/dev/ksmbd", os.getpid(): "/dev/ksm"}
    for pid, target in links.items():
        (tmp_path / f"{pid}/fd").mkdir(parents=True)
        (tmp_path / f"{pid}/comm").write_text(f"name{pid}\n")
        (tmp_path / f"{pid}/fd/3").symlink_to(target)
    assert holders.holders(tmp_path) == ["name7 (pid 7)", "name8 (pid 8)"]


class Refusing:
    """What reload._begin() looks at, with everything in order but what a test changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        release = os.uname().release
        self.installed: Any = kmod.Installed("ksm.ko", Build("2", "B"), release, signed=False)
        self.running: Build | None = Build("1", "A")
        self.enforced = False
        monkeypatch.setattr(kmod, "loaded", lambda: self.running)
        monkeypatch.setattr(kmod, "instance", lambda: 1)
        monkeypatch.setattr(kmod, "installed", lambda: self.installed)
        monkeypatch.setattr(kmod, "wants_signature", lambda: self.enforced)
        monkeypatch.setattr(kmod, "users", lambda: 1)
        monkeypatch.setattr(reload, "_PATIENCE", 0.0)
        monkeypatch.setattr(reload, "holders", lambda: ["qemu (pid 7)"])
        monkeypatch.setattr(state, "FILE", str(tmp_path / "ksm/reload.json"))
        monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refusing:
    return Refusing(monkeypatch, tmp_path)


def test_refusals_name_the_remedy(refusing: Refusing) -> None:
    with pytest.raises(reload.ReloadRefused, match=r"in use by: qemu \(pid 7\)"):
        reload.reload()
    refusing.enforced = True
    with pytest.raises(reload.ReloadRefused, match="is not signed"):
        reload.reload()
    refusing.installed = kmod.Installed("ksm.ko", Build("2", "B"), "5.10.0-1", signed=True)
    with pytest.raises(reload.ReloadRefused, match=r"was built for the kernel 5\.10\.0-1"):
        reload.reload()
    refusing.installed = None
    with pytest.raises(reload.ReloadRefused, match="look at dkms status"):
        reload.reload()
    refusing.running = None
    with pytest.raises(reload.ReloadRefused, match="modprobe ksm"):
        reload.reload()


def test_the_installed_build_runs_already(refusing: Refusing) -> None:
    refusing.running = Build("2", "B")
    assert reload.reload().action == "nothing"
    with pytest.raises(reload.ReloadRefused, match="in use"):
        reload.reload(same=True)


def test_only_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(reload.ReloadRefused, match="only root"):
        reload.reload()


def test_a_report_is_json() -> None:
    report = Report("reloaded", Build("1", "A"), None, 3, lost=["one"])
    told = json.loads(json.dumps(report.as_dict()))
    assert told["before"] == {"version": "1", "srcversion": "A"}
    assert (told["after"], told["regions"], told["lost"]) == (None, 3, ["one"])
