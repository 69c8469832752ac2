# SPDX-License-Identifier: GPL-2.0-or-later
"""The dnf repository is signed throughout, by the key that lies in it; what is not is told apart."""

from __future__ import annotations

import configparser
import shutil
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, TARGET, TREE, run

MAKE_REPOSITORY = TREE / "rpm/make-repository"
DISTRIBUTION = TARGET.partition("=")[0]
KEY = "RPM-GPG-KEY-ksm-fleet"


@pytest.fixture
def keyring(rpm_repository: Path, tmp_path: Path) -> Path:
    """The repository's key, for gpgv."""
    ring = tmp_path / "ring.gpg"
    run("gpg", "--batch", "--dearmor", "--output", ring, rpm_repository / KEY)
    return ring


class Rpm:
    """rpm with a database of its own, which holds one key."""

    def __init__(self, root: Path, key: Path) -> None:
        self.options = ("--dbpath", root / "db")
        run("rpm", *self.options, "--initdb")
        run("rpmkeys", *self.options, "--import", key)

    def trusts(self, package: Path) -> bool:
        done = run("rpmkeys", *self.options, "--define", "_pkgverify_level all", "--checksig", package, check=False)
        return done.returncode == 0


def packages(repository: Path) -> list[Path]:
    return sorted(repository.glob(f"{DISTRIBUTION}/*.rpm"))


def test_signatures(rpm_repository: Path, keyring: Path, tmp_path: Path) -> None:
    repomd = rpm_repository / DISTRIBUTION / "repodata/repomd.xml"
    run("gpgv", "--keyring", keyring, f"{repomd}.asc", repomd)
    rpm = Rpm(tmp_path, rpm_repository / KEY)
    assert len(packages(rpm_repository)) == 6
    assert all(rpm.trusts(package) for package in packages(rpm_repository))


def test_unsigned_and_changed_are_told_apart(rpm_repository: Path, rpm_dist: Path, tmp_path: Path) -> None:
    rpm = Rpm(tmp_path, rpm_repository / KEY)
    assert not any(rpm.trusts(package) for package in rpm_dist.glob("*.rpm"))
    changed = tmp_path / "changed.rpm"
    content = bytearray(packages(rpm_repository)[0].read_bytes())
    content[-100] ^= 1
    changed.write_bytes(content)
    assert not rpm.trusts(changed)


def test_another_key(rpm_repository: Path, rpm_dist: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(MAKE_REPOSITORY, rpm_dist, other, env={**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache")})
    rpm = Rpm(tmp_path, other / KEY)
    assert not any(rpm.trusts(package) for package in packages(rpm_repository))


def test_ready_file(rpm_repository: Path, rpm_dist: Path, tmp_path: Path) -> None:
    """By default it names the directory; else where it will be served. A new URL is a reason to make it again."""
    environment = {**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache")}
    made = tmp_path / "rpm"
    for words, url in (((), f"file://{made}"), (("https://example.com/rpm",), "https://example.com/rpm")):
        run(MAKE_REPOSITORY, rpm_dist, made, *words, env=environment)
        file = configparser.ConfigParser()
        file.read(made / DISTRIBUTION / "ksm-fleet.repo")
        assert dict(file["ksm-fleet"]) == {
            "name": f"ksm-fleet for {DISTRIBUTION}",
            "baseurl": f"{url}/{DISTRIBUTION}",
            "enabled": "1",
            "gpgcheck": "1",
            "repo_gpgcheck": "1",
            "gpgkey": f"{url}/{KEY}",
        }
    assert "up to date" in run(MAKE_REPOSITORY, rpm_dist, made, *words, env=environment).stdout


def test_named_key_signs(rpm_dist: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    environment = {**ENVIRONMENT, "GNUPGHOME": str(home), "KSM_CACHE": str(tmp_path / "cache")}
    generate = ("--batch", "--passphrase", "", "--quick-generate-key", "archive@test", "rsa2048", "sign")
    run("gpg", *generate, env=environment)
    try:
        run(MAKE_REPOSITORY, rpm_dist, tmp_path / "rpm", env={**environment, "KSM_SIGNING_KEY": "archive@test"})
        unknown = {**environment, "KSM_SIGNING_KEY": "nobody@test"}
        refused = run(MAKE_REPOSITORY, rpm_dist, tmp_path / "rpm2", env=unknown, check=False)
    finally:
        run("gpgconf", "--kill", "gpg-agent", env=environment)
    rpm = Rpm(tmp_path, tmp_path / "rpm" / KEY)
    assert all(rpm.trusts(package) for package in packages(tmp_path / "rpm"))
    assert not (tmp_path / "cache").exists()
    assert refused.returncode != 0
    assert "KSM_SIGNING_KEY=nobody@test: no such secret key" in refused.stdout
    assert not (tmp_path / "rpm2").exists()


def test_nothing_else_is_replaced(rpm_dist: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    refused = run(MAKE_REPOSITORY, rpm_dist, tmp_path, check=False)
    assert refused.returncode != 0
    assert "is no repository: not replaced" in refused.stdout
    assert (tmp_path / "precious").exists()


def test_empty_dist_is_refused(tmp_path: Path) -> None:
    refused = run(MAKE_REPOSITORY, tmp_path, tmp_path / "rpm", check=False)
    assert refused.returncode != 0
    assert "Remedy: rpm/build" in refused.stdout


def test_leftovers_do_not_stay(rpm_dist: Path, tmp_path: Path) -> None:
    """A package that is gone from DIST is gone from the repository."""
    environment = {**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache")}
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for directory in (rpm_dist, fewer):
        shutil.copy(next(rpm_dist.glob("ksm-tools-*")), fewer)
        run(MAKE_REPOSITORY, directory, tmp_path / "rpm", env=environment)
    assert len(packages(tmp_path / "rpm")) == 1
