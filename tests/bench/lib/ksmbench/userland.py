# SPDX-License-Identifier: GPL-2.0-or-later
"""Python as Debian ships it, out of a root, for a VM that has only busybox."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import ksmvm

PROGRAM = Path(__file__).resolve().parents[2] / "guest/program.py"
# Big, and never imported.
LEFT_OUT = ("test", "idlelib", "pydoc_data", "turtle*", "ensurepip", "config-*", "__pycache__", "_pyrepl")


def kernel_with_python(kernel: str) -> str:
    """A root that fleet hosts are made of; those that only build modules have none."""
    return kernel if (ksmvm.prepare(kernel).root / "usr/bin/python3").exists() else "6.12"


def python(kernel: str, scratch: Path) -> dict[str, Path]:
    """Files to carry into a VM, by their paths there; `scratch` must outlast the run."""
    root = ksmvm.prepare(kernel_with_python(kernel)).root
    binary = _real(root, ["/usr/bin/python3"])["/usr/bin/python3"]
    library = Path("/usr/lib") / binary.name
    small = scratch / binary.name
    shutil.copytree(root / library.relative_to("/"), small, ignore=_ignore, ignore_dangling_symlinks=True)
    extensions = [str(library / "lib-dynload" / path.name) for path in small.glob("lib-dynload/*.so")]
    return {
        **_real(root, ["/usr/bin/python3", *_shared_objects(root, ["/usr/bin/python3", *extensions])]),
        str(library): small,
        "/usr/share/ksm-bench/program.py": PROGRAM,
    }


def _ignore(folder: str, names: list[str]) -> set[str]:
    return set(shutil.ignore_patterns(*LEFT_OUT)(folder, names))


def _in(root: Path, *command: str) -> list[str]:
    return subprocess.run(
        ["chroot", str(root), *command], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def _shared_objects(root: Path, programs: Sequence[str]) -> list[str]:
    """Where the loader looks for what they need, the loader included."""
    words = {word for line in _in(root, "ldd", *programs) for word in line.split()}
    return sorted(word for word in words if word.startswith("/") and not word.endswith(":"))


def _real(root: Path, paths: Sequence[str]) -> dict[str, Path]:
    """Where these are on this machine, links followed as the root sees them."""
    return {path: root / real.lstrip("/") for path, real in zip(paths, _in(root, "realpath", *paths))}
