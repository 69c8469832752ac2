# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of many hosts works on two, and leaves nothing behind. Its figures are nobody's business here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ksmscale import processes

SCALE = Path(__file__).resolve().parent / "scale"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces")


def start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCALE), "--role", "ours", "plain", "--rounds", "1", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_both_kinds_of_run_are_measured_on_hosts_that_end_as_wanted(tmp_path: Path) -> None:
    out = tmp_path / "scale.json"
    process = start("--hosts", "2", "--out", str(out))
    said, _ = process.communicate()
    assert process.returncode == 0, said
    rows = json.loads(out.read_text())["rows"]
    assert {(row["contender"], row["kind"]) for row in rows} == {
        (role, kind) for role in ("ours", "plain") for kind in ("first", "noop")
    }
    for row in rows:
        assert not row["troubles"]
        # With pipelining, a module is a session at the least.
        assert 2 <= row["modules"] <= row["sessions"]
        assert 0 < row["hosts_cpu"] < 2 * row["seconds"] * (os.cpu_count() or 1)
        assert 10 < row["ansible_mib"]
        assert sum(task["seconds"] for task in row["tasks"]) == pytest.approx(row["seconds"], rel=0.5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_whatever_ends_it_nothing_is_left(how: signal.Signals, tmp_path: Path) -> None:
    links = socket.if_nameindex()
    process = start("--hosts", "3", "--out", str(tmp_path / "scale.json"))
    deadline = time.monotonic() + 300
    while sum(stat.comm == "init" for stat in below(process.pid)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    told = {process.pid}
    if how == signal.SIGINT:
        # Ctrl-C reaches all of a terminal's programs.
        told |= {stat.pid for stat in below(process.pid) if stat.parent == process.pid}
    left = {stat.pid for stat in below(process.pid)}
    for pid in told:
        os.kill(pid, how)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while left & processes.table().keys():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert socket.if_nameindex() == links
    assert "ksm-scale" not in Path("/proc/mounts").read_text()


def below(pid: int) -> list[processes.Stat]:
    return processes.trees([pid], processes.table())[pid]
