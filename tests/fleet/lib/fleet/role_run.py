# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of playbooks on hosts of a molecule scenario, within its tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.paths import REPOSITORY

ROLE = REPOSITORY / "playbooks/site.yml"
HARNESS = REPOSITORY / "tests/vm/ksmvm"


@dataclass(frozen=True)
class Play:
    """What a run said, and how many of its tasks did what on each host."""

    said: str
    recap: dict[str, dict[str, int]]

    @property
    def failed(self) -> list[str]:
        return sorted(host for host, counts in self.recap.items() if counts["failed"])

    @property
    def changed(self) -> dict[str, int]:
        return {host: counts["changed"] for host, counts in self.recap.items()}

    def of(self, host: str) -> str:
        """The message with which the host failed, in one line: the last, others were rescued."""
        fatal = rf"^fatal: \[{host}\]: FAILED! =>(.*?)^(?=\S)"
        found = re.findall(fatal, self.said, re.MULTILINE | re.DOTALL)
        assert found, f"{host} did not fail: {self.said}"
        # As YAML quotes it.
        return " ".join(found[-1].split()).replace("''", "'")


def run(hosts: dict[str, dict[str, Any]], folder: Path, playbook: Path = ROLE, options: tuple[str, ...] = ()) -> Play:
    """Run a playbook on these hosts, with variables that the inventory does not give them."""
    extra = folder / "extra.yml"
    extra.write_text(json.dumps({"all": {"hosts": hosts}}))
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "-i", str(extra)]
    command += [*options, "--limit", ",".join(hosts), str(playbook)]
    # Molecule wants colours.
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    # Failures are told on stderr there.
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    rows = re.findall(r"^(\S+) +: (ok=\d.*)$", done.stdout, re.MULTILINE)
    recap = {host: {word: int(count) for word, count in re.findall(r"(\w+)=(\d+)", row)} for host, row in rows}
    assert set(recap) == set(hosts), done.stdout
    play = Play(done.stdout, recap)
    assert done.returncode == (2 if play.failed else 0), done.stdout
    return play


def on(host: str, script: str) -> str:
    """What a script prints on a host."""
    command = [str(HARNESS), "ssh", host, f"set -eu; {script}"]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
