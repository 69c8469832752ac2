# SPDX-License-Identifier: GPL-2.0-or-later
"""dnf moves ksm-dkms through its life in a root of Fedora's layout, and its scripts have dkms build for real."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fedora_root import FedoraRoot

from conftest import BROKEN, GOOD, TARGET, run

DISTRIBUTION = TARGET.partition("=")[0]


@pytest.fixture
def root(rpm_versions: Path, tmp_path: Path) -> Iterator[FedoraRoot]:
    root = FedoraRoot(tmp_path / "overlay", rpm_versions)
    yield root
    run("rm", "-rf", tmp_path / "overlay")


def nevra(version: str, release: str = "1") -> str:
    return f"ksm-dkms-{version}-{release}.{DISTRIBUTION}"


def test_life(root: FedoraRoot, version: str) -> None:
    before = root.files()

    root.dnf("install", nevra(version), f"ksm-tools-{version}")
    assert root.module() == version
    # Nobody asked for them: ksm-dkms did.
    assert root.run("rpm -q kernel-devel-matched").returncode == 0
    assert version in root.run("ksmctl --version").stdout
    tables = root.run(f"modinfo -k {root.kernel} ksm && modprobe -S {root.kernel} --show-depends ksm").stdout
    assert "extra/ksm.ko" in tables.splitlines()[-1]

    root.dnf("upgrade", nevra(version, "2"))
    assert root.run("rpm -q ksm-dkms").stdout.startswith(nevra(version, "2"))
    assert root.module() == version

    root.dnf("reinstall", "ksm-dkms")
    assert root.module() == version

    # What does not compile leaves no module, as with apt, and says so: dnf takes it for success.
    said = root.dnf("upgrade", nevra(BROKEN))
    assert f"ksm-dkms: WARNING: no ksm.ko for kernel {root.kernel}" in said
    log = f"/var/lib/dkms/ksm/{BROKEN}/build/make.log"
    assert f"Remedy: mend what {log} names" in said
    assert "broken on purpose" in root.run(f"cat {log}").stdout
    assert root.module() is None
    assert root.run("dkms status ksm").stdout == f"ksm/{BROKEN}: added\n"

    root.dnf("upgrade", nevra(GOOD))
    assert root.module() == GOOD

    root.dnf("downgrade", nevra(version))
    assert root.module() == version

    root.dnf("remove", "ksm-dkms", "ksm-tools")
    assert root.module() is None
    # What dkms keeps for all modules, with the key that it signs with.
    assert {line.split()[0] for line in root.files() ^ before} == {"./var/lib/dkms"}


def test_kernels_come_and_go(root: FedoraRoot, version: str) -> None:
    root.dnf("remove", "kernel-core")
    root.dnf("install", nevra(version))
    assert root.run("dkms status ksm").stdout == f"ksm/{version}: added\n"

    # EL 9's kernel is refused with a reason, and that is no failure.
    said = root.dnf("install", "/srv/el9/*/*.rpm")
    assert "it needs Linux 6.1 or newer. Remedy:" in said
    said = root.dnf("reinstall", "ksm-dkms")
    assert "it needs Linux 6.1 or newer. Remedy:" in said
    assert "WARNING" not in said.replace("depmod: WARNING", "")
    assert root.run("dkms status ksm").stdout == f"ksm/{version}: added\n"

    # dkms' own hook builds for a kernel that comes later; its headers come because of ksm-dkms. It
    # takes the module away with the kernel.
    root.dnf("remove", "kernel-core")
    root.dnf("install", "kernel-core")
    assert root.module() == version
    root.dnf("remove", "kernel-core")
    assert root.module() is None
    assert root.run("dkms status ksm").stdout == f"ksm/{version}: added\n"


def test_dnf_refuses_what_is_not_signed(
    rpm_dist: Path, rpm_versions: Path, signing: dict[str, str], version: str, tmp_path: Path
) -> None:
    unsigned = tmp_path / "unsigned"
    shutil.copytree(rpm_versions, unsigned)
    (package,) = rpm_dist.glob("ksm-tools-*.rpm")
    shutil.copy(package, unsigned / DISTRIBUTION)
    run("createrepo_c", "--quiet", unsigned / DISTRIBUTION)

    # Debian's dnf would leave the repository out, and then say that it knows no such package.
    install = ("--setopt=skip_if_unavailable=0", "install", f"ksm-tools-{version}")

    # Metadata that nobody signed ...
    root = FedoraRoot(tmp_path / "one", unsigned)
    (unsigned / DISTRIBUTION / "repodata/repomd.xml.asc").unlink(missing_ok=True)
    assert "GPG signature is not available" in root.refused(*install)

    # ... metadata that is signed for other packages ...
    shutil.copy(rpm_versions / DISTRIBUTION / "repodata/repomd.xml.asc", unsigned / DISTRIBUTION / "repodata")
    assert "GPG signature verification error" in root.refused(*install)

    # ... and, with metadata that is right, a package that nobody signed.
    repomd = unsigned / DISTRIBUTION / "repodata/repomd.xml"
    repomd.with_suffix(".xml.asc").unlink()
    home = os.path.join(signing["KSM_CACHE"], "gnupg")
    run("gpg", "--homedir", home, "--batch", "--armor", "--detach-sign", repomd)
    said = root.refused(*install)
    assert f"Package ksm-tools-{version}-1.{DISTRIBUTION}.noarch.rpm is not signed" in said
    assert root.run("rpm -q ksm-tools", check=False).returncode != 0
    run("rm", "-rf", tmp_path / "one")
