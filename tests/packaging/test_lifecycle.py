# SPDX-License-Identifier: GPL-2.0-or-later
"""What apt and DKMS make of the packages over the years: make test-apt, no part of make test.

Versions 0.1.0 and later ones are built from this tree; that of the broken release does not compile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ksmvm.mirrors import machine_mirrors
from roots import PREPARE, Root, kernel_root

from conftest import BROKEN, GOOD, run

pytestmark = pytest.mark.lifecycle

INSTALL = "apt-get -q -y --no-install-recommends install"
PACKAGES = "ksm-dkms ksm-dev ksm-tools python3-ksm"


@dataclass
class Debian:
    """A release with DKMS and the headers of several kernels, which tests put layers on."""

    layers: list[Path]
    kernels: list[str]
    repository: Path


@pytest.fixture(scope="module", params=["6.1", "6.12"], ids=["debian12", "debian13"])
def debian(
    request: pytest.FixtureRequest, versions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Debian]:
    lower, release = kernel_root(request.param)
    base = tmp_path_factory.mktemp("debian")
    root = Root([lower], base / "overlay", versions)
    root.run(PREPARE)
    # The newest kernel but one of the same flavour.
    listed = root.run("apt-cache search --names-only '^linux-headers-[0-9.]+[-0-9]*(\\+deb[0-9]+)?-amd64$'").stdout
    names = sorted(set(re.findall(r"^linux-headers-(\S+)", listed, re.MULTILINE)) - {release})
    other = [name for name in names if name.split(".")[:2] == release.split(".")[:2]][-1]
    # What the tests' packages depend on, so that afterwards only they make a difference.
    root.run(
        f"INITRD=No {INSTALL} dkms openssl linux-headers-{other} gcc libc6-dev linux-libc-dev python3\n"
        # DKMS leaves its index also where there was none, of a kernel that has headers only.
        "for modules in /lib/modules/*; do depmod ${modules##*/}; done"
    )
    yield Debian(root.layers, sorted([release, other]), versions)
    run("rm", "-rf", base)


@pytest.fixture
def root(debian: Debian, tmp_path: Path) -> Iterator[Root]:
    yield Root(debian.layers, tmp_path / "overlay", debian.repository)
    run("rm", "-rf", tmp_path / "overlay")


def modules(root: Root) -> dict[str, str]:
    """The version of ksm.ko that each kernel has."""
    found = root.run("for ko in $(ls /lib/modules/*/updates/dkms/ksm.ko*); do modinfo -F version $ko; echo $ko; done")
    lines = found.stdout.splitlines()
    return {path.split("/")[3]: version for version, path in zip(lines[::2], lines[1::2])}


def traces(root: Root, version: str) -> list[str]:
    """What DKMS and dpkg still have of a version."""
    found = root.run(f"find /usr/src/ksm-{version} /var/lib/dkms/ksm/{version} -maxdepth 0 2>/dev/null", check=False)
    return found.stdout.split()


def test_upgrade_downgrade_remove_purge(root: Root, debian: Debian, version: str) -> None:
    before = root.files()
    root.run(f"{INSTALL} " + " ".join(f"{name}={version}" for name in PACKAGES.split()))
    assert modules(root) == dict.fromkeys(debian.kernels, version)

    root.run(f"{INSTALL} " + " ".join(f"{name}={GOOD}" for name in PACKAGES.split()))
    assert modules(root) == dict.fromkeys(debian.kernels, GOOD), "DKMS alone builds for the newest kernel only"
    assert traces(root, version) == []

    root.run(f"{INSTALL} --allow-downgrades " + " ".join(f"{name}={version}" for name in PACKAGES.split()))
    assert modules(root) == dict.fromkeys(debian.kernels, version)
    assert traces(root, GOOD) == []

    root.run("apt-get -q -y remove ksm-dkms")
    assert modules(root) == {}
    assert traces(root, version) == []

    root.run(f"apt-get -q -y purge {PACKAGES}")
    assert root.files() ^ before == set()


def test_no_headers_then_headers(root: Root, debian: Debian, version: str) -> None:
    root.run("apt-get -q -y purge 'linux-headers-*'")
    said = root.run(f"{INSTALL} ksm-dkms={version} ksm-tools={version} python3-ksm={version}").stdout
    assert modules(root) == {}
    for kernel in root.run("ls /boot | sed -n s/^vmlinuz-//p").stdout.split():
        assert (
            f"ksm-dkms: ksm.ko was not built for kernel {kernel}: its headers are missing."
            f" Remedy: apt-get install linux-headers-{kernel}\n"
        ) in said
    doctor = root.run("ksmctl doctor", check=False)
    assert doctor.returncode == 1
    assert "was not built for the running kernel" in doctor.stdout
    assert "remedy: install linux-headers-" in doctor.stdout

    root.run(f"{INSTALL} linux-headers-{debian.kernels[0]}")
    assert modules(root) == {debian.kernels[0]: version}, "the hook of DKMS has built it"


def test_a_release_that_does_not_compile(root: Root, debian: Debian, version: str) -> None:
    root.run(f"{INSTALL} ksm-dkms={version}")
    failed = root.run(f"{INSTALL} ksm-dkms={BROKEN}", check=False)
    assert failed.returncode == 100
    lines = [line for line in failed.stdout.splitlines() if line.startswith("ksm-dkms: ")]
    assert f"ksm.ko {BROKEN} could not be built for: {' '.join(debian.kernels)}." in lines[0]
    log = lines[0].rpartition("The log is ")[2].rstrip(".")
    assert "broken on purpose" in root.run(f"cat {log}").stdout
    keeps = f"ksm-dkms: Kernel {{}} keeps ksm.ko {version} until {BROKEN} is built for it."
    assert lines[2:] == [keeps.format(kernel) for kernel in debian.kernels]
    assert modules(root) == dict.fromkeys(debian.kernels, version)
    # What it says to do is what helps.
    back = lines[1].rpartition("or go back: ")[2].rstrip(".")
    assert back == f"apt-get install --allow-downgrades ksm-dkms={version}"
    root.run(f"{back} -q -y")
    assert modules(root) == dict.fromkeys(debian.kernels, version)

    # Forwards, out of the same state.
    assert root.run(f"{INSTALL} ksm-dkms={BROKEN}", check=False).returncode == 100
    assert "keeps" not in root.run(f"{INSTALL} ksm-dkms={GOOD}").stdout
    assert modules(root) == dict.fromkeys(debian.kernels, GOOD)
    assert traces(root, version) == traces(root, BROKEN) == []


@pytest.mark.parametrize("configured", [True, False])
def test_purge_in_the_middle_of_an_upgrade(root: Root, debian: Debian, version: str, configured: bool) -> None:
    """The new version's scripts have failed, or did not get as far as that."""
    before = root.files()
    root.run(f"{INSTALL} ksm-dkms={version}")
    if configured:
        assert root.run(f"{INSTALL} ksm-dkms={BROKEN}", check=False).returncode == 100
    else:
        root.run(f"cd /tmp && apt-get -q download ksm-dkms={GOOD} && dpkg --unpack ksm-dkms_{GOOD}_all.deb")
    assert modules(root) == dict.fromkeys(debian.kernels, version)
    root.run("apt-get -q -y purge ksm-dkms")
    assert root.files() ^ before == set()


