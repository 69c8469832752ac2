# SPDX-License-Identifier: GPL-2.0-or-later
"""A pytest plugin for `pytest -n 2 --dist loadgroup`: hosts side by side, the tests of each in their order."""

from __future__ import annotations

import pytest


# Before xdist, which reads the marks in a hook of the same name.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker for each host, and one for the tests that are not of one host."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        backend = parameters and parameters.params.get("_testinfra_backend")
        item.add_marker(pytest.mark.xdist_group(backend.get_pytest_id() if backend else "fleet"))
