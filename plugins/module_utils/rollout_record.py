# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host keeps of the last rollout: its state before, and what came of it.

It lies on the host, so that any control node can take the rollout back, also after a crash. The
state before is that in which the host last was whole: before a rollout that passed, or that was
taken back. Attempts that failed half-way leave it alone.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from typing import Any, Callable

from . import host, persistence

PATH = "/var/lib/ksm-fleet/rollout.json"
FORMAT = 1
PASSED, FAILED, ROLLED_BACK = "passed", "failed", "rolled_back"
WHOLE = (PASSED, ROLLED_BACK)
Record = dict[str, Any]


class Unreadable(Exception):
    """The record is there and cannot be used."""


def read(root: str) -> Record | None:
    """Return the record, None when there is none."""
    path = os.path.join(root, PATH.lstrip("/"))
    text = persistence.read(path)
    if not text:
        return None
    try:
        record: Record = json.loads(text)
        known = record["format"] == FORMAT
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(
            f"{PATH} is damaged ({error!r}). Remedy: move it away, and bring the host to a state"
            " that is known by the role"
        ) from error
    if not known:
        raise Unreadable(
            f"{PATH} is of format {record['format']}, and this collection knows {FORMAT}."
            " Remedy: use the collection that wrote it, or move the file away"
        )
    return record


def write(root: str, record: Record, move: Callable[[str, str], Any]) -> None:
    """Replace the record at one stroke: a crash leaves the old one or the new one."""
    path = os.path.join(root, PATH.lstrip("/"))
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=folder, prefix=".rollout-")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            json.dump(record, stream, indent=1, sort_keys=True)
            stream.write("\n")
            stream.flush()
            # After a power cut, too.
            os.fsync(stream.fileno())
        move(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def begin(old: Record | None, name: str, mark: str | None, take: Callable[[], dict[str, Any]]) -> Record:
    """Return the record with which the rollout *name* begins, or goes on.

    *take* returns the state of the host; it is asked only where the host is whole.
    """
    if old is not None and old["id"] == name and old["outcome"] in (None, PASSED):
        if old["outcome"] is None and _boot(old["log_mark"]) != _boot(mark):
            # It died on the way. What it does after this boot is what the next attempt is about.
            return {**old, "log_mark": mark}
        return old
    whole = old is None or old["outcome"] in WHOLE
    return {
        "format": FORMAT,
        "id": name,
        "began": now(),
        "ended": None,
        "outcome": None,
        "text": "",
        "log_mark": mark,
        "before": take() if whole else old["before"],  # type: ignore[index]
    }


def _boot(mark: str | None) -> str:
    return (mark or "").partition(":")[0]


def end(old: Record, outcome: str, text: str) -> Record:
    """Return the record once it is known what came of the rollout."""
    if outcome == ROLLED_BACK:
        if old["outcome"] == ROLLED_BACK:
            # Why it was taken back is worth more than that somebody did so once more.
            return old
        if old["outcome"] == FAILED and old["text"] not in text:
            text = f"{old['text']}; {text}"
    if (old["outcome"], old["text"]) == (outcome, text):
        return old
    return {**old, "outcome": outcome, "text": text, "ended": now()}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def log_mark(root: str) -> str | None:
    """Return where the kernel's log ends, as ksm.kernel_log has it; None when it is not readable."""
    boot = (host.read(root, "proc/sys/kernel/random/boot_id") or "").strip()
    last = None
    try:
        fd = os.open(os.path.join(root, "dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        while True:
            try:
                # One record each time.
                found = re.match(rb"\d+,(\d+),", os.read(fd, 8192))
            except BrokenPipeError:
                continue
            except BlockingIOError:
                break
            if found is None:
                break
            last = int(found[1])
    finally:
        os.close(fd)
    return f"{boot}:{-1 if last is None else last}" if boot and last is not None else None
