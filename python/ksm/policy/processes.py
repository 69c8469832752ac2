# SPDX-License-Identifier: GPL-2.0-or-later
"""What policies ask of processes. Read anew each time, so as little as will do is read."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Iterator

_CGROUP = re.compile(rb"^(?:0:|\d+:name=systemd):(.*)$", re.MULTILINE)
# The kernel's own mark of a file or group that was removed.
_DELETED = " (deleted)"


class Process:
    """One of them; raises OSError where it ended meanwhile."""

    def __init__(self, pid: int, proc: str = "/proc") -> None:
        self.pid = pid
        self._folder = f"{proc}/{pid}"

    @functools.cached_property
    def cgroup(self) -> str:
        """Path of its control group: in the unified hierarchy if that is in use, or systemd's."""
        paths = _CGROUP.findall(_read(f"{self._folder}/cgroup"))
        return _without_mark(os.fsdecode(max(paths, key=len, default=b"/")))

    @functools.cached_property
    def uid(self) -> int:
        """Its effective user."""
        # Of one that is not dumpable root is told, and only then it is worth to read more.
        owner = os.stat(self._folder).st_uid
        if owner:
            return owner
        for line in _read(f"{self._folder}/status").splitlines():
            if line.startswith(b"Uid:"):
                return int(line.split()[2])
        return owner

    @functools.cached_property
    def program(self) -> str:
        """Path of the file that it executes. Kernel threads and what is about to end have none."""
        try:
            return _without_mark(os.readlink(f"{self._folder}/exe"))
        except FileNotFoundError:
            return _without_mark(self._program_of_a_thread())

    def _program_of_a_thread(self) -> str:
        """Of a process whose first thread ended before the others."""
        for thread in os.listdir(f"{self._folder}/task"):
            with contextlib.suppress(FileNotFoundError):
                return os.readlink(f"{self._folder}/task/{thread}/exe")
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._folder)


def processes(proc: str = "/proc") -> Iterator[Process]:
    """All of them."""
    return (Process(int(name), proc) for name in os.listdir(proc) if name.isdigit())


def unit_of(cgroup: str) -> str:
    """Return the system manager's unit, "" for none: the first below slices, if named like one."""
    for name in cgroup.split("/"):
        if name and not name.endswith(".slice"):
            return name if name.endswith((".service", ".scope")) else ""
    return ""


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def _without_mark(path: str) -> str:
    return path[: -len(_DELETED)] if path.endswith(_DELETED) else path
