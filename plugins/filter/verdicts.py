# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: a table of what ksm_expect found on every host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verdicts
short_description: Make a table of what ksm_expect found on every host
version_added: 0.1.0
description:
  - Takes the results of M(ksm.fleet.ksm_expect) by host.
options:
  _input:
    description: Results by host; null for a host that did not answer.
    type: dict
    required: true
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Tell what every host does
  ansible.builtin.debug:
    msg: "{{ {inventory_hostname: result} | ksm.fleet.verdicts }}"
"""

RETURN = r"""
_value:
  description: Lines of a table, its head first.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any, Callable, Optional

HEAD = ("host", "verdict", "engine", "saved MiB", "ratio", "scan CPU %", "pressure %")
OF_OBSERVATION = ("saved_mib", "sharing_ratio", "scan_cpu_percent", "memory_pressure")


def verdict(result: Mapping[str, Any]) -> str:
    if not result["findings"]:
        return "nothing expected"
    missed = [finding["name"] for finding in result["findings"] if not finding["ok"]]
    return f"missed: {', '.join(missed)}" if missed else "as expected"


def row(host: str, result: Optional[Mapping[str, Any]]) -> tuple[str, ...]:
    if not result or "observation" not in result:
        return (host, "no answer", *[""] * (len(HEAD) - 2))
    seen = result["observation"]
    numbers = ("-" if seen[name] is None else f"{seen[name]:.1f}" for name in OF_OBSERVATION)
    return (host, verdict(result), f"{seen['engine']} {seen['version'] or ''}".strip(), *numbers)


def verdicts(results: Mapping[str, Optional[Mapping[str, Any]]]) -> list[str]:
    """Return the lines of a table."""
    rows = [HEAD, *(row(host, result) for host, result in results.items())]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if number < 3 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()
        for cells in rows
    ]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verdicts": verdicts}
