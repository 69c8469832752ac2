# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmark makes of the VM's output."""

import json

from ksmbench import results
from ksmbench.plan import Measurement

STEPS = [Measurement("merging", "merging", name, "mix", 4) for name in ("module", "ksmd")]


def line(engine: str, **values: int) -> str:
    return "@" + json.dumps({"measure": "merging", "label": {"part": "merging", "engine": engine}, **values})


def test_results_carry_their_label() -> None:
    output = results.read(f"# 1/2\n{line('module', saved=1)}\n# 2/2\n{line('ksmd', saved=2)}\n", STEPS)
    assert not output.troubles
    assert [(row["engine"], row["saved"]) for row in output.rows] == [("module", 1), ("ksmd", 2)]
    assert results.select(output.rows, engine="ksmd", part="merging") == [output.rows[1]]


def test_a_failure_is_told_with_its_reason_and_ends_nothing() -> None:
    output = results.read(f"! measurement 1\nFinsmod /ksm.ko: Exec format error\n{line('ksmd')}\n", STEPS)
    assert len(output.rows) == 1
    (trouble,) = output.troubles
    assert "--engine module" in trouble
    assert "Exec format error" in trouble


def test_a_vm_that_ended_early_is_trouble() -> None:
    output = results.read(line("module"), STEPS)
    assert output.troubles == ["no word of 1 of 2 measurements: the VM ended early"]


def test_half_a_line_is_trouble() -> None:
    output = results.read(f"{line('module')[:-9]}\n{line('ksmd')}\n", STEPS)
    assert len(output.rows) == 1
    assert output.troubles[0].startswith("unreadable result")


def test_a_result_after_half_a_line_is_trouble() -> None:
    """As when a measurement fails with its line begun."""
    half = '@{"measure": "merging", "label": {}, "curve": ['
    output = results.read(f"{half}! measurement 1\nFwhy\n{line('ksmd')}", STEPS)
    assert len(output.rows) == 1
    assert output.troubles[0].endswith("Fwhy")
