# SPDX-License-Identifier: GPL-2.0-or-later
"""The role kernel_settings of linux-system-roles, which is fedora.linux_system_roles.kernel_settings in Fedora.

PyPI's `ansible` does not carry that collection, so it is taken from where it is developed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ksmvm.process import run

URL = "https://github.com/linux-system-roles/kernel_settings"
TAG = "1.5.0"


def ensure(folder: Path, source: str = URL) -> Path:
    """A folder of roles that has it, from that repository."""
    roles = folder / "roles"
    target = roles / "kernel_settings"
    if target.is_dir():
        return roles
    partial = roles / "kernel_settings.partial"
    shutil.rmtree(partial, ignore_errors=True)
    roles.mkdir(parents=True, exist_ok=True)
    run(["git", "-c", "advice.detachedHead=false", "clone", "-q", "--depth=1", "-b", TAG, source, str(partial)])
    partial.rename(target)
    return roles
