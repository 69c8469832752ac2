# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmark asks the program in the VM for."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from ksmbench import guests, plan
from ksmbench.plan import FULL, PARTS, QUICK, WORKLOADS

GUEST = Path(__file__).resolve().parents[1] / "bench/guest"


def words(step: plan.Measurement) -> dict:
    _program, _measure, *rest = shlex.split(step.command())
    return dict(zip(rest[::2], rest[1::2]))


def test_the_program_knows_the_workloads() -> None:
    table = re.search(r"workloads\[\] = \{(.*?)\n\};", (GUEST / "workloads.c").read_text(), re.DOTALL)
    assert table
    assert tuple(re.findall(r'\{ "(\w+)"', table.group(1))) == WORKLOADS


def test_the_program_knows_what_it_is_asked_for() -> None:
    source = (GUEST / "main.c").read_text() + (GUEST / "mergers.c").read_text()
    for step in [*plan.plan("6.12", FULL, PARTS, WORKLOADS), *plan.plan_threads(FULL)]:
        assert f'{{ "{step.measure}", measure_' in source
        assert f'.name = "{step.engine}"' in source
        for name in words(step):
            assert f'"{name}"' in source


def test_images_of_guests_are_as_large_as_they_are() -> None:
    for mib in (1, 1024):
        steps = plan.plan("6.12", replace(FULL, mib=mib), ["merging"], ["guests"])
        assert {step.mib for step in steps} == {plan.GUESTS * plan.GUEST_MIB}


def test_a_guests_empty_pages_are_left_out() -> None:
    page, empty = bytes(4095) + b"x", bytes(4096)
    assert guests.used(page + empty + page + page, 8192) == page + page
    with pytest.raises(SystemExit, match="a guest used 0 MiB"):
        guests.used(empty + page, 8192)


def test_engines_take_turns() -> None:
    steps = plan.plan("6.12", FULL, ["merging"], ["mix", "unique"])
    names = [(step.round, step.workload, step.engine) for step in steps]
    assert names[:4] == [(0, "mix", name) for name in ("module", "ksmd", "module-smart", "ksmd-smart")]
    assert names[8:12] == [(1, "mix", name) for name in ("module", "ksmd", "module-smart", "ksmd-smart")]
    assert len(names) == len(set(names)) == FULL.rounds * 2 * 4


def test_nothing_is_asked_of_a_kernel_that_it_lacks() -> None:
    steps = plan.plan("6.1", FULL, PARTS, WORKLOADS)
    assert steps
    assert not any(step.engine == "ksmd-smart" for step in steps)
    assert not any(step.programs and step.engine.startswith("ksmd") for step in steps)
    assert any(step.programs and step.engine == "module" for step in steps)


def test_the_pace_to_meet_is_measured_first() -> None:
    for kernel in ("6.1", "6.12"):
        for dynamic in (0, 1):
            steps = [s for s in plan.plan(kernel, QUICK, ["pace"], ()) if s.key["dynamic"] == dynamic]
            assert steps[0].engine == plan.usual_ksmd(kernel)
            assert {words(s)["--like"] for s in steps} == {f"/tmp/cpu-{dynamic}"}


@pytest.mark.parametrize("part", PARTS)
def test_labels_survive_the_shell(part: str) -> None:
    steps = plan.plan("6.12", QUICK, [part], ["mix"]) or plan.plan_threads(QUICK)
    for step in steps:
        label = json.loads(words(step)["--label"])
        assert (label["part"], label["engine"], label["round"]) == (part, step.engine, step.round)
        assert label["mib"] == step.mib


def test_programs_are_started_once_before_they_are_measured() -> None:
    loopback, _said, first = plan.script(plan.plan("6.12", FULL, ["merging"], ["programs"])).splitlines()[:3]
    assert loopback == "ip link set lo up"
    assert "program.py 0 0 --once" in first
    assert "program.py" not in plan.script(plan.plan("6.12", FULL, ["merging"], ["mix"]))
