# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of the package; their text names the value and the remedy."""

from __future__ import annotations


class KsmError(Exception):
    """Base of every error that the package raises on purpose."""


class EngineUnavailable(KsmError):
    """The engine that was asked for is not on this host."""


class NoSuchAttribute(KsmError):
    """The engine is there and has no attribute of that name."""


class TunableError(KsmError):
    """A tunable could not be set; nothing was changed, or what was changed was put back.

    name and value are those of the first offending tunable, errno that of the failed
    write (None when nothing was written).
    """

    def __init__(
        self,
        message: str,
        name: str | None = None,
        value: object = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.value = value
        self.errno = errno


class BadValue(TunableError):
    """A name or a value that no state of this engine would accept."""


class DeviceError(KsmError):
    """A command of /dev/ksm failed; errno is the kernel's answer."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class ProcessError(KsmError):
    """The memory of a process could not be opened or read."""

    def __init__(self, message: str, pid: int) -> None:
        super().__init__(message)
        self.pid = pid


class ProcessEnded(ProcessError):
    """The process is not there, or ended before its memory was open."""
