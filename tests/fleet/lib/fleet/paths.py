# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things of the fleet live."""

from __future__ import annotations

import os
from pathlib import Path

FLEET = Path(__file__).resolve().parents[2]
REPOSITORY = FLEET.parents[1]
WORKLOAD = FLEET / "workload"
CACHE = Path(os.environ.get("KSM_CACHE") or REPOSITORY / ".cache").resolve()


def cache(*parts: str) -> Path:
    """A path below the fleet's part of the cache; its folder is made."""
    path = CACHE / "fleet" / Path(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
