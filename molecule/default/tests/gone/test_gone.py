# SPDX-License-Identifier: GPL-2.0-or-later
"""After ksm_state=absent on a host with merged pages: nothing is left but the pages."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from conftest import HARNESS, Workload

LEFT_BY_THE_ROLE = (
    "/dev/ksm",
    "/etc/apt/keyrings/ksm-fleet.asc",
    "/etc/apt/keyrings/ksm-fleet.gpg",
    "/etc/apt/sources.list.d/ksm-fleet.sources",
    "/etc/ksm",
    "/etc/modprobe.d/ksm.conf",
    "/etc/modules-load.d/ksm.conf",
    "/etc/systemd/system/multi-user.target.wants/ksm-policy.service",
    "/etc/tmpfiles.d/ksm-fleet.conf",
    "/sys/class/misc/ksm",
    "/sys/module/ksm",
    "/var/lib/dkms/ksm",
)


@pytest.mark.parametrize("path", LEFT_BY_THE_ROLE)
def test_path_is_gone(host: Any, path: str) -> None:
    assert not host.file(path).exists


def test_nothing_of_it_is_found_anywhere(host: Any) -> None:
    assert host.check_output("dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n' | grep ksm || :") == ""
    assert host.check_output("find /lib/modules /usr/src -name 'ksm.ko*' -o -name 'ksm-[0-9]*'") == ""
    assert host.check_output("grep -rl ksm-fleet /etc/apt /var/lib/apt/lists || :") == ""
    assert host.check_output("ls /var/lib/apt/lists | grep 10.0.2.2 || :") == ""
    assert host.run("modinfo ksm").rc != 0


def test_merged_pages_outlive_the_module(workload: Workload) -> None:
    verdicts = workload("rewrite")
    assert verdicts and all("intact" in verdict for verdict in verdicts.values()), verdicts
    workload("stop")


def test_the_kernel_has_nothing_to_complain_of(variables: dict[str, Any]) -> None:
    command = [str(HARNESS), "log", variables["inventory_hostname"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Linux version" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
