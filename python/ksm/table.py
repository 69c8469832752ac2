# SPDX-License-Identifier: GPL-2.0-or-later
"""Table of the tunables: one entry for each writable attribute of an engine.

The limits are those of mm/ksm.c for the engine of the kernel and of ksm.ko for the
module. Which of them a host has depends on its kernel and module: ask the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Union

Value = Union[int, str]
Kind = Literal["int", "bool", "choice", "users"]
EngineName = Literal["module", "kernel"]

ENGINES: tuple[EngineName, ...] = ("module", "kernel")
UINT_MAX = 2**32 - 1
INT_MAX = 2**31 - 1
USER_RANGES_MAX = 64


@dataclass(frozen=True)
class Tunable:
    """One writable attribute.

    kind: "int", "bool" (stored as 0 or 1), "choice" (stored as one of choices) or "users" (stored
        as a list of users and ranges of them, such as 33,1000-1999; "" for none).
    minimum, maximum: inclusive limits, None for a choice; limits() has the engine's own. Of
        "users" they are those of each user.
    unit: what a number counts, "" for none.
    default: the value after boot or load; default_of() has the engine's own.
    engines: the engines that can have the attribute.
    """

    name: str
    kind: Kind
    default: Value
    doc: str
    unit: str = ""
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    engines: tuple[EngineName, ...] = ENGINES
    # mm/ksm.c and ksm.ko differ in the lower limit and in defaults only.
    minimums: dict[EngineName, int] = field(default_factory=dict)
    defaults: dict[EngineName, Value] = field(default_factory=dict)
    # A change needs an engine that shares nothing, so everything is unmerged for it.
    needs_unmerge: bool = False

    def limits(self, engine: EngineName) -> tuple[int, int]:
        """Inclusive limits of a number on this engine; TypeError for a choice."""
        if self.minimum is None or self.maximum is None:
            raise TypeError(f"{self.name} is a choice and has no limits")
        return self.minimums.get(engine, self.minimum), self.maximum

    def default_of(self, engine: EngineName) -> Value:
        """The value after boot or load of this engine."""
        return self.defaults.get(engine, self.default)

    def allowed(self, engine: EngineName) -> str:
        """The values that may be written, in words: "0, 1 or 2" or "1..4294967295 (pages)"."""
        if self.kind == "choice":
            return " or ".join(self.choices)
        low, high = self.limits(engine)
        if self.kind == "users":
            return (
                f"at most {USER_RANGES_MAX} users and ranges of {low}..{high}, such as"
                " 33,1000-1999, or nothing for none"
            )
        if high - low < 3:  # noqa: PLR2004 - few enough to list
            numbers = [str(number) for number in range(low, high + 1)]
            return ", ".join(numbers[:-1]) + " or " + numbers[-1]
        return f"{low}..{high}" + (f" ({self.unit})" if self.unit else "")


def _number(
    name: str,
    minimum: int,
    maximum: int,
    default: int,
    unit: str,
    doc: str,
    minimums: dict[EngineName, int] | None = None,
    defaults: dict[EngineName, Value] | None = None,
    engines: tuple[EngineName, ...] = ENGINES,
    needs_unmerge: bool = False,
) -> Tunable:
    return Tunable(
        name,
        "int",
        default,
        doc,
        unit,
        minimum,
        maximum,
        minimums=minimums or {},
        defaults=defaults or {},
        engines=engines,
        needs_unmerge=needs_unmerge,
    )


def _flag(
    name: str,
    default: int,
    doc: str,
    engines: tuple[EngineName, ...] = ENGINES,
    defaults: dict[EngineName, Value] | None = None,
    needs_unmerge: bool = False,
) -> Tunable:
    return Tunable(
        name,
        "bool",
        default,
        doc,
        minimum=0,
        maximum=1,
        engines=engines,
        defaults=defaults or {},
        needs_unmerge=needs_unmerge,
    )


_ALL = (
    _number("run", 0, 2, 0, "", "0: stop and keep what is merged; 1: merge; 2: stop and unmerge all"),
    _number(
        "pages_to_scan",
        1,
        UINT_MAX,
        100,
        "pages",
        "pages looked at before the thread sleeps",
        minimums={"kernel": 0},
    ),
    _number("sleep_millisecs", 0, UINT_MAX, 20, "ms", "pause between two scans"),
    _number(
        "scan_threads",
        1,
        64,
        1,
        "threads",
        "threads that share each scan of pages_to_scan pages",
        engines=("module",),
    ),
    _flag(
        "adopt_mergeable",
        0,
        "take in all memory that any process marked with madvise(MADV_MERGEABLE)",
        engines=("module",),
    ),
    Tunable(
        "domain_mode",
        "choice",
        "global",
        "what merges with what when no area said: all memory, or a user's, a memory cgroup's or"
        " a process's only; a change unmerges everything first",
        choices=("global", "user", "cgroup", "process"),
        engines=("module",),
        needs_unmerge=True,
    ),
    _flag(
        "scan_all",
        0,
        "take in the memory of all processes, unasked; scan_all_* say which not",
        engines=("module",),
    ),
    _number(
        "scan_all_min_uid",
        0,
        UINT_MAX,
        0,
        "",
        "with scan_all: leave out processes of users with a lower number",
        engines=("module",),
    ),
    Tunable(
        "scan_all_exclude_uids",
        "users",
        "",
        "with scan_all: leave out processes of these users, such as 33,1000-1999",
        minimum=0,
        maximum=UINT_MAX,
        engines=("module",),
    ),
    _flag(
        "scan_all_protected",
        0,
        "with scan_all: also memory that is locked or kept out of core dumps",
        engines=("module",),
    ),
    _flag(
        "merge_across_nodes",
        1,
        "merge pages of different NUMA nodes; a change unmerges everything first",
        needs_unmerge=True,
    ),
    _number(
        "max_page_sharing",
        2,
        INT_MAX,
        256,
        "mappings",
        "most mappings of one merged page; a change unmerges everything first",
        needs_unmerge=True,
    ),
    _number(
        "max_kernel_pages",
        0,
        UINT_MAX,
        0,
        "pages",
        "most merged pages, 0: no limit; pages still merge into those there are",
        engines=("module",),
    ),
    _flag("use_zero_pages", 0, "merge empty pages with the kernel's zero page"),
    _flag("smart_scan", 1, "skip pages that often failed to merge"),
    Tunable(
        "thp_mode",
        "choice",
        "share",
        "split huge pages: never, where thp_split_share percent would merge, or always",
        choices=("never", "share", "always"),
        engines=("module",),
    ),
    _number(
        "thp_split_share",
        1,
        100,
        12,
        "percent",
        "with thp_mode share: least part of a huge page that would merge",
        engines=("module",),
    ),
    _number(
        "stable_node_chains_prune_millisecs",
        0,
        UINT_MAX,
        2000,
        "ms",
        "pause between two searches for stale copies of pages at the max_page_sharing limit",
    ),
    # mm/ksm.c takes unsigned longs for these, and keeps or uses the lower 32 bits.
    _number("advisor_max_cpu", 0, UINT_MAX, 70, "percent", "most CPU the advisor lets ksmd use"),
    _number("advisor_min_pages_to_scan", 0, UINT_MAX, 500, "pages", "where the advisor starts"),
    _number("advisor_max_pages_to_scan", 0, UINT_MAX, 30000, "pages", "most the advisor will set"),
    _number(
        "advisor_target_scan_time",
        1,
        UINT_MAX,
        200,
        "s",
        "time that the advisor aims at for one scan of all candidates",
    ),
    Tunable(
        "advisor_mode",
        "choice",
        "none",
        "who sets pages_to_scan: none (you) or scan-time (the kernel)",
        choices=("none", "scan-time"),
    ),
)

TUNABLES: dict[str, Tunable] = {tunable.name: tunable for tunable in _ALL}

# Read-only attributes and their units. general_profit may be negative.
COUNTERS: dict[str, str] = {
    "full_scans": "passes",
    "pages_scanned": "pages",
    "pages_shared": "pages",
    "pages_sharing": "pages",
    "pages_unshared": "pages",
    "pages_volatile": "pages",
    "pages_skipped": "pages",
    "pages_unmergeable": "pages",
    "ksm_zero_pages": "pages",
    "general_profit": "bytes",
    "metadata_bytes": "bytes",
    "stable_node_chains": "pages",
    "stable_node_dups": "pages",
}
