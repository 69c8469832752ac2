#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: set the tunables of an engine, now and after a reboot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_tunables
short_description: Set the tunables of samepage merging, at run time and after a reboot
version_added: 0.1.0
description:
  - Sets tunables of the module C(ksm.ko) or of the kernel's built-in engine, all of them or none.
  - Writes them where the engine finds them after a reboot, C(/etc/modprobe.d/ksm.conf) for the
    module and C(/etc/tmpfiles.d/ksm-fleet.conf) for the built-in engine. Other lines of these
    files are kept.
  - A value out of range changes nothing, and the error names the value and the range.
requirements:
  - python3-ksm on the host
options:
  state:
    description:
      - V(present) sets O(tunables).
      - V(absent) stops the engine, sets back to their defaults the tunables that were persisted,
        and removes them from the file.
    type: str
    choices: [present, absent]
    default: present
  engine:
    description:
      - V(module) is C(ksm.ko), V(kernel) the built-in one.
      - V(auto) is C(ksm.ko) where it is loaded, else the built-in one.
    type: str
    choices: [auto, module, kernel]
    default: auto
  tunables:
    description:
      - Names and values, as in sysfs.
      - A number must be written as one. V(true) is refused for it, since C(run=yes) is an
        accident more often than not.
      - V(run) 0 stops the engine, 1 starts it, 2 stops it and unmerges everything. Unmerging is
        refused when it takes more memory than is available.
      - Required with O(state=present), refused with O(state=absent).
    type: dict
  persist:
    description: Whether the tunables hold after a reboot, too.
    type: bool
    default: true
  purge:
    description:
      - Whether tunables that the file holds and O(tunables) does not name go back to their
        defaults and leave the file.
      - With V(false) they stay as they are.
    type: bool
    default: false
  unmerge:
    description:
      - With O(state=absent), unmerge everything. Otherwise pages stay merged, and are copied
        when they are written.
    type: bool
    default: false
  other_engine:
    description:
      - What becomes of the other engine. Two engines that run at once compete for the same
        pages, so starting one is refused while the other runs.
      - V(keep) leaves it alone.
      - V(stop) stops it and keeps what it merged.
      - V(unmerge) stops it and unmerges what it merged, which this engine can then merge.
      - Both V(stop) and V(unmerge) remove its persisted tunables.
    type: str
    choices: [keep, stop, unmerge]
    default: keep
attributes:
  check_mode:
    description: Validates everything and says what it would change.
    support: full
  diff_mode:
    description: Shows the tunables and the file, before and after.
    support: full
notes:
  - In check mode O(engine=module) may name a module that is not loaded yet.
seealso:
  - module: ksm.fleet.ksm_info
  - module: ksm.fleet.ksm_module
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Merge, at a gentle pace
  ksm.fleet.ksm_tunables:
    tunables:
      run: 1
      pages_to_scan: 200
      sleep_millisecs: 50

- name: Scan harder until the next reboot
  ksm.fleet.ksm_tunables:
    tunables:
      pages_to_scan: 5000
    persist: false

- name: Let the built-in engine's advisor set the pace
  ksm.fleet.ksm_tunables:
    engine: kernel
    other_engine: stop
    tunables:
      run: 1
      advisor_mode: scan-time
      advisor_max_cpu: 10

- name: Stop merging and unmerge everything
  ksm.fleet.ksm_tunables:
    state: absent
    unmerge: true
"""

RETURN = r"""
engine:
  description: The engine whose tunables these are.
  returned: always
  type: str
  sample: module
tunables:
  description: The tunables asked for, as the engine stores them.
  returned: always
  type: dict
  sample: {run: 1, pages_to_scan: 200}
before:
  description:
    - Their values before, with those of the tunables that went back to their defaults. Empty
      in check mode when the engine is not there yet.
  returned: always
  type: dict
  sample: {run: 0, pages_to_scan: 100}
after:
  description: Their values after; in check mode, those that they would have.
  returned: always
  type: dict
  sample: {run: 1, pages_to_scan: 200}
path:
  description: The file that holds them over a reboot.
  returned: always
  type: str
  sample: /etc/modprobe.d/ksm.conf
persisted:
  description: What that file holds after the task.
  returned: always
  type: dict
  sample: {pages_to_scan: 200, run: 1}
other_engine_stopped:
  description: Whether the other engine was stopped.
  returned: always
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import client
from ansible_collections.ksm.fleet.plugins.module_utils.tuning import KsmTunables

if not client.IMPORT_ERROR:
    from ksm.errors import KsmError


def build_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "engine": {
                "type": "str",
                "choices": ["auto", "module", "kernel"],
                "default": "auto",
            },
            "tunables": {"type": "dict"},
            "persist": {"type": "bool", "default": True},
            "purge": {"type": "bool", "default": False},
            "unmerge": {"type": "bool", "default": False},
            "other_engine": {
                "type": "str",
                "choices": ["keep", "stop", "unmerge"],
                "default": "keep",
            },
        },
        required_if=[("state", "present", ("tunables",))],
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    client.require(module)
    if module.params["state"] == "absent" and module.params["tunables"]:
        module.fail_json(msg="tunables cannot be given with state=absent: leave them out")
    try:
        result = KsmTunables(module).run()
    except KsmError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"nothing was changed: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
