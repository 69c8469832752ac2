#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: what is desired of the engines, and what they do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_info
short_description: Tell what samepage merging is told to do on a host, and what it does
version_added: 0.1.0
description:
  - Returns what is desired (the files that hold after a reboot) apart from what is observed
    (the engines that run).
  - Works on a host without any engine, and says why there is none.
  - Never changes anything.
requirements:
  - python3-ksm on the host
options: {}
attributes:
  check_mode:
    description: Only looks.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
seealso:
  - module: ksm.fleet.ksm_tunables
  - module: ksm.fleet.ksm_preflight
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Look at samepage merging
  ksm.fleet.ksm_info:
  register: ksm

- name: Say how much memory it saves
  ansible.builtin.debug:
    msg: "{{ (ksm.observed[ksm.engine].saved_bytes / 1048576) | round(1) }} MiB"
  when: ksm.engine is not none
"""

RETURN = r"""
engine:
  description:
    - The engine in use, V(module) where C(ksm.ko) is loaded, else V(kernel).
    - Null when there is none.
  returned: always
  type: str
  sample: module
reason:
  description: Why there is no engine, null when there is one.
  returned: always
  type: str
kernel:
  description: Release of the running kernel.
  returned: always
  type: str
  sample: 6.12.107+deb13-amd64
desired:
  description: What holds after a reboot, by engine.
  returned: always
  type: dict
  contains:
    module:
      description: The module C(ksm.ko).
      type: dict
      sample: {path: /etc/modprobe.d/ksm.conf, tunables: {run: 1}, at_boot: true}
    kernel:
      description: The built-in engine.
      type: dict
      sample: {path: /etc/tmpfiles.d/ksm-fleet.conf, tunables: {}, at_boot: true}
observed:
  description: What the engines do now.
  returned: always
  type: dict
  contains:
    module:
      description: The module C(ksm.ko).
      type: dict
      contains: &engine
        available:
          description: Whether the engine is there. The rest is there only when it is.
          type: bool
        reason:
          description: Why it is not, with the remedy. Null when it is.
          type: str
        tunables:
          description: Values of all tunables.
          type: dict
          sample: {run: 1, pages_to_scan: 200, sleep_millisecs: 20}
        counters:
          description: Values of all counters, in pages if not said otherwise.
          type: dict
          sample: {full_scans: 7, pages_shared: 16, pages_sharing: 16368}
        saved_bytes:
          description: Memory that merging saves now.
          type: int
          sample: 67043328
        thread_pid:
          description: The thread that scans, null when it is not seen.
          type: int
        thread_cpu_seconds:
          description: CPU time that it has used, null when it is not seen.
          type: float
          sample: 1.25
    kernel:
      description: The built-in engine.
      type: dict
      contains: *engine
drift:
  description: Tunables of the engine in use whose observed value is not the desired one.
  returned: always
  type: dict
  sample: {pages_to_scan: {desired: 200, observed: 100}}
policies:
  description: Which tasks are merged in which domain, as M(ksm.fleet.ksm_policy) returns it. Null
    where python3-ksm knows no policies.
  returned: always
  type: dict
  contains:
    policies:
      description: The policies in force.
      type: list
      elements: dict
    errors:
      description: What is wrong with files.
      type: list
      elements: dict
module:
  description: The module C(ksm.ko).
  returned: always
  type: dict
  contains:
    version_running:
      description: Version that is loaded, null when none is.
      type: str
      sample: 0.1.0
    version_installed:
      description: Version that C(modprobe) would load, null when there is none.
      type: str
      sample: 0.1.0
    srcversion_running:
      description: Digest of the sources of what is loaded, which tells builds apart.
      type: str
      sample: 533BB7E5866E52F63B9ACCB
    srcversion_installed:
      description: The same of what C(modprobe) would load.
      type: str
      sample: 533BB7E5866E52F63B9ACCB
    reload_required:
      description: Whether another build is installed than runs. C(ksmctl reload) puts it to work.
      type: bool
    reload_interrupted:
      description: Whether a reload was cut short. C(ksmctl reload) goes on with it.
      type: bool
    file:
      description: Path of C(ksm.ko) for the running kernel, null when there is none.
      type: str
    dkms:
      description: State for the running kernel in DKMS.
      type: str
      sample: installed
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import client, dkms, kmod
from ansible_collections.ksm.fleet.plugins.module_utils.info import info


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    client.require(module)
    path = module.get_bin_path("dkms")
    status = module.run_command([path, "status", "-m", "ksm"])[1] if path else ""
    release = os.uname().release
    state, _version = dkms.state_for(dkms.parse_status(status, "ksm"), release)
    found = info("/", release, state, kmod.installed(module))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
