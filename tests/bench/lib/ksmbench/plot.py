# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved memory against CPU time and against time, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from ksmbench.results import Row, select
from ksmbench.series import Series, saved_by_cpu, saved_over_time

WIDTH, HEIGHT, MARGIN = 460, 300, 54
# Distinct also where colours are not: each has dashes of its own.
STYLES = {
    "module": ("#0072b2", ""),
    "module-smart": ("#009e73", "7 3"),
    "ksmd": ("#d55e00", "2 2"),
    "ksmd-smart": ("#d55e00", "2 2"),
}


@dataclass(frozen=True)
class Panel:
    title: str
    x: str
    y: str
    lines: dict[str, Series]


def panels(rows: Sequence[Row]) -> list[Panel]:
    found = []
    for dynamic, name in ((0, "static"), (1, "processes come and go, memory is rewritten")):
        some = select(rows, part="pace", dynamic=dynamic)
        if some:
            by_cpu: dict[str, Series] = {row["engine"]: saved_by_cpu(row) for row in some}
            over_time: dict[str, Series] = {row["engine"]: saved_over_time(row) for row in some}
            found.append(Panel(name, "CPU time used, ms", "MiB saved", by_cpu))
            found.append(Panel(name, "seconds, at equal CPU time", "MiB saved", over_time))
    return found


def ticks(most: float, about: int = 5) -> list[float]:
    """Round numbers from 0 to `most`."""
    if most <= 0:
        return [0.0]
    step = 1.0
    while most / step > about:
        step *= 10
    while most / step < about / 10:
        step /= 10
    for part in (5, 4, 2):
        if most / (step / part) <= about * 1.6:
            step /= part
            break
    return [i * step for i in range(int(most / step + 1e-9) + 1)]


def _panel(panel: Panel) -> Iterator[str]:
    right = max((x for line in panel.lines.values() for x, _ in line), default=0) or 1
    top = max((y for line in panel.lines.values() for _, y in line), default=0) or 1
    across, down = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(x: float, y: float) -> tuple[float, float]:
        return MARGIN + x / right * across, HEIGHT - MARGIN - y / top * down

    yield f'<text x="{WIDTH / 2}" y="18" text-anchor="middle" font-weight="bold">{escape(panel.title)}</text>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(panel.x)}</text>'
    yield f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(panel.y)}</text>'
    for value in ticks(right):
        x, y = place(value, 0)
        yield f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{value:g}</text>'
    for value in ticks(top):
        x, y = place(0, value)
        yield f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        yield f'<path d="M{x:.1f} {y:.1f}h{across}" stroke="#ddd"/>'
    for number, (name, line) in enumerate(panel.lines.items()):
        colour, dashes = STYLES[name]
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in [(0.0, 0.0), *line])
        yield f'<polyline points="{points}" {style}/>'
        key = HEIGHT - MARGIN - 14 - 16 * number
        yield f'<path d="M{WIDTH - MARGIN - 120} {key}h26" {style}/>'
        yield f'<text x="{WIDTH - MARGIN - 88}" y="{key + 4}">{escape(name)}</text>'


def svg(rows: Sequence[Row], title: str) -> str:
    found = panels(rows)
    height = 30 + HEIGHT * ((len(found) + 1) // 2)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{2 * WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{WIDTH}" y="20" text-anchor="middle" font-size="14">{escape(title)}</text>',
    ]
    for number, panel in enumerate(found):
        out.append(f'<g transform="translate({number % 2 * WIDTH} {30 + number // 2 * HEIGHT})">')
        out += _panel(panel)
        out.append("</g>")
    return "\n".join([*out, "</svg>", ""])
