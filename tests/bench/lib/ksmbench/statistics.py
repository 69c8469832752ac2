# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures of several rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Optional


@dataclass(frozen=True)
class Figure:
    """What one quantity was in all rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """From the lowest to the highest, as a part of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0

    def as_json(self) -> dict[str, float]:
        return {**asdict(self), "spread": self.spread}


def figure(values: Sequence[float]) -> Optional[Figure]:
    """Nothing of no values."""
    if not values:
        return None
    return Figure(statistics.median(values), min(values), max(values), len(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Optional[Figure]:
    """Theirs by ours, round by round: above 1 where ours is less."""
    return figure([b / a for a, b in zip(ours, theirs) if a > 0])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The power p of y ~ x^p that fits best (least squares of the logarithms): 1 is linear."""
    xs = [log(x) for x, _ in points]
    ys = [log(y) for _, y in points]
    return statistics.linear_regression(xs, ys).slope
