# SPDX-License-Identifier: GPL-2.0-or-later
"""Every host has the engine, the tunables and the domains of its group, and its own exception."""

from __future__ import annotations

from typing import Any

# Told here once more, and not taken from the role.
OF_HOST: dict[str, tuple[str, dict[str, Any]]] = {
    "groups-dense": (
        "module",
        {
            "run": 1,
            "pages_to_scan": 5000,
            "sleep_millisecs": 20,
            "scan_threads": 2,
            "use_zero_pages": 1,
            "adopt_mergeable": 1,
            "thp_mode": "share",
            "domain_mode": "global",
        },
    ),
    # The profile that is taken when none is named.
    "groups-plain": ("kernel", {"run": 1, "pages_to_scan": 250, "sleep_millisecs": 20, "use_zero_pages": 0}),
    "groups-tenants": (
        "module",
        {
            "run": 1,
            # Its own, not the group's.
            "pages_to_scan": 333,
            "sleep_millisecs": 50,
            "thp_mode": "never",
            "scan_threads": 1,
            "use_zero_pages": 0,
            "adopt_mergeable": 1,
            "domain_mode": "cgroup",
        },
    ),
}


def test_engine_and_tunables(host: Any) -> None:
    engine, wanted = OF_HOST[host.ansible.get_variables()["inventory_hostname"]]
    assert host.ksm.engine == engine
    tunables = host.ksm.tunables
    assert {name: tunables[name] for name in wanted} == wanted


def test_the_other_engine_rests(host: Any) -> None:
    assert host.ksm("kernel").tunables["run"] == (1 if host.ksm.engine == "kernel" else 0)
    assert host.file("/sys/module/ksm").exists == (host.ksm.engine == "module")


def test_nothing_is_in_the_way(host: Any) -> None:
    assert host.ksm.problems == []


def test_what_the_group_expects(host: Any) -> None:
    # Not through the inventory: version is an expression there.
    expected = dict(host.ansible.get_variables()["ksm_expect"])
    if "version" in expected:
        expected["version"] = host.package("ksm-dkms").version
    assert host.ksm.expect(expected, seconds=10)


def test_what_is_not_so_is_missed(host: Any) -> None:
    verdict = host.ksm.expect({"saved_mib_min": 100000, "engine": host.ksm.engine}, seconds=0)
    assert not verdict
    assert "but wanted at least 100000 MiB" in repr(verdict)
