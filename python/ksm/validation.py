# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of names and values that need no write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from ksm.engine import Engine
from ksm.errors import BadValue
from ksm.table import COUNTERS, TUNABLES, EngineName, Tunable, Value

# What YAML 1.1 and its tools make of a switch.
_WORDS = {"true": 1, "yes": 1, "on": 1, "false": 0, "no": 0, "off": 0}


def parse(tunable: Tunable, value: object, engine: EngineName) -> Value:
    """Value as it is stored: an int in the engine's limits, or one of the choices.

    Takes an int, or its decimal digits as text. A boolean is taken only by a switch
    (kind "bool"), in YAML's words too: `run: yes` is an accident more often than not.
    Raises BadValue naming value and range.
    """
    if tunable.kind == "choice":
        if value in tunable.choices:
            return str(value)
        raise _bad(tunable, value, f"{value!r} is unknown", engine)
    if isinstance(value, bool):
        if tunable.kind == "bool":
            return int(value)
        raise _bad(tunable, value, f"{value} is a boolean", engine)
    if isinstance(value, int):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value.strip()):
        number = int(value)
    elif isinstance(value, str) and tunable.kind == "bool" and value.strip().lower() in _WORDS:
        number = _WORDS[value.strip().lower()]
    else:
        raise _bad(tunable, value, f"{value!r} is not a whole number", engine)
    low, high = tunable.limits(engine)
    if not low <= number <= high:
        raise _bad(tunable, value, f"{number} is out of range", engine)
    return number


def validate(changes: Mapping[str, object], engine: Engine | EngineName) -> dict[str, Value]:
    """Changes as they would be stored, in the same order.

    engine: its name, to check against the table alone; or the Engine, to check also that
    this host has the attributes (where the engine is present).
    Raises BadValue with every complaint in its text; name and value are of the first.
    """
    name_of_engine = engine.name if isinstance(engine, Engine) else engine
    host = engine if isinstance(engine, Engine) and engine.present() else None
    values: dict[str, Value] = {}
    complaints: list[BadValue] = []
    for name, value in changes.items():
        try:
            tunable = _known(name, value, name_of_engine)
            values[name] = parse(tunable, value, name_of_engine)
            if host is not None and not host.has(name):
                raise BadValue(
                    f"{name}: the {host.name} engine of this host has no such tunable "
                    f"({host.root / name} is missing); leave it out",
                    name,
                    value,
                )
        except BadValue as complaint:
            complaints.append(complaint)
    if complaints:
        text = "; ".join(str(complaint) for complaint in complaints)
        raise BadValue(text, complaints[0].name, complaints[0].value)
    return values


def _bad(tunable: Tunable, value: object, why: str, engine: EngineName) -> BadValue:
    text = f"{tunable.name}: {why}; write {tunable.allowed(engine)}"
    return BadValue(text, tunable.name, value)


def _known(name: str, value: object, engine: EngineName) -> Tunable:
    tunable = TUNABLES.get(name)
    if tunable is None:
        if name in COUNTERS:
            raise BadValue(f"{name}: is a counter, nobody can set it; leave it out", name, value)
        near = difflib.get_close_matches(name, TUNABLES, 1)
        hint = f"write {near[0]}" if near else f"known are {', '.join(TUNABLES)}"
        raise BadValue(f"{name}: there is no such tunable; {hint}", name, value)
    if engine not in tunable.engines:
        only = " and ".join(tunable.engines)
        raise BadValue(
            f"{name}: the {engine} engine has no such tunable, only {only}; leave it out",
            name,
            value,
        )
    return tunable
