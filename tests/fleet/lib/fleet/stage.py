# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fleet's hosts are given: the signed repository, served, and the workload."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fleet import ansible, workload_kit
from fleet.paths import cache
from fleet.repository import Repository


def place(name: str) -> Path:
    """Where the inventory reads what prepare() found out, told by $KSM_FLEET_STAGE."""
    return cache(f"stage-{name}.json")


def prepare(name: str, others: Sequence[str] = ()) -> dict[str, str]:
    repository = Repository(name)
    repository.make(others)
    ansible.collections()
    made = {
        "url": repository.serve(),
        "key": str(repository.key),
        "workload": str(workload_kit.pack()),
    }
    place(name).write_text(json.dumps(made, indent=1))
    return made


def leave(name: str) -> None:
    Repository(name).stop()
    place(name).unlink(missing_ok=True)
