# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots a kernel for measurements."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Union

import ksmvm

from ksmbench.plan import PROGRAM, Measurement, script
from ksmbench.results import Output, read

HERE = Path(__file__).resolve().parents[2]
REPOSITORY = HERE.parents[1]
CACHE = Path(os.environ.get("KSM_CACHE") or REPOSITORY / ".cache").resolve() / "bench"
# On a busy machine a run takes many times as long; it shows how far it is.
TIMEOUT = 4 * 3600.0
# The kernel, and what is not a workload's.
OTHER_MIB = 1024


class Progress:
    """Shows what the VM says, but for the long lines of results."""

    def __init__(self) -> None:
        self._line = b""

    def write(self, data: bytes) -> int:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if not line.startswith(b"@"):
                sys.stderr.buffer.write(line + b"\n")
        return len(data)

    def flush(self) -> None:
        sys.stderr.buffer.flush()


def build() -> Path:
    out = CACHE / "program"
    subprocess.run(["make", "-s", "-C", HERE, f"OUT={out}"], check=True)
    return out / "ksm-bench"


def measure(
    kernel: str,
    steps: Sequence[Measurement],
    module: Path,
    *,
    counted: bool,
    smp: int,
    files: Mapping[str, Path],
) -> Output:
    carried: dict[str, Union[Path, bytes]] = {PROGRAM: build(), "/ksm.ko": module, **files}
    vm = ksmvm.ModuleVM(
        kernel,
        smp=smp,
        memory=OTHER_MIB + 2 * max(step.mib for step in steps),
        append="slab_nomerge",
        counted=counted,
    )
    result = vm.run(script(steps), carried, timeout=TIMEOUT, stream=Progress())  # type: ignore[arg-type]
    output = read(result.output, steps)
    return Output(output.rows, output.troubles + result.splats)
