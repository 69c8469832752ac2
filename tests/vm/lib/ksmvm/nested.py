# SPDX-License-Identifier: GPL-2.0-or-later
"""A kit of files with which a fleet host runs real KVM guests of its own."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from ksmvm.initramfs import initramfs
from ksmvm.kernels import prepare
from ksmvm.paths import GUEST_FILES

# The smallest and quickest to boot of the stock kernels.
GUEST_KERNEL = "6.1"
# What all guests hold alike, beside the kernel itself: enough to see, little enough to check often.
SHARED_BYTES = 8 << 20


def write_kit(folder: Path) -> Path:
    """Fill `folder` with a kernel, an initial file system and the script `run-guest`."""
    folder.mkdir(parents=True, exist_ok=True)
    nested = GUEST_FILES / "nested"
    shutil.copy2(prepare(GUEST_KERNEL).vmlinuz, folder / "vmlinuz")
    shutil.copy2(nested / "run-guest", folder / "run-guest")
    with initramfs(folder / "initramfs", nested / "init") as archive:
        archive.file("shared", random.Random(0).randbytes(SHARED_BYTES))
    return folder
