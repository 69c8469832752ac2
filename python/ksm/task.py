# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of another process, as a descriptor that /dev/ksm takes."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from ksm.errors import ProcessEnded, ProcessError
from ksm.procfs import read_stat


def identity(pid: int) -> tuple[int, ...]:
    """Return what tells a process from others of its pid, and from itself before an execve().

    Empty when it is gone. Takes the right to trace it.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ()
    fields = text.rpartition(")")[2].split()
    # starttime, startcode, startstack of proc(5).
    return int(fields[19]), int(fields[23]), int(fields[25])


def open_task_memory(pid: int) -> io.FileIO:
    """Open /proc/PID/mem of a process for register_task() and remove_task().

    The pidfd is taken before and looked at after: a pid that was used anew in between
    would otherwise give the memory of a stranger. The descriptor names one address space
    and keeps neither process nor memory alive. Close it after use (it is a context manager).

    Raises ProcessEnded when there is no such process or it ended, ProcessError for a kernel
    thread, and without the right to trace the process.
    """
    if pid <= 0:
        raise ProcessError(f"process {pid}: a pid is more than 0", pid)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        _explain(pid, error)
    try:
        stat = read_stat(pid, Path("/proc"))
        if stat is not None and stat.is_kernel_thread:
            raise ProcessError(f"process {pid}: is a kernel thread, it has no memory to merge", pid)
        try:
            memory = _open(pid)
        except OSError as error:
            _explain(pid, error)
        if select.select([pidfd], [], [], 0)[0]:
            os.close(memory)
            raise ProcessEnded(f"process {pid}: ended while its memory was opened", pid)
        return io.FileIO(memory, "rb")
    finally:
        os.close(pidfd)


def _open(pid: int) -> int:
    """Open the memory of the leader or, where it ended before them, of another thread."""
    opened = []
    for file in itertools.chain((f"/proc/{pid}/mem",), _of_threads(pid)):
        # Of a leader without memory: newer kernels say so, older ones open nothing.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            opened.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
            if _has_memory(opened[-1]):
                break
    for memory in opened[:-1]:
        os.close(memory)
    if not opened:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return opened[-1]


def _of_threads(pid: int) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            yield f"/proc/{pid}/task/{thread}/mem"


def _has_memory(memory: int) -> bool:
    try:
        # Of an address space that is gone nothing is read; what is not mapped is an error.
        return bool(os.pread(memory, 1, 0))
    except OSError:
        return True


def _explain(pid: int, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOENT, errno.ESRCH):
        raise ProcessEnded(f"process {pid}: there is none, or it ended; look with: ps -p {pid}", pid) from error
    if error.errno in (errno.EACCES, errno.EPERM):
        raise ProcessError(
            f"process {pid}: no right to its memory; be root, or its owner with ptrace access",
            pid,
        ) from error
    if error.errno == errno.EINVAL:
        raise ProcessError(f"process {pid}: is a thread; give the pid of its process", pid)
    raise ProcessError(f"process {pid}: {os.strerror(error.errno or 0)}", pid) from error
