# SPDX-License-Identifier: GPL-2.0-or-later
"""The build gives the same again, and refuses a tree that contradicts itself."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, TREE, run


def digests(directory: Path) -> dict[str, str]:
    return {deb.name: hashlib.sha256(deb.read_bytes()).hexdigest() for deb in directory.glob("*.deb")}


def test_reproducible_and_built_only_once(source: Path, dist: Path, tmp_path: Path) -> None:
    """The source package gives the same packages again, elsewhere; a second build has nothing to do."""
    again = tmp_path / "dist"
    options = {"env": {**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache"), "TZ": "Pacific/Kiritimati"}, "umask": 0o077}
    run(source / "debian/build", again, **options)
    assert len(digests(dist)) == 5
    assert digests(again) == digests(dist)

    times = {file: file.stat().st_mtime_ns for file in again.iterdir()}
    assert "up to date" in run(source / "debian/build", again, **options).stdout
    assert {file: file.stat().st_mtime_ns for file in again.iterdir()} == times


def test_python_source_package(tmp_path: Path) -> None:
    """What the tree has as links into the collection is in it as files."""
    for name in ("python", "plugins", "VERSION"):
        shutil.copytree(TREE / name, tmp_path / name, symlinks=True) if (TREE / name).is_dir() else shutil.copy(
            TREE / name, tmp_path / name
        )
    run("python3", "-m", "hatchling", "build", "--target", "sdist", cwd=tmp_path / "python")
    (archive,) = (tmp_path / "python/dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        members = {member.name.partition("/")[2]: member for member in opened.getmembers()}
        for file in (TREE / "python/ksm/doctor").glob("*.py"):
            content = opened.extractfile(members[f"ksm/doctor/{file.name}"])
            assert content is not None
            assert content.read() == file.read_bytes()
    assert not any(member.issym() for member in members.values())


@pytest.mark.parametrize(
    ("file", "message"),
    [("VERSION", "debian/changelog says"), ("galaxy.yml", "galaxy.yml does not")],
)
def test_versions_must_agree(source: Path, tmp_path: Path, version: str, file: str, message: str) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(source, tree)
    run("debian/rules", "--dry-run", "clean", cwd=tree)
    (tree / file).write_text((tree / file).read_text().replace(version, "9.8.7"))
    refused = run("debian/rules", "--dry-run", "clean", cwd=tree, check=False)
    assert refused.returncode != 0
    assert message in refused.stdout
    assert "Remedy:" in refused.stdout
