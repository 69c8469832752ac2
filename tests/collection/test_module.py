# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm_module: what it decides, and what it does with modprobe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.module_utils.kmod import NONE, Build
from ansible_collections.ksm.fleet.plugins.modules import ksm_module
from ksm.reload import Report

from fakes import Failed, FakeModule, Host

BOOT = "etc/modules-load.d/ksm.conf"


OLD, NEW, REBUILT = Build("0.1.0", "A1"), Build("0.2.0", "B2"), Build("0.1.0", "C3")


@pytest.mark.parametrize(
    ("state", "loaded", "running", "installed", "interrupted", "steps"),
    [
        ("loaded", False, NONE, OLD, False, ["load"]),
        ("loaded", True, OLD, NEW, False, []),
        ("loaded", True, OLD, NEW, True, []),
        ("latest", False, NONE, OLD, False, ["load"]),
        ("latest", True, OLD, OLD, False, []),
        ("latest", True, OLD, NEW, False, ["reload"]),
        ("latest", True, OLD, REBUILT, False, ["reload"]),
        # Built by hand, without a version, or with no file any more: nobody knows better.
        ("latest", True, NONE, NEW, False, []),
        ("latest", True, OLD, NONE, False, []),
        ("latest", True, OLD, OLD, True, ["reload"]),
        ("latest", False, NONE, NEW, True, ["reload"]),
        ("absent", True, OLD, OLD, True, ["unload"]),
        ("absent", False, NONE, NONE, False, []),
    ],
)
def test_plan(state: str, loaded: bool, running: Build, installed: Build, interrupted: bool, steps: list[str]) -> None:
    assert ksm_module.plan(state, loaded, running, installed, interrupted) == steps


def run(
    host: Host, scratch: Path, answers: dict[str, Any] | None = None, **params: Any
) -> tuple[dict[str, Any], list[list[str]]]:
    check_mode = params.pop("check_mode", False)
    module = FakeModule(scratch, check_mode, **{"state": "loaded", "at_boot": True, **params})
    module.answers = {
        "modinfo -F version ksm": (0, "0.1.0\n", ""),
        "modinfo -F srcversion ksm": (0, "A1\n", ""),
        **(answers or {}),
    }
    result = ksm_module.KsmModule(module, str(host.root)).run()
    return result, [c for c in module.commands if c[0] == "modprobe"]


def test_load_now_and_at_boot(host: Host, scratch: Path) -> None:
    result, commands = run(host, scratch)
    assert commands == [["modprobe", "ksm"]]
    assert result["changed"]
    assert "ksm" in host.read(BOOT).split()
    host.add_module_engine()
    again, commands = run(host, scratch)
    assert commands == []
    assert not again["changed"]
    assert again["version_running"] == "0.1.0"


def test_check_mode(host: Host, scratch: Path) -> None:
    result, commands = run(host, scratch, check_mode=True)
    assert result["changed"]
    assert commands == []
    assert not host.exists(BOOT)
    assert result["diff"][0]["after"] == "loaded: True\nversion: 0.1.0\nsrcversion: A1\n"


def test_absent(host: Host, scratch: Path) -> None:
    host.add_module_engine()
    host.write(BOOT, ksm_module.BOOT_TEXT)
    host.write("run/ksm/reload.json", "{}")
    run(host, scratch, state="absent", check_mode=True)
    assert host.exists("run/ksm/reload.json")
    result, commands = run(host, scratch, state="absent")
    assert not host.exists("run/ksm/reload.json")
    assert commands == [["modprobe", "-r", "ksm"]]
    assert not result["loaded"]
    assert not host.exists(BOOT)


def test_another_version_is_installed(host: Host, scratch: Path) -> None:
    host.add_module_engine(version="0.0.9")
    result, commands = run(host, scratch)
    assert commands == []
    assert result["reload_required"]
    host.add_module_engine(srcversion="B2")
    assert run(host, scratch)[0]["reload_required"]


def replaced(monkeypatch: pytest.MonkeyPatch, *problems: str, action: str = "reloaded") -> list[bool]:
    """Let ksm.reload, which tests/reload tries on real kernels, find that it had these problems."""
    dry_runs = []

    def reload(dry_run: bool) -> Report:
        dry_runs.append(dry_run)
        return Report(action, None, None, 3, problems=list(problems))

    monkeypatch.setattr(ksm_module, "reload", reload)
    return dry_runs


@pytest.mark.parametrize("check_mode", [False, True])
def test_latest_hands_over(host: Host, scratch: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    host.add_module_engine(version="0.0.9")
    dry_runs = replaced(monkeypatch)
    result, commands = run(host, scratch, state="latest", check_mode=check_mode)
    assert (dry_runs, commands) == ([check_mode], [])
    assert result["changed"]
    assert result["reload"]["regions"] == 3


def test_latest_after_an_interrupted_reload(host: Host, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add_module_engine()
    host.write(BOOT, ksm_module.BOOT_TEXT)
    host.write("run/ksm/reload.json", "{}")
    replaced(monkeypatch, action="resumed")
    assert run(host, scratch, state="latest")[0]["changed"]
    # Interrupted before anything was done.
    replaced(monkeypatch, action="nothing")
    assert not run(host, scratch, state="latest")[0]["changed"]


def test_latest_tells_what_is_left_to_do(host: Host, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add_module_engine(version="0.0.9")
    replaced(monkeypatch, "mend this")
    with pytest.raises(Failed, match="not wholly replaced: mend this") as caught:
        run(host, scratch, state="latest")
    assert caught.value.result["reload"]["problems"] == ["mend this"]


def test_latest_needs_the_client_and_the_rest_does_not(
    host: Host, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add_module_engine(version="0.0.9")
    monkeypatch.setattr(ksm_module.client, "IMPORT_ERROR", "no module named ksm")
    with pytest.raises(Failed, match="install the package python3-ksm"):
        run(host, scratch, state="latest")
    with pytest.raises(Failed, match="cannot be unloaded: in use. It is held by: look with ls -l"):
        run(host, scratch, {"modprobe": (1, "", "in use")}, state="absent")
    assert run(host, scratch, state="absent")[1] == [["modprobe", "-r", "ksm"]]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("could not insert 'ksm': Key was rejected by service", "mokutil --import"),
        ("FATAL: Module ksm not found in directory /lib/modules/6.1", "dkms status"),
        ("could not insert 'ksm': Invalid argument", "/etc/modprobe.d/ksm.conf"),
        ("could not insert 'ksm': Exec format error", "dkms build --force"),
        ("could not insert 'ksm': Cannot allocate memory", "dmesg"),
    ],
)
def test_a_refusal_names_the_remedy(host: Host, scratch: Path, error: str, said: str) -> None:
    with pytest.raises(Failed, match="cannot be loaded") as caught:
        run(host, scratch, {"modprobe": (1, "", f"modprobe: ERROR: {error}")})
    assert error in str(caught.value)
    assert said in str(caught.value)
    assert not host.exists(BOOT)
