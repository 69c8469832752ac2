# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that the product is proved on: Debian's stock flavour, by short name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ksmvm import roots
from ksmvm.errors import HarnessError
from ksmvm.roots import FLEET_PACKAGES, KERNEL_PACKAGES, Recipe

KERNELS: dict[str, Recipe] = {
    "6.1": Recipe("bookworm", "bookworm", KERNEL_PACKAGES + FLEET_PACKAGES),
    "6.12": Recipe("trixie", "trixie", KERNEL_PACKAGES + FLEET_PACKAGES),
    # Modules are tried on it, fleet hosts are not: what building takes is enough.
    "backports": Recipe("backports", "trixie", KERNEL_PACKAGES, backports=True),
}


@dataclass(frozen=True)
class PreparedKernel:
    name: str
    version: str
    vmlinuz: Path
    root: Path
    headers: Path

    def as_json(self) -> dict[str, str]:
        return {key: str(value) for key, value in vars(self).items()}


def recipe(name: str) -> Recipe:
    try:
        return KERNELS[name]
    except KeyError:
        raise HarnessError(f"unknown kernel {name!r}; known: {', '.join(KERNELS)}") from None


def prepare(name: str) -> PreparedKernel:
    """Kernel image and build root, from the cache or the mirror."""
    root = roots.ensure(recipe(name))
    versions = sorted(path.name for path in (root / "usr/lib/modules").iterdir())
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
