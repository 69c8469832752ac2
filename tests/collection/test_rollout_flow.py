# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of tasks in rollout.yml and rollback.yml: which hosts change, go back or never begin.

Ansible runs the playbooks as they are, with modules that only note that they were called.
molecule/rollback has real hosts.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import TREE

STUBS = ("ksm_preflight", "ksm_packages_info", "ksm_rollout", "ksm_lock", "ksm_expect", "ksm_module")
HOSTS = ("a1", "b1", "b2", "c1")
Told = dict[str, dict[str, dict[str, Any]]]


class Fleet:
    """Four hosts that are this machine, of which any can be out of reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone: set[str] = set()
        self.collections = folder / "collections"
        fleet = self.collections / "ansible_collections/ksm/fleet"
        (fleet / "plugins/modules").mkdir(parents=True)
        for name in ("roles", "playbooks", "meta", "galaxy.yml"):
            (fleet / name).symlink_to(TREE / name)
        for kind in (TREE / "plugins").iterdir():
            if kind.name != "modules":
                (fleet / "plugins" / kind.name).symlink_to(kind)
        stub = (TREE / "tests/collection/flow/stub.py").read_text()
        for name in STUBS:
            (fleet / f"plugins/modules/{name}.py").write_text(stub.replace("@NAME@", name))
        for host in HOSTS:
            python = folder / f"python-{host}"
            python.write_text(f'#!/bin/sh\nKSM_FLOW_HOST={host} KSM_FLOW_FOLDER={folder} exec {sys.executable} "$@"\n')
            python.chmod(0o755)

    def inventory(self, **variables: Any) -> Path:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            closed = probe.getsockname()[1]
        hosts = {
            host: {"ansible_host": "127.0.0.1", "ansible_port": closed, "ansible_ssh_common_args": "-F none"}
            if host in self.gone
            else {"ansible_connection": "local", "ansible_python_interpreter": str(self.folder / f"python-{host}")}
            for host in HOSTS
        }
        file = self.folder / "hosts.json"
        file.write_text(json.dumps({"all": {"hosts": hosts, "vars": {"ansible_become": False, **variables}}}))
        return file

    def play(self, name: str, told: Told | None = None, *more: str, **variables: Any) -> Play:
        (self.folder / "told.json").write_text(json.dumps(told or {}))
        (self.folder / "calls").write_text("")
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory(**variables))]
        command += [str(TREE / f"playbooks/{name}.yml"), "-e", "ansible_become=false", *more]
        environment = {
            **os.environ,
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_RETRIES": "0",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return Play(done.returncode, done.stdout, self.folder)


class Play:
    def __init__(self, status: int, said: str, folder: Path) -> None:
        self.status = status
        self.said = said
        # Messages are wrapped where they are shown as YAML.
        self.words = " ".join(said.replace("\\n", " ").split())
        self.calls = [tuple(json.loads(line)) for line in (folder / "calls").read_text().splitlines()]

    def hosts(self, call: str) -> list[str]:
        """The hosts that a module was called on."""
        return sorted({host for host, what, _params in self.calls if what == call})


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    yield Fleet(tmp_path)


BATCHES = ("-e", '{"ksm_batches": [1, 2]}')
NOISY = {"fail": "Merging is not as expected: kernel_log_clean: WARNING: at ks_init."}


def test_the_batch_of_a_host_that_fails_goes_back_and_a_later_run_goes_on(fleet: Fleet) -> None:
    play = fleet.play("rollout", {"b2": {"ksm_expect": NOISY}}, *BATCHES)
    assert play.status != 0
    assert play.hosts("ksm_rollout:begun") == ["a1", "b1", "b2"], "no other batch begins"
    assert play.hosts("ksm_rollout:restored") == ["b1", "b2"]
    assert play.hosts("ksm_rollout:ended:rolled_back") == ["b1", "b2"]
    assert "b2 failed: Merging is not as expected: kernel_log_clean" in play.words
    assert "b1 passed, and went with its batch. It is what it was before" in play.words
    for line in ("a1: passed", "b1: taken back", "b2: taken back, failed", "c1: not begun"):
        assert f'"{line}"' in play.said
    # The lock is of the last host, and is given up.
    assert play.hosts("ksm_lock:free") == ["c1"]
    why = {h: p["text"] for h, call, p in play.calls if call == "ksm_rollout:ended:rolled_back"}
    assert why["b1"] == "another host of the batch failed: b2"
    assert "kernel_log_clean" in why["b2"]

    again = fleet.play("rollout", {}, *BATCHES)
    assert again.status == 0, again.said
    assert again.hosts("ksm_rollout:ended:passed") == sorted(HOSTS)
    looks = [host for host, call, _params in again.calls if call == "ksm_preflight"]
    assert looks.count("a1") == 1, "who has passed is not changed"
    assert looks.count("b1") == 2
    assert again.hosts("ksm_expect") == sorted(HOSTS), "but looked at"
    # The record comes first, and no host of a batch begins before the last batch has passed.
    order = [(host, call) for host, call, _params in again.calls]
    assert order.index(("b2", "ksm_rollout:ended:passed")) < order.index(("c1", "ksm_rollout:begun"))
    own = [(call, params) for host, call, params in again.calls if host == "c1"]
    calls = [call for call, _params in own]
    assert calls.index("ksm_rollout:begun") < calls.index("ksm_preflight", calls.index("ksm_preflight") + 1)
    assert dict(own)["ksm_expect"]["since"] == "m:1"
    assert again.hosts("ksm_lock:free") == ["c1"]


def lose(fleet: Fleet, host: str, call: str) -> str:
    """Have the host's interpreter go away after a call, as a lost connection looks to Ansible: what it was."""
    python = fleet.folder / f"python-{host}"
    whole = python.read_text()
    gone = f'grep -q "{host}.*{call}" {fleet.folder}/calls && {{ echo lost >&2; exit 255; }}\n'
    python.write_text(whole.replace("KSM_FLOW_HOST", gone + "KSM_FLOW_HOST", 1))
    return whole


