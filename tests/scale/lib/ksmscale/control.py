# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of ansible-playbook, and what it took."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksmscale import processes
from ksmscale.sampler import Sampler

# Of the connections that ansible-playbook leaves behind.
CLOSING_SECONDS = 30.0


@dataclass(frozen=True)
class Settings:
    programs: Path
    folder: Path
    inventory: Path
    key: Path
    known_hosts: Path
    collections: Path
    roles: Path
    plays: Path
    config: Path
    forks: int
    pipelining: bool
    # After that a run is ended, and counts as failed.
    limit: float

    def environment(self) -> dict[str, str]:
        ssh = (
            f"-F none -i {self.key} -o User=root -o IdentitiesOnly=yes -o GSSAPIAuthentication=no"
            f" -o StrictHostKeyChecking=yes -o UserKnownHostsFile={self.known_hosts}"
        )
        return {
            "PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.config),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_ROLES_PATH": f"{self.plays / 'roles'}:{self.roles}",
            "ANSIBLE_CALLBACK_PLUGINS": str(self.plays / "callback_plugins"),
            "ANSIBLE_SSH_COMMON_ARGS": ssh,
            "ANSIBLE_FORKS": str(self.forks),
            "ANSIBLE_PIPELINING": str(self.pipelining),
            "KSM_SCALE_TASKS": str(self.tasks),
        }

    @property
    def tasks(self) -> Path:
        return self.folder / "tasks.json"


@dataclass(frozen=True)
class Usage:
    seconds: float
    # Of ansible-playbook, its workers and its ssh.
    cpu_seconds: float
    ansible_mib: float
    ssh_mib: float
    # Of the largest single process.
    largest_mib: float
    status: int
    # What the callback saw, by task and by host.
    told: Mapping[str, Any]


def play(playbook: Path, settings: Settings, log: Path, hosts: Container[int]) -> Usage:
    """Run it; `hosts` are children of this process that are no part of it."""
    settings.tasks.unlink(missing_ok=True)
    command = [str(settings.programs / "ansible-playbook"), "-i", str(settings.inventory), str(playbook)]
    sampler = Sampler(os.getpid(), hosts)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            env=settings.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        sampler.start()
        with ending(process.pid, settings.limit):
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    sampler.stop()
    cpu = used.ru_utime + used.ru_stime
    for left in leftovers(hosts):
        cpu += left.ru_utime + left.ru_stime
    try:
        told = json.loads(settings.tasks.read_text())
    except FileNotFoundError:
        told = {"tasks": [], "hosts": {}}
    return Usage(
        seconds=seconds,
        cpu_seconds=cpu,
        ansible_mib=sampler.ansible_kib / 1024,
        ssh_mib=sampler.ssh_kib / 1024,
        largest_mib=used.ru_maxrss / 1024,
        status=process.returncode,
        told=told,
    )


@contextlib.contextmanager
def ending(pid: int, limit: float) -> Iterator[None]:
    """End that process and its session when the body takes too long, or is left early."""

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    timer = threading.Timer(limit, end)
    timer.start()
    try:
        yield
    except BaseException:
        end()
        raise
    finally:
        timer.cancel()


def leftovers(hosts: Container[int]) -> Iterator[Any]:
    """End the connections that outlive ansible-playbook, so that the next run finds none; what they used.

    They are children of this process by now, which is the first of its PID namespace.
    """
    deadline = time.monotonic() + CLOSING_SECONDS
    told: set[int] = set()
    while True:
        own = os.getpid()
        left = {s.pid for s in processes.table().values() if s.parent == own and s.pid not in hosts}
        if not left:
            return
        late = time.monotonic() > deadline
        for pid in left:
            if late or pid not in told:
                told.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        for pid in left:
            done, _, used = os.wait4(pid, os.WNOHANG)
            if done:
                yield used
        time.sleep(0.05)
