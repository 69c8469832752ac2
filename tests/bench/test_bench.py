# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark measures: one small boot. Its figures are nobody's business here."""

from __future__ import annotations

import ksmvm
import pytest
from ksmbench import machine, report
from ksmbench.plan import QUICK, plan
from ksmbench.results import select

KERNEL = "6.12"


@pytest.fixture(scope="module")
def rows() -> list:
    steps = [step for step in plan(KERNEL, QUICK, ["merging"], ["mix"]) if "smart" not in step.engine]
    output = machine.measure(KERNEL, steps, ksmvm.build_module(KERNEL), counted=True, smp=1, files={})
    assert not output.troubles
    return output.rows


@pytest.mark.parametrize("engine", ["module", "ksmd"])
def test_what_can_merge_is_merged_and_counted(rows: list, engine: str) -> None:
    (row,) = select(rows, engine=engine)
    assert 0 < row["ideal"] < row["pages"]
    assert row["saved"] >= 0.99 * row["ideal"]
    assert 0 < row["cpu_merged"]
    assert 0 < report.metadata_per_page(row) < 4096


@pytest.mark.parametrize("engine", ["module", "ksmd"])
def test_a_pass_takes_as_many_instructions_as_the_one_before(rows: list, engine: str) -> None:
    (row,) = select(rows, engine=engine)
    passes = row["passes"]
    assert len(passes) == QUICK.passes
    # On the clock of a busy machine it would be a matter of luck.
    assert max(passes) < 1.2 * min(passes)
