# SPDX-License-Identifier: GPL-2.0-or-later
"""Initial file systems: busybox, an init script, and what the caller brings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ksmvm.cpio import Archive
from ksmvm.process import run

BUSYBOX = Path("/bin/busybox")
MODULE_FOLDER = "/lib/ksmvm"


@contextmanager
def initramfs(target: Path, init: Path, modules: Iterable[tuple[str, bytes]] = ()) -> Iterator[Archive]:
    """An archive with the basics in it, open for more; complete when the block ends.

    `init` finds the modules' names, in load order, in /lib/ksmvm/list.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        archive = Archive(file)
        for folder in ("dev", "proc", "sys", "tmp", "root", "run"):
            archive.folder(folder)
        # The kernel opens it for init before anything can be mounted.
        archive.device("dev/console", 5, 1)
        archive.file("bin/busybox", BUSYBOX, 0o755)
        for applet in run([str(BUSYBOX), "--list"]).split():
            if applet != "busybox":
                archive.link(f"bin/{applet}", "busybox")
        archive.link("sbin", "bin")
        archive.file("init", init, 0o755)
        names = []
        for name, content in modules:
            archive.file(f"{MODULE_FOLDER}/{name}", content)
            names.append(f"{name}\n")
        archive.file(f"{MODULE_FOLDER}/list", "".join(names))
        yield archive
        archive.finish()
