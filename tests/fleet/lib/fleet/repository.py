# SPDX-License-Identifier: GPL-2.0-or-later
"""The signed package repository, served on this machine's loopback.

Hosts reach it at 10.0.2.2, where QEMU's user networking has the machine itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ksmvm.process import run, system_environment

from fleet import versions
from fleet.paths import CACHE, REPOSITORY, cache

LOOPBACK = "127.0.0.1"
SEEN_BY_HOSTS = "10.0.2.2"


@dataclass(frozen=True)
class Repository:
    """One for each fleet, by the fleet's name."""

    name: str

    @property
    def folder(self) -> Path:
        return cache(f"repository-{self.name}")

    @property
    def key(self) -> Path:
        return self.folder / "ksm-archive-keyring.asc"

    @property
    def _record(self) -> Path:
        return cache(f"repository-{self.name}.json")

    def make(self, others: Sequence[str] = ()) -> None:
        """From this tree's packages and those of *others*, signed by the throw-away key."""
        environment = system_environment(KSM_CACHE=str(CACHE))
        own = REPOSITORY / "dist"
        run([str(REPOSITORY / "debian/build"), str(own)], env=environment)
        packages = own
        if others:
            packages = cache(f"packages-{self.name}")
            shutil.rmtree(packages, ignore_errors=True)
            packages.mkdir()
            for folder in (own, *map(versions.build, others)):
                for package in folder.glob("*.deb"):
                    shutil.copy2(package, packages)
        run(
            [str(REPOSITORY / "debian/make-repository"), str(packages), str(self.folder)],
            env=environment,
        )

    def serve(self) -> str:
        """Serve until stop(), and return the URL for hosts: the same one every time."""
        port, pid = self._recorded()
        if pid is None:
            port = port if port and _is_free(port) else _free_port()
            command = [sys.executable, "-m", "http.server", "--bind", LOOPBACK]
            with cache(f"repository-{self.name}.log").open("ab") as log:
                server = subprocess.Popen(
                    [*command, "--directory", str(self.folder), str(port)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._record.write_text(json.dumps({"port": port, "pid": server.pid}))
            _wait_until_served(port, server)
        return f"http://{SEEN_BY_HOSTS}:{port}"

    def stop(self) -> None:
        pid = self._recorded()[1]
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        self._record.unlink(missing_ok=True)

    def _recorded(self) -> tuple[Optional[int], Optional[int]]:
        """Port, and pid when that process still is our server."""
        try:
            record = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None, None
        port, pid = record["port"], record["pid"]
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            words = []
        ours = str(self.folder).encode() in words and str(port).encode() in words
        return port, pid if ours else None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _wait_until_served(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"no repository server on port {port}; see {cache('repository-*.log')}")
