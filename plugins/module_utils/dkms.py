# SPDX-License-Identifier: GPL-2.0-or-later
"""What DKMS says about a module, in every dialect from 2.8 to 3.2."""

from __future__ import annotations

import glob
import os
import re

# Suffixes ("WARNING! Diff between ...", "Original modules exist") change with the
# version of DKMS and are ignored. Kernel names hold '+' and '.', never a comma.
_STATUS = re.compile(
    r"^(?P<name>[^,/\s]+)[,/ ]+(?P<version>[^,:\s]+)"
    r"(?:, (?P<kernel>[^,\s]+), (?P<arch>[^,:\s]+))?"
    r": (?P<state>added|built|installed(?:-weak from \S+)?)(?: .*)?$"
)


def parse_status(text: str, name: str) -> list[dict[str, str | None]]:
    """Return the lines of ``dkms status`` that speak of module *name*."""
    builds = []
    for line in text.splitlines():
        match = _STATUS.match(line.strip())
        if match and match["name"] == name:
            state = match["state"].split("-", 1)[0]
            builds.append(
                {
                    "version": match["version"],
                    "kernel": match["kernel"],
                    "arch": match["arch"],
                    "state": state,
                }
            )
    return builds


def state_for(builds: list[dict[str, str | None]], kernel: str) -> tuple[str, str | None]:
    """Return (state, version) of the furthest build for *kernel*.

    A module that is registered but was built for other kernels only is ``added``.
    """
    rank = {"absent": 0, "added": 1, "built": 2, "installed": 3}
    best: tuple[str, str | None] = ("absent", None)
    for build in builds:
        state = build["state"] if build["kernel"] == kernel else "added"
        if rank[str(state)] > rank[best[0]]:
            best = (str(state), build["version"])
    return best


def overdue(builds: list[dict[str, str | None]], kernel: str) -> str | None:
    """Return the version that could not be built for *kernel*, which keeps an older one."""
    state, version = state_for(builds, kernel)
    if state != "installed":
        return None
    newest = max((str(build["version"]) for build in builds), key=_order)
    return newest if _order(newest) > _order(str(version)) else None


def _order(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def make_log(root: str, name: str, kernel: str) -> str | None:
    """Return the newest make.log that concerns *kernel*.

    A failed build leaves its log in build/, a good one moves it below the
    kernel's name.
    """
    tree = os.path.join(root, "var/lib/dkms", name)
    found = glob.glob(os.path.join(tree, "*", "build", "make.log"))
    found += glob.glob(os.path.join(tree, "*", glob.escape(kernel), "*", "log", "make.log"))
    return max(found, key=os.path.getmtime, default=None)


def tail(path: str | None, lines: int = 20) -> list[str]:
    """Return the last *lines* of a file, none when it cannot be read."""
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return [line.rstrip("\n") for line in stream][-lines:]
    except OSError:
        return []
