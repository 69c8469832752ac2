# SPDX-License-Identifier: GPL-2.0-or-later
"""One task registered, or not any more."""

from __future__ import annotations

import errno

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


def register(area: Area, task: Task, policy: Policy, matcher: Matcher) -> str | None:
    """Return None when it is done, else why not: "" where the task is not there any more."""
    try:
        with open_task_memory(task.pid) as memory:
            # Until here the pid may have come to another process.
            same = identity(task.pid) == task.identity
            if not same or matcher.policy(Process(task.pid)) != policy:
                return ""
            area.register_task(memory, whole=True, detached=True, children=policy.children)
    except KsmError as error:
        if _errno(error) == errno.EEXIST:
            return _OTHERS
        return "" if _ended(error) else str(error)
    return None


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
