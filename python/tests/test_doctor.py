# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl doctor, the command; what it finds is tested with the collection, whose code it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ksm import doctor
from ksm.cli import main
from ksm.doctor import checks

RELEASE = "6.12.118+deb13-amd64"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def look() -> dict[str, Any]:
        def run(command: Sequence[str]) -> str:
            return f"ksm/0.1.0, {RELEASE}, x86_64: built\n" if command[0] == "dkms" else ""

        return checks.look(str(tmp_path), RELEASE, "x86_64", run)

    monkeypatch.setattr(doctor, "look", look)
    (tmp_path / "sys/kernel/mm/ksm").mkdir(parents=True)
    (tmp_path / "lib/modules" / RELEASE / "build").mkdir(parents=True)
    (tmp_path / "lib/modules" / RELEASE / "build/Makefile").touch()
    return tmp_path


def test_findings_with_remedies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["engine: module", f"kernel     ok  {RELEASE} (x86_64)"]
    assert out[2].startswith("build      PROBLEM: DKMS did not build ksm.ko")
    assert out[3].startswith("           remedy: ")
    assert "loaded     PROBLEM: ksm.ko is not loaded" in out


def test_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["engine"], told["ok"]) == ("module", False)
    assert [finding["check"] for finding in told["findings"]] == ["build", "loaded"]
    assert all(finding["reason"] and finding["remedy"] for finding in told["findings"])
    assert told["host"]["dkms"]["state"] == "built"


def test_a_host_that_has_nothing_of_the_module(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = checks.look(str(root), RELEASE, "x86_64", lambda command: None)
    monkeypatch.setattr(doctor, "look", lambda: seen)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith("engine: kernel\n")
    assert main(["doctor", "--engine", "module"]) == 1


def test_commands_of_this_machine() -> None:
    assert doctor.run(["true", "x"]) == ""
    assert doctor.run(["no-such-command"]) is None
    assert doctor.look()["kernel"]["release"]
