# SPDX-License-Identifier: GPL-2.0-or-later
"""The process behind a fleet host: again after a reboot, over after anything else."""

import json
from pathlib import Path

import pytest
from ksmvm import supervisor


def said(*messages: dict) -> list:
    return [json.dumps(message).encode() + b"\n" for message in messages]


GREETING = {"QMP": {"version": {}}}
RESET = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}}
POWER_OFF = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}}


def test_the_reason_is_the_shutdown_events() -> None:
    assert supervisor.end_reason(said(GREETING, {"return": {}}, RESET)) == supervisor.REBOOT
    assert supervisor.end_reason(said(GREETING, POWER_OFF)) == "guest-shutdown"


def test_a_qemu_that_died_gave_no_reason() -> None:
    assert supervisor.end_reason(said(GREETING, {"event": "RESUME"})) == "no word from QEMU"


@pytest.mark.parametrize("last", ["guest-shutdown", "no word from QEMU", "host-signal"])
def test_only_a_reboot_starts_the_machine_again(last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = ["qemu", "-m", "1"]
    (tmp_path / supervisor.COMMAND_FILE).write_text(json.dumps(machine))
    left = [supervisor.REBOOT, supervisor.REBOOT, last, "never reached"]
    started = []

    def run_once(command: list) -> str:
        started.append(command)
        return left.pop(0)

    monkeypatch.setattr(supervisor, "run_once", run_once)
    supervisor.main(tmp_path)
    assert started == [machine] * 3
