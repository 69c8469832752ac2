# SPDX-License-Identifier: GPL-2.0-or-later
"""One task registered, or not any more."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Sequence
from typing import NamedTuple

from ksm.device import Area, Device
from ksm.errors import DeviceError, KsmError, ProcessEnded
from ksm.policy.matcher import Matcher
from ksm.policy.model import Policy
from ksm.policy.processes import Process
from ksm.policy.record import Task
from ksm.task import identity, open_task_memory

_OTHERS = (
    "has memory that is registered already, through a descriptor of its own or of another program; "
    "it is taken when that is closed"
)


SHARED = (
    "shares its memory with a process that started it, as one does before execve(); it is taken when it has memory "
    "of its own"
)


class Registered(NamedTuple):
    """A task that was registered just now, with its memory still open."""

    task: Task
    area: Area
    memory: io.FileIO


def register(
    area: Area, task: Task, policy: Policy, matcher: Matcher, memories: contextlib.ExitStack
) -> Registered | str:
    """Return it, or why it is not: "" where the task is not there any more."""
    try:
        memory = memories.enter_context(open_task_memory(task.pid))
        # Until here the pid may have come to another process.
        same = identity(task.pid) == task.identity
        if not same or matcher.policy(Process(task.pid)) != policy:
            return ""
        area.register_task(memory, whole=True, detached=True, children=policy.children)
    except KsmError as error:
        if _errno(error) == errno.EEXIST:
            return _OTHERS
        return "" if _ended(error) else str(error)
    return Registered(task, area, memory)


def take_back_strangers(device: Device, came: Sequence[Registered]) -> dict[int, str]:
    """Remove what turns out to be the memory of another process too; return why, by pid.

    Between vfork() and execve() a child has its parent's memory, and may have another user or
    control group already. The driver names the oldest process that has a memory.
    """
    listed = {region.pid for region in device.regions()} if came else set()
    reasons = {}
    for task, area, memory in came:
        if task.pid in listed:
            continue
        try:
            area.remove_task(memory, whole=True, detached=True, children=task.children)
            reasons[task.pid] = SHARED
        except KsmError as error:
            gone = _ended(error) or _errno(error) == errno.ENOENT
            reasons[task.pid] = "" if gone else str(error)
    return reasons


def remove(device: Device, pid: int, children: bool) -> str | None:
    """Return None when it is done, else why not: "" where there was nothing to remove."""
    try:
        with device.create_area() as area, open_task_memory(pid) as memory:
            area.remove_task(memory, whole=True, detached=True, children=children)
    except KsmError as error:
        if _errno(error) == errno.ENOENT or _ended(error):
            return ""
        return f"process {pid}: {error}"
    return None


def _ended(error: KsmError) -> bool:
    return isinstance(error, ProcessEnded) or _errno(error) == errno.ESRCH


def _errno(error: KsmError) -> int:
    return error.errno if isinstance(error, DeviceError) else 0