def test_a_host_that_dies_on_the_way_is_told_and_goes_back_later(fleet: Fleet) -> None:
    python = fleet.folder / "python-b1"
    whole = lose(fleet, "b1", "ksm_rollout:begun")
    full = {"b2": {"ksm_rollout:restored": {"fail": "No space left on device."}}}
    play = fleet.play("rollout", full, *BATCHES)
    assert play.status != 0
    assert "b2 passed, and went with its batch. It could NOT go back: No space left on device." in play.words
    assert '"b1: FAILED, and could not go back"' in play.said
    assert '"b2: FAILED, and could not go back"' in play.said
    assert '"c1: not begun"' in play.said

    python.write_text(whole)
    fleet.gone = {"c1"}
    (fleet.folder / "a1.record").unlink()
    play = fleet.play("rollback", {}, "-e", "ksm_lock_host=b2")
    assert play.hosts("ksm_rollout:ended:rolled_back") == ["b1", "b2"]
    assert "a1 has no /var/lib/ksm-fleet/rollout.json" in play.words
    assert "it cannot be reached" in play.words
    assert play.hosts("ksm_lock:free") == ["b2"]

    # And one that keeps nothing that can be read leaves no lock behind.
    play = fleet.play("rollback", {"b2": {"ksm_rollout": {"fail": "no JSON"}}}, "--limit", "b2", ksm_lock_host="a1")
    assert play.status != 0
    assert "no JSON Remedy: mend that" in play.words
    assert play.hosts("ksm_lock:free") == ["a1"]


def test_a_host_that_dies_with_the_lock(fleet: Fleet) -> None:
    lose(fleet, "c1", "ksm_rollout:begun")
    play = fleet.play("rollout", {}, "-e", '{"ksm_batches": ["100%"]}')
    assert play.status != 0
    assert '"c1: FAILED, and could not go back"' in play.said
    assert "The fleet's lock is still held: c1, which keeps it, could not give it up" in play.words
    assert "ksm_break_lock=t0" in play.words
    assert play.hosts("ksm_rollout:ended:rolled_back") == ["a1", "b1", "b2"]

    fleet.gone = {"c1"}
    play = fleet.play("rollback", {}, "--limit", "b1")
    assert play.status != 0
    assert "c1, the host that keeps the fleet's lock, cannot be reached. Remedy: start it" in play.words


def test_a_host_that_came_up_again_did_not_pass(fleet: Fleet) -> None:
    play = fleet.play("rollout", {"a1": {"ksm_expect": {"observation": {"mark": "another:1"}}}}, *BATCHES)
    assert play.status != 0
    assert "a1 failed: The host has booted anew since its change began." in play.words
    assert play.hosts("ksm_rollout:ended:rolled_back") == ["a1"]


def test_nothing_begins_where_one_host_cannot(fleet: Fleet) -> None:
    told = {"c1": {"ksm_preflight": {"fail": "Engine module: kernel 5.10 is older than 6.1."}}}
    play = fleet.play("rollout", told, *BATCHES)
    assert play.status != 0
    assert "older than 6.1" in play.words
    assert "Nothing was changed. These hosts cannot be what they shall be, for the reasons above: c1." in play.words
    assert play.hosts("ksm_rollout:begun") == play.hosts("ksm_lock") == []


def test_nothing_begins_while_another_rollout_holds_the_lock(fleet: Fleet) -> None:
    play = fleet.play("rollout", {"c1": {"ksm_lock": {"fail": "bob@there holds it"}}}, *BATCHES)
    assert play.status != 0
    assert "bob@there holds it" in play.words
    assert play.hosts("ksm_rollout:begun") == play.hosts("ksm_lock:free") == []
    play = fleet.play("rollback", {"c1": {"ksm_lock": {"fail": "bob@there holds it"}}})
    assert play.status != 0
    assert play.hosts("ksm_rollout") == [], "nobody is even asked"


def test_hosts_out_of_reach_stop_it_or_are_left_out(fleet: Fleet) -> None:
    fleet.gone = {"b1"}
    play = fleet.play("rollout", {}, *BATCHES)
    assert play.status != 0
    assert "Nothing was changed. These hosts cannot be reached: b1. Remedy:" in play.words
    assert play.hosts("ksm_rollout:begun") == []

    # An inventory that asks for what Ansible does is as good as -e.
    play = fleet.play("rollout", {}, "-e", "ksm_skip_unreachable=true", ksm_batches=[1, "10%", "50%", "100%"])
    assert play.status == 0, play.said
    assert play.hosts("ksm_rollout:ended:passed") == ["a1", "b2", "c1"]
    assert '"b1: left out, it cannot be reached"' in play.said


def test_batches_that_only_the_inventory_asks_for_are_no_surprise(fleet: Fleet) -> None:
    play = fleet.play("rollout", {}, ksm_batches=[2])
    assert play.status != 0
    assert "Ansible forms batches before it reads an inventory" in play.words
    assert play.hosts("ksm_rollout:begun") == play.hosts("ksm_lock") == []
