# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ksmbench.report import Table, number, times, with_spread
from ksmbench.results import Row, select
from ksmbench.statistics import figure, ratio, slope

from ksmscale.plan import CONTENDERS, KINDS

RIVAL = "kernel_settings"
TITLES = {"first": "first roll-out", "noop": "nothing to do"}


def per_host(name: str) -> Callable[[Row], float]:
    return lambda row: float(row[name]) / float(row["hosts"])


SECONDS = per_host("seconds")


def cpu(row: Row) -> float:
    """Of control node and host together, for a host: what is left of time on a machine that has other work, too."""
    return (float(row["control_cpu"]) + float(row["hosts_cpu"])) / float(row["hosts"])


Quantity = tuple[Callable[[Row], float], int]
QUANTITIES: dict[str, Quantity] = {
    "control CPU s": (per_host("control_cpu"), 2),
    "hosts' CPU s": (per_host("hosts_cpu"), 2),
    "modules": (per_host("modules"), 1),
    "SSH sessions": (per_host("sessions"), 1),
}
MEMORY: dict[str, Quantity] = {
    "ansible MiB": (lambda row: float(row["ansible_mib"]), 0),
    "ssh MiB": (lambda row: float(row["ssh_mib"]), 0),
}


def conditions(rows: Sequence[Row]) -> list[tuple[int, bool]]:
    return sorted({(int(row["forks"]), bool(row["pipelining"])) for row in rows})


def condition(forks: int, pipelining: bool) -> str:
    return f"{forks} forks" + (", pipelining" if pipelining else "")


def good(rows: Sequence[Row]) -> list[Row]:
    """Of a run that failed no figure is shown."""
    return [row for row in rows if not row["troubles"]]


def taken(rows: Sequence[Row]) -> Iterator[Table]:
    for kind in KINDS:
        lines = []
        for forks, pipelining in conditions(rows):
            some = select(rows, kind=kind, forks=forks, pipelining=pipelining)
            for hosts in sorted({row["hosts"] for row in some}):
                rival = select(some, hosts=hosts, contender=RIVAL)
                for contender in CONTENDERS:
                    found = select(some, hosts=hosts, contender=contender)
                    if found:
                        lines.append([condition(forks, pipelining), str(hosts), *line_of(found, rival)])
        if lines:
            head = ["with", "hosts", "role", "s", *QUANTITIES, *MEMORY, f"{RIVAL} / it: s", "CPU s"]
            yield f"{TITLES[kind]}; times, modules and sessions for each host", head, lines


def line_of(found: Sequence[Row], rival: Sequence[Row]) -> list[str]:
    line = [found[0]["contender"], with_spread(figure([SECONDS(row) for row in found]), 2)]
    for get, digits in (*QUANTITIES.values(), *MEMORY.values()):
        line.append(number(figure([get(row) for row in found]), digits))
    # Of rounds that both have.
    pairs = [(row, other) for row in found for other in select(rival, round=row["round"])]
    for get in (SECONDS, cpu):
        line.append(times(ratio([get(row) for row, _ in pairs], [get(other) for _, other in pairs])))
    return line


def growth(rows: Sequence[Row]) -> Iterator[Table]:
    lines = []
    for kind in KINDS:
        for forks, pipelining in conditions(rows):
            for contender in CONTENDERS:
                some = select(rows, kind=kind, forks=forks, pipelining=pipelining, contender=contender)
                sizes = sorted({int(row["hosts"]) for row in some})
                if len(sizes) < 2:
                    continue
                line = [TITLES[kind], condition(forks, pipelining), contender, f"{sizes[0]}-{sizes[-1]}"]
                for name in ("seconds", "control_cpu", "ansible_mib"):
                    line.append(f"{slope(points(some, name)):.2f}")
                lines.append(line)
    if lines:
        head = ["what", "with", "role", "hosts", "power of growth: time", "control CPU", "ansible MiB"]
        yield "growth with the number of hosts", head, lines


def points(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    found = []
    for hosts in sorted({int(row["hosts"]) for row in rows}):
        value = figure([float(row[name]) for row in select(rows, hosts=hosts)])
        if value and value.median > 0:
            found.append((float(hosts), value.median))
    return found


def tasks(rows: Sequence[Row]) -> Iterator[Table]:
    """Of the largest run of each contender: what costs most on the control node."""
    for kind in KINDS:
        for contender in CONTENDERS:
            some = select(rows, kind=kind, contender=contender)
            if not some:
                continue
            row = max(some, key=lambda row: (row["hosts"], row["round"]))
            lines = []
            for task in row["tasks"]:
                hosts = row["hosts"]
                milliseconds = [1e3 * task[name] / hosts for name in ("seconds", "main_cpu", "workers_cpu")]
                counts = [task[name] / hosts for name in ("results", "skipped", "remote")]
                lines.append([task["name"], *(f"{value:.1f}" for value in milliseconds + counts)])
            head = ["task", "ms for a host", "CPU ms of the main process", "CPU ms of workers and ssh"]
            title = f"tasks of {contender}, {TITLES[kind]}, {row['hosts']} hosts, "
            title += condition(row["forks"], row["pipelining"])
            yield title, [*head, "done", "skipped", "modules"], lines


def tables(rows: Sequence[Row], with_tasks: bool) -> Iterator[Table]:
    rows = good(rows)
    yield from taken(rows)
    yield from growth(rows)
    if with_tasks:
        yield from tasks(rows)
