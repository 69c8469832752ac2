# SPDX-License-Identifier: GPL-2.0-or-later
"""make release builds a tree that agrees with itself, and refuses any other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, TREE, run

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")


class Tree:
    """A copy of this tree, with a history of its own, that can be released."""

    def __init__(self, path: Path, version: str) -> None:
        self.path = path
        listed = run("git", "-c", f"safe.directory={TREE}", "ls-files", "-z", cwd=TREE).stdout.split("\0")
        for name in filter(None, listed):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TREE / name, path / name, follow_symlinks=False)
        changelog = path / "CHANGELOG.md"
        heading = re.compile(rf"^## {re.escape(version)} \(.*\)$", re.MULTILINE)
        changelog.write_text(heading.sub(f"## {version} (2026-11-25)", changelog.read_text()))
        run("git", "init", "-q", cwd=path)
        self.commit()

    def commit(self) -> None:
        run("git", "add", "-A", cwd=self.path)
        run(*GIT, "commit", "-qm", "all", cwd=self.path)

    def release(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**ENVIRONMENT, "KSM_CACHE": str(self.path.parent / "cache"), "DEB_BUILD_OPTIONS": "nocheck"}
        return run(self.path / "tests/release", *options, check=check, env=environment)


@pytest.fixture
def tree(tmp_path: Path, version: str) -> Tree:
    (tmp_path / "tree").mkdir()
    return Tree(tmp_path / "tree", version)


def test_a_tree_that_agrees(tree: Tree, version: str) -> None:
    assert tree.release("--check").stdout == f"release: {version} can be released\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("galaxy.yml", "version: {}", "version: 9.8.7", "VERSION says {}, but galaxy.yml says 9.8.7"),
        ("debian/changelog", "({})", "(9.8.7)", "VERSION says {}, but debian/changelog says 9.8.7"),
        ("debian/changelog", "unstable;", "UNRELEASED;", "debian/changelog says no version that is released"),
        ("CHANGELOG.md", "({} (2026-11-25)", "", "newest heading of CHANGELOG.md is '{} (unreleased)'"),
        (
            "changelogs/changelog.yaml",
            "  {}:",
            "  9.8.7:",
            "fragments not yet in it: none. Remedy: packaging/changelog",
        ),
        ("VERSION", "{}", "9.8.7", "VERSION says 9.8.7, but galaxy.yml says {}"),
    ],
)
def test_disagreement(tree: Tree, version: str, file: str, old: str, new: str, complaint: str) -> None:
    text = (tree.path / file).read_text()
    changed = text.replace("(2026-11-25)", "(unreleased)") if not new else text.replace(old.format(version), new, 1)
    assert changed != text
    (tree.path / file).write_text(changed)
    tree.commit()
    refused = tree.release("--check", check=False)
    assert refused.returncode == 1
    assert complaint.format(version) in refused.stdout
    assert "Remedy: " in refused.stdout


def test_a_change_of_the_collection_that_no_release_tells(tree: Tree) -> None:
    (tree.path / "changelogs/fragments").mkdir()
    (tree.path / "changelogs/fragments/role.yml").write_text("bugfixes: [role ksm - it waits.]\n")
    tree.commit()
    refused = tree.release("--check", check=False)
    assert refused.returncode == 1
    assert "fragments not yet in it: role.yml. Remedy: packaging/changelog release" in refused.stdout


def test_changes_that_are_not_committed(tree: Tree) -> None:
    (tree.path / "README.md").write_text("changed\n")
    refused = tree.release("--check", check=False)
    assert refused.returncode == 1
    assert "not committed. Remedy: commit or stash them\n M README.md" in refused.stdout.replace("\nM", "\n M")


def test_a_version_that_was_released(tree: Tree, version: str) -> None:
    run("git", "tag", f"v{version}", cwd=tree.path)
    tree.release("--check")
    (tree.path / "README.md").write_text("changed\n")
    tree.commit()
    refused = tree.release("--check", check=False)
    assert f"the tag v{version} is of another commit" in refused.stdout


@pytest.mark.lifecycle
def test_artefacts_and_their_sums(tree: Tree, version: str) -> None:
    (tree.path / "dist").mkdir()
    (tree.path / "dist/ksm-dkms_0.0.1_all.deb").touch()
    said = tree.release().stdout
    listed = (tree.path / "dist/SHA256SUMS").read_text()
    assert listed in said
    assert "0.0.1" not in listed
    names = [line.split("  ", 1)[1] for line in listed.splitlines()]
    # Beside these there are the repositories, which hold them once more.
    assert len([name for name in names if "/" not in name and name.endswith(f"_{version}_all.deb")]) == 5
    run("sha256sum", "--check", "SHA256SUMS", cwd=tree.path / "dist")
