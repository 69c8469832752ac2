# SPDX-License-Identifier: GPL-2.0-or-later
"""Build a kernel module with the headers and the compiler of the kernel's own suite."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ksmvm.errors import HarnessError
from ksmvm.kernels import prepare
from ksmvm.lock import locked
from ksmvm.paths import REPOSITORY, cache
from ksmvm.process import run, system_environment
from ksmvm.progress import step

# The copy is mounted for this build alone (own mount namespace): the root, which fleet images are
# made of, stays untouched, and several builds can go on in it. objtool of 7.x reads /proc.
CHROOT_SCRIPT = """
mount --bind "$1" "$2/mnt" && mount -t proc proc "$2/proc" || exit
shift
exec chroot "$@"
"""
BUILT = ("*.o", "*.ko", "*.mod", "*.mod.c", "*.cmd", ".*.cmd", "Module.symvers", "modules.order")


def build_module(
    kernel: str,
    src: Optional[Path] = None,
    *,
    out: Optional[Path] = None,
    make_args: Sequence[str] = (),
    log: Optional[Path] = None,
) -> Path:
    """Build the one module of `src` (default: dkms/) out of a copy; return the .ko in `out`."""
    source = Path(src or REPOSITORY / "dkms").resolve()
    if not any((source / name).is_file() for name in ("Kbuild", "Makefile")):
        raise HarnessError(f"{source} has neither Kbuild nor Makefile; give a module's folder")
    prepared = prepare(kernel)
    out = Path(out or cache("modules", kernel)).resolve()
    log = log or out / "build.log"
    with tempfile.TemporaryDirectory(prefix="ksmvm-build-") as scratch:
        copy = Path(scratch) / "module"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*BUILT))
        command = [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", CHROOT_SCRIPT, "ksmvm-build"),
            *(os.fspath(copy), os.fspath(prepared.root)),
            *("make", f"-j{os.cpu_count() or 1}", "-C", f"/usr/src/linux-headers-{prepared.version}"),
            # The copy is of dkms/ alone, beside which Kbuild would look for VERSION.
            f"KSM_VERSION={(REPOSITORY / 'VERSION').read_text().strip()}",
            *("M=/mnt", *make_args, "modules"),
        ]
        with step(f"build {source.name} for {prepared.version}"):
            run(command, log=log, env=system_environment())
        modules = sorted(copy.glob("*.ko"))
        if len(modules) != 1:
            names = ", ".join(module.name for module in modules) or "none"
            raise HarnessError(f"{source} must build exactly one module; it built: {names}")
        with locked(f"modules-{kernel}"):
            out.mkdir(parents=True, exist_ok=True)
            partial = out / f"{modules[0].name}.partial"
            shutil.copy2(modules[0], partial)
            return partial.rename(out / modules[0].name)
