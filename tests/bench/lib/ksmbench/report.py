# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

from ksmbench import profile
from ksmbench.plan import WORKLOADS
from ksmbench.results import Row, select
from ksmbench.series import PAGE_MIB, ahead, compare, reached, saved_by_cpu, saved_over_time
from ksmbench.statistics import Figure, figure, ratio, slope

Table = tuple[str, list[str], list[list[str]]]
# Of what any engine saved at the most, when was so much saved?
PARTS_OF_THE_MOST = (0.5, 0.9)
# How often as much as theirs?
FACTORS = (5, 10)
# Whom each of ours is compared with.
RIVALS = {"module": "ksmd", "module-smart": "ksmd-smart"}


def _values(rows: Sequence[Row], get: Callable[[Row], Optional[float]]) -> list[float]:
    return [value for row in rows if (value := get(row)) is not None]


def cpu_until_merged(row: Row) -> Optional[float]:
    """ms until 99 % is merged of what can, or of what was in the end; of three passes where nothing can."""
    cpu = row["cpu_merged"] if row["ideal"] > 0 else row["cpu_three"]
    if row["ideal"] < 0:
        most = max(saved for _, saved in row["curve"])
        cpu = next(cpu for cpu, saved in row["curve"] if saved >= 0.99 * most)
    return float(cpu) / 1e6 if cpu >= 0 else None


def cpu_of_pass(row: Row) -> Optional[float]:
    return float(row["cpu_pass"]) / 1e6


def mib_per_cpu_second(row: Row) -> Optional[float]:
    """MiB saved by each second of CPU time until merged."""
    cpu = cpu_until_merged(row)
    return row["saved"] * PAGE_MIB / (cpu / 1e3) if cpu and row["saved"] else None


def metadata_per_page(row: Row) -> Optional[float]:
    return float(row["metadata"]) / float(row["pages"])


QUANTITIES = {
    "cpu_until_merged_ms": cpu_until_merged,
    "cpu_of_pass_ms": cpu_of_pass,
    "mib_per_cpu_second": mib_per_cpu_second,
    "metadata_bytes_per_page": metadata_per_page,
}


def number(value: Optional[Figure], digits: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value.median:.{digits}f}"


def with_spread(value: Optional[Figure], digits: int = 1) -> str:
    if value is None:
        return "-"
    spread = f" ±{50 * value.spread:.1f} %" if value.rounds > 1 else ""
    return f"{value.median:.{digits}f}{spread}"


def times(value: Optional[Figure]) -> str:
    if value is None:
        return "-"
    spread = f" ({value.low:.2f}-{value.high:.2f})" if value.rounds > 1 else ""
    return f"{value.median:.2f}{spread}"


def merging(rows: Sequence[Row]) -> Iterator[Table]:
    rows = select(rows, part="merging")
    for ours, theirs in RIVALS.items():
        lines = []
        for workload in WORKLOADS:
            a, b = select(rows, engine=ours, workload=workload), select(rows, engine=theirs, workload=workload)
            if not a:
                continue
            line = [workload, _saved(a), _saved(b)]
            for get, digits in ((cpu_until_merged, 1), (cpu_of_pass, 2)):
                x, y = _values(a, get), _values(b, get)
                line += [with_spread(figure(x), digits), with_spread(figure(y), digits), times(ratio(x, y))]
            for get, digits in ((mib_per_cpu_second, 0), (metadata_per_page, 0)):
                line += [number(figure(_values(a, get)), digits), number(figure(_values(b, get)), digits)]
            lines.append(line)
        if lines:
            head = ["workload", "saved MiB", "ksmd"]
            head += ["CPU ms until merged", "ksmd", "ksmd / module", "CPU ms of a pass", "ksmd", "ksmd / module"]
            head += ["MiB per CPU s", "ksmd", "metadata B/page", "ksmd"]
            yield f"{ours} beside {theirs}", head, lines


def _saved(rows: Sequence[Row]) -> str:
    if not rows:
        return "-"
    saved = figure([row["saved"] * PAGE_MIB for row in rows])
    ideal = rows[0]["ideal"]
    text = number(saved, 2)
    return f"{text} of {ideal * PAGE_MIB:.2f}" if ideal >= 0 else text


