# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions of the module's own code, run as a program under callgrind."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Optional

from ksmbench import report
from ksmbench.machine import CACHE, HERE, REPOSITORY

KINDS = {
    "unique-new": "like no other, new",
    "unique-known": "like no other, known",
    "pair-new": "one of two copies, new",
    "pair-known": "one of two copies, one pass later",
    "xxh64-alone": "nothing but xxh64 of the page",
}
# With a c in front: of what is called.
FILE = re.compile(r"^(c?)f[lie]=\((\d+)\)(?: (.*))?$")
COST = re.compile(r"^[+\-*\d]\S* (\d+)$")


def by_file(dumps: Sequence[str]) -> list[Counter[str]]:
    """Instructions by source file, of each of callgrind's files of one run.

    What is inlined counts where it was written. A name stands where it is first met, by its number later on.
    """
    names: dict[str, str] = {}
    return [_by_file(dump, names) for dump in dumps]


def _by_file(dump: str, names: dict[str, str]) -> Counter[str]:
    costs: Counter[str] = Counter()
    current = "?"
    skip = False
    for line in dump.splitlines():
        if found := FILE.match(line):
            called, number, name = found.groups()
            if name:
                names[number] = Path(name).name
            if not called:
                current = names[number]
        elif line.startswith("calls="):
            # The next line is the cost of what was called, which stands there, too.
            skip = True
        elif cost := COST.match(line):
            if not skip:
                costs[current] += int(cost.group(1))
            skip = False
    return costs


def total(dump: str) -> int:
    found = re.search(r"^totals: (\d+)$", dump, re.MULTILINE)
    if not found:
        raise SystemExit("bench-native: callgrind left no totals")
    return int(found.group(1))


def table(said: str, dumps: Sequence[str], sources: Collection[str]) -> report.Table:
    """`said`: a line for each dump: the kind of pages, how many, how many are worth merging."""
    kinds = [line.split() for line in said.splitlines()]
    if len(kinds) != len(dumps):
        raise SystemExit(f"bench-native: {len(kinds)} kinds of pages, but {len(dumps)} dumps of callgrind")
    costs = by_file(dumps)
    files = [name for name, _ in sum(costs, Counter()).most_common() if name in sources]
    lines = []
    for (kind, pages, worth), dump, cost in zip(kinds, dumps, costs):
        rest = sum(cost.values()) - sum(cost[name] for name in files)
        parts = [f"{part / int(pages):.0f}" for part in (*(cost[name] for name in files), rest)]
        lines.append([KINDS[kind], f"{int(worth) / int(pages):.0%}", f"{total(dump) / int(pages):.0f}", *parts])
    return "instructions to judge a page", ["page", "worth merging", "all", *files, "libc"], lines


def measure(dkms: Path) -> report.Table:
    out = CACHE / "native"
    subprocess.run(["make", "-s", "-C", HERE / "native", "clean", f"OUT={out}"], check=True)
    subprocess.run(["make", "-s", "-C", HERE / "native", f"OUT={out}", f"DKMS={dkms.resolve()}"], check=True)
    said = subprocess.run(
        [
            *("valgrind", "-q", "--tool=callgrind", "--collect-atstart=no"),
            *(f"--callgrind-out-file={out}/calls", out / "ksm-native"),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    dumps = [(out / f"calls.{number}").read_text() for number in range(1, len(said.splitlines()) + 1)]
    return table(said, dumps, {path.name for path in dkms.glob("*.[ch]")} | {"kernel.h", "xxhash.h"})


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="bench-native", description=__doc__)
    parser.add_argument("--dkms", type=Path, default=REPOSITORY / "dkms", help="another tree's module")
    parser.add_argument("--markdown", action="store_true", help="a table for docs/performance.md")
    options = parser.parse_args(arguments)
    if not (options.dkms / "judge.c").exists():
        parser.error(f"{options.dkms} holds no judge.c; give the folder of the module's source")
    found = measure(options.dkms)
    print(report.as_markdown(found) if options.markdown else report.as_text(found))
    return 0
