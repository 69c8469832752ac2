# SPDX-License-Identifier: GPL-2.0-or-later
"""From what matches and what the driver lists: what is to be registered and removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, NamedTuple

from ksm.policy.model import Policy
from ksm.policy.processes import Process
from ksm.policy.record import Task
from ksm.region import Region

IsOurs = Callable[[Region, Task], bool]


class Removal(NamedTuple):
    """A region that no policy wants any more; with children that of its whole family."""

    region: Region
    children: bool


class Plan(NamedTuple):
    """register: pids. removals come first. kept: tasks that are registered as they shall be.

    taken: why the matching tasks of others cannot be registered.
    """

    register: list[int]
    removals: list[Removal]
    kept: dict[int, Task]
    taken: dict[int, str]


def plan(
    matching: Mapping[int, tuple[Process, Policy]],
    policies: Sequence[Policy],
    regions: Sequence[Region],
    tasks: Mapping[int, Task],
    is_ours: IsOurs,
) -> Plan:
    """Compare what is with what shall be. is_ours tells a task from another of its pid."""
    ours = _ours(regions, tasks, is_ours)
    of_pid: dict[int, list[Region]] = {}
    for region in regions:
        of_pid.setdefault(region.pid, []).append(region)
    done = Plan([], [], {}, {})
    for pid, (_, policy) in matching.items():
        _one(done, pid, policy, of_pid.get(pid, []), ours)
    named = {policy.name: policy for policy in policies}
    renamed = {task.policy: done.kept[task.pid].policy for task in ours.values() if task.pid in done.kept}
    for region in regions:
        task = ours.get(region.number)
        if task is None or region.pid in matching or region.pid <= 0:
            continue
        parents = named.get(task.policy) or named.get(renamed.get(task.policy, ""))
        if not task.root and parents and parents.children and _fits(region, parents):
            done.kept[region.pid] = task._replace(policy=parents.name)
        else:
            done.removals.append(Removal(region, not task.root or task.children))
    return done._replace(removals=_once(done.removals))


def wanted(pid: int, identity: tuple[int, ...], policy: Policy) -> Task:
    """Return what is noted of a task that a policy registers."""
    return Task(pid, identity, policy.name, policy.number, policy.zero_pages, policy.children)


def _one(done: Plan, pid: int, policy: Policy, regions: Sequence[Region], ours: Mapping[int, Task]) -> None:
    if not regions:
        done.register.append(pid)
        return
    region = regions[0]
    task = ours.get(region.number)
    fits = _fits(region, policy)
    # What came with a parent of the same domain is where it shall be.
    member = task is not None and not task.root
    if fits and (member or region.children == policy.children):
        # Also what nobody noted: so is lost what was noted, not the task.
        task = task or Task(pid, (), "", region.domain, region.zero_pages, region.children)
        done.kept[pid] = task._replace(policy=policy.name)
    elif task is not None:
        done.removals.append(Removal(region, task.root and task.children))
        done.register.append(pid)
    else:
        done.taken[pid] = (
            f"is registered already, by somebody else ({region.range_text()}, domain "
            f"{region.domain_text()}); end that with: ksmctl unregister --pid {pid}"
        )


def _ours(regions: Sequence[Region], tasks: Mapping[int, Task], is_ours: IsOurs) -> dict[int, Task]:
    found: dict[int, Task] = {}
    families: dict[int, Task] = {}
    for region in regions:
        task = tasks.get(region.pid)
        if task and _is(region, task.domain, task.zero_pages) and is_ours(region, task):
            found[region.number] = task
            if region.family and (task.root or region.family not in families):
                families[region.family] = task
    for region in regions:
        family = families.get(region.family) if region.family else None
        if family and region.number not in found:
            found[region.number] = family._replace(pid=region.pid, identity=(), root=False)
    return found


def _fits(region: Region, policy: Policy) -> bool:
    return _is(region, policy.number, policy.zero_pages)


def _is(region: Region, domain: int, zero_pages: bool) -> bool:
    return region.whole and region.domain_system and (region.domain, region.zero_pages) == (domain, zero_pages)


def _once(removals: Iterable[Removal]) -> list[Removal]:
    """With a family goes all of it."""
    families = {one.region.family for one in removals if one.children and one.region.family}
    kept: list[Removal] = []
    for one in removals:
        if one.children and one.region.family:
            if one.region.family not in families:
                continue
            families.remove(one.region.family)
        kept.append(one)
    return kept
