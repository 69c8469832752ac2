# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl regions: what was registered and belongs to no descriptor."""

from __future__ import annotations

import argparse

from ksm.cli.output import print_columns, print_json
from ksm.device import Device


def run(arguments: argparse.Namespace) -> int:
    """Print the detached regions of all users."""
    with Device() as device:
        regions = device.regions()
    if arguments.json:
        print_json([region._asdict() for region in regions])
        return 0
    rows = [
        (
            str(region.pid or "-"),
            region.range_text(),
            str(region.family or "-"),
            region.domain_text(),
            str(region.uid),
        )
        for region in regions
    ]
    print_columns([("process", "memory", "family", "domain", "uid"), *rows])
    return 0
