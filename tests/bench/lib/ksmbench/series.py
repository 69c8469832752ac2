# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved memory, as it grew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ksmbench.results import Row

PAGE_MIB = 4096 / (1 << 20)
# Before so much of the most is saved, what one engine has by the other's is a matter of moments.
NOTICEABLE = 0.05

Series = Sequence[tuple[float, float]]


def saved_over_time(row: Row) -> list[tuple[float, float]]:
    """Seconds, MiB."""
    return [(sample[0], sample[2] * PAGE_MIB) for sample in row["samples"]]


def saved_by_cpu(row: Row) -> list[tuple[float, float]]:
    """ms of CPU time, MiB."""
    return [(sample[1] / 1e6, sample[2] * PAGE_MIB) for sample in row["samples"]]


def at(series: Series, x: float) -> Optional[float]:
    """The last y whose x is not beyond; a stair, since memory stays saved between two looks."""
    value = None
    for there, y in series:
        if there > x:
            break
        value = y
    return value


@dataclass(frozen=True)
class Comparison:
    """Saved by ours / saved by theirs."""

    least: float
    median: float
    mean: float  # of all that was saved: MiB times seconds


def reached(series: Series, y: float) -> Optional[float]:
    """The first x at which so much is saved."""
    return next((x for x, saved in series if saved >= y), None)


def ahead(ours: Series, theirs: Series, factor: float) -> Optional[float]:
    """In which part of their looks ours has saved so many times as much; also where they have nothing yet."""
    found = [(value or 0.0) > 0 and (value or 0.0) >= factor * y for x, y in theirs for value in (at(ours, x),)]
    return sum(found) / len(found) if found else None


def compare(ours: Series, theirs: Series) -> Optional[Comparison]:
    """At each of their times from which on it has saved a noticeable part."""
    enough = NOTICEABLE * max((y for _, y in theirs), default=0)
    found = [(value, y) for x, y in theirs if y > 0 and y >= enough and (value := at(ours, x)) is not None]
    if not found:
        return None
    ratios = sorted(value / y for value, y in found)
    middle = len(ratios) // 2
    median = ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2
    return Comparison(ratios[0], median, sum(value for value, _ in found) / sum(y for _, y in found))
