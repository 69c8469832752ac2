# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run of a module VM makes of how it ended."""

from types import SimpleNamespace

import pytest
from ksmvm import module_vm
from ksmvm.errors import HarnessError
from ksmvm.module_vm import STATUS_VM_FAILED, ModuleVM, Result

EMULATOR = "Oops: int3: 0000 [#1] PREEMPT SMP\nRIP: 0010:sched_clock_tick+0x5/0xc0"
DIED = Result(STATUS_VM_FAILED, "", "", "", [EMULATOR])
FINE = Result(0, "ok\n", "", "")


class Runs:
    def __init__(self, results: list) -> None:
        self.left = list(results)

    def __call__(self, *_args: object) -> Result:
        return self.left.pop(0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module_vm.host, "require", lambda: None)
    monkeypatch.setattr(module_vm, "prepare", lambda name: SimpleNamespace(name=name, patience=1.0))

    def start(*results: Result):  # type: ignore[no-untyped-def]
        runs = Runs(list(results))
        monkeypatch.setattr(ModuleVM, "_once", runs)
        return ModuleVM("6.1").run("true"), runs.left

    return start


def test_a_run_that_the_emulator_killed_is_tried_again(
    run,  # type: ignore[no-untyped-def]
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(DIED, FINE) == (FINE, [])
    assert "one more try" in capsys.readouterr().err


def test_it_is_tried_again_only_once(run) -> None:  # type: ignore[no-untyped-def]
    assert run(DIED, DIED, FINE) == (DIED, [FINE])


@pytest.mark.parametrize(
    "result",
    [
        FINE,
        Result(1, "", "", ""),
        Result(STATUS_VM_FAILED, "", "", "", ["Oops: 0000 [#1]\nRIP: 0010:f"]),
        Result(STATUS_VM_FAILED, "", "", "", [EMULATOR + " [ksm]"]),
    ],
    ids=["success", "failure", "another oops", "our own int3"],
)
def test_nothing_else_is_tried_again(run, result: Result) -> None:  # type: ignore[no-untyped-def]
    assert run(result, FINE) == (result, [FINE])


def test_a_complaint_fails_a_command_that_succeeded() -> None:
    result = Result(0, "", "", "", ["WARNING: one"])
    assert result.exit_status == STATUS_VM_FAILED
    with pytest.raises(HarnessError, match="WARNING: one"):
        result.check()


def test_a_failed_command_is_told_with_its_output() -> None:
    with pytest.raises(HarnessError, match="exit status 3(.|\n)*no such file"):
        Result(3, "no such file\n", "", "").check()
    assert FINE.check() is FINE
