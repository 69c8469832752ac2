# SPDX-License-Identifier: GPL-2.0-or-later
"""Charts as SVG that stands in a page. Colours are classes, which the page gives values to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup, escape

WIDTH, LABEL, VALUE = 920, 180, 160
BAR, GAP = 20, 8
# Beyond that many, bars with names are a page of their own.
NAMED_BARS = 40


@dataclass(frozen=True)
class Dot:
    """One host in a strip of its group."""

    name: str
    value: float
    stands_out: bool


def bars(values: Sequence[tuple[str, float, str]]) -> Markup:
    """Bars across, of (name, value, shown value); thin columns without names if they are many."""
    if len(values) > NAMED_BARS:
        return _columns(values)
    most = max((value for _name, value, _shown in values), default=0) or 1
    parts: list[Markup] = []
    for i, (name, value, shown) in enumerate(values):
        top = i * (BAR + GAP)
        width = max(value, 0) / most * (WIDTH - LABEL - VALUE)
        parts += [
            _text(LABEL - 10, top + 15, name, "end name"),
            Markup('<rect class="bar" x="{}" y="{}" width="{:.1f}" height="{}" rx="3"/>').format(
                LABEL, top, max(width, 1), BAR
            ),
            _text(LABEL + width + 8, top + 15, shown, "value"),
        ]
    return _svg(parts, len(values) * (BAR + GAP))


def _columns(values: Sequence[tuple[str, float, str]]) -> Markup:
    height = 180
    most = max(value for _name, value, _shown in values) or 1
    step = WIDTH / len(values)
    parts = [
        Markup(
            '<rect class="bar" x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{:.1f}"><title>{}: {}</title></rect>'
        ).format(i * step, height - value / most * height, step * 0.85, value / most * height, name, shown)
        for i, (name, value, shown) in enumerate(values)
    ]
    return _svg(parts, height)


def strips(groups: Sequence[tuple[str, Sequence[Dot]]], unit: str) -> Markup:
    """A line for each group with a dot for each host, its median, and names of what stands out."""
    values = [dot.value for _name, dots in groups for dot in dots]
    low, high = min([0.0, *values]), max([0.0, *values])
    span = (high - low) or 1
    height = 44

    def x(value: float) -> float:
        return LABEL + (value - low) / span * (WIDTH - LABEL - VALUE)

    parts: list[Markup] = []
    for i, (name, dots) in enumerate(groups):
        y = i * height + 26
        parts.append(_text(LABEL - 10, y + 5, name, "end name"))
        parts.append(_line(x(low), y, x(high), y, "axis"))
        # Those that stand out on top; names that would lie on each other are in the tooltip.
        named = -WIDTH
        for dot in sorted(dots, key=lambda dot: (dot.stands_out, dot.value)):
            parts.append(
                Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="5"><title>{}: {}</title></circle>').format(
                    "dot out" if dot.stands_out else "dot",
                    x(dot.value),
                    y,
                    dot.name,
                    shown(dot.value, unit),
                )
            )
            if dot.stands_out and abs(x(dot.value) - named) > 60:
                named = x(dot.value)
                # Within the picture also at its edges.
                where = "end" if x(dot.value) > WIDTH / 2 else "start"
                parts.append(_text(x(dot.value), y - 11, dot.name, f"{where} outname"))
        middle = median([dot.value for dot in dots])
        parts.append(_line(x(middle), y - 10, x(middle), y + 10, "median"))
        parts.append(_text(WIDTH - VALUE + 12, y + 5, shown(middle, unit), "value"))
    return _svg(parts, len(groups) * height + 12)


def shown(value: float, unit: str) -> str:
    """Return a value as people read it."""
    if unit == "MiB" and abs(value) >= 1024:
        return f"{value / 1024:,.1f} GiB"
    return f"{value:,.1f} {unit}".strip()


def _svg(parts: Sequence[Markup], height: float) -> Markup:
    return Markup('<svg viewBox="0 0 {} {:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">{}</svg>').format(
        WIDTH, max(height, 1), Markup("").join(parts)
    )


def _text(x: float, y: float, text: str, classes: str) -> Markup:
    clipped = text if len(text) <= 26 else text[:25] + "…"
    title = Markup("<title>{}</title>").format(text) if clipped != text else Markup("")
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}{}</text>').format(classes, x, y, escape(clipped), title)


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(name, x1, y1, x2, y2)
