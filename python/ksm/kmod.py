# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm.ko as a module: which build is loaded, which is installed, loading and unloading."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ksm.errors import KsmError

# A user's PATH may lack them.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_DKMS = "var/lib/dkms/ksm"


class KmodError(KsmError):
    """modprobe, insmod or modinfo failed."""


class Build(NamedTuple):
    """One build of the module; either is None where the file has none.

    srcversion tells builds of one version apart: it is a digest of the sources.
    """

    version: str | None
    srcversion: str | None

    def differs(self, other: Build) -> bool:
        """Whether the other is another build, as far as both tell."""
        return any(mine != others for mine, others in zip(self, other) if None not in (mine, others))

    def __str__(self) -> str:
        return f"{self.version or 'no version'} ({self.srcversion or 'no srcversion'})"


@dataclass(frozen=True)
class Installed:
    """The file that modprobe would load. release: of the kernel that it was built for."""

    file: str
    build: Build
    release: str
    signed: bool


def loaded(system: str | Path = "/") -> Build | None:
    """Return the build that is loaded, None when none is."""
    root = Path(system, "sys/module/ksm")
    if not root.is_dir():
        return None
    return Build(_text(root / "version"), _text(root / "srcversion"))


def instance(system: str | Path = "/") -> int | None:
    """Return a number that each loading of the module has anew, None when it is not loaded."""
    try:
        # The kernel counts on with every node of sysfs.
        return os.stat(Path(system, "sys/module/ksm")).st_ino
    except FileNotFoundError:
        return None


def users(system: str | Path = "/") -> int:
    """Return how many descriptors keep the module from being unloaded."""
    return int(_text(Path(system, "sys/module/ksm/refcnt")) or 0)


def installed(name: str = "ksm") -> Installed | None:
    """Return what modprobe would load, or the file of that name; None when there is none."""
    if shutil.which("modinfo", path=_PATH) is None:
        return None
    done = _run(["modinfo", name])
    if done.returncode != 0:
        return None
    fields: dict[str, str] = {}
    for line in done.stdout.splitlines():
        match = re.match(r"(\w+):\s+(.*)", line)
        if match:
            fields.setdefault(match[1], match[2].strip())
    return Installed(
        file=fields.get("filename", name),
        build=Build(fields.get("version") or None, fields.get("srcversion") or None),
        release=fields.get("vermagic", "").partition(" ")[0],
        signed="signer" in fields or "sig_key" in fields,
    )


def find(build: Build, system: str | Path = "/") -> str | None:
    """Return a file of that build for the running kernel, as DKMS keeps them."""
    pattern = f"*/{os.uname().release}/*/module/ksm.ko*"
    for file in sorted(Path(system, _DKMS).glob(pattern)):
        found = installed(str(file))
        if found is not None and not found.build.differs(build):
            return str(file)
    return None


def wants_signature(system: str | Path = "/") -> bool:
    """Whether the kernel takes signed modules only."""
    enforce = _text(Path(system, "sys/module/module/parameters/sig_enforce"))
    lockdown = _text(Path(system, "sys/kernel/security/lockdown")) or "[none]"
    return enforce == "Y" or "[none]" not in lockdown


def load(*options: str) -> None:
    """Load what is installed; options stand above those of modprobe.d. Raises KmodError."""
    _do(["modprobe", "ksm", *options])


def insert(file: str, *options: str) -> None:
    """Load a file. Raises KmodError."""
    _do(["insmod", file, *options])


def unload() -> None:
    """Unload; what is merged stays merged. Raises KmodError."""
    _do(["modprobe", "-r", "ksm"])


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


def _do(command: list[str]) -> None:
    done = _run(command)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise KmodError(f"{' '.join(command)}: {said}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    tool = shutil.which(command[0], path=_PATH)
    if tool is None:
        raise KmodError(f"{command[0]} is not there; install the package kmod")
    try:
        return subprocess.run(  # noqa: S603 - our own words, and no shell
            [tool, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        # No process, or no memory for one.
        raise KmodError(f"{command[0]} cannot be run: {error.strerror}") from error
