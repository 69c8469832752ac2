# SPDX-License-Identifier: GPL-2.0-or-later
"""Find a stock kernel's own modules, and what they depend on, in a root."""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from pathlib import Path

from ksmvm.errors import HarnessError


def module_name(path: str) -> str:
    """`kernel/fs/ext4/ext4.ko.xz` -> `ext4`; the kernel takes - and _ for the same."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def load_order(dependencies: str, builtin: str, wanted: Iterable[str]) -> list[str]:
    """Paths of the wanted modules, each after what it needs.

    `dependencies` and `builtin` are the texts of modules.dep and modules.builtin.
    """
    needs: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        paths[module_name(path)] = path
        needs[path] = rest.split()
    built_in = {module_name(line) for line in builtin.splitlines()}
    order: list[str] = []
    for name in wanted:
        found = paths.get(module_name(name))
        if found is None:
            if module_name(name) in built_in:
                continue
            raise HarnessError(f"this kernel has no module {name!r}")
        # depmod lists the nearest dependency first, and each with all of its own.
        for each in (*reversed(needs[found]), found):
            if each not in order:
                order.append(each)
    return order


def collect(root: Path, version: str, wanted: Iterable[str]) -> list[tuple[str, bytes]]:
    """(file name, content) of the wanted modules in load order, decompressed."""
    tree = root / "usr/lib/modules" / version
    order = load_order((tree / "modules.dep").read_text(), (tree / "modules.builtin").read_text(), wanted)
    return [(f"{module_name(path)}.ko", _content(tree / path)) for path in order]


def _content(path: Path) -> bytes:
    if path.suffix == ".ko":
        return path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    raise HarnessError(f"{path}: cannot unpack a module that ends in {path.suffix!r}")
