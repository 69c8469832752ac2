# SPDX-License-Identifier: GPL-2.0-or-later
"""What the packaging tests share: the tree, its packages and a repository of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
# The tools of the system, not those of the virtual environment that runs pytest.
ENVIRONMENT = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

# Versions that come after this tree's: one that does not compile, and a better one.
BROKEN, GOOD = "9.0.0", "9.1.0"

# The distribution that fedora_root.py emulates, and the root's own Python.
TARGET = "fc42=3.13"


def run(*command: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a system's tool; its output, both kinds in one, is in .stdout."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **{"env": ENVIRONMENT, **options},
    )
    assert not check or done.returncode == 0, f"{' '.join(done.args)}: {done.returncode}\n{done.stdout}"
    return done


def tree_files(tree: Path, *folders: str) -> set[str]:
    """Paths of the files below folders of a tree."""
    return {str(path.relative_to(tree)) for folder in folders for path in (tree / folder).rglob("*") if path.is_file()}


@dataclass
class Package:
    """A built .deb, unpacked."""

    deb: Path
    root: Path

    def field(self, name: str) -> str:
        return run("dpkg-deb", "--field", self.deb, name).stdout.strip()

    def files(self, below: str = "") -> set[str]:
        """Paths of what the package installs below a directory, documentation apart."""
        top = self.root / below
        documents = (f"{self.root}/usr/share/doc/", f"{self.root}/usr/share/lintian/")
        return {
            str(path.relative_to(top))
            for path in top.rglob("*")
            if not path.is_dir() and not str(path).startswith(documents)
        }


@pytest.fixture(scope="session")
def version() -> str:
    return (TREE / "VERSION").read_text().strip()


@pytest.fixture(scope="session")
def dist() -> Path:
    """Directory with the packages of this tree, built when it has changed."""
    run(TREE / "debian/build")
    return TREE / "dist"


@pytest.fixture(scope="session")
def source(dist: Path, version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source package, unpacked: the tree as it was when the packages were built."""
    tree = tmp_path_factory.mktemp("source") / "ksm-fleet"
    run("dpkg-source", "--extract", dist / f"ksm-fleet_{version}.dsc", tree)
    return tree


@pytest.fixture(scope="session")
def packages(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    unpacked = {}
    for deb in dist.glob("*.deb"):
        name = deb.name.split("_")[0]
        assert name not in unpacked, f"{dist} holds two versions of {name}"
        root = tmp_path_factory.mktemp(name)
        run("dpkg-deb", "--extract", deb, root)
        unpacked[name] = Package(deb, root)
    return unpacked


@pytest.fixture(scope="session")
def repository(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed repository of the packages; its key is made for this run."""
    # A directory name too long for a socket: the key's directory may lie anywhere.
    cache = tmp_path_factory.mktemp("a" * 100)
    repository = tmp_path_factory.mktemp("repository") / "apt"
    run(TREE / "debian/make-repository", dist, repository, env={**ENVIRONMENT, "KSM_CACHE": str(cache)})
    return repository


def another_version(source: Path, version: str, number: str, work: Path, sabotage: bool = False) -> Path:
    """Build the packages under another version number; give the directory they lie in."""
    tree = work / "ksm-fleet"
    shutil.copytree(source, tree)
    for name in ("VERSION", "galaxy.yml"):
        file = tree / name
        file.write_text(file.read_text().replace(version, number))
    changelog = tree / "debian/changelog"
    changelog.write_text(changelog.read_text().replace(f"({version})", f"({number})", 1))
    if sabotage:
        with (tree / "dkms/main.c").open("a") as main:
            main.write('#error "broken on purpose"\n')
    options = {"DEB_BUILD_OPTIONS": "nocheck", "KSM_CACHE": str(work / "cache")}
    run(tree / "debian/build", work / "dist", env={**ENVIRONMENT, **options})
    return work / "dist"


@pytest.fixture(scope="session")
def versions(dist: Path, source: Path, version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed repository with this version, a later one, and one that does not compile."""
    work = tmp_path_factory.mktemp("versions")
    together = work / "together"
    together.mkdir()
    later = another_version(source, version, GOOD, work / "good")
    broken = another_version(source, version, BROKEN, work / "broken", sabotage=True)
    for folder in (dist, later, broken):
        for deb in folder.glob("*.deb"):
            os.link(deb, together / deb.name) if deb.stat().st_dev == work.stat().st_dev else shutil.copy(deb, together)
    repository = work / "apt"
    run(TREE / "debian/make-repository", together, repository, env={**ENVIRONMENT, "KSM_CACHE": str(work / "keys")})
    return repository


@pytest.fixture(scope="session")
def rpm_dist(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the rpm packages of this tree, for the distribution that the tests emulate."""
    built = tmp_path_factory.mktemp("rpm") / "dist"
    # With what is there already of Debian's packages.
    shutil.copytree(dist, built, ignore=shutil.ignore_patterns("apt", "rpm", "*.rpm"))
    run(TREE / "rpm/build", built, TARGET)
    return built


@pytest.fixture(scope="session")
def rpm_repository(rpm_dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed dnf repository of them; its key is made for this run."""
    cache = tmp_path_factory.mktemp("b" * 100)
    repository = tmp_path_factory.mktemp("repository") / "rpm"
    run(TREE / "rpm/make-repository", rpm_dist, repository, env={**ENVIRONMENT, "KSM_CACHE": str(cache)})
    return repository


def another_rpm(source: Path, scratch: Path, version: str, release: str = "1", broken: bool = False) -> Path:
    """Build the packages of another version or release, as anybody would: rpmbuild -tb; give their directory."""
    distribution, _, python = TARGET.partition("=")
    tree = scratch / "ksm-fleet"
    shutil.copytree(source, tree)
    for name in ("VERSION", "galaxy.yml", "rpm/ksm-fleet.spec"):
        file = tree / name
        file.write_text(file.read_text().replace((source / "VERSION").read_text().strip(), version))
    if broken:
        (tree / "dkms/main.c").write_text("#error broken on purpose\n")
    archive = scratch / f"ksm-fleet_{version}.tar.xz"
    run("tar", "-C", scratch, "-cJf", archive, "ksm-fleet")
    macros = {
        "_topdir": scratch / "top",
        "_rpmdir": scratch,
        "dist": f".{distribution}",
        "ksm_python": python,
        "ksm_release": release,
        "__os_install_post": "%{nil}",
    }
    defines = [word for name, value in macros.items() for word in ("-D", f"{name} {value}")]
    run("rpmbuild", "--nodeps", "--without", "check", *defines, "-tb", archive)
    return scratch / "noarch"


@pytest.fixture(scope="session")
def signing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a repository of rpms with a key of its own."""
    return {**ENVIRONMENT, "KSM_CACHE": str(tmp_path_factory.mktemp("key"))}


@pytest.fixture(scope="session")
def rpm_versions(
    rpm_dist: Path, source: Path, version: str, signing: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A signed repository with this version and what may follow: a release, a version, one that does not compile."""
    scratch = tmp_path_factory.mktemp("rpm-versions")
    dist = scratch / "dist"
    dist.mkdir()
    release = another_rpm(source, scratch / "release", version, "2")
    good = another_rpm(source, scratch / "good", GOOD)
    broken = another_rpm(source, scratch / "broken", BROKEN, broken=True)
    for file in (*rpm_dist.glob("*.rpm"), *release.glob("ksm-dkms-*"), *good.iterdir(), *broken.glob("ksm-dkms-*")):
        shutil.copy(file, dist)
    run(TREE / "rpm/make-repository", dist, scratch / "rpm", env=signing)
    return scratch / "rpm"
