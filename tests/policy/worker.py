# SPDX-License-Identifier: GPL-2.0-or-later
"""In a module VM: a process with memory of known contents, that does what it is told by a line.

Arguments: the user to be, and what the contents are of. Prints the address of the memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys

PAGE = 4096
PAGES = 64


def fill(mapping: mmap.mmap, base: str) -> None:
    for page in range(PAGES):
        mapping[page * PAGE : page * PAGE + 64] = f"{base} {page}".encode().ljust(64, b".")


def main() -> None:
    uid, base = int(sys.argv[1]), sys.argv[2]
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    mapping = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    fill(mapping, base)
    print(ctypes.addressof(ctypes.c_char.from_buffer(mapping)), flush=True)
    for line in sys.stdin:
        order, _, text = line.strip().partition(" ")
        if order == "write":
            fill(mapping, text)
            print("written", flush=True)
        elif order == "exec":
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        elif order == "fork" and not os.fork():
            fill(mapping, text)
            # Nobody's lines reach it.
            signal.signal(signal.SIGUSR1, lambda *_, text=text: fill(mapping, text))
            print(os.getpid(), flush=True)
            while True:
                signal.pause()


if __name__ == "__main__":
    main()
