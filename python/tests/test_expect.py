# SPDX-License-Identifier: GPL-2.0-or-later
"""Expectations: what may be asked for, what is observed, what is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import System

from ksm import kernel_log
from ksm.cli import main
from ksm.engine import Engine
from ksm.errors import BadValue
from ksm.expect import EXPECTATIONS, Observation, check, observe, parse

BOOT = "6f0cdbd8-9b1b-4b62-bd4e-0e4d6f0cdbd8"
QUIET = "6,1,100,-;Linux version 6.12\n4,2,200,-;ksm: cannot see whether the built-in KSM runs\n"


def add_host(system: System, log: str = QUIET) -> None:
    root = system.root
    (root / "dev").mkdir()
    (root / "dev/kmsg").write_text(log)
    boot = root / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text(BOOT + "\n")
    (root / "proc/pressure").mkdir()
    some = "some avg10=9.00 avg60=1.50 avg300=0.10 total=5\nfull avg10=0.00 avg60=0.00 total=0\n"
    (root / "proc/pressure/memory").write_text(some)


@pytest.fixture
def host(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """A module whose thread uses 30 ticks of CPU time in each pause of a clock of its own."""
    add_host(system)
    system.add_module(pages_shared=256, pages_sharing=2560, general_profit=-1048576)
    system.add_task(512, "ksm", 0x00200000, 0, 100)
    now, used = [1000.0], [100]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        used[0] += 30
        stat = system.root / "proc/512/stat"
        if stat.exists():
            stat.write_text(stat.read_text().replace(f" {used[0] - 30} 0 0", f" {used[0]} 0 0"))

    monkeypatch.setattr("ksm.observation.time.sleep", sleep)
    monkeypatch.setattr("ksm.observation.time.monotonic", lambda: now[0])
    return system


def look(host: System, seconds: float = 10, since: str | None = None) -> Observation:
    return observe(Engine.module(host.root), seconds, host.root, since)


def findings(host: System, asked: dict[str, object], **options: Any) -> dict[str, tuple[bool, str]]:
    found = check(parse(asked), look(host, **options))
    return {finding.name: (finding.ok, finding.text) for finding in found}


def test_what_is_observed(host: System) -> None:
    seen = look(host)
    assert (seen.engine, seen.version, seen.seconds) == ("module", "0.1.0", 10)
    assert seen.saved_mib == 2560 * 4096 / 2**20
    assert seen.sharing_ratio == 10
    assert seen.profit_mib == -1
    assert seen.scan_cpu_percent == pytest.approx(3)
    assert seen.memory_pressure == 1.5
    assert (seen.kernel_log, seen.mark, seen.drift) == ([], f"{BOOT}:2", {})
    assert seen.unknown == {}
    json.dumps(seen.as_dict())


@pytest.mark.parametrize(
    ("name", "met", "missed"),
    [
        ("saved_mib_min", 10, 10.1),
        ("sharing_ratio_min", 10, "10.5"),
        ("scan_cpu_percent_max", 3.1, 2),
        ("memory_pressure_max", 1.5, 1),
        ("profit_min_mib", -1, 0),
        ("version", "0.1.0", "0.2.0"),
        ("engine", "module", "kernel"),
    ],
)
def test_met_and_missed(host: System, name: str, met: object, missed: object) -> None:
    assert findings(host, {name: met})[name][0]
    ok, text = findings(host, {name: missed})[name]
    assert not ok
    assert "but wanted" in text
    assert str(missed) in text


def test_every_expectation_can_be_missed(host: System) -> None:
    """Above, or in the tests of the log and of drift below."""
    told = [mark.args[1] for mark in test_met_and_missed.pytestmark]  # type: ignore[attr-defined]
    assert {row[0] for row in told[0]} | {"kernel_log_clean", "no_drift"} == set(EXPECTATIONS)


def test_drift(host: System) -> None:
    file = host.root / "etc/modprobe.d/ksm.conf"
    file.parent.mkdir(parents=True)
    file.write_text("options ksm pages_to_scan=100 sleep_millisecs=50 unheard_of=1\n")
    found = findings(host, {"no_drift": True})
    assert found == {"no_drift": (False, "no_drift: sleep_millisecs is 20, not 50")}
    file.write_text("options ksm pages_to_scan=100 sleep_millisecs=20\n")
    assert findings(host, {"no_drift": "yes"})["no_drift"][0]
    assert findings(host, {"no_drift": False}) == {}


@pytest.mark.parametrize(
    "record",
    [
        "4,9,300,-;WARNING: CPU: 0 PID: 7 at mm/rmap.c:1",
        "1,9,300,-;BUG: unable to handle page fault for address: 0000000000000008",
        "1,9,300,-;Oops: 0000 [#1] PREEMPT SMP NOPTI",
        "1,9,300,-;BUG: Bad page state in process ksm  pfn:10",
        "3,9,300,-;ksm: domain_mode=x: global, user, cgroup or process",
        "3,9,300,c;INFO: task qemu:1 blocked for more than 120 seconds.\n SUBSYSTEM=x",
    ],
)
def test_a_complaint_in_the_log(host: System, record: str) -> None:
    mark = look(host).mark
    (host.root / "dev/kmsg").write_text(QUIET + record + "\n")
    ok, text = findings(host, {"kernel_log_clean": True}, since=mark)["kernel_log_clean"]
    assert not ok
    assert record.partition(";")[2].partition("\n")[0] in text
    # Not again after it was told.
    assert findings(host, {"kernel_log_clean": True}, since=look(host).mark)["kernel_log_clean"][0]
    # Another boot than that of the mark: all of it counts.
    other = f"{BOOT[::-1].replace('-', '0')[:36].ljust(36, '0')}:9"
    assert not findings(host, {"kernel_log_clean": True}, since=other)["kernel_log_clean"][0]


def test_what_is_no_complaint(host: System) -> None:
    text = "14,9,300,-;WARNING: a person wrote this\n6,10,300,-;DEBUG: nothing\n"
    (host.root / "dev/kmsg").write_text(QUIET + text + "6,11,1,-;kfence: initialized - KFENCE: x\n")
    assert findings(host, {"kernel_log_clean": True})["kernel_log_clean"][0]


def test_a_flood_and_what_it_overwrote(host: System) -> None:
    mark = look(host).mark
    flood = "".join(f"6,{number},300,-;ksm: hello\n" for number in range(20, 200))
    (host.root / "dev/kmsg").write_text(flood)
    text = findings(host, {"kernel_log_clean": True}, since=mark)["kernel_log_clean"][1]
    assert "180 records of ksm.ko flood the log" in text
    assert "17 records were overwritten before they were read" in text


def test_a_flood_of_complaints_is_told_in_short(host: System) -> None:
    flood = "".join(f"4,{number},300,-;WARNING: at {number}\n" for number in range(20, 2000))
    (host.root / "dev/kmsg").write_text(flood)
    text = findings(host, {"kernel_log_clean": True})["kernel_log_clean"][1]
    assert text.endswith("and 1960 more complaints")
    assert len(text) < 1000


def test_what_cannot_be_observed_is_missed_with_the_remedy(host: System) -> None:
    (host.root / "proc/pressure/memory").unlink()
    (host.root / "dev/kmsg").unlink()
    (host.root / "proc/512/stat").unlink()
    (host.root / "sys/module/ksm/version").write_text("\n")
    (host.root / "sys/class/misc/ksm/general_profit").unlink()
    found = findings(
        host,
        {
            "memory_pressure_max": 100,
            "kernel_log_clean": True,
            "scan_cpu_percent_max": 100,
            "version": "0.1.0",
            "profit_min_mib": -5,
        },
    )
    assert not any(ok for ok, _ in found.values())
    texts = {name: text for name, (_, text) in found.items()}
    assert "boot it with psi=1" in texts["memory_pressure_max"]
    assert "look as root" in texts["kernel_log_clean"]
    assert "not seen from here" in texts["scan_cpu_percent_max"]
    assert "has no version" in texts["version"]
    assert "no general_profit" in texts["profit_min_mib"]


def test_no_time_no_cpu_time(host: System) -> None:
    found = findings(host, {"scan_cpu_percent_max": 100}, seconds=0)
    assert found["scan_cpu_percent_max"] == (
        False,
        "scan_cpu_percent_max: nothing was observed; look for a second or more",
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("saved_mib", 1, "there is no such expectation; write saved_mib_min"),
        ("zebra", 1, "known are saved_mib_min, sharing_ratio_min"),
        ("saved_mib_min", -1, "saved_mib_min: -1 is out of range; write a number of 0 or more"),
        ("saved_mib_min", True, "True is no number"),
        ("saved_mib_min", "much", "'much' is no number; write a number of 0 or more (MiB)"),
        ("saved_mib_min", "nan", "is out of range"),
        ("profit_min_mib", "inf", "is out of range"),
        ("memory_pressure_max", 101, "write a number in 0..100 (percent)"),
        ("kernel_log_clean", 1, "is neither true nor false"),
        ("version", 0.1, "write a version such as 0.1.0, in quotes"),
        ("engine", "uksm", "'uksm' is unknown; write module or kernel"),
    ],
)
def test_bad_expectations(name: str, value: object, said: str) -> None:
    with pytest.raises(BadValue, match=r"^[a-z_]+: ") as caught:
        parse({name: value})
    assert said in str(caught.value)
    assert caught.value.name == name


def test_all_complaints_at_once() -> None:
    with pytest.raises(BadValue, match=r"engine: .*; saved_mib_min: "):
        parse({"engine": "x", "saved_mib_min": "y"})


def test_a_mark_that_is_none(host: System) -> None:
    with pytest.raises(BadValue, match=r"since: '12\.5' is no mark"):
        look(host, since="12.5")


@pytest.fixture
def here(host: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """The command on that host."""
    engine = Engine.module(host.root)
    monkeypatch.setattr("ksm.cli.expect.select", lambda name: engine)
    real = observe

    def on_host(engine: Engine, seconds: float, since: str | None = None) -> Observation:
        return real(engine, seconds, host.root, since)

    monkeypatch.setattr("ksm.cli.expect.expect.observe", on_host)
    return host


def test_command(here: System, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expect", "saved_mib_min=10", "sharing_ratio_min=11"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("ok      saved_mib_min: 10.00 MiB, wanted at least 10 MiB")
    assert out[1].startswith("MISSED  sharing_ratio_min: 10.00, but wanted at least 11")
    assert main(["expect", "saved_mib_min=10"]) == 0


def test_command_without_expectations(here: System, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expect", "--seconds", "2"]) == 0
    assert "saved_mib         10.0" in capsys.readouterr().out


def test_command_json(here: System, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expect", "--json", "version=0.2.0"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["findings"][0]["found"] == "0.1.0"
    assert told["observation"]["mark"] == f"{BOOT}:2"
    # What it printed as mark, it takes.
    assert main(["expect", "--since", told["observation"]["mark"], "kernel_log_clean=true"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["saved_mib_min=1", "saved_mib_min=2"], "is given twice"),
        (["saved_mib_min=x"], "is no number"),
        (["--since", "yesterday"], "is no mark"),
    ],
)
def test_command_usage(here: System, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["expect", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_command_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["expect", "--seconds", "-1"])
    assert "write 0..86400" in capsys.readouterr().err


def test_this_machine() -> None:
    """The device hands out one record each read, mostly to root alone; a container has none."""
    log = kernel_log.read(Path("/"))
    assert (log.reason is None) == (log.complaints is not None)
    if log.mark:
        assert kernel_log.read(Path("/"), log.mark).complaints is not None
