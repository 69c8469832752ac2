# SPDX-License-Identifier: GPL-2.0-or-later
"""What the role changes on a host, as it is now: packages, files, engines.

Reads files only, since a rollout's first act on a host comes before python3-ksm is there.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Iterable
from typing import Any, Callable, Union

from . import checks, host, role_files

ENGINES = {"module": "sys/class/misc/ksm", "kernel": "sys/kernel/mm/ksm"}
SERVICE = "ksm-policy.service"
Value = Union[int, str]
State = dict[str, Any]


def take(root: str, run: Callable[[list[str]], Union[str, None]]) -> State:
    """Return the state of the host below *root*; *run* runs a command and returns its output."""
    manager = host.package_manager(root, {name: words[0] for name, words in checks.MANAGERS.items()})
    packages = checks.installed(root, run, manager)
    tunables = {name: settings(root, place) for name, place in ENGINES.items()}
    unit = run(["systemctl", "show", "--property=ActiveState,UnitFileState", SERVICE]) or ""
    return {
        "package_manager": manager,
        "packages": {name: packages[name] for name in checks.PACKAGES},
        "module_loaded": host.module_loaded(root),
        "module_version": (host.read(root, "sys/module/ksm/version") or "").strip() or None,
        "tunables": tunables,
        "files": files(root, [*role_files.FILES, *role_files.policies(root)]),
        "policy_service": {
            "active": "ActiveState=active" in unit.split(),
            "enabled": "UnitFileState=enabled" in unit.split(),
        },
    }


def was_installed(state: State) -> bool:
    """Tell whether any of our packages was there."""
    return any(state["packages"].values())


def settings(root: str, place: str) -> dict[str, Value]:
    """Return what can be written to an engine, and how it stands; empty when there is none."""
    folder = os.path.join(root, place)
    found: dict[str, Value] = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        seen = os.stat(path)
        # The link to the device's folder and the event file of every device are none of them.
        if stat.S_ISREG(seen.st_mode) and seen.st_mode & stat.S_IWUSR and name != "uevent":
            text = host.read(root, f"{place}/{name}")
            if text is not None:
                found[name] = _value(text.strip())
    # The advisor sets it, and nobody else may.
    if found.get("advisor_mode") == "scan-time":
        found.pop("pages_to_scan", None)
    return found


def _value(text: str) -> Value:
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    chosen = re.search(r"\[([^]]+)\]", text)
    return chosen[1] if chosen else text


def files(root: str, paths: Iterable[str]) -> dict[str, Any]:
    """Return mode and content of those files, None for those that are not there."""
    return {path: _file(os.path.join(root, path.lstrip("/"))) for path in paths}


def _file(path: str) -> dict[str, str] | None:
    try:
        with open(path, "rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            # Keys may be binary.
            content = base64.b64encode(stream.read()).decode("ascii")
    except FileNotFoundError:
        return None
    return {"mode": f"{mode:04o}", "content": content}


def differences(before: State, now: State) -> list[str]:
    """Return what is not as it was, in words."""
    told: list[str] = []

    def compare(what: str, was: Any, is_now: Any) -> None:
        if was != is_now:
            told.append(f"{what} is {_shown(is_now)}, was {_shown(was)}")

    for name, version in before["packages"].items():
        compare(f"package {name}", version, now["packages"].get(name))
    compare("ksm.ko loaded", before["module_loaded"], now["module_loaded"])
    if before["module_loaded"] and now["module_loaded"]:
        compare("version of ksm.ko", before["module_version"], now["module_version"])
    for path in sorted({*before["files"], *now["files"]}):
        if before["files"].get(path) != now["files"].get(path):
            told.append(f"{path} is not as it was")
    for engine, values in before["tunables"].items():
        # Of an engine that is gone, which is told above, nothing can be compared.
        if not now["tunables"].get(engine):
            continue
        for name, value in values.items():
            compare(f"{name} of the {engine} engine", value, now["tunables"][engine].get(name))
    return told


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)
