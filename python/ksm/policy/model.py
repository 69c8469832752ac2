# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy: tasks that match it are merged in its domain."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ksm.errors import KsmError

_UINT64_MAX = 2**64 - 1


class PolicyError(KsmError):
    """Something in a file is wrong; section and value are empty where none is to blame."""

    def __init__(self, file: str, section: str, value: str, text: str) -> None:
        where = f"{file}, [{section}]" if section else file
        super().__init__(f"{where}: {text}")
        self.file = file
        self.section = section
        self.value = value
        self.text = text


class Match(NamedTuple):
    """What a task must be, in everything that is not None. unit, cgroup, command are patterns."""

    unit: str | None = None
    cgroup: str | None = None
    user: str | None = None
    command: str | None = None

    def given(self) -> dict[str, str]:
        """Return what is not None."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Policy(NamedTuple):
    """domain is as it was written, number what the driver is told; uid is that of match.user."""

    name: str
    file: str
    match: Match
    domain: str
    children: bool = False
    zero_pages: bool = False
    uid: int | None = None

    @property
    def number(self) -> int:
        """The domain's number, of the whole system."""
        return domain_number(self.domain)


def domain_number(text: str) -> int:
    """Return the number of a domain: digits are one already, any other text is hashed.

    The hash is the first 8 bytes of the text's SHA-256, big-endian:
    printf %s TEXT | sha256sum | cut -c1-16
    Raises ValueError.
    """
    if not text:
        raise ValueError("a domain is a number or a name, and this is empty")
    if text.isascii() and text.isdigit():
        if int(text) > _UINT64_MAX:
            raise ValueError(f"{text} is too large; write 0..{_UINT64_MAX}, or a name")
        return int(text)
    # 0 would be the common domain.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") or 1
