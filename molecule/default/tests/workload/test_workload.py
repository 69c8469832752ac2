# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests and servers that hold the same data: what merges, what the kernel accounts, what stays.

The engine's counters are compared with what the kernel says of the processes' memory (smaps), and
both with what the workload made identical.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

from conftest import ENGINE, HARNESS, Workload

# Beside what the workload made identical, some pages of interpreters and of QEMU are.
FEW_PERCENT = 0.03


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= FEW_PERCENT * wanted


def of_kind(report: Any, kind: str) -> list[Any]:
    return [process for process in report["processes"] if process["kind"] == kind]


def test_what_is_identical_is_merged(workload: Workload) -> None:
    workload("merged")
    report = workload("report")

    for process in report["processes"]:
        assert process["common"]["merged"] >= 0.99 * process["common_pages"], process

    # Nothing else of a reader's table is like any other page.
    readers = of_kind(report, "reader")
    common = readers[0]["common_pages"]
    for reader in readers:
        assert near(reader["common"]["merged"], common), reader
    # All mappings of a merged page share its cost, and one is the module's own: together with it
    # the readers pay for one copy.
    paid = sum(each["common"]["pss"] - each["common"]["anonymous"] for each in readers)
    assert near(paid + paid / len(readers), common), readers


def test_counters_agree_with_the_accounting_of_the_processes(workload: Workload) -> None:
    report = workload("report")
    counters = report["engine"]["counters"]
    # Mappings of merged pages, as the engine counts them and as the kernel accounts them.
    mapped = counters["pages_shared"] + counters["pages_sharing"]
    assert near(mapped, sum(process["merged"] for process in report["processes"])), report

    guests, readers = of_kind(report, "guest"), of_kind(report, "reader")
    least = sum((len(kind) - 1) * kind[0]["common_pages"] for kind in (guests, readers))
    assert counters["pages_sharing"] >= 0.99 * least, report
    assert report["engine"]["saved_bytes"] == counters["pages_sharing"] * 4096


def test_writes_arrive_and_nothing_else_changes(host: Any, workload: Workload) -> None:
    # What all readers have written alike would be merged again before one could look.
    host.check_output("ksmctl set run=0")
    try:
        before = {process["name"]: process for process in workload("report")["processes"]}
        verdicts = workload("rewrite")
        assert all("intact" in verdict for verdict in verdicts.values()), verdicts
        after = workload("report")["processes"]
    finally:
        host.check_output("ksmctl set run=1")
    for process in after:
        if process["kind"] == "reader":
            # Exactly the pages written to are the reader's own now.
            own = process["common"]["anonymous"] - before[process["name"]]["common"]["anonymous"]
            assert process["pages_rewritten"] > 0
            assert abs(own - process["pages_rewritten"]) <= 2, (before[process["name"]], process)
    # After merging again, too.
    workload("merged")
    verdicts = workload("look")
    assert all("intact" in verdict for verdict in verdicts.values()), verdicts


def test_stopped_means_stopped(host: Any, workload: Workload) -> None:
    def scanned() -> tuple[str, float]:
        engine = workload("report")["engine"]
        return engine["counters"]["pages_scanned"], engine["thread_cpu_seconds"]

    began = scanned()
    time.sleep(2)
    assert scanned()[0] > began[0], "it must run for this test to mean anything"
    host.check_output("ksmctl set run=0")
    try:
        pages, seconds = scanned()
        time.sleep(3)
        later = scanned()
        assert later[0] == pages
        # Now and then it frees what ended processes left.
        assert later[1] - seconds < 0.1
        merged = int(host.file(f"{ENGINE}/pages_sharing").content_string)
        assert merged > 0, "what is merged stays merged"
        verdicts = workload("look")
        assert all("intact" in verdict for verdict in verdicts.values()), verdicts
    finally:
        host.check_output("ksmctl set run=1")


def test_the_kernel_has_nothing_to_complain_of(variables: dict[str, Any]) -> None:
    command = [str(HARNESS), "log", variables["inventory_hostname"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Linux version" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
