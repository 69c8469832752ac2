# SPDX-License-Identifier: GPL-2.0-or-later
"""What a round found and did, for people and for JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from ksm.policy.model import Policy, PolicyError


class TaskReport(NamedTuple):
    """A task that matches; domain is as it was written. why: why it is not registered."""

    pid: int
    command: str
    policy: str
    domain: str
    number: int
    registered: bool
    why: str | None


def printable(text: str) -> str:
    """Return what a process chose, a name or path, so that it is a line's part and nothing else."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Report(NamedTuple):
    """What a round found and did, or in a dry one would do; registered and removed are pids.

    waiting: why nothing can be registered now. kept: why what should go is still there.
    """

    policies: list[Policy]
    errors: list[PolicyError]
    tasks: list[TaskReport]
    registered: list[int]
    removed: list[int]
    kept: list[str]
    waiting: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "policies": [shown(policy) for policy in self.policies],
            "errors": [told(error) for error in self.errors],
            "tasks": [task._asdict() for task in self.tasks],
            "registered": self.registered,
            "removed": self.removed,
            "kept": self.kept,
            "waiting": self.waiting,
        }


def shown(policy: Policy) -> dict[str, Any]:
    """Return a policy ready for JSON."""
    return {
        "name": policy.name,
        "file": policy.file,
        "match": policy.match.given(),
        "domain": policy.domain,
        "number": policy.number,
        "children": policy.children,
        "zero_pages": policy.zero_pages,
    }


def told(error: PolicyError) -> dict[str, str]:
    """Return what is wrong ready for JSON."""
    return {
        "file": error.file,
        "section": error.section,
        "value": error.value,
        "error": str(error),
    }
