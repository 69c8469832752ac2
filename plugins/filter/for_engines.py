# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: the tunables that each engine is to have."""

from __future__ import annotations

DOCUMENTATION = r"""
name: for_engines
short_description: Tell the tunables that each engine is to have
version_added: 0.1.0
description:
  - Puts what an inventory says above a profile, and leaves out what an engine knows nothing of. A
    template that did so would evaluate each of them several times, for every host.
  - Leaves C(pages_to_scan) out when the advisor is to set it.
options:
  _input:
    description: Tunables that the inventory names.
    type: dict
    required: true
  profile:
    description: Tunables of V(all) engines, of V(module) and of V(kernel).
    type: dict
    required: true
  without:
    description: Names of tunables that an engine has not, by engine.
    type: dict
    required: true
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: See what each engine is to have
  ansible.builtin.debug:
    msg: "{{ {'run': 1, 'adopt_mergeable': 1} | ksm.fleet.for_engines(profile, without) }}"
  vars:
    profile: {all: {sleep_millisecs: 20}, module: {scan_threads: 2}, kernel: {}}
    without: {module: [], kernel: [adopt_mergeable]}
"""

RETURN = r"""
_value:
  description: Tunables by engine.
  type: dict
  sample:
    module: {sleep_millisecs: 20, scan_threads: 2, run: 1, adopt_mergeable: 1}
    kernel: {sleep_millisecs: 20, run: 1}
"""

from collections.abc import Mapping, Sequence
from typing import Any, Callable


def for_engines(
    given: Mapping[str, Any],
    profile: Mapping[str, Mapping[str, Any]],
    without: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, Any]]:
    """Return the tunables by engine."""
    advised = ["pages_to_scan"] if given.get("advisor_mode") == "scan-time" else []
    return {
        engine: {
            name: value
            for name, value in {**profile["all"], **profile[engine], **given}.items()
            if name not in names and name not in advised
        }
        for engine, names in without.items()
    }


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"for_engines": for_engines}
