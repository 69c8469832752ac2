# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the instructions go until all is merged: whom the kernel's profiler met, sorted by what they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ksmbench.plan import PROFILED
from ksmbench.results import Row, select

# A look belongs to the first line of which a function is on the stack: inner ones stand before outer ones.
PURPOSES: dict[str, frozenset[str]] = {
    "hash of the sample": frozenset({"ks_page_sample"}),
    "hash of the whole page": frozenset({"ks_page_hash", "xxh64", "calc_checksum"}),
    "comparison": frozenset(
        {"ks_pages_equal", "memcmp_pages", "try_to_merge_one_page;memcmp", "ksm_scan_thread;memcmp"}
    ),
    "*memory for merged pages": frozenset({"ks_kpages_reserve"}),
    "copy into merged pages": frozenset({"copy_page", "copy_mc_to_kernel", "copy_highpage"}),
    "*freeze, put back": frozenset(
        {
            "migrate_vma_setup",
            "migrate_vma_pages",
            "migrate_vma_finalize",
            "migrate_device_finalize",
            "write_protect_page",
        }
    ),
    "*freeing pages": frozenset(
        {"__folio_put", "folio_put", "free_unref_page", "free_unref_folio", "free_frozen_pages"}
    ),
    "replacing page table entries": frozenset({"ks_replace_pte", "ks_merge_run;ks_walk_table", "replace_page"}),
    "tables": frozenset(
        {"ks_kpage_find", "ks_kpage_guess", "ks_kpage_enter", "ks_kpage_create", "ks_entries_seen", "ks_candidate_seen"}
    ),
    "walk": frozenset(
        {"ks_walk_collect", "walk_page_range_vma", "folio_walk_start", "follow_page", "get_mergeable_page"}
    ),
    "judging, else": frozenset({"ks_judge"}),
    "merging, else": frozenset(
        {"ks_merge_batch", "ks_merge_run", "try_to_merge_with_ksm_page", "try_to_merge_one_page"}
    ),
}
ELSE = "all else"


def purpose(stack: str) -> str:
    """Of a stack, outermost function first, in semicolons. The compiler's names of parts count as the whole."""
    names = [name.split(".")[0] for name in stack.split(";")]
    found = {*names, *(f"{outer};{inner}" for outer, inner in zip(names, names[1:]))}
    return next((name for name, functions in PURPOSES.items() if functions & found), ELSE)


def by_purpose(row: Row) -> dict[str, float]:
    """Instructions, of all that were counted without the profiler."""
    looks: Counter[str] = Counter()
    for stack, number in row["stacks"].items():
        looks[purpose(stack)] += number
    return {name: row["cpu"] * number / sum(looks.values()) for name, number in looks.items()}


def pages(row: Row) -> int:
    """By what the cost is told: pages saved, or where there are none, pages."""
    return int(row["saved"] or row["pages"])


def table(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    rows = [row for name in PROFILED for row in select(rows, part="profile", workload=name)]
    if not rows:
        return
    costs = [by_purpose(row) for row in rows]
    lines = [
        [name, *(f"{cost[name] / pages(row):.0f}" if name in cost else "-" for row, cost in zip(rows, costs))]
        for name in (*PURPOSES, ELSE)
        if any(name in cost for cost in costs)
    ]
    core = [sum(part for name, part in cost.items() if name.startswith("*")) for cost in costs]
    lines.append(["* is core mm's: together", *(f"{part / pages(row):.0f}" for row, part in zip(rows, core))])
    lines.append(["all", *(f"{row['cpu'] / pages(row):.0f}" for row in rows)])
    title = "where the instructions of three passes go, for each page saved, of `unique` for each page"
    yield title, ["what for", *(f"{row['workload']}, {row['engine']}" for row in rows)], lines
