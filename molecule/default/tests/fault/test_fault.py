# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong on a host stops the role there, with reason and remedy, and nowhere else.

The faults are real ones: another key, package sources without the kernel's headers, a kernel that lacks
something. The scenario `faults` has those that take a build. The hosts are spoilt for anything else after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fleet.role_run import on, run

# A key, but not the one that signs the repository.
OTHER_KEY = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DENSE, LATENCY = "molecule-dense", "molecule-latency"
CONFIG = '/boot/config-"$(uname -r)"'


@pytest.fixture
def roll_out(tmp_path: Path) -> Any:
    """Run the role on hosts, with variables that the inventory does not give them."""
    return lambda hosts: run(hosts, tmp_path)


def test_a_host_that_fails_stops_alone(roll_out: Any) -> None:
    assert OTHER_KEY.exists()
    play = roll_out(
        {
            LATENCY: {"ksm_repository_key": str(OTHER_KEY)},
            # The kernel's own engine, to have no module built.
            DENSE: {"ksm_engine": "kernel"},
        }
    )
    assert play.failed == [LATENCY], play.said
    assert "the signature of the package repository is not trusted" in play.of(LATENCY)
    assert "Remedy: give in ksm_repository_key the key that signs" in play.of(LATENCY)


def test_no_headers_and_no_device_migration(roll_out: Any) -> None:
    """Two hosts, each with a fault of its own and told of that one."""
    release = on(LATENCY, "uname -r").strip()
    on(LATENCY, f"dpkg --purge --force-depends linux-headers-amd64 linux-headers-{release}")
    on(LATENCY, "mv /etc/apt/sources.list.d/0000bookworm.list /root")
    on(DENSE, f"sed -i.whole /CONFIG_DEVICE_MIGRATION=/d {CONFIG}")
    try:
        play = roll_out({LATENCY: {}, DENSE: {"ksm_engine": "module"}})
    finally:
        on(DENSE, f"mv {CONFIG}.whole {CONFIG}")
    assert play.failed == [DENSE, LATENCY], play.said
    assert f"no package source of this host offers linux-headers-{release}" in play.of(LATENCY)
    assert "Remedy: reboot into a kernel whose headers" in play.of(LATENCY)
    assert "was built without CONFIG_DEVICE_MIGRATION" in play.of(DENSE)
    assert "Remedy: boot a kernel with CONFIG_DEVICE_MIGRATION=y" in play.of(DENSE)
