# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether so many hosts fit this machine."""

from __future__ import annotations

import re
from pathlib import Path

from ksmvm.errors import HarnessError

# Of the kernel for namespaces, overlay and cable, of sshd, and of what a role leaves: rounded up.
HOST_MIB = 10
# Of tuned, D-Bus and polkit, which the first roll-out of kernel_settings starts.
TUNED_MIB = 30
# ansible-playbook with 50 forks, and the modules that run on the hosts at the same time.
REST_MIB = 4096


def available_mib(meminfo: str) -> int:
    match = re.search(r"^MemAvailable: +(\d+) kB$", meminfo, flags=re.MULTILINE)
    return int(match[1]) // 1024 if match else 0


def require(hosts: int, tuned: bool = False, meminfo: Path = Path("/proc/meminfo")) -> None:
    has, needs = available_mib(meminfo.read_text()), hosts * (HOST_MIB + TUNED_MIB * tuned) + REST_MIB
    if has < needs:
        raise HarnessError(f"{hosts} hosts take {needs} MiB of memory, {has} are available; ask for fewer hosts")
