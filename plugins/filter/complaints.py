# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: which values are no number of their range."""

from __future__ import annotations

DOCUMENTATION = r"""
name: complaints
short_description: Tell which values are no number of their range
version_added: 0.1.0
description:
  - Checks a dictionary of values on the control node, all in one task. Values that no range is
    known of are left alone.
options:
  _input:
    description: Values by name.
    type: dict
    required: true
  ranges:
    description: Lists of the lowest and the highest number by name; null for no limit.
    type: dict
    required: true
  prefix:
    description: What stands before the names in the complaints.
    type: str
    default: ""
  whole:
    description: Whether only whole numbers are good.
    type: bool
    default: true
  lists:
    description:
      - Names of values that are lists of user numbers and ranges of them, such as V(33,1000-1999).
    type: list
    elements: str
    default: []
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Check tunables
  ansible.builtin.assert:
    that: wrong | length == 0
    fail_msg: "{{ wrong | join(' ') }}"
  vars:
    wrong: "{{ {'run': 3} | ksm.fleet.complaints({'run': [0, 2]}, 'ksm_') }}"
"""

RETURN = r"""
_value:
  description: One sentence for each value that is wrong, with what to write instead.
  type: list
  elements: str
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

Range = Sequence[Optional[float]]


USERS = re.compile(r"(\d+(-\d+)?(,\d+(-\d+)?)*)?")


def complaints(
    values: Mapping[str, Any],
    ranges: Mapping[str, Range],
    prefix: str = "",
    whole: bool = True,
    lists: Sequence[str] = (),
) -> list[str]:
    """Return one sentence for each value that is wrong."""
    form = r"-?[0-9]+" if whole else r"-?[0-9]+(\.[0-9]+)?"
    kind = "a number" if whole else "a number, also with a fraction,"
    found = []
    for name, (low, high) in ranges.items():
        if name not in values or values[name] is None:
            continue
        value = values[name]
        good = not isinstance(value, bool) and re.fullmatch(form, str(value)) is not None
        if good:
            number = float(value)
            good = (low is None or low <= number) and (high is None or number <= high)
        if not good:
            limits = f" in {'' if low is None else low}..{'' if high is None else high}"
            found.append(f"{prefix}{name} is {value}: write {kind}{limits if (low, high) != (None, None) else ''}.")
    for name in lists:
        value = values.get(name)
        if value is not None and (isinstance(value, bool) or not USERS.fullmatch(str(value))):
            found.append(f"{prefix}{name} is {value}: write users and ranges of them, such as 33,1000-1999.")
    return found


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"complaints": complaints}
