# SPDX-License-Identifier: GPL-2.0-or-later
"""apt installs the packages from the signed repository into a Debian root, and DKMS builds ksm.ko there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from roots import PREPARE, Root, kernel_root

from conftest import run

# What bears the product's name, apt's and dpkg's own records apart.
LIST = "find / -xdev -name '*ksm*' ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' ! -path '/var/cache/*' | sort"


@pytest.fixture(params=["6.1", "6.12", "backports"])
def kernel(request: pytest.FixtureRequest) -> tuple[Path, str]:
    return kernel_root(request.param)


@pytest.fixture
def root(kernel: tuple[Path, str], repository: Path, tmp_path: Path) -> Iterator[Root]:
    root = Root([kernel[0]], tmp_path / "overlay", repository)
    root.run(PREPARE)
    yield root
    run("rm", "-rf", tmp_path / "overlay")


def test_install_and_purge(root: Root, kernel: tuple[Path, str], version: str) -> None:
    # Where DKMS was before, nothing else may stay behind.
    look = root.files if kernel[0].name != "backports" else lambda: set(root.run(LIST).stdout.splitlines())
    before = look()
    # With its recommendation, as an operator does it.
    said = root.run("apt-get -q -y install ksm-dkms ksm-tools").stdout
    assert "ksm-dkms: " not in said, "nothing is amiss, so the package has nothing to say"

    release = kernel[1]
    status = root.run("dkms status ksm").stdout
    assert re.search(rf"^ksm/{re.escape(version)}, {re.escape(release)}, x86_64: installed", status, re.MULTILINE)
    module = root.run(f"modinfo -k {release} ksm").stdout
    fields = dict(re.findall(r"^(\w+):\s+(.*)$", module, re.MULTILINE))
    assert fields["filename"].startswith(f"/lib/modules/{release}/updates/dkms/ksm.ko")
    assert fields["version"] == version
    assert fields["vermagic"].split()[0] == release
    assert fields["signer"] == "DKMS module signing key"
    assert version in root.run("ksmctl --version").stdout
    # The group of the device's rule is udev's own, on both releases.
    assert root.run("getent group kvm").stdout
    assert 'GROUP="kvm"' in root.run("cat /usr/lib/udev/rules.d/60-ksm-dkms.rules").stdout

    root.run("apt-get -q -y purge ksm-dkms ksm-tools python3-ksm")
    assert look() ^ before == set()
