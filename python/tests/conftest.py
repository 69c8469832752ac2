# SPDX-License-Identifier: GPL-2.0-or-later
"""Stand-ins for a host: trees of files for sysfs and proc, and rules of mm/ksm.c."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import pytest

from ksm import abi, device
from ksm.cli import process, regions, thread
from ksm.engine import Engine
from ksm.table import EngineName, Value

MIB = 1024 * 1024

# What Debian's 6.12 shows after boot.
KERNEL_ATTRIBUTES: dict[str, Value] = {
    "run": 0,
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "merge_across_nodes": 1,
    "max_page_sharing": 256,
    "use_zero_pages": 0,
    "smart_scan": 1,
    "stable_node_chains_prune_millisecs": 2000,
    "advisor_max_cpu": 70,
    "advisor_min_pages_to_scan": 500,
    "advisor_max_pages_to_scan": 30000,
    "advisor_target_scan_time": 200,
    "advisor_mode": "[none] scan-time",
    "full_scans": 0,
    "general_profit": 0,
    "ksm_zero_pages": 0,
    "pages_scanned": 0,
    "pages_shared": 0,
    "pages_sharing": 0,
    "pages_skipped": 0,
    "pages_unshared": 0,
    "pages_volatile": 0,
    "stable_node_chains": 0,
    "stable_node_dups": 0,
}
MODULE_ATTRIBUTES: dict[str, Value] = {
    "run": 0,
    "pages_to_scan": 100,
    "sleep_millisecs": 20,
    "adopt_mergeable": 0,
    "full_scans": 3,
    "pages_scanned": 9000,
    "pages_shared": 16,
    "pages_sharing": 2032,
    "pages_unshared": 5,
    "pages_volatile": 1,
    "pages_skipped": 0,
    "pages_unmergeable": 0,
    "general_profit": -4096,
    "metadata_bytes": 65536,
    "thread_pid": 512,
}


class MainlineEngine(Engine):
    """Engine on a tree of files that answers writes as mm/ksm.c does.

    writes: what was written, in order. fail: errors for the next write of a name.
    """

    def __init__(self, name: EngineName, system: Path) -> None:
        super().__init__(name, system=system)
        self.writes: list[tuple[str, Value]] = []
        self.fail: dict[str, BaseException] = {}

    def write(self, name: str, value: Value) -> None:
        self.writes.append((name, value))
        if name in self.fail:
            if name == "run" and value == 2:
                super().write("run", 0)
            raise self.fail.pop(name)
        mode = self.read("advisor_mode") if self.has("advisor_mode") else "none"
        if name == "pages_to_scan" and mode == "scan-time":
            raise OSError(errno.EINVAL, "Invalid argument")
        shared = self.read("pages_shared") != 0
        if name in ("merge_across_nodes", "max_page_sharing") and shared:
            raise OSError(errno.EBUSY, "Device or resource busy")
        if name == "advisor_mode":
            self._set_mode(str(value), str(mode))
        else:
            super().write(name, value)
        if name == "run" and value == 2:
            super().write("pages_shared", 0)
            super().write("pages_sharing", 0)
        if name == "run" and value == 1:
            super().write("pages_shared", 9)

    def _set_mode(self, value: str, mode: str) -> None:
        super().write("advisor_mode", "[none] scan-time" if value == "none" else "none [scan-time]")
        if value != mode:
            start = self.read("advisor_min_pages_to_scan")
            super().write("pages_to_scan", 100 if value == "none" else start)


class System:
    """A directory that stands in for the host's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.set_available(1024 * MIB)
        (root / "proc/uptime").touch()

    def set_available(self, size: int) -> None:
        (self.root / "proc").mkdir(exist_ok=True)
        text = f"MemTotal: 4000000 kB\nMemAvailable: {size // 1024} kB\nHugePages_Total: 0\n"
        (self.root / "proc/meminfo").write_text(text)

    def add_kernel(self, only: bool = False, **changes: Value) -> MainlineEngine:
        """Only: an engine with no attributes but these."""
        if only:
            return self._add("kernel", changes)
        return self._add("kernel", {**KERNEL_ATTRIBUTES, **changes})

    def add_module(self, version: str | None = "0.1.0", **changes: Value) -> MainlineEngine:
        if version:
            (self.root / "sys/module/ksm").mkdir(parents=True, exist_ok=True)
            (self.root / "sys/module/ksm/version").write_text(version + "\n")
        return self._add("module", {**MODULE_ATTRIBUTES, **changes})

    def add_task(self, pid: int, comm: str, flags: int, utime: int, stime: int) -> None:
        directory = self.root / "proc" / str(pid)
        directory.mkdir()
        (directory / "stat").write_text(
            f"{pid} ({comm}) S 2 0 0 0 -1 {flags} 0 0 0 0 {utime} {stime} 0 0 25 5 1 0 30 0 0\n"
        )

    def _add(self, name: EngineName, attributes: Mapping[str, Value]) -> MainlineEngine:
        engine = MainlineEngine(name, self.root)
        engine.root.mkdir(parents=True, exist_ok=True)
        for attribute, value in attributes.items():
            (engine.root / attribute).write_text(f"{value}\n")
        return engine


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


class Driver:
    """Stands in for fcntl.ioctl() on /dev/ksm: records commands, answers or fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bytes]] = []
        self.fail: dict[int, int] = {}
        self.answers: dict[int, Callable[[Any], int]] = {}

    def ioctl(self, _fd: int, request: int, argument: Any = 0) -> int:
        data = bytes(argument) if isinstance(argument, bytearray) else b""
        self.calls.append((request, data))
        if request in self.fail:
            raise OSError(self.fail[request], "refused")
        answer = self.answers.get(request)
        return answer(argument) if answer else 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Driver:
    """A driver behind every Device() of the commands."""
    node = tmp_path / "ksm-node"
    node.touch()
    stand_in = Driver()
    pace = bytearray(abi.KTHREAD_INFO.pack(20000, 100, 0, 1))

    def info(argument: bytearray) -> int:
        argument[:] = pace
        return 0

    def start(argument: bytearray) -> int:
        pace[:] = argument
        return 0

    stand_in.answers = {abi.GET_INFO_KTHREAD: info, abi.START_STOP_KTHREAD: start}
    stand_in.answers[abi.CREATE_SHARED_MEMORY_AREA] = lambda _: os.open(node, os.O_RDONLY)
    stand_in.answers[abi.CREATE_SCAN] = lambda _: os.open(node, os.O_RDONLY)
    stand_in.answers[abi.GET_API_VERSION] = lambda _: abi.API_VERSION
    monkeypatch.setattr("ksm.device.fcntl.ioctl", stand_in.ioctl)

    class StandInDevice(device.Device):
        def __init__(self) -> None:
            super().__init__(str(node))

    monkeypatch.setattr(thread, "Device", StandInDevice)
    monkeypatch.setattr(process, "Device", StandInDevice)
    monkeypatch.setattr(regions, "Device", StandInDevice)
    return stand_in
