#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: whether merging on a host is as expected."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_expect
short_description: Look for a while whether samepage merging is as expected
version_added: 0.1.0
description:
  - Observes the engine in use, C(ksm.ko) where it is loaded, else the built-in one, and compares
    what it sees with what is expected.
  - What cannot be observed is not met, and the finding says why and what to do about it.
  - Never changes anything.
requirements:
  - python3-ksm on the host
options:
  expect:
    description:
      - What is expected. Without any, the module only observes.
      - V(false) switches off an expectation that is a switch.
    type: dict
    default: {}
    suboptions:
      saved_mib_min:
        description: Least memory that merging saves, in MiB.
        type: float
      sharing_ratio_min:
        description: Least C(pages_sharing) for each of C(pages_shared).
        type: float
      scan_cpu_percent_max:
        description:
          - Most CPU time of the threads that scan, over O(seconds), in percent of one CPU, 0 to
            6400.
        type: float
      memory_pressure_max:
        description:
          - Longest time that some task waited for memory in the last minute, in percent (PSI,
            C(some avg60) of C(/proc/pressure/memory)), 0 to 100.
        type: float
      profit_min_mib:
        description: Least C(general_profit), in MiB. May be negative.
        type: float
      kernel_log_clean:
        description:
          - Whether the kernel's log must hold no warning, Oops or other fault, no error of
            C(ksm.ko), and no flood of its records.
        type: bool
      no_drift:
        description: Whether all tunables must be what the files say that hold over a reboot.
        type: bool
      version:
        description: Version that must run, of C(ksm.ko) or, for the built-in engine, the kernel.
        type: str
      engine:
        description: The engine that must be in use.
        type: str
        choices: [module, kernel]
  seconds:
    description: For how long to look, 0 to 86400.
    type: int
    default: 10
  since:
    description:
      - Mark of the kernel's log, RV(observation.mark) of an earlier task. What was logged before
        it does not count, unless the host was rebooted since.
      - Without it, all counts that the kernel still has since it booted.
    type: str
    default: ""
  fail:
    description: Whether an expectation that is not met fails the task.
    type: bool
    default: true
attributes:
  check_mode:
    description: Only looks.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
seealso:
  - module: ksm.fleet.ksm_info
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: See that merging is worth its CPU time
  ksm.fleet.ksm_expect:
    seconds: 60
    expect:
      saved_mib_min: 2048
      scan_cpu_percent_max: 25
      kernel_log_clean: true

- name: Take a mark of the kernel's log
  ksm.fleet.ksm_expect:
    seconds: 0
  register: before

- name: Tell what was logged since, and go on
  ksm.fleet.ksm_expect:
    since: "{{ before.observation.mark }}"
    fail: false
    expect:
      kernel_log_clean: true
"""

RETURN = r"""
ok:
  description: Whether all expectations are met.
  returned: always
  type: bool
findings:
  description: One for each expectation.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the expectation.
      type: str
    wanted:
      description: What is expected.
      type: raw
    found:
      description: What was seen, null where it could not be.
      type: raw
    ok:
      description: Whether it is met.
      type: bool
    text:
      description: The same for a person, with the remedy where it could not be seen.
      type: str
  sample:
    - name: saved_mib_min
      wanted: 2048.0
      found: 1310.5
      ok: false
      text: "saved_mib_min: 1310.50 MiB, but wanted at least 2048 MiB"
observation:
  description: All that was seen; null is what could not be.
  returned: always
  type: dict
  contains:
    engine:
      description: The engine in use.
      type: str
    version:
      description: Version of the engine that runs.
      type: str
    seconds:
      description: For how long it was looked at.
      type: float
    saved_mib:
      description: Memory that merging saves, in MiB.
      type: float
    sharing_ratio:
      description: C(pages_sharing) for each of C(pages_shared), 0 where nothing is merged.
      type: float
    profit_mib:
      description: C(general_profit), in MiB.
      type: float
    scan_cpu_percent:
      description: CPU time of the threads that scan, in percent of one CPU.
      type: float
    memory_pressure:
      description: PSI of memory, C(some avg60), in percent.
      type: float
    kernel_log:
      description: Complaints in the kernel's log.
      type: list
      elements: str
    mark:
      description: Where the kernel's log ends.
      type: str
    drift:
      description: Tunables that are not what the files say.
      type: dict
    unknown:
      description: What could not be seen, and why.
      type: dict
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import client

if not client.IMPORT_ERROR:
    from ksm import expect
    from ksm.engine import select
    from ksm.errors import KsmError

LONGEST = 86400


def look(params: dict[str, Any], root: str = "/") -> dict[str, Any]:
    """Return what the module returns, of the host below *root*."""
    # A suboption that is not given is None.
    asked = {name: value for name, value in params["expect"].items() if value is not None}
    wanted = expect.parse(asked)
    seen = expect.observe(select("auto", root), params["seconds"], root, params["since"] or None)
    findings = expect.check(wanted, seen)
    return {
        "ok": all(finding.ok for finding in findings),
        "findings": [asdict(finding) for finding in findings],
        "observation": seen.as_dict(),
    }


def build_module() -> AnsibleModule:
    number = {"type": "float"}
    return AnsibleModule(
        argument_spec={
            "expect": {
                "type": "dict",
                "default": {},
                "options": {
                    "saved_mib_min": number,
                    "sharing_ratio_min": number,
                    "scan_cpu_percent_max": number,
                    "memory_pressure_max": number,
                    "profit_min_mib": number,
                    "kernel_log_clean": {"type": "bool"},
                    "no_drift": {"type": "bool"},
                    "version": {"type": "str"},
                    "engine": {"type": "str", "choices": ["module", "kernel"]},
                },
            },
            "seconds": {"type": "int", "default": 10},
            "since": {"type": "str", "default": ""},
            "fail": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    client.require(module)
    seconds = module.params["seconds"]
    if not 0 <= seconds <= LONGEST:
        module.fail_json(msg=f"seconds: {seconds} is out of range; write 0..{LONGEST}")
    try:
        result = look(module.params)
    except (KsmError, OSError) as error:
        module.fail_json(msg=str(error))
    if module.params["fail"] and not result["ok"]:
        missed = [finding["text"] for finding in result["findings"] if not finding["ok"]]
        module.fail_json(msg=f"Merging is not as expected: {'; '.join(missed)}.", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
