# SPDX-License-Identifier: GPL-2.0-or-later
"""This tree's version came by a rollout, and merges."""

from __future__ import annotations

from typing import Any

from fleet.paths import REPOSITORY

from conftest import Workload


def test_the_first_rollout_was_onto_a_host_that_had_nothing(host: Any, record: Any) -> None:
    assert host.ksm.version_running == (REPOSITORY / "VERSION").read_text().strip()
    assert record["outcome"] == "passed"
    assert set(record["before"]["packages"].values()) == {None}


def test_what_is_identical_is_merged(workload: Workload) -> None:
    workload("merged")
    for process in workload("report")["processes"]:
        assert process["common"]["merged"] >= 0.99 * process["common_pages"], process
