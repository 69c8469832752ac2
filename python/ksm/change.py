# SPDX-License-Identifier: GPL-2.0-or-later
"""Setting tunables: all or nothing, in an order that the engine accepts."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ksm import turn
from ksm.engine import Engine
from ksm.errors import TunableError
from ksm.smaps import meminfo
from ksm.table import TUNABLES, Value
from ksm.validation import validate

STOP, MERGE, UNMERGE = 0, 1, 2
_MIB = 1024 * 1024
_MODE, _PAGES = "advisor_mode", "pages_to_scan"


@dataclass(frozen=True)
class Change:
    """What apply() did, or with check would do; before and after have the names asked for."""

    before: dict[str, Value]
    after: dict[str, Value]
    changed: bool


def apply(engine: Engine, changes: Mapping[str, object], check: bool = False) -> Change:
    """Set all the tunables, or none.

    Everything is validated first. Values that stand already are not written. A change of
    merge_across_nodes or max_page_sharing unmerges everything for its time. What was
    written is put back when a write fails, or when this is interrupted or told to end. Waits
    for a reload of the module that is under way.
    check: only say what would change; nothing is written, every refusal is the same.

    Raises EngineUnavailable; BadValue; TunableError when the state of the host forbids it
    (its errno is None) or a write failed (errno set).
    """
    alone = engine.is_of_the_host and not check
    with turn.taken_by_root(engine.system) if alone else contextlib.nullcontext():
        return _apply(engine, changes, check)


def _apply(engine: Engine, changes: Mapping[str, object], check: bool) -> Change:
    engine.require()
    wanted = validate(changes, engine)
    current = engine.tunables()
    before = {name: current[name] for name in wanted}
    steps = _plan(wanted, current, engine)
    _refuse(wanted, steps, current, engine)
    if check:
        return Change(before, wanted, bool(steps))
    _write(engine, steps, current)
    after = {name: engine.read(name) for name in wanted}
    return Change(before, after, bool(steps))


def _plan(wanted: Mapping[str, Value], current: Mapping[str, Value], engine: Engine) -> list[tuple[str, Value]]:
    """Writes in their order.

    run is first when the engine stops and last when it starts. advisor_mode=none comes before
    the others since it sets pages_to_scan to its default, scan-time after them since it starts
    from advisor_min_pages_to_scan.
    """
    changing = {name: value for name, value in wanted.items() if current[name] != value}
    if changing.get(_MODE) == "none" and _PAGES in wanted:
        changing[_PAGES] = wanted[_PAGES]
    run = wanted.get("run", current["run"])
    steps: list[tuple[str, Value]] = []
    now = current["run"]
    unmerge = any(TUNABLES[name].needs_unmerge for name in changing)
    if unmerge and now != UNMERGE and (now == MERGE or _shares(engine)):
        steps.append(("run", UNMERGE))
        now = UNMERGE
    elif run not in (now, MERGE):
        steps.append(("run", run))
        now = run
    first = [_MODE] if changing.get(_MODE) == "none" else []
    last = [_MODE] if changing.get(_MODE) == "scan-time" else []
    middle = [name for name in TUNABLES if name in changing and name not in ("run", _MODE)]
    steps += [(name, changing[name]) for name in (*first, *middle, *last)]
    if run != now:
        steps.append(("run", run))
    return steps


def _shares(engine: Engine) -> bool:
    return engine.counters().get("pages_shared", 0) > 0


def _refuse(
    wanted: Mapping[str, Value],
    steps: list[tuple[str, Value]],
    current: Mapping[str, Value],
    engine: Engine,
) -> None:
    """Raise TunableError for what the state of the host forbids."""
    final = {**current, **wanted}
    if _PAGES in wanted and final.get(_MODE) == "scan-time":
        raise TunableError(
            f"{_PAGES}: {wanted[_PAGES]} is refused while {_MODE} is scan-time, which sets it "
            f"itself; leave it out, or set {_MODE}=none",
            _PAGES,
            wanted[_PAGES],
        )
    low, high = "advisor_min_pages_to_scan", "advisor_max_pages_to_scan"
    touched = low in wanted or high in wanted
    if touched and low in final and high in final and int(final[low]) > int(final[high]):
        raise TunableError(
            f"{low}: {final[low]} is more than {high}, which is {final[high]}; set both",
            low,
            final[low],
        )
    if ("run", MERGE) in steps:
        refuse_second_engine(engine)
    if ("run", UNMERGE) in steps:
        _refuse_unmerge(wanted, engine)


def refuse_second_engine(engine: Engine) -> None:
    """Raise TunableError when the other engine of this host merges already."""
    other = engine.other()
    if other is not None and other.read("run") == MERGE:
        raise TunableError(
            f"run: {MERGE} is refused while the {other.name} engine runs; stop that one first: "
            f"ksmctl set --engine {other.name} run=0",
            "run",
            MERGE,
        )


def _refuse_unmerge(wanted: Mapping[str, Value], engine: Engine) -> None:
    """Unmerging takes as much memory as is saved: refuse it rather than wake the OOM killer."""
    saved = engine.saved_bytes()
    available = meminfo(engine.proc)["MemAvailable"]
    if saved <= available:
        return
    cause = next((n for n in wanted if TUNABLES[n].needs_unmerge), "run")
    name = "run" if wanted.get("run") == UNMERGE else cause
    raise TunableError(
        f"{name}: {wanted[name]} unmerges everything, which takes the {saved / _MIB:.1f} MiB that "
        f"are saved, and only {available / _MIB:.1f} MiB are available (MemAvailable); free "
        "memory first, or set run=0: pages then unmerge one by one as they are written",
        name,
        wanted[name],
    )


def _write(engine: Engine, steps: list[tuple[str, Value]], before: Mapping[str, Value]) -> None:
    tried: list[str] = []
    with _told_to_end():
        for at, (name, value) in enumerate(steps):
            tried.append(name)
            try:
                engine.write(name, value)
            except OSError as error:
                lost = _restore(engine, tried, before)
                if ("run", UNMERGE) in steps[:at]:
                    lost += ", but everything was unmerged"
                raise TunableError(_failure(engine, name, value, error) + lost, name, value, error.errno) from error
            except BaseException:
                _restore(engine, tried, before)
                raise


@contextlib.contextmanager
def _told_to_end() -> Iterator[None]:
    """What would end the process half way raises SystemExit: SIGTERM, and a terminal that goes away."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[int(number)] = signal.signal(number, end)
    try:
        yield
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)


def _failure(engine: Engine, name: str, value: Value, error: OSError) -> str:
    code = errno.errorcode.get(error.errno or 0, str(error.errno))
    text = f"{name}: writing {value} to {engine.root / name} failed: {code}, {error.strerror}"
    if error.errno in (errno.EACCES, errno.EPERM):
        text += " (only root may)"
    return text


def _restore(engine: Engine, tried: list[str], before: Mapping[str, Value]) -> str:
    """Put back what differs, the last write first; says what could not be.

    The write that failed is looked at too: a failed run=2 leaves mm/ksm.c stopped.
    """
    names = list(dict.fromkeys(tried))[::-1]
    if _MODE in names and before[_MODE] == "none":
        # Going back to none sets pages_to_scan to its default.
        names.insert(names.index(_MODE) + 1, _PAGES)
    lost = []
    for name in names:
        try:
            if engine.read(name) != before[name]:
                engine.write(name, before[name])
        except OSError as error:
            lost.append(f"{name} to {before[name]} ({os.strerror(error.errno or 0)})")
    if not lost:
        return "; nothing was changed"
    return f"; could not put back {', '.join(lost)}"
