# SPDX-License-Identifier: GPL-2.0-or-later
"""A root in which real rpm, dnf and dkms work as on Fedora: a Debian root, made over by fedora/make-system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ksmvm.roots import Recipe, ensure
from roots import Root

from conftest import TARGET

FILES = Path(__file__).parent / "fedora"
PACKAGES = (
    *("createrepo-c", "dnf", "gcc", "kmod", "libc6-dev", "linux-headers-amd64", "linux-image-amd64", "make"),
    *("openssl", "patch", "python3", "rpm"),
)


@dataclass(frozen=True)
class FedoraRecipe(Recipe):
    files: str = ""  # a digest, for the cache to know when the root is out of date

    def options(self) -> list[str]:
        return [
            *super().options(),
            f"--customize-hook=copy-in {FILES} /srv",
            '--customize-hook=chroot "$1" /srv/fedora/make-system',
        ]


def fedora_root() -> Path:
    """The root, from the cache; made in a minute when there is none or its recipe has changed."""
    digest = hashlib.sha256()
    for file in sorted(FILES.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return ensure(FedoraRecipe("fedora", "trixie", PACKAGES, files=digest.hexdigest()))


class FedoraRoot(Root):
    """An overlay of it, with dnf set up for a repository that rpm/make-repository made."""

    def __init__(self, overlay: Path, repository: Path) -> None:
        super().__init__([fedora_root()], overlay, repository)
        self.kernel = self.run("basename /usr/lib/modules/*").stdout.strip()
        distribution = TARGET.partition("=")[0]
        self.run(
            rf"sed 's|file://.*/\([^/]*\)$|file:///srv/ksm/\1|' /srv/ksm/{distribution}/ksm-fleet.repo"
            " >/etc/yum.repos.d/ksm-fleet.repo"
        )

    def dnf(self, *words: str) -> str:
        """What dnf and the packages' scripts said."""
        return self.run(f"dnf -y {' '.join(words)}").stdout

    def refused(self, *words: str) -> str:
        """What dnf said when it failed."""
        done = self.run(f"dnf -y {' '.join(words)}", check=False)
        assert done.returncode != 0, done.stdout
        return done.stdout

    def module(self) -> str | None:
        """The version of the one ksm.ko, if dkms and modinfo agree that it is installed."""
        files = self.run(f"find /usr/lib/modules -path '*/{self.kernel}/*' -name 'ksm.ko*'").stdout.split()
        if not files:
            return None
        (file,) = files
        assert file.startswith(f"/usr/lib/modules/{self.kernel}/extra/ksm.ko"), "where dkms puts it on Fedora"
        version = self.run(f"modinfo -k {self.kernel} -F version ksm").stdout.strip()
        assert self.run("dkms status ksm").stdout == f"ksm/{version}, {self.kernel}, x86_64: installed\n"
        return version

    def files(self) -> set[str]:
        """Every file, but rpm's and dnf's own records."""
        records = ("./var/lib/rpm", "./var/lib/dnf", "./root")
        return {line for line in super().files() if not line.startswith(records)}
