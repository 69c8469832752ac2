# SPDX-License-Identifier: GPL-2.0-or-later
"""Tunables of the engines: the table, the checks, and setting them."""

from ksm.change import Change, apply
from ksm.errors import BadValue, TunableError
from ksm.table import COUNTERS, TUNABLES, Tunable, Value
from ksm.validation import parse, validate

__all__ = [
    "COUNTERS",
    "TUNABLES",
    "BadValue",
    "Change",
    "Tunable",
    "TunableError",
    "Value",
    "apply",
    "parse",
    "validate",
]
