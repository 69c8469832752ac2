# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host's merging shall be like, and whether it is.

The Ansible module ksm_expect, the pytest plugin ksm.testing and `ksmctl expect` ask here:

    wanted = parse({"saved_mib_min": 512, "scan_cpu_percent_max": 20})
    findings = check(wanted, observe(select(), seconds=30))
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Union

from ksm.errors import BadValue
from ksm.observation import Observation, observe

__all__ = [
    "EXPECTATIONS",
    "Expectation",
    "Finding",
    "Observation",
    "Wanted",
    "check",
    "observe",
    "parse",
]

Wanted = Union[float, bool, str]
Kind = Literal["minimum", "maximum", "switch", "same"]


@dataclass(frozen=True)
class Expectation:
    """One thing that can be asked for.

    kind: "minimum" or "maximum" of a number, a "switch" that asks for it or does not, or "same", a
        text that must be found.
    of: the attribute of Observation that it is about.
    low, high: inclusive range of the number asked for; None for no limit.
    choices: of a text; empty for any.
    """

    name: str
    kind: Kind
    of: str
    text: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def allowed(self) -> str:
        """The values that may be asked for, in words."""
        if self.kind == "switch":
            return "true or false"
        if self.kind == "same":
            return " or ".join(self.choices) or "a version such as 0.1.0, in quotes"
        unit = f" ({self.unit})" if self.unit else ""
        if self.low is None:
            return f"a number{unit}, which may be negative"
        if self.high is None:
            return f"a number of {self.low:g} or more{unit}"
        return f"a number in {self.low:g}..{self.high:g}{unit}"


_ALL = (
    Expectation("saved_mib_min", "minimum", "saved_mib", "memory that merging saves", "MiB", 0),
    Expectation(
        "sharing_ratio_min",
        "minimum",
        "sharing_ratio",
        "pages_sharing for each of pages_shared",
        "",
        0,
    ),
    Expectation(
        "scan_cpu_percent_max",
        "maximum",
        "scan_cpu_percent",
        "CPU time of the threads that scan, of one CPU",
        "percent",
        0,
        # As many as there can be scan_threads.
        6400,
    ),
    Expectation(
        "memory_pressure_max",
        "maximum",
        "memory_pressure",
        "time that some task waited for memory in the last minute (PSI, some avg60)",
        "percent",
        0,
        100,
    ),
    Expectation(
        "profit_min_mib",
        "minimum",
        "profit_mib",
        "what merging saves less what the engine uses itself (general_profit)",
        "MiB",
    ),
    Expectation("kernel_log_clean", "switch", "kernel_log", "no complaint in the kernel's log"),
    Expectation("no_drift", "switch", "drift", "tunables as the files say that hold over a reboot"),
    Expectation("version", "same", "version", "version of the engine that runs"),
    Expectation("engine", "same", "engine", "the engine in use", choices=("module", "kernel")),
)
EXPECTATIONS: dict[str, Expectation] = {expectation.name: expectation for expectation in _ALL}

_WORDS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Finding:
    """Whether one expectation is met. found is None where it could not be observed."""

    name: str
    wanted: Wanted
    found: object
    ok: bool
    text: str


def parse(mapping: Mapping[str, object]) -> dict[str, Wanted]:
    """Return expectations with their values as check() takes them, in the same order.

    Numbers and switches are taken as text, too. Raises BadValue with every complaint in its text.
    """
    wanted: dict[str, Wanted] = {}
    complaints: list[BadValue] = []
    for name, value in mapping.items():
        try:
            wanted[name] = _value(_known(name, value), value)
        except BadValue as complaint:
            complaints.append(complaint)
    if complaints:
        text = "; ".join(map(str, complaints))
        raise BadValue(text, complaints[0].name, complaints[0].value)
    return wanted


def _known(name: str, value: object) -> Expectation:
    expectation = EXPECTATIONS.get(name)
    if expectation is None:
        near = difflib.get_close_matches(name, EXPECTATIONS, 1)
        hint = f"write {near[0]}" if near else f"known are {', '.join(EXPECTATIONS)}"
        raise BadValue(f"{name}: there is no such expectation; {hint}", name, value)
    return expectation


def _value(expectation: Expectation, value: object) -> Wanted:
    def bad(why: str) -> BadValue:
        text = f"{expectation.name}: {value!r} {why}; write {expectation.allowed()}"
        return BadValue(text, expectation.name, value)

    if expectation.kind == "switch":
        switch = _WORDS.get(value.strip().lower()) if isinstance(value, str) else value
        if not isinstance(switch, bool):
            raise bad("is neither true nor false")
        return switch
    if expectation.kind == "same":
        # YAML makes a number of an unquoted 0.10, and another version of it by that.
        if not isinstance(value, str) or not value.strip():
            raise bad("is no text")
        if expectation.choices and value not in expectation.choices:
            raise bad("is unknown")
        return value.strip()
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(value)
    except ValueError:
        raise bad("is no number") from None
    low = float("-inf") if expectation.low is None else expectation.low
    high = float("inf") if expectation.high is None else expectation.high
    # Comparing with not-a-number is false, and infinity is no expectation.
    if not low <= number <= high or number in (float("inf"), float("-inf")):
        raise bad("is out of range")
    return number


def check(expectations: Mapping[str, Wanted], observation: Observation) -> list[Finding]:
    """Return a finding for each expectation that parse() returned; switched off ones have none."""
    asked = ((EXPECTATIONS[name], wanted) for name, wanted in expectations.items())
    return [_find(expectation, wanted, observation) for expectation, wanted in asked if wanted is not False]


def _find(expectation: Expectation, wanted: Wanted, observation: Observation) -> Finding:
    found = getattr(observation, expectation.of)
    if found is None:
        reason = observation.unknown.get(expectation.of, "it could not be observed")
        return Finding(expectation.name, wanted, None, False, f"{expectation.name}: {reason}")
    if expectation.kind == "switch":
        told = _told(found)
        text = f"{expectation.name}: {told}" if told else f"{expectation.name}: nothing found"
        return Finding(expectation.name, wanted, found, not told, text)
    if expectation.kind == "same":
        ok = found == wanted
    else:
        ok = found >= wanted if expectation.kind == "minimum" else found <= wanted
    return Finding(expectation.name, wanted, found, ok, _compared(expectation, wanted, found, ok))


def _told(found: Iterable[object]) -> str:
    """Return what is wrong, in one line: complaints, or tunables that drifted."""
    if isinstance(found, Mapping):
        return "; ".join(f"{name} is {values['observed']}, not {values['desired']}" for name, values in found.items())
    return "; ".join(map(str, found))


def _compared(expectation: Expectation, wanted: Wanted, found: object, ok: bool) -> str:
    shown = f"{found:.2f}" if isinstance(found, float) else str(found)
    bound = f"{wanted:g}" if isinstance(wanted, float) else str(wanted)
    unit = f" {expectation.unit}" if expectation.unit else ""
    word = {"minimum": "at least ", "maximum": "at most ", "same": ""}[expectation.kind]
    verb = "wanted" if ok else "but wanted"
    return f"{expectation.name}: {shown}{unit}, {verb} {word}{bound}{unit}"
