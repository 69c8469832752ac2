# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of another process, as a descriptor that /dev/ksm takes."""

from __future__ import annotations

import errno
import io
import os
import select
from pathlib import Path
from typing import NoReturn

from ksm.errors import ProcessEnded, ProcessError
from ksm.procfs import read_stat


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
            memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            _explain(pid, error)
        if select.select([pidfd], [], [], 0)[0]:
            os.close(memory)
            raise ProcessEnded(f"process {pid}: ended while its memory was opened", pid)
        return io.FileIO(memory, "rb")
    finally:
        os.close(pidfd)


def _explain(pid: int, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOENT, errno.ESRCH):
        raise ProcessEnded(
            f"process {pid}: there is none, or it ended; look with: ps -p {pid}", pid
        ) from error
    if error.errno in (errno.EACCES, errno.EPERM):
        raise ProcessError(
            f"process {pid}: no right to its memory; be root, or its owner with ptrace access",
            pid,
        ) from error
    if error.errno == errno.EINVAL:
        raise ProcessError(f"process {pid}: is a thread; give the pid of its process", pid)
    raise ProcessError(f"process {pid}: {os.strerror(error.errno or 0)}", pid) from error
