# SPDX-License-Identifier: GPL-2.0-or-later
"""The filters that check variables and make tables."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.filter.complaints import complaints
from ansible_collections.ksm.fleet.plugins.filter.for_engines import for_engines
from ansible_collections.ksm.fleet.plugins.filter.verdicts import verdicts

RANGES = {"run": [0, 2], "saved": [0, None], "profit": [None, None]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"run": 3}, ["ksm_run is 3: write a number in 0..2."]),
        ({"run": True}, ["ksm_run is True: write a number in 0..2."]),
        ({"run": "fast"}, ["ksm_run is fast: write a number in 0..2."]),
        ({"run": 1.5}, ["ksm_run is 1.5: write a number in 0..2."]),
        ({"saved": -1}, ["ksm_saved is -1: write a number in 0..."]),
        ({"profit": "x"}, ["ksm_profit is x: write a number."]),
        ({"run": -1, "saved": "a"}, ["ksm_run is -1: write", "ksm_saved is a: write"]),
        ({"uids": True}, ["ksm_uids is True: write users and ranges"]),
        ({"uids": "33,a"}, ["ksm_uids is 33,a: write users and ranges"]),
    ],
)
def test_complaints(values: dict[str, Any], said: list[str]) -> None:
    found = complaints(values, RANGES, "ksm_", lists=["uids"])
    assert len(found) == len(said)
    assert all(text.startswith(wanted) for text, wanted in zip(found, said)), found


def test_what_is_good() -> None:
    good = {"run": "2", "saved": 10**12, "profit": -5, "uids": "33,1000-1999", "other": "x"}
    assert complaints(good, RANGES, lists=["uids"]) == []
    assert complaints({"run": None, "uids": ""}, RANGES, lists=["uids"]) == []
    assert complaints({"saved": 1.5, "profit": "-0.5"}, RANGES, whole=False) == []


def test_verdicts() -> None:
    def result(*findings: tuple[str, bool]) -> dict[str, Any]:
        seen = {"engine": "module", "version": "0.1.0", "saved_mib": 137.52, "sharing_ratio": 1.754}
        return {
            "observation": {**seen, "scan_cpu_percent": None, "memory_pressure": 0.0},
            "findings": [{"name": name, "ok": ok} for name, ok in findings],
        }

    lines = verdicts(
        {
            "dense-1": result(("saved_mib_min", True)),
            "latency-1": result(("saved_mib_min", False), ("engine", True), ("version", False)),
            "gone": None,
            "failed": {"msg": "python3-ksm is missing"},
            "free": result(),
        }
    )
    assert lines == [
        "host       verdict                         engine        saved MiB  ratio  scan CPU %  pressure %",
        "dense-1    as expected                     module 0.1.0      137.5    1.8           -         0.0",
        "latency-1  missed: saved_mib_min, version  module 0.1.0      137.5    1.8           -         0.0",
        "gone       no answer",
        "failed     no answer",
        "free       nothing expected                module 0.1.0      137.5    1.8           -         0.0",
    ]


PROFILE = {"all": {"run": 1, "pages_to_scan": 9}, "module": {"scan_threads": 2}, "kernel": {"run": 0}}
WITHOUT: dict[str, list[str]] = {"module": [], "kernel": ["domain_mode"]}


def test_what_is_given_beats_the_profile_and_an_engine_gets_what_it_knows() -> None:
    assert for_engines({"pages_to_scan": 5, "domain_mode": "user"}, PROFILE, WITHOUT) == {
        "module": {"run": 1, "pages_to_scan": 5, "scan_threads": 2, "domain_mode": "user"},
        "kernel": {"run": 0, "pages_to_scan": 5},
    }


def test_the_advisor_sets_the_pace() -> None:
    found = for_engines({"advisor_mode": "scan-time", "pages_to_scan": 5}, PROFILE, WITHOUT)
    assert found["kernel"] == {"run": 0, "advisor_mode": "scan-time"}
    assert "pages_to_scan" in for_engines({"advisor_mode": "none"}, PROFILE, WITHOUT)["kernel"]
