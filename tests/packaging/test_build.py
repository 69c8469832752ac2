# SPDX-License-Identifier: GPL-2.0-or-later
"""The build gives the same again, and refuses a tree that contradicts itself."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, run


def digests(directory: Path) -> dict[str, str]:
    return {deb.name: hashlib.sha256(deb.read_bytes()).hexdigest() for deb in directory.glob("*.deb")}


def test_reproducible_and_built_only_once(source: Path, dist: Path, tmp_path: Path) -> None:
    """The source package gives the same packages again, elsewhere; a second build has nothing to do."""
    again = tmp_path / "dist"
    options = {"env": {**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache"), "TZ": "Pacific/Kiritimati"}, "umask": 0o077}
    run(source / "debian/build", again, **options)
    assert len(digests(dist)) == 4
    assert digests(again) == digests(dist)

    times = {file: file.stat().st_mtime_ns for file in again.iterdir()}
    assert "up to date" in run(source / "debian/build", again, **options).stdout
    assert {file: file.stat().st_mtime_ns for file in again.iterdir()} == times


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
