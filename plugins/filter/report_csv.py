# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: a report of a fleet as CSV."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report_csv
short_description: Show a report of a fleet as CSV
version_added: 0.1.0
description:
  - Takes what P(ksm.fleet.fleet_report#filter) gives.
options:
  _input:
    description: The report.
    type: dict
    required: true
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Write the report
  ansible.builtin.copy:
    content: "{{ report | ksm.fleet.report_csv }}"
    dest: report.csv
    mode: "0644"
"""

RETURN = r"""
_value:
  description: A line for each host.
  type: str
"""

from typing import Any, Callable

from ansible_collections.ksm.fleet.plugins.plugin_utils.report_table import table


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"report_csv": table}
