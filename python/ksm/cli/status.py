# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl status."""

from __future__ import annotations

import argparse
import os

from ksm.cli.output import MIB, print_json, print_pairs, print_table
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
        print_json(engine.snapshot())
    else:
        _print(engine)
    return 0


def _print(engine: Engine) -> None:
    tunables, counters = engine.tunables(), engine.counters()
    state = tunables["run"]
    version = f" {engine.version() or '(no version)'}" if engine.name == "module" else ""
    print_pairs(
        [
            ("engine", f"{engine.name}{version} ({engine.root})"),
            ("kernel", os.uname().release),
            ("state", f"{_STATES.get(state, 'unknown')} (run {state})"),
            ("saved", f"{engine.saved_bytes() / MIB:.1f} MiB"),
            ("thread", _thread(engine)),
        ]
    )
    print("\ntunables")
    print_table(((name, str(value), TUNABLES[name].unit) for name, value in tunables.items()), "  ")
    print("\ncounters")
    print_table(((name, str(value), COUNTERS[name]) for name, value in counters.items()), "  ")


def _thread(engine: Engine) -> str:
    pid, seconds = engine.thread_pid(), engine.thread_cpu_seconds()
    if pid is None or seconds is None:
        return "not seen from here"
    return f"pid {pid}, {seconds:.2f} s CPU"
