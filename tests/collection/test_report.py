# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of a fleet: figures, outliers, and pages that trust no host."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.filter.fleet_report import fleet_report
from ansible_collections.ksm.fleet.plugins.plugin_utils import outliers
from ansible_collections.ksm.fleet.plugins.plugin_utils.fleet_report import COLUMNS
from ansible_collections.ksm.fleet.plugins.plugin_utils.report_page import page
from ansible_collections.ksm.fleet.plugins.plugin_utils.report_table import table

EVIL = "<script>alert('x')</script>&\"'"
MIB = 1 << 20


def host(saved: int, *groups: str, cpu: float = 10.0, **more: Any) -> dict[str, Any]:
    """Variables of a host as report.yml leaves them."""
    engine = {
        "saved_bytes": saved * MIB,
        "counters": {"pages_shared": 100, "pages_sharing": 900},
        "tunables": {"run": 1, "pages_to_scan": 1000, "sleep_millisecs": 20},
    }
    module = {"version_installed": "0.2.0", "version_running": "0.1.0", "reload_required": True}
    observation = {"profit_mib": -1.5, "sharing_ratio": 9.0, "scan_cpu_percent": cpu, "memory_pressure": 0.0}
    return {
        "group_names": [*groups],
        "__ksm_report_rollout": {"record": None},
        "__ksm_report_info": {
            "engine": "module",
            "kernel": "6.12.1",
            "drift": {},
            "module": module,
            "observed": {"module": engine},
        },
        "__ksm_report_expect": {"findings": [], "observation": observation},
        **more,
    }


def report(**hosts: dict[str, Any]) -> dict[str, Any]:
    return fleet_report(list(hosts), hosts, "2026-03-01 12:00 UTC")


def of(told: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in told["hosts"] if each["host"] == name)


def test_figures_of_hosts_and_groups() -> None:
    told = report(a=host(100, "dense", "all-of-them"), b=host(300, "dense"), c=host(50))
    assert told["totals"]["saved_mib"] == 450
    groups = {group["name"]: (group["count"], group["saved_mib"]) for group in told["groups"]}
    assert groups == {"all-of-them": (1, 100), "dense": (2, 400), "ungrouped": (1, 50)}
    assert told["versions"] == [{"engine": "module", "version": "0.1.0", "kernel": "6.12.1", "hosts": ["a", "b", "c"]}]
    assert of(told, "a")["state"] == "merging"
    assert of(told, "a")["profit_mib"] == -1.5


def test_hosts_that_say_nothing_or_miss_something_are_there() -> None:
    gone = {"__ksm_report_rollout": {"unreachable": True, "msg": "no route"}, "group_names": ["g"]}
    bare = host(1)
    bare["__ksm_report_info"] = {"msg": "install python3-ksm"}
    none = host(1)
    none["__ksm_report_info"].update(engine=None, reason="no engine here", observed={})
    missed = host(1)
    missed["__ksm_report_expect"]["findings"] = [{"ok": False, "text": "too little"}, {"ok": True, "text": "fine"}]
    told = report(gone=gone, bare=bare, none=none, missed=missed)
    assert [(each["host"], each["state"]) for each in told["hosts"]] == [
        ("bare", "failed"),
        ("gone", "unreachable"),
        ("missed", "missed"),
        ("none", "none"),
    ]
    assert of(told, "gone")["problem"] == "no route"
    assert of(told, "bare")["problem"] == "install python3-ksm"
    assert of(told, "missed")["missed"] == ["too little"]
    assert told["totals"]["unreachable"] == 1
    assert "no route" in page(told)


def test_the_last_rollout_is_told_also_of_hosts_that_died_in_it() -> None:
    record = {"id": "0.2.0-aa", "outcome": "rolled_back", "ended": "2026", "text": "kernel_log_clean: BUG"}
    died = {"id": "0.2.0-aa", "outcome": None, "began": "2025", "ended": None, "text": ""}
    told = report(a=host(1, __ksm_report_rollout={"record": record}), b=host(1, __ksm_report_rollout={"record": died}))
    assert of(told, "a")["rollout_outcome"] == "rolled_back"
    assert of(told, "b")["rollout_outcome"] == "unfinished"
    shown = page(told)
    assert "kernel_log_clean: BUG" in shown and "unfinished" in shown


