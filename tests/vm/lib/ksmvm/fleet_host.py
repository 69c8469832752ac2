# SPDX-License-Identifier: GPL-2.0-or-later
"""Fleet hosts: Debian with systemd and SSH in a VM that outlives the command that started it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ksmvm import qemu, ssh, supervisor
from ksmvm.errors import HarnessError
from ksmvm.fleet_image import FleetImage, ensure_image, write_initrd
from ksmvm.kernel_log import find_splats
from ksmvm.keys import ensure_keys
from ksmvm.lock import locked
from ksmvm.parallel import side_by_side
from ksmvm.paths import HARNESS, cache
from ksmvm.process import run
from ksmvm.progress import say, step

DEFAULT_MEMORY = 1536
BOOT_TIMEOUT = 600.0  # a boot takes half a minute on idle cores, and these are often not
POLL_SECONDS = 0.5
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
# A host's name is also its folder's and its DNS label.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class FleetHost:
    name: str
    kernel: str
    version: str
    port: int
    key: Path
    pid: int

    @property
    def folder(self) -> Path:
        return _folder(self.name)

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "kernel": self.kernel,
            "version": self.version,
            "address": ssh.ADDRESS,
            "port": self.port,
            "user": "root",
            "key": str(self.key),
            "pid": self.pid,
            "running": self.running(),
            "console": str(self.console),
        }

    def running(self) -> bool:
        """Whether the process is there and still this VM (numbers are used again)."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fspath(self.folder).encode() in words

    def ssh(self, remote: str, *, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        return ssh.run(self.port, self.key, remote, timeout=timeout)

    def wait(self, *, other_boot_than: Optional[str] = None, timeout: float = BOOT_TIMEOUT) -> None:
        """Until a command runs over SSH, and it is another boot than the one named."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.running():
                raise HarnessError(f"host {self.name} has ended; {self._last_words()}")
            if ssh.answers(self.port):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    done = self.ssh(BOOT_ID, timeout=30)
                    if done.returncode == 0 and done.stdout != other_boot_than:
                        return
            time.sleep(POLL_SECONDS)
        raise HarnessError(f"host {self.name} does not answer over SSH after {timeout:g} s; {self._last_words()}")

    def reboot(self) -> None:
        before = self.ssh(BOOT_ID).stdout
        # The connection may break before the status comes back.
        self.ssh("systemctl reboot")
        self.wait(other_boot_than=before)

    def kernel_log(self) -> str:
        """The console since the VM was started, and the whole ring of the kernel that runs now."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        done = self.ssh("dmesg -r")
        if done.returncode:
            say(f"host {self.name}: no dmesg over SSH: {done.stderr.strip()}")
            return text
        return f"{text}\n{done.stdout}"

    def splats(self) -> list[str]:
        return find_splats(self.kernel_log())

    def _last_words(self) -> str:
        parts = []
        for log in (self.folder / "qemu.log", self.console):
            if log.exists():
                parts.append(f"{log}:\n" + "\n".join(log.read_text("utf8", "replace").splitlines()[-15:]))
        return "\n".join(parts)


def up(
    hosts: dict[str, str],
    *,
    port: Optional[int] = None,
    memory: int = DEFAULT_MEMORY,
    smp: int = 1,
) -> list[FleetHost]:
    """Start hosts (name -> kernel) side by side and wait until all answer over SSH."""
    for name in hosts:
        if not NAME.fullmatch(name):
            raise HarnessError(f"{name!r} is no host name; use lower-case letters, digits and -")
    kernels = list(dict.fromkeys(hosts.values()))
    images = dict(zip(kernels, side_by_side(ensure_image, kernels)))
    started: list[FleetHost] = []
    with locked("hosts"):
        for name in hosts:
            present = find(name)
            if present is not None and present.running():
                raise HarnessError(f"host {name!r} is up already; `ksmvm down {name}` first")
        for name, kernel in hosts.items():
            started.append(_start(name, images[kernel], port or _free_port(), memory, smp))

    def ready(each: FleetHost) -> None:
        with step(f"boot {each.name} (kernel {each.version}, SSH port {each.port})"):
            each.wait()

    try:
        side_by_side(ready, started)
    except BaseException:
        # Whoever asked learns no ports now, so nobody would stop them.
        for host in started:
            down(host)
        raise
    return started


def _start(name: str, image: FleetImage, port: int, memory: int, smp: int) -> FleetHost:
    folder = _folder(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keys = ensure_keys()
    disk, initrd = folder / "disk.qcow2", folder / "initrd"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"] + ["-b", os.fspath(image.disk), os.fspath(disk)])
    write_initrd(initrd, image, keys)
    machine = qemu.command(
        kernel=image.kernel.vmlinuz,
        initrd=initrd,
        append=(
            "panic=10",
            "loglevel=5",  # warnings are on the console, so they outlast a reboot
            "net.ifnames=0",
            "systemd.show_status=0",
            "systemd.gpt_auto=0",
            f"ksmvm.host={name}",
        ),
        smp=smp,
        memory=memory,
        console=folder / "console.log",
    )
    machine += ["-name", name]
    machine += ["-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={disk}"]
    machine += ["-device", "virtio-blk-pci,drive=disk"]
    machine += ["-netdev", f"user,id=net,hostfwd=tcp:{ssh.ADDRESS}:{port}-:22"]
    machine += ["-device", "virtio-net-pci,netdev=net,romfile="]
    machine += ["-device", "virtio-rng-pci"]
    (folder / supervisor.COMMAND_FILE).write_text(json.dumps(machine))
    host = FleetHost(name, image.kernel.name, image.kernel.version, port, keys.user_private, 0)
    return _launch(host)


def _launch(host: FleetHost) -> FleetHost:
    with (host.folder / "qemu.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", supervisor.__name__, os.fspath(host.folder)],
            env={**os.environ, "PYTHONPATH": os.fspath(HARNESS / "lib")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    host = replace(host, pid=process.pid)
    (host.folder / "host.json").write_text(json.dumps(host.as_json(), indent=1))
    return host


def crash(host: FleetHost) -> None:
    """End the VM as a power cut does; its disk stays for start()."""
    if host.running():
        os.kill(host.pid, signal.SIGKILL)
        while host.running():  # at most a moment after SIGKILL
            time.sleep(0.05)


def start(host: FleetHost) -> FleetHost:
    """Boot a host that has ended, with the disk that it had, and wait until it answers."""
    if host.running():
        raise HarnessError(f"host {host.name!r} is up already")
    host = _launch(host)
    with step(f"boot {host.name} again"):
        host.wait()
    return host


def find(name: str) -> Optional[FleetHost]:
    try:
        record = json.loads((_folder(name) / "host.json").read_text())
    except FileNotFoundError:
        return None
    return FleetHost(
        name=record["name"],
        kernel=record["kernel"],
        version=record["version"],
        port=record["port"],
        key=Path(record["key"]),
        pid=record["pid"],
    )


def get(name: str) -> FleetHost:
    found = find(name)
    if found is None:
        known = ", ".join(each.name for each in every()) or "none"
        raise HarnessError(f"no host {name!r}; hosts that were started: {known}")
    return found


def every() -> Iterator[FleetHost]:
    folder = cache("hosts")
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        found = find(each.name)
        if found is not None:
            yield found


def down(host: FleetHost) -> None:
    """Stop the VM and forget its disk; its console stays among the logs."""
    crash(host)
    if host.console.exists():
        kept = cache("logs", f"console-{host.name}.log")
        kept.parent.mkdir(parents=True, exist_ok=True)
        host.console.replace(kept)
    shutil.rmtree(host.folder, ignore_errors=True)


def _folder(name: str) -> Path:
    return cache("hosts", name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ssh.ADDRESS, 0))
        return int(probe.getsockname()[1])
