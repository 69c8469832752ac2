#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: which tasks are merged in which domain, now and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_policy
short_description: Say which tasks are merged in which domain, now and for those that start later
version_added: 0.1.0
description:
  - Keeps policies in C(/etc/ksm/policy.d/ksm-fleet.conf), as C(man ksm-policy.conf) has it.
    Policies in other files there are left alone.
  - Registers the tasks that match at once, and enables and starts C(ksm-policy.service), which
    does so with tasks that start later. It is stopped and disabled where no policy is left.
  - A task whose policy was removed is not scanned any more. What was merged stays merged.
  - With an error in one policy nothing is changed, and the error names the value and the remedy.
requirements:
  - python3-ksm and, for O(service), ksm-tools on the host
options:
  name:
    description:
      - Name of one policy. Policies are tried in the order of their names, and the first that
        matches a task decides.
    type: str
  match:
    description:
      - What a task must be, one of these at the least, and all that are given.
      - Patterns are the shell's, and C(*) also stands for C(/).
    type: dict
    suboptions: &match
      unit:
        description: Pattern of its service or scope of the system's service manager.
        type: str
      cgroup:
        description: Pattern of the path of its control group, or of one above it.
        type: str
      user:
        description: Its effective user, by name or number.
        type: str
      command:
        description:
          - Pattern of the name of the file that it executes, or of the path with a C(/) in it.
        type: str
  domain:
    description:
      - Its domain, by number, where V(0) is the common one, or by any name, which is hashed to a
        number.
    type: str
  children:
    description: Whether its children and theirs are registered, too, whatever they match.
    type: bool
    default: false
  zero_pages:
    description:
      - Whether empty pages may become the kernel's zero page, which all domains share, while the
        tunable C(use_zero_pages) is 1.
    type: bool
    default: false
  policies:
    description:
      - Any number of policies, instead of O(name) and what belongs to it.
      - With O(state=absent), only the names count.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      match:
        description: As O(match).
        type: dict
        suboptions: *match
      domain:
        description: As O(domain).
        type: str
      children:
        description: As O(children).
        type: bool
        default: false
      zero_pages:
        description: As O(zero_pages).
        type: bool
        default: false
  purge:
    description:
      - Whether policies that the file holds and O(policies) does not name are removed.
      - Only with O(policies) and O(state=present).
    type: bool
    default: false
  state:
    description: Whether the policies shall be there.
    type: str
    choices: [present, absent]
    default: present
  service:
    description:
      - Whether the service is taken care of. With V(false) tasks that start later are left to
        whoever runs C(ksmctl policy).
    type: bool
    default: true
attributes:
  check_mode:
    description: Validates everything, and says which tasks match.
    support: full
  diff_mode:
    description: Shows the file and the service, before and after.
    support: full
notes:
  - Where the module C(ksm.ko) is not loaded the policies wait for it, and a warning says so.
seealso:
  - module: ksm.fleet.ksm_module
  - module: ksm.fleet.ksm_info
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Keep the guests of one tenant to themselves
  ksm.fleet.ksm_policy:
    name: tenant-a
    match:
      unit: "qemu@a*.service"
    domain: tenant-a

- name: Have these policies and no others
  ksm.fleet.ksm_policy:
    policies:
      - name: tenant-a
        match:
          cgroup: "/machine.slice/a*"
          command: "qemu-system-*"
        domain: tenant-a
      - name: builds
        match:
          user: build
        domain: builds
        children: true
    purge: true
  register: policy

- name: Say who is not merged, and why
  ansible.builtin.debug:
    msg: "{{ policy.tasks | rejectattr('registered') }}"

- name: Let the tenant go
  ksm.fleet.ksm_policy:
    name: tenant-a
    state: absent
"""

RETURN = r"""
policies:
  description: All policies of the host, also those of other files, in the order in which they are
    tried.
  returned: always
  type: list
  elements: dict
  sample:
    - name: tenant-a
      file: ksm-fleet.conf
      match: {unit: "qemu@a*.service"}
      domain: tenant-a
      number: 9270386808276352737
      children: false
      zero_pages: false
errors:
  description: What is wrong with other files.
  returned: always
  type: list
  elements: dict
tasks:
  description: The tasks that match now.
  returned: always
  type: list
  elements: dict
  contains:
    pid:
      description: The process.
      type: int
    command:
      description: The file that it executes.
      type: str
    policy:
      description: The policy that it matches.
      type: str
    domain:
      description: The domain of that.
      type: str
    number:
      description: The domain's number.
      type: int
    registered:
      description: Whether it is registered there; in check mode, whether it is already.
      type: bool
    why:
      description: Why it is not, null where it is.
      type: str
registered:
  description: Processes that were registered, or in check mode would be.
  returned: always
  type: list
  elements: int
removed:
  description: Processes whose registration was ended, or in check mode would be.
  returned: always
  type: list
  elements: int
kept:
  description: Why registrations that should have ended are still there.
  returned: always
  type: list
  elements: str
waiting:
  description: Why nothing can be registered now, null when it can.
  returned: always
  type: str
service:
  description: The service after the task, null without O(service).
  returned: always
  type: dict
  sample: {enabled: true, active: true}
path:
  description: The file of the policies.
  returned: always
  type: str
  sample: /etc/ksm/policy.d/ksm-fleet.conf
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import client, policy_service
from ansible_collections.ksm.fleet.plugins.module_utils.policies import (
    HAS_POLICIES,
    KsmPolicy,
    Refused,
)

if HAS_POLICIES:
    from ksm.errors import KsmError


def build_module() -> AnsibleModule:
    match = {
        "type": "dict",
        "options": {key: {"type": "str"} for key in ("unit", "cgroup", "user", "command")},
    }
    policy = {
        "match": match,
        "domain": {"type": "str"},
        "children": {"type": "bool", "default": False},
        "zero_pages": {"type": "bool", "default": False},
    }
    return AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            **policy,
            "policies": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str", "required": True}, **policy},
            },
            "purge": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "service": {"type": "bool", "default": True},
        },
        required_one_of=[("name", "policies")],
        mutually_exclusive=[
            ("name", "policies"),
            ("match", "policies"),
            ("domain", "policies"),
        ],
        required_if=[("purge", True, ("policies",))],
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    client.require(module)
    if not HAS_POLICIES:
        module.fail_json(msg="python3-ksm on the host knows no policies: upgrade it to the collection's version")
    try:
        result = KsmPolicy(module).run()
    except (Refused, KsmError, OSError, policy_service.Failed) as error:
        module.fail_json(msg=f"Nothing was changed: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
