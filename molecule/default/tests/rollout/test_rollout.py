# SPDX-License-Identifier: GPL-2.0-or-later
"""After the role and a reboot: the right module runs, with its group's tunables."""

from __future__ import annotations

import json
from typing import Any

TUNABLES = ("run", "pages_to_scan", "sleep_millisecs", "adopt_mergeable")
# Told here once more, so that a fleet where all groups have the same is noticed.
OF_GROUP = {
    "dense": {"pages_to_scan": 2000, "sleep_millisecs": 20},
    "latency": {"pages_to_scan": 500, "sleep_millisecs": 40},
}


def test_the_loaded_module_is_what_dkms_built_for_this_kernel(host: Any) -> None:
    release = host.check_output("uname -r")
    assert f"{release}, x86_64: installed" in host.check_output("dkms status -m ksm")
    file = host.check_output("modinfo -F filename ksm")
    assert file.startswith(f"/lib/modules/{release}/updates/dkms/ksm.ko")
    assert not host.ksm.reload_required
    assert host.ksm.version_running == host.package("ksm-dkms").version


def test_the_host_has_the_tunables_of_its_group(host: Any, variables: dict[str, Any]) -> None:
    group = next(name for name in variables["group_names"] if name in OF_GROUP)
    tunables = host.ksm("module").tunables
    assert {name: tunables[name] for name in TUNABLES} == {
        "run": 1,
        "adopt_mergeable": 1,
        **OF_GROUP[group],
    }


def test_the_builtin_engine_does_not_run(host: Any) -> None:
    assert host.ksm("kernel").tunables["run"] in (0, 2)


def test_all_is_as_the_files_say_and_the_kernel_keeps_silent(host: Any) -> None:
    assert host.ksm.expect({"engine": "module", "no_drift": True, "kernel_log_clean": True}, seconds=1)


def test_the_device_is_for_its_group_alone(host: Any) -> None:
    device = host.file("/dev/ksm")
    assert (device.user, device.group, device.mode) == ("root", "kvm", 0o660)


def test_policies_are_kept(host: Any) -> None:
    service = host.service("ksm-policy")
    assert service.is_enabled
    assert service.is_running
    policies = json.loads(host.check_output("ksmctl policy list --json"))
    assert [policy["name"] for policy in policies["policies"]] == ["tenant-a", "tenant-b"]
    assert policies["errors"] == []
