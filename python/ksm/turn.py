# SPDX-License-Identifier: GPL-2.0-or-later
"""Who changes what others registered, a reload of the module or policies: one after the other."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = "run/ksm"


@contextlib.contextmanager
def taken(system: str | Path = "/") -> Iterator[None]:
    """Wait for whoever has the turn, and have it in the with-block."""
    folder = Path(system, FOLDER)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(folder / "turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
