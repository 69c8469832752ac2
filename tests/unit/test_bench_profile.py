# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's profiler met, sorted by purpose."""

import re
from pathlib import Path

import pytest
from ksmbench import profile, report

DKMS = Path(__file__).resolve().parents[2] / "dkms"


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ("kthread;ks_scan_share;ks_judge;ks_read_page;ks_page_sample;xxh64", "hash of the sample"),
        ("ks_merge_run.isra.0;ks_page_hash", "hash of the whole page"),
        ("ksm_scan_thread;xxh64", "hash of the whole page"),
        ("ksm_scan_thread;memcmp", "comparison"),
        # Of a look-up's key, not of pages.
        ("ks_merge_run;ks_kpage_find;memcmp", "tables"),
        ("ks_merge_run;ks_kpage_create;copy_page", "copy into merged pages"),
        ("ks_merge_run;ks_kpages_reserve;__alloc_pages_noprof;clear_page_erms", "*memory for merged pages"),
        ("ks_merge_run;migrate_vma_setup;walk_page_range;ptep_clear_flush", "*freeze, put back"),
        ("ks_merge_run;ks_walk_table.isra.0;ks_replace_pte", "replacing page table entries"),
        ("ks_walk_collect;ks_walk_table.isra.0;ks_collect_ptes", "walk"),
        ("ks_judge;ks_read_page", "judging, else"),
        ("kthread", profile.ELSE),
    ],
)
def test_purpose(stack: str, name: str) -> None:
    assert profile.purpose(stack) == name


def test_the_module_has_these_functions() -> None:
    source = "".join(path.read_text() for path in DKMS.glob("*.c"))
    for name in {
        part for functions in profile.PURPOSES.values() for function in functions for part in function.split(";")
    }:
        if name.startswith("ks_"):
            assert re.search(rf"\b{name}\(", source), name


def row(engine: str, stacks: dict, workload: str = "clones") -> dict:
    label = {"part": "profile", "engine": engine, "workload": workload}
    return {**label, "cpu": 10_000, "pages": 40, "saved": 10 if workload == "clones" else 0, "stacks": stacks}


def test_shares_are_of_what_it_took_without_the_profiler() -> None:
    rows = [
        row("module", {"ks_judge;ks_page_hash": 3, "ks_merge_run;migrate_vma_setup": 1}),
        row("module", {"ks_judge": 7}, "unique"),
    ]
    ((_title, head, lines),) = profile.table(rows)
    assert head == ["what for", "clones, module", "unique, module"]
    assert lines == [
        ["hash of the whole page", "750", "-"],
        ["*freeze, put back", "250", "-"],
        ["judging, else", "-", "250"],
        ["* is core mm's: together", "250", "0"],
        ["all", "1000", "250"],
    ]
    assert not list(profile.table([]))
    assert "clones, module" in report.as_markdown(next(report.tables(rows)))
