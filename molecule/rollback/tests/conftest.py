# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of rollouts that fail share."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleet.paths import REPOSITORY
from fleet.role_run import HARNESS, Play, on, run

FIRST, SECOND = "rollback-1", "rollback-2"
HOSTS = (FIRST, SECOND)
VERSION = (REPOSITORY / "VERSION").read_text().strip()
NEXT, DOES_NOT_COMPILE, NOISY, OOPS = "9.1.0", "9.0.0", "9.0.1", "9.0.2"
BOTH, CANARY = '{"ksm_batches": ["100%"]}', '{"ksm_batches": [1, "100%"]}'
# What the packages, the role and the engine have on a host, but for what came of rollouts.
STATE = """
dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n' 'ksm-*' 'python3-ksm' 2>/dev/null | sort
dkms status -m ksm
cat /sys/module/ksm/version /sys/module/ksm/srcversion
for file in /etc/modprobe.d/ksm.conf /etc/modules-load.d/ksm.conf /etc/apt/sources.list.d/ksm-fleet.sources \\
	/etc/apt/keyrings/ksm-fleet.*; do sha256sum $file; done
cd /sys/class/misc/ksm && grep -r . run pages_to_scan sleep_millisecs adopt_mergeable smart_scan domain_mode
"""


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def play(self, name: str, *options: str, hosts: tuple[str, ...] = HOSTS, **variables: Any) -> Play:
        """Run a playbook; variables are of the second host, as its host_vars would have them."""
        extra: dict[str, dict[str, Any]] = {host: {} for host in hosts}
        if SECOND in extra:
            extra[SECOND] = variables
        return run(extra, self.folder, REPOSITORY / f"playbooks/{name}.yml", options)

    def rollout(self, version: str, batches: str, *options: str, **variables: Any) -> Play:
        soak = ("-e", "ksm_soak_seconds=15")
        return self.play("rollout", "-e", f"ksm_version={version}", "-e", batches, *soak, *options, **variables)

    def state(self, host: str) -> str:
        return on(host, STATE)

    def record(self, host: str) -> Any:
        return json.loads(on(host, "cat /var/lib/ksm-fleet/rollout.json"))

    def report(self) -> dict[str, Any]:
        """What report.yml says of each host."""
        place = self.folder / "report"
        self.play_report(place)
        told = json.loads((place / "report.json").read_text())
        assert (place / "index.html").read_text().startswith("<!doctype html>")
        return {host["host"]: host for host in told["hosts"]}

    def play_report(self, place: Path) -> None:
        command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"]]
        command += ["-e", f"ksm_report_dir={place}", "-e", "ksm_report_seconds=1"]
        command.append(str(REPOSITORY / "playbooks/report.yml"))
        subprocess.run(command, check=True)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def harness(*words: str) -> None:
    subprocess.run([str(HARNESS), *words], check=True, stdout=subprocess.DEVNULL)


class Watcher(threading.Thread):
    """Does something to a host as soon as a file is there."""

    def __init__(self, host: str, condition: str, act: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.host, self.condition, self.act = host, condition, act
        self.acted = False
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            done = subprocess.run(
                [str(HARNESS), "ssh", self.host, self.condition], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                self.act()
                self.acted = True
                return
            time.sleep(2)
