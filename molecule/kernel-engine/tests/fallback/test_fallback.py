# SPDX-License-Identifier: GPL-2.0-or-later
"""After the role and a reboot: the kernel's own engine runs with the profile's values, and nobody else
steers it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

CHOSEN, AUTO = "kernel-engine-chosen", "kernel-engine-auto"
OF_HOST = {
    CHOSEN: {"run": 1, "pages_to_scan": 1250, "sleep_millisecs": 20, "merge_across_nodes": 0},
    AUTO: {"run": 1, "pages_to_scan": 60, "sleep_millisecs": 50, "merge_across_nodes": 1},
}


def name(host: Any) -> str:
    return str(host.ansible.get_variables()["inventory_hostname"])


def test_the_facts_say_why() -> None:
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    facts = {host: json.loads((folder / f"facts-{host}.json").read_text()) for host in OF_HOST}
    assert facts[CHOSEN] == {"engine": "kernel", "engine_reason": None}
    assert facts[AUTO]["engine"] == "kernel"
    assert facts[AUTO]["engine_reason"] == (
        "the kernel takes only modules signed by a key it knows, and no ksm.ko is there to look at"
    )


def test_engine_and_tunables(host: Any) -> None:
    assert host.ksm.engine == "kernel"
    wanted = OF_HOST[name(host)]
    tunables = host.ksm.tunables
    assert {each: tunables[each] for each in wanted} == wanted
    assert host.ksm.expect({"no_drift": True, "kernel_log_clean": True}, seconds=0)
    assert host.ksm.problems == []


def test_nothing_of_the_module_is_there(host: Any) -> None:
    assert not host.package("ksm-dkms").is_installed
    assert not host.file("/sys/module/ksm").exists
    assert not host.file("/etc/modules-load.d/ksm.conf").exists


def test_ksmtuned_is_gone(host: Any) -> None:
    assert not host.process.filter(comm="ksmtuned")
    assert not host.file("/etc/systemd/system/multi-user.target.wants/ksmtuned.service").exists
    # It was there to be stopped.
    assert host.file("/etc/systemd/system/ksmtuned.service").exists == (name(host) == CHOSEN)
