# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds without end, as a service.

Tasks are looked for every few seconds instead of being told of by the kernel's process connector:
merging takes passes over memory, hence seconds, anyway; no event tells of a task that moves to
another control group; and it takes neither CAP_NET_ADMIN nor the host's network.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from pathlib import Path
from typing import Callable

from ksm import turn
from ksm.policy.report import Report, printable
from ksm.policy.round import Keeper

INTERVAL = 5.0
_LOCK = "policy.lock"
_BUSY = "another ksmctl policy run is at work; stop it first: systemctl stop ksm-policy"
_END = {signal.SIGTERM, signal.SIGINT}
_AT_ONCE = {signal.SIGHUP}

Tell = Callable[[str], None]


def run(tell: Tell, interval: float = INTERVAL, system: str | Path = "/") -> None:
    """Do rounds until SIGTERM or SIGINT; SIGHUP begins one at once. Raises KsmError, OSError."""
    # Waited for, never handled: no round is cut short, and no signal is missed.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _END | _AT_ONCE)
    try:
        with turn.locked(system, _LOCK, _BUSY):
            _rounds(Keeper(system), _Teller(tell), interval)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def runs(system: str | Path = "/") -> bool:
    """Whether such a loop is at work. For root."""
    try:
        fd = os.open(Path(system, turn.FOLDER, _LOCK), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _rounds(keeper: Keeper, teller: _Teller, interval: float) -> None:
    ready = False
    while True:
        try:
            teller.report(keeper.round())
        except Exception as error:
            # What is wrong now may be mended before the next, and whatever it is, other tasks go on.
            teller.say({f"nothing was done: {error or type(error).__name__}"})
        if not ready:
            _notify("READY=1")
            ready = True
        came = signal.sigtimedwait(_END | _AT_ONCE, interval)
        if came is not None and came.si_signo in _END:
            return


class _Teller:
    """Tells what is new, and not again what still is."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._said: set[str] = set()

    def report(self, report: Report) -> None:
        for pid in report.removed:
            self._tell(f"process {pid} is not registered any more")
        for task in report.tasks:
            if task.pid in report.registered:
                name = f"process {task.pid} ({printable(task.command)})"
                self._tell(f"{name} is registered in domain {task.domain} by {task.policy}")
        waits = report.waiting
        self.say(
            {str(error) for error in report.errors}
            | set(report.kept)
            | ({waits} if waits else set())
            | {f"process {t.pid}: {t.why}" for t in report.tasks if t.why and not waits}
        )
        count = sum(task.registered for task in report.tasks)
        _notify(f"STATUS={len(report.policies)} policies, {count} tasks registered")

    def say(self, texts: set[str]) -> None:
        for text in sorted(texts - self._said):
            self._tell(text)
        self._said = texts


def _notify(text: str) -> None:
    """Tell the service manager, as sd_notify(3) does."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notice:
        notice.connect("\0" + address[1:] if address[0] == "@" else address)
        notice.send(text.encode())
