# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images of fleet hosts: a directory root as an ext4 file system.

The image is stock Debian and the same for all hosts. What makes a host of it (keys, name, a
quicker boot) is brought by the initial ramdisk at the host's first boot.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ksmvm import host, kernel_modules
from ksmvm.errors import HarnessError
from ksmvm.initramfs import initramfs
from ksmvm.kernels import PreparedKernel, prepare, recipe
from ksmvm.keys import Keys
from ksmvm.lock import locked
from ksmvm.paths import GUEST_FILES, cache
from ksmvm.process import run
from ksmvm.progress import step
from ksmvm.roots import FLEET_PACKAGES

# Raise when the way an image is made changes.
IMAGE_VERSION = 1
DISK_SIZE = "8G"  # sparse
# ext4 asks for crc32c by name at run time, which modules.dep does not tell.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "crc32c_generic", "ext4")
SSH = "overlay/etc/ssh"


@dataclass(frozen=True)
class FleetImage:
    kernel: PreparedKernel
    disk: Path


def ensure_image(kernel: str) -> FleetImage:
    """The image for a kernel's suite, from the cache or made of its root."""
    wanted = recipe(kernel)
    if not set(FLEET_PACKAGES) <= set(wanted.packages):
        raise HarnessError(f"kernel {kernel!r} has no fleet image; use 6.1 or 6.12")
    prepared = prepare(kernel)
    host.require()
    disk = cache("images", f"{wanted.name}.ext4")
    stamp = disk.with_suffix(".recipe")
    digest = f"{IMAGE_VERSION} {DISK_SIZE} {wanted.digest()}"
    with locked(f"image-{wanted.name}"):
        if disk.is_file() and stamp.is_file() and stamp.read_text() == digest:
            return FleetImage(prepared, disk)
        stamp.unlink(missing_ok=True)
        disk.parent.mkdir(parents=True, exist_ok=True)
        partial = disk.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with step(f"image {wanted.name}"):
            run(
                [
                    *("mke2fs", "-q", "-t", "ext4", "-m", "0"),
                    # No journal: the disk is thrown away with the VM.
                    *("-O", "^has_journal,^metadata_csum"),
                    *("-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"),
                    *("-d", os.fspath(prepared.root), os.fspath(partial), DISK_SIZE),
                ]
            )
        partial.rename(disk)
        stamp.write_text(digest)
    return FleetImage(prepared, disk)


def write_initrd(target: Path, image: FleetImage, keys: Keys) -> None:
    """The initial ramdisk that turns the image into a host."""
    prepared = image.kernel
    modules = kernel_modules.collect(prepared.root, prepared.version, BOOT_MODULES)
    fleet = GUEST_FILES / "fleet"
    with initramfs(target, GUEST_FILES / "fleet-init", modules) as archive:
        for part in ("all", recipe(prepared.name).suite):
            if (fleet / part).is_dir():
                archive.copy(fleet / part, "overlay")
        for unit in masked_units((fleet / "masked-units").read_text()):
            archive.link(f"overlay/etc/systemd/system/{unit}", "/dev/null")
        # Generators run at boot and at every daemon-reload; none makes a unit that counts here.
        for generator in sorted((prepared.root / "usr/lib/systemd/system-generators").iterdir()):
            archive.link(f"overlay/etc/systemd/system-generators/{generator.name}", "/dev/null")
        archive.file(f"{SSH}/ksmvm-authorized-keys", keys.user_public)
        archive.file(f"{SSH}/ssh_host_ed25519_key", keys.host_private, 0o600)
        archive.file(f"{SSH}/ssh_host_ed25519_key.pub", keys.host_public)


def masked_units(listing: str) -> list[str]:
    return [line for line in listing.splitlines() if line and not line.startswith("#")]
