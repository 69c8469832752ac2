# SPDX-License-Identifier: GPL-2.0-or-later
"""What merging does on every host, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MIB = 1 << 20
TITLES = (
    *("host", "group", "kernel", "engine", "pages_to_scan", "sleep_millisecs"),
    *("shared", "sharing", "saved MiB", "scan CPU s"),
)


def row(host: str, group: str, engine: dict[str, Any]) -> list[str]:
    tunables, counters = engine["tunables"], engine["counters"]
    return [
        host,
        group,
        engine["kernel"],
        f"{engine['engine']} {engine.get('version', '')}".strip(),
        str(tunables["pages_to_scan"]),
        str(tunables["sleep_millisecs"]),
        str(counters["pages_shared"]),
        str(counters["pages_sharing"]),
        f"{engine['saved_bytes'] / MIB:.1f}",
        f"{engine['thread_cpu_seconds']:.1f}",
    ]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be; numbers to the right."""
    lines = [titles, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    right = [all(_is_number(line[i]) for line in rows) for i in range(len(titles))]

    def text(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if to_the_right else cell.ljust(width)
            for cell, width, to_the_right in zip(line, widths, right)
        )
        return "  ".join(cells).rstrip()

    return "\n".join([text(titles), "  ".join("-" * width for width in widths), *map(text, rows)])


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()


PROCESS_TITLES = ("merged MiB", "own MiB", "PSS MiB", "contents")


def process(told: dict[str, Any]) -> list[str]:
    """Of one process of the workload: what is merged, what is its own, what it costs."""
    pages = 4096 / MIB
    numbers = [f"{told[name] * pages:.1f}" for name in ("merged", "anonymous", "pss")]
    return [*numbers, told["verdict"]]
