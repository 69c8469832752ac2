# SPDX-License-Identifier: GPL-2.0-or-later
"""pytest plugin: testinfra's host gets a `ksm`, which asks ksmctl on that host.

    def test_memory_is_saved(host):
        assert host.ksm.engine == "module"
        assert host.ksm.expect({"saved_mib_min": 512, "kernel_log_clean": True}, seconds=30)

Over whichever connection testinfra has. Without testinfra the plugin does nothing.
"""

from __future__ import annotations

import importlib
import json
import shlex
import time
from collections.abc import Mapping
from typing import Any, Protocol

from ksm.errors import KsmError
from ksm.expect import parse

# A user's PATH may lack them.
_COMMAND = 'PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C.UTF-8 ksmctl'
_NOT_FOUND = 127


class Result(Protocol):
    """What a command has said."""

    rc: int
    stdout: str
    stderr: str


class Host(Protocol):
    """The part of testinfra's host that this takes."""

    def run(self, command: str) -> Result:
        """Run a shell's line."""


class Failed(KsmError):
    """Ksmctl did not do on the host what it was asked for."""


class Verdict:
    """Whether expectations are met; true when all are. Its text tells those that are not."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.ok: bool = told["ok"]
        self.findings: list[dict[str, Any]] = told["findings"]
        self.observation: dict[str, Any] = told["observation"]

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        missed = [finding["text"] for finding in self.findings if not finding["ok"]]
        return f"missed: {'; '.join(missed)}" if missed else "as expected"


class Ksm:
    """Samepage merging on a host; every attribute is a look at it as it is now."""

    def __init__(self, host: Host, engine: str = "auto") -> None:
        self._host = host
        self._engine = engine

    def __call__(self, engine: str) -> Ksm:
        """Return the same of one engine, "module" or "kernel", in use or not."""
        return Ksm(self._host, engine)

    def __repr__(self) -> str:
        return f"<ksm, engine {self._engine}>"

    @property
    def status(self) -> dict[str, Any]:
        """All that `ksmctl status --json` says."""
        return self._ask("status", "--engine", self._engine)

    @property
    def engine(self) -> str:
        """The engine in use: "module" or "kernel"."""
        return str(self.status["engine"])

    @property
    def tunables(self) -> dict[str, Any]:
        """Tunables and their values."""
        return dict(self.status["tunables"])

    @property
    def counters(self) -> dict[str, int]:
        """Counters and their values."""
        return dict(self.status["counters"])

    @property
    def saved_bytes(self) -> int:
        """Bytes of memory that merging saves."""
        return int(self.status["saved_bytes"])

    @property
    def version_running(self) -> str | None:
        """Version of the engine: of the module that is loaded, or the release of the kernel."""
        status = self.status
        return status.get("version") if status["engine"] == "module" else status["kernel"]

    @property
    def reload_required(self) -> bool:
        """Whether another build of the module is installed than runs."""
        return bool(self.status.get("reload_required", False))

    @property
    def problems(self) -> list[dict[str, str]]:
        """What `ksmctl doctor` finds in the way of the engine, with remedies."""
        told = self._ask("doctor", "--engine", self._engine, fine=(0, 1))
        return list(told["findings"])

    def mark(self) -> str | None:
        """Return where the kernel's log ends now, for expect() to go on from."""
        seen = self._ask("expect", "--engine", self._engine, "--seconds", "0")["observation"]
        mark: str | None = seen["mark"]
        return mark

    def expect(self, expectations: Mapping[str, object], seconds: int = 10, since: str | None = None) -> Verdict:
        """Look for some seconds whether it is as expected, as ksm.expect has it.

        since: leave out what the kernel logged before that mark().
        """
        words = ["expect", "--engine", self._engine, "--seconds", str(seconds)]
        words += ["--since", since] if since else []
        for name, value in parse(expectations).items():
            words.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
        return Verdict(self._ask(*words, fine=(0, 1)))

    def wait_for_passes(self, passes: int = 3, timeout: float = 600) -> None:
        """Wait until memory was gone through so often: after two of them all is merged that can be.

        Raises Failed when that takes longer than timeout, in seconds.
        """
        deadline = time.monotonic() + timeout
        wanted = self.counters["full_scans"] + passes
        while self.counters["full_scans"] < wanted:
            if time.monotonic() > deadline:
                tunables = self.tunables
                raise Failed(
                    f"{passes} passes take more than {timeout:g} s (run is {tunables['run']},"
                    f" pages_to_scan {tunables['pages_to_scan']}); start the engine, or wait longer"
                )
            time.sleep(1)

    def _ask(self, *words: str, fine: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """Return what a command says in JSON."""
        said = self._host.run(f"{_COMMAND} {shlex.join([words[0], '--json', *words[1:]])}")
        if said.rc == _NOT_FOUND:
            raise Failed("ksmctl is not there; install the package ksm-tools on the host")
        # A command that fails says why, and nothing in JSON.
        if said.rc not in fine or not said.stdout.strip():
            raise Failed(f"{said.stderr.strip() or f'ksmctl {words[0]}: exit status {said.rc}'}")
        told: dict[str, Any] = json.loads(said.stdout)
        return told


def pytest_configure(config: object) -> None:
    """Give every host of testinfra its ksm."""
    try:
        hosts = importlib.import_module("testinfra.host")
    except ImportError:
        return
    hosts.Host.ksm = property(Ksm)
