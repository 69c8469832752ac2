# SPDX-License-Identifier: GPL-2.0-or-later
"""The debug kernel: Debian's source, configured to find what a stock kernel bears in silence.

It is laid out as a root is (boot, usr/lib/modules, usr/src), but holds no system: modules for it are
built by this machine's compiler, as it was itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from ksmvm import host
from ksmvm.errors import HarnessError
from ksmvm.lock import locked
from ksmvm.paths import HARNESS, cache
from ksmvm.process import run, system_environment
from ksmvm.progress import say, step

# Raise when what _build() does changes in a way that the configuration does not tell.
RECIPE_VERSION = 1

SOURCE = "linux-source-6.12"
CONFIG = HARNESS / "debug-kernel.config"
TOOLS = (
    *("bc", "bison", "dpkg", "flex", "gcc", "kmod", "libc6-dev", "libelf-dev", "libssl-dev"),
    *("make", "perl", "tar", "xz-utils"),
)
# What make prints, a line for each file; to tell how far it is.
LINES = 2500

OPTION = re.compile(r"^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$", re.MULTILINE)


def options(text: str) -> dict[str, str]:
    """Name -> value of every option in a configuration; "n" where it is not set."""
    return {name or unset: value or "n" for name, value, unset in OPTION.findall(text)}


def digest() -> str:
    text = json.dumps([RECIPE_VERSION, SOURCE, options(CONFIG.read_text())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def location() -> Path:
    return cache("debug-kernel")


def ensure() -> Path:
    """The folder of the finished kernel; built when there is none, or when its recipe has changed.

    As with a root only a rename puts it in place. What an interrupted build has done is not done again.
    """
    target = location()
    stamp = target.with_suffix(".recipe")
    wanted = digest()
    with locked("debug-kernel"):
        if target.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
            return target
        host.setup(TOOLS)
        stamp.unlink(missing_ok=True)
        partial = target.with_suffix(".partial")
        with step(f"debug kernel of Debian's {SOURCE}, 15 to 50 minutes"):
            _unpack(partial)
            _configure(partial / "tree")
            _compile(partial / "tree")
            _install(partial / "tree", partial / "kernel")
        _remove(target)
        (partial / "kernel").rename(target)
        stamp.write_text(wanted)
        _remove(partial)
    return target


def _unpack(partial: Path) -> None:
    if (partial / "tree").is_dir():
        say(f"going on with the build in {partial}")
        return
    _remove(partial)
    partial.mkdir(parents=True)
    environment = system_environment(DEBIAN_FRONTEND="noninteractive")
    # apt-get downloads into the folder it is started in.
    run(["sh", "-c", f'cd "$1" && apt-get -q download {SOURCE}', "sh", os.fspath(partial)], env=environment)
    (package,) = partial.glob(f"{SOURCE}_*.deb")
    half = partial / "unpacked"
    half.mkdir()
    script = 'dpkg-deb --fsys-tarfile "$1" | tar -x -O "./usr/src/$2.tar.xz" | tar -xJ -C "$3" --strip-components=1'
    with step("unpack its source"):
        run(["bash", "-o", "pipefail", "-c", script, "bash", os.fspath(package), SOURCE, os.fspath(half)])
    package.unlink()
    half.rename(partial / "tree")


def _configure(tree: Path) -> None:
    make = ["make", "-C", os.fspath(tree)]
    run([*make, "x86_64_defconfig"])
    run(["sh", "-c", 'cd "$1" && scripts/kconfig/merge_config.sh -m .config "$2"', "sh", str(tree), str(CONFIG)])
    run([*make, "olddefconfig"])
    lost = lost_options(CONFIG.read_text(), (tree / ".config").read_text())
    if lost:
        raise HarnessError(
            f"{SOURCE} does not take these options as {CONFIG.name} has them: {', '.join(lost)}; correct them there"
        )


def lost_options(wanted: str, have: str) -> list[str]:
    """What of a configuration did not come out as wanted."""
    found = options(have)
    return [
        f"{name}={value} (is {found.get(name, 'n')})"
        for name, value in options(wanted).items()
        if found.get(name, "n") != value
    ]


def _compile(tree: Path) -> None:
    log = cache("logs", "debug-kernel.log")

    def tell() -> None:
        with log.open("rb") as lines:
            say(f"debug kernel: {sum(1 for _ in lines)} of about {LINES} files, log in {log}")

    jobs = f"-j{os.cpu_count() or 1}"
    run(["make", jobs, "-C", os.fspath(tree), "bzImage", "modules"], log=log, every_minute=tell)


def _install(tree: Path, kernel: Path) -> None:
    """What booting and module building take: 1 % of the tree."""
    _remove(kernel)
    version = (tree / "include/config/kernel.release").read_text().strip()
    make = ["make", "-C", os.fspath(tree)]
    boot = kernel / "boot"
    boot.mkdir(parents=True)
    for source, name in (
        ("arch/x86/boot/bzImage", "vmlinuz"),
        (".config", "config"),
        ("System.map", "System.map"),
    ):
        run(["cp", os.fspath(tree / source), os.fspath(boot / f"{name}-{version}")])
    run([*make, f"INSTALL_MOD_PATH={kernel}/usr", "modules_install"])
    (kernel / f"usr/lib/modules/{version}/build").unlink(missing_ok=True)
    headers = kernel / f"usr/src/linux-headers-{version}"
    headers.mkdir(parents=True)
    # The kernel's own script of what a package of headers holds.
    command = f"$(srctree)/scripts/package/install-extmod-build {headers}"
    run([*make, "run-command", f"KBUILD_RUN_COMMAND={command}"])


def _remove(folder: Path) -> None:
    if folder.exists():
        run(["rm", "-rf", "--one-file-system", os.fspath(folder)])
