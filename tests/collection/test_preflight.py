# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a host can run an engine, and what it is told when it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.module_utils import checks
from ansible_collections.ksm.fleet.plugins.modules import ksm_preflight as preflight

from fakes import RELEASE, Host

BUILT = f"ksm/0.1.0, {RELEASE}, x86_64: installed\n"


def look(host: Host, status: str | None = None, release: str = RELEASE) -> dict[str, Any]:
    def run(command: Sequence[str]) -> str | None:
        return status if command[0] == "dkms" else None

    return preflight.look(str(host.root), release, "x86_64", run)


def engine(seen: dict[str, Any], wanted: str) -> str:
    problems = {
        "module": preflight.problems_of_module(seen),
        "kernel": checks.problems_of_kernel(seen),
    }
    return checks.choose(wanted, seen, problems)


def test_a_fresh_host_can_have_the_module(host: Host) -> None:
    seen = look(host)
    assert preflight.problems_of_module(seen) == []
    assert not seen["module"]["loaded"], "ksmbd is another module"
    assert seen["kernel"]["headers_package"] == f"linux-headers-{RELEASE}"
    assert engine(seen, "auto") == "module"
    assert engine(seen, "kernel") == "none"
    assert "CONFIG_KSM" in checks.problems_of_kernel(seen)[0]["remedy"]


def test_no_device_migration(host: Host) -> None:
    host.write(f"boot/config-{RELEASE}", "CONFIG_MODULES=y\n# CONFIG_DEVICE_MIGRATION is not set\n")
    host.add_kernel_engine()
    seen = look(host)
    (problem,) = preflight.problems_of_module(seen)
    assert f"{RELEASE} was built without CONFIG_DEVICE_MIGRATION" in problem["reason"]
    assert "set ksm_engine to kernel" in problem["remedy"]
    assert engine(seen, "module") == "none"
    assert engine(seen, "auto") == "kernel"


def test_config_is_found_in_the_headers_too(host: Host) -> None:
    (host.root / f"boot/config-{RELEASE}").unlink()
    assert look(host)["kernel"]["config_file"] is None
    assert preflight.problems_of_module(look(host)) == []
    host.write(f"lib/modules/{RELEASE}/build/.config", "CONFIG_MODULES=y\n")
    assert len(preflight.problems_of_module(look(host))) == 1


@pytest.mark.parametrize(
    ("release", "old"),
    [("5.10.0-30-amd64", True), ("6.0.1", True), ("6.1.0-50-amd64", False), ("7.3.4", False)],
)
def test_old_kernels_are_refused(host: Host, release: str, old: bool) -> None:
    found = preflight.problems_of_module(look(host, release=release))
    assert [p["reason"] for p in found if "older than 6.1" in p["reason"]] == (
        [f"kernel {release} is older than 6.1"] if old else []
    )


def test_a_signature_policy_turns_auto_away(host: Host) -> None:
    host.add_kernel_engine()
    host.write("sys/module/module/parameters/sig_enforce", "Y\n")
    assert look(host)["signatures"]["enforced"]
    assert engine(look(host), "auto") == "kernel"
    assert engine(look(host), "module") == "module"
    host.add_module_engine()
    assert engine(look(host), "auto") == "module"


def test_lockdown_enforces_signatures(host: Host) -> None:
    host.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    assert look(host)["signatures"] == {
        "secure_boot": False,
        "lockdown": "integrity",
        "enforced": True,
    }


def test_built_and_there(host: Host) -> None:
    host.write(f"lib/modules/{RELEASE}/updates/dkms/ksm.ko.xz", "")
    seen = look(host, BUILT)
    assert seen["module"]["file"] == f"/lib/modules/{RELEASE}/updates/dkms/ksm.ko.xz"
    assert checks.problems_of_build(seen) == []


def test_built_but_not_there(host: Host) -> None:
    host.write(f"lib/modules/{RELEASE}/build/Makefile", "")
    (problem,) = checks.problems_of_build(look(host, BUILT))
    assert "has no ksm.ko" in problem["reason"]