def test_an_upgrade_without_headers(root: Root, debian: Debian, version: str) -> None:
    """The module that a kernel has stays, too, when there is nothing to build the next one with."""
    root.run(f"{INSTALL} ksm-dkms={version}")
    old = debian.kernels[0]
    root.run(f"apt-get -q -y purge linux-headers-{old}")
    said = root.run(f"{INSTALL} ksm-dkms={GOOD}").stdout
    assert modules(root) == {**dict.fromkeys(debian.kernels, GOOD), old: version}
    assert f"Kernel {old} keeps ksm.ko {version} until {GOOD} is built for it." in said
    # What is kept, and has no source, is in no other kernel's way.
    before = modules(root)
    for kernel in debian.kernels:
        root.run(f"/etc/kernel/postinst.d/dkms {kernel}")
    assert modules(root) == before


def test_a_kernel_that_is_refused(root: Root, debian: Debian, version: str) -> None:
    """Headers of Debian 11, whose 5.10 is too old, before and after ours are installed."""
    (overlay := Path(root.environment["OVERLAY"]) / "upper/etc/apt/sources.list.d").mkdir(parents=True)
    (overlay / "bullseye.list").write_text(machine_mirrors().sources("bullseye"))
    root.run("apt-get -q update")
    listed = root.run("apt-cache search --names-only '^linux-headers-5.10.0-[0-9]+-amd64$'").stdout
    old = sorted(re.findall(r"^linux-headers-(\S+)", listed, re.MULTILINE))[-1]
    # The compiler that it depends on is of no use here, and cannot be had on every release.
    # By hand into /usr: /lib is a link, which unpacking would replace.
    fetch = (
        f"cd /tmp && apt-get -q download linux-headers-{old} linux-headers-{old.replace('amd64', 'common')}"
        " linux-kbuild-5.10 && for deb in *.deb; do dpkg-deb --extract $deb old; done"
        " && cp -a old/usr/. /usr && cp -a old/lib/. /usr/lib && rm -r old"
    )
    root.run(fetch)
    said = root.run(f"{INSTALL} ksm-dkms={version}").stdout
    assert f"ksm: not built for kernel {old}: it needs Linux 6.1 or newer. Remedy: " in said
    assert "could not be built" not in said
    assert modules(root) == dict.fromkeys(debian.kernels, version)
    hook = root.run(f"/etc/kernel/header_postinst.d/dkms {old}", check=False)
    assert f"not built for kernel {old}: it needs Linux 6.1 or newer" in hook.stdout
    assert modules(root) == dict.fromkeys(debian.kernels, version)


