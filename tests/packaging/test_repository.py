# SPDX-License-Identifier: GPL-2.0-or-later
"""The repository is one that apt trusts with its key, and with no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, TREE, run

MAKE_REPOSITORY = TREE / "debian/make-repository"


class Apt:
    """apt with state, cache and sources of its own, and one source: a repository."""

    def __init__(self, root: Path, repository: Path, key: Path) -> None:
        for directory in ("lists/partial", "cache/archives/partial", "etc/sources.list.d", "etc/preferences.d"):
            (root / directory).mkdir(parents=True)
        # apt gives up its rights to _apt for reading and checking.
        for directory in (root, *root.parents[:2]):
            directory.chmod(0o755)
        (root / "status").touch()
        (root / "etc/sources.list.d/ksm.sources").write_text(
            f"Types: deb\nURIs: file://{repository}\nSuites: stable\nComponents: main\nSigned-By: {key}\n"
        )
        self.options = [
            f"-oDir::Etc={root}/etc",
            f"-oDir::State::lists={root}/lists",
            f"-oDir::State::status={root}/status",
            f"-oDir::Cache={root}/cache",
            "-oAPT::Sandbox::User=root",
            "-oAPT::Update::Error-Mode=any",
        ]

    def get(self, *words: str, check: bool = True):  # noqa: ANN201
        return run("apt-get", *self.options, *words, check=check)


@pytest.fixture
def own(repository: Path, tmp_path: Path) -> Path:
    """A copy of the repository that a test may spoil."""
    copy = tmp_path / "apt"
    shutil.copytree(repository, copy)
    return copy


def test_signatures(repository: Path) -> None:
    key = repository / "ksm-archive-keyring.gpg"
    suite = repository / "dists/stable"
    run("gpgv", "--keyring", key, suite / "InRelease")
    run("gpgv", "--keyring", key, suite / "Release.gpg", suite / "Release")


@pytest.mark.parametrize("keyring", ["ksm-archive-keyring.gpg", "ksm-archive-keyring.asc"])
def test_apt_accepts_it(repository: Path, keyring: str, tmp_path: Path, version: str) -> None:
    apt = Apt(tmp_path / "root", repository, repository / keyring)
    update = apt.get("update").stdout
    assert "W:" not in update
    assert "E:" not in update
    uris = apt.get("download", "--print-uris", "ksm-dkms", "ksm-dev", "python3-ksm", "ksm-tools").stdout
    assert uris.count(f"_{version}_all.deb ") == 4


def test_ready_file(repository: Path, tmp_path: Path) -> None:
    """It has the key in it, so that it is all that a host needs."""
    apt = Apt(tmp_path / "root", repository, Path("/nonexistent"))
    shutil.copy(repository / "ksm-fleet.sources", tmp_path / "root/etc/sources.list.d/ksm.sources")
    assert "E:" not in apt.get("update").stdout
    assert f"file:{repository}/pool" in apt.get("download", "--print-uris", "ksm-dkms").stdout


def test_apt_refuses_another_key(repository: Path, tmp_path: Path, dist: Path) -> None:
    other = tmp_path / "other"
    run(MAKE_REPOSITORY, dist, other, env={**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache")})
    refused = Apt(tmp_path / "root", repository, other / "ksm-archive-keyring.asc").get("update", check=False)
    assert refused.returncode != 0
    assert "NO_PUBKEY" in refused.stdout


def test_apt_refuses_a_changed_list(own: Path, tmp_path: Path) -> None:
    for packages in own.glob("dists/stable/main/binary-*/Packages*"):
        if packages.suffix == ".gz":
            packages.unlink()
        else:
            packages.write_text(packages.read_text().replace("Architecture: all", "Architecture: any"))
    refused = Apt(tmp_path / "root", own, own / "ksm-archive-keyring.asc").get("update", check=False)
    assert refused.returncode != 0
    assert "Hash Sum mismatch" in refused.stdout or "unexpected size" in refused.stdout


def test_apt_refuses_a_changed_release(own: Path, tmp_path: Path) -> None:
    release = own / "dists/stable/InRelease"
    release.write_text(release.read_text().replace("Origin: ksm-fleet", "Origin: somebody"))
    refused = Apt(tmp_path / "root", own, own / "ksm-archive-keyring.asc").get("update", check=False)
    assert refused.returncode != 0
    assert "BADSIG" in refused.stdout or "invalid" in refused.stdout


def test_key_stays_the_same(own: Path, dist: Path, tmp_path: Path) -> None:
    """A repository that is made again is still trusted by who has its key."""
    environment = {**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache")}
    keys = []
    for _ in range(2):
        run(MAKE_REPOSITORY, dist, own, env=environment)
        keys.append((own / "ksm-archive-keyring.gpg").read_bytes())
    assert keys[0] == keys[1]


def test_named_key_signs(dist: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    environment = {**ENVIRONMENT, "GNUPGHOME": str(home), "KSM_CACHE": str(tmp_path / "cache")}
    generate = ("--batch", "--passphrase", "", "--quick-generate-key", "archive@test", "ed25519", "sign")
    run("gpg", *generate, env=environment)
    try:
        named = {**environment, "KSM_SIGNING_KEY": "archive@test"}
        run(MAKE_REPOSITORY, dist, tmp_path / "apt", env=named)
        unknown = {**environment, "KSM_SIGNING_KEY": "nobody@test"}
        refused = run(MAKE_REPOSITORY, dist, tmp_path / "apt2", env=unknown, check=False)
    finally:
        run("gpgconf", "--kill", "gpg-agent", env=environment)
    assert "archive@test" in run("gpg", "--show-keys", tmp_path / "apt/ksm-archive-keyring.asc", env=environment).stdout
    assert not (tmp_path / "cache").exists()
    assert refused.returncode != 0
    assert "KSM_SIGNING_KEY=nobody@test: no such secret key" in refused.stdout
    assert not (tmp_path / "apt2").exists()


def test_nothing_else_is_replaced(dist: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    refused = run(MAKE_REPOSITORY, dist, tmp_path, check=False)
    assert refused.returncode != 0
    assert "is no repository: not replaced" in refused.stdout
    assert (tmp_path / "precious").exists()


def test_empty_dist_is_refused(tmp_path: Path) -> None:
    refused = run(MAKE_REPOSITORY, tmp_path, tmp_path / "apt", check=False)
    assert refused.returncode != 0
    assert "Remedy: debian/build" in refused.stdout
