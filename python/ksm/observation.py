# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking at an engine and its host for a while."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ksm import kernel_log, pressure, procfs
from ksm.doctor import desired
from ksm.engine import Engine
from ksm.errors import NoSuchAttribute

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Observation:
    """What was seen; None is what could not be, and unknown says why and what to do about it.

    engine, version: what runs.
    seconds: for how long it was looked at.
    saved_mib, sharing_ratio, profit_mib, memory_pressure: at the end of that time.
    scan_cpu_percent: of one CPU, over that time.
    kernel_log: the complaints in it, none when it is clean.
    mark: where the kernel's log ends, for the next observation to go on from.
    drift: the tunables that are not what their file says, {name: {desired, observed}}.
    """

    engine: str
    version: str | None
    seconds: float
    saved_mib: float
    sharing_ratio: float
    profit_mib: float | None
    scan_cpu_percent: float | None
    memory_pressure: float | None
    kernel_log: list[str] | None
    mark: str | None
    drift: dict[str, dict[str, object]]
    unknown: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return asdict(self)


def observe(engine: Engine, seconds: float, root: str | Path = "/", since: str | None = None) -> Observation:
    """Look at the engine for some seconds.

    since: the mark of an earlier observation; only what the kernel logged after it counts. By
    default all counts that it logged since it booted and still has.
    Raises EngineUnavailable, also when the engine goes away meanwhile; BadValue for no mark.
    """
    engine.require()
    place = Path(root)
    kernel_log.check_mark(since)
    began, used = time.monotonic(), _cpu_seconds(engine)
    time.sleep(seconds)
    took, used_now = time.monotonic() - began, _cpu_seconds(engine)
    engine.require()

    unknown: dict[str, str] = {}
    counters = engine.counters()
    shared = counters.get("pages_shared", 0)
    profit = counters.get("general_profit")
    if profit is None:
        unknown["profit_mib"] = (
            f"the {engine.name} engine of this host has no general_profit; leave the expectation out, or use ksm.ko"
        )
    percent = None
    if seconds <= 0:
        unknown["scan_cpu_percent"] = "nothing was observed; look for a second or more"
    elif not used_now:
        unknown["scan_cpu_percent"] = "the threads that scan are not seen from here; look from outside of the container"
    else:
        spent = sum(now - used.get(pid, 0) for pid, now in used_now.items())
        percent = 100 * spent / took
    log = kernel_log.read(place, since)
    if log.reason is not None:
        unknown["kernel_log"] = log.reason
    pressing = pressure.memory(place)
    if isinstance(pressing, str):
        unknown["memory_pressure"] = pressing
    version = engine.version()
    if version is None:
        unknown["version"] = "the loaded module has no version; load the one of the packages"
    return Observation(
        engine=engine.name,
        version=version,
        seconds=round(took, 3),
        saved_mib=engine.saved_bytes() / _MIB,
        sharing_ratio=counters.get("pages_sharing", 0) / shared if shared else 0.0,
        profit_mib=None if profit is None else profit / _MIB,
        scan_cpu_percent=percent,
        memory_pressure=None if isinstance(pressing, str) else pressing,
        kernel_log=log.complaints,
        mark=log.mark,
        drift=_drift(engine, place),
        unknown=unknown,
    )


def _cpu_seconds(engine: Engine) -> dict[int, float]:
    """CPU time by thread, since their number may change."""
    stats = {pid: procfs.read_stat(pid, engine.proc) for pid in engine.thread_pids()}
    return {pid: stat.cpu_seconds for pid, stat in stats.items() if stat is not None}


def _drift(engine: Engine, root: Path) -> dict[str, dict[str, object]]:
    told = desired.look(engine.name, str(root))["tunables"]
    seen: dict[str, object] = {}
    for name in told:
        try:
            seen[name] = engine.read(name)
        except NoSuchAttribute:
            continue
    return desired.drift(told, seen)
