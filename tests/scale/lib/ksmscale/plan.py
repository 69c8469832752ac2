# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured, and in what order: the contenders take turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Union

CONTENDERS = ("ours", "kernel_settings", "plain", "ping")
# Sets nothing: what a host costs Ansible at the least.
FLOOR = "ping"
# `first`: on hosts that have the packages and nothing else. `noop`: on hosts that it was run on before.
KINDS = ("first", "noop")


@dataclass(frozen=True)
class Step:
    contender: str
    kind: str
    hosts: int
    forks: int
    pipelining: bool
    round: int

    def as_json(self) -> dict[str, Union[str, int, bool]]:
        return asdict(self)

    def __str__(self) -> str:
        pipelining = " pipelining" if self.pipelining else ""
        return f"{self.contender} {self.kind} {self.hosts} hosts {self.forks} forks{pipelining} round {self.round}"


def plan(
    contenders: Sequence[str],
    kinds: Sequence[str],
    hosts: Sequence[int],
    forks: Sequence[int],
    pipelining: Sequence[bool],
    rounds: int,
) -> list[Step]:
    """A B C A B C: what else the machine does meets all of them alike."""
    return [
        Step(contender, kind, count, fork, pipe, number)
        for count in hosts
        for fork in forks
        for pipe in pipelining
        for kind in kinds
        for number in range(1, rounds + 1)
        for contender in contenders
        if (contender, kind) != (FLOOR, "first")
    ]
