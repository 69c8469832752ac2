# SPDX-License-Identifier: GPL-2.0-or-later
"""Which modules of a stock kernel to load, and in which order."""

import lzma
from pathlib import Path

import pytest
from ksmvm.errors import HarnessError
from ksmvm.kernel_modules import collect, load_order

DEPENDENCIES = """kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/arch/x86/kvm/kvm-amd.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz kernel/virt/lib/irqbypass.ko.xz
kernel/arch/x86/kvm/kvm.ko.xz: kernel/virt/lib/irqbypass.ko.xz
kernel/virt/lib/irqbypass.ko.xz:
"""
BUILTIN = "kernel/drivers/virtio/virtio_pci.ko\n"


def names(paths: list) -> list:
    return [path.rsplit("/", 1)[1] for path in paths]


def test_a_module_comes_after_what_it_needs() -> None:
    assert names(load_order(DEPENDENCIES, BUILTIN, ["kvm_amd"])) == [
        "irqbypass.ko.xz",
        "kvm.ko.xz",
        "kvm-amd.ko.xz",
    ]


def test_each_module_is_loaded_once() -> None:
    order = names(load_order(DEPENDENCIES, BUILTIN, ["jbd2", "ext4", "ext4"]))
    assert order == ["jbd2.ko.xz", "crc16.ko.xz", "ext4.ko.xz"]


def test_what_is_built_in_needs_no_loading() -> None:
    assert load_order(DEPENDENCIES, BUILTIN, ["virtio-pci"]) == []


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(HarnessError, match="'zarm'"):
        load_order(DEPENDENCIES, BUILTIN, ["zarm"])


def test_modules_are_unpacked(tmp_path: Path) -> None:
    tree = tmp_path / "usr/lib/modules/6.12"
    (tree / "kernel").mkdir(parents=True)
    (tree / "kernel/a-b.ko.xz").write_bytes(lzma.compress(b"packed"))
    (tree / "kernel/plain.ko").write_bytes(b"plain")
    (tree / "modules.dep").write_text("kernel/a-b.ko.xz: kernel/plain.ko\nkernel/plain.ko:\n")
    (tree / "modules.builtin").write_text("")
    assert collect(tmp_path, "6.12", ["a_b"]) == [("plain.ko", b"plain"), ("a_b.ko", b"packed")]
