# SPDX-License-Identifier: GPL-2.0-or-later
"""Who changes what others set or registered, a reload of the module or policies: one after the other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ksm.errors import KsmError

FOLDER = "run/ksm"
# There while a reload is under way, or was interrupted.
RELOAD = f"{FOLDER}/reload.json"
# Seconds. Who only asks whether a lock is taken has it for a moment.
_PATIENCE = 1.0


def taken(system: str | Path = "/") -> contextlib.AbstractContextManager[None]:
    """Wait for whoever has the turn, and have it in the with-block. For root."""
    return locked(system, "turn.lock")


def taken_by_root(system: str | Path = "/") -> contextlib.AbstractContextManager[None]:
    """As taken(); others may change nothing, and are told so when they try."""
    return contextlib.nullcontext() if os.geteuid() else taken(system)


@contextlib.contextmanager
def locked(system: str | Path, name: str, busy: str = "") -> Iterator[None]:
    """Have a lock of that name in the with-block, where others wait for it, or are told they are busy.

    A file of root's alone: a lock can be held by whoever may open it. Raises KsmError(busy).
    """
    folder = Path(system, FOLDER)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
        _lock(fd, busy)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, busy: str) -> None:
    if not busy:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise KsmError(busy) from error
            time.sleep(0.05)
        else:
            return
