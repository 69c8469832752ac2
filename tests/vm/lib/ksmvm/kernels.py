# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that the product is proved on, by short name: Debian's stock flavour, and the debug kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ksmvm import debug_kernel, roots
from ksmvm.errors import HarnessError
from ksmvm.roots import FLEET_PACKAGES, KERNEL_PACKAGES, HeadersRecipe, Recipe

KERNELS: dict[str, Recipe] = {
    "6.1": Recipe("bookworm", "bookworm", KERNEL_PACKAGES + FLEET_PACKAGES),
    "6.12": Recipe("trixie", "trixie", KERNEL_PACKAGES + FLEET_PACKAGES),
    # Modules are tried on it, fleet hosts are not: what building takes is enough.
    "backports": Recipe("backports", "trixie", KERNEL_PACKAGES, backports=True),
}
# Not among them, since it takes so long to build: only who asks for it gets it.
DEBUG = "debug"
ALL_KERNELS = (*KERNELS, DEBUG)

ARM64 = HeadersRecipe(
    "arm64",
    "trixie",
    ("gcc-14-aarch64-linux-gnu", "make", "perl"),
    backports=True,
    architecture="arm64",
    headers=("linux-headers-arm64/trixie-backports", "linux-headers-arm64-16k/trixie"),
)
# Modules are only built for these, with one root for all: by flavour, which ends their version.
HEADERS: dict[str, HeadersRecipe] = {"arm64": ARM64, "arm64-16k": ARM64}


@dataclass(frozen=True)
class PreparedKernel:
    """A kernel that can be booted and have modules built for it.

    `own_compiler`: the root has one, else this machine's serves. `memory`: MiB that a module VM wants.
    `patience`: how many times as long as on a stock kernel to wait for things.
    """

    name: str
    version: str
    vmlinuz: Path  # of one of HEADERS there is none
    root: Path
    headers: Path
    own_compiler: bool = True
    memory: int = 1024
    patience: float = 1.0

    def as_json(self) -> dict[str, str]:
        return {key: str(value) for key, value in vars(self).items()}


def recipe(name: str) -> Recipe:
    known = {**KERNELS, **HEADERS}
    try:
        return known[name]
    except KeyError:
        raise HarnessError(f"unknown kernel {name!r}; known: {', '.join((*known, DEBUG))}") from None


def prepare(name: str) -> PreparedKernel:
    """Kernel image and what to build modules with, from the cache or the mirror."""
    if name == DEBUG:
        found = _found_in(debug_kernel.ensure(), name)
        # KASAN's shadow is an eighth of the memory, and keeps freed memory in quarantine.
        return replace(found, own_compiler=False, memory=3072, patience=4.0)
    return _found_in(roots.ensure(recipe(name)), name)


def _found_in(root: Path, name: str) -> PreparedKernel:
    pattern = f"*-{name}" if name in HEADERS else "*"
    versions = sorted(path.name for path in (root / "usr/lib/modules").glob(pattern))
    if len(versions) != 1:
        raise HarnessError(
            f"{root} holds {len(versions)} kernels ({', '.join(versions)}) where one is due; "
            "delete that folder to have it made anew"
        )
    version = versions[0]
    return PreparedKernel(
        name=name,
        version=version,
        vmlinuz=root / f"boot/vmlinuz-{version}",
        root=root,
        headers=root / f"usr/src/linux-headers-{version}",
    )
