# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of a kernel's root, with their libraries, for a module VM: what busybox has not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ksmvm.errors import HarnessError
from ksmvm.paths import REPOSITORY
from ksmvm.process import run

# What no program of a test imports is most of the standard library.
_LEFT_OUT = ("config-*", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo")


def programs(root: Path, names: Sequence[str]) -> dict[str, Path]:
    """Files by their paths in the VM; `names` are paths in the root, which may be links."""
    files: dict[str, Path] = {}
    for name in names:
        files[name] = _file(root, name)
        files.update({library: _file(root, library) for library in _libraries(root, name)})
    return files


def python(root: Path) -> dict[str, Path]:
    """The root's Python as /usr/bin/python3, with its standard library."""
    files = programs(root, ["/usr/bin/python3"])
    folders = [path for path in (root / "usr/lib").glob("python3.*") if path.is_dir()]
    if len(folders) != 1:
        raise HarnessError(f"{root} holds {len(folders)} Pythons where one is due")
    for path in sorted(folders[0].iterdir()):
        if not any(path.match(pattern) for pattern in _LEFT_OUT):
            files[f"/usr/lib/{folders[0].name}/{path.name}"] = path
    extensions = [f"/usr/lib/{folders[0].name}/lib-dynload/{name.name}" for name in _extensions(folders[0])]
    for extension in extensions:
        files.update({library: _file(root, library) for library in _libraries(root, extension)})
    return files


def ksm(place: str) -> dict[str, Path]:
    """This tree's Python package, in the folder `place` of the VM, with what its links lead to."""
    source = REPOSITORY / "python/ksm"
    links = (path for path in source.rglob("*") if path.is_symlink())
    return {f"{place}/ksm": source, **{f"{place}/ksm/{path.relative_to(source)}": path.resolve() for path in links}}


def _extensions(folder: Path) -> Iterator[Path]:
    for name in ("_ctypes", "mmap", "resource", "_hashlib"):
        yield from (folder / "lib-dynload").glob(f"{name}.*.so")


def _libraries(root: Path, name: str) -> list[str]:
    said = run(["chroot", str(root), "ldd", name])
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", said, re.MULTILINE)


def _file(root: Path, name: str) -> Path:
    # Links are meant within the root.
    return root / run(["chroot", str(root), "readlink", "-e", name]).strip().lstrip("/")
