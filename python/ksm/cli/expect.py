# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl expect: look for a while whether merging is as expected."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ksm import expect
from ksm.cli.output import print_json, print_pairs
from ksm.engine import select
from ksm.errors import BadValue

LONGEST = 86400


def seconds(text: str) -> int:
    """Whole seconds, of at most a day; raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit()) or int(text) > LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 0..{LONGEST} (seconds)")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found of each expectation; exit status 1 when one is not met."""
    asked: dict[str, object] = {}
    for name, value in arguments.expected:
        if name in asked:
            raise BadValue(f"{name}: is given twice, {asked[name]} and {value}", name, value)
        asked[name] = value
    wanted = expect.parse(asked)
    engine = select(arguments.engine)
    seen = expect.observe(engine, arguments.seconds, since=arguments.since)
    findings = expect.check(wanted, seen)
    ok = all(finding.ok for finding in findings)
    if arguments.json:
        print_json(
            {
                "ok": ok,
                "findings": [asdict(finding) for finding in findings],
                "observation": seen.as_dict(),
            }
        )
    else:
        for finding in findings:
            print(f"{'ok    ' if finding.ok else 'MISSED'}  {finding.text}")
        if not findings:
            print_pairs((name, str(value)) for name, value in seen.as_dict().items())
    return 0 if ok else 1
