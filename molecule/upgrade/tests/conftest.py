# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the upgrade share. They run on every host of the scenario."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

# Gives the hosts their `host.ksm`.
pytest_plugins = ["fleet.side_by_side", "ksm.testing"]

NEXT = "9.1.0"
Workload = Callable[[str], Any]


@pytest.fixture
def workload(host: Any) -> Workload:
    """Run a command of tests/fleet/workload/workload.py there, and return its answer."""

    def command(word: str) -> Any:
        return json.loads(host.check_output(f"python3 /opt/ksm-workload/workload.py {word}"))

    return command


@pytest.fixture
def record(host: Any) -> Any:
    """What the host keeps of its last rollout."""
    return json.loads(host.file("/var/lib/ksm-fleet/rollout.json").content_string)