def test_no_headers(host: Host) -> None:
    (problem,) = checks.problems_of_build(look(host, "ksm/0.1.0: added\n"))
    assert "headers are missing" in problem["reason"]
    assert f"install linux-headers-{RELEASE}" in problem["remedy"]


def test_a_failed_build_shows_the_end_of_its_log(host: Host) -> None:
    host.write(f"lib/modules/{RELEASE}/build/Makefile", "")
    host.write("var/lib/dkms/ksm/0.1.0/build/make.log", "start\nmerge.c:7: error: no such\n")
    (problem,) = checks.problems_of_build(look(host, "ksm/0.1.0: added\n"))
    assert "did not build ksm.ko for the running kernel" in problem["reason"]
    assert checks.text([problem]).endswith("make.log:\n    start\n    merge.c:7: error: no such")
    assert f"dkms install ksm/0.1.0 -k {RELEASE}" in problem["remedy"]


@pytest.mark.parametrize("headers", [True, False])
def test_an_older_module_that_an_upgrade_has_kept(host: Host, headers: bool) -> None:
    host.write(f"lib/modules/{RELEASE}/updates/dkms/ksm.ko.xz", "")
    host.write("var/lib/dkms/ksm/0.10.0/build/make.log", "merge.c:7: error: no such\n")
    if headers:
        host.write(f"lib/modules/{RELEASE}/build/Makefile", "")
    seen = look(host, f"{BUILT}ksm/0.10.0: added\n")
    assert seen["dkms"]["overdue"] == "0.10.0"
    (problem,) = checks.problems_of_build(seen)
    assert f"for the running kernel {RELEASE}, which keeps 0.1.0 instead of 0.10.0" in problem["reason"]
    assert ("dkms install ksm/0.10.0" if headers else "install linux-headers-") in problem["remedy"]
    assert ("no such" in checks.text([problem])) == headers


def test_a_half_configured_package_is_not_installed(host: Host) -> None:
    host.write(
        "var/lib/dpkg/status",
        "Package: ksm-dkms\nStatus: install ok half-configured\nVersion: 0.1.0-1\n\n"
        "Package: ksm-tools\nStatus: install ok installed\nVersion: 0.1.0-1\n\n"
        "Package: python3-ksm\nStatus: deinstall ok config-files\nVersion: 0.1.0-1\n\n"
        "Package: ksmtuned\nStatus: install ok installed\nVersion: 4.20150326\n\n",
    )
    seen = look(host)
    assert seen["packages"] == {"ksm-dkms": None, "ksm-tools": "0.1.0-1", "python3-ksm": None}
    assert seen["packages_left"] == ["ksm-dkms", "ksm-tools", "python3-ksm"]
    assert seen["conflicts"] == ["ksmtuned"]


def test_files_of_the_role_are_seen(host: Host) -> None:
    host.write("etc/modprobe.d/ksm.conf", "")
    assert look(host)["files"] == ["/etc/modprobe.d/ksm.conf"]


def test_a_host_without_apt_and_dnf(host: Host) -> None:
    (host.root / "usr/bin/apt-get").unlink()
    (problem,) = preflight.problems_of_module(look(host))
    assert "debian has neither" in problem["reason"]


def test_a_host_with_dnf(host: Host) -> None:
    (host.root / "usr/bin/apt-get").unlink()
    host.write("usr/bin/dnf", "")
    host.write("etc/yum.repos.d/ksm-fleet.repo", "")
    said = "ksm-dkms\t0.1.0-1.el10\npackage ksm-tools is not installed\nksmtuned\t1-2\n"

    def run(command: Sequence[str]) -> str | None:
        return said if command[0] == "rpm" else None

    seen = preflight.look(str(host.root), RELEASE, "x86_64", run)
    assert preflight.problems_of_module(seen) == []
    assert seen["package_manager"] == "dnf"
    assert seen["kernel"]["headers_package"] == f"kernel-devel-{RELEASE}"
    assert seen["packages"] == {"ksm-dkms": "0.1.0-1.el10", "ksm-tools": None, "python3-ksm": None}
    assert seen["packages_left"] == ["ksm-dkms"]
    assert seen["conflicts"] == ["ksmtuned"]
    assert "/etc/yum.repos.d/ksm-fleet.repo" in seen["files"]
