# SPDX-License-Identifier: GPL-2.0-or-later
"""Printing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

MIB = 1024 * 1024
# More would push all other values of the table aside.
_LIST_WIDTH = 32


def shown(value: object) -> str:
    """Text of a value; that of an empty list is a word."""
    return str(value) or "none"


def shown_short(value: object) -> str:
    """As shown(), but of a long list only how long it is."""
    text = shown(value)
    return text if len(text) <= _LIST_WIDTH else f"{text.count(',') + 1} entries"


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    print(json.dumps(value, indent=2))


def print_table(rows: Iterable[tuple[str, str, str]], indent: str = "") -> None:
    """Print rows of name, value and unit: names to the left, values to the right."""
    cells = list(rows)
    names = max((len(name) for name, _, _ in cells), default=0)
    values = max((len(value) for _, value, _ in cells), default=0)
    for name, value, unit in cells:
        print(f"{indent}{name:<{names}}  {value:>{values}} {unit}".rstrip())


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of as many cells each, the columns' names first."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def print_pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Print rows of name and text."""
    cells = list(rows)
    width = max((len(name) for name, _ in cells), default=0)
    for name, text in cells:
        print(f"{name:<{width}}  {text}")
