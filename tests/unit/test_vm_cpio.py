# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives for the kernel, read back with the rules of its documentation."""

import io
import stat
from pathlib import Path

import pytest
from ksmvm.cpio import Archive

HEADER = 110


def read(data: bytes) -> dict:
    """name -> (mode, device, content), by the newc format."""
    entries = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, major, minor, name_size = (fields[n] for n in (1, 6, 9, 10, 11))
        name = data[at + HEADER : at + HEADER + name_size - 1].decode()
        start = -(-(at + HEADER + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return entries
        assert name not in entries
        entries[name] = (mode, (major, minor), data[start : start + size])
        at = -(-(start + size) // 4) * 4


@pytest.fixture
def built(tmp_path: Path) -> dict:
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/tool").write_bytes(b"#!")
    (tmp_path / "tree/inner/tool").chmod(0o750)
    (tmp_path / "tree/alias").symlink_to("inner/tool")
    file = io.BytesIO()
    archive = Archive(file)
    archive.file("/etc/ksmvm/token", "abcde", 0o600)
    archive.file("etc/empty", b"")
    archive.link("sbin", "bin")
    archive.device("dev/console", 5, 1)
    archive.copy(tmp_path / "tree", "/opt/tree")
    archive.finish()
    return read(file.getvalue())


def test_contents_and_modes(built: dict) -> None:
    assert built["etc/ksmvm/token"] == (stat.S_IFREG | 0o600, (0, 0), b"abcde")
    assert built["etc/empty"] == (stat.S_IFREG | 0o644, (0, 0), b"")
    assert built["sbin"] == (stat.S_IFLNK | 0o777, (0, 0), b"bin")
    assert built["dev/console"] == (stat.S_IFCHR | 0o600, (5, 1), b"")


def test_folders_come_before_what_is_in_them(built: dict) -> None:
    names = list(built)
    for name in names:
        parent = name.rpartition("/")[0]
        if parent:
            assert names.index(parent) < names.index(name)
            assert stat.S_ISDIR(built[parent][0])


def test_a_folder_is_copied_whole(built: dict) -> None:
    assert built["opt/tree/inner/tool"] == (stat.S_IFREG | 0o750, (0, 0), b"#!")
    assert built["opt/tree/alias"] == (stat.S_IFLNK | 0o777, (0, 0), b"inner/tool")
