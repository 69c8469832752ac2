#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: can this host run an engine, and what is in the way."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_preflight
short_description: Tell whether a host can run an engine of samepage merging
version_added: 0.1.0
description:
  - Looks at kernel, kernel headers, DKMS, signature policy and packages in one round trip.
  - Needs nothing but Python on the host, so it can run before any package is installed.
  - Never changes anything.
options:
  engine:
    description:
      - The engine that the host must be able to run; fails with reason and remedy when it cannot.
      - With V(auto) the module engine is chosen where nothing is in its way, else the kernel
        engine, and only a host that can run neither fails.
      - Without it, the module reports and does not fail.
    type: str
    choices: [auto, module, kernel]
  built:
    description:
      - Fail unless DKMS built and installed ksm.ko for the running kernel.
      - That C(apt) or C(dnf) ended well proves nothing about it.
    type: bool
    default: false
  available:
    description:
      - Whether to ask the package manager which versions of our packages it can install.
    type: bool
    default: false
  wanted:
    description:
      - What the host shall be like. RV(missing) tells what is not so, and RV(info) what
        M(ksm.fleet.ksm_info) would, so that one round trip is enough on a host where nothing is
        to be done.
    type: dict
    suboptions:
      tunables:
        description: Tunables by engine, as O(ksm.fleet.ksm_tunables#module:tunables).
        type: dict
        default: {}
      other_engine:
        description:
          - What becomes of the engine that is not wanted, as
            O(ksm.fleet.ksm_tunables#module:other_engine).
          - With V(keep) the module fails where C(ksmtuned) steers the built-in engine.
        type: str
        choices: [keep, stop, unmerge]
        default: stop
      reload:
        description: Whether another build that is installed must be the one that runs.
        type: bool
        default: false
      files:
        description:
          - By package manager, files that must be there, and their digests, such as
            C(sha256:...), or an empty string where it does not matter what is in them.
        type: dict
        default: {}
      policies:
        description: Policies of domains, as O(ksm.fleet.ksm_policy#module:policies).
        type: list
        elements: dict
        default: []
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
- name: See what is in the way of ksm.ko
  ksm.fleet.ksm_preflight:
  register: host

- name: See what a host lacks
  ksm.fleet.ksm_preflight:
    engine: auto
    wanted:
      tunables:
        module: {run: 1, pages_to_scan: 1000}
        kernel: {run: 1, pages_to_scan: 250}
  register: host

- name: Stop where ksm.ko was not built for the running kernel
  ksm.fleet.ksm_preflight:
    engine: module
    built: true
"""

RETURN = r"""
engine:
  description:
    - The engine asked for, or chosen for V(auto).
    - V(none) when the host can run none.
  returned: success
  type: str
  sample: module
engine_reason:
  description: Why V(auto) has fallen back to the built-in engine, null when it has not.
  returned: success
  type: str
  sample: kernel 5.10.0-30-amd64 is older than 6.1
missing:
  description: Steps of the role that would change the host, and why.
  returned: with O(wanted)
  type: dict
  sample: {tunables: "pages_to_scan is 100, not 1000"}
info:
  description: What M(ksm.fleet.ksm_info) returns, null without python3-ksm on the host.
  returned: with O(wanted)
  type: dict
available:
  description: Versions of our packages that the package manager can install, the newest first.
  returned: with O(available)
  type: dict
  sample: {ksm-dkms: [0.2.0, 0.1.0], ksm-tools: [0.2.0, 0.1.0], python3-ksm: [0.2.0, 0.1.0]}
problems:
  description: What is in the way of each engine, and of loading ksm.ko.
  returned: always
  type: dict
  contains:
    module:
      description: Reasons why ksm.ko cannot be built or used here.
      type: list
      elements: dict
      sample:
        - reason: kernel 5.10.0-30-amd64 is older than 6.1
          remedy: boot a kernel of 6.1 or later, or set ksm_engine to kernel
    kernel:
      description: Reasons why the built-in engine cannot be used here.
      type: list
      elements: dict
    built:
      description: Reasons why ksm.ko cannot be loaded now, or is of an older version than it could be.
      type: list
      elements: dict
kernel:
  description: The running kernel.
  returned: success
  type: dict
  contains:
    release:
      description: As C(uname -r) says.
      type: str
      sample: 6.1.0-50-amd64
    arch:
      description: As C(uname -m) says.
      type: str
      sample: x86_64
    config_file:
      description: Where the configuration was found, null when nowhere.
      type: str
      sample: /boot/config-6.1.0-50-amd64
    config:
      description: The options that matter, null for those not set.
      type: dict
      sample: {MODULES: "y", DEVICE_MIGRATION: "y", KSM: "y"}
    headers:
      description: Whether modules can be built for it.
      type: bool
    headers_package:
      description: The package that holds its headers.
      type: str
      sample: linux-headers-6.1.0-50-amd64
kernels:
  description: The kernels that can be booted, and what DKMS has for each.
  returned: success
  type: list
  elements: dict
  sample: [{release: 6.1.0-50-amd64, headers: true, state: installed, overdue: null}]
modules_disabled:
  description: Whether the kernel takes no more modules until the next boot.
  returned: success
  type: bool
builtin:
  description: Whether the kernel has the built-in engine.
  returned: success
  type: bool
signatures:
  description: Whether modules without a signature by an enrolled key are refused.
  returned: success
  type: dict
  sample: {secure_boot: false, lockdown: none, enforced: false}
dkms:
  description: The state of ksm.ko in DKMS.
  returned: success
  type: dict
  contains:
    available:
      description: Whether DKMS is installed.
      type: bool
    state:
      description: State for the running kernel.
      type: str
      sample: installed
    version:
      description: Version that the state is about.
      type: str
      sample: 0.1.0
    overdue:
      description: A newer version that could not be built for the running kernel, which keeps an older one.
      type: str
    builds:
      description: Every build that DKMS knows.
      type: list
      elements: dict
    log:
      description: Path of the newest build log.
      type: str
    log_tail:
      description: The last lines of it, unless the module is installed.
      type: list
      elements: str
module:
  description: The module ksm.ko.
  returned: success
  type: dict
  contains:
    file:
      description: Path of ksm.ko for the running kernel, null when there is none.
      type: str
    version:
      description: Version of that file.
      type: str
    srcversion:
      description: Digest of the sources of that file.
      type: str
    loaded:
      description: Whether it is loaded.
      type: bool
    running:
      description: Version of what is loaded, null when it has none.
      type: str
    at_boot:
      description: Whether C(/etc/modules-load.d/ksm.conf) loads it at boot.
      type: bool
signature:
  description: Who signed that file, and whether the kernel knows the key.
  returned: success
  type: dict
  contains:
    signer:
      description: Name of the key.
      type: str
    serial:
      description: Its number.
      type: str
    certificate:
      description: Its certificate, null when it is not on the host.
      type: str
    enrolled:
      description: Whether the kernel knows it, null where that cannot be told.
      type: bool
  sample:
    signer: DKMS module signing key
    serial: 4d3c2b1a
    certificate: /var/lib/dkms/mok.pub
    enrolled: false
device:
  description: Mode and group of C(/dev/ksm), null when there is none.
  returned: success
  type: dict
  sample: {mode: "0660", group: kvm}
running:
  description: The engines that merge now.
  returned: success
  type: dict
  sample: {module: true, kernel: false}
packages:
  description: Versions of our packages, null for those not wholly installed.
  returned: success
  type: dict
  sample: {ksm-dkms: 0.1.0-1, ksm-tools: null, python3-ksm: null}
packages_left:
  description: Our packages of which anything is on the host, were it but configuration.
  returned: success
  type: list
  elements: str
package_manager:
  description: V(apt), V(dnf) or null.
  returned: success
  type: str
distribution:
  description: ID of the distribution.
  returned: success
  type: str
  sample: debian
conflicts:
  description: Installed programs that steer the built-in engine on their own.
  returned: success
  type: list
  elements: str
  sample: [ksmtuned]
tuners:
  description: Pids of such programs.
  returned: success
  type: list
  elements: int
rival_units:
  description: Units of such programs that are started at boot.
  returned: success
  type: list
  elements: str
  sample: [ksmtuned.service]
files:
  description: Files of the role that are on the host.
  returned: success
  type: list
  elements: str
  sample: [/etc/modprobe.d/ksm.conf]
"""

import os
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import (
    checks,
    client,
    host,
    versions,
    wanted,
)
from ansible_collections.ksm.fleet.plugins.module_utils.info import info
from ansible_collections.ksm.fleet.plugins.module_utils.role_files import FILES


def look(root: str, release: str, arch: str, run: checks.signing.Run) -> dict[str, Any]:
    """Gather what is known about the host, and what only the role asks for."""
    seen = checks.look(root, release, arch, run)
    if seen["package_manager"] == "dnf":
        left = [name for name in checks.PACKAGES if seen["packages"][name]]
    else:
        left = host.deb_remains(root, checks.PACKAGES)
    return {
        **seen,
        "packages_left": left,
        "files": [f for f in FILES if os.path.lexists(os.path.join(root, f.lstrip("/")))],
    }


def problems_of_module(seen: dict[str, Any]) -> list[checks.Problem]:
    """Return why the role cannot bring ksm.ko into this kernel."""
    found = checks.problems_of_module(seen)
    if seen["package_manager"] is None:
        found.append(
            {
                "reason": f"the role installs packages by apt or dnf, and {seen['distribution']} has neither",
                "remedy": "set ksm_engine to kernel and install the Python package ksm-fleet by hand",
            }
        )
    return found


def runner(module: AnsibleModule) -> checks.signing.Run:
    """Return what runs a command on the host."""

    def run(command: Sequence[str]) -> str | None:
        path = module.get_bin_path(command[0])
        return module.run_command([path, *command[1:]])[1] if path else None

    return run


def compare(
    module: AnsibleModule, asked: dict[str, Any], engine: str, seen: dict[str, Any], root: str = "/"
) -> dict[str, Any]:
    """Return what the host lacks of what is wanted, and what ksm_info would."""
    where = checks.rivals(seen)
    if where and asked["other_engine"] == "keep":
        module.fail_json(msg=checks.text([checks.problem_of_rivals(where)]))
    build = wanted.installed(module, seen)
    known = None
    if not client.IMPORT_ERROR:
        known = info(root, seen["kernel"]["release"], seen["dkms"]["state"], build)
    return {"missing": wanted.missing(module, asked, engine, seen, build, root), "info": known}


def build_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "choices": ["auto", "module", "kernel"]},
            "built": {"type": "bool", "default": False},
            "available": {"type": "bool", "default": False},
            "wanted": {
                "type": "dict",
                "options": {
                    "tunables": {"type": "dict", "default": {}},
                    "other_engine": {
                        "type": "str",
                        "choices": ["keep", "stop", "unmerge"],
                        "default": "stop",
                    },
                    "reload": {"type": "bool", "default": False},
                    "files": {"type": "dict", "default": {}},
                    "policies": {"type": "list", "elements": "dict", "default": []},
                },
            },
        },
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    uname = os.uname()
    run = runner(module)
    seen = look("/", uname.release, uname.machine, run)
    problems = {
        "module": problems_of_module(seen),
        "kernel": checks.problems_of_kernel(seen),
        "built": checks.problems_of_build(seen),
    }
    asked = module.params["engine"]
    engine = checks.choose(asked, seen, problems)
    result = {
        **seen,
        "problems": problems,
        "engine": engine,
        "engine_reason": checks.engine_reason(asked, engine, seen, problems["module"]),
    }

    if asked and engine == "none":
        engines = ["module", "kernel"] if asked == "auto" else [asked]
        reasons = [p for name in engines for p in problems[name]]
        module.fail_json(msg=f"Engine {asked}: {checks.text(reasons)}", problems=problems)
    if module.params["built"] and problems["built"]:
        module.fail_json(msg=checks.text(problems["built"]), problems=problems)
    if module.params["available"]:
        result["available"] = versions.available(seen["package_manager"], checks.PACKAGES, run)
    if module.params["wanted"] is not None:
        result.update(compare(module, module.params["wanted"], engine, seen))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
