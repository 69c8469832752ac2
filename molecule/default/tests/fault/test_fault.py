# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong on a host stops the role there, with reason and remedy, and nowhere else.

The faults are real ones: another key, package sources without the kernel's headers, headers that
do not compile, a kernel that enforces signatures. The hosts are spoilt for anything else after.
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


def test_a_module_that_does_not_compile_then_one_that_the_kernel_refuses(roll_out: Any) -> None:
    header = on(DENSE, "ls /usr/src/linux-headers-*-common/include/linux/migrate.h").strip()
    on(DENSE, f"mv {header} {header}.away")
    try:
        play = roll_out({DENSE: {"ksm_engine": "module"}})
    finally:
        on(DENSE, f"mv {header}.away {header}")
    assert play.failed == [DENSE], play.said
    assert "DKMS did not build ksm.ko for the running kernel" in play.of(DENSE)
    assert "Remedy: mend what the log names, then run dkms install ksm/" in play.of(DENSE)
    # The end of DKMS' log is there, too.
    assert "linux/migrate.h: No such file" in play.of(DENSE)

    # Mended, the next run builds it. Now this kernel wants a signature, and nobody enrolled the key.
    on(DENSE, "echo Y > /sys/module/module/parameters/sig_enforce")
    play = roll_out({DENSE: {"ksm_engine": "module"}})
    assert play.failed == [DENSE], play.said
    assert "ksm.ko cannot be loaded" in play.of(DENSE)
    assert "Remedy: the kernel takes only modules signed by a key it knows: enrol DKMS' key" in play.of(DENSE)
    assert ": installed" in on(DENSE, "dkms status -m ksm")
