# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl status."""

from __future__ import annotations

import argparse
import os

from ksm import kmod, reload
from ksm.cli.output import MIB, print_json, print_pairs, print_table, shown_short
from ksm.engine import Engine, select
from ksm.table import COUNTERS, TUNABLES, Value

_STATES: dict[Value, str] = {
    0: "stopped, merged pages stay merged",
    1: "merging",
    2: "stopped, everything unmerged",
}


def run(arguments: argparse.Namespace) -> int:
    """Print what is known of the engine."""
    engine = select(arguments.engine)
    if arguments.json:
        print_json({**engine.snapshot(), **_builds(engine)})
    else:
        _print(engine)
    return 0


def _builds(engine: Engine) -> dict[str, object]:
    """Return what is installed beside what runs, nothing of the engine of the kernel."""
    running = kmod.loaded(engine.system) if engine.name == "module" else None
    if running is None:
        return {}
    found = kmod.installed()
    return {
        "srcversion": running.srcversion,
        "version_installed": found and found.build.version,
        "srcversion_installed": found and found.build.srcversion,
        "reload_required": bool(found and running.differs(found.build)),
        "reload_interrupted": reload.pending(),
    }


def _remarks(engine: Engine) -> list[tuple[str, str]]:
    builds = _builds(engine)
    if builds.get("reload_interrupted"):
        return [("reload", "was interrupted; go on with it: ksmctl reload")]
    if builds.get("reload_required"):
        installed = builds["version_installed"] or "another build"
        if installed == engine.version():
            installed = f"another build of {installed}"
        return [("installed", f"{installed}, reload pending: ksmctl reload")]
    return []


def _print(engine: Engine) -> None:
    tunables, counters = engine.tunables(), engine.counters()
    state = tunables["run"]
    version = f" {engine.version() or '(no version)'}" if engine.name == "module" else ""
    print_pairs(
        [
            ("engine", f"{engine.name}{version} ({engine.root})"),
            *_remarks(engine),
            ("kernel", os.uname().release),
            ("state", f"{_STATES.get(state, 'unknown')} (run {state})"),
            ("saved", f"{engine.saved_bytes() / MIB:.1f} MiB"),
            ("thread", _thread(engine)),
        ]
    )
    print("\ntunables")
    print_table(((name, shown_short(value), TUNABLES[name].unit) for name, value in tunables.items()), "  ")
    print("\ncounters")
    print_table(((name, str(value), COUNTERS[name]) for name, value in counters.items()), "  ")


def _thread(engine: Engine) -> str:
    pids, seconds = engine.thread_pids(), engine.thread_cpu_seconds()
    if not pids or seconds is None:
        return "not seen from here"
    return f"{'pid' if len(pids) == 1 else 'pids'} {', '.join(map(str, pids))}, {seconds:.2f} s CPU"
