# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with Secure Boot on: firmware (OVMF), shim, and a kernel that only loads what is signed.

The chain is that of a Debian machine: the firmware checks shim, shim checks the kernel, and tells it
which keys the machine's owner enrolled (MOK). Firmware and kernel trust keys made here in place of
Microsoft's and Debian's. Enrolling a MOK takes a person at the console; here it is written to where
shim keeps it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ksmvm.process import run, system_environment

CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
SHIM = Path("/usr/lib/shim/shimx64.efi")
STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
# Where shim looks for what it starts; it was made for GRUB.
SECOND_STAGE = "grubx64.efi"
OWNER = "4d4d4b53-0000-4000-8000-6b736d2d666c"  # any GUID: who enrolled a key
SHIM_GUID = "605dab50-e046-4300-abb6-3dd810dd8b23"
# Addresses in the loaded image, far enough apart for each part.
PARTS = {".osrel": 0x20000, ".cmdline": 0x30000, ".linux": 0x2000000, ".initrd": 0x6000000}


@dataclass(frozen=True)
class KeyPair:
    key: Path
    certificate: Path  # PEM

    @classmethod
    def make(cls, folder: Path, name: str, *options: str) -> KeyPair:
        pair = cls(folder / f"{name}.key", folder / f"{name}.pem")
        run(
            [
                *("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "36500"),
                *("-subj", f"/CN={name}/", *options),
                *("-keyout", os.fspath(pair.key), "-out", os.fspath(pair.certificate)),
            ]
        )
        return pair

    def sign(self, program: Path, target: Path) -> None:
        key, certificate = os.fspath(self.key), os.fspath(self.certificate)
        run(["sbsign", "--key", key, "--cert", certificate, "--output", os.fspath(target), os.fspath(program)])


@dataclass(frozen=True)
class SecureBoot:
    """`owner` is trusted by the firmware, and signs shim and kernel; `enrolled` are the MOKs, PEM."""

    owner: KeyPair
    enrolled: Sequence[Path] = ()

    def load(self, scratch: Path, kernel: Path, initrd: Path, append: str) -> list[str]:
        """QEMU's arguments; firmware, its variables and a boot disk are made in `scratch`."""
        boot = scratch / "esp/EFI/BOOT"
        boot.mkdir(parents=True)
        self.owner.sign(SHIM, boot / "BOOTX64.EFI")
        self.owner.sign(self._image(scratch, kernel, initrd, append), boot / SECOND_STAGE)
        variables = scratch / "variables.fd"
        enrolled = [word for each in self.enrolled for word in ("--add-mok", SHIM_GUID, os.fspath(each))]
        owner = os.fspath(self.owner.certificate)
        # Of the caller's PATH: virt-firmware comes from PyPI.
        tool = shutil.which("virt-fw-vars") or "virt-fw-vars"
        run(
            [
                *(tool, "--input", os.fspath(VARIABLES), "--output", os.fspath(variables)),
                *("--enroll-cert", owner, "--no-microsoft", "--add-db", OWNER, owner, "--sb", *enrolled),
            ]
        )
        return [
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}"),
            *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
            *("-drive", f"if=none,id=esp,format=raw,file=fat:rw:{scratch / 'esp'}"),
            *("-device", "virtio-blk-pci,drive=esp"),
        ]

    def _image(self, scratch: Path, kernel: Path, initrd: Path, append: str) -> Path:
        """One program of kernel, initial file system and arguments; the stub in it starts the kernel."""
        signed, image = scratch / "vmlinuz.signed", scratch / "kernel.efi"
        self.owner.sign(kernel, signed)
        content = {".linux": signed, ".initrd": initrd}
        for name, text in ((".osrel", "ID=debian\n"), (".cmdline", append)):
            content[name] = scratch / name.lstrip(".")
            content[name].write_text(text)
        sections = [
            word
            for name, address in PARTS.items()
            for word in ("--add-section", f"{name}={content[name]}", "--change-section-vma", f"{name}={address:#x}")
        ]
        run(["objcopy", *sections, os.fspath(STUB), os.fspath(image)], env=system_environment())
        return image
