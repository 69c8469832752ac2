# SPDX-License-Identifier: GPL-2.0-or-later
"""A detached region: memory of another process that no descriptor stands for."""

from __future__ import annotations

from typing import NamedTuple

from ksm import abi


class Region(NamedTuple):
    """What KSM_LIST_REGIONS tells, and what registering it again takes.

    number: no other region gets it while the module is loaded. pid: 0 where this PID
    namespace has no process of it. addr, length: bytes, 0 for the whole process.
    family: its members share the number, 0 without children. domain: 0 for none; of
    domain_owner (a uid) unless domain_system. uid: the user that it counts for.
    """

    number: int
    pid: int
    addr: int
    length: int
    whole: bool
    children: bool
    family: int
    domain: int
    domain_system: bool
    zero_pages: bool
    domain_owner: int
    uid: int

    @classmethod
    def unpack(cls, data: bytes) -> Region:
        """Read a struct ksm_region_info."""
        fields = abi.REGION_INFO.unpack(data)
        number, addr, length, family, domain, flags, pid, uid, domain_flags, owner, _ = fields
        return cls(
            number=number,
            pid=pid,
            addr=addr,
            length=length,
            whole=bool(flags & abi.TASK_WHOLE),
            children=bool(flags & abi.TASK_CHILDREN),
            family=family,
            domain=domain,
            domain_system=bool(domain_flags & abi.DOMAIN_SYSTEM),
            zero_pages=bool(domain_flags & abi.DOMAIN_ZERO_PAGES),
            domain_owner=owner,
            uid=uid,
        )

    def range_text(self) -> str:
        """Return "whole", or the range as start-end in hexadecimal."""
        return "whole" if self.whole else f"{self.addr:#x}-{self.addr + self.length:#x}"

    def domain_text(self) -> str:
        """Return the domain in words, "-" for none."""
        if self.domain_system:
            text = f"system {self.domain}" if self.domain else "common"
        else:
            text = f"{self.domain} of uid {self.domain_owner}" if self.domain else "-"
        return text + (", zero pages" if self.zero_pages else "")
