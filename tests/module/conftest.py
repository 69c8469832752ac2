# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from module_boots import HERE, Boots


@pytest.fixture(scope="session")
def boots(request: pytest.FixtureRequest) -> Boots:
    selected = set()
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.path.parent == HERE and "case" in params:
            selected.add((params["kernel"], params["case"]))
    return Boots(selected)
