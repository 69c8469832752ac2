# SPDX-License-Identifier: GPL-2.0-or-later
"""Complaints in the kernel's log, since boot or since a mark.

/dev/kmsg numbers its records. A mark is such a number with the id of the boot that it is of, so
that after a reboot, which forgets what was before, all counts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ksm.errors import BadValue

_DEVICE = "dev/kmsg"
_BOOT_ID = "proc/sys/kernel/random/boot_id"
_MARK = re.compile(r"[0-9a-f-]{36}:[0-9]+")
# Longer than any record that the kernel hands out.
_RECORD_BYTES = 8192
_LONGEST, _LISTED = 200, 20

# Faults of memory, locks and objects, whoever caused them: the host is not to be trusted after one.
_COMPLAINT = re.compile(
    r"""
      \bWARNING:
    | \bBUG[:\ ]
    | \bkernel\ BUG\ at\b
    | \bOops\b
    | \bBad\ (page|rss-counter|swap|pagetable)\b
    | \b(KASAN|KCSAN|KFENCE|KMSAN|UBSAN):
    | \bINFO:\ (task|possible|suspicious|trying\ to\ register|rcu)
    | \brcu:?.*\bdetected\b.*\bstalls?\b
    | \bgeneral\ protection\ fault\b
    | \bunable\ to\ handle\b
    | \blist_(add|del)\ corruption\b
    | \brefcount_t:
    | \bObjects\ remaining\b
    | \bOut\ of\ memory:\ Killed\b
    """,
    re.VERBOSE,
)
_HARMLESS = re.compile(r"\bkfence: initialized\b")
# Of printk's levels, error and worse.
_ERROR = 3
_OURS = "ksm: "
# The module says a handful of things when it is loaded, and then nothing.
_FLOOD = 100


@dataclass(frozen=True)
class Log:
    """What was read: complaints is None where it could not be told, and reason says why."""

    complaints: list[str] | None
    mark: str | None
    reason: str | None = None


def check_mark(mark: str | None) -> None:
    """Raise BadValue for what is no mark."""
    if mark and not _MARK.fullmatch(mark):
        raise BadValue(
            f"since: {mark!r} is no mark of the kernel's log; write what an earlier observation"
            " returned as mark, or leave it out",
            "since",
            mark,
        )


def read(root: Path, since: str | None = None) -> Log:
    """Return the complaints that were logged after the mark, and a mark of now."""
    try:
        lines = _lines(root / _DEVICE)
    except OSError as error:
        return Log(
            None,
            None,
            f"the kernel's log cannot be read ({root / _DEVICE}: {error.strerror}); look as root,"
            " from outside of a container",
        )
    boot, after = _boot_id(root), -1
    if since and since.partition(":")[0] == boot:
        after = int(since.partition(":")[2])
    complaints: list[str] = []
    last, oldest, ours = after, None, 0
    for line in lines:
        head, semicolon, text = line.partition(";")
        fields = head.split(",")
        # Lines with more about a record begin with a space.
        if not semicolon or head.startswith(" ") or len(fields) < 3:  # noqa: PLR2004 - of a record
            continue
        priority, number = int(fields[0]), int(fields[1])
        oldest = number if oldest is None else oldest
        if number <= after:
            continue
        last = max(last, number)
        # Userland may write there, too, and its facility is never 0.
        if priority >> 3:
            continue
        ours += text.startswith(_OURS)
        own_error = text.startswith(_OURS) and priority & 7 <= _ERROR
        if own_error or (_COMPLAINT.search(text) and not _HARMLESS.search(text)):
            complaints.append(text[:_LONGEST])
    if len(complaints) > _LISTED:
        complaints[_LISTED:] = [f"and {len(complaints) - _LISTED} more complaints"]
    if ours > _FLOOD:
        complaints.append(f"{ours} records of ksm.ko flood the log")
    if after >= 0 and oldest is not None and oldest > after + 1:
        complaints.append(f"{oldest - after - 1} records were overwritten before they were read")
    return Log(complaints, f"{boot}:{last}")


def _boot_id(root: Path) -> str:
    return (root / _BOOT_ID).read_text(encoding="ascii").strip()


def _lines(device: Path) -> list[str]:
    """Return all that the device has now: one record each read, and no end but EAGAIN."""
    pieces: list[bytes] = []
    fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                piece = os.read(fd, _RECORD_BYTES)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # Overwritten under the reader, who goes on with the oldest that is left.
                continue
            if not piece:
                break
            pieces.append(piece)
    finally:
        os.close(fd)
    return b"".join(pieces).decode("utf-8", errors="replace").splitlines()
