# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in the way of an engine on this host.

The modules are links into the Ansible collection: the role must ask the same of hosts
that have no package installed yet, and a collection may hold no link to what is outside
of it. A package or an sdist holds them as files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from ksm.doctor import checks

# dkms and modinfo lie there, and a user's PATH may lack it.
_PATH = os.defpath + ":/usr/local/sbin:/usr/sbin:/sbin"


def run(command: Sequence[str]) -> str | None:
    """Return what a command prints; None when it is not there."""
    path = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if path is None:
        return None
    done = subprocess.run(  # noqa: S603 - the commands are those of checks
        [path, *command[1:]],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
        text=True,
        errors="replace",
    )
    return done.stdout


def look(root: str = "/") -> dict[str, Any]:
    """Return what is known about this host, as ksm_preflight does."""
    uname = os.uname()
    return checks.look(root, uname.release, uname.machine, run)


def engine_meant(seen: dict[str, Any]) -> str:
    """Return the engine this host is meant to use: the module where anything of it is here."""
    wanted = (
        seen["module"]["loaded"]
        or seen["module"]["at_boot"]
        or seen["dkms"]["state"] != "absent"
        or seen["packages"]["ksm-dkms"]
    )
    return "module" if wanted else "kernel"
