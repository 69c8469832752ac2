# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import ksmvm

from ksmbench import guests, machine, plot, report, userland
from ksmbench.plan import FULL, PARTS, QUICK, QUICK_WORKLOADS, WORKLOADS, Size, plan, plan_threads
from ksmbench.results import Row


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: at least 1")
    return value


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="bench", description="Measure the module beside the kernel's own ksmd.")
    top.add_argument("--kernel", action="append", choices=tuple(ksmvm.KERNELS), help="default: all")
    top.add_argument("--workload", action="append", choices=WORKLOADS, help="default: all")
    top.add_argument("--part", action="append", choices=PARTS, help="default: all")
    top.add_argument("--rounds", type=positive, help=f"how often each is measured (default {FULL.rounds})")
    top.add_argument("--size", type=positive, metavar="MIB", help=f"memory of a workload (default {FULL.mib})")
    top.add_argument("--quick", action="store_true", help="small and once: two minutes a kernel")
    top.add_argument("--add", action="store_true", help="keep what an earlier run measured of other parts")
    top.add_argument("--module", type=Path, help="another ksm.ko than this tree's")
    top.add_argument("--markdown", action="store_true", help="tables for docs/performance.md")
    top.add_argument("--show", type=Path, metavar="JSON", help="measure nothing, show an earlier run's file")
    top.add_argument("--before", type=Path, metavar="JSON", help="with --show: compare with a still earlier run")
    return top


def size_of(options: argparse.Namespace) -> Size:
    size = QUICK if options.quick else FULL
    return replace(size, mib=options.size or size.mib, rounds=options.rounds or size.rounds)


def measure(kernel: str, options: argparse.Namespace) -> dict[str, Any]:
    size = size_of(options)
    parts = options.part or PARTS
    module = options.module or ksmvm.build_module(kernel)
    rows: list[Row] = []
    troubles: list[str] = []
    workloads = options.workload or (QUICK_WORKLOADS if options.quick else WORKLOADS)
    steps = plan(kernel, size, parts, workloads)
    start = time.monotonic()
    if steps:
        with tempfile.TemporaryDirectory(prefix="ksm-bench-") as scratch:
            files: dict[str, Path] = {}
            if any(step.workload == "programs" for step in steps):
                files |= userland.python(kernel, Path(scratch))
            if any(step.workload == "guests" for step in steps):
                files |= guests.images(kernel, Path(scratch))
            found = machine.measure(kernel, steps, module, counted=True, smp=1, files=files)
        rows += found.rows
        troubles += found.troubles
    if "threads" in parts:
        found = machine.measure(kernel, plan_threads(size), module, counted=False, smp=2, files={})
        rows += found.rows
        troubles += found.troubles
    return {
        "kernel": kernel,
        "version": ksmvm.prepare(kernel).version,
        "size": vars(size),
        "seconds": round(time.monotonic() - start, 1),
        # Of this machine, which only the part `threads` feels.
        "load": os.getloadavg(),
        "summary": report.summary(rows),
        "rows": rows,
        "troubles": troubles,
    }


def read(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        return {name: result[name] for name in ("version", "rows", "troubles")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"bench: {path} is not what a run leaves: {error}; give a file below .cache/bench") from None


def earlier(path: Path, kernel: str) -> list[Row]:
    """What an earlier run measured of the kernel that is here now."""
    if not path.exists():
        return []
    was, version = read(path), ksmvm.prepare(kernel).version
    if was["version"] != version:
        raise SystemExit(f"bench: {path} is of Linux {was['version']}, and this is {version}; leave --add out")
    rows: list[Row] = was["rows"]
    return rows


def with_rest(result: dict[str, Any], rest: Sequence[Row]) -> dict[str, Any]:
    """With the workloads of parts that were not measured now."""
    now = {(row["part"], row["workload"]) for row in result["rows"]}
    rows = [row for row in rest if (row["part"], row["workload"]) not in now] + result["rows"]
    return {**result, "rows": rows, "summary": report.summary(rows)}


def form(markdown: bool) -> Callable[[report.Table], str]:
    return report.as_markdown if markdown else report.as_text


def show(result: dict[str, Any], markdown: bool) -> None:
    print(f"{'### ' if markdown else '== '}Linux {result['version']}\n")
    for table in report.tables(result["rows"]):
        print(form(markdown)(table) + "\n")
    for trouble in result["troubles"]:
        print(f"trouble: {trouble}")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parser().parse_args(arguments)
    if options.before and not options.show:
        parser().error("--before goes with --show")
    if options.show:
        result = read(options.show)
        show(result, options.markdown)
        if options.before:
            for table in report.changes(result["rows"], read(options.before)["rows"]):
                print(form(options.markdown)(table) + "\n")
        return 0
    failed = False
    for kernel in options.kernel or ksmvm.KERNELS:
        path = machine.CACHE / f"{kernel}.json"
        rest = earlier(path, kernel) if options.add else []
        result = measure(kernel, options)
        result = with_rest(result, rest)
        machine.CACHE.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result) + "\n")
        if any(row["part"] == "pace" for row in result["rows"]):
            path.with_suffix(".svg").write_text(plot.svg(result["rows"], f"Linux {result['version']}"))
        show(result, options.markdown)
        print(f"{path}: {len(result['rows'])} measurements in {result['seconds']} s", file=sys.stderr)
        failed |= bool(result["troubles"])
    return int(failed)
