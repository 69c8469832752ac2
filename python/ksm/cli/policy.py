# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl policy: which tasks are merged in which domain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ksm.cli.output import print_columns, print_json
from ksm.policy import files, loop, record
from ksm.policy.model import Policy, PolicyError
from ksm.policy.report import Report, TaskReport, printable, shown, told
from ksm.policy.round import Keeper


def listed(arguments: argparse.Namespace) -> int:
    """Print the policies in force, in the order in which they are tried."""
    folder = files.load(last=record.load().good)
    if arguments.json:
        print_json(
            {
                "policies": [shown(policy) for policy in folder.policies],
                "errors": [told(error) for error in folder.errors],
            }
        )
    else:
        rows = [_row(policy) for policy in folder.policies]
        print_columns([("policy", "matches", "domain", "file"), *rows])
        _complain(folder.errors)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Validate files, by default those of the folder; exit status 1 when anything is wrong."""
    policies: list[Policy] = []
    errors: list[PolicyError] = []
    if arguments.file:
        for name in arguments.file:
            try:
                policies += files.parse(name, Path(name).read_text(encoding="utf-8"))
            except PolicyError as error:
                errors.append(error)
            except UnicodeDecodeError as error:
                errors.append(PolicyError(name, "", "", f"is not UTF-8: {error}"))
    else:
        policies, errors, _ = files.load()
    if arguments.json:
        print_json({"ok": not errors, "errors": [told(error) for error in errors]})
    else:
        _complain(errors)
        if not errors:
            print(f"{len(policies)} policies, nothing wrong")
    return 1 if errors else 0


def apply(arguments: argparse.Namespace) -> int:
    """Do one round; exit status 1 when a file is bad or a task that matches is not registered."""
    report = Keeper().round()
    if arguments.json:
        print_json(report.as_dict())
    else:
        for pid in report.removed:
            print(f"removed process {pid}")
        for task in report.tasks:
            if task.pid in report.registered:
                print(f"registered process {task.pid} in domain {task.domain}")
        if not (report.removed or report.registered):
            print("nothing to do")
        _complain([*report.errors, *report.kept, *_whys(report)])
    bad = report.errors or report.kept or report.waiting
    return 1 if bad or not all(task.registered for task in report.tasks) else 0


def status(arguments: argparse.Namespace) -> int:
    """Print the tasks that match now, and whether each is registered."""
    report = Keeper().look()
    running = loop.runs()
    if arguments.json:
        fields = report.as_dict()
        shown_only = ("policies", "errors", "tasks", "waiting")
        print_json({"running": running, **{name: fields[name] for name in shown_only}})
        return 0
    print("service  " + ("runs" if running else "does not run: systemctl start ksm-policy"))
    rows = [_task_row(task) for task in report.tasks]
    print_columns([("process", "policy", "domain", "registered", "command"), *rows])
    _complain([*report.errors, *_whys(report)])
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Keep the policies true until a signal ends it."""
    loop.run(lambda text: print(text, flush=True), arguments.interval)
    return 0


def _whys(report: Report) -> list[str]:
    if report.waiting:
        return [report.waiting]
    return [f"process {task.pid}: {task.why}" for task in report.tasks if task.why]


def _row(policy: Policy) -> tuple[str, ...]:
    match = " ".join(f"{name}={value}" for name, value in policy.match.given().items())
    notes = ["children"] * policy.children + ["zero pages"] * policy.zero_pages
    number = f" ({policy.number})" if policy.domain != str(policy.number) else ""
    return policy.name, match, ", ".join([policy.domain + number, *notes]), policy.file


def _task_row(task: TaskReport) -> tuple[str, ...]:
    registered = "yes" if task.registered else "no"
    return str(task.pid), task.policy, task.domain, registered, printable(task.command)


def _complain(texts: Sequence[object]) -> None:
    for text in texts:
        print(f"ksmctl: {text}", file=sys.stderr)
