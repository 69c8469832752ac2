# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian roots to be spoilt at will: overlays, in which apt works for real."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from conftest import ENVIRONMENT, TREE, run

# Runs in a mount namespace of its own, so nothing stays mounted. The overlay keeps what is below as it was.
ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$OVERLAY/upper,workdir=$OVERLAY/work" "$OVERLAY/root"
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
# Every file with its rights, owner and content; apart from apt's and dpkg's own records, DKMS' key,
# which outlives modules, and what belongs to the test.
TREE_LISTING = """
cd /
list() {
	find . -xdev \\( -path ./proc -o -path ./dev -o -path ./srv -o -path ./tmp -o -path ./var/cache \\
		-o -path ./var/log -o -path ./var/lib/apt -o -path './var/lib/dpkg/status*' -o -path './var/lib/dpkg/lock*' \\
		-o -path './var/lib/dpkg/triggers' -o -path './var/lib/dkms/mok.*' -o -path ./etc/resolv.conf \\) -prune -o "$@"
}
list -printf '%p %M %U:%G %l\\n'
# dpkg sorts its lists of files anew.
list -type f ! -path './var/lib/dpkg/info/*.list' -print0 | xargs -0 sha256sum | sed 's/^\\([^ ]*\\)  \\(.*\\)/\\2 \\1/'
"""


class Root:
    """A Debian root, its topmost layer made for a test."""

    def __init__(self, lower: list[Path], overlay: Path, repository: Path) -> None:
        self.layers = [overlay / "upper", *lower]
        for name in ("upper", "work", "root"):
            (overlay / name).mkdir(parents=True)
        self.environment = {
            **ENVIRONMENT,
            "LOWER": ":".join(map(str, lower)),
            "OVERLAY": str(overlay),
            "REPOSITORY": str(repository),
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C",
        }

    def run(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("unshare", "--mount", "sh", "-c", ENTER, "sh", script, env=self.environment, check=check)

    def files(self) -> set[str]:
        return set(self.run(TREE_LISTING).stdout.splitlines())


def kernel_root(kernel: str) -> tuple[Path, str]:
    """The harness's root that has this kernel, and the kernel's release."""
    prepared = subprocess.run(
        [TREE / "tests/vm/ksmvm", "kernel", kernel], check=True, text=True, stdout=subprocess.PIPE
    )
    found = json.loads(prepared.stdout)
    return Path(found["root"]), found["version"]
