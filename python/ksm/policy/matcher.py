# SPDX-License-Identifier: GPL-2.0-or-later
"""Which policy is a process's."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence

from ksm.policy.model import Match, Policy
from ksm.policy.processes import Process, unit_of

# Then begun anew: groups come and go.
_REMEMBERED = 16384


class Matcher:
    """Of some policies the first that matches, again and again for mostly the same processes."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._of_group: dict[str, list[Policy]] = {}
        self._ask_for_groups = any(p.match.unit or p.match.cgroup for p in policies)
        self._fitting: dict[tuple[str, str], bool] = {}

    def policy(self, process: Process) -> Policy | None:
        """Return it; None where no policy matches, and of what has no memory or ended."""
        try:
            candidates = self._in_group(process.cgroup) if self._ask_for_groups else self._policies
            for policy in candidates:
                if policy.uid is not None and policy.uid != process.uid:
                    continue
                command = policy.match.command
                if command is None or self._executes(process.program, command):
                    # Kernel threads have no program, and a task without memory none to merge.
                    return policy if process.program else None
        except OSError:
            pass
        return None

    def _in_group(self, path: str) -> list[Policy]:
        """Return the policies to which the control group is no hindrance."""
        found = self._of_group.get(path)
        if found is None:
            if len(self._of_group) >= _REMEMBERED:
                self._of_group.clear()
            found = [policy for policy in self._policies if _fits_group(policy.match, path)]
            self._of_group[path] = found
        return found

    def _executes(self, program: str, command: str) -> bool:
        fits = self._fitting.get((program, command))
        if fits is None:
            if len(self._fitting) >= _REMEMBERED:
                self._fitting.clear()
            name = program if "/" in command else os.path.basename(program)
            fits = self._fitting[program, command] = fnmatch.fnmatchcase(name, command)
        return fits


def _fits_group(match: Match, path: str) -> bool:
    if match.unit is not None and not fnmatch.fnmatchcase(unit_of(path), match.unit):
        return False
    if match.cgroup is None:
        return True
    group = match.cgroup.rstrip("/")
    return fnmatch.fnmatchcase(path, group) or fnmatch.fnmatchcase(path, f"{group}/*")
