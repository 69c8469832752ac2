# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: what a report tells of a fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_report
short_description: Make a report of what the hosts of a fleet said
version_added: 0.1.0
description:
  - Takes what the playbook C(ksm.fleet.report) registered on each host.
options:
  _input:
    description: The hosts' names.
    type: list
    elements: str
    required: true
  hostvars:
    description: Variables of all hosts.
    type: dict
    required: true
  when:
    description: When the hosts were looked at.
    type: str
    required: true
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Make a report
  ansible.builtin.set_fact:
    report: "{{ groups.hypervisors | ksm.fleet.fleet_report(hostvars, '2026-03-01 12:00') }}"
"""

RETURN = r"""
_value:
  description: Totals, groups, versions and hosts.
  type: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ansible_collections.ksm.fleet.plugins.plugin_utils.fleet_report import build, row

RESULTS = {name: f"__ksm_report_{name}" for name in ("info", "expect", "rollout")}


def fleet_report(names: Iterable[str], hostvars: Mapping[str, Any], when: str) -> dict[str, Any]:
    """Return the report."""
    rows = []
    for name in names:
        seen = hostvars[name]
        results = {of: seen[variable] for of, variable in RESULTS.items() if variable in seen}
        groups = [str(group) for group in seen["group_names"] if group != "ungrouped"]
        rows.append(row(str(name), groups, results))
    return build(rows, when)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fleet_report": fleet_report}
