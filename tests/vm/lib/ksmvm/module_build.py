# SPDX-License-Identifier: GPL-2.0-or-later
"""Build a kernel module with the kernel's headers and the compiler that it was built with."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ksmvm.errors import HarnessError
from ksmvm.kernels import PreparedKernel, prepare
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
PROBED = ("ks_probed.h", "*.answer", "*.answer.log", "*.passed")


def _make(prepared: PreparedKernel, source: Path) -> list[str]:
    """make, in the kernel's own root or on this machine."""
    if not prepared.own_compiler:
        return ["make", "-C", os.fspath(prepared.headers), f"M={source}"]
    return [
        *("unshare", "--mount", "--propagation", "private"),
        *("sh", "-c", CHROOT_SCRIPT, "ksmvm-build"),
        *(os.fspath(source), os.fspath(prepared.root)),
        *("make", "-C", f"/usr/src/linux-headers-{prepared.version}", "M=/mnt"),
    ]


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
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*BUILT, *PROBED))
        command = [
            *_make(prepared, copy),
            f"-j{os.cpu_count() or 1}",
            # The copy is of dkms/ alone, beside which Kbuild would look for VERSION.
            f"KSM_VERSION={(REPOSITORY / 'VERSION').read_text().strip()}",
            *(*make_args, "modules"),
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
