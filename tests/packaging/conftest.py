# SPDX-License-Identifier: GPL-2.0-or-later
"""What the packaging tests share: the tree, its packages and a repository of them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
# The tools of the system, not those of the virtual environment that runs pytest.
ENVIRONMENT = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def run(*command: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a system's tool; its output, both kinds in one, is in .stdout."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        **{"env": ENVIRONMENT, **options},
    )
    assert not check or done.returncode == 0, f"{' '.join(done.args)}: {done.returncode}\n{done.stdout}"
    return done


def tree_files(tree: Path, *folders: str) -> set[str]:
    """Paths of the files below folders of a tree."""
    return {
        str(path.relative_to(tree)) for folder in folders for path in (tree / folder).rglob("*") if path.is_file()
    }


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
