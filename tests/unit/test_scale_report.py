# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of the benchmark of many hosts, and which runs count."""

from __future__ import annotations

from typing import Any

import pytest
from ksmscale import report
from ksmscale.measure import troubles
from ksmscale.plan import Step

COUNTS = {"ok": 3, "changed": 0, "failures": 0, "unreachable": 0}
NOOP = Step("ours", "noop", 1, 25, True, 1)
FIRST = Step("ours", "first", 1, 25, True, 1)


def row(contender: str, hosts: int, number: int, seconds: float, **more: Any) -> dict:
    step = Step(contender, "noop", hosts, 25, True, number)
    used = {"control_cpu": seconds, "hosts_cpu": seconds, "ansible_mib": 100.0, "ssh_mib": 10.0, "largest_mib": 80.0}
    return {**step.as_json(), "seconds": seconds, **used, "modules": hosts, "sessions": 2 * hosts, "tasks": [],
            "troubles": [], **more}  # fmt: skip


def cells(table: report.Table, contender: str) -> dict[str, str]:
    _, head, lines = table
    (line,) = [line for line in lines if contender in line]
    return dict(zip(head, line))


def test_a_ratio_compares_runs_of_one_round() -> None:
    rows = [row("ours", 10, 1, 10), row("kernel_settings", 10, 1, 40)]
    # A round that only one of them has tells nothing.
    rows += [row("ours", 10, 2, 20), row("kernel_settings", 10, 2, 60), row("ours", 10, 3, 500)]
    (table,) = report.taken(rows)
    found = cells(table, "ours")
    assert found["kernel_settings / it: s"] == "3.50 (3.00-4.00)"
    assert found["s"].startswith("2.00 ")
    assert (found["modules"], found["SSH sessions"]) == ("1.0", "2.0")
    assert cells(table, "kernel_settings")["CPU s"].startswith("1.00")


def test_growth_is_the_power_of_the_number_of_hosts() -> None:
    rows = [row("ours", n, 1, 0.5 * n) for n in (10, 100)] + [row("plain", n, 1, n * n / 100) for n in (10, 100)]
    (table,) = report.growth(rows)
    assert cells(table, "ours")["power of growth: time"] == "1.00"
    assert cells(table, "plain")["power of growth: time"] == "2.00"
    assert cells(table, "ours")["ansible MiB"] == "0.00"


def test_a_run_with_troubles_counts_for_nothing() -> None:
    rows = [row("ours", 10, 1, 10), row("ours", 10, 2, 1, troubles=["ansible-playbook ended with 2"])]
    (table,) = report.tables(rows, False)
    assert cells(table, "ours")["s"] == "1.00"


def test_nothing_is_wrong_with_a_run_that_did_its_work() -> None:
    assert troubles(NOOP, 0, {"a": COUNTS}, []) == []
    assert troubles(FIRST, 0, {"a": {**COUNTS, "changed": 1}}, []) == []


@pytest.mark.parametrize(
    ("step", "status", "told", "wrong", "said"),
    [
        (NOOP, 2, {"a": COUNTS}, [], "ended with 2"),
        (NOOP, 0, {}, [], "0 of 1 hosts"),
        (NOOP, 0, {"a": {**COUNTS, "failures": 1}}, [], "failures on 1 hosts, such as a"),
        (NOOP, 0, {"a": {**COUNTS, "unreachable": 1}}, [], "unreachable on 1"),
        (NOOP, 0, {"a": {**COUNTS, "changed": 1}}, [], "where nothing was to do"),
        (FIRST, 0, {"a": COUNTS}, [], "where all were to change"),
        (NOOP, 0, {"a": COUNTS}, ["a"], "not the wanted values"),
    ],
)
def test_what_spoils_a_run_is_told(step: Step, status: int, told: dict, wrong: list, said: str) -> None:
    (trouble,) = troubles(step, status, told, wrong)
    assert said in trouble