def test_outliers_stand_out_of_the_smallest_group_that_is_large_enough() -> None:
    dense = {f"d{i}": host(1000 + i, "dense", "all") for i in range(6)}
    small = {f"s{i}": host(100 + i, "small", "all") for i in range(3)}
    told = report(**dense, **small, odd=host(300, "dense", "all"))
    assert [each["text"] for each in of(told, "odd")["outlier"]] == [
        "saved memory is low for dense: 300.0, median 1002.0"
    ]
    assert not any(of(told, name)["outlier"] for name in dense)
    # "small" has too few to tell; in "all" they are the odd ones.
    assert [each["group"] for each in of(told, "s0")["outlier"]] == ["all"]


def test_outliers_do_not_hide_each_other() -> None:
    # With mean and standard deviation neither would be more than 2 deviations away.
    values = {"a": 10.0, "b": 10.5, "c": 9.5, "d": 10.2, "e": 9.9, "x": 500.0, "y": 520.0}
    assert sorted(outliers.outliers(values)) == ["x", "y"]
    assert outliers.outliers({name: 5.0 for name in "abcdef"}) == {}
    assert sorted(outliers.outliers({**{name: 5.0 for name in "abcdefgh"}, "x": 50.0})) == ["x"]
    assert outliers.outliers({"a": 1.0, "b": 1.0, "c": 1.0, "x": 99.0}) == {}, "too few"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def evil() -> dict[str, Any]:
    """Everything that a host says is an attack."""
    said = host(7, EVIL, cpu=1.0)
    said["__ksm_report_rollout"] = {"record": {"id": EVIL, "outcome": EVIL, "ended": EVIL, "text": EVIL}}
    said["__ksm_report_info"].update(kernel=EVIL, drift={EVIL: 1})
    said["__ksm_report_info"]["module"].update(version_installed=EVIL, version_running=EVIL)
    said["__ksm_report_info"]["observed"]["module"]["tunables"].update(pages_to_scan=EVIL, sleep_millisecs=EVIL)
    said["__ksm_report_expect"]["findings"] = [{"ok": False, "text": EVIL}]
    gone = {"__ksm_report_rollout": {"unreachable": True, "msg": EVIL}, "group_names": [EVIL]}
    crowd = {f"{EVIL}{i}": host(100 * (i == 4) + 1, EVIL) for i in range(6)}
    return report(**{EVIL: said, f"gone{EVIL}": gone, **crowd})


def test_nothing_that_a_host_says_is_markup(evil: dict[str, Any]) -> None:
    text = page(evil)
    parsed = Page(text)
    assert {tag for tag, _attributes in parsed.tags} & {"script", "img", "iframe", "link", "object"} == set()
    assert "".join(parsed.words).count(EVIL) > 20
    for _tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
    # SVG is XML, which forgives nothing.
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)


def test_the_page_needs_no_network(evil: dict[str, Any]) -> None:
    parsed = Page(page(evil))
    for _tag, attributes in parsed.tags:
        assert {"src", "href"} & set(attributes) == set()
    assert "url(" not in page(evil) and "@import" not in page(evil)


def test_many_hosts_fit() -> None:
    told = report(**{f"h{i:03}": host(i, "g") for i in range(300)})
    (by_host,) = re.findall(r"by host</h2>\s*(<svg.*?</svg>)", page(told), re.DOTALL)
    assert len(ElementTree.fromstring(by_host)) == 300
    assert 'viewBox="0 0 920 180"' in by_host


def test_the_table_for_other_programs() -> None:
    record = {"id": "=1+1", "outcome": "failed", "began": "2026", "text": 'said "no",\nand died'}
    told = report(a=host(100, "g1", "g2", __ksm_report_rollout={"record": record}))
    (row,) = csv.DictReader(io.StringIO(table(told)))
    assert tuple(row) == COLUMNS
    assert (row["saved_mib"], row["groups"], row["profit_mib"]) == ("100.000", "g1; g2", "-1.500")
    assert row["rollout_id"] == "'=1+1", "no formula"
    assert row["rollout_text"] == 'said "no",\nand died'
