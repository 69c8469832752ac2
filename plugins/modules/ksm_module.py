#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: load and unload ksm.ko, now and at boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_module
short_description: Load or unload the samepage merging module ksm.ko
version_added: 0.1.0
description:
  - Loads or unloads C(ksm.ko), and says in C(/etc/modules-load.d) whether it is loaded at boot.
  - Unloading stops merging. Pages that are merged stay merged and are copied when they are written.
options:
  state:
    description:
      - V(loaded) loads the module when it is not loaded.
      - V(latest) also reloads it when another version is installed than runs. Regions that
        processes registered end with the old module.
      - V(absent) unloads it.
    type: str
    choices: [loaded, latest, absent]
    default: loaded
  at_boot:
    description:
      - Whether the module is loaded at boot.
      - V(false), and O(state=absent), remove C(/etc/modules-load.d/ksm.conf).
    type: bool
    default: true
attributes:
  check_mode:
    description: Says what it would do.
    support: full
  diff_mode:
    description: Shows whether the module is loaded and the file for boot, before and after.
    support: full
seealso:
  - module: ksm.fleet.ksm_tunables
  - module: ksm.fleet.ksm_info
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Load ksm.ko, now and at boot
  ksm.fleet.ksm_module:

- name: Put the installed version to work
  ksm.fleet.ksm_module:
    state: latest

- name: Unload ksm.ko; what is merged stays merged
  ksm.fleet.ksm_module:
    state: absent
"""

RETURN = r"""
loaded:
  description: Whether the module is loaded now (in check mode, would be).
  returned: always
  type: bool
version_running:
  description: Version of the module that is loaded, null when none is or it has none.
  returned: always
  type: str
  sample: 0.1.0
version_installed:
  description: Version of the module that C(modprobe) would load, null when there is none.
  returned: always
  type: str
  sample: 0.1.0
reload_required:
  description: Whether another version is installed than runs.
  returned: always
  type: bool
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import host, persistence

BOOT_FILE = "/etc/modules-load.d/ksm.conf"
BOOT_TEXT = "# Load the samepage merging module, written by ksm.fleet.ksm_module\nksm\n"

# What the kernel's answer to modprobe means, and what to do.
REMEDIES = (
    (
        "key was rejected",
        "the kernel takes only modules signed by a key it knows: enrol DKMS' key with"
        " mokutil --import /var/lib/dkms/mok.pub and reboot, or set ksm_engine to kernel",
    ),
    (
        "not found",
        "ksm.ko is not there for the running kernel: look at dkms status, install the kernel's"
        " headers, then run dkms autoinstall",
    ),
    (
        "invalid argument",
        "an option is out of range: look at /etc/modprobe.d/ksm.conf and at the kernel log",
    ),
    (
        "exec format error",
        "ksm.ko was built for another kernel: run dkms build --force and dkms install --force",
    ),
    (
        "operation not permitted",
        "modules cannot be loaded here (container, kernel.modules_disabled or lockdown):"
        " set ksm_engine to kernel, or no engine on this host",
    ),
)


def remedy(error: str) -> str:
    """Return what to do about an error of modprobe."""
    for sign, cure in REMEDIES:
        if sign in error.lower():
            return cure
    return "look at the kernel log (dmesg)"


def holders(proc: str = "/proc") -> list[str]:
    """Return the processes that hold /dev/ksm or an area of it open."""
    found = []
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            fds = os.listdir(f"{proc}/{pid}/fd")
            links = [os.readlink(f"{proc}/{pid}/fd/{fd}") for fd in fds]
            with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                comm = stream.read().strip()
        except OSError:
            # It ended meanwhile.
            continue
        if any(link == "/dev/ksm" or link.startswith("anon_inode:[ksm") for link in links):
            found.append(f"{comm} (pid {pid})")
    return found


def plan(state: str, loaded: bool, running: str | None, installed: str | None) -> list[str]:
    """Return the steps that lead to *state*: any of "unload" and "load", in order."""
    if state == "absent":
        return ["unload"] if loaded else []
    if not loaded:
        return ["load"]
    if state == "latest" and outdated(running, installed):
        return ["unload", "load"]
    return []


def outdated(running: str | None, installed: str | None) -> bool:
    return running is not None and installed is not None and running != installed


class KsmModule:
    """What the module does, on the host below *root*."""

    def __init__(self, module: AnsibleModule, root: str = "/") -> None:
        self.module = module
        self.root = root
        self.state: str = module.params["state"]
        self.at_boot: bool = module.params["at_boot"] and self.state != "absent"

    def path(self, name: str) -> str:
        return os.path.join(self.root, name.lstrip("/"))

    def running(self) -> str | None:
        """Return the version of the loaded module; not the engine's business but kmod's."""
        return (host.read(self.root, "sys/module/ksm/version") or "").strip() or None

    def installed(self) -> str | None:
        modinfo = self.module.get_bin_path("modinfo", required=True)
        status, out, _err = self.module.run_command([modinfo, "-F", "version", "ksm"])
        return out.strip() or None if status == 0 else None

    def step(self, step: str) -> None:
        modprobe = self.module.get_bin_path("modprobe", required=True)
        command = [modprobe, "ksm"] if step == "load" else [modprobe, "-r", "ksm"]
        status, _out, err = self.module.run_command(command)
        if status == 0:
            return
        if step == "unload":
            held = ", ".join(holders()) or "nobody seen from here"
            self.module.fail_json(
                msg=f"ksm.ko cannot be unloaded: {err.strip()}. It is held by: {held}."
                " Remedy: end these processes, or let them close /dev/ksm."
            )
        self.module.fail_json(msg=f"ksm.ko cannot be loaded: {err.strip()}. Remedy: {remedy(err)}.")

    def run(self) -> dict[str, Any]:
        loaded = host.module_loaded(self.root)
        running, installed = (self.running() if loaded else None), self.installed()
        steps = plan(self.state, loaded, running, installed)
        boot_before = persistence.read(self.path(BOOT_FILE))
        boot_after = BOOT_TEXT if self.at_boot else ""
        boot_differs = boot_before != boot_after

        if not self.module.check_mode:
            for step in steps:
                self.step(step)
            if boot_differs:
                persistence.write(self.module, self.path(BOOT_FILE), boot_after)

        after = self.state != "absent"
        if steps:
            running = installed if after else None
            if not self.module.check_mode and after:
                running = self.running()
        return {
            "changed": bool(steps) or boot_differs,
            "loaded": after,
            "version_running": running,
            "version_installed": installed,
            "reload_required": outdated(running, installed),
            "diff": [
                {
                    "before_header": "ksm.ko",
                    "after_header": "ksm.ko",
                    "before": f"loaded: {loaded}\n",
                    "after": f"loaded: {after}\n",
                },
                {
                    "before_header": BOOT_FILE,
                    "after_header": BOOT_FILE,
                    "before": boot_before,
                    "after": boot_after,
                },
            ],
        }


def build_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["loaded", "latest", "absent"],
                "default": "loaded",
            },
            "at_boot": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    module.exit_json(**KsmModule(module).run())


if __name__ == "__main__":
    main()
