# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl register, unregister and statistics: the memory of other processes."""

from __future__ import annotations

import argparse
import sys
from typing import Callable

from ksm.cli.output import print_json, print_table
from ksm.device import Area, Device
from ksm.errors import KsmError
from ksm.task import open_task_memory


def register(arguments: argparse.Namespace) -> int:
    """Register processes whole, or a range of one; the registrations outlive this command."""
    whole = arguments.addr is None
    if whole != (arguments.length is None):
        arguments.parser.error("--addr and --length go together")
    _check_address(arguments)

    def act(area: Area, pid: int) -> None:
        with open_task_memory(pid) as memory:
            area.register_task(
                memory,
                arguments.addr or 0,
                arguments.length or 0,
                whole=whole,
                detached=True,
                children=arguments.children,
            )

    return _each(arguments, act, "registered")


def unregister(arguments: argparse.Namespace) -> int:
    """Remove every detached region of processes, or the one that starts at --addr."""
    _check_address(arguments)

    def act(area: Area, pid: int) -> None:
        with open_task_memory(pid) as memory:
            area.remove_task(
                memory,
                arguments.addr or 0,
                whole=arguments.addr is None,
                detached=True,
                children=arguments.children,
            )

    return _each(arguments, act, "unregistered")


def statistics(arguments: argparse.Namespace) -> int:
    """Print what merging does for each process; exit status 1 when one could not be asked."""
    results: list[dict[str, object]] = []
    with Device() as device:
        for pid in arguments.pid:
            try:
                with open_task_memory(pid) as memory:
                    numbers = device.task_statistics(memory)._asdict()
            except KsmError as error:
                results.append(_failure(pid, error))
            else:
                results.append({"pid": pid, "ok": True, **numbers})
                if not arguments.json:
                    _print_statistics(pid, numbers)
    return _finish(arguments, results)


def _print_statistics(pid: int, numbers: dict[str, int]) -> None:
    print(f"process {pid}")
    units = {"saved_bytes": "bytes", "metadata_bytes": "bytes", "profit": "bytes"}
    rows = [item for item in numbers.items() if item[0] != "address_spaces"]
    print_table(((name, str(value), units.get(name, "")) for name, value in rows), "  ")


def _check_address(arguments: argparse.Namespace) -> None:
    if arguments.addr is not None and len(arguments.pid) > 1:
        arguments.parser.error("--addr is of one process; give one --pid")
    if arguments.addr is not None and arguments.children:
        arguments.parser.error("--children are of whole processes; leave out --addr")


def _each(arguments: argparse.Namespace, act: Callable[[Area, int], None], done: str) -> int:
    """Act on every pid, also after one failed; exit status 1 when any did."""
    results: list[dict[str, object]] = []
    with Device() as device, device.create_area() as area:
        if getattr(arguments, "domain", None):
            area.set_domain(arguments.domain)
        for pid in arguments.pid:
            try:
                act(area, pid)
            except KsmError as error:
                results.append(_failure(pid, error))
            else:
                results.append({"pid": pid, "ok": True})
                if not arguments.json:
                    print(f"{done} process {pid}")
    return _finish(arguments, results)


def _failure(pid: int, error: KsmError) -> dict[str, object]:
    prefix = f"process {pid}: "
    text = str(error)
    text = text if text.startswith(prefix) else prefix + text
    print(f"ksmctl: {text}", file=sys.stderr)
    return {"pid": pid, "ok": False, "error": text}


def _finish(arguments: argparse.Namespace, results: list[dict[str, object]]) -> int:
    if arguments.json:
        print_json(results)
    return 0 if all(result["ok"] for result in results) else 1
