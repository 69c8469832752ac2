# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host runs as its workload: scripts, and the initial file system of its guests."""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from pathlib import Path

from ksmvm.initramfs import initramfs

from fleet.paths import WORKLOAD, cache

MIB = 1 << 20


def common_md5(block: bytes, mib: int) -> str:
    """Of what guest-init's common() writes."""
    whole = b"".join(b"%d\n" % copy + block for copy in range(100, 100 + mib))
    return hashlib.md5(whole[: mib * MIB]).hexdigest()


def initial_file_system(target: Path) -> None:
    block = random.Random("block of the nested guests").randbytes(MIB)
    sizes = json.loads((WORKLOAD / "sizes.json").read_text())
    common = sizes["guest_common_mib"]
    settings = {
        "common_mib": common,
        "own_mib": sizes["guest_own_mib"],
        "common_md5": common_md5(block, common),
    }
    with initramfs(target, WORKLOAD / "guest-init") as archive:
        archive.file("block", block)
        archive.file("workload.conf", "".join(f"{k}={v}\n" for k, v in settings.items()))


def pack() -> Path:
    """All of it in one archive, since a host far away takes one file sooner than five."""
    initial = cache("guest.initramfs")
    initial_file_system(initial)
    target = cache("workload.tar")
    with tarfile.open(target, "w") as archive:
        for file in (*sorted(WORKLOAD.glob("*.py")), WORKLOAD / "sizes.json", initial):
            archive.add(file, f"ksm-workload/{file.name}", filter=_of_root)
    return target


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    # The same files give the same archive.
    member.mtime = 1577836800
    return member
