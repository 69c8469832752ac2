# SPDX-License-Identifier: GPL-2.0-or-later
"""One round: look at files, tasks and regions, and do what is missing between them."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from ksm import state, turn
from ksm.device import Area, Device
from ksm.errors import DeviceError
from ksm.policy import files, record, tasks
from ksm.policy.files import Folder
from ksm.policy.matcher import Matcher
from ksm.policy.model import Policy
from ksm.policy.plan import Plan, plan, wanted
from ksm.policy.processes import Process, processes
from ksm.policy.record import Record, Task
from ksm.policy.report import Report, TaskReport
from ksm.policy.section import numbers
from ksm.region import Region
from ksm.task import identity

_NO_MODULE = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
_NOT_YET = "is not registered yet; ksm-policy.service or ksmctl policy apply does it"
# Tasks whose memory is open at one time.
_AT_ONCE = 128
_INTERRUPTED = "a reload of the module was interrupted; go on with it: ksmctl reload"

Matching = dict[int, "tuple[Process, Policy]"]


class Keeper:
    """Does rounds, and remembers between them what need not be looked at again."""

    def __init__(self, system: str | Path = "/") -> None:
        self._system = system
        self._signature: object = None
        self._numbers: object = None
        self._folder = Folder([], [], {})
        self._matcher = Matcher([])
        # Regions' numbers with their pids, where the pid is still the task that was noted.
        self._verified: set[tuple[int, int]] = set()
        # Tasks that turned out to have another one's memory, until execve() makes them others.
        self._strangers: dict[int, Task] = {}

    def round(self) -> Report:
        """Do one. Raises KsmError, OSError."""
        with turn.taken(self._system):
            first = self._round()
            if not first.removed:
                return first
            # What went with its family may itself match.
            second = self._round()
        return second._replace(
            registered=sorted({*first.registered, *second.registered}),
            removed=sorted({*first.removed, *second.removed}),
        )

    def look(self, folder: Folder | None = None) -> Report:
        """Return what a round would do, for other policies than those of the files if given.

        Raises KsmError, OSError.
        """
        noted = record.load(self._system)
        folder = folder or files.load(self._system, noted.good)
        matching = _matching(Matcher(folder.policies))
        why = self._waits()
        if why is None:
            try:
                with Device() as device:
                    todo = self._plan(matching, folder.policies, device.regions(), noted.tasks)
            except DeviceError as error:
                why = _of_no_module(error)
        if why is not None:
            return _waiting(folder, matching, why)
        reasons = {**todo.taken, **dict.fromkeys(todo.register, _NOT_YET)}
        removed = [one.region.pid for one in todo.removals]
        return _report(folder, matching, todo.kept, reasons, todo.register, removed)

    def _round(self) -> Report:
        noted = record.load(self._system)
        folder = self._read(noted.good)
        matching = _matching(self._matcher)
        why = self._waits()
        if why is None:
            try:
                # For a moment only: who has it open keeps the module from being unloaded.
                with Device() as device:
                    return self._act(device, folder, matching, noted)
            except DeviceError as error:
                why = _of_no_module(error)
        self._note(noted, Record(noted.tasks, folder.good))
        return _waiting(folder, matching, why)

    def _read(self, good: Mapping[str, list[Policy]]) -> Folder:
        signature = files.signature(self._system)
        changed = signature != self._signature or numbers(self._folder.policies) != self._numbers
        # What is wrong may be mended elsewhere: a user be created.
        if changed or self._folder.errors:
            self._folder = files.load(self._system, good)
            self._matcher = Matcher(self._folder.policies)
            self._signature = signature
            self._numbers = numbers(self._folder.policies)
        return self._folder

    def _waits(self) -> str | None:
        return _INTERRUPTED if Path(self._system, state.FILE).exists() else None

    def _plan(
        self,
        matching: Matching,
        policies: Sequence[Policy],
        listed: Sequence[Region],
        noted: Mapping[int, Task],
    ) -> Plan:
        self._verified &= {(region.number, region.pid) for region in listed}
        return plan(matching, policies, listed, noted, self._is_ours)

    def _is_ours(self, region: Region, task: Task) -> bool:
        key = region.number, region.pid
        if key not in self._verified and identity(task.pid) == task.identity:
            self._verified.add(key)
        return key in self._verified

    def _act(self, device: Device, folder: Folder, matching: Matching, noted: Record) -> Report:
        todo = self._plan(matching, folder.policies, device.regions(), noted.tasks)
        kept = {
            pid: task if task.identity else task._replace(identity=identity(pid)) for pid, task in todo.kept.items()
        }
        coming = {pid: wanted(pid, identity(pid), matching[pid][1]) for pid in todo.register}
        self._strangers = {pid: one for pid, one in self._strangers.items() if coming.get(pid) == one}
        coming = {pid: task for pid, task in coming.items() if pid not in self._strangers}
        # Until they are gone.
        leaving = {one.region.pid for one in todo.removals} & noted.tasks.keys()
        going = {pid: noted.tasks[pid] for pid in leaving}
        self._note(noted, Record({**going, **kept, **coming}, folder.good))

        removed: list[int] = []
        staying: list[str] = []
        for region, children in todo.removals:
            why = tasks.remove(device, region.pid, children)
            if why is None:
                removed.append(region.pid)
            elif why:
                staying.append(why)
        failed = _register(device, coming, matching, self._matcher)
        self._strangers.update({pid: coming[pid] for pid, why in failed.items() if why == tasks.SHARED})
        reasons = {**todo.taken, **dict.fromkeys(self._strangers, tasks.SHARED), **failed}
        came = {pid: task for pid, task in coming.items() if pid not in reasons}
        report = _report(folder, matching, {**kept, **came}, reasons, list(came), removed)
        return report._replace(kept=staying)

    def _note(self, noted: Record, new: Record) -> None:
        if new != noted:
            new.save(self._system)


def _matching(matcher: Matcher) -> Matching:
    found = ((process, matcher.policy(process)) for process in processes())
    return {process.pid: (process, policy) for process, policy in found if policy is not None}


def _register(device: Device, coming: Mapping[int, Task], matching: Matching, matcher: Matcher) -> dict[int, str]:
    """Return why those that were not registered are not, "" for what has ended."""
    reasons: dict[int, str] = {}
    areas: dict[tuple[int, bool], Area] = {}
    with contextlib.ExitStack() as opened:
        for task in coming.values():
            domain = task.domain, task.zero_pages
            if domain not in areas:
                areas[domain] = opened.enter_context(device.create_area())
                areas[domain].set_domain(task.domain, system=True, zero_pages=task.zero_pages)
        waiting = list(coming)
        while waiting:
            some, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            with contextlib.ExitStack() as memories:
                came = []
                for pid in some:
                    task = coming[pid]
                    area = areas[task.domain, task.zero_pages]
                    one = tasks.register(area, task, matching[pid][1], matcher, memories)
                    if isinstance(one, str):
                        reasons[pid] = one
                    else:
                        came.append(one)
                reasons.update(tasks.take_back_strangers(device, came))
    return reasons


def _of_no_module(error: DeviceError) -> str:
    if error.errno not in _NO_MODULE:
        raise error
    return str(error)


def _waiting(folder: Folder, matching: Matching, why: str) -> Report:
    report = _report(folder, matching, {}, dict.fromkeys(matching, why), [], [])
    return report._replace(waiting=why)


def _report(
    folder: Folder,
    matching: Matching,
    registered: Mapping[int, Task],
    reasons: Mapping[int, str],
    came: Sequence[int],
    removed: Sequence[int],
) -> Report:
    reports = [
        TaskReport(
            pid,
            process.program,
            policy.name,
            policy.domain,
            policy.number,
            pid in registered,
            reasons.get(pid),
        )
        for pid, (process, policy) in sorted(matching.items())
        if pid in registered or reasons.get(pid)
    ]
    return Report(folder.policies, folder.errors, reports, sorted(came), sorted(removed), [], None)
