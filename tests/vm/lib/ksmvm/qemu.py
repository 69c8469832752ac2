# SPDX-License-Identifier: GPL-2.0-or-later
"""What every QEMU command line here has in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Optional

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
)
# On busy cores the kernel measures the emulated TSC wrongly, and a clock that it then trusts
# runs several times too fast; HPET is right by construction. It also spares the kernel the
# patching of sched_clock's static key, which the emulator may lose a race over.
TIMED_CLOCK = ("tsc=unstable",)
# Counted, the TSC is right: without it CPU time would be counted in whole ticks.
COUNTED_CLOCK = ("tsc=reliable", "tsc_early_khz=1000000")


# A nanosecond of the machine's time is an instruction executed, whatever else the host is at; idle
# time passes at once.
COUNTED = ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off")


def direct(kernel: Path, initrd: Path, append: str) -> list[str]:
    """QEMU loads the kernel itself, without firmware that would ask who signed it."""
    return ["-kernel", os.fspath(kernel), "-initrd", os.fspath(initrd), "-append", append]


def _memory_in(file: Path, mib: int) -> list[str]:
    backend = f"memory-backend-file,id=ram,size={mib}M,mem-path={file},share=on"
    return ["-object", backend, "-machine", "memory-backend=ram"]


def command(
    *,
    kernel: Path,
    initrd: Path,
    append: tuple[str, ...],
    smp: int,
    memory: int,
    console: Path,
    counted: bool = False,
    ram: Optional[Path] = None,
    load: Callable[[Path, Path, str], list[str]] = direct,
) -> list[str]:
    """The machine without devices; the first serial port is the kernel's console.

    Its memory is the file `ram`, when one is given, which stays.
    """
    clock = COUNTED_CLOCK if counted else TIMED_CLOCK
    return [
        QEMU,
        *("-machine", "q35,usb=off,smbus=off"),
        *(COUNTED if counted else ("-accel", "tcg,thread=multi")),
        # 5-level page tables cost a fifth of the speed under emulation.
        *("-cpu", "max,la57=off"),
        *("-smp", str(smp)),
        *("-m", str(memory)),
        *(_memory_in(ram, memory) if ram else ()),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *load(kernel, initrd, " ".join((*KERNEL_ARGUMENTS, *clock, *append))),
        *("-chardev", f"file,id=console,append=on,path={console}"),
        *("-serial", "chardev:console"),
    ]
