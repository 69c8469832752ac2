# SPDX-License-Identifier: GPL-2.0-or-later
"""Namespaces that hold the control node, all hosts, their network and their files.

They end with their first process, whatever it dies of, and with them everything that was made in them:
there is nothing to clean up, after a crash neither.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from ksmvm.errors import HarnessError
from ksmvm.process import run

from ksmscale.fleet import CONTROL

# include/uapi/linux/sched.h, prctl.h; Python has unshare() since 3.12.
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
# Of the machine's memory that hosts' files may take.
SHARE = "50%"


def enter() -> None:
    """Return in a new process, the first of new namespaces. The caller's waits, and ends as it does."""
    if os.geteuid() != 0:
        raise HarnessError("only root can make namespaces and mounts; run it as root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET):
        raise HarnessError(f"no new namespaces can be had here: {os.strerror(ctypes.get_errno())}")
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        wait(pid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    run(["mount", "--make-rprivate", "/"])
    run(["mount", "-t", "proc", "proc", "/proc"])


def wait(pid: int) -> None:
    # Ctrl-C reaches the other one, too, which then ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # As a shell tells a signal.
    sys.exit(code if code >= 0 else 128 - code)


def furnish(scratch: Path) -> None:
    """Put a file system in memory there, and give the control node its address."""
    scratch.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"mode=755,size={SHARE}", "ksm-scale", str(scratch)])
    # The cables' ends need no other addresses than ours.
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    run(["ip", "link", "set", "lo", "up"])
    run(["ip", "address", "add", f"{CONTROL}/32", "dev", "lo"])
