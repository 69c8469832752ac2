# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: the batches that a play's serial makes of its hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
short_description: Tell the batches that a play's serial makes
version_added: 0.1.0
description:
  - Counts as Ansible does, where the last entry stands for all that follow.
options:
  _input:
    description: A number, a percentage, or a list of them, as C(serial) takes them.
    type: raw
    required: true
  total:
    description: How many hosts the play has.
    type: int
    required: true
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Show in how many batches 40 hosts are changed
  ansible.builtin.debug:
    msg: "{{ [1, '10%', '100%'] | ksm.fleet.batches(40) | length }}"
"""

RETURN = r"""
_value:
  description: For each batch, how many hosts come before it, and how many it has.
  type: list
  elements: list
  sample: [[0, 1], [1, 4], [5, 35]]
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def size(entry: Any, total: int) -> int:
    """Return how many hosts an entry of serial stands for; no entry stands for none."""
    text = str(entry).strip()
    try:
        if text.endswith("%"):
            return max(int(float(text[:-1]) / 100 * total), 1)
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise AnsibleFilterError(
            f"{entry!r} is no size of a batch: write a number above 0, or a percentage such as 10%"
        )
    return number


def batches(serial: Any, total: int) -> list[list[int]]:
    """Return (hosts before it, hosts in it) of each batch."""
    entries = serial if isinstance(serial, list) else [serial]
    if not entries:
        raise AnsibleFilterError("an empty list makes no batches: write one such as [1, 10%, 100%]")
    found: list[list[int]] = []
    done = 0
    while done < total:
        entry = entries[min(len(found), len(entries) - 1)]
        count = min(size(entry, total), total - done)
        found.append([done, count])
        done += count
    return found


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"batches": batches}
