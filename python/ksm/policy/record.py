# SPDX-License-Identifier: GPL-2.0-or-later
"""What policies registered, and the last good version of each file, on disk.

Regions outlive who registered them, so what is known of them must, too. It is written before
anything is registered: of two that may be ours, one too many is harmless, since only what the
driver lists counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ksm.policy.model import Match, Policy

FILE = "run/ksm/policy.json"
_FORMAT = 1


class Task(NamedTuple):
    """An address space that policies registered, or that came with such a one as its child.

    identity: as ksm.task has it. root: registered itself, with its children or without.
    """

    pid: int
    identity: tuple[int, ...]
    policy: str
    domain: int
    zero_pages: bool
    children: bool
    root: bool = True


class Record(NamedTuple):
    """Tasks by their pids, and good policies by their files."""

    tasks: Mapping[int, Task]
    good: Mapping[str, list[Policy]]

    def save(self, system: str | Path = "/") -> None:
        """Write it, whole or not at all."""
        file = Path(system, FILE)
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        fields = {
            "format": _FORMAT,
            "tasks": [task._asdict() for task in self.tasks.values()],
            "good": {
                name: [{**one._asdict(), "match": one.match._asdict()} for one in policies]
                for name, policies in self.good.items()
            },
        }
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as stream:
            json.dump(fields, stream)
        new.rename(file)


EMPTY = Record({}, {})


def load(system: str | Path = "/") -> Record:
    """Return what was saved; nothing, where that is of no use.

    What is lost then is adopted again where a policy matches it still.
    """
    try:
        fields = json.loads(Path(system, FILE).read_text(encoding="utf-8"))
        return _record(fields) if fields["format"] == _FORMAT else EMPTY
    except (FileNotFoundError, PermissionError, KeyError, TypeError, ValueError):
        return EMPTY


def _record(fields: dict[str, Any]) -> Record:
    tasks = [Task(**{**task, "identity": tuple(task["identity"])}) for task in fields["tasks"]]
    good = {
        name: [Policy(**{**one, "match": Match(**one["match"])}) for one in policies]
        for name, policies in fields["good"].items()
    }
    return Record({task.pid: task for task in tasks}, good)
