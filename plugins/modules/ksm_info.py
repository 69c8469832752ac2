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
      description: Version that DKMS has for the running kernel, null when there is none.
      type: str
      sample: 0.1.0
    reload_required:
      description: Whether another version is installed than runs.
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
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import client, dkms, host, persistence

if not client.IMPORT_ERROR:
    from ksm.engine import Engine, available_engines, select
    from ksm.errors import EngineUnavailable

BOOT_FILE = "etc/modules-load.d/ksm.conf"


def observe(engine: Engine) -> dict[str, Any]:
    """Return what one engine does, or why it is not there."""
    try:
        seen = engine.snapshot()
    except EngineUnavailable as error:
        return {"available": False, "reason": str(error)}
    return {
        "available": True,
        "reason": None,
        "tunables": seen["tunables"],
        "counters": seen["counters"],
        "saved_bytes": seen["saved_bytes"],
        "thread_pid": seen.get("thread_pid"),
        "thread_cpu_seconds": seen.get("thread_cpu_seconds"),
    }


def desire(engine: str, root: str) -> dict[str, Any]:
    """Return what the file of one engine says."""
    form = persistence.FORMATS[engine]
    text = persistence.read(os.path.join(root, form.path.lstrip("/")))
    boot = host.read(root, BOOT_FILE) or ""
    return {
        "path": form.path,
        "tunables": form.parse(text),
        # The built-in engine is there at every boot.
        "at_boot": engine == "kernel" or "ksm" in boot.split(),
    }


def drift(desired: dict[str, Any], observed: dict[str, Any]) -> dict[str, Any]:
    """Return the tunables whose value is not the desired one."""
    return {
        name: {"desired": value, "observed": observed[name]}
        for name, value in desired.items()
        if name in observed and observed[name] != value
    }


def info(root: str, release: str, dkms_status: str) -> dict[str, Any]:
    """Return all that the module returns, of the host below *root*."""
    engines = {name: Engine(name, system=root) for name in ("module", "kernel")}
    observed = {name: observe(engine) for name, engine in engines.items()}
    desired = {name: desire(name, root) for name in engines}
    used: str | None = None
    reason: str | None = None
    if available_engines(root):
        used = select("auto", root).name
    else:
        reason = "; ".join(f"{name}: {seen['reason']}" for name, seen in observed.items())

    state, version = dkms.state_for(dkms.parse_status(dkms_status, "ksm"), release)
    installed = version if state == "installed" else None
    running = engines["module"].version() if engines["module"].present() else None
    return {
        "engine": used,
        "reason": reason,
        "kernel": release,
        "desired": desired,
        "observed": observed,
        "drift": drift(desired[used]["tunables"], observed[used]["tunables"]) if used else {},
        "module": {
            "version_running": running,
            "version_installed": installed,
            "reload_required": None not in (running, installed) and running != installed,
            "file": host.module_file(root, release),
            "dkms": state,
        },
    }


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    client.require(module)
    path = module.get_bin_path("dkms")
    status = module.run_command([path, "status", "-m", "ksm"])[1] if path else ""
    module.exit_json(changed=False, **info("/", os.uname().release, status))


if __name__ == "__main__":
    main()
