# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm_info keeps what is desired apart from what is observed."""

from __future__ import annotations

from ansible_collections.ksm.fleet.plugins.module_utils.kmod import NONE, Build
from ansible_collections.ksm.fleet.plugins.modules.ksm_info import info

from fakes import RELEASE, Host


def test_no_engine_at_all(host: Host) -> None:
    seen = info(str(host.root), RELEASE, "absent", NONE)
    assert seen["engine"] is None
    assert "modprobe ksm" in seen["reason"]
    assert "CONFIG_KSM" in seen["reason"]
    assert seen["module"]["version_running"] is None
    assert seen["module"]["dkms"] == "absent"


def test_desired_and_observed(host: Host) -> None:
    host.add_module_engine(version="0.1.0", pages_to_scan="100", run="1")
    host.add_kernel_engine()
    host.write("etc/modprobe.d/ksm.conf", "options ksm pages_to_scan=300 run=1\n")
    host.write("etc/modules-load.d/ksm.conf", "# at boot\nksm\n")
    seen = info(str(host.root), RELEASE, "installed", Build("0.2.0", "AB"))
    assert seen["engine"] == "module"
    assert seen["reason"] is None
    assert seen["desired"]["module"]["tunables"] == {"pages_to_scan": 300, "run": 1}
    assert seen["desired"]["module"]["at_boot"]
    assert seen["observed"]["module"]["tunables"]["pages_to_scan"] == 100
    assert seen["observed"]["module"]["saved_bytes"] == 1008 * 4096
    assert seen["observed"]["kernel"]["available"]
    assert seen["drift"] == {"pages_to_scan": {"desired": 300, "observed": 100}}
    assert seen["module"]["version_running"] == "0.1.0"
    assert seen["module"]["version_installed"] == "0.2.0"
    assert seen["module"]["reload_required"]
    assert not seen["module"]["reload_interrupted"]
    host.write("run/ksm/reload.json", "{}")
    assert info(str(host.root), RELEASE, "installed", NONE)["module"]["reload_interrupted"]


def test_the_built_in_engine_alone(host: Host) -> None:
    host.add_kernel_engine()
    seen = info(str(host.root), RELEASE, "absent", NONE)
    assert seen["engine"] == "kernel"
    assert not seen["observed"]["module"]["available"]
    assert "modprobe ksm" in seen["observed"]["module"]["reason"]
    assert not seen["module"]["reload_required"]


def test_policies_and_what_is_wrong_with_them(host: Host) -> None:
    assert info(str(host.root), RELEASE, "", NONE)["policies"] == {"policies": [], "errors": []}
    host.write("etc/ksm/policy.d/a.conf", "[a]\nunit = a.service\ndomain = 7\n")
    host.write("etc/ksm/policy.d/b.conf", "[b]\nunit = b\ndomain = 7\n")
    seen = info(str(host.root), RELEASE, "", NONE)["policies"]
    assert [(one["name"], one["number"]) for one in seen["policies"]] == [("a", 7)]
    assert [error["file"] for error in seen["errors"]] == ["b.conf"]
