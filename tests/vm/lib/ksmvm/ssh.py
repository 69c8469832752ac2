# SPDX-License-Identifier: GPL-2.0-or-later
"""Talk to a fleet host over SSH."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ksmvm.process import system_environment

ADDRESS = "127.0.0.1"
BANNER = b"SSH-"


def command(port: int, key: Path, remote: Sequence[str] = (), *, tty: bool = False) -> list[str]:
    options = {
        # The hosts live for minutes, behind a port of this machine's loopback.
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "IdentitiesOnly": "yes",
        "GSSAPIAuthentication": "no",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "8",
    }
    words = ["ssh", "-F", "none", "-i", os.fspath(key), "-p", str(port)]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    if not tty:
        words.append("-T")
    return [*words, f"root@{ADDRESS}", *remote]


def answers(port: int, timeout: float = 2.0) -> bool:
    """Whether sshd itself answers: QEMU accepts on a forwarded port long before."""
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port), timeout) as link:
        link.settimeout(timeout)
        return link.recv(len(BANNER)) == BANNER
    return False


def run(port: int, key: Path, remote: str, *, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(port, key, [remote]),
        env=system_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
