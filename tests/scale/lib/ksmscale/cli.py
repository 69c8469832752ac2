# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ksmbench.cli import form, positive
from ksmvm.errors import HarnessError
from ksmvm.keys import ensure_keys
from ksmvm.paths import REPOSITORY
from ksmvm.progress import say

from ksmscale import kernel_settings, layer, memory, report, root, sandbox
from ksmscale.control import Settings
from ksmscale.fleet import MOST
from ksmscale.measure import Bench
from ksmscale.plan import CONTENDERS, KINDS, plan

HERE = REPOSITORY / "tests/scale"
CACHE = Path(os.environ.get("KSM_CACHE") or REPOSITORY / ".cache").resolve()
OURS = CACHE / "scale"
# Of all hosts, which have one key.
KNOWN = "198.18.*"


def hosts(text: str) -> int:
    value = positive(text)
    if value > MOST:
        raise argparse.ArgumentTypeError(f"{text!r}: at most {MOST}")
    return value


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="scale", description="Measure the role on many simulated hosts.")
    top.add_argument("--hosts", nargs="+", type=hosts, default=[10, 100], metavar="N", help="default: 10 100")
    top.add_argument("--forks", nargs="+", type=positive, default=[25], metavar="N", help="default: 25")
    top.add_argument("--role", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="default: all")
    top.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="default: both")
    top.add_argument("--pipelining", choices=("off", "on", "both"), default="on", help="Ansible's (default on)")
    top.add_argument("--rounds", type=positive, default=3, help="how often each is measured (default 3)")
    top.add_argument("--limit", type=positive, default=7200, metavar="S", help="of one run (default 7200)")
    top.add_argument("--kernel-settings", default=kernel_settings.URL, metavar="GIT", help="where that role is")
    top.add_argument("--tree", type=Path, default=REPOSITORY, metavar="DIR", help="whose role (default: this one)")
    top.add_argument("--tasks", action="store_true", help="show what each task took, too")
    top.add_argument("--markdown", action="store_true", help="tables for docs/scale.md")
    top.add_argument("--out", type=Path, default=OURS / "scale.json", help="(default: %(default)s)")
    top.add_argument("--show", type=Path, nargs="+", metavar="JSON", help="measure nothing, show earlier runs")
    return top


def bench(options: argparse.Namespace, below: Path) -> Bench:
    scratch = OURS / "scratch"
    sandbox.furnish(scratch)
    keys = ensure_keys()
    known = scratch / "known_hosts"
    known.write_text(f"{KNOWN} {keys.host_public.read_text()}")
    collections = scratch / "collections"
    (collections / "ansible_collections/ksm").mkdir(parents=True)
    (collections / "ansible_collections/ksm/fleet").symlink_to(options.tree.resolve())
    settings = Settings(
        programs=CACHE / "venv/bin",
        folder=scratch,
        inventory=scratch / "inventory",
        key=keys.user_private,
        known_hosts=known,
        collections=collections,
        roles=OURS / "roles",
        plays=HERE / "plays",
        config=HERE / "ansible.cfg",
        forks=1,
        pipelining=True,
        limit=options.limit,
    )
    return Bench(scratch, [layer.build(below, scratch, keys, options.tree), below], settings, OURS / "logs")


def measure(options: argparse.Namespace, below: Path) -> list[dict[str, Any]]:
    memory.require(max(options.hosts), tuned="kernel_settings" in options.role and "first" in options.kind)
    pipelining = {"off": [False], "on": [True], "both": [False, True]}[options.pipelining]
    steps = plan(options.role, options.kind, options.hosts, options.forks, pipelining, options.rounds)
    machine = bench(options, below)
    rows = []
    for number, step in enumerate(steps, 1):
        row = {**machine.measure(step), "load": os.getloadavg()}
        rows.append(row)
        said = "; ".join(row["troubles"]) or f"{row['seconds'] / step.hosts:.2f} s for a host"
        say(f"{number}/{len(steps)} {step}: {said}")
        write(options.out, rows)
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """After each step, so that what was measured survives what comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"time": time.time(), "rows": rows}) + "\n")
    temporary.rename(path)


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    try:
        return [row for path in paths for row in json.loads(path.read_text())["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"what a run leaves cannot be read: {error!r}; give files below {OURS}") from None


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.show:
            rows = read(options.show)
        else:
            below = root.ensure()
            if "kernel_settings" in options.role:
                kernel_settings.ensure(OURS, options.kernel_settings)
            sandbox.enter()
            rows = measure(options, below)
    except HarnessError as error:
        print(f"scale: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"scale: interrupted; what was measured so far is in {options.out}", file=sys.stderr)
        return 130
    for table in report.tables(rows, options.tasks):
        print(form(options.markdown)(table) + "\n")
    troubles = [f"trouble: {trouble}" for row in rows for trouble in row["troubles"]]
    print("\n".join(troubles), end="\n" if troubles else "")
    return int(bool(troubles))
