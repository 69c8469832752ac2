# SPDX-License-Identifier: GPL-2.0-or-later
"""Real processes: their memory, and what becomes of it when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import System

from ksm.errors import ProcessEnded, ProcessError
from ksm.procfs import find_kernel_thread
from ksm.smaps import anon_bytes, anon_pages, meminfo, pss_bytes, rollup
from ksm.task import open_task_memory

MIB = 1024 * 1024
FILLER = "import sys; b = bytearray(b'x' * (32 << 20)); print(id(b), flush=True); sys.stdin.read()"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", FILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout
        child.stdout.readline()
        yield child
        child.kill()


def test_opens_the_memory_of_a_process(process: subprocess.Popen[bytes]) -> None:
    with open_task_memory(process.pid) as memory:
        assert os.readlink(f"/proc/self/fd/{memory.fileno()}") == f"/proc/{process.pid}/mem"
        assert not os.get_inheritable(memory.fileno())


def test_a_process_that_ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    with pytest.raises(ProcessEnded, match=f"process {process.pid}: there is none, or it ended"):
        open_task_memory(process.pid)
    with pytest.raises(ProcessEnded):
        rollup(process.pid)


def test_a_process_that_ends_meanwhile(process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends between the pidfd and the look back; its number could name another by then."""
    really_open = os.open
    opened = []

    def open_and_kill(*arguments: Any) -> int:
        opened.append(really_open(*arguments))
        process.send_signal(signal.SIGKILL)
        process.wait()
        return opened[0]

    monkeypatch.setattr("ksm.task.os.open", open_and_kill)
    with pytest.raises(ProcessEnded, match="ended while"):
        open_task_memory(process.pid)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


KTHREADD = find_kernel_thread("kthreadd", Path("/proc"))


@pytest.mark.skipif(KTHREADD is None, reason="no kernel thread is seen from here")
def test_a_kernel_thread() -> None:
    with pytest.raises(ProcessError, match="is a kernel thread, it has no memory to merge"):
        open_task_memory(KTHREADD or 0)


@pytest.mark.parametrize("pid", [0, -1])
def test_numbers_that_are_no_pid(pid: int) -> None:
    with pytest.raises(ProcessError, match=f"process {pid}: a pid is more than 0"):
        open_task_memory(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up its rights")
def test_a_process_of_somebody_else(process: subprocess.Popen[bytes]) -> None:
    code = (
        "import os, sys; from ksm.device import open_task_memory; os.setuid(65534)\n"
        "try: open_task_memory(int(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, str(process.pid)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert output.startswith(f"ProcessError process {process.pid}: no right to its memory")


def test_anonymous_memory_and_pss(process: subprocess.Popen[bytes]) -> None:
    size = anon_bytes(process.pid)
    assert 32 * MIB <= size < 64 * MIB
    page = os.sysconf("SC_PAGE_SIZE")
    assert 32 * MIB // page <= anon_pages(process.pid) < 64 * MIB // page
    assert 32 * MIB <= pss_bytes(process.pid) < 96 * MIB


def test_meminfo_is_in_bytes(system: System) -> None:
    system.set_available(7 * MIB)
    values = meminfo(system.root / "proc")
    assert values == {"MemTotal": 4000000 * 1024, "MemAvailable": 7 * MIB}
    assert meminfo()["MemAvailable"] <= meminfo()["MemTotal"]
