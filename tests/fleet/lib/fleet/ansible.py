# SPDX-License-Identifier: GPL-2.0-or-later
"""Run playbooks of this tree with the tools of the cache's virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from ksmvm.errors import HarnessError
from ksmvm.fleet_host import FleetHost

from fleet.paths import CACHE, FLEET, REPOSITORY, cache
from fleet.progress import Progress

VENV = CACHE / "venv"
UNEVENTFUL = ("ok: ", "skipping: ", "included: ")


def collections() -> Path:
    """Ansible finds a collection by its place in the tree of folders, so give it one."""
    folder = CACHE / "collections"
    place = folder / "ansible_collections" / "ksm" / "fleet"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink() or place.readlink() != REPOSITORY:
        place.unlink(missing_ok=True)
        place.symlink_to(REPOSITORY)
    return folder


def environment() -> dict[str, str]:
    home = cache("ansible")
    return {
        **os.environ,
        # Some other ansible of this machine must not come first.
        "PATH": f"{VENV / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "KSM_CACHE": str(CACHE),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections()),
        # In the cache, its path could be longer than a socket's may be.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": "/tmp/ksm-fleet-ssh",
        "LC_ALL": "C.UTF-8",
    }


def inventory(name: str, groups: dict[str, list[FleetHost]]) -> Path:
    """A folder with the hosts, and the groups' variables of inventory/group_vars."""
    folder = cache(f"inventory-{name}")
    folder.mkdir(exist_ok=True)
    link = folder / "group_vars"
    link.unlink(missing_ok=True)
    link.symlink_to(FLEET / "inventory" / "group_vars")
    children = {group: {"hosts": {host.name: _connection(host) for host in hosts}} for group, hosts in groups.items()}
    # JSON is YAML.
    (folder / "hosts.yml").write_text(json.dumps({"all": {"children": children}}, indent=1))
    return folder


def _connection(host: FleetHost) -> dict[str, object]:
    record = host.as_json()
    return {
        "ansible_host": record["address"],
        "ansible_port": record["port"],
        "ansible_user": record["user"],
        "ansible_ssh_private_key_file": record["key"],
    }


def play(progress: Progress, playbook: Path, hosts: Path, stage: Path) -> None:
    """Run a playbook and tell its tasks as they come."""
    command = [str(VENV / "bin/ansible-playbook"), "-i", str(hosts), str(playbook)]
    if not Path(command[0]).exists():
        raise HarnessError(f"{command[0]} is missing; run `make setup`")
    with subprocess.Popen(
        command,
        env={
            **environment(),
            "ANSIBLE_CONFIG": str(FLEET / "ansible.cfg"),
            "KSM_FLEET_STAGE": str(stage),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.rstrip().rstrip("*").rstrip()
            if text and not text.startswith(UNEVENTFUL):
                progress.say(text)
    if process.returncode:
        raise HarnessError(f"{playbook.name} failed; what went wrong is told above")
