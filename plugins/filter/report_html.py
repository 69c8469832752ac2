# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: a report of a fleet as one page of HTML."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report_html
short_description: Show a report of a fleet as one page of HTML
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
    content: "{{ report | ksm.fleet.report_html }}"
    dest: report.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The page, with all that it needs in it. What hosts said is escaped.
  type: str
"""

from typing import Any, Callable

from ansible_collections.ksm.fleet.plugins.plugin_utils.report_page import page


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"report_html": page}
