# SPDX-License-Identifier: GPL-2.0-or-later
"""What small guests have in memory: each boots, works a little, and its memory is kept as a file."""

from __future__ import annotations

from pathlib import Path

import ksmvm

from ksmbench.plan import GUEST_MIB, GUESTS

PAGE = 4096
# Of each, in MiB; the kernel's own image and what it unpacks are most of it.
MEMORY = 160
# Files are read into the page cache, and there are some that no other guest has.
WORK = "dd if=/dev/urandom of=/own bs=1M count=4; find / -xdev -type f -exec md5sum {} + >/sums"


def images(kernel: str, scratch: Path) -> dict[str, Path]:
    """Files to carry into a VM, by their paths there; `scratch` must outlast the run."""
    made = {}
    for number in range(GUESTS):
        ram, image = scratch / "ram", scratch / f"guest-{number}"
        ksmvm.ModuleVM(kernel, memory=MEMORY, counted=True, ram=ram).run(WORK).check()
        image.write_bytes(used(ram.read_bytes(), GUEST_MIB << 20))
        ram.unlink()
        made[f"/usr/share/ksm-bench/guest-{number}"] = image
    return made


def used(memory: bytes, length: int) -> bytes:
    """The first `length` bytes of pages in use: a guest that ran for long has no page left that is empty."""
    empty = bytes(PAGE)
    pages = (memory[at : at + PAGE] for at in range(0, len(memory), PAGE))
    found = b"".join(page for page in pages if page != empty)
    if len(found) < length:
        raise SystemExit(f"bench: a guest used {len(found) >> 20} MiB, and {length >> 20} are wanted of each")
    return found[:length]
