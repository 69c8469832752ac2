# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts made of files, and what stands in for AnsibleModule on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

TREE = Path(__file__).resolve().parents[2]
RELEASE = "6.12.107+deb13-amd64"


class Failed(Exception):
    """fail_json() was called."""

    def __init__(self, msg: str, result: dict[str, Any]) -> None:
        super().__init__(msg)
        self.result = result


class FakeModule:
    """The part of AnsibleModule that modules use once their arguments are checked."""

    def __init__(self, tmpdir: Path, check_mode: bool = False, **params: Any) -> None:
        self.params = params
        self.check_mode = check_mode
        self.tmpdir = str(tmpdir)
        self.commands: list[list[str]] = []
        self.answers: dict[str, tuple[int, str, str]] = {}

    def atomic_move(self, source: str, destination: str) -> None:
        os.replace(source, destination)

    def get_bin_path(self, name: str, required: bool = False) -> str:
        return name

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        words = (" ".join(command), command[0])
        return next((self.answers[word] for word in words if word in self.answers), (0, "", ""))

    def fail_json(self, msg: str, **result: Any) -> None:
        raise Failed(msg, result)


class Host:
    """A root directory with what a fresh Debian 13 has, and both engines on demand."""

    KERNEL: ClassVar[dict[str, str]] = {
        "run": "0",
        "pages_to_scan": "100",
        "sleep_millisecs": "20",
        "merge_across_nodes": "1",
        "max_page_sharing": "256",
        "advisor_mode": "[none] scan-time",
        "pages_shared": "0",
        "pages_sharing": "0",
    }
    MODULE: ClassVar[dict[str, str]] = {
        "run": "0",
        "pages_to_scan": "100",
        "sleep_millisecs": "20",
        "adopt_mergeable": "0",
        "pages_shared": "16",
        "pages_sharing": "1008",
        "thread_pid": "0",
    }

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 2048000 kB\n")
        self.write("proc/modules", "ksmbd 1 0 - Live 0x0\nkvm 1 0 - Live 0x0\n")
        self.write("etc/os-release", 'ID=debian\nVERSION_ID="13"\n')
        self.write("usr/bin/apt-get", "")
        self.write(f"boot/config-{RELEASE}", "CONFIG_MODULES=y\nCONFIG_DEVICE_MIGRATION=y\n")
        for place in ("modprobe.d", "modules-load.d", "tmpfiles.d"):
            (root / "etc" / place).mkdir()

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def add_kernel_engine(self, **values: str) -> None:
        for name, value in {**self.KERNEL, **values}.items():
            self.write(f"sys/kernel/mm/ksm/{name}", value + "\n")

    def add_module_engine(self, version: str = "0.1.0", srcversion: str = "A1", **values: str) -> None:
        for name, value in {**self.MODULE, **values}.items():
            self.write(f"sys/class/misc/ksm/{name}", value + "\n")
        self.write("sys/module/ksm/version", version + "\n")
        self.write("sys/module/ksm/srcversion", srcversion + "\n")
        self.write("proc/modules", "ksm 61440 0 - Live 0x0\n")

    def tunable(self, engine: str, name: str) -> str:
        place = {"module": "sys/class/misc/ksm", "kernel": "sys/kernel/mm/ksm"}[engine]
        return self.read(f"{place}/{name}").strip()