# What a page was to the engine, in which workload, and how many instructions (ns) of CPU time it took.
KINDS: dict[str, tuple[str, Callable[[Row], Optional[float]]]] = {
    "new, like no other": ("unique", lambda row: row["cpu_one"] / row["pages"]),
    "known, like no other": ("unique", lambda row: row["cpu_pass"] / row["pages"]),
    "written in each pass, or known": ("volatile", lambda row: row["cpu_pass"] / row["pages"]),
    "merged by now": ("clones", lambda row: row["cpu_pass"] / row["pages"]),
    "saved, from the start": ("clones", lambda row: (cpu := cpu_until_merged(row)) and cpu * 1e6 / row["saved"]),
}


def pages(rows: Sequence[Row]) -> Iterator[Table]:
    rows = select(rows, part="merging")
    found = [name for name in ("module", "ksmd", "module-smart", "ksmd-smart") if select(rows, engine=name)]
    lines = []
    for kind, (workload, get) in KINDS.items():
        values = [figure(_values(select(rows, workload=workload, engine=name), get)) for name in found]
        if any(values):
            lines.append([kind, workload, *(number(value, 0) for value in values)])
    if lines:
        yield "instructions for a page", ["page", "workload", *found], lines


def scale(rows: Sequence[Row]) -> Iterator[Table]:
    rows = select(rows, part="scale")
    for by, name in (("memory", "MiB"), ("processes", "processes")):
        some = select(rows, by=by)
        sizes = sorted({_size(row) for row in some})
        lines = []
        for engine in ("module", "ksmd"):
            for title, get in (("until merged", cpu_until_merged), ("of a pass", cpu_of_pass)):
                points = []
                cells = []
                for size in sizes:
                    found = [row for row in some if row["engine"] == engine and _size(row) == size]
                    value = figure(_values(found, get))
                    pages = found[0]["pages"] if found else 0
                    cells.append(f"{value.median * 1e6 / pages:.0f}" if value else "-")
                    if value:
                        points.append((float(size), value.median))
                power = f"{slope(points):.2f}" if len(points) > 1 else "-"
                lines.append([engine, title, *cells, power])
        if sizes:
            yield (
                f"instructions for each page of memory, by {by}",
                ["engine", "CPU", *(f"{size} {name}" for size in sizes), "power of growth"],
                lines,
            )


def _size(row: Row) -> int:
    return int(row["mib"] if row["by"] == "memory" else row["procs"])


def pace(rows: Sequence[Row]) -> Iterator[Table]:
    rows = select(rows, part="pace")
    lines = []
    for dynamic in (0, 1):
        some = select(rows, dynamic=dynamic)
        theirs = [row for row in some if row["engine"].startswith("ksmd")]
        most = max((saved for row in some for _, saved in saved_over_time(row)), default=0.0)
        for row in some:
            samples = row["samples"]
            line = ["dynamic" if dynamic else "static", row["engine"], str(row["pages_to_scan"])]
            line += [str(row["mib"]), f"{samples[-1][1] / 1e6:.0f}", f"{samples[-1][2] * PAGE_MIB:.2f}"]
            for part in PARTS_OF_THE_MOST:
                seconds = reached(saved_over_time(row), part * most) if most else None
                line.append("-" if seconds is None else f"{seconds:.1f}")
            for series in (saved_over_time, saved_by_cpu):
                found = compare(series(row), series(theirs[0])) if theirs else None
                line += [f"{part:.2f}" for part in (found.least, found.median, found.mean)] if found else ["-"] * 3
            for factor in FACTORS:
                share = ahead(saved_over_time(row), saved_over_time(theirs[0]), factor) if theirs else None
                line.append("-" if share is None else f"{share:.0%}")
            lines.append(line)
    if lines:
        head = ["workload", "engine", "pages_to_scan", "MiB", "CPU ms", "saved MiB at the end"]
        head += [f"s until {part:.0%} of the most" for part in PARTS_OF_THE_MOST]
        for by in ("over time", "over CPU time"):
            head += [f"saved / ksmd's, {by}: least", "median", "mean"]
        head += [f"of the time {factor} times ksmd's or more" for factor in FACTORS]
        yield "saved memory at equal CPU time", head, lines


