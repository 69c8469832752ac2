# SPDX-License-Identifier: GPL-2.0-or-later
"""The next version runs, and what was merged never ceased to be."""

from __future__ import annotations

import subprocess
from typing import Any

from fleet.paths import REPOSITORY
from fleet.role_run import HARNESS

from conftest import NEXT, Workload

VERSION = (REPOSITORY / "VERSION").read_text().strip()


def test_pages_stayed_merged_while_the_module_changed(workload: Workload) -> None:
    watched = workload("watched")
    # One look every few seconds, over minutes in which apt, DKMS and the reload went by.
    assert watched["looks"] > 20, watched
    assert watched["first"] > 0
    # Idle guests write a little.
    assert watched["least"] >= 0.95 * watched["first"], watched


def test_the_next_version_runs_and_knows_of_them(host: Any, workload: Workload) -> None:
    assert host.ksm.version_running == NEXT
    assert not host.ksm.reload_required
    assert host.package("ksm-dkms").version == NEXT
    assert host.ksm.counters["pages_sharing"] > 0
    verdicts = workload("look")
    assert verdicts and all("intact" in verdict for verdict in verdicts.values()), verdicts


def test_it_goes_on_merging(workload: Workload) -> None:
    verdicts = workload("rewrite")
    assert all("intact" in verdict for verdict in verdicts.values()), verdicts
    workload("merged")
    verdicts = workload("look")
    assert all("intact" in verdict for verdict in verdicts.values()), verdicts


def test_the_host_knows_the_way_back(record: Any) -> None:
    assert record["outcome"] == "passed"
    assert set(record["before"]["packages"].values()) == {VERSION}
    assert record["before"]["module_version"] == VERSION


def test_the_kernel_has_nothing_to_complain_of(host: Any) -> None:
    name = host.ansible.get_variables()["inventory_hostname"]
    done = subprocess.run([str(HARNESS), "log", name], capture_output=True, text=True, check=False)
    assert "Linux version" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
