# SPDX-License-Identifier: GPL-2.0-or-later
"""Directory roots: a Debian suite, installed into a folder by mmdebstrap.

A root serves twice: kernel modules are built in it, and the image of a fleet host is made of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ksmvm import host
from ksmvm.lock import locked
from ksmvm.mirrors import Mirrors, machine_mirrors
from ksmvm.paths import cache
from ksmvm.process import run, system_environment
from ksmvm.progress import step

# Raise when what build() does changes in a way that neither packages nor sources tell.
RECIPE_VERSION = 1

KERNEL_PACKAGES = ("gcc", "kmod", "linux-headers-amd64", "linux-image-amd64", "make")
FLEET_PACKAGES = (
    "ca-certificates",
    "dbus",
    "dkms",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "qemu-system-x86",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)

# Kernels of backports win over the suite's own, and nothing else of backports does.
BACKPORTS_PIN = "Package: linux-*\\nPin: release n={suite}-backports\\nPin-Priority: 900\\n"

MACHINE_ARCHITECTURE = "amd64"
# Headers of another architecture depend on its kernel and its compiler. So what they share with
# this machine's is installed, and they themselves are only unpacked.
UNPACK_HEADERS = """set -e; chroot "$1" sh -ec '
cd /tmp
apt-get -q download {package}
headers=$(dpkg-deb --field *.deb Depends | grep -o "linux-headers-[^ ,]*")
rm *.deb
apt-get -q download "$headers:{architecture}"
apt-get -q --yes install $(dpkg-deb --field *.deb Depends | grep -oE "linux-(headers-[^ ,]*-common|kbuild-[^ ,]*)")
dpkg-deb --extract *.deb /
rm *.deb
'"""


@dataclass(frozen=True)
class Recipe:
    name: str
    suite: str
    packages: tuple[str, ...]
    backports: bool = False

    def digest(self) -> str:
        text = json.dumps([RECIPE_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def options(self) -> list[str]:
        """What mmdebstrap is told beyond suite and packages."""
        if not self.backports:
            return []
        pin = BACKPORTS_PIN.format(suite=self.suite)
        return [
            f'--setup-hook=mkdir -p "$1/etc/apt/preferences.d" && printf "{pin}" > "$1/etc/apt/preferences.d/backports"'
        ]


@dataclass(frozen=True)
class HeadersRecipe(Recipe):
    """A root to build modules in for kernels of another architecture, of which nothing runs.

    headers: packages of that architecture that stand for the newest headers, NAME/SUITE.
    """

    architecture: str = ""
    headers: tuple[str, ...] = ()

    def options(self) -> list[str]:
        return [
            *super().options(),
            f"--architectures={MACHINE_ARCHITECTURE},{self.architecture}",
            *(self._unpack(*package.split("/")) for package in self.headers),
        ]

    def _unpack(self, name: str, suite: str) -> str:
        package = f"{name}:{self.architecture}/{suite}"
        return f"--customize-hook={UNPACK_HEADERS.format(package=package, architecture=self.architecture)}"


def location(recipe: Recipe) -> Path:
    return cache("roots", recipe.name)


def ensure(recipe: Recipe) -> Path:
    """The finished root; built when there is none, or when the recipe has changed.

    Only a rename puts a root in place, so that a half-built one is never taken for whole.
    """
    target = location(recipe)
    stamp = target.with_suffix(".recipe")
    digest = recipe.digest()
    with locked(f"root-{recipe.name}"):
        if target.is_dir() and stamp.is_file() and stamp.read_text() == digest:
            return target
        host.require()
        stamp.unlink(missing_ok=True)
        partial = target.with_suffix(".partial")
        for leftover in (target, partial):
            _remove(leftover)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with step(f"root {recipe.name} (Debian {recipe.suite}, {len(recipe.packages)} packages)"):
            _mmdebstrap(recipe, machine_mirrors(), partial)
        partial.rename(target)
        stamp.write_text(digest)
    return target


def _mmdebstrap(recipe: Recipe, mirrors: Mirrors, target: Path) -> None:
    sources = target.with_suffix(".list")
    sources.write_text(mirrors.sources(recipe.suite, backports=recipe.backports))
    options = recipe.options()
    # The speed-ups below are the build's, not the fleet host's: its own apt and dpkg are stock.
    options.append(
        '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" '
        '"$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$1"/etc/ssh/ssh_host_*'
    )
    run(
        [
            # mmdebstrap may leave /proc mounted in the root; a mount namespace takes it away.
            *("unshare", "--mount", "--propagation", "private"),
            *("mmdebstrap", "--verbose", "--variant=minbase", "--format=directory", "--mode=root"),
            f"--include={','.join(recipe.packages)}",
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Languages "none"',
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=force-confold",
            "--dpkgopt=force-confdef",
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "locale")),
            *options,
            "--skip=cleanup/apt/lists",  # spares every fleet host a full `apt-get update`
            "--skip=check/qemu",
            *(recipe.suite, os.fspath(target), os.fspath(sources)),
        ],
        log=cache("logs", f"root-{recipe.name}.log"),
        # No initial ramdisk by initramfs-tools: the VMs boot with one of their own.
        env=system_environment(INITRD="No", DEBIAN_FRONTEND="noninteractive"),
    )


def _remove(root: Path) -> None:
    if root.exists():
        # rm, since shutil.rmtree would follow a mount that an interrupted build left.
        run(["rm", "-rf", "--one-file-system", os.fspath(root)])
