#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One of several servers that load the same data: an interpreter that never marks its memory.

    reader.py NUMBER STATE COMMON_MIB OWN_MIB PAGES_REWRITTEN

It fills private memory, part of it as every reader and part as no other, and tells in the file
STATE where that is. SIGUSR1 has it verify all contents, SIGUSR2 write to pages of the common part
first. Each answer replaces STATE, with a higher number of looks.
"""

import ctypes
import json
import mmap
import os
import random
import signal
import sys
from pathlib import Path

MIB = 1 << 20
# Small enough for malloc's heap. A larger one gets a mapping of its own beside the table, and when
# that goes the huge page that spans both stays split: no kernel before 6.19 lets it be merged.
BLOCK = 64 << 10
PAGE = mmap.PAGESIZE


class Table:
    """Private anonymous memory with contents that can be made again to compare."""

    def __init__(self, seed: str, mib: int) -> None:
        self.seed = seed
        self.blocks = mib * MIB // BLOCK
        # Python's default is shared memory.
        self.memory = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.written: dict[int, int] = {}
        for number in range(self.blocks):
            self.memory[number * BLOCK : (number + 1) * BLOCK] = self.block(number)

    def block(self, number: int) -> bytes:
        return random.Random(f"{self.seed} {number}").randbytes(BLOCK)

    def place(self) -> dict[str, int]:
        return {"address": self.address, "pages": self.blocks * BLOCK // PAGE}

    def write(self, pages: int, change: int) -> None:
        """Change a byte in each of so many pages."""
        for offset in range(0, pages * PAGE, PAGE):
            self.written[offset] = (self.memory[offset] + change) % 256
            self.memory[offset] = self.written[offset]

    def intact(self) -> bool:
        for number in range(self.blocks):
            wanted = bytearray(self.block(number))
            for offset, value in self.written.items():
                if offset // BLOCK == number:
                    wanted[offset % BLOCK] = value
            if self.memory[number * BLOCK : (number + 1) * BLOCK] != wanted:
                return False
        return True


def main() -> None:
    number, state, common_mib, own_mib, pages_rewritten = sys.argv[1:]
    signals = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    common = Table("common", int(common_mib))
    own = Table(f"reader {number}", int(own_mib))
    looks = 0
    while True:
        looks += 1
        answer = {
            "pid": os.getpid(),
            "looks": looks,
            "intact": common.intact() and own.intact(),
            "pages_written": len(common.written),
            "common": common.place(),
            "own": own.place(),
        }
        partial = Path(f"{state}.partial")
        partial.write_text(json.dumps(answer))
        partial.rename(state)
        received = signal.sigwait(signals)
        if received == signal.SIGTERM:
            return
        if received == signal.SIGUSR2:
            # As no other reader does, or the pages would be merged again.
            common.write(int(pages_rewritten), int(number))


main()
