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
      - That C(apt) ended well proves nothing about it.
    type: bool
    default: false
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
      description: Reasons why ksm.ko cannot be loaded now.
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
    loaded:
      description: Whether it is loaded.
      type: bool
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
files:
  description: Files of the role that are on the host.
  returned: success
  type: list
  elements: str
  sample: [/etc/modprobe.d/ksm.conf]
"""

import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import dkms, host

PACKAGES = ["ksm-dkms", "ksm-tools", "python3-ksm"]

# What the role may leave on a host. Removal looks here, too.
FILES = [
    "/etc/apt/keyrings/ksm-fleet.asc",
    "/etc/apt/keyrings/ksm-fleet.gpg",
    "/etc/apt/sources.list.d/ksm-fleet.sources",
    "/etc/modprobe.d/ksm.conf",
    "/etc/modules-load.d/ksm.conf",
    "/etc/tmpfiles.d/ksm-fleet.conf",
]

ARCHITECTURES = ("x86_64", "aarch64")
OLDEST = (6, 1)

Problem = dict[str, str]


def look(root: str, release: str, arch: str, dkms_status: str | None) -> dict[str, Any]:
    """Gather what is known about the host. *dkms_status* is None without DKMS."""
    config_file, config = host.kernel_config(root, release)
    builds = dkms.parse_status(dkms_status or "", "ksm")
    state, version = dkms.state_for(builds, release)
    log = dkms.make_log(root, "ksm", release) if state != "absent" else None
    release_info = host.os_release(root)
    tools = {"apt": "usr/bin/apt-get", "dnf": "usr/bin/dnf"}
    return {
        "kernel": {
            "release": release,
            "arch": arch,
            "config_file": config_file,
            "config": {k: config.get(k) for k in ("MODULES", "DEVICE_MIGRATION", "KSM")},
            "headers": host.has_headers(root, release),
            "headers_package": f"linux-headers-{release}",
        },
        "modules_disabled": (host.read(root, "proc/sys/kernel/modules_disabled") or "").strip()
        == "1",
        "builtin": host.builtin_engine(root),
        "signatures": host.signatures(root),
        "dkms": {
            "available": dkms_status is not None,
            "state": state,
            "version": version,
            "builds": builds,
            "log": log,
            "log_tail": [] if state == "installed" else dkms.tail(log),
        },
        "module": {
            "file": host.module_file(root, release),
            "loaded": host.module_loaded(root),
        },
        "packages": host.deb_packages(root, PACKAGES),
        "packages_left": host.deb_remains(root, PACKAGES),
        "package_manager": next(
            (k for k, v in tools.items() if os.path.exists(os.path.join(root, v))), None
        ),
        "distribution": release_info.get("ID", "unknown"),
        "conflicts": [k for k, v in host.deb_packages(root, ["ksmtuned"]).items() if v],
        "files": [f for f in FILES if os.path.lexists(os.path.join(root, f.lstrip("/")))],
    }


def problems_of_module(seen: dict[str, Any]) -> list[Problem]:
    """Return why ksm.ko cannot be built for, or loaded into, this kernel."""
    kernel = seen["kernel"]
    release = kernel["release"]
    found: list[Problem] = []
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        found.append(
            {
                "reason": f"kernel {release} is older than 6.1",
                "remedy": "boot a kernel of 6.1 or later, or set ksm_engine to kernel",
            }
        )
    if kernel["arch"] not in ARCHITECTURES:
        found.append(
            {
                "reason": f"ksm.ko is not made for the architecture {kernel['arch']}",
                "remedy": "set ksm_engine to kernel on this host",
            }
        )
    # No configuration to be seen decides nothing: DKMS looks at it again.
    if kernel["config_file"]:
        for option in ("MODULES", "DEVICE_MIGRATION"):
            if kernel["config"][option] != "y":
                found.append(
                    {
                        "reason": f"kernel {release} was built without CONFIG_{option}"
                        f" (says {kernel['config_file']})",
                        "remedy": f"boot a kernel with CONFIG_{option}=y, as Debian's are"
                        " since 6.1, or set ksm_engine to kernel",
                    }
                )
    if seen["modules_disabled"] and not seen["module"]["loaded"]:
        found.append(
            {
                "reason": "the kernel takes no more modules (kernel.modules_disabled is 1)",
                "remedy": "remove that sysctl setting and reboot, or set ksm_engine to kernel",
            }
        )
    if seen["package_manager"] != "apt":
        found.append(
            {
                "reason": f"the role installs packages by apt, and {seen['distribution']} has none",
                "remedy": "set ksm_engine to kernel and install the Python package ksm-fleet"
                " by hand",
            }
        )
    return found


def problems_of_kernel(seen: dict[str, Any]) -> list[Problem]:
    """Return why the built-in engine cannot be used."""
    if seen["builtin"]:
        return []
    return [
        {
            "reason": f"kernel {seen['kernel']['release']} has no built-in samepage merging"
            " (no /sys/kernel/mm/ksm)",
            "remedy": "boot a kernel with CONFIG_KSM=y, or set ksm_engine to module",
        }
    ]


def problems_of_build(seen: dict[str, Any]) -> list[Problem]:
    """Return why ksm.ko is not there for the running kernel."""
    release = seen["kernel"]["release"]
    state = seen["dkms"]["state"]
    if state == "installed" and seen["module"]["file"]:
        return []
    if not seen["dkms"]["available"] or state == "absent":
        return [
            {
                "reason": "DKMS does not know the module ksm",
                "remedy": "apt-get install --reinstall ksm-dkms",
            }
        ]
    if not seen["kernel"]["headers"]:
        return [
            {
                "reason": f"ksm.ko was not built for the running kernel {release}: its headers"
                " are missing",
                "remedy": f"install {seen['kernel']['headers_package']}, or reboot into a kernel"
                " whose headers can be had",
            }
        ]
    if state == "installed":
        return [
            {
                "reason": f"DKMS says that ksm is installed for {release}, but"
                f" /lib/modules/{release} has no ksm.ko",
                "remedy": f"dkms install --force ksm/{seen['dkms']['version']} -k {release}",
            }
        ]
    log = seen["dkms"]["log"]
    said = "" if log else ", and DKMS left no make.log"
    tail = [f"The end of {log}:", *seen["dkms"]["log_tail"]] if log else []
    return [
        {
            "reason": f"DKMS did not build ksm.ko for the running kernel {release}"
            f" (state: {state}){said}",
            "remedy": f"mend what the log names, then run"
            f" dkms install ksm/{seen['dkms']['version']} -k {release};"
            " or set ksm_engine to kernel on this host",
            "detail": "\n    ".join(tail),
        }
    ]


def choose(wanted: str | None, seen: dict[str, Any], problems: dict[str, Any]) -> str:
    """Return the engine for *wanted*, "none" when it cannot run here.

    An enforced signature policy turns "auto" away from a module that may be
    refused, unless it is loaded already.
    """
    module_ok = not problems["module"]
    if wanted in ("module", "kernel"):
        return wanted if not problems[wanted] else "none"
    refused = seen["signatures"]["enforced"] and not seen["module"]["loaded"]
    if module_ok and not (refused and not problems["kernel"]):
        return "module"
    return "kernel" if not problems["kernel"] else "none"


def text(problems: list[Problem]) -> str:
    """Return the problems as one text for a person, what a log says last."""
    told = [f"{p['reason']}. Remedy: {p['remedy']}." for p in problems]
    return "\n".join([" ".join(told), *(p["detail"] for p in problems if p.get("detail"))])


def dkms_status(module: AnsibleModule) -> str | None:
    path = module.get_bin_path("dkms")
    if path is None:
        return None
    # Its exit status is not zero for a module that it does not know.
    return module.run_command([path, "status", "-m", "ksm"])[1]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "choices": ["auto", "module", "kernel"]},
            "built": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    uname = os.uname()
    seen = look("/", uname.release, uname.machine, dkms_status(module))
    problems = {
        "module": problems_of_module(seen),
        "kernel": problems_of_kernel(seen),
        "built": problems_of_build(seen),
    }
    wanted = module.params["engine"]
    result = {**seen, "problems": problems, "engine": choose(wanted, seen, problems)}

    if wanted and result["engine"] == "none":
        engines = ["module", "kernel"] if wanted == "auto" else [wanted]
        reasons = [p for engine in engines for p in problems[engine]]
        module.fail_json(msg=f"Engine {wanted}: {text(reasons)}", problems=problems)
    if module.params["built"] and problems["built"]:
        module.fail_json(msg=text(problems["built"]), problems=problems)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
