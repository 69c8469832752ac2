# SPDX-License-Identifier: GPL-2.0-or-later
"""Who keeps the module from being unloaded."""

from __future__ import annotations

import os
from pathlib import Path


def holders(proc: str | Path = "/proc") -> list[str]:
    """Return the processes that hold /dev/ksm, an area or a scan open, as "name (pid N)".

    This process is left out, and who is in no PID namespace below ours is not seen.
    """
    found = []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        if pid == os.getpid():
            continue
        try:
            fds = os.listdir(f"{proc}/{pid}/fd")
            links = [os.readlink(f"{proc}/{pid}/fd/{fd}") for fd in fds]
            comm = Path(proc, str(pid), "comm").read_text(errors="replace").strip()
        except OSError:
            # It ended meanwhile.
            continue
        if any(link == "/dev/ksm" or link.startswith("anon_inode:[ksm-") for link in links):
            found.append(f"{comm} (pid {pid})")
    return found
