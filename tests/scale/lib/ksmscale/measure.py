# SPDX-License-Identifier: GPL-2.0-or-later
"""One step of the plan: fresh hosts, one run of a playbook, what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ksmvm.errors import HarnessError

from ksmscale import control
from ksmscale.fleet import fleet, inventory
from ksmscale.hosts import Running
from ksmscale.plan import FLOOR, Step

Row = dict[str, Any]


@dataclass
class Bench:
    scratch: Path
    # Of the overlay, the uppermost first.
    layers: list[Path]
    settings: control.Settings
    logs: Path
    # What the first run of each contender leaves on a host.
    seeds: dict[str, Path] = field(default_factory=dict)

    def measure(self, step: Step) -> Row:
        seeded = step.kind == "noop" and step.contender != FLOOR
        layers = [self._seed(step.contender), *self.layers] if seeded else self.layers
        row, running = self._run(step, layers)
        shutil.rmtree(running.folder)
        return row

    def _seed(self, contender: str) -> Path:
        """Run it on one host, and keep what it changed there."""
        if contender not in self.seeds:
            row, running = self._run(Step(contender, "first", 1, 1, False, 0), self.layers)
            if row["troubles"]:
                raise HarnessError(f"{contender} on one host: {'; '.join(row['troubles'])}")
            seed = self.scratch / f"seed-{contender}"
            running.changes(running.hosts[0]).rename(seed)
            (seed / "var/log/sshd.log").unlink()
            shutil.rmtree(running.folder)
            self.seeds[contender] = seed
        return self.seeds[contender]

    def _run(self, step: Step, layers: list[Path]) -> tuple[Row, Running]:
        hosts = fleet(step.hosts)
        running = Running(hosts, self.scratch / "hosts", layers)
        self.settings.inventory.write_text(inventory(hosts))
        settings = replace(self.settings, forks=step.forks, pipelining=step.pipelining)
        playbook = settings.plays / f"{step.contender}.yml"
        log = self.logs / f"{str(step).replace(' ', '-')}.log"
        try:
            running.start()
            cpu, sessions = running.cpu_seconds(), running.sessions()
            usage = control.play(playbook, settings, log, running.pids)
            wrong = [] if step.contender == FLOOR else running.wrong()
            row = {
                **step.as_json(),
                "seconds": usage.seconds,
                "control_cpu": usage.cpu_seconds,
                "hosts_cpu": running.cpu_seconds() - cpu,
                "sessions": running.sessions() - sessions,
                "modules": sum(task["remote"] for task in usage.told["tasks"]),
                "ansible_mib": usage.ansible_mib,
                "ssh_mib": usage.ssh_mib,
                "largest_mib": usage.largest_mib,
                "tasks": usage.told["tasks"],
                "troubles": troubles(step, usage.status, usage.told["hosts"], wrong),
            }
        finally:
            running.stop()
        if row["troubles"]:
            row["troubles"].append(f"log: {log}")
        return row, running


def troubles(step: Step, status: int, told: Mapping[str, Mapping[str, int]], wrong: list[str]) -> list[str]:
    """What was not as it must be for the figures to count."""
    found = []
    if status:
        found.append(f"ansible-playbook ended with {status}")
    if len(told) != step.hosts:
        found.append(f"{len(told)} of {step.hosts} hosts were told of")
    for name in ("failures", "unreachable"):
        bad = [host for host, counts in told.items() if counts[name]]
        if bad:
            found.append(f"{name} on {len(bad)} hosts, such as {bad[0]}")
    changed = [host for host, counts in told.items() if counts["changed"]]
    if step.kind == "noop" and changed:
        found.append(f"changed {len(changed)} hosts, such as {changed[0]}, where nothing was to do")
    if step.kind == "first" and len(changed) != len(told):
        found.append(f"changed {len(changed)} of {len(told)} hosts, where all were to change")
    if wrong:
        found.append(f"{len(wrong)} hosts, such as {wrong[0]}, have not the wanted values")
    return found
