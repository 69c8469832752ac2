# SPDX-License-Identifier: GPL-2.0-or-later
"""testinfra's host.ksm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ksm import testing
from ksm.errors import BadValue
from ksm.testing import Failed, Ksm

STATUS = {
    "engine": "module",
    "kernel": "6.12.1",
    "version": "0.1.0",
    "tunables": {"run": 1, "pages_to_scan": 100},
    "counters": {"full_scans": 7, "pages_sharing": 16},
    "saved_bytes": 65536,
    "reload_required": True,
}
MARK = "6f0cdbd8-9b1b-4b62-bd4e-0e4d6f0cdbd8:12"
MISSED = {"name": "saved_mib_min", "ok": False, "text": "saved_mib_min: 0.06 MiB, but wanted 1"}


class Answer:
    def __init__(self, rc: int = 0, stdout: object = "", stderr: str = "") -> None:
        self.rc = rc
        self.stdout = stdout if isinstance(stdout, str) else json.dumps(stdout)
        self.stderr = stderr


class StandIn:
    """A host that says of each command what it is told to."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def run(self, command: str) -> Answer:
        words = command.partition(" ksmctl ")[2]
        self.asked.append(words)
        return self.answers[words.split()[0]]


def test_looks() -> None:
    host = StandIn(status=Answer(stdout=STATUS))
    ksm = Ksm(host)
    assert ksm.engine == "module"
    assert ksm.tunables == STATUS["tunables"]
    assert ksm.counters["full_scans"] == 7
    assert ksm.saved_bytes == 65536
    assert ksm.version_running == "0.1.0"
    assert ksm.reload_required
    assert set(host.asked) == {"status --json --engine auto"}
    ksm("kernel").status  # noqa: B018 - a look
    assert host.asked[-1] == "status --json --engine kernel"


def test_version_of_the_kernel_is_its_release() -> None:
    told = {"engine": "kernel", "kernel": "6.12.1"}
    ksm = Ksm(StandIn(status=Answer(stdout=told)))
    assert ksm.version_running == "6.12.1"
    assert not ksm.reload_required


def test_expect() -> None:
    seen = {"mark": MARK}
    host = StandIn(expect=Answer(1, {"ok": False, "findings": [MISSED], "observation": seen}))
    wanted = {"saved_mib_min": 1, "kernel_log_clean": True, "version": "0.1.0"}
    verdict = Ksm(host).expect(wanted, seconds=5, since=MARK)
    assert not verdict
    assert repr(verdict) == "missed: saved_mib_min: 0.06 MiB, but wanted 1"
    assert verdict.observation == seen
    assert host.asked == [
        f"expect --json --engine auto --seconds 5 --since {MARK} saved_mib_min=1.0 kernel_log_clean=true version=0.1.0"
    ]
    with pytest.raises(BadValue, match="there is no such expectation"):
        Ksm(host).expect({"saved": 1})
    host.answers["expect"] = Answer(0, {"ok": True, "findings": [], "observation": seen})
    assert Ksm(host).expect({})
    assert Ksm(host).mark() == MARK


def test_problems() -> None:
    found = {"check": "build", "reason": "x", "remedy": "y"}
    assert Ksm(StandIn(doctor=Answer(1, {"findings": [found]}))).problems == [found]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(127, "", "sh: 1: ksmctl: not found"), "install the package ksm-tools"),
        (Answer(1, "", "ksmctl: no engine is there"), "no engine is there"),
        (Answer(2, "{}", ""), "exit status 2"),
    ],
)
def test_failures(answer: Answer, said: str) -> None:
    with pytest.raises(Failed, match=said):
        Ksm(StandIn(status=answer)).engine  # noqa: B018 - a look
    with pytest.raises(Failed, match=said):
        Ksm(StandIn(expect=answer)).expect({})


def test_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("ksm.testing.time.monotonic", lambda: now[0])
    monkeypatch.setattr("ksm.testing.time.sleep", sleep)
    counters = iter([3, 4, 5, 6])
    host = StandIn()

    def run(command: str) -> Answer:
        return Answer(stdout={**STATUS, "counters": {"full_scans": next(counters, 6)}})

    monkeypatch.setattr(host, "run", run)
    Ksm(host).wait_for_passes(3)
    assert now == [2]
    with pytest.raises(Failed, match="run is 1, pages_to_scan 100"):
        Ksm(host).wait_for_passes(1, timeout=30)


def test_without_testinfra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "testinfra.host", None)
    testing.pytest_configure(None)


SUITE = """
def test_it(host):
    assert host.ksm.engine == "module"
    assert host.ksm.expect({"saved_mib_min": 1}, seconds=0)
"""


def test_in_a_suite_of_testinfra(tmp_path: Path) -> None:
    """With the local connection and a ksmctl that has its answers ready."""
    pytest.importorskip("testinfra")
    told: dict[str, Any] = {"ok": False, "findings": [MISSED], "observation": {}}
    (tmp_path / "status").write_text(json.dumps(STATUS))
    (tmp_path / "expect").write_text(json.dumps(told))
    command = tmp_path / "ksmctl"
    command.write_text(f'#!/bin/sh\ncat "{tmp_path}/$1"\n[ "$1" = status ]\n')
    command.chmod(0o755)
    (tmp_path / "test_suite.py").write_text(SUITE)
    tree = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "ksm.testing",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--hosts",
            "local://",
            "test_suite.py",
        ],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(tree)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "assert missed: saved_mib_min: 0.06 MiB, but wanted 1" in done.stdout