@pytest.fixture
def site_key(debian: Debian, root: Root) -> None:
    """Made and named to DKMS as docs/packaging.md tells."""
    folder = "/etc/dkms/framework.conf.d"
    root.run(
        'openssl req -new -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=Example modules/"'
        " -addext extendedKeyUsage=codeSigning,1.3.6.1.4.1.2312.16.1.2"
        " -keyout /etc/dkms/site.key -outform DER -out /etc/dkms/site.pub\n"
        f"file=/etc/dkms/framework.conf; [ ! -d {folder} ] || file={folder}/site.conf\n"
        "printf '%s\\n' mok_signing_key=/etc/dkms/site.key mok_certificate=/etc/dkms/site.pub >>$file"
    )


@pytest.mark.usefixtures("site_key")
def test_signed_by_the_sites_key(root: Root, debian: Debian, version: str) -> None:
    root.run(f"{INSTALL} ksm-dkms={version}")
    found = root.run("for ko in /lib/modules/*/updates/dkms/ksm.ko*; do modinfo -F signer $ko; done").stdout
    assert found.splitlines() == ["Example modules"] * len(debian.kernels)


def test_dkms_autopkgtest(root: Root, debian: Debian, version: str) -> None:
    """The test that Debian's own infrastructure runs for a package with autopkgtest-pkg-dkms."""
    done = root.run("cd /tmp && /usr/lib/dkms/dkms-autopkgtest ksm-dkms")
    # DKMS 3.0 names the kernel only.
    verdicts = re.findall(rf"^I: (PASS|FAIL|SKIP) (?:ksm/{re.escape(GOOD)} )?(\S+)$", done.stdout, re.MULTILINE)
    assert sorted(verdicts) == [("PASS", kernel) for kernel in debian.kernels]
