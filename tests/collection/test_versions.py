# SPDX-License-Identifier: GPL-2.0-or-later
"""Which versions apt and dnf offer."""

from __future__ import annotations

from ansible_collections.ksm.fleet.plugins.module_utils import versions

NAMES = ["ksm-dkms", "ksm-tools", "python3-ksm"]
MADISON = """\
  ksm-dkms |      0.2.0 | http://10.0.2.2:8000 stable/main amd64 Packages
  ksm-dkms |    0.1.0-2 | http://10.0.2.2:8000 stable/main amd64 Packages
  ksm-dkms |    0.1.0-2 | http://other stable/main amd64 Packages
  ksm-dkms |      0.3.0 | http://10.0.2.2:8000 stable/main Sources
 ksm-tools |      0.2.0 | http://10.0.2.2:8000 stable/main amd64 Packages
"""
REPOQUERY = """\
ksm-dkms 0.1.0-1.fc42
ksm-dkms 0.2.0-1.fc42

ksm-tools 0.1.0-1.fc42
"""


def test_apt() -> None:
    asked = []
    found = versions.available("apt", NAMES, lambda command: asked.append(command) or MADISON)
    assert found == {"ksm-dkms": ["0.2.0", "0.1.0-2"], "ksm-tools": ["0.2.0"], "python3-ksm": []}
    assert asked == [["apt-cache", "madison", *NAMES]]


def test_dnf() -> None:
    found = versions.available("dnf", NAMES, lambda command: REPOQUERY)
    assert found["ksm-dkms"] == ["0.2.0-1.fc42", "0.1.0-1.fc42"]
    assert found["python3-ksm"] == []


def test_neither() -> None:
    assert versions.available(None, NAMES, lambda command: "") == {name: [] for name in NAMES}
