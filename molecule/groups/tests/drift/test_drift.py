# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs from what is wanted is seen and mended, and where nothing does one look is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fleet.paths import REPOSITORY
from fleet.role_run import on, run

DENSE, PLAIN, TENANTS = "groups-dense", "groups-plain", "groups-tenants"
EVERYWHERE: dict[str, dict[str, Any]] = {DENSE: {}, PLAIN: {}, TENANTS: {}}
VERIFY = REPOSITORY / "playbooks/verify.yml"
SOURCES = "/etc/apt/sources.list.d/ksm-fleet.sources"
# Tasks that go to a host say so where none but these does: arguments, variables, the look, the facts.
TASKS_OF_A_LOOK = 4


def files(host: str) -> str:
    return on(
        host,
        "cat /etc/modprobe.d/ksm.conf /etc/tmpfiles.d/ksm-fleet.conf /etc/modules-load.d/ksm.conf"
        f" {SOURCES} /etc/apt/keyrings/ksm-fleet.asc 2>/dev/null || :",
    )


def test_nothing_to_be_done_is_one_look(tmp_path: Path) -> None:
    play = run(EVERYWHERE, tmp_path)
    assert play.failed == []
    for counts in play.recap.values():
        assert (counts["changed"], counts["ok"]) == (0, TASKS_OF_A_LOOK), play.said


@pytest.fixture
def drifted() -> dict[str, str]:
    """Spoil files and tunables; return the files as they were."""
    before = {host: files(host) for host in EVERYWHERE}
    on(DENSE, f"rm /etc/modules-load.d/ksm.conf; echo >>{SOURCES}; ksmctl set sleep_millisecs=1")
    on(PLAIN, "sed -i 's/ 250$/ 100/' /etc/tmpfiles.d/ksm-fleet.conf; chmod 666 /etc/apt/keyrings/ksm-fleet.asc")
    on(TENANTS, "ksmctl set run=0; rm /etc/modprobe.d/ksm.conf")
    return before


def test_drift_is_mended(tmp_path: Path, drifted: dict[str, str]) -> None:
    # Check mode sees it, and leaves it.
    spoilt = {host: files(host) for host in EVERYWHERE}
    play = run(EVERYWHERE, tmp_path, options=("--check", "--diff"))
    assert play.failed == []
    assert all(play.changed.values()), play.said
    assert "+    sleep_millisecs: 20" in play.said
    assert {host: files(host) for host in EVERYWHERE} == spoilt
    foreseen = play.changed

    play = run(EVERYWHERE, tmp_path)
    assert play.failed == []
    # Not more and not less than check mode had said.
    assert play.changed == foreseen, play.said
    assert {host: files(host) for host in EVERYWHERE} == drifted
    assert on(DENSE, "cat /sys/class/misc/ksm/sleep_millisecs").strip() == "20"
    assert on(TENANTS, "cat /sys/class/misc/ksm/run").strip() == "1"
    assert on(PLAIN, "stat -c %a /etc/apt/keyrings/ksm-fleet.asc").strip() == "644"
    assert not any(run(EVERYWHERE, tmp_path).changed.values())


def test_verify(tmp_path: Path) -> None:
    quick = ("-e", "ksm_expect_seconds=2")
    play = run(EVERYWHERE, tmp_path, VERIFY, quick)
    assert play.failed == [], play.said
    # In the table, not in names of tasks.
    assert play.said.count("  as expected  ") == len(EVERYWHERE)
    hosts = {**EVERYWHERE, PLAIN: {"ksm_expect": {"saved_mib_min": 99999, "engine": "kernel"}}}
    play = run(hosts, tmp_path, VERIFY, quick)
    assert play.failed == [PLAIN]
    assert "missed: saved_mib_min" in play.said
    assert "but wanted at least 99999 MiB" in play.of(PLAIN)


def test_off_and_a_version_that_nobody_has(tmp_path: Path) -> None:
    packages = on(DENSE, "dpkg-query -W 'ksm*' python3-ksm")
    play = run({DENSE: {"ksm_version": "9.9.9"}, TENANTS: {"ksm_profile": "off"}}, tmp_path)
    assert play.failed == [DENSE], play.said
    assert "ksm_version is 9.9.9, but the package sources of this host offer ksm-dkms" in play.of(DENSE)
    assert "Remedy: set ksm_version to what they offer" in play.of(DENSE)
    assert on(DENSE, "dpkg-query -W 'ksm*' python3-ksm") == packages
    assert on(DENSE, "cat /sys/class/misc/ksm/run").strip() == "1"
    # The host's own tunable stands above the profile, and the profile's are gone.
    tunables = json.loads(on(TENANTS, "ksmctl status --json"))["tunables"]
    assert (tunables["run"], tunables["pages_to_scan"], tunables["thp_mode"]) == (0, 333, "share")
