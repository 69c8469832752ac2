# SPDX-License-Identifier: GPL-2.0-or-later
"""The report as one page that needs nothing else: styles and charts are in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from .charts import Dot, bars, shown, strips
from .fleet_report import FIGURES, NO_GROUP, wants_attention

TEMPLATES = Path(__file__).resolve().parents[2] / "playbooks/templates"
LONG = {"%": "% of a CPU"}
COLOURS = {
    "merging": "good",
    "passed": "good",
    "stopped": "",
    "none": "",
    "rolled_back": "warn",
    "unfinished": "bad",
    "missed": "bad",
    "failed": "bad",
    "unreachable": "bad",
}


def amount(value: float | None, unit: str) -> str:
    return "" if value is None else shown(value, unit)


def page(report: dict[str, Any]) -> str:
    """Return the HTML."""
    # Not Ansible's own templating, which escapes nothing.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(amount=amount, colour=lambda state: COLOURS.get(state, ""))
    hosts = report["hosts"]
    return environment.get_template("report.html.j2").render(
        **report,
        attention=[host for host in hosts if wants_attention(host)],
        rollouts=[host for host in hosts if host["rollout_id"]],
        charts={
            "groups": bars([(group["name"], group["saved_mib"], _of_group(group)) for group in report["groups"]]),
            "hosts": _of_hosts(hosts),
            "strips": [
                {"title": f"{words[:1].upper()}{words[1:]}, {LONG.get(unit, unit)}", "svg": svg}
                for figure, words, unit in FIGURES[:2]
                for svg in [_strips(report, figure, unit)]
                if svg
            ],
        },
    )


def _of_group(group: dict[str, Any]) -> str:
    hosts = "host" if group["count"] == 1 else "hosts"
    return f"{shown(group['saved_mib'], 'MiB')}, {group['count']} {hosts}"


def _of_hosts(hosts: list[dict[str, Any]]) -> Markup | None:
    known = [host for host in hosts if host["saved_mib"] is not None]
    known.sort(key=lambda host: -host["saved_mib"])
    values = [(host["host"], host["saved_mib"], shown(host["saved_mib"], "MiB")) for host in known]
    return bars(values) if values else None


def _strips(report: dict[str, Any], figure: str, unit: str) -> Markup | None:
    rows = []
    for group in report["groups"]:
        dots = [
            Dot(
                host["host"],
                host[figure],
                any((each["figure"], each["group"]) == (figure, group["name"]) for each in host["outlier"]),
            )
            for host in report["hosts"]
            if group["name"] in (host["groups"] or [NO_GROUP]) and host[figure] is not None
        ]
        if dots:
            rows.append((group["name"], dots))
    return strips(rows, unit) if rows else None
