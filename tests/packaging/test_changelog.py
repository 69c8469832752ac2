# SPDX-License-Identifier: GPL-2.0-or-later
"""The collection's changelog is what antsibull-changelog makes of its fragments and releases."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from conftest import TREE, run

# antsibull-changelog is in the virtual environment.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def changelog(tree: Path, *words: str) -> None:
    run(tree / "packaging/changelog", *words, env=ENVIRONMENT)


def test_fragments_and_releases_are_well_formed() -> None:
    changelog(TREE, "lint")
    changelog(TREE, "lint-changelog-yaml", "changelogs/changelog.yaml")


def test_a_fragment_is_told_in_the_next_release(tmp_path: Path) -> None:
    for name in ("changelogs", "meta", "packaging", "playbooks", "plugins", "roles"):
        shutil.copytree(TREE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "fragments"))
    shutil.copy2(TREE / "galaxy.yml", tmp_path)
    run("git", "init", "-q", tmp_path)
    told = tmp_path / "changelogs/CHANGELOG.rst"
    before = told.read_text()
    changelog(tmp_path, "generate")
    assert told.read_text() == before, "someone wrote by hand what is generated"

    fragment = tmp_path / "changelogs/fragments/wait.yml"
    fragment.parent.mkdir(exist_ok=True)
    fragment.write_text("bugfixes:\n  - role ksm - waits for apt.\n")
    changelog(tmp_path, "release", "--version", "99.0.0", "--date", "2026-01-01")
    assert "v99.0.0\n=======\n\nMended\n------\n\n- role ksm - waits for apt.\n" in told.read_text()
    assert not fragment.exists()
