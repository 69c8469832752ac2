# SPDX-License-Identifier: GPL-2.0-or-later
"""What every QEMU command line here has in common."""

from __future__ import annotations

import os
from pathlib import Path

QEMU = "qemu-system-x86_64"
# Stock kernels here run under TCG only: KVM may be missing, or be there and not work.
KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "log_buf_len=4M",
    # Dear under emulation and beside the point of these tests.
    "mitigations=off",
    "random.trust_cpu=on",
    "no_timer_check",
    "audit=0",
    # On busy cores the kernel measures the emulated TSC wrongly, and a clock that it then trusts
    # runs several times too fast; HPET is right by construction. It also spares the kernel the
    # patching of sched_clock's static key, which the emulator may lose a race over.
    "tsc=unstable",
)


def command(*, kernel: Path, initrd: Path, append: tuple[str, ...], smp: int, memory: int, console: Path) -> list[str]:
    """The machine without devices; the first serial port is the kernel's console."""
    return [
        QEMU,
        *("-machine", "q35,usb=off,smbus=off"),
        *("-accel", "tcg,thread=multi"),
        # 5-level page tables cost a fifth of the speed under emulation.
        *("-cpu", "max,la57=off"),
        *("-smp", str(smp)),
        *("-m", str(memory)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-kernel", os.fspath(kernel)),
        *("-initrd", os.fspath(initrd)),
        *("-append", " ".join((*KERNEL_ARGUMENTS, *append))),
        *("-chardev", f"file,id=console,append=on,path={console}"),
        *("-serial", "chardev:console"),
    ]
