# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU time and memory of process trees, from /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    pid: int
    comm: str
    parent: int
    # Of the process and of those of its children that it has waited for.
    ticks: int


def parse_stat(text: str) -> Stat:
    # comm may hold spaces and parentheses, so it ends at the last one.
    head, _, tail = text.rpartition(")")
    pid, _, comm = head.partition(" (")
    fields = tail.split()
    return Stat(int(pid), comm, int(fields[1]), sum(int(field) for field in fields[11:15]))


def table(proc: Path = PROC) -> dict[int, Stat]:
    found = {}
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            stat = parse_stat(Path(entry.path, "stat").read_text(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[stat.pid] = stat
    return found


def trees(roots: Iterable[int], stats: Mapping[int, Stat]) -> dict[int, list[Stat]]:
    """Each root with all that descends from it."""
    children: dict[int, list[int]] = {}
    for stat in stats.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    found = {}
    for root in roots:
        members: list[Stat] = []
        waiting = [root]
        while waiting:
            pid = waiting.pop()
            if pid in stats:
                members.append(stats[pid])
                waiting += children.get(pid, [])
        found[root] = members
    return found


def cpu_seconds(members: Iterable[Stat]) -> float:
    return sum(stat.ticks for stat in members) / TICK


def pss_kib(pid: int, proc: Path = PROC) -> Optional[int]:
    """Memory of a process, of what it shares its part; None when it has gone."""
    try:
        text = Path(proc, str(pid), "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    match = re.search(r"^Pss: +(\d+) kB$", text, flags=re.MULTILINE)
    return int(match[1]) if match else None
