# SPDX-License-Identifier: GPL-2.0-or-later
"""Version of the package: the repository's VERSION file, or what was installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent


def tree_version() -> str:
    """Version of the source tree that this file lies in.

    An sdist carries VERSION beside pyproject.toml, the repository one level up.
    Raises FileNotFoundError outside of a source tree.
    """
    for directory in (_PROJECT, _PROJECT.parent):
        file = directory / "VERSION"
        if file.is_file():
            return file.read_text(encoding="ascii").strip()
    raise FileNotFoundError(f"no VERSION in {_PROJECT} or above it")


def version() -> str:
    """Version of this code; "unknown" where it was copied without its metadata."""
    # A source tree first: an installed package of another version may be in the path too.
    if (_PROJECT / "pyproject.toml").is_file():
        return tree_version()
    try:
        return metadata.version("ksm-fleet")
    except metadata.PackageNotFoundError:
        return "unknown"
