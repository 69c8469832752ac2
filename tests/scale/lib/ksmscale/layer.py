# SPDX-License-Identifier: GPL-2.0-or-later
"""What all simulated hosts have beyond Debian's packages: a layer of the overlay."""

from __future__ import annotations

import shutil
from pathlib import Path

from ksmvm import paths
from ksmvm.keys import Keys
from ksmvm.process import run

from ksmscale import attributes

FILES = paths.REPOSITORY / "tests/scale/files"
STATUS = """
Package: {name}
Status: install ok installed
Priority: optional
Section: admin
Maintainer: nobody
Architecture: all
Version: {version}
Description: present as files only
"""
PACKAGES = ("ksm-tools", "python3-ksm")


def build(root: Path, scratch: Path, keys: Keys, tree: Path) -> Path:
    """Make the layer above *root* and return it; the tree's Python is compiled as a package's would be."""
    layer, work, merged = (scratch / name for name in ("layer", "layer-work", "layer-merged"))
    for folder in (layer, work, merged):
        folder.mkdir()
    run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={root},upperdir={layer},workdir={work}", str(merged)])
    try:
        _fill(merged, keys, tree)
    finally:
        run(["umount", str(merged)])
    return layer


def _fill(top: Path, keys: Keys, tree: Path) -> None:
    shutil.copytree(FILES, top, dirs_exist_ok=True)
    # apt opens its cache faster without lists of what could be installed.
    shutil.rmtree(top / "var/lib/apt/lists")
    (top / "var/lib/apt/lists/partial").mkdir(parents=True)
    for name in ("pkgcache.bin", "srcpkgcache.bin"):
        (top / "var/cache/apt" / name).unlink(missing_ok=True)

    version = (tree / "VERSION").read_text().strip() + "-1"
    with (top / "var/lib/dpkg/status").open("a") as status:
        status.writelines(STATUS.format(name=name, version=version) for name in PACKAGES)
    package = Path("usr/lib/python3/dist-packages/ksm")
    shutil.copytree(tree / "python/ksm", top / package, ignore=shutil.ignore_patterns("__pycache__"))
    run(["chroot", str(top), "python3", "-m", "compileall", "-q", f"/{package}"])

    # Ansible takes the name of the first process for the service manager's, but for init's.
    (top / "sbin/init").unlink(missing_ok=True)
    (top / "sbin/init").symlink_to("/usr/sbin/sshd")
    for needed in ("run/sshd", "run/systemd/system", "run/simulated-units", "root/.ssh"):
        (top / needed).mkdir(mode=0o755, parents=True, exist_ok=True)
    # As its package leaves it: enabled and started.
    (top / "run/simulated-units/tuned").touch()
    _copy(keys.user_public, top / "root/.ssh/authorized_keys")
    _copy(keys.host_private, top / "etc/ssh/ssh_host_ed25519_key")

    # Plain files for the kernel's: no sysfs is mounted, whose values would be this machine's.
    folder = top / attributes.FOLDER
    folder.mkdir(parents=True)
    for name, value in attributes.AT_BOOT.items():
        (folder / name).write_text(f"{value}\n")


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
    target.chmod(0o600)
