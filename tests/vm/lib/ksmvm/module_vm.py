# SPDX-License-Identifier: GPL-2.0-or-later
"""Module VM: a kernel, busybox and one command; seconds from start to end."""

from __future__ import annotations

import os
import secrets
import selectors
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Optional, Union

from ksmvm import host, kernel_modules, qemu
from ksmvm.errors import HarnessError
from ksmvm.initramfs import initramfs
from ksmvm.kernel_log import find_splats, is_emulator_oops
from ksmvm.kernels import PreparedKernel, prepare
from ksmvm.module_stream import ModuleStream
from ksmvm.paths import GUEST_FILES
from ksmvm.process import system_environment
from ksmvm.progress import say
from ksmvm.secure_boot import SecureBoot

STATUS_TIMEOUT = 124
STATUS_VM_FAILED = 125
DEFAULT_TIMEOUT = 600.0

Command = Union[str, Sequence[str]]


@dataclass(frozen=True)
class Result:
    """How a run ended. `status` is the command's, or 124 (timeout) or 125 (the VM died)."""

    status: int
    output: str
    kernel_log: str
    console: str
    splats: list[str] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """The command's, unless the kernel complained."""
        return STATUS_VM_FAILED if self.splats else self.status

    def check(self) -> Result:
        """Raise unless the command succeeded and the kernel was content."""
        if self.splats:
            raise HarnessError("the kernel complained:\n" + "\n\n".join(self.splats))
        if self.status:
            raise HarnessError(f"exit status {self.status} in the VM; its output:\n{self.output}")
        return self


class ModuleVM:
    """Runs commands, each in a fresh VM of one kernel; `memory` in MiB, what the kernel wants by default.

    The time of a `counted` one is instructions: CPU time there is the same on a busy machine.
    With `secure_boot` firmware loads it, which asks who signed it. What was in its memory at the
    end is left in the file `ram`.
    """

    def __init__(
        self,
        kernel: str,
        *,
        smp: int = 1,
        memory: Optional[int] = None,
        append: str = "",
        counted: bool = False,
        secure_boot: Optional[SecureBoot] = None,
        ram: Optional[Path] = None,
    ) -> None:
        self.kernel = kernel
        self.smp = smp
        self.memory = memory
        self.append = append
        self.counted = counted
        self.secure_boot = secure_boot
        self.ram = ram

    def run(
        self,
        command: Command,
        files: Optional[Mapping[str, Union[Path, bytes]]] = None,
        *,
        modules: Sequence[str] = (),
        timeout: Optional[float] = None,
        stream: Optional[BinaryIO] = None,
    ) -> Result:
        """Run `command` as root: a string is a shell's line, a sequence is an argument vector.

        `files` maps paths in the VM to files or folders of the machine, or to bytes. `modules` are
        modules of the stock kernel, loaded before the command starts. `timeout` is in seconds, ten
        minutes by default and more on a slow kernel. Output is copied to `stream` as it comes.
        """
        host.require()
        prepared = prepare(self.kernel)
        if timeout is None:
            timeout = DEFAULT_TIMEOUT * prepared.patience
        script = command if isinstance(command, str) else f"exec {shlex.join(command)}"
        for attempt in (1, 2):
            result = self._once(prepared, script, files or {}, modules, timeout, stream)
            died_of_emulator = result.status == STATUS_VM_FAILED and is_emulator_oops(result.splats)
            if attempt == 2 or not died_of_emulator:
                return result
            say("the VM died of the emulator's own `Oops: int3`; one more try:")
            say(result.splats[0].splitlines()[0])
        raise AssertionError("unreachable")

    def _once(
        self,
        prepared: PreparedKernel,
        script: str,
        files: Mapping[str, Union[Path, bytes]],
        modules: Sequence[str],
        timeout: float,
        stream: Optional[BinaryIO],
    ) -> Result:
        token = f"ksmvm-{secrets.token_hex(16)}"
        with tempfile.TemporaryDirectory(prefix="ksmvm-run-") as scratch:
            image = Path(scratch) / "initramfs"
            console = Path(scratch) / "console"
            stock = kernel_modules.collect(prepared.root, prepared.version, modules)
            with initramfs(image, GUEST_FILES / "module-init", stock) as archive:
                archive.file("etc/ksmvm/token", f"{token}\n")
                archive.file("etc/ksmvm/command", f"{script}\n")
                for destination, source in files.items():
                    if isinstance(source, bytes):
                        archive.file(destination, source, 0o755)
                    else:
                        archive.copy(source, destination)
            machine = qemu.command(
                kernel=prepared.vmlinuz,
                initrd=image,
                # An Oops ends the run at once; the whole report is on the console by then.
                append=("loglevel=7", "panic=-1", "oops=panic", *self.append.split()),
                smp=self.smp,
                memory=self.memory or prepared.memory,
                console=console,
                counted=self.counted,
                ram=self.ram,
                load=partial(self.secure_boot.load, Path(scratch)) if self.secure_boot else qemu.direct,
            )
            # QEMU's standard output is the VM's second serial port.
            machine += ["-no-reboot", "-chardev", "stdio,id=line,signal=off"]
            machine += ["-serial", "chardev:line"]
            line = ModuleStream(token)
            status, trouble = _follow(machine, line, timeout, stream)
            text = console.read_text(errors="replace") if console.exists() else ""
        if line.ended:
            return Result(
                status=line.status if line.status is not None else STATUS_VM_FAILED,
                output=line.output,
                kernel_log=line.kernel_log or "",
                console=text,
                splats=find_splats(line.kernel_log or ""),
            )
        splats = find_splats(text)
        if not splats and status == STATUS_VM_FAILED:
            tail = "\n".join(text.splitlines()[-20:])
            splats = [f"the VM ended before the command did: {trouble}\nconsole:\n{tail}"]
        return Result(status=status, output=line.output, kernel_log=text, console=text, splats=splats)


def _follow(machine: Sequence[str], line: ModuleStream, timeout: float, stream: Optional[BinaryIO]) -> tuple[int, str]:
    """Run QEMU until the line has ended, QEMU has, or the time is up."""

    def put(data: bytes) -> None:
        if stream is not None and data:
            stream.write(data)
            stream.flush()

    deadline = time.monotonic() + timeout
    process = subprocess.Popen(
        # A killed harness must not leave a VM behind.
        ["setpriv", "--pdeathsig", "KILL", *machine],
        env=system_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.ended:
                left = deadline - time.monotonic()
                if left <= 0:
                    put(line.close())
                    say(f"no end after {timeout:g} s; the VM was stopped")
                    return STATUS_TIMEOUT, "timeout"
                if not selector.select(left):
                    continue
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    put(line.close())
                    trouble = process.stderr.read().decode(errors="replace").strip()
                    return STATUS_VM_FAILED, trouble or "no word from QEMU"
                put(line.feed(data))
        return 0, ""
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
