# SPDX-License-Identifier: GPL-2.0-or-later
"""Who signed ksm.ko, from what modinfo, openssl and kernels of Debian 12 and 13 really print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.ksm.fleet.plugins.module_utils import signing

from fakes import Host

FIXTURES = Path(__file__).parent / "fixtures"
FILE = "/lib/modules/6.12.118+deb13-amd64/updates/dkms/ksm.ko.xz"
MOK = "/var/lib/dkms/mok.pub"
SERIAL = {
    "debian12": "6d4baae731171caf470b91c9cfe7ae870c88650c",
    "debian13": "41e04494f69d309ad968337e797b8dc807202ea5",
}
SRCVERSION = "F022E2B3B3726903B4103C5"


def prints(of: str) -> signing.Run:
    """Run commands as a host of that release answers them."""

    def run(command: Sequence[str]) -> str | None:
        file = FIXTURES / f"{of}-{command[0]}.txt"
        return file.read_text() if file.exists() else None

    return run


def look(host: Host, keys: str | None, release: str = "debian13") -> dict[str, object]:
    host.write(MOK.lstrip("/"), "")
    if keys:
        host.write("proc/keys", (FIXTURES / f"proc-keys-{keys}.txt").read_text())
    return signing.look(str(host.root), prints(release), FILE)


@pytest.mark.parametrize("release", ["debian12", "debian13"])
def test_modinfo_and_certificate_name_the_same_key(release: str) -> None:
    assert signing.modinfo(prints(release), FILE) == {
        "version": "0.1.0",
        "srcversion": SRCVERSION,
        "signer": "DKMS module signing key",
        "serial": SERIAL[release],
    }
    assert signing.certificate(prints(release), MOK)["serial"] == SERIAL[release]


def test_a_key_among_those_of_shim_is_enrolled(host: Host) -> None:
    assert look(host, "mok") == {
        "version": "0.1.0",
        "srcversion": SRCVERSION,
        "signer": "DKMS module signing key",
        "serial": SERIAL["debian13"],
        "certificate": MOK,
        "enrolled": True,
    }


def test_a_kernel_with_its_own_key_only(host: Host) -> None:
    seen = look(host, "stock")
    assert seen["enrolled"] is False
    assert seen["certificate"] == MOK


def test_the_same_name_is_not_the_same_key(host: Host) -> None:
    """Every machine's DKMS calls its key so."""
    assert look(host, "mok", "debian12")["enrolled"] is False


def test_without_rights_or_certificate_nothing_is_claimed(host: Host) -> None:
    assert look(host, None)["enrolled"] is None
    (host.root / MOK.lstrip("/")).unlink()
    host.write("proc/keys", (FIXTURES / "proc-keys-mok.txt").read_text())
    seen = signing.look(str(host.root), prints("debian13"), FILE)
    assert (seen["certificate"], seen["enrolled"]) == (None, None)


def test_no_module_and_no_signature(host: Host) -> None:
    assert signing.look(str(host.root), prints("debian13"), None)["signer"] is None
    assert signing.look(str(host.root), lambda command: "version: 1\n", FILE)["enrolled"] is None


def test_the_configured_certificate_comes_first(host: Host) -> None:
    host.write("etc/dkms/framework.conf", "# mok_certificate=/x\nmok_certificate=/root/old.der\n")
    host.write("etc/dkms/framework.conf.d/site.conf", 'mok_certificate="/root/site.der"\n')
    for file in ("root/old.der", "root/site.der", "var/lib/dkms/mok.pub"):
        host.write(file, "")
    assert signing.certificates(str(host.root)) == ["/root/site.der", "/root/old.der", MOK]
