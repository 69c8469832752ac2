# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that stand out of a set, told so that the outliers themselves do not hide it.

Median and median absolute deviation, as Iglewicz and Hoaglin have it: half of the values may be
anything before these move far, where one huge value is enough to move mean and standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, median

# Their limit for the modified z-score.
LIMIT = 3.5
# The median absolute, and the mean absolute, deviation of normally distributed values that deviate
# by one.
OF_MEDIAN, OF_MEAN = 0.6745, 0.7979
# Fewer have no middle to stand out of.
FEWEST = 5


def scores(values: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each value stands out, signed; 0 for all of too few or of equal ones."""
    if len(values) < FEWEST:
        return dict.fromkeys(values, 0.0)
    middle = median(values.values())
    deviations = [abs(value - middle) for value in values.values()]
    spread = median(deviations) / OF_MEDIAN
    if not spread:
        # More than half are the same.
        spread = fmean(deviations) / OF_MEAN
    if not spread:
        return dict.fromkeys(values, 0.0)
    return {name: (value - middle) / spread for name, value in values.items()}


def outliers(values: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of those that stand out."""
    return {name: score for name, score in scores(values).items() if abs(score) > LIMIT}
