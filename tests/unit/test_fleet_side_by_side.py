# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts are tested side by side, and the tests of one host never are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
LIBRARY = Path(__file__).resolve().parents[1] / "fleet/lib"
TESTS = """
    import pytest

    class Backend:
        def __init__(self, name): self.name = name
        def get_pytest_id(self): return self.name

    HOSTS = [Backend("a"), Backend("b")]
    @pytest.mark.parametrize("_testinfra_backend", HOSTS, ids=lambda host: host.name)
    @pytest.mark.parametrize("number", range(4))
    def test_of_a_host(_testinfra_backend, number): pass

    def test_of_the_fleet(): pass

    def test_of_the_fleet_too(): pass
"""


def test_each_host_has_one_worker(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("pytest_plugins = ['fleet.side_by_side']")
    pytester.makeini(f"[pytest]\npythonpath = {LIBRARY}")
    pytester.makepyfile(TESTS)
    done = pytester.runpytest_subprocess("-n", "2", "--dist", "loadgroup", "-v")
    done.assert_outcomes(passed=10)
    # It is xdist that adds the group to a test's name.
    workers: dict[str, set[str]] = {}
    for worker, group in re.findall(r"^\[(gw\d)\] .*@(\w+) *$", done.stdout.str(), re.MULTILINE):
        workers.setdefault(group, set()).add(worker)
    assert {group: len(found) for group, found in workers.items()} == {"a": 1, "b": 1, "fleet": 1}
