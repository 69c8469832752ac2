# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the collection and the client importable, and a host to try them on."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# As pytest does by itself, but not within ansible-test.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fakes import TREE, Host  # noqa: E402

# Ansible finds a collection by its place in the tree of folders, so give it one.
COLLECTIONS = Path(tempfile.mkdtemp(prefix="ksm-collections-"))
(COLLECTIONS / "ansible_collections/ksm").mkdir(parents=True)
(COLLECTIONS / "ansible_collections/ksm/fleet").symlink_to(TREE)
sys.path[:0] = [str(COLLECTIONS), str(TREE / "python")]


def pytest_unconfigure() -> None:
    shutil.rmtree(COLLECTIONS)


@pytest.fixture(scope="session")
def collections() -> Path:
    """Where Ansible finds the collection."""
    return COLLECTIONS


@pytest.fixture
def host(tmp_path: Path) -> Host:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    return Host(root)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder
