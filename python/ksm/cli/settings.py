# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl set."""

from __future__ import annotations

import argparse

from ksm.cli.output import print_json, shown
from ksm.engine import select
from ksm.errors import BadValue
from ksm.tunables import Change, apply


def assignment(text: str) -> tuple[str, str]:
    """NAME=VALUE as a pair; raises ArgumentTypeError."""
    name, equals, value = text.partition("=")
    # No value is a list with nothing in it; what must have one says so itself.
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE; write for example run=1")
    return name, value


def run(arguments: argparse.Namespace) -> int:
    """Set the tunables, or with --check say what would change."""
    changes: dict[str, str] = {}
    for name, value in arguments.changes:
        if name in changes:
            raise BadValue(f"{name}: is given twice, {changes[name]} and {value}", name, value)
        changes[name] = value
    engine = select(arguments.engine)
    change = apply(engine, changes, check=arguments.check)
    if arguments.json:
        print_json(
            {
                "engine": engine.name,
                "check": arguments.check,
                "changed": change.changed,
                "before": change.before,
                "after": change.after,
            }
        )
    else:
        _print(change, arguments.check)
    return 0


def _print(change: Change, check: bool) -> None:
    remark = " (not done: --check)" if check else ""
    for name, before in change.before.items():
        after = change.after[name]
        if before == after:
            print(f"{name}: {shown(after)}, as it was")
        else:
            print(f"{name}: {shown(before)} -> {shown(after)}{remark}")
