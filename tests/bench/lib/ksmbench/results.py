# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads what the program in the VM said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ksmbench.plan import Measurement

Row = dict[str, Any]


@dataclass(frozen=True)
class Output:
    rows: list[Row]
    troubles: list[str]


def read(text: str, steps: Sequence[Measurement]) -> Output:
    """Results are lines behind an @, failures are told by number; what is missing is trouble too."""
    rows: list[Row] = []
    troubles: list[str] = []
    told = 0
    for line in text.splitlines():
        if line.startswith("@"):
            told += 1
            try:
                row = json.loads(line[1:])
                rows.append({**row.pop("label"), **row})
            except (ValueError, KeyError, TypeError) as error:
                troubles.append(f"unreadable result ({error}): {line[:200]}")
        elif line.startswith("! measurement "):
            told += 1
            number = int(line.rsplit(" ", 1)[1])
            troubles.append(f"failed: {steps[number - 1].command()}")
        elif not line.startswith("# ") and line.strip() and troubles:
            troubles[-1] += f"\n    {line}"
    if told < len(steps):
        troubles.append(f"no word of {len(steps) - told} of {len(steps)} measurements: the VM ended early")
    return Output(rows, troubles)


def select(rows: Iterable[Row], **want: object) -> list[Row]:
    return [row for row in rows if all(row.get(name) == value for name, value in want.items())]
