# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of a process and of the host, in bytes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ksm.errors import ProcessEnded, ProcessError

_PROC = Path("/proc")


def _kibibytes(text: str) -> dict[str, int]:
    """Lines "Name:  123 kB" as bytes; other lines are left out."""
    values = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        words = rest.split()
        if colon and len(words) == 2 and words[1] == "kB" and words[0].isdigit():  # noqa: PLR2004
            values[name] = int(words[0]) * 1024
    return values


def meminfo(proc: str | Path = _PROC) -> dict[str, int]:
    """/proc/meminfo in bytes (MemTotal, MemAvailable, AnonPages, ...)."""
    return _kibibytes((Path(proc) / "meminfo").read_text(encoding="ascii"))


def rollup(pid: int, proc: str | Path = _PROC) -> dict[str, int]:
    """/proc/PID/smaps_rollup in bytes (Rss, Pss, Pss_Anon, Anonymous, ...).

    Raises ProcessEnded, or ProcessError without the right to look at the process.
    """
    try:
        text = (Path(proc) / str(pid) / "smaps_rollup").read_text(encoding="ascii")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            raise ProcessEnded(f"process {pid} is not there, or ended", pid) from error
        raise ProcessError(
            f"process {pid}: cannot read its memory map: {os.strerror(error.errno or 0)}", pid
        ) from error
    return _kibibytes(text)


def anon_bytes(pid: int, proc: str | Path = _PROC) -> int:
    """Anonymous memory of the process, in bytes.

    A page that the module merged is no anonymous page any more and is not counted; one
    that the kernel's ksmd merged still is.
    """
    return rollup(pid, proc).get("Anonymous", 0)


def anon_pages(pid: int, proc: str | Path = _PROC) -> int:
    """anon_bytes() in pages."""
    return anon_bytes(pid, proc) // os.sysconf("SC_PAGE_SIZE")


def pss_bytes(pid: int, proc: str | Path = _PROC) -> int:
    """Proportional share of resident memory, in bytes: n sharers of a page count 1/n each."""
    return rollup(pid, proc).get("Pss", 0)
