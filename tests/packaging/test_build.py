# SPDX-License-Identifier: GPL-2.0-or-later
"""The build gives the same again, and refuses a tree that contradicts itself."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, TREE, run, tree_files


def digests(directory: Path) -> dict[str, str]:
    return {deb.name: hashlib.sha256(deb.read_bytes()).hexdigest() for deb in directory.glob("*.deb")}


def test_reproducible(dist: Path, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache"), "TZ": "Pacific/Kiritimati"}
    run(TREE / "debian/build", tmp_path / "dist", env=environment, umask=0o077)
    assert len(digests(dist)) == 4
    assert digests(tmp_path / "dist") == digests(dist)


def test_built_only_once(dist: Path) -> None:
    before = {deb: deb.stat().st_mtime_ns for deb in dist.glob("*.deb")}
    assert "up to date" in run(TREE / "debian/build").stdout
    assert {deb: deb.stat().st_mtime_ns for deb in dist.glob("*.deb")} == before


@pytest.mark.parametrize(
    ("file", "message"),
    [("VERSION", "debian/changelog says"), ("galaxy.yml", "galaxy.yml does not")],
)
def test_versions_must_agree(tmp_path: Path, version: str, file: str, message: str) -> None:
    for name in tree_files("debian", "VERSION", "galaxy.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / name, tmp_path / name)
    run("debian/rules", "--dry-run", "clean", cwd=tmp_path)
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(version, "9.8.7"))
    refused = run("debian/rules", "--dry-run", "clean", cwd=tmp_path, check=False)
    assert refused.returncode != 0
    assert message in refused.stdout
    assert "Remedy:" in refused.stdout
