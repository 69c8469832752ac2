# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds and the service, with real processes and a driver that is made of lists."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from ksm import state, turn
from ksm.cli import main
from ksm.errors import DeviceError, KsmError
from ksm.policy import files, loop, record, tasks
from ksm.policy import round as rounds
from ksm.policy.round import Keeper
from ksm.region import Region

Start = Callable[[], int]


class Driver:
    """Detached regions; its devices and areas are as those of ksm.device."""

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self.fail: dict[str, int] = {}
        self.opened = 0
        # Whose memory a process has, where it is not its own.
        self.owners: dict[int, int] = {}
        self._numbers = itertools.count(1)

    def device(self) -> _Device:
        self.check("open")
        return _Device(self)

    def check(self, what: str) -> None:
        if what in self.fail:
            raise DeviceError(what, self.fail[what])

    def add(self, pid: int, domain: tuple[int, bool, bool], children: bool) -> None:
        pid = self.owners.get(pid, pid)
        if any(region.pid == pid for region in self.regions):
            raise DeviceError("registering", errno.EEXIST)
        number = next(self._numbers)
        number_of, system, zero = domain
        family = number * children
        fields = (number, pid, 0, 0, True, children, family, number_of, system, zero, 0, 0)
        self.regions.append(Region(*fields))

    def domains(self) -> dict[int, int]:
        assert len({region.pid for region in self.regions}) == len(self.regions)
        return {region.pid: region.domain for region in self.regions}


class _Closing:
    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def __enter__(self) -> Any:
        self.driver.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.opened -= 1


class _Device(_Closing):
    def regions(self) -> list[Region]:
        self.driver.check("list")
        return list(self.driver.regions)

    def create_area(self) -> _Area:
        return _Area(self.driver)


class _Area(_Closing):
    domain = (0, False, False)

    def set_domain(self, number: int, *, system: bool, zero_pages: bool) -> None:
        self.domain = (number, system, zero_pages)

    def register_task(self, memory: Any, *, whole: bool, detached: bool, children: bool) -> None:
        assert whole
        assert detached
        self.driver.check("register")
        self.driver.add(_pid(memory), self.domain, children)

    def remove_task(self, memory: Any, *, whole: bool, detached: bool, children: bool) -> None:
        assert whole
        assert detached
        pid = self.driver.owners.get(_pid(memory), _pid(memory))
        gone = [region for region in self.driver.regions if region.pid == pid]
        if not gone:
            raise DeviceError("removing", errno.ENOENT)
        self.driver.regions.remove(gone[0])


