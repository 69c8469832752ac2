# SPDX-License-Identifier: GPL-2.0-or-later
"""Detached regions, taken from one build of the module and registered with the next.

A region is nothing but numbers to the module. What holds it over the time without one is a
descriptor of its process' memory, which stays bound to that memory, whatever becomes of the pid.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import resource
import struct
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Callable, NamedTuple, NoReturn

from ksm.device import Area, Device
from ksm.errors import DeviceError, KsmError, ProcessEnded
from ksm.region import Region
from ksm.task import identity, open_task_memory

Progress = Callable[[str, int, int], None]

# Registrations that come while others are looked at are looked at in the next round.
_ROUNDS = 10
# For the interpreter, its libraries, the device, an area and a pipe.
_OTHER_DESCRIPTORS = 64
_ANSWER = struct.Struct("=Ii")


class Held(NamedTuple):
    """A region and the memory it is of; without memory, why there is none, and if it has ended.

    identity: what tells the process apart from others of its pid, and from itself before execve().
    """

    region: Region
    identity: Sequence[int]
    memory: io.FileIO | None
    why: str = ""
    ended: bool = False


@dataclass
class Outcome:
    """What became of regions: registered, ended (their process, or execve()), there already."""

    registered: int = 0
    ended: int = 0
    present: int = 0
    failed: list[str] = field(default_factory=list)


@contextlib.contextmanager
def collect(device: Device, progress: Progress) -> Iterator[list[Held]]:
    """Give every detached region with an open descriptor of its memory, or why there is none.

    Raises KsmError.
    """
    opened: dict[int, Held] = {}
    with contextlib.ExitStack() as memories:
        regions = device.regions()
        for _ in range(_ROUNDS):
            _allow_descriptors(len({region.pid for region in regions}))
            of_process: dict[int, Held] = {}
            for at, region in enumerate(regions):
                known = opened.get(region.number)
                if known is None or known.region.pid != region.pid:
                    known = of_process.get(region.pid) or _open(region, (), memories)
                    opened[region.number] = known._replace(region=region)
                of_process[region.pid] = opened[region.number]
                progress("opening memory", at + 1, len(regions))
            # Where number and pid still go together, the descriptor is of the region's memory.
            seen = {(region.number, region.pid) for region in regions}
            regions = device.regions()
            if all((region.number, region.pid) in seen for region in regions):
                yield [opened[region.number] for region in regions]
                return
        raise KsmError("processes are registered faster than they can be looked at; try later")


@contextlib.contextmanager
def reopen(held: Sequence[Held]) -> Iterator[list[Held]]:
    """Give the regions with their memory open, of those processes that are what they were."""
    _allow_descriptors(len(held))
    with contextlib.ExitStack() as memories:
        yield [_open(one.region, one.identity, memories) for one in held]


def register(device: Device, held: Sequence[Held], progress: Progress) -> Outcome:
    """Register regions for the users, and in the domains and families, that they were of.

    A child does it, since it takes their users' identities for it. Takes root.
    """
    outcome = Outcome()
    regions = [one for one in held if one.memory is not None]
    outcome.ended = sum(one.ended for one in held)
    outcome.failed = [one.why for one in held if one.memory is None and not one.ended]
    if not regions:
        return outcome
    answers, child_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(answers)
        _register_all(device, regions, child_end)
    os.close(child_end)
    told = 0
    with open(answers, "rb") as stream:
        while data := stream.read(_ANSWER.size):
            at, code = _ANSWER.unpack(data)
            told += 1
            _count(outcome, regions[at].region, code)
            progress("registering", told, len(regions))
    status = os.waitpid(child, 0)[1]
    if told != len(regions):
        code = os.waitstatus_to_exitcode(status)
        outcome.failed.append(f"{len(regions) - told} regions: the process for it ended ({code})")
    return outcome


def _open(region: Region, was: Sequence[int], memories: contextlib.ExitStack) -> Held:
    if region.pid <= 0:
        return Held(region, was, None, f"{_name(region)}: no process of it is seen from here")
    try:
        memory = memories.enter_context(open_task_memory(region.pid))
    except KsmError as error:
        return Held(region, was, None, str(error), isinstance(error, ProcessEnded))
    now = identity(region.pid)
    if was and list(was) != list(now):
        return Held(region, was, None, f"process {region.pid}: is another one now", ended=True)
    return Held(region, now, memory)


def _allow_descriptors(processes: int) -> None:
    wanted = processes + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (OSError, ValueError) as error:
        raise KsmError(
            f"{processes} processes are registered, and the system allows no {wanted} open files; "
            f"write a larger number to /proc/sys/fs/nr_open ({error})"
        ) from error


def _name(region: Region) -> str:
    return f"process {region.pid or '-'}, {region.range_text()}"


def _count(outcome: Outcome, region: Region, code: int) -> None:
    if not code:
        outcome.registered += 1
    elif code == errno.ESRCH:
        outcome.ended += 1
    elif code == errno.EEXIST:
        outcome.present += 1
    else:
        name = errno.errorcode.get(code, str(code))
        outcome.failed.append(f"{_name(region)}: {os.strerror(code)} ({name})")


def _area_of(item: tuple[int, Held]) -> tuple[int, ...]:
    region = item[1].region
    return (
        region.uid,
        region.domain_owner,
        region.domain,
        region.domain_system,
        region.zero_pages,
        region.family,
    )


def _register_all(device: Device, held: Sequence[Held], answers: int) -> NoReturn:
    """In the child: one area for all regions that can share one."""
    status = 1
    try:
        order = sorted(enumerate(held), key=_area_of)
        for _, items in itertools.groupby(order, _area_of):
            _register_some(device, list(items), answers)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _register_some(device: Device, items: list[tuple[int, Held]], answers: int) -> None:
    with device.create_area() as area:
        code = _domain(area, items[0][1].region)
        os.setresuid(items[0][1].region.uid, 0, 0)
        for at, one in items:
            os.write(answers, _ANSWER.pack(at, code or _register(area, one)))
        os.setresuid(0, 0, 0)


def _domain(area: Area, region: Region) -> int:
    """Choose the area's domain as who owns the number; the effective user is what counts."""
    if not (region.domain or region.domain_system or region.zero_pages):
        return 0
    owned = region.domain and not region.domain_system
    os.setresuid(0, region.domain_owner if owned else 0, 0)
    try:
        area.set_domain(region.domain, system=region.domain_system, zero_pages=region.zero_pages)
    except DeviceError as error:
        return error.errno
    finally:
        os.setresuid(0, 0, 0)
    return 0


def _register(area: Area, one: Held) -> int:
    code = _try_to_register(area, one)
    if code != errno.EEXIST:
        return code
    # By a reload that was interrupted, in another family than what is still to come; or by
    # somebody since then, in another domain. What stays there is an area's.
    with contextlib.suppress(DeviceError):
        assert one.memory is not None  # noqa: S101 - for the type checker
        area.remove_task(one.memory, one.region.addr, whole=one.region.whole, detached=True)
    return _try_to_register(area, one)


def _try_to_register(area: Area, one: Held) -> int:
    region, memory = one.region, one.memory
    assert memory is not None  # noqa: S101 - for the type checker
    try:
        area.register_task(
            memory,
            region.addr,
            region.length,
            whole=region.whole,
            detached=True,
            children=region.children,
            join=region.children,
        )
    except DeviceError as error:
        return error.errno
    return 0
