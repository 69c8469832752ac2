# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of ksmvm."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Optional

from ksmvm import host
from ksmvm.errors import HarnessError
from ksmvm.kernels import KERNELS, prepare
from ksmvm.module_build import build_module
from ksmvm.module_vm import DEFAULT_MEMORY, DEFAULT_TIMEOUT, ModuleVM
from ksmvm.progress import say

STATUS_HARNESS_FAILED = 125


def carried_file(text: str) -> tuple[str, Path]:
    """`SRC[:DEST]` -> (DEST, SRC); DEST is /NAME of SRC by default."""
    source, _, destination = text.partition(":")
    path = Path(source)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{source!r} does not exist")
    if destination and not destination.startswith("/"):
        raise argparse.ArgumentTypeError(f"{destination!r} must be an absolute path in the VM")
    return destination or f"/{path.resolve().name}", path


def at_least_one(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def _setup(_options: argparse.Namespace) -> int:
    host.setup()
    return 0


def _kernel(options: argparse.Namespace) -> int:
    for name in options.names:
        print(json.dumps(prepare(name).as_json()))
    return 0


def _build(options: argparse.Namespace) -> int:
    print(
        build_module(options.kernel, options.src, out=options.out, make_args=options.make_arg)
    )
    return 0


def _run(options: argparse.Namespace) -> int:
    files = dict(options.file)
    if options.module is not None:
        files[f"/{options.module.name}"] = options.module
    # One argument is a shell's line, so that `-- 'insmod /ksm.ko && cat /proc/modules'` works.
    command = options.command[0] if len(options.command) == 1 else options.command
    machine = ModuleVM(options.kernel, smp=options.smp, memory=options.mem, append=options.append)
    result = machine.run(
        command,
        files,
        modules=options.modprobe,
        timeout=options.timeout,
        stream=sys.stdout.buffer,
    )
    if options.log is not None:
        options.log.write_text(result.kernel_log)
    for splat in result.splats:
        say(f"the kernel complained:\n{splat}")
    return result.exit_status


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="ksmvm", description=__doc__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, action: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        return sub

    add("setup", _setup, "install by apt what the harness needs on this machine")

    kernel = add("kernel", _kernel, "prepare kernels; print one line of JSON for each")
    kernel.add_argument("names", nargs="+", choices=KERNELS, metavar="NAME")

    build = add("build", _build, "build the kernel module; print its path")
    build.add_argument("--kernel", required=True, choices=KERNELS)
    build.add_argument("--src", type=Path, help="the module's folder (default: dkms/)")
    build.add_argument("--out", type=Path, help="folder for the .ko (default: in the cache)")
    build.add_argument("--make-arg", action="append", default=[], metavar="NAME=VALUE")

    run = add("run", _run, "run a command in a module VM; its exit status is the command's")
    run.add_argument("--kernel", required=True, choices=KERNELS)
    run.add_argument("--module", type=Path, help="carry this .ko in, as /NAME")
    run.add_argument(
        *("--file", "-f"), action="append", type=carried_file, default=[], metavar="SRC[:DEST]"
    )
    run.add_argument(
        *("--modprobe", "-m"),
        action="append",
        default=[],
        metavar="NAME",
        help="load this module of the stock kernel first",
    )
    run.add_argument("--smp", type=at_least_one, default=1)
    run.add_argument("--mem", type=at_least_one, default=DEFAULT_MEMORY, metavar="MIB")
    run.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT, metavar="SECONDS")
    run.add_argument("--append", default="", help="more arguments for the kernel")
    run.add_argument("--log", type=Path, help="write the whole kernel log to this file")
    run.add_argument("command", nargs="+", metavar="CMD")
    return top


def _stop(_number: int, _frame: Optional[FrameType]) -> None:
    sys.exit(143)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parser().parse_args(arguments)
    # As an exception, so that a VM is stopped and temporary folders are removed.
    signal.signal(signal.SIGTERM, _stop)
    try:
        status: int = options.action(options)
    except HarnessError as error:
        say(f"error: {error}")
        return STATUS_HARNESS_FAILED
    except KeyboardInterrupt:
        return 130
    return status
