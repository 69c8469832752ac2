# SPDX-License-Identifier: GPL-2.0-or-later
"""What is desired of an engine, by the files that hold over a reboot, and what differs from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import host, persistence

BOOT_FILE = "etc/modules-load.d/ksm.conf"


def look(engine: str, root: str) -> dict[str, Any]:
    """Return what the file of one engine says."""
    form = persistence.FORMATS[engine]
    text = persistence.read(os.path.join(root, form.path.lstrip("/")))
    boot = host.read(root, BOOT_FILE) or ""
    return {
        "path": form.path,
        "tunables": form.parse(text),
        # The built-in engine is there at every boot.
        "at_boot": engine == "kernel" or "ksm" in boot.split(),
    }


def drift(desired: Mapping[str, Any], observed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tunables whose value is not the desired one."""
    return {
        name: {"desired": value, "observed": observed[name]}
        for name, value in desired.items()
        # A list of one user is text to an engine and looks like a number in a file.
        if name in observed and str(observed[name]) != str(value)
    }
