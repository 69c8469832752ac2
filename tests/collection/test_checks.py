# SPDX-License-Identifier: GPL-2.0-or-later
"""What ksmctl doctor finds on a host, and the remedies it names."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.module_utils import checks
from test_signing import FIXTURES, prints

from fakes import RELEASE, Host

DEB13 = "6.12.118+deb13-amd64"


@pytest.fixture
def seen(host: Host) -> dict[str, Any]:
    """A Debian 13 host on which all is well: the module is loaded and steers alone."""
    host.write(f"boot/config-{DEB13}", host.read(f"boot/config-{RELEASE}"))
    host.write(f"boot/vmlinuz-{DEB13}", "")
    host.write(f"lib/modules/{DEB13}/build/Makefile", "")
    host.write(f"lib/modules/{DEB13}/updates/dkms/ksm.ko.xz", "")
    host.write("var/lib/dkms/mok.pub", "")
    host.write("proc/keys", (FIXTURES / "proc-keys-stock.txt").read_text())
    host.add_kernel_engine()
    host.add_module_engine(run="1")
    answer = prints("debian13")

    def run(command: Sequence[str]) -> str | None:
        return (FIXTURES / "debian13-dkms-status.txt").read_text() if command[0] == "dkms" else answer(command)

    found = checks.look(str(host.root), DEB13, "x86_64", run)
    assert found["device"] is None
    # What udev makes is no file that a test could make without root's rights.
    return {**found, "device": {"mode": "0660", "group": "kvm"}}


def findings(seen: dict[str, Any], engine: str = "module", **changes: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (check, reason, remedy) of what is found after some facts were changed."""
    changed = copy.deepcopy(seen)
    for name, values in changes.items():
        changed[name] = {**changed[name], **values} if isinstance(changed[name], dict) else values
    return [
        (check, problem["reason"], problem["remedy"])
        for check, problems in checks.diagnose(changed, engine).items()
        for problem in problems
    ]


def test_all_is_well(seen: dict[str, Any]) -> None:
    assert findings(seen) == []
    assert findings(seen, "kernel") == []
    assert seen["kernels"] == [{"release": DEB13, "headers": True, "state": "installed", "overdue": None}]


def test_not_loaded(seen: dict[str, Any]) -> None:
    assert findings(seen, module={"loaded": False, "running": None}) == [
        ("loaded", "ksm.ko is not loaded", "modprobe ksm")
    ]


def test_another_version_is_installed(seen: dict[str, Any]) -> None:
    ((check, reason, _),) = findings(seen, module={"version": "0.2.0"})
    assert (check, reason) == ("loaded", "version 0.1.0 runs, but 0.2.0 is installed")


REFUSING = {"enforced": True, "secure_boot": True, "lockdown": "integrity"}


def test_a_key_that_is_not_enrolled(seen: dict[str, Any]) -> None:
    loaded = {"loaded": False, "running": None}
    (check, reason, remedy), _ = findings(seen, signatures=REFUSING, module=loaded)
    assert check == "signature"
    assert 'the key "DKMS module signing key" of' in reason
    assert reason.endswith("is not among them")
    assert remedy.startswith("mokutil --import /var/lib/dkms/mok.pub, reboot")
    assert findings(seen, signatures=REFUSING) == [], "it is loaded, so it was accepted"
    enrolled = {"enrolled": True}
    (other,) = findings(seen, signatures=REFUSING, module=loaded, signature=enrolled)
    assert other[0] == "loaded"


@pytest.mark.parametrize(
    ("signature", "reason", "remedy"),
    [
        ({"signer": None}, "has no signature", "install openssl"),
        ({"enrolled": None}, "cannot be seen", "as root"),
    ],
)
def test_other_signatures(seen: dict[str, Any], signature: dict[str, Any], reason: str, remedy: str) -> None:
    first = findings(seen, signatures=REFUSING, module={"loaded": False, "running": None}, signature=signature)[0]
    assert reason in first[1]
    assert remedy in first[2]


def test_kernels_that_the_next_boot_may_bring(seen: dict[str, Any]) -> None:
    seen["kernels"] += [
        {"release": "5.10.0-30-amd64", "headers": True, "state": "added", "overdue": None},
        {"release": "6.1.0-56-amd64", "headers": False, "state": "added", "overdue": None},
        {"release": "6.1.0-57-amd64", "headers": True, "state": "installed", "overdue": "0.2.0"},
        {"release": "7.3.4+deb13-amd64", "headers": True, "state": "added", "overdue": None},
    ]
    no_headers, older, not_built = findings(seen)
    assert older[1].endswith("6.1.0-57-amd64 there would be an older ksm.ko than 0.2.0")
    assert older[2].startswith("dkms install ksm/0.2.0 -k 6.1.0-57-amd64")
    assert "6.1.0-56-amd64 there would be no ksm.ko: its headers are missing" in no_headers[1]
    assert no_headers[2] == "install linux-headers-6.1.0-56-amd64, or remove that kernel"
    assert not_built[2].startswith("dkms install ksm/0.1.0 -k 7.3.4+deb13-amd64")


@pytest.mark.parametrize("device", [{"mode": "0600", "group": "root"}, {"mode": "0666"}])
def test_device_rights(seen: dict[str, Any], device: dict[str, Any]) -> None:
    ((check, reason, remedy),) = findings(seen, device=device)
    assert check == "device"
    assert reason.endswith("not 0660 and kvm")
    assert "udevadm trigger" in remedy


def test_no_device(seen: dict[str, Any]) -> None:
    ((_, reason, _),) = findings({**seen, "device": None})
    assert reason == "ksm.ko is loaded, but there is no /dev/ksm"


def test_who_else_steers(seen: dict[str, Any], host: Host) -> None:
    host.write("proc/471/comm", "ksmtuned\n")
    host.write("proc/472/comm", "ksmtuned-not\n")
    tuners = checks.host.processes(str(host.root), ("ksmtuned",))
    assert tuners == [471]
    ((check, reason, remedy),) = findings({**seen, "tuners": tuners, "conflicts": ["ksmtuned"]})
    assert check == "conflicts"
    assert "(pid 471, package ksmtuned)" in reason
    assert remedy.startswith("systemctl disable --now ksmtuned")


def test_two_engines_at_work(seen: dict[str, Any]) -> None:
    for engine in ("module", "kernel"):
        ((_, reason, remedy),) = findings(seen, engine, running={"kernel": True})
        assert reason.startswith("both engines merge")
        assert "run=2" in remedy


def test_kernels_are_those_with_image_and_modules(host: Host) -> None:
    host.write(f"boot/vmlinuz-{DEB13}", "")
    host.write(f"lib/modules/{DEB13}/modules.dep", "")
    host.write("boot/vmlinuz-0-rescue-4711", "")
    host.write("lib/modules/6.14.0-1.fc42.x86_64/vmlinuz", "")
    host.write("lib/modules/6.1.0-56-amd64/build/Makefile", "")
    assert checks.host.kernels(str(host.root)) == [DEB13, "6.14.0-1.fc42.x86_64"]
