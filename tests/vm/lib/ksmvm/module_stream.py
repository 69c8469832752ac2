# SPDX-License-Identifier: GPL-2.0-or-later
"""The line from a module VM: the command's output, its exit status, the kernel's log."""

from __future__ import annotations

from typing import Optional


class ModuleStream:
    """Take apart what guest/module-init sends.

    OUTPUT, newline, TOKEN, " status N" newline, KERNEL LOG, TOKEN, " end" newline. The token is
    made for each run, so that no output can be taken for it.
    """

    def __init__(self, token: str) -> None:
        self._status_mark = f"\n{token} status ".encode()
        self._end_mark = f"{token} end\n".encode()
        self._buffer = b""
        self._output = bytearray()
        self.status: Optional[int] = None
        self.kernel_log: Optional[str] = None

    @property
    def output(self) -> str:
        return self._output.decode(errors="replace")

    @property
    def ended(self) -> bool:
        return self.kernel_log is not None

    def feed(self, data: bytes) -> bytes:
        """Take what came; return the part that is now known to be output."""
        self._buffer += data
        fresh = b""
        if self.status is None:
            fresh = self._take_output()
        if self.status is not None and not self.ended:
            at = self._buffer.find(self._end_mark)
            if at >= 0:
                self.kernel_log = self._buffer[:at].decode(errors="replace")
        return fresh

    def close(self) -> bytes:
        """No more will come: output held back as a possible mark was output."""
        fresh = b"" if self.status is not None else self._buffer
        self._output += fresh
        self._buffer = b""
        return fresh

    def _take_output(self) -> bytes:
        at = self._buffer.find(self._status_mark)
        if at < 0:
            keep = _overlap(self._buffer, self._status_mark)
            at = len(self._buffer) - keep
            fresh, self._buffer = self._buffer[:at], self._buffer[at:]
        else:
            rest = self._buffer[at + len(self._status_mark) :]
            number, newline, tail = rest.partition(b"\n")
            fresh, self._buffer = self._buffer[:at], self._buffer[at:]
            if newline:
                self.status, self._buffer = int(number), tail
        self._output += fresh
        return fresh


def _overlap(data: bytes, mark: bytes) -> int:
    """How many bytes at the end of `data` could be the start of `mark`."""
    for size in range(min(len(data), len(mark) - 1), 0, -1):
        if mark.startswith(data[-size:]):
            return size
    return 0
