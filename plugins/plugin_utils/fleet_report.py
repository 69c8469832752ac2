# SPDX-License-Identifier: GPL-2.0-or-later
"""What a report tells of a fleet, from what its hosts said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from .outliers import FEWEST, outliers

MIB = 1 << 20
NO_GROUP = "ungrouped"
# The figures in which a host may stand out of its group: column, words, unit.
FIGURES = (
    ("saved_mib", "saved memory", "MiB"),
    ("scan_cpu_percent", "CPU time of the scan", "%"),
    ("sharing_ratio", "sharing ratio", ""),
    ("memory_pressure", "memory pressure", "%"),
)
# The columns of a host, in the order of the CSV file.
COLUMNS = (
    *("host", "groups", "state", "problem"),
    *("kernel", "engine", "version_running", "version_installed", "reload_required"),
    *("saved_mib", "profit_mib", "pages_shared", "pages_sharing", "sharing_ratio"),
    *("scan_cpu_percent", "memory_pressure", "run", "pages_to_scan", "sleep_millisecs"),
    *("drift", "missed", "outlier"),
    *("rollout_id", "rollout_outcome", "rollout_ended", "rollout_text"),
)
# What a result of a task holds beside what the host said.
ATTENTION = ("unreachable", "failed", "missed")
Row = dict[str, Any]


def row(name: str, groups: Iterable[str], results: Mapping[str, Any]) -> Row:
    """Return the columns of one host; *results* has those of ksm_info, ksm_expect, ksm_rollout."""
    info, expect, rollout = (results.get(of) or {} for of in ("info", "expect", "rollout"))
    found: Row = dict.fromkeys(COLUMNS)
    found.update(host=name, groups=sorted(groups), drift=[], missed=[], outlier=[])
    found.update(_of_rollout(rollout.get("record") or {}))
    gone = next((each for each in (rollout, info, expect) if each.get("unreachable")), None)
    if gone is not None:
        found.update(state="unreachable", problem=str(gone.get("msg", "no answer")))
        return found
    # A task that failed tells why instead of what it looked for.
    if "record" not in rollout or "observed" not in info:
        failed = info if "record" in rollout else rollout
        found.update(state="failed", problem=str(failed.get("msg", "no answer")))
        return found
    found.update(_of_info(info), state="none")
    if found["engine"] is None:
        found["problem"] = str(info.get("reason") or "no engine")
        return found
    if "findings" not in expect:
        found.update(state="failed", problem=str(expect.get("msg", "no answer")))
        return found
    seen = expect["observation"]
    for column in ("profit_mib", "sharing_ratio", "scan_cpu_percent", "memory_pressure"):
        found[column] = seen.get(column)
    found["missed"] = [str(each["text"]) for each in expect["findings"] if not each["ok"]]
    found["state"] = "missed" if found["missed"] else "merging" if found["run"] == 1 else "stopped"
    return found


def _of_rollout(record: Mapping[str, Any]) -> Row:
    if not record:
        return {}
    return {
        "rollout_id": record.get("id"),
        # None is what a host keeps that died on the way.
        "rollout_outcome": record.get("outcome") or "unfinished",
        "rollout_ended": record.get("ended") or record.get("began"),
        "rollout_text": record.get("text", ""),
    }


def _of_info(info: Mapping[str, Any]) -> Row:
    module, engine = info["module"], info["engine"]
    columns: Row = {
        "kernel": info["kernel"],
        "engine": engine,
        "version_installed": module["version_installed"],
        "version_running": module["version_running"],
        "reload_required": module["reload_required"],
        "drift": sorted(info["drift"]),
    }
    if engine:
        seen = info["observed"][engine]
        counters, tunables = seen["counters"], seen["tunables"]
        columns.update(
            saved_mib=seen["saved_bytes"] / MIB,
            pages_shared=counters.get("pages_shared"),
            pages_sharing=counters.get("pages_sharing"),
            **{name: tunables.get(name) for name in ("run", "pages_to_scan", "sleep_millisecs")},
        )
    return columns


def build(rows: list[Row], when: str) -> dict[str, Any]:
    """Return the whole report."""
    groups = _groups(rows)
    for figure, words, _unit in FIGURES:
        values = {
            group: {each["host"]: each[figure] for each in hosts if each[figure] is not None}
            for group, hosts in groups.items()
        }
        found = {group: outliers(of) for group, of in values.items()}
        for each in rows:
            peers = _peers(each, figure, values)
            score = found[peers].get(each["host"]) if peers else None
            if score is not None:
                much = "high" if score > 0 else "low"
                middle = median(values[peers].values())
                text = f"{words} is {much} for {peers}: {each[figure]:.1f}, median {middle:.1f}"
                each["outlier"].append({"figure": figure, "group": peers, "text": text})
    return {
        "when": when,
        "totals": _totals(rows),
        "groups": [{"name": name, **_totals(hosts)} for name, hosts in groups.items()],
        "versions": _versions(rows),
        "hosts": sorted(rows, key=lambda r: r["host"]),
    }


def _peers(each: Row, figure: str, values: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return the smallest group that is large enough: of those of a host, its likes are there."""
    groups = [name for name in each["groups"] or [NO_GROUP] if len(values[name]) >= FEWEST]
    return min(groups, key=lambda name: len(values[name]), default=None)


def _groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """A host of several groups counts in each; those of none are a group of their own."""
    groups: dict[str, list[Row]] = {}
    for each in rows:
        for name in each["groups"] or [NO_GROUP]:
            groups.setdefault(name, []).append(each)
    return dict(sorted(groups.items()))


def _totals(rows: list[Row]) -> dict[str, Any]:
    def values(column: str) -> list[float]:
        return [each[column] for each in rows if each[column] is not None]

    saved, cpu = values("saved_mib"), values("scan_cpu_percent")
    return {
        "count": len(rows),
        "merging": sum(each["run"] == 1 for each in rows),
        "unreachable": sum(each["state"] == "unreachable" for each in rows),
        "attention": sum(wants_attention(each) for each in rows),
        "saved_mib": sum(saved),
        "saved_mib_median": median(saved) if saved else None,
        "scan_cpu_percent_median": median(cpu) if cpu else None,
    }


def wants_attention(each: Row) -> bool:
    unhappy = each["rollout_outcome"] in ("failed", "unfinished", "rolled_back")
    return each["state"] in ATTENTION or bool(each["drift"] or each["outlier"]) or unhappy


def _versions(rows: Iterable[Row]) -> list[dict[str, Any]]:
    counts: dict[tuple[str, str, str], list[str]] = {}
    for each in rows:
        if each["engine"]:
            version = each["version_running"] if each["engine"] == "module" else None
            key = (each["engine"], version or "-", each["kernel"])
            counts.setdefault(key, []).append(each["host"])
    return [
        {"engine": engine, "version": version, "kernel": kernel, "hosts": sorted(hosts)}
        for (engine, version, kernel), hosts in sorted(counts.items())
    ]
