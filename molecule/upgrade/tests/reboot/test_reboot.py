# SPDX-License-Identifier: GPL-2.0-or-later
"""After a reboot it is the next version that runs, as its group wants it."""

from __future__ import annotations

from typing import Any

from conftest import NEXT


def test_the_next_version_came_up(host: Any, record: Any) -> None:
    assert host.ksm.version_running == NEXT
    assert host.ksm.tunables["run"] == 1
    assert host.ksm.expect({"engine": "module", "version": NEXT, "no_drift": True, "kernel_log_clean": True}, seconds=1)
    assert record["outcome"] == "passed"
