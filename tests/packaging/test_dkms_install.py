# SPDX-License-Identifier: GPL-2.0-or-later
"""apt installs the packages from the signed repository into a Debian root, and DKMS builds ksm.ko there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, TREE, run

# Runs in a mount namespace of its own, so nothing stays mounted. The overlay keeps the root as it was.
ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$OVERLAY/upper,workdir=$OVERLAY/work" "$OVERLAY/root"
cd "$OVERLAY/root"
mount -t proc proc proc
mount --rbind /dev dev
mkdir -p srv/ksm
mount --bind "$REPOSITORY" srv/ksm
rm -f etc/resolv.conf
cp /etc/resolv.conf etc/resolv.conf
exec chroot . sh -ec "$1"
"""
PREPARE = """
cp /srv/ksm/ksm-archive-keyring.asc /etc/apt/keyrings/ksm.asc
cat >/etc/apt/sources.list.d/ksm.sources <<END
Types: deb
URIs: file:///srv/ksm
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/ksm.asc
END
apt-get -q -o APT::Update::Error-Mode=any update
"""
# What bears the product's name, apt's and dpkg's own records apart.
LIST = "find / -xdev -name '*ksm*' ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' ! -path '/var/cache/*' | sort"


class Root:
    """A Debian root with one kernel and its headers, to be spoilt at will."""

    def __init__(self, lower: str, kernel: str, overlay: Path, repository: Path) -> None:
        self.kernel = kernel
        for name in ("upper", "work", "root"):
            (overlay / name).mkdir(parents=True)
        self.environment = {
            **ENVIRONMENT, "ROOT": lower, "OVERLAY": str(overlay), "REPOSITORY": str(repository),
            "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C",
        }

    def run(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("unshare", "--mount", "sh", "-c", ENTER, "sh", script, env=self.environment, check=check)


@pytest.fixture(params=["6.1", "6.12", "backports"])
def root(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Iterator[Root]:
    prepared = subprocess.run(
        [TREE / "tests/vm/ksmvm", "kernel", request.param], check=True, text=True, stdout=subprocess.PIPE
    )
    kernel = json.loads(prepared.stdout)
    root = Root(kernel["root"], kernel["version"], tmp_path / "overlay", repository)
    root.run(PREPARE)
    yield root
    run("rm", "-rf", tmp_path / "overlay")


def test_install_and_purge(root: Root, version: str) -> None:
    before = root.run(LIST).stdout
    # With its recommendation, as an operator does it.
    root.run("apt-get -q -y install ksm-dkms ksm-tools")

    status = root.run("dkms status ksm").stdout
    assert re.search(rf"^ksm/{re.escape(version)}, {re.escape(root.kernel)}, x86_64: installed", status, re.MULTILINE)
    module = root.run(f"modinfo -k {root.kernel} ksm").stdout
    fields = dict(re.findall(r"^(\w+):\s+(.*)$", module, re.MULTILINE))
    assert fields["filename"].startswith(f"/lib/modules/{root.kernel}/updates/dkms/ksm.ko")
    assert fields["version"] == version
    assert fields["vermagic"].split()[0] == root.kernel
    assert fields["signer"] == "DKMS module signing key"
    assert version in root.run("ksmctl --version").stdout

    root.run("apt-get -q -y purge ksm-dkms ksm-tools python3-ksm")
    assert root.run(LIST).stdout == before