def _pid(memory: Any) -> int:
    return int(os.readlink(f"/proc/self/fd/{memory.fileno()}").split("/")[2])


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    stand_in = Driver()
    monkeypatch.setattr(rounds, "Device", stand_in.device)
    return stand_in


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that no other process executes."""
    path = tmp_path / "server-of-the-test"
    path.write_bytes(Path("/bin/cat").read_bytes())
    path.chmod(0o755)
    return path


@pytest.fixture
def start(program: Path) -> Iterator[Start]:
    started = []

    def one() -> int:
        process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdin
        assert process.stdout
        # Only what answers has come through all of execve().
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        return process.pid

    yield one
    for process in started:
        process.kill()
        process.communicate()


def put(root: Path, program: Path, domain: str = "7", name: str = "servers", more: str = "") -> None:
    folder = root / files.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    text = f"[{name}]\ncommand = {program}\ndomain = {domain}\n{more}"
    (folder / f"{name}.conf").write_text(text)


def test_now_and_later_and_never_twice(tmp_path: Path, driver: Driver, program: Path, start: Start) -> None:
    put(tmp_path, program)
    first, keeper = start(), Keeper(tmp_path)
    assert keeper.look().tasks[0].why
    assert driver.regions == []
    report = keeper.round()
    assert report.registered == [first]
    assert report.tasks == [(first, str(program), "servers", "7", 7, True, None)]
    later = start()
    assert keeper.round().registered == [later]
    assert keeper.round().registered == []
    # Another one, after the first was killed.
    assert Keeper(tmp_path).round().registered == []
    assert driver.domains() == {first: 7, later: 7}
    assert driver.opened == 0


def test_the_memory_of_who_started_it_is_left_alone(
    tmp_path: Path, driver: Driver, program: Path, start: Start
) -> None:
    """Between vfork() and execve()."""
    put(tmp_path, program)
    child, own, keeper = start(), start(), Keeper(tmp_path)
    driver.owners[child] = 1
    report = keeper.round()
    assert report.registered == [own]
    assert [task.why for task in report.tasks if task.pid == child] == [tasks.SHARED]
    assert driver.domains() == {own: 7}
    # Not for a moment in each round.
    driver.fail["register"] = errno.EIO
    report = keeper.round()
    assert [task.why for task in report.tasks if task.pid == child] == [tasks.SHARED]
    driver.fail.clear()
    driver.owners.clear()
    assert Keeper(tmp_path).round().registered == [child]


def test_another_user_of_that_name(tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / files.FOLDER
    folder.mkdir(parents=True)
    (folder / "a.conf").write_text("[a]\nuser = alice\ndomain = 7\n")
    uids = {"alice": 4001}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=uids[name]))
    keeper = Keeper(tmp_path)
    assert [policy.uid for policy in keeper.round().policies] == [4001]
    uids["alice"] = 4002
    assert [policy.uid for policy in keeper.round().policies] == [4002]
    # Her number may be somebody else's next.
    uids.clear()
    report = keeper.round()
    assert "is not on this host" in str(report.errors[0])
    assert report.policies == []


def test_what_is_noted_comes_before_what_is_done(
    tmp_path: Path, driver: Driver, program: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, program)
    pid = start()

    def killed(*_: object, **__: object) -> None:
        driver.add(pid, (7, True, False), False)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_Area, "register_task", killed)
        with pytest.raises(KeyboardInterrupt):
            Keeper(tmp_path).round()
    (tmp_path / files.FOLDER / "servers.conf").unlink()
    assert Keeper(tmp_path).round().removed == [pid]
    assert driver.regions == []


def test_removed_policies_end_what_they_began_and_nothing_else(
    tmp_path: Path, driver: Driver, program: Path, start: Start
) -> None:
    put(tmp_path, program)
    pid, by_hand = start(), start()
    driver.add(by_hand, (9, False, False), False)
    report = Keeper(tmp_path).round()
    assert [(task.pid, task.registered) for task in report.tasks] == [(pid, True), (by_hand, False)]
    (tmp_path / files.FOLDER / "servers.conf").unlink()
    assert Keeper(tmp_path).look().removed == [pid]
    assert Keeper(tmp_path).round().removed == [pid]
    assert driver.domains() == {by_hand: 9}


def test_a_pid_that_was_noted_for_another_is_not_ours(
    tmp_path: Path, driver: Driver, program: Path, start: Start
) -> None:
    put(tmp_path, program)
    pid = start()
    Keeper(tmp_path).round()
    noted = record.load(tmp_path)
    other = noted.tasks[pid]._replace(identity=(1, 2, 3))
    record.Record({pid: other}, noted.good).save(tmp_path)
    (tmp_path / files.FOLDER / "servers.conf").unlink()
    assert Keeper(tmp_path).round().removed == []
    assert driver.domains() == {pid: 7}


def test_another_domain_at_one_stroke(tmp_path: Path, driver: Driver, program: Path, start: Start) -> None:
    put(tmp_path, program)
    pid, keeper = start(), Keeper(tmp_path)
    keeper.round()
    put(tmp_path, program, "88")
    report = keeper.round()
    assert (report.removed, report.registered) == ([pid], [pid])
    assert driver.domains() == {pid: 88}


def test_after_a_reload_of_the_module(tmp_path: Path, driver: Driver, program: Path, start: Start) -> None:
    put(tmp_path, program)
    pid, keeper = start(), Keeper(tmp_path)
    keeper.round()
    driver.regions = [region._replace(number=region.number + 100) for region in driver.regions]
    assert (keeper.round().registered, keeper.round().removed) == ([], [])
    # One that handed nothing over.
    driver.regions = []
    assert keeper.round().registered == [pid]


def test_without_a_module_it_waits(tmp_path: Path, driver: Driver, program: Path, start: Start) -> None:
    put(tmp_path, program)
    pid, keeper = start(), Keeper(tmp_path)
    driver.fail["open"] = errno.ENOENT
    for report in (keeper.round(), keeper.look()):
        assert report.waiting
        assert [(task.pid, task.registered) for task in report.tasks] == [(pid, False)]
    driver.fail.clear()
    interrupted = tmp_path / state.FILE
    interrupted.parent.mkdir(parents=True, exist_ok=True)
    interrupted.touch()
    assert "ksmctl reload" in str(keeper.round().waiting)
    assert driver.regions == []
    interrupted.unlink()
    assert keeper.round().registered == [pid]
    driver.fail["list"] = errno.EPERM
    with pytest.raises(DeviceError):
        keeper.round()


def test_what_cannot_be_registered_is_told(tmp_path: Path, driver: Driver, program: Path, start: Start) -> None:
    put(tmp_path, program)
    start()
    for code, said in ((errno.EEXIST, "registered already"), (errno.ENOSPC, "register")):
        driver.fail["register"] = code
        (task,) = Keeper(tmp_path).round().tasks
        assert not task.registered
        assert said in str(task.why)
    driver.fail["register"] = errno.ESRCH
    assert Keeper(tmp_path).round().tasks == []


def test_a_pid_that_came_to_another_is_not_registered(
    tmp_path: Path, driver: Driver, program: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, program)
    start()
    monkeypatch.setattr("ksm.policy.tasks.identity", lambda _: (1, 2, 3))
    assert Keeper(tmp_path).round().tasks == []
    assert driver.regions == []


def test_a_bad_file_keeps_its_last_good_version_over_a_restart(
    tmp_path: Path, driver: Driver, program: Path, start: Start
) -> None:
    put(tmp_path, program)
    pid = start()
    Keeper(tmp_path).round()
    put(tmp_path, program, more="children = perhaps\n")
    put(tmp_path, Path("/nowhere"), name="good")
    report = Keeper(tmp_path).round()
    assert [policy.name for policy in report.policies] == ["good", "servers"]
    assert "servers.conf, [servers]: children 'perhaps'" in str(report.errors[0])
    assert driver.domains() == {pid: 7}


def test_a_reload_waits_for_a_round(tmp_path: Path, driver: Driver) -> None:
    order = []
    with turn.taken(tmp_path):
        other = threading.Thread(target=lambda: order.append(Keeper(tmp_path).round()))
        other.start()
        time.sleep(0.2)
        assert order == []
    other.join()
    assert len(order) == 1


def test_a_record_of_nothing(tmp_path: Path) -> None:
    assert record.load(tmp_path) == record.EMPTY
    file = tmp_path / record.FILE
    file.parent.mkdir(parents=True)
    for text in ("", "[]", "{}", '{"format": 2}', '{"format": 1, "tasks": [{}], "good": {}}'):
        file.write_text(text)
        assert record.load(tmp_path) == record.EMPTY
    record.EMPTY.save(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600


class TestService:
    def test_it_tells_what_is_new_once(self, tmp_path: Path, driver: Driver, program: Path, start: Start) -> None:
        said: list[str] = []
        teller = loop._Teller(said.append)
        keeper = Keeper(tmp_path)
        put(tmp_path, program)
        pid = start()
        driver.fail["register"] = errno.ENOSPC
        for _ in range(2):
            teller.report(keeper.round())
        assert len(said) == 1
        driver.fail.clear()
        for _ in range(2):
            teller.report(keeper.round())
        registered = f"process {pid} ({program}) is registered in domain 7 by servers"
        assert said[1:] == [registered]

    def test_it_is_ready_after_a_round_and_ends_by_signal(self, tmp_path: Path) -> None:
        address = tmp_path / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(str(address))
            notices.settimeout(20)
            code = (
                "import sys; from ksm.policy import loop\n"
                f"loop.run(lambda text: print(text, flush=True), 3600, {str(tmp_path)!r})"
            )
            environment = {
                **os.environ,
                "NOTIFY_SOCKET": str(address),
                "PYTHONPATH": str(Path(loop.__file__).parents[2]),
            }
            command = [sys.executable, "-c", code]
            with subprocess.Popen(command, env=environment) as process:
                assert notices.recv(99) == b"STATUS=0 policies, 0 tasks registered"
                assert notices.recv(99) == b"READY=1"
                assert loop.runs(tmp_path)
                with pytest.raises(KsmError, match="another ksmctl policy run is at work"):
                    loop.run(print, 1, tmp_path)
                put(tmp_path, Path("/nowhere"))
                process.send_signal(signal.SIGHUP)
                assert notices.recv(99) == b"STATUS=1 policies, 0 tasks registered"
                process.terminate()
                assert process.wait(20) == 0
        assert not loop.runs(tmp_path)


@pytest.fixture
def here(tmp_path: Path, driver: Driver, program: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the commands see the folder as the host."""
    monkeypatch.setattr("ksm.cli.policy.Keeper", lambda: Keeper(tmp_path))
    monkeypatch.setattr("ksm.cli.policy.loop.runs", lambda: False)
    load, noted = files.load, record.load
    monkeypatch.setattr("ksm.cli.policy.files.load", lambda system=tmp_path, last=None: load(system, last))
    monkeypatch.setattr("ksm.cli.policy.record.load", lambda system=tmp_path: noted(system))
    put(tmp_path, program, "tenant-a")
    return tmp_path


