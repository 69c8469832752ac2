# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of ksmvm."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Optional

from ksmvm import fleet_host, host, ssh
from ksmvm.errors import HarnessError
from ksmvm.fleet_image import ensure_image
from ksmvm.kernel_log import find_splats
from ksmvm.kernels import ALL_KERNELS, HEADERS, KERNELS, prepare
from ksmvm.module_build import build_module
from ksmvm.module_vm import ModuleVM
from ksmvm.parallel import side_by_side
from ksmvm.progress import say, step

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


def host_and_kernel(text: str) -> tuple[str, Optional[str]]:
    """`HOST[:KERNEL]`."""
    name, _, kernel = text.partition(":")
    if kernel and kernel not in KERNELS:
        raise argparse.ArgumentTypeError(f"unknown kernel {kernel!r}; known: {', '.join(KERNELS)}")
    return name, kernel or None


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
    for prepared in side_by_side(prepare, options.names):
        print(json.dumps(prepared.as_json()))
    return 0


def _build(options: argparse.Namespace) -> int:
    print(build_module(options.kernel, options.src, out=options.out, make_args=options.make_arg))
    return 0


def _run(options: argparse.Namespace) -> int:
    files = dict(options.file)
    if options.module is not None:
        files[f"/{options.module.name}"] = options.module
    # One argument is a shell's line, so that `-- 'insmod /ksm.ko && cat /proc/modules'` works.
    command = options.command[0] if len(options.command) == 1 else options.command
    machine = ModuleVM(
        options.kernel,
        smp=options.smp,
        memory=options.mem,
        append=options.append,
        counted=options.counted,
    )
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


def _image(options: argparse.Namespace) -> int:
    for image in side_by_side(ensure_image, options.names):
        print(image.disk)
    return 0


def _up(options: argparse.Namespace) -> int:
    hosts: dict[str, str] = {}
    for name, kernel in options.hosts:
        chosen = kernel or options.kernel
        if chosen is None:
            raise HarnessError(f"host {name!r} has no kernel; write {name}:6.12 or give --kernel")
        hosts[name] = chosen
    if options.port is not None and len(hosts) > 1:
        raise HarnessError("--port is for one host; leave it out to have free ports chosen")
    started = fleet_host.up(hosts, port=options.port, memory=options.mem, smp=options.smp)
    print(json.dumps([each.as_json() for each in started], indent=1))
    return 0


def _down(options: argparse.Namespace) -> int:
    if not options.all and not options.hosts:
        raise HarnessError("name the hosts to stop, or give --all")
    hosts = fleet_host.every() if options.all else map(fleet_host.get, options.hosts)
    for each in list(hosts):
        fleet_host.down(each)
    return 0


def _ssh(options: argparse.Namespace) -> int:
    found = fleet_host.get(options.host)
    words = ssh.command(found.port, found.key, options.command, tty=not options.command)
    return subprocess.run(words, check=False).returncode


def _list(options: argparse.Namespace) -> int:
    hosts = [each.as_json() for each in fleet_host.every()]
    if options.json:
        print(json.dumps(hosts, indent=1))
    else:
        for each in hosts:
            state = "up" if each["running"] else "ended"
            print(f"{each['name']}\t{state}\tkernel {each['version']}\tport {each['port']}")
    return 0


def _log(options: argparse.Namespace) -> int:
    text = fleet_host.get(options.host).kernel_log()
    print(text)
    splats = find_splats(text)
    for splat in splats:
        say(f"the kernel of {options.host} complained:\n{splat}")
    return STATUS_HARNESS_FAILED if splats else 0


def _reboot(options: argparse.Namespace) -> int:
    with step(f"reboot {options.host}"):
        fleet_host.get(options.host).reboot()
    return 0


def _crash(options: argparse.Namespace) -> int:
    fleet_host.crash(fleet_host.get(options.host))
    return 0


def _start(options: argparse.Namespace) -> int:
    fleet_host.start(fleet_host.get(options.host))
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="ksmvm", description=__doc__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        return sub

    add("setup", _setup, "install by apt what the harness needs on this machine")

    kernel = add("kernel", _kernel, "prepare kernels; print one line of JSON for each")
    kernel.add_argument("names", nargs="+", choices=ALL_KERNELS, metavar="NAME")

    build = add("build", _build, "build the kernel module; print its path")
    build.add_argument("--kernel", required=True, choices=[*ALL_KERNELS, *HEADERS])
    build.add_argument("--src", type=Path, help="the module's folder (default: dkms/)")
    build.add_argument("--out", type=Path, help="folder for the .ko (default: in the cache)")
    build.add_argument("--make-arg", action="append", default=[], metavar="NAME=VALUE")

    run = add("run", _run, "run a command in a module VM; its exit status is the command's")
    run.add_argument("--kernel", required=True, choices=ALL_KERNELS)
    run.add_argument("--module", type=Path, help="carry this .ko in, as /NAME")
    run.add_argument(*("--file", "-f"), action="append", type=carried_file, default=[], metavar="SRC[:DEST]")
    run.add_argument(
        *("--modprobe", "-m"),
        action="append",
        default=[],
        metavar="NAME",
        help="load this module of the stock kernel first",
    )
    run.add_argument("--smp", type=at_least_one, default=1)
    run.add_argument("--mem", type=at_least_one, metavar="MIB", help="default: what the kernel wants")
    run.add_argument("--timeout", type=float, metavar="SECONDS", help="default: 600, more on a slow kernel")
    run.add_argument("--counted", action="store_true", help="let a nanosecond in the VM be an instruction")
    run.add_argument("--append", default="", help="more arguments for the kernel")
    run.add_argument("--log", type=Path, help="write the whole kernel log to this file")
    run.add_argument("command", nargs="+", metavar="CMD")

    image = add("image", _image, "make disk images of fleet hosts; print their paths")
    image.add_argument("names", nargs="+", choices=KERNELS, metavar="NAME")

    up = add("up", _up, "start fleet hosts side by side; print them as JSON")
    up.add_argument("hosts", nargs="+", type=host_and_kernel, metavar="HOST[:KERNEL]")
    up.add_argument("--kernel", choices=KERNELS, help="for hosts named without one")
    up.add_argument("--port", type=at_least_one, help="for SSH (default: a free one)")
    up.add_argument("--mem", type=at_least_one, default=fleet_host.DEFAULT_MEMORY, metavar="MIB")
    up.add_argument("--smp", type=at_least_one, default=1)

    down = add("down", _down, "stop fleet hosts and forget their disks")
    down.add_argument("hosts", nargs="*", metavar="HOST")
    down.add_argument("--all", action="store_true")

    shell = add("ssh", _ssh, "log in to a fleet host, or run a command there")
    shell.add_argument("host", metavar="HOST")
    shell.add_argument("command", nargs="*", metavar="CMD")

    listing = add("list", _list, "list the fleet hosts that were started")
    listing.add_argument("--json", action="store_true")

    log = add("log", _log, "print a fleet host's kernel log; fail when the kernel complained")
    log.add_argument("host", metavar="HOST")

    crash = add("crash", _crash, "end a fleet host as a power cut does; its disk stays")
    crash.add_argument("host", metavar="HOST")

    start = add("start", _start, "boot a fleet host that has ended, with the disk that it had")
    start.add_argument("host", metavar="HOST")

    reboot = add("reboot", _reboot, "reboot a fleet host from within and wait for it")
    reboot.add_argument("host", metavar="HOST")
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
