# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the `newc` archives that the kernel unpacks as its first root file system.

Written here, and not with cpio(1), since the archive holds a device node and names that are
nowhere on disk.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Union

ALIGNMENT = 4
Content = Union[bytes, str, Path]


class Archive:
    """Entries in the order they were added; parent folders come by themselves."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inode = 0
        self._folders: set[PurePosixPath] = set()

    def folder(self, path: str) -> None:
        self._parents(PurePosixPath(path.strip("/")) / "x")

    def file(self, path: str, content: Content, mode: int = 0o644) -> None:
        if isinstance(content, str):
            content = content.encode()
        if isinstance(content, bytes):
            self._header(path, stat.S_IFREG | mode, size=len(content))
            self._file.write(content)
        else:
            with content.open("rb") as source:
                size = os.fstat(source.fileno()).st_size
                self._header(path, stat.S_IFREG | mode, size=size)
                shutil.copyfileobj(source, self._file, 1 << 20)
        self._pad()

    def link(self, path: str, target: str) -> None:
        self._header(path, stat.S_IFLNK | 0o777, size=len(target.encode()))
        self._file.write(target.encode())
        self._pad()

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        self._header(path, stat.S_IFCHR | mode, device=(major, minor))

    def copy(self, source: Path, destination: str) -> None:
        """A file or a folder of the machine, with its permissions; owners become root."""
        if source.is_symlink():
            self.link(destination, os.readlink(source))
        elif source.is_dir():
            self.folder(destination)
            for child in sorted(source.iterdir()):
                self.copy(child, f"{destination}/{child.name}")
        else:
            self.file(destination, source, stat.S_IMODE(source.stat().st_mode))

    def finish(self) -> None:
        self._header("TRAILER!!!", 0)

    def _parents(self, path: PurePosixPath) -> None:
        for folder in reversed(path.parents[:-1]):
            if folder not in self._folders:
                self._folders.add(folder)
                self._entry(str(folder), stat.S_IFDIR | 0o755)

    def _header(self, path: str, mode: int, *, size: int = 0, device: tuple[int, int] = (0, 0)) -> None:
        name = path.strip("/")
        self._parents(PurePosixPath(name))
        self._entry(name, mode, size, device)

    def _entry(self, name: str, mode: int, size: int = 0, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        raw = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, size, 0, 0, *device, len(raw), 0)
        self._file.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
        self._pad()

    def _pad(self) -> None:
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