def effect(rows: Sequence[Row]) -> Iterator[Table]:
    mixes = select(rows, part="effect", workload="mix")
    lines = []
    for engine in dict.fromkeys(row["engine"] for row in mixes):
        some = select(mixes, engine=engine)
        line = [engine]
        line += [number(figure([row[name] / 1e3 for row in some]), 2) for name in ("p50", "p99", "p999", "max")]
        line += [with_spread(figure([row["read_mib_per_second"] for row in some]))]
        line += [number(figure([100 * row["cpu"] / 1e9 / row["seconds"] for row in some]))]
        served = select(rows, part="effect", engine=engine, workload="programs")
        line += [with_spread(figure([row["requests_per_second"] for row in served]), 0)]
        line += [number(figure([row[name] / 1e3 for row in served]), 0) for name in ("p50", "p99", "p999")]
        lines.append(line)
    if lines:
        head = ["engine", "write us p50", "p99", "p99.9", "max", "read MiB/s", "engine's CPU %"]
        head += ["requests/s", "request us p50", "p99", "p99.9"]
        yield "effect on a program, one CPU for all", head, lines


def threads(rows: Sequence[Row]) -> Iterator[Table]:
    rows = select(rows, part="threads")
    one = [row["seconds_pass"] for row in select(rows, threads=1)]
    two = [row["seconds_pass"] for row in select(rows, threads=2)]
    if one and two:
        yield (
            "scan threads on two CPUs, on the clock of this machine",
            ["ms of a pass, 1 thread", "2 threads", "1 / 2"],
            [
                [
                    with_spread(figure([1e3 * value for value in one])),
                    with_spread(figure([1e3 * value for value in two])),
                    times(ratio(two, one)),
                ]
            ],
        )


def changes(rows: Sequence[Row], before: Sequence[Row]) -> Iterator[Table]:
    """What another run's module took, beside this one's: to see what a change of the engine did."""
    lines = []
    for workload in WORKLOADS:
        for engine in RIVALS:
            new = select(rows, part="merging", workload=workload, engine=engine)
            old = select(before, part="merging", workload=workload, engine=engine)
            if not new or not old:
                continue
            line = [workload, engine, _saved(old), _saved(new)]
            for get, digits in ((cpu_until_merged, 1), (cpu_of_pass, 2), (metadata_per_page, 0)):
                a, b = figure(_values(old, get)), figure(_values(new, get))
                change = f"{100 * (b.median / a.median - 1):+.1f} %" if a and b and a.median else "-"
                line += [number(a, digits), number(b, digits), change]
            lines.append(line)
    if lines:
        head = ["workload", "engine", "saved MiB before", "now"]
        for name in ("CPU ms until merged", "CPU ms of a pass", "metadata B/page"):
            head += [f"{name} before", "now", "change"]
        yield "the module, before and now", head, lines


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    for part in (merging, pages, profile.table, scale, pace, effect, threads):
        yield from part(rows)


def as_text(table: Table) -> str:
    title, head, lines = table
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    out = [title]
    for line in [head, *lines]:
        first, *others = (f"{cell:>{width}}" for cell, width in zip(line, widths))
        out.append("  ".join(["", first.strip().ljust(widths[0]), *others]))
    return "\n".join(out)


def as_markdown(table: Table) -> str:
    title, head, lines = table
    out = [f"{title[0].upper()}{title[1:]}:", "", "| " + " | ".join(head) + " |"]
    out.append("|" + " --- |" * len(head))
    out += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(out)


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Medians, spread and ratios, for programs."""
    found = []
    rows = select(rows, part="merging")
    for workload in WORKLOADS:
        for engine in dict.fromkeys(row["engine"] for row in rows):
            some = select(rows, engine=engine, workload=workload)
            if not some:
                continue
            entry: dict[str, Any] = {"workload": workload, "engine": engine}
            rival = select(rows, engine=RIVALS.get(engine), workload=workload)
            for name, get in QUANTITIES.items():
                mine = _values(some, get)
                value = figure(mine)
                entry[name] = value.as_json() if value else None
                other = ratio(mine, _values(rival, get))
                if other:
                    entry[f"{name}_ratio"] = other.as_json()
            found.append(entry)
    return found
