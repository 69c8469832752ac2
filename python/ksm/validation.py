# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of names and values that need no write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from ksm.engine import Engine
from ksm.errors import BadValue
from ksm.table import COUNTERS, TUNABLES, USER_RANGES_MAX, EngineName, Tunable, Value

# What YAML 1.1 and its tools make of a switch.
_WORDS = {"true": 1, "yes": 1, "on": 1, "false": 0, "no": 0, "off": 0}


def parse(tunable: Tunable, value: object, engine: EngineName) -> Value:
    """Value as it is stored: an int in the engine's limits, one of the choices, or a list of users.

    Takes an int, or its decimal digits as text. A boolean is taken only by a switch
    (kind "bool"), in YAML's words too: `run: yes` is an accident more often than not.
    Raises BadValue naming value and range.
    """
    if tunable.kind == "choice":
        if value in tunable.choices:
            return str(value)
        raise _bad(tunable, value, f"{value!r} is unknown", engine)
    if tunable.kind == "users":
        return _users(tunable, value, engine)
    if isinstance(value, bool):
        if tunable.kind == "bool":
            return int(value)
        raise _bad(tunable, value, f"{value} is a boolean", engine)
    if isinstance(value, int):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,30}", value.strip()):
        number = int(value)
    elif isinstance(value, str) and tunable.kind == "bool" and value.strip().lower() in _WORDS:
        number = _WORDS[value.strip().lower()]
    else:
        raise _bad(tunable, value, f"{value!r} is not a whole number", engine)
    low, high = tunable.limits(engine)
    if not low <= number <= high:
        raise _bad(tunable, value, f"{number} is out of range", engine)
    return number


def _users(tunable: Tunable, value: object, engine: EngineName) -> str:
    """Return a list of users as the module shows it, so that wanted and observed compare."""
    # Of one user YAML makes a number.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise _bad(tunable, value, f"{value!r} is no list of users", engine)
    words = text.strip().split(",") if text.strip() else []
    if len(words) > USER_RANGES_MAX:
        raise _bad(tunable, value, f"{len(words)} users and ranges are too many", engine)
    shown = []
    for word in words:
        match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", word)
        if not match:
            raise _bad(tunable, value, f"{word!r} is no user and no range", engine)
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise _bad(tunable, value, f"{word!r} ends before it begins", engine)
        if last > tunable.limits(engine)[1]:
            raise _bad(tunable, value, f"{last} is out of range", engine)
        shown.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(shown)


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
