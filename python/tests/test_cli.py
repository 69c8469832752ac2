# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from conftest import MIB, Driver, System

from ksm import abi, engine, kmod, reload
from ksm.cli import main, settings, status, thread
from ksm.handover import Outcome

PAGE = os.sysconf("SC_PAGE_SIZE")
Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(str(stop.code))
        output, errors = capfd.readouterr()
        return code, output, errors

    return run


@pytest.fixture
def host(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """Make the commands see the stand-in for the host."""

    def select(name: str) -> engine.Engine:
        return engine.select(name, system.root)

    monkeypatch.setattr(status, "select", select)
    monkeypatch.setattr(settings, "select", select)
    monkeypatch.setattr(thread, "Engine", _EngineOf(system))
    return system


class _EngineOf:
    def __init__(self, system: System) -> None:
        self._system = system

    def module(self) -> engine.Engine:
        return engine.Engine.module(self._system.root)


def test_status_is_a_table(host: System, run: Run) -> None:
    host.add_module(run=1, pages_sharing=512 * MIB // PAGE)
    host.add_task(512, "kksmd", 0x00200000, 125, 0)
    code, output, errors = run("status")
    assert (code, errors) == (0, "")
    assert re.search(r"^engine +module 0\.1\.0 \(", output, re.M)
    assert re.search(rf"^kernel +{re.escape(os.uname().release)}$", output, re.M)
    assert re.search(r"^state +merging \(run 1\)$", output, re.M)
    assert re.search(r"^saved +512\.0 MiB$", output, re.M)
    seconds = 125 / os.sysconf("SC_CLK_TCK")
    assert re.search(rf"^thread +pid 512, {seconds:.2f} s CPU$", output, re.M)
    assert re.search(r"^  sleep_millisecs +20 ms$", output, re.M)
    assert re.search(r"^  general_profit +-4096 bytes$", output, re.M)
    # Aligned: all the values of a table end in one column.
    counters = output[output.index("counters") :].splitlines()[1:]
    assert len({re.match(r"  \S+ +-?\d+", line).end() for line in counters}) == 1  # type: ignore[union-attr]


def test_status_of_a_named_engine_in_json(host: System, run: Run) -> None:
    host.add_module()
    host.add_kernel()
    assert json.loads(run("status", "--json")[1])["engine"] == "module"
    snapshot = json.loads(run("status", "--json", "--engine", "kernel")[1])
    assert snapshot["engine"] == "kernel"
    assert snapshot["tunables"]["advisor_mode"] == "none"


def test_status_without_an_engine(host: System, run: Run) -> None:
    code, output, errors = run("status")
    assert (code, output) == (1, "")
    assert errors.startswith("ksmctl: no engine is there")
    assert "modprobe ksm" in errors


def test_set(host: System, run: Run) -> None:
    module = host.add_module()
    code, output, _ = run("set", "pages_to_scan=500", "run=1", "sleep_millisecs=20")
    assert code == 0
    assert output == "pages_to_scan: 100 -> 500\nrun: 0 -> 1\nsleep_millisecs: 20, as it was\n"
    assert module.tunables()["pages_to_scan"] == 500


def test_lists_of_users(host: System, run: Run) -> None:
    module = host.add_module(scan_all_exclude_uids="")
    name = "scan_all_exclude_uids"
    assert run("set", f"{name}=33,07-9")[:2] == (0, f"{name}: none -> 33,7-9\n")
    assert run("set", f"{name}=33,7-9")[1] == f"{name}: 33,7-9, as it was\n"
    assert re.search(rf"^  {name} +33,7-9$", run("status")[1], re.M)
    assert run("set", f"{name}=" + ",".join(map(str, range(10000, 10064))))[0] == 0
    assert re.search(rf"^  {name} +64 entries$", run("status")[1], re.M)
    assert run("set", f"{name}=")[0] == 0
    assert module.read(name) == ""


def test_set_check_and_json(host: System, run: Run) -> None:
    module = host.add_module()
    code, output, _ = run("set", "--check", "--json", "run=1")
    assert code == 0
    assert json.loads(output) == {
        "engine": "module",
        "check": True,
        "changed": True,
        "before": {"run": 0},
        "after": {"run": 1},
    }
    assert "not done" in run("set", "--check", "run=1")[1]
    assert module.read("run") == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["set", "run=5"], "run: 5 is out of range; write 0, 1 or 2"),
        (["set", "run=1", "run=2"], "run: is given twice, 1 and 2"),
        (["set", "run"], "'run' is no NAME=VALUE"),
        (["set", "run="], "run: '' is not a whole number"),
        (["set", "=1"], "'=1' is no NAME=VALUE"),
        (["set"], "required: NAME=VALUE"),
        (["set", "--engine", "uksm", "run=1"], "'uksm'"),
        ([], "required: COMMAND"),
        (["begin"], "'begin'"),
        (["start", "0"], "0 pages a scan; write 1 or more"),
        (["start", "-5"], "-5"),
        (["start", "4294967296"], "'4294967296' is no number; write 0..4294967295"),
        (["start", "1", "2", "3", "4"], "4 numbers; write at most"),
        (["register"], "required: --pid"),
        (["register", "--pid", "0"], "'0' is no pid"),
        (["register", "--pid", "x"], "'x' is no pid"),
        (["register", "--pid", "1", "--addr", "0x1000"], "--addr and --length go together"),
        (["register", "--pid", "1", "--length", "4096"], "--addr and --length go together"),
        (["unregister", "--pid", "1", "--pid", "2", "--addr", "0"], "give one --pid"),
        (["unregister", "--pid", "1", "--addr", "zero"], "'zero' is no address"),
        (["register", "--pid", "1", "--domain", "0"], "'0' is no domain"),
        (["unregister", "--pid", "1", "--addr", "0", "--children"], "leave out --addr"),
        (["statistics"], "required: --pid"),
    ],
)
def test_bad_usage_is_2(host: System, driver: Driver, run: Run, arguments: list[str], text: str) -> None:
    host.add_module()
    code, output, errors = run(*arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("ksmctl: ")
    assert text in errors
    assert driver.calls == []


def test_a_refused_set_is_1(host: System, run: Run) -> None:
    host.add_kernel(run=1, pages_sharing=10**6)
    host.set_available(0)
    code, _, errors = run("set", "run=2")
    assert code == 1
    assert errors.startswith("ksmctl: run: 2 unmerges everything")


def test_info_on_a_pipe_has_three_integers(driver: Driver, run: Run) -> None:
    output = run("info")[1]
    assert re.findall(r"\d+", output) == ["1", "100", "20000"]
    assert output.count("\n") == 1
    # Another suite takes the second word.
    assert output.splitlines()[0].split()[1].strip(",") == "1"


def test_info_on_a_terminal_is_a_table(driver: Driver, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output = run("info")[1]
    assert re.search(r"^sleep +20000 us$", output, re.M)
    assert json.loads(run("info", "--json")[1]) == {
        "run": 1,
        "pages_to_scan": 100,
        "sleep_us": 20000,
        "max_merge": 0,
    }


@pytest.mark.parametrize(
    ("numbers", "sent"),
    [
        ([], (20000, 100, 0, 1)),
        (["5000"], (20000, 5000, 0, 1)),
        (["5000", "50"], (50, 5000, 0, 1)),
        (["5000", "9", "50"], (50, 5000, 9, 1)),
    ],
)
def test_start_has_every_dialect(
    host: System, driver: Driver, run: Run, numbers: list[str], sent: tuple[int, ...]
) -> None:
    code, output, _ = run("start", *numbers)
    assert (code, output) == (0, "created scanner\n")
    assert driver.calls[-1] == (abi.START_STOP_KTHREAD, abi.KTHREAD_INFO.pack(*sent))


def test_start_refuses_beside_ksmd(host: System, driver: Driver, run: Run) -> None:
    host.add_kernel(run=1)
    code, _, errors = run("start")
    assert code == 1
    assert "the kernel engine runs" in errors
    assert abi.START_STOP_KTHREAD not in [request for request, _ in driver.calls]


def test_stop_keeps_the_pace(driver: Driver, run: Run) -> None:
    code, output, _ = run("stop")
    assert (code, output) == (0, "stopped scanner\n")
    assert driver.calls[-1] == (abi.START_STOP_KTHREAD, abi.KTHREAD_INFO.pack(20000, 100, 0, 0))


def test_stop_without_the_right(driver: Driver, run: Run) -> None:
    driver.fail[abi.START_STOP_KTHREAD] = errno.EPERM
    code, _, errors = run("stop")
    assert code == 1
    assert errors == "ksmctl: stopping: takes CAP_SYS_ADMIN; be root (EPERM)\n"


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child.pid
        child.kill()


def test_register_whole_and_detached(driver: Driver, run: Run, sleeper: int) -> None:
    pids = [str(sleeper), str(os.getpid()), str(os.getppid())]
    code, output, _ = run("register", "--pid", pids[0], pids[1], "--pid", pids[2])
    assert code == 0
    assert output == "".join(f"registered process {pid}\n" for pid in pids)
    regions = [abi.TASK_REGION.unpack(data) for request, data in driver.calls if request == abi.REGISTER_TASK]
    assert [(flags, addr, length) for _, flags, _, _, addr, length in regions] == [(3, 0, 0)] * 3


def test_register_a_range(driver: Driver, run: Run) -> None:
    pid = str(os.getpid())
    assert run("register", "--pid", pid, "--addr", "0x10000", "--length", "8192")[0] == 0
    _, flags, _, _, addr, length = abi.TASK_REGION.unpack(driver.calls[-1][1])
    assert (flags, addr, length) == (abi.TASK_DETACHED, 0x10000, 8192)


def test_register_in_a_domain(driver: Driver, run: Run) -> None:
    pid = str(os.getpid())
    assert run("register", "--pid", pid, "--domain", "7")[0] == 0
    (domain,) = [data for request, data in driver.calls if request == abi.SET_DOMAIN]
    assert abi.DOMAIN.unpack(domain) == (24, 0, 7, 0)
    assert [request for request, _ in driver.calls][-1] == abi.REGISTER_TASK


def test_one_ended_process_does_not_keep_the_others(driver: Driver, run: Run, sleeper: int) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    code, output, errors = run("register", "--pid", str(child.pid), "--pid", str(sleeper))
    assert code == 1
    assert output == f"registered process {sleeper}\n"
    assert errors.startswith(f"ksmctl: process {child.pid}: there is none, or it ended")


def test_register_failures_in_json(driver: Driver, run: Run, sleeper: int) -> None:
    driver.fail[abi.REGISTER_TASK] = errno.EEXIST
    code, output, errors = run("register", "--json", "--pid", str(sleeper))
    assert code == 1
    (result,) = json.loads(output)
    assert (result["pid"], result["ok"]) == (sleeper, False)
    assert "registered already" in result["error"]
    assert errors == f"ksmctl: {result['error']}\n"


def test_unregister(driver: Driver, run: Run, sleeper: int) -> None:
    assert run("unregister", "--pid", str(sleeper))[:2] == (0, f"unregistered process {sleeper}\n")
    request, data = driver.calls[-1]
    assert request == abi.REMOVE_TASK
    assert abi.TASK_REGION.unpack(data)[1] == abi.TASK_WHOLE | abi.TASK_DETACHED
    assert run("unregister", "--pid", str(sleeper), "--addr", "4096")[0] == 0
    _, flags, _, _, addr, _ = abi.TASK_REGION.unpack(driver.calls[-1][1])
    assert (flags, addr) == (abi.TASK_DETACHED, 4096)


def test_with_the_children(driver: Driver, run: Run, sleeper: int) -> None:
    for verb, request in (("register", abi.REGISTER_TASK), ("unregister", abi.REMOVE_TASK)):
        assert run(verb, "--children", "--pid", str(sleeper))[0] == 0
        assert driver.calls[-1][0] == request
        flags = abi.TASK_REGION.unpack(driver.calls[-1][1])[1]
        assert flags == abi.TASK_WHOLE | abi.TASK_DETACHED | abi.TASK_CHILDREN


def test_statistics(driver: Driver, run: Run, sleeper: int) -> None:
    def answer(argument: bytearray) -> int:
        numbers = (1, 2, 30, 20, 10, 5, 4096, 8192, -4096)
        argument[16:] = abi.STATISTICS.pack(0, 0, 0, 0, *numbers)[16:]
        return 0

    driver.answers[abi.TASK_STATISTICS] = answer
    code, output, _ = run("statistics", "--pid", str(sleeper))
    assert code == 0
    assert output.startswith(f"process {sleeper}\n  regions ")
    assert re.search(r"^  profit +-4096 bytes$", output, re.M)
    code, output, _ = run("statistics", "--json", "--pid", str(sleeper))
    (result,) = json.loads(output)
    assert (result["pid"], result["pages_merged"], result["profit"]) == (sleeper, 20, -4096)
    driver.fail[abi.TASK_STATISTICS] = errno.ENOTTY
    code, _, errors = run("statistics", "--pid", str(sleeper))
    assert code == 1
    assert "update ksm-dkms" in errors


def _lister(infos: list[tuple[int, ...]], step: int) -> Callable[[bytearray], int]:
    """KSM_LIST_REGIONS of a driver that tells so many in one call."""

    def answer(argument: bytearray) -> int:
        size, _, cursor, end, entries, entry_size, room = abi.REGION_LIST.unpack(argument)
        assert (size, entry_size) == (abi.REGION_LIST.size, abi.REGION_INFO.size)
        end = end if cursor else infos[-1][0] if infos else 0
        left = [info for info in infos if cursor < info[0] <= end][: min(step, room)]
        data = b"".join(abi.REGION_INFO.pack(*info) for info in left)
        ctypes.memmove(entries, data, len(data))
        cursor = left[-1][0] if left else cursor
        told = abi.REGION_LIST.pack(size, 0, cursor, end, entries, entry_size, len(left))
        argument[:] = told
        return 0

    return answer


def test_regions(driver: Driver, run: Run) -> None:
    whole, family = abi.TASK_WHOLE | abi.TASK_DETACHED, 7 | abi.TASK_CHILDREN
    infos = [
        (3, 0, 0, 0, 77, whole, 4711, 1000, 0, 1000, 0),
        (4, 0x10000, 8192, 0, 9, abi.TASK_DETACHED, 0, 0, abi.DOMAIN_SYSTEM, 0, 0),
        (9, 0, 0, 2, 0, family, 4712, 0, 3, 0, 0),
    ]
    for step in (1, 2, 512):
        driver.answers[abi.LIST_REGIONS] = _lister(infos, step)
        code, output, _ = run("regions")
        assert code == 0
        assert [re.split(r"  +", line) for line in output.splitlines()] == [
            ["process", "memory", "family", "domain", "uid"],
            ["4711", "whole", "-", "77 of uid 1000", "1000"],
            ["-", "0x10000-0x12000", "-", "system 9", "0"],
            ["4712", "whole", "2", "common, zero pages", "0"],
        ]
    code, output, _ = run("regions", "--json")
    first, second, _ = json.loads(output)
    assert (first["number"], first["pid"], first["whole"], first["domain_owner"]) == (
        3,
        4711,
        True,
        1000,
    )
    assert (second["addr"], second["length"], second["domain_system"]) == (0x10000, 8192, True)


def test_no_regions(driver: Driver, run: Run) -> None:
    driver.answers[abi.LIST_REGIONS] = _lister([], 512)
    assert run("regions")[1] == "process  memory  family  domain  uid\n"
    assert run("regions", "--json")[1] == "[]\n"
    driver.fail[abi.LIST_REGIONS] = errno.EPERM
    assert run("regions")[2].endswith("takes CAP_SYS_ADMIN; be root (EPERM)\n")


def test_status_tells_a_pending_reload(host: System, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add_module(version="0.1.0")
    (host.root / "sys/module/ksm/srcversion").write_text("A1\n")
    new = kmod.Installed("ksm.ko", kmod.Build("0.1.0", "A1"), "6.1", signed=False)
    monkeypatch.setattr(kmod, "installed", lambda: new)
    assert "reload" not in run("status")[1]
    assert json.loads(run("status", "--json")[1])["reload_required"] is False
    new = kmod.Installed("ksm.ko", kmod.Build("0.1.0", "B2"), "6.1", signed=False)
    assert "another build of 0.1.0, reload pending: ksmctl reload\n" in run("status")[1]
    new = kmod.Installed("ksm.ko", kmod.Build("0.2.0", "B2"), "6.1", signed=False)
    assert re.search(r"^installed +0\.2\.0, reload pending", run("status")[1], re.M)
    told = json.loads(run("status", "--json")[1])
    assert (told["version"], told["version_installed"]) == ("0.1.0", "0.2.0")
    assert (told["srcversion"], told["srcversion_installed"]) == ("A1", "B2")
    assert told["reload_required"] is True
    monkeypatch.setattr(reload, "pending", lambda: True)
    assert "was interrupted; go on with it: ksmctl reload\n" in run("status")[1]
    host.add_kernel()
    assert "reload_required" not in json.loads(run("status", "--json", "--engine", "kernel")[1])


OLD, NEW = kmod.Build("0.1.0", "A1"), kmod.Build("0.2.0", "B2")


@pytest.mark.parametrize(
    ("report", "pending", "code", "said"),
    [
        (reload.Report("nothing", OLD, OLD), False, 0, "0.1.0 (A1): the installed build is the"),
        (reload.Report("would", OLD, NEW, 3), False, 0, "0.2.0 (B2)\nregions: 3 to hand over\n"),
        (
            reload.Report("reloaded", OLD, NEW, 3, Outcome(1, 1, 1), ["gone"], ["smart_scan"]),
            False,
            0,
            "reloaded: 0.1.0 (A1) -> 0.2.0 (B2)\n"
            "regions: 1 handed over, 1 ended meanwhile, 1 there already\n"
            "lost: gone\nleft out, the new build has no such tunable: smart_scan\n",
        ),
        (reload.Report("resumed", OLD, NEW, 3, problems=["mend"]), True, 3, "resumed: 0.1.0"),
        (reload.Report("resumed", OLD, NEW, began="noon"), False, 0, "with the reload of noon\n"),
        (
            reload.Report("reloaded", OLD, None, 3, problems=["mend"]),
            True,
            3,
            "no module is loaded",
        ),
        (reload.Report("kept", OLD, OLD, 3, problems=["mend"]), False, 1, "0.1.0 (A1) runs again"),
        (reload.Report("kept", OLD, OLD, 3, problems=["mend"]), True, 3, "0.1.0 (A1) runs again"),
    ],
)
def test_reload_says_what_it_did(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    report: reload.Report,
    pending: bool,
    code: int,
    said: str,
) -> None:
    given: dict[str, object] = {}

    def stand_in(**arguments: object) -> reload.Report:
        given.update(arguments)
        return report

    monkeypatch.setattr(reload, "reload", stand_in)
    monkeypatch.setattr(reload, "pending", lambda: pending)
    status, output, errors = run("reload", "--force")
    assert status == code
    assert said in output
    assert errors == "".join(f"ksmctl: {problem}\n" for problem in report.problems)
    assert (given["force"], given["same"], given["dry_run"]) == (True, False, False)
    status, output, _ = run("reload", "--json", "--same", "--dry-run")
    assert (status, json.loads(output)["action"]) == (code, report.action)
    assert (given["force"], given["same"], given["dry_run"]) == (False, True, True)


@pytest.mark.skipif(Path(abi.DEVICE).exists(), reason="the module is loaded here")
@pytest.mark.parametrize("command", [["info"], ["stop"], ["start"], ["register", "--pid", "1"]])
def test_without_the_module(run: Run, command: list[str]) -> None:
    code, output, errors = run(*command)
    assert (code, output) == (1, "")
    assert errors == "ksmctl: /dev/ksm is missing; load the module: modprobe ksm (ENOENT)\n"


def test_version(run: Run) -> None:
    code, output, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"ksmctl \d+\.\d+\.\d+\S*\n", output)


def test_a_reader_that_went_away_is_no_traceback() -> None:
    code = "import sys; from ksm.cli import main; sys.exit(main(['status']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    read_end, write_end = os.pipe()
    os.close(read_end)
    child = subprocess.run(
        [sys.executable, "-c", code],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    os.close(write_end)
    assert "Traceback" not in child.stderr
    assert child.returncode == 1


def test_an_interrupt_is_no_traceback(host: System, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "select", interrupt)
    assert run("status") == (1, "", "ksmctl: interrupted\n")