class TestCommands:
    def test_list(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["policy", "list"]) == 0
        line = capsys.readouterr().out.splitlines()[1]
        assert line.split()[0] == "servers"
        assert "tenant-a (" in line
        assert main(["policy", "list", "--json"]) == 0
        (policy,) = json.loads(capsys.readouterr().out)["policies"]
        assert policy["match"] == {"command": str(here / "server-of-the-test")}

    def test_check(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["policy", "check"]) == 0
        bad = here / "draft"
        bad.write_text("[x]\nunit = y\n")
        assert main(["policy", "check", str(bad), "--json"]) == 1
        assert json.loads(capsys.readouterr().out.partition("\n")[2])["errors"][0]["value"] == "y"
        assert main(["policy", "check", str(here / "none")]) == 1

    def test_apply_and_status(self, here: Path, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
        pid = start()
        assert main(["policy", "status", "--json"]) == 0
        seen = json.loads(capsys.readouterr().out)
        assert (seen["running"], seen["tasks"][0]["registered"]) == (False, False)
        assert main(["policy", "apply"]) == 0
        assert capsys.readouterr().out == f"registered process {pid} in domain tenant-a\n"
        assert main(["policy", "apply"]) == 0
        assert capsys.readouterr().out == "nothing to do\n"
        assert main(["policy", "status"]) == 0
        assert capsys.readouterr().out.splitlines()[2].split()[:4] == [
            str(pid),
            "servers",
            "tenant-a",
            "yes",
        ]

    def test_apply_fails_where_something_is_not_as_it_shall_be(
        self, here: Path, driver: Driver, start: Start, capsys: pytest.CaptureFixture[str]
    ) -> None:
        driver.fail["open"] = errno.ENOENT
        assert main(["policy", "apply", "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["waiting"]

    @pytest.mark.parametrize("interval", ["0", "soon", "nan", "1e9"])
    def test_bad_intervals(self, interval: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["policy", "run", "--interval", interval])
        assert f"'{interval}' is no time between looks" in capsys.readouterr().err
