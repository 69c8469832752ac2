# SPDX-License-Identifier: GPL-2.0-or-later
"""Which step brings ksm.ko to the state that is wanted: ksm_module takes it, ksm_preflight foresees it."""

from __future__ import annotations

from . import kmod

BOOT_FILE = "/etc/modules-load.d/ksm.conf"
BOOT_TEXT = "# Load the samepage merging module, written by ksm.fleet.ksm_module\nksm\n"


def plan(state: str, loaded: bool, running: kmod.Build, installed: kmod.Build, interrupted: bool) -> list[str]:
    """Return the step that leads to *state*, if any: "unload", "load" or "reload"."""
    if state == "absent":
        return ["unload"] if loaded else []
    if state == "latest" and interrupted:
        return ["reload"]
    if not loaded:
        return ["load"]
    if state == "latest" and kmod.outdated(running, installed):
        return ["reload"]
    return []
