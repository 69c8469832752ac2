# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machine that runs the VMs needs, and its installation by apt."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ksmvm.errors import HarnessError
from ksmvm.process import run, system_environment
from ksmvm.progress import step

PACKAGES = (
    "busybox-static",
    "debian-archive-keyring",
    "e2fsprogs",
    "mmdebstrap",
    "openssh-client",
    "qemu-system-x86",
    "qemu-utils",
    "util-linux",
)
APT_GET = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600")


def missing_packages(packages: Sequence[str] = PACKAGES) -> list[str]:
    listing = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout
    installed = {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def setup(packages: Sequence[str] = PACKAGES) -> None:
    """Install what is missing; do nothing, quickly, when nothing is."""
    missing = missing_packages(packages)
    if not missing:
        return
    if os.geteuid() != 0:
        raise HarnessError(
            f"packages are missing and only root may install them; as root: apt-get install {' '.join(missing)}"
        )
    environment = system_environment(DEBIAN_FRONTEND="noninteractive")
    with step(f"install {' '.join(missing)}"):
        run([*APT_GET, "update"], env=environment)
        run([*APT_GET, "install", "--no-install-recommends", *missing], env=environment)


def require() -> None:
    missing = missing_packages()
    if missing:
        raise HarnessError(f"packages are missing: {' '.join(missing)}; run `ksmvm setup` as root")
