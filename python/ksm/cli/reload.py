# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl reload: replace the loaded module by the installed build."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from ksm import reload
from ksm.cli.output import print_json
from ksm.reload import KEPT, NOTHING, RESUMED, WOULD, Report

DONE, FAILED, UNFINISHED = 0, 1, 3
_PAUSE = 0.2


def run(arguments: argparse.Namespace) -> int:
    """Reload, or go on with an interrupted reload; exit status 3 when something is left to do."""
    quiet = arguments.json or not sys.stderr.isatty()
    report = reload.reload(
        force=arguments.force,
        same=arguments.same,
        dry_run=arguments.dry_run,
        progress=reload.silent if quiet else _Progress(),
    )
    if arguments.json:
        print_json(report.as_dict())
    else:
        _print(report)
    for problem in report.problems:
        print(f"ksmctl: {problem}", file=sys.stderr)
    if not report.problems:
        return DONE
    # With the old build back and all handed to it nothing is left to go on with.
    return FAILED if report.action == KEPT and not reload.pending() else UNFINISHED


class _Progress:
    """A line on the terminal that is written over."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, what: str, done: int, of: int) -> None:
        if done < of and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PAUSE
        # A terminal that is gone is no reason to stop half way.
        with contextlib.suppress(OSError):
            end = "\n" if done == of else "\r"
            print(f"{what}: {done} of {of} regions", end=end, file=sys.stderr, flush=True)


def _print(report: Report) -> None:
    if report.action == NOTHING:
        print(f"{report.before}: the installed build is the one that runs; nothing to do")
        return
    if report.action == KEPT:
        print(f"not reloaded: {report.after} runs again")
    else:
        verb = {WOULD: "would reload", RESUMED: "resumed"}.get(report.action, "reloaded")
        print(f"{verb}: {report.before} -> {report.after or 'no module is loaded'}")
    if report.began:
        print(f"goes on with the reload of {report.began}")
    told = report.outcome
    if report.action == WOULD:
        print(f"regions: {report.regions - len(report.lost)} to hand over")
    else:
        words = [f"{told.registered} handed over"]
        words += [f"{told.ended} ended meanwhile"] if told.ended else []
        words += [f"{told.present} there already"] if told.present else []
        print(f"regions: {', '.join(words)}")
    for lost in report.lost:
        print(f"lost: {lost}")
    if report.dropped:
        print(f"left out, the new build has no such tunable: {', '.join(report.dropped)}")
