# SPDX-License-Identifier: GPL-2.0-or-later
"""One process at a time makes a thing that all of them share."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from ksmvm.paths import cache
from ksmvm.progress import say


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name`; the kernel drops it when the process dies."""
    path = cache("locks", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another ksmvm that prepares {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
