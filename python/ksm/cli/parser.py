# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments of ksmctl."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from ksm.cli import doctor, expect, policy, process, regions, reload, settings, status, thread
from ksm.policy import loop
from ksm.version import version

# Of a C unsigned int, what the ioctls take.
_UINT_MAX = 2**32 - 1
_PID_MAX = 2**31 - 1
# Of ksmctl policy run, in seconds.
_SHORTEST, _LONGEST = 0.1, 3600.0


class _Parser(argparse.ArgumentParser):
    """Complains as `ksmctl: ...`, whatever the command."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ksmctl: {message}\n{self.format_usage()}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; `function` of what it returns runs the command."""
    parser = _Parser(
        prog="ksmctl",
        description="Merge pages of equal content: look, tune, start, stop, register.",
        epilog="Exit status: 0 done, 1 the operation failed, 2 usage or bad value. See ksmctl(8).",
    )
    parser.add_argument("--version", action="version", version=f"ksmctl {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_status(commands)
    _add_doctor(commands)
    _add_set(commands)
    _add_expect(commands)
    _add_thread(commands)
    _add_process(commands)
    _add_reload(commands)
    _add_policy(commands)
    return parser


_Commands = argparse._SubParsersAction  # the type has no public name


def _add_status(commands: _Commands[_Parser]) -> None:
    parser = commands.add_parser("status", help="show an engine, its tunables and counters")
    _add_engine(parser)
    _add_json(parser)
    parser.set_defaults(function=status.run)


def _add_doctor(commands: _Commands[_Parser]) -> None:
    parser = commands.add_parser("doctor", help="find what is in the way, and say the remedy")
    _add_engine(parser, "auto (default): the module where anything of it is, else the kernel's own")
    _add_json(parser)
    parser.set_defaults(function=doctor.run)


def _add_set(commands: _Commands[_Parser]) -> None:
    parser = commands.add_parser("set", help="set tunables, all or none")
    _add_engine(parser)
    _add_json(parser)
    parser.add_argument("--check", action="store_true", help="say what would change, no more")
    parser.add_argument("changes", metavar="NAME=VALUE", nargs="+", type=settings.assignment)
    parser.set_defaults(function=settings.run)


def _add_expect(commands: _Commands[_Parser]) -> None:
    parser = commands.add_parser("expect", help="look for a while whether merging is as expected")
    _add_engine(parser)
    parser.add_argument("--seconds", type=expect.seconds, default=10, metavar="N", help="how long (default: 10)")
    parser.add_argument("--since", metavar="MARK", help="leave out what was logged before")
    _add_json(parser)
    parser.add_argument("expected", metavar="NAME=VALUE", nargs="*", type=settings.assignment)
    parser.set_defaults(function=expect.run)


def _add_thread(commands: _Commands[_Parser]) -> None:
    start = commands.add_parser(
        "start",
        help="start the module's thread",
        usage="ksmctl start [NPAGES [SLEEP_US]]\n       ksmctl start NPAGES MAX_MERGE SLEEP_US",
    )
    start.add_argument("numbers", nargs="*", type=_uint)
    start.set_defaults(function=thread.start, parser=start)
    stop = commands.add_parser("stop", help="stop the module's thread")
    stop.set_defaults(function=thread.stop)
    info = commands.add_parser("info", help="show the pace of the module's thread")
    _add_json(info)
    info.set_defaults(function=thread.info)


def _add_process(commands: _Commands[_Parser]) -> None:
    register = commands.add_parser("register", help="let memory of processes be merged")
    register.add_argument("--length", type=_address, metavar="BYTES", help="only that much memory, from --addr")
    register.add_argument("--domain", type=_domain, metavar="N", help="merge with what you register in domain N only")
    register.set_defaults(function=process.register, parser=register)
    unregister = commands.add_parser("unregister", help="end what register began")
    unregister.set_defaults(function=process.unregister, parser=unregister)
    for parser in (register, unregister):
        parser.add_argument("--pid", type=_pid, nargs="+", action="extend", required=True, help="the processes")
        parser.add_argument("--addr", type=_address, help="start of the range (default: all)")
        parser.add_argument("--children", action="store_true", help="their children and theirs too, with no --addr")
        _add_json(parser)
    statistics = commands.add_parser("statistics", help="show what merging does for processes")
    statistics.add_argument("--pid", type=_pid, nargs="+", action="extend", required=True, help="the processes")
    _add_json(statistics)
    statistics.set_defaults(function=process.statistics)
    listed = commands.add_parser("regions", help="show what was registered, by whomever")
    _add_json(listed)
    listed.set_defaults(function=regions.run)


def _add_reload(commands: _Commands[_Parser]) -> None:
    parser = commands.add_parser("reload", help="replace the loaded module by the installed one")
    parser.add_argument("--dry-run", action="store_true", help="look whether it can be, no more")
    parser.add_argument("--same", action="store_true", help="also by the build that runs already")
    parser.add_argument("--force", action="store_true", help="also where regions would be lost")
    _add_json(parser)
    parser.set_defaults(function=reload.run)


def _add_policy(commands: _Commands[_Parser]) -> None:
    parser = commands.add_parser("policy", help="say which tasks are merged in which domain")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listed = verbs.add_parser("list", help="show the policies")
    listed.set_defaults(function=policy.listed)
    check = verbs.add_parser("check", help="look what is wrong in files")
    check.add_argument("file", metavar="FILE", nargs="*", help="(default: all of the folder)")
    check.set_defaults(function=policy.check)
    apply = verbs.add_parser("apply", help="register and remove what is due now")
    apply.set_defaults(function=policy.apply)
    status = verbs.add_parser("status", help="show the tasks that match")
    status.set_defaults(function=policy.status)
    for verb in (listed, check, apply, status):
        _add_json(verb)
    run = verbs.add_parser("run", help="apply again and again, as the service does")
    run.add_argument(
        "--interval",
        type=_seconds,
        default=loop.INTERVAL,
        metavar="SECONDS",
        help=f"between two looks (default: {loop.INTERVAL:g})",
    )
    run.set_defaults(function=policy.run)


def _add_engine(
    parser: argparse.ArgumentParser,
    text: str = "auto (default): the module where it is loaded, else the kernel's own",
) -> None:
    parser.add_argument(
        "--engine",
        choices=("auto", "module", "kernel"),
        default="auto",
        help=text,
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _uint(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _UINT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 0..{_UINT_MAX}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time between looks; write {_SHORTEST:g}..{_LONGEST:g} seconds"
        )
    return seconds


def _pid(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,9}", text) or int(text) > _PID_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no pid; write a number of 1 to {_PID_MAX}")
    return int(text)


def _domain(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) < 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is no domain; write 1..{2**64 - 1}")
    return int(text)


def _address(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is no address or length; write 0x... or digits")
    return number
