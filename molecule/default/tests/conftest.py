# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the fleet share. They run on every host of the scenario."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).resolve().parents[3]
HARNESS = TREE / "tests/vm/ksmvm"
ENGINE = "/sys/class/misc/ksm"

# Gives the hosts their `host.ksm`.
pytest_plugins = ["fleet.side_by_side", "ksm.testing"]

Workload = Callable[[str], Any]


@pytest.fixture
def variables(host: Any) -> dict[str, Any]:
    """What the inventory says of the host."""
    found: dict[str, Any] = host.ansible.get_variables()
    return found


@pytest.fixture
def workload(host: Any) -> Workload:
    """Run a command of tests/fleet/workload/workload.py there, and return its answer."""

    def command(word: str) -> Any:
        return json.loads(host.check_output(f"python3 /opt/ksm-workload/workload.py {word}"))

    return command
