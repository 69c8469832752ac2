# SPDX-License-Identifier: GPL-2.0-or-later
"""The role installs from the dnf repository and removes all of it again, in a root of Fedora's layout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fedora_root import FedoraRoot
from role_on_root import Play, changes

from conftest import GOOD, TARGET, run

URL = f"file:///srv/ksm/{TARGET.partition('=')[0]}"


def play_on(repository: Path, scratch: Path) -> Iterator[Play]:
    root = FedoraRoot(scratch / "overlay", repository)
    # The role shall bring it.
    root.run("rm /etc/yum.repos.d/ksm-fleet.repo")
    yield Play(root, scratch)
    subprocess.run(["rm", "-rf", scratch / "overlay"], check=True)


@pytest.fixture
def play(rpm_repository: Path, tmp_path: Path) -> Iterator[Play]:
    yield from play_on(rpm_repository, tmp_path)


@pytest.fixture
def play_of_versions(rpm_versions: Path, tmp_path: Path) -> Iterator[Play]:
    yield from play_on(rpm_versions, tmp_path)


def test_install_again_and_remove(play: Play, rpm_repository: Path, version: str) -> None:
    before = play.root.files()
    variables = {"ksm_repository_url": URL, "ksm_repository_key": str(rpm_repository / "RPM-GPG-KEY-ksm-fleet")}
    assert changes(play.run("repository", "packages", **variables)) == 4
    assert play.root.run("rpm -q --qf '%{NAME} ' ksm-dkms ksm-tools python3-ksm").stdout == (
        "ksm-dkms ksm-tools python3-ksm "
    )
    assert play.root.module() == version
    assert "repo_gpgcheck=1" in play.root.run("cat /etc/yum.repos.d/ksm-fleet.repo").stdout

    assert changes(play.run("repository", "packages", **variables)) == 0

    play.run("absent")
    assert play.root.module() is None
    assert "gpg-pubkey" not in play.root.run("rpm -qa").stdout
    # What came as a dependency stays, as the role says: dkms with the key it signs with, and headers.
    play.root.dnf("remove", "dkms", "kernel-devel")
    assert {line.split()[0] for line in play.root.files() ^ before} <= {"./var/lib/dkms"}


def test_versions(play_of_versions: Play, rpm_versions: Path, version: str) -> None:
    """To the version that is wanted, up and down, whatever else the repository offers; or not at all."""
    play = play_of_versions
    variables = {"ksm_repository_url": URL, "ksm_repository_key": str(rpm_versions / "RPM-GPG-KEY-ksm-fleet")}

    def installed() -> set[str]:
        return set(play.root.run("rpm -q --qf '%{VERSION} ' ksm-dkms ksm-tools python3-ksm").stdout.split())

    for wanted in (version, GOOD):
        play.run("repository", "packages", ksm_version=wanted, **variables)
        assert installed() == {wanted}
        assert play.root.module() == wanted
        assert changes(play.run("repository", "packages", ksm_version=wanted, **variables)) == 0

    said = play.run("repository", "packages", ksm_version="8.8.8", check=False, **variables)
    assert "ksm_version is 8.8.8, but the package sources of this host offer ksm-dkms" in said
    assert installed() == {GOOD}

    play.run("repository", "packages", ksm_version=version, **variables)
    assert installed() == {version}
    assert play.root.module() == version


def test_another_key(play: Play, rpm_repository: Path, tmp_path: Path) -> None:
    """A repository that somebody else signed is refused, and the role says what to do."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", home, "--batch")
    run(*gpg, "--passphrase", "", "--quick-generate-key", "somebody@test", "rsa2048", "sign")
    key = tmp_path / "somebody.asc"
    run(*gpg, "--armor", "--output", key, "--export")
    said = play.run("repository", "packages", ksm_repository_url=URL, ksm_repository_key=str(key), check=False)
    remedy = "the signature of the package repository is not trusted. Remedy: give in ksm_repository_key"
    assert remedy in said, said
    assert play.root.run("rpm -q ksm-tools", check=False).returncode != 0


def test_headers_that_cannot_be_had(play: Play, rpm_repository: Path) -> None:
    key = str(rpm_repository / "RPM-GPG-KEY-ksm-fleet")
    variables = {"ksm_repository_url": URL, "ksm_repository_key": key, "want_headers": True}
    said = play.run("repository", "packages", check=False, **variables)
    headers = f"kernel-devel-{os.uname().release}"
    assert f"no package source of this host offers {headers}. Remedy: reboot into a kernel" in said
    assert play.root.run("rpm -q ksm-dkms", check=False).returncode != 0
