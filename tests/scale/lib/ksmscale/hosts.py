# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated hosts that run: each is a process tree in namespaces of its own, below this process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ksmvm.errors import HarnessError
from ksmvm.paths import REPOSITORY
from ksmvm.process import run

from ksmscale import attributes, processes
from ksmscale.fleet import GROUP, Host, control_batch, host_batch

INIT = REPOSITORY / "tests/scale/host-init"
# The first process of the PID namespace of all hosts.
CONTROL_NAMESPACE = "/proc/1/ns/net"
START_SECONDS = 60.0
QUIET_SECONDS = 30.0
SESSION = re.compile(rb"^Starting session: ", flags=re.MULTILINE)


@dataclass
class Running:
    hosts: Sequence[Host]
    folder: Path
    # Of the overlay, the uppermost first.
    layers: Sequence[Path]
    pids: dict[int, Host] = field(default_factory=dict)

    def _of(self, host: Host) -> Path:
        return self.folder / host.name

    def changes(self, host: Host) -> Path:
        """The host's own layer of the overlay."""
        return self._of(host) / "upper"

    def start(self) -> None:
        lower = ":".join(map(str, self.layers))
        for host in self.hosts:
            for name in ("upper", "work", "root"):
                (self._of(host) / name).mkdir(parents=True)
            batch = self._of(host) / "network"
            batch.write_text(host_batch(host, CONTROL_NAMESPACE))
            command = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
            command += [str(INIT), host.name, str(batch), lower, str(self._of(host))]
            # Their words, should one fail, belong to the log of this program.
            self.pids[subprocess.Popen(command, stdin=subprocess.DEVNULL).pid] = host
        for host in self.hosts:
            _wait_for(_has_cable, host, "has no network")
        batch = self.folder / "network"
        batch.write_text(control_batch(self.hosts))
        run(["ip", "-batch", str(batch)])
        for host in self.hosts:
            _wait_for(_greets, host, "has no sshd that answers")

    def stop(self) -> None:
        # Namespaces go some time after their last process: too late for the next hosts' cables.
        run(["ip", "link", "delete", "group", str(GROUP)])
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        # Each host's first process comes to this one when its own parent dies, and must not be taken for
        # one of Ansible's later on.
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        self.pids.clear()

    def cpu_seconds(self) -> float:
        """Of all hosts together, since they started; once their sessions have ended."""
        deadline = time.monotonic() + QUIET_SECONDS
        while True:
            found = processes.trees(self.pids, processes.table())
            # Of sshd, which is what a host's init is, none but the first is left.
            sessions = sum(stat.comm == "init" for members in found.values() for stat in members) - len(found)
            if sessions <= 0 or time.monotonic() > deadline:
                return sum(processes.cpu_seconds(members) for members in found.values())
            time.sleep(0.1)

    def sessions(self) -> int:
        """How often anything was run on them over SSH."""
        return sum(len(SESSION.findall(self._log(host))) for host in self.hosts)

    def _log(self, host: Host) -> bytes:
        return (self.changes(host) / "var/log/sshd.log").read_bytes()

    def wrong(self) -> list[str]:
        """Names of hosts that have not the wanted values."""
        return [host.name for host in self.hosts if self._values(host) != attributes.WANTED]

    def _values(self, host: Host) -> dict[str, str]:
        values = {}
        for layer in reversed([self.changes(host), *self.layers]):
            for name in attributes.WANTED:
                file = layer / attributes.FOLDER / name
                if file.exists():
                    values[name] = file.read_text().strip()
        return values


def _wait_for(condition: Callable[[Host], bool], host: Host, failure: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition(host):
        if time.monotonic() > deadline:
            raise HarnessError(f"{host.name} {failure} after {START_SECONDS:.0f} s; what it said is above")
        time.sleep(0.02)


def _has_cable(host: Host) -> bool:
    return host.link in (name for _, name in socket.if_nameindex())


def _greets(host: Host) -> bool:
    try:
        with socket.create_connection((str(host.address), 22), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
