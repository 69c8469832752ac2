# SPDX-License-Identifier: GPL-2.0-or-later
"""Several slow things at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def side_by_side(action: Callable[[Item], Outcome], items: Iterable[Item]) -> list[Outcome]:
    """`action` of each item, all at the same time; the outcomes in the items' order."""
    each = list(items)
    with ThreadPoolExecutor(max_workers=max(len(each), 1)) as pool:
        return list(pool.map(action, each))
