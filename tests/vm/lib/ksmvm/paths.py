# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things live: the tree, and the cache that may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path

HARNESS = Path(__file__).resolve().parents[2]
REPOSITORY = HARNESS.parents[1]
GUEST_FILES = HARNESS / "guest"


def cache(*parts: str) -> Path:
    """A path below the harness's part of the cache ($KSM_CACHE, default .cache)."""
    base = os.environ.get("KSM_CACHE") or REPOSITORY / ".cache"
    return Path(base).resolve() / "vm" / Path(*parts)
