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
      - V(latest) also replaces it when another build is installed than runs, as C(ksmctl reload)
        does. What is merged stays merged, and regions and tunables are handed over. It needs
        python3-ksm on the host, and fails, with the module as it was, where regions would be lost
        or a process holds C(/dev/ksm).
      - V(latest) goes on with a reload that was interrupted.
      - V(absent) unloads it. Regions that processes registered end.
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
srcversion_running:
  description: Digest of the sources of the module that is loaded, which tells builds apart.
  returned: always
  type: str
  sample: 533BB7E5866E52F63B9ACCB
srcversion_installed:
  description: The same of the module that C(modprobe) would load.
  returned: always
  type: str
  sample: 533BB7E5866E52F63B9ACCB
reload_required:
  description: Whether another build is installed than runs.
  returned: always
  type: bool
reload:
  description: What C(ksmctl reload) did, or in check mode would do.
  returned: when the module was replaced
  type: dict
  sample: {action: reloaded, regions: 12, registered: 11, ended: 1, present: 0}
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import client, host, kmod, persistence
from ansible_collections.ksm.fleet.plugins.module_utils.loading import BOOT_FILE, BOOT_TEXT, plan

if not client.IMPORT_ERROR:
    from ksm.errors import KsmError
    from ksm.holders import holders
    from ksm.reload import reload

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


def held() -> str:
    """Return who keeps the module from being unloaded."""
    if client.IMPORT_ERROR:
        return "look with ls -l /proc/*/fd | grep ksm"
    return ", ".join(holders()) or "nobody seen from here"


def shown(loaded: bool, build: kmod.Build) -> str:
    text = f"loaded: {loaded}\n"
    return text + "".join(f"{name}: {of}\n" for name, of in build._asdict().items() if of)


class KsmModule:
    """What the module does, on the host below *root*."""

    def __init__(self, module: AnsibleModule, root: str = "/") -> None:
        self.module = module
        self.root = root
        self.state: str = module.params["state"]
        self.at_boot: bool = module.params["at_boot"] and self.state != "absent"
        self.report: dict[str, Any] = {}

    def path(self, name: str) -> str:
        return os.path.join(self.root, name.lstrip("/"))

    def step(self, step: str) -> bool:
        """Do it, or in check mode nothing; return whether anything changes by it."""
        if step == "reload":
            return self.reload()
        if self.module.check_mode:
            return True
        modprobe = self.module.get_bin_path("modprobe", required=True)
        command = [modprobe, "ksm"] if step == "load" else [modprobe, "-r", "ksm"]
        status, _out, err = self.module.run_command(command)
        if status == 0:
            return True
        if step == "unload":
            self.module.fail_json(
                msg=f"ksm.ko cannot be unloaded: {err.strip()}. It is held by: {held()}."
                " Remedy: end these processes, or let them close /dev/ksm."
            )
        self.module.fail_json(msg=f"ksm.ko cannot be loaded: {err.strip()}. Remedy: {remedy(err)}.")

    def reload(self) -> bool:
        client.require(self.module)
        try:
            report = reload(dry_run=self.module.check_mode)
        except (KsmError, OSError) as error:
            self.module.fail_json(msg=f"ksm.ko is not replaced: {error}.")
        self.report = {"reload": report.as_dict()}
        if report.problems:
            self.module.fail_json(msg=f"ksm.ko was not wholly replaced: {'; '.join(report.problems)}.", **self.report)
        # An interrupted reload may have left nothing to do.
        return report.action != "nothing"

    def run(self) -> dict[str, Any]:
        loaded = host.module_loaded(self.root)
        before, installed = kmod.running(self.root), kmod.installed(self.module)
        steps = plan(self.state, loaded, before, installed, kmod.interrupted(self.root))
        boot_before = persistence.read(self.path(BOOT_FILE))
        boot_after = BOOT_TEXT if self.at_boot else ""
        boot_differs = boot_before != boot_after

        steps = [step for step in steps if self.step(step)]
        if boot_differs and not self.module.check_mode:
            persistence.write(self.module, self.path(BOOT_FILE), boot_after)
        if self.state == "absent" and not self.module.check_mode:
            kmod.forget_interrupted(self.root)

        after, running = self.state != "absent", before
        if steps:
            running = installed if after else kmod.NONE
            if not self.module.check_mode and after:
                running = kmod.running(self.root)
        return {
            "changed": bool(steps) or boot_differs,
            "loaded": after,
            **kmod.facts(running, installed),
            **self.report,
            "diff": [
                {
                    "before_header": "ksm.ko",
                    "after_header": "ksm.ko",
                    "before": shown(loaded, before),
                    "after": shown(after, running),
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
    try:
        module.exit_json(**KsmModule(module).run())
    except OSError as error:
        module.fail_json(
            msg=f"{BOOT_FILE} cannot be written: {error}. Remedy: look whether its file system is full or read-only,"
            " and run this again"
        )


if __name__ == "__main__":
    main()
