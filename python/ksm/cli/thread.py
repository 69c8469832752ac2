# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl start, stop and info: the commands of 2008, through the historic ioctls."""

from __future__ import annotations

import argparse
import sys

from ksm import turn
from ksm.change import refuse_second_engine
from ksm.cli.output import print_json, print_table
from ksm.device import Device
from ksm.engine import Engine

_OLD_DIALECT = 3


def start(arguments: argparse.Namespace) -> int:
    """Start with [npages [sleep_us]], or npages max_merge sleep_us; what is left out stays."""
    numbers: list[int] = arguments.numbers
    if len(numbers) > _OLD_DIALECT:
        arguments.parser.error(f"{len(numbers)} numbers; write at most NPAGES MAX_MERGE SLEEP_US")
    if numbers and numbers[0] == 0:
        arguments.parser.error("0 pages a scan; write 1 or more")
    # First of all: whoever has the device open is in the way of a reload.
    with turn.taken_by_root(), Device() as device:
        info = device.info()
        pages, sleep_us, max_merge = info.pages_to_scan, info.sleep_us, info.max_merge
        if len(numbers) == _OLD_DIALECT:
            pages, max_merge, sleep_us = numbers
        else:
            pages, sleep_us = [*numbers, *(pages, sleep_us)[len(numbers) :]]
        refuse_second_engine(Engine.module())
        device.start(pages, sleep_us, max_merge)
    print("created scanner")
    return 0


def stop(_: argparse.Namespace) -> int:
    """Stop the thread; merged pages stay merged."""
    with Device() as device:
        device.stop()
    print("stopped scanner")
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Print the pace of the thread."""
    with Device() as device:
        now = device.info()
    if arguments.json:
        print_json(now._asdict())
    elif sys.stdout.isatty():
        print_table(
            [
                ("run", str(now.run), ""),
                ("pages_to_scan", str(now.pages_to_scan), "pages"),
                ("sleep", str(now.sleep_us), "us"),
                ("max_merge", str(now.max_merge) if now.max_merge else "no limit", ""),
            ]
        )
    else:
        # Test suites take the integers of this line as run, pages and sleep: none may be added.
        print(f"flags {now.run}, pages_to_scan {now.pages_to_scan}, sleep_time {now.sleep_us}")
    return 0
