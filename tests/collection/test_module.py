# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm_module: what it decides, and what it does with modprobe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.modules import ksm_module

from fakes import Failed, FakeModule, Host

BOOT = "etc/modules-load.d/ksm.conf"


@pytest.mark.parametrize(
    ("state", "loaded", "running", "installed", "steps"),
    [
        ("loaded", False, None, "0.1.0", ["load"]),
        ("loaded", True, "0.1.0", "0.2.0", []),
        ("latest", False, None, "0.1.0", ["load"]),
        ("latest", True, "0.1.0", "0.1.0", []),
        ("latest", True, "0.1.0", "0.2.0", ["unload", "load"]),
        ("latest", True, "0.1.0", None, []),
        ("absent", True, "0.1.0", "0.1.0", ["unload"]),
        ("absent", False, None, None, []),
    ],
)
def test_plan(
    state: str, loaded: bool, running: str | None, installed: str | None, steps: list[str]
) -> None:
    assert ksm_module.plan(state, loaded, running, installed) == steps


def run(
    host: Host, scratch: Path, answers: dict[str, Any] | None = None, **params: Any
) -> tuple[dict[str, Any], list[list[str]]]:
    check_mode = params.pop("check_mode", False)
    module = FakeModule(scratch, check_mode, **{"state": "loaded", "at_boot": True, **params})
    module.answers = {"modinfo": (0, "0.1.0\n", ""), **(answers or {})}
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
    assert result["diff"][0]["after"] == "loaded: True\n"


def test_absent(host: Host, scratch: Path) -> None:
    host.add_module_engine()
    host.write(BOOT, ksm_module.BOOT_TEXT)
    result, commands = run(host, scratch, state="absent")
    assert commands == [["modprobe", "-r", "ksm"]]
    assert not result["loaded"]
    assert not host.exists(BOOT)


def test_another_version_is_installed(host: Host, scratch: Path) -> None:
    host.add_module_engine(version="0.0.9")
    result, commands = run(host, scratch)
    assert commands == []
    assert result["reload_required"]


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


def test_who_holds_the_device(tmp_path: Path) -> None:
    for pid, comm, target in ((7, "qemu", "/dev/ksm"), (8, "area", "anon_inode:[ksm-area]")):
        (tmp_path / f"{pid}/fd").mkdir(parents=True)
        (tmp_path / f"{pid}/comm").write_text(f"{comm}\n")
        (tmp_path / f"{pid}/fd/3").symlink_to(target)
    (tmp_path / "9/fd").mkdir(parents=True)
    (tmp_path / "9/comm").write_text("other\n")
    (tmp_path / "9/fd/3").symlink_to("/dev/ksmbd")
    assert sorted(ksm_module.holders(str(tmp_path))) == ["area (pid 8)", "qemu (pid 7)"]
