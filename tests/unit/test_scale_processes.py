# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc says about process trees."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ksmscale import memory, processes
from ksmscale.processes import Stat
from ksmvm.errors import HarnessError


def test_a_name_may_hold_what_separates_fields() -> None:
    text = "12 (a) b (c) S 7 12 12 0 -1 4194560 1 2 3 4 11 22 33 44 20 0 1 0 5 6 7\n"
    assert processes.parse_stat(text) == Stat(12, "a) b (c", 7, 11 + 22 + 33 + 44)


def test_a_tree_is_all_that_descends_from_its_root() -> None:
    stats = {pid: Stat(pid, "x", parent, pid) for pid, parent in {1: 0, 2: 1, 3: 2, 4: 2, 5: 1, 6: 5}.items()}
    found = processes.trees([2, 5, 99], stats)
    pids = {root: {stat.pid for stat in members} for root, members in found.items()}
    assert pids == {2: {2, 3, 4}, 5: {5, 6}, 99: set()}
    assert processes.cpu_seconds(found[2]) == 9 / processes.TICK


def test_this_process_is_seen_with_its_child() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            members = processes.trees([os.getpid()], processes.table())[os.getpid()]
            assert child.pid in {stat.pid for stat in members}
            assert processes.pss_kib(child.pid)
        finally:
            child.kill()
    assert processes.pss_kib(child.pid) is None


def test_too_many_hosts_are_refused_with_what_they_take(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8388608 kB\nMemAvailable:    8388608 kB\n")
    memory.require(100, tuned=True, meminfo=meminfo)
    with pytest.raises(HarnessError, match="1000 hosts take 14096 MiB of memory, 8192 are available"):
        memory.require(1000, meminfo=meminfo)
    with pytest.raises(HarnessError, match="200 hosts take 12096 MiB"):
        memory.require(200, tuned=True, meminfo=meminfo)
