# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl register and unregister: the memory of other processes."""

from __future__ import annotations

import argparse
import sys
from typing import Callable

from ksm.cli.output import print_json
from ksm.device import Area, Device
from ksm.errors import KsmError
from ksm.task import open_task_memory


def register(arguments: argparse.Namespace) -> int:
    """Register processes whole, or a range of one; the registrations outlive this command."""
    whole = arguments.addr is None
    if whole != (arguments.length is None):
        arguments.parser.error("--addr and --length go together")
    _one_pid_for_an_address(arguments)

    def act(area: Area, pid: int) -> None:
        with open_task_memory(pid) as memory:
            area.register_task(
                memory, arguments.addr or 0, arguments.length or 0, whole=whole, detached=True
            )

    return _each(arguments, act, "registered")


def unregister(arguments: argparse.Namespace) -> int:
    """Remove every detached region of processes, or the one that starts at --addr."""
    _one_pid_for_an_address(arguments)

    def act(area: Area, pid: int) -> None:
        with open_task_memory(pid) as memory:
            area.remove_task(
                memory, arguments.addr or 0, whole=arguments.addr is None, detached=True
            )

    return _each(arguments, act, "unregistered")


def _one_pid_for_an_address(arguments: argparse.Namespace) -> None:
    if arguments.addr is not None and len(arguments.pid) > 1:
        arguments.parser.error("--addr is of one process; give one --pid")


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
                text = str(error)
                prefix = f"process {pid}: "
                text = text if text.startswith(prefix) else prefix + text
                results.append({"pid": pid, "ok": False, "error": text})
                print(f"ksmctl: {text}", file=sys.stderr)
            else:
                results.append({"pid": pid, "ok": True})
                if not arguments.json:
                    print(f"{done} process {pid}")
    if arguments.json:
        print_json(results)
    return 0 if all(result["ok"] for result in results) else 1
