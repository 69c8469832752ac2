# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of /proc about kernel threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

# PF_KTHREAD of include/linux/sched.h: a process of that name is no kernel thread.
_PF_KTHREAD = 0x00200000


class Stat(NamedTuple):
    """Fields of /proc/PID/stat; the times are in clock ticks."""

    comm: str
    flags: int
    utime: int
    stime: int

    @property
    def cpu_seconds(self) -> float:
        """CPU time used so far, user and system, in seconds."""
        return (self.utime + self.stime) / os.sysconf("SC_CLK_TCK")

    @property
    def is_kernel_thread(self) -> bool:
        """Whether the task is a thread of the kernel."""
        return bool(self.flags & _PF_KTHREAD)


def read_stat(pid: int, proc: Path) -> Stat | None:
    """/proc/PID/stat; None when the task is gone."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # comm may hold spaces and parentheses, so it ends at the last parenthesis.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Stat(head.partition("(")[2], int(fields[6]), int(fields[11]), int(fields[12]))


def find_kernel_thread(comm: str, proc: Path) -> int | None:
    """Pid of the kernel thread of that name; None when this PID namespace has none."""
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        stat = read_stat(pid, proc)
        if stat is not None and stat.comm == comm and stat.is_kernel_thread:
            return pid
    return None
