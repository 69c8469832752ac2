# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a host can run an engine, what is in the way, and what to do about it.

The role's ksm_preflight and C(ksmctl doctor) both ask here. Only files and a few
commands are read, so it works before any package is installed.
"""

from __future__ import annotations

import grp
import os
import re
import stat
from collections.abc import Sequence
from typing import Any, Callable

from . import dkms, host, signing

PACKAGES = ["ksm-dkms", "ksm-tools", "python3-ksm"]
# What of other projects steers the built-in engine: packages, and their units of systemd.
RIVALS = ["ksmtuned", "ksm-control-daemon"]
RIVAL_UNITS = ["ksmtuned.service", "ksm.service"]
# By package manager: its program, and the package of a kernel's headers.
MANAGERS = {
    "apt": ("usr/bin/apt-get", "linux-headers-{}"),
    "dnf": ("usr/bin/dnf", "kernel-devel-{}"),
}
ARCHITECTURES = ("x86_64", "aarch64")
OLDEST = (6, 1)
DEVICE = "dev/ksm"
DEVICE_GROUP, DEVICE_MODE = "kvm", 0o660
# What lets the built-in engine do without the module; the role's users know the variable.
INSTEAD = "use the built-in engine (for the role: set ksm_engine to kernel)"

Problem = dict[str, str]


def look(root: str, release: str, arch: str, run: signing.Run) -> dict[str, Any]:
    """Gather what is known about the host below *root*; *run* runs a command on it."""
    config_file, config = host.kernel_config(root, release)
    # Its exit status is not zero for a module that it does not know.
    status = run(["dkms", "status", "-m", "ksm"])
    builds = dkms.parse_status(status or "", "ksm")
    state, version = dkms.state_for(builds, release)
    overdue = dkms.overdue(builds, release)
    log = dkms.make_log(root, "ksm", release) if state != "absent" else None
    file = host.module_file(root, release)
    signed = signing.look(root, run, file)
    manager = host.package_manager(root, {name: words[0] for name, words in MANAGERS.items()})
    packages = installed(root, run, manager)
    return {
        "kernel": {
            "release": release,
            "arch": arch,
            "config_file": config_file,
            "config": {k: config.get(k) for k in ("MODULES", "DEVICE_MIGRATION", "KSM")},
            "headers": host.has_headers(root, release),
            "headers_package": MANAGERS[manager or "apt"][1].format(release),
        },
        "kernels": [
            {
                "release": other,
                "headers": host.has_headers(root, other),
                "state": dkms.state_for(builds, other)[0],
                "overdue": dkms.overdue(builds, other),
            }
            for other in host.kernels(root)
        ],
        "modules_disabled": (host.read(root, "proc/sys/kernel/modules_disabled") or "").strip() == "1",
        "builtin": host.builtin_engine(root),
        "signatures": host.signatures(root),
        "dkms": {
            "available": status is not None,
            "state": state,
            "version": version,
            "overdue": overdue,
            "builds": builds,
            "log": log,
            "log_tail": [] if state == "installed" and not overdue else dkms.tail(log),
        },
        "module": {
            "file": file,
            "version": signed.pop("version"),
            "srcversion": signed.pop("srcversion"),
            "loaded": host.module_loaded(root),
            "running": (host.read(root, "sys/module/ksm/version") or "").strip() or None,
            "at_boot": "ksm" in (host.read(root, "etc/modules-load.d/ksm.conf") or "").split(),
        },
        "signature": signed,
        "device": device(root),
        "running": {
            name: (host.read(root, place) or "").strip() == "1"
            for name, place in (
                ("module", "sys/class/misc/ksm/run"),
                ("kernel", "sys/kernel/mm/ksm/run"),
            )
        },
        "packages": {name: packages[name] for name in PACKAGES},
        "package_manager": manager,
        "distribution": host.os_release(root).get("ID", "unknown"),
        "conflicts": [name for name in RIVALS if packages[name]],
        "tuners": host.processes(root, ("ksmtuned",)),
        "rival_units": host.enabled_units(root, RIVAL_UNITS),
    }


def installed(root: str, run: signing.Run, manager: str | None) -> dict[str, str | None]:
    """Return the versions of our packages and their rivals, None for what is not installed."""
    names = [*PACKAGES, *RIVALS]
    if manager != "dnf":
        return host.deb_packages(root, names)
    # Its exit status counts the packages that are not there, and it names them, too.
    answer = run(["rpm", "-q", "--queryformat", host.RPM_FORMAT, *names])
    return host.rpm_packages(answer or "", names)


def device(root: str) -> dict[str, Any] | None:
    """Return mode and group of /dev/ksm, None when there is none."""
    try:
        seen = os.stat(os.path.join(root, DEVICE))
    except OSError:
        return None
    try:
        group = grp.getgrgid(seen.st_gid).gr_name
    except KeyError:
        group = str(seen.st_gid)
    return {"mode": f"{stat.S_IMODE(seen.st_mode):04o}", "group": group}


def problems_of_module(seen: dict[str, Any]) -> list[Problem]:
    """Return why ksm.ko cannot be built for, or loaded into, this kernel."""
    kernel = seen["kernel"]
    release = kernel["release"]
    found: list[Problem] = []
    if too_old(release):
        found.append(
            {
                "reason": f"kernel {release} is older than 6.1",
                "remedy": f"boot a kernel of 6.1 or later, or {INSTEAD}",
            }
        )
    if kernel["arch"] not in ARCHITECTURES:
        found.append(
            {
                "reason": f"ksm.ko is not made for the architecture {kernel['arch']}",
                "remedy": INSTEAD,
            }
        )
    # No configuration to be seen decides nothing: DKMS looks at it again.
    if kernel["config_file"]:
        for option in ("MODULES", "DEVICE_MIGRATION"):
            if kernel["config"][option] != "y":
                found.append(
                    {
                        "reason": f"kernel {release} was built without CONFIG_{option} (says {kernel['config_file']})",
                        "remedy": f"boot a kernel with CONFIG_{option}=y, as Debian's are since 6.1, or {INSTEAD}",
                    }
                )
    if seen["modules_disabled"] and not seen["module"]["loaded"]:
        found.append(
            {
                "reason": "the kernel takes no more modules (kernel.modules_disabled is 1)",
                "remedy": f"remove that sysctl setting and reboot, or {INSTEAD}",
            }
        )
    return found


def too_old(release: str) -> bool:
    """Tell whether ksm.ko refuses that kernel for its age."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return bool(numbers) and (int(numbers[1]), int(numbers[2])) < OLDEST  # type: ignore[index]


def problems_of_kernel(seen: dict[str, Any]) -> list[Problem]:
    """Return why the built-in engine cannot be used."""
    if seen["builtin"]:
        return []
    return [
        {
            "reason": f"kernel {seen['kernel']['release']} has no built-in samepage merging (no /sys/kernel/mm/ksm)",
            "remedy": "boot a kernel with CONFIG_KSM=y, or use the module (for the role: set ksm_engine to module)",
        }
    ]


def problems_of_build(seen: dict[str, Any]) -> list[Problem]:
    """Return why ksm.ko is not there for the running kernel, or is of an older version."""
    release = seen["kernel"]["release"]
    state, overdue = seen["dkms"]["state"], seen["dkms"]["overdue"]
    there = state == "installed" and seen["module"]["file"]
    if there and not overdue:
        return []
    if not seen["dkms"]["available"] or state == "absent":
        return [
            {
                "reason": "DKMS does not know the module ksm",
                "remedy": "install the package ksm-dkms, or install it again",
            }
        ]
    version = overdue if there else seen["dkms"]["version"]
    instead = f", which keeps {seen['dkms']['version']} instead of {version}" if there else ""
    if not seen["kernel"]["headers"]:
        return [
            {
                "reason": f"ksm.ko was not built for the running kernel {release}{instead}: its headers are missing",
                "remedy": f"install {seen['kernel']['headers_package']}, or reboot into a kernel"
                " whose headers can be had",
            }
        ]
    if state == "installed" and not there:
        return [
            {
                "reason": f"DKMS says that ksm is installed for {release}, but /lib/modules/{release} has no ksm.ko",
                "remedy": f"dkms install --force ksm/{version} -k {release}",
            }
        ]
    log = seen["dkms"]["log"]
    said = "" if log else ", and DKMS left no make.log"
    tail = [f"The end of {log}:", *seen["dkms"]["log_tail"]] if log else []
    return [
        {
            "reason": f"DKMS did not build ksm.ko for the running kernel {release}"
            f"{instead or f' (state: {state})'}{said}",
            "remedy": f"mend what the log names, then run dkms install ksm/{version} -k {release}; or {INSTEAD}",
            "detail": "\n    ".join(tail),
        }
    ]


def problems_of_next_boot(seen: dict[str, Any]) -> list[Problem]:
    """Return the other kernels that ksm.ko is not there for, though it could be."""
    found: list[Problem] = []
    for other in seen["kernels"]:
        release, overdue = other["release"], other["overdue"]
        if (
            release == seen["kernel"]["release"]
            or too_old(release)
            or other["state"] == "absent"
            or (other["state"] == "installed" and not overdue)
        ):
            continue
        if other["headers"]:
            version = overdue or seen["dkms"]["version"]
            remedy = f"dkms install ksm/{version} -k {release}, and see its log"
        else:
            package = seen["kernel"]["headers_package"].replace(seen["kernel"]["release"], release)
            remedy = f"install {package}, or remove that kernel"
        what = f"be an older ksm.ko than {overdue}" if overdue else "be no ksm.ko"
        found.append(
            {
                "reason": f"after a reboot into the installed kernel {release} there would {what}"
                + ("" if other["headers"] else ": its headers are missing"),
                "remedy": remedy,
            }
        )
    return found


def problems_of_signature(seen: dict[str, Any]) -> list[Problem]:
    """Return why the kernel would refuse the file of ksm.ko for its signature."""
    file, signature = seen["module"]["file"], seen["signature"]
    if not file or not seen["signatures"]["enforced"] or seen["module"]["loaded"]:
        return []
    policy = "the kernel takes only modules signed by a key it knows"
    if not signature["signer"]:
        return [
            {
                "reason": f"{policy}, and {file} has no signature",
                "remedy": "install openssl, then dkms build --force and dkms install --force",
            }
        ]
    if signature["enrolled"]:
        return []
    key = f'the key "{signature["signer"]}" of {file}'
    place = signature["certificate"] or "the certificate it was signed with (DER)"
    if signature["enrolled"] is None:
        return [
            {
                "reason": f"{policy}; whether it knows {key} cannot be seen",
                "remedy": f"look as root, or ask mokutil --test-key {place}",
            }
        ]
    return [
        {
            "reason": f"{policy}, and {key} is not among them",
            "remedy": f"mokutil --import {place}, reboot and confirm at the console; or {INSTEAD}",
        }
    ]


def problems_of_loading(seen: dict[str, Any]) -> list[Problem]:
    """Return what is wrong with the module in the running kernel."""
    module = seen["module"]
    if not module["loaded"]:
        return [{"reason": "ksm.ko is not loaded", "remedy": "modprobe ksm"}]
    if None not in (module["running"], module["version"]) and (module["running"] != module["version"]):
        return [
            {
                "reason": f"version {module['running']} runs, but {module['version']} is installed",
                "remedy": "ksmctl reload, or reboot",
            }
        ]
    return []


def problems_of_device(seen: dict[str, Any]) -> list[Problem]:
    """Return what keeps the group kvm from /dev/ksm, or lets others in."""
    if not seen["module"]["loaded"]:
        return []
    remedy = "udevadm control --reload && udevadm trigger /sys/class/misc/ksm"
    if seen["device"] is None:
        return [{"reason": "ksm.ko is loaded, but there is no /dev/ksm", "remedy": remedy}]
    mode, group = seen["device"]["mode"], seen["device"]["group"]
    if (mode, group) == (f"{DEVICE_MODE:04o}", DEVICE_GROUP):
        return []
    return [
        {
            "reason": f"/dev/ksm has mode {mode} and group {group}, not {DEVICE_MODE:04o} and {DEVICE_GROUP}",
            "remedy": f"{remedy}; if it stays so, a rule in /etc/udev/rules.d sets it",
        }
    ]


def rivals(seen: dict[str, Any]) -> list[str]:
    """Return who else steers the built-in engine, now or after a boot."""
    found = [f"pid {pid}" for pid in seen["tuners"]]
    return found + [f"{unit} is enabled" for unit in seen["rival_units"]]


def problem_of_rivals(where: list[str]) -> Problem:
    """Return the problem that they are."""
    return {
        "reason": f"ksmtuned steers the built-in engine on its own ({', '.join(where)})",
        "remedy": "systemctl disable --now ksmtuned ksm, or remove its package"
        " (for the role: set ksm_other_engine to stop)",
    }


def problems_of_conflict(seen: dict[str, Any]) -> list[Problem]:
    """Return who else steers an engine, and engines that merge side by side."""
    found: list[Problem] = []
    where = rivals(seen) + [f"package {name}" for name in seen["conflicts"]]
    if where:
        found.append(problem_of_rivals(where))
    if all(seen["running"].values()):
        found.append(
            {
                "reason": "both engines merge: the module and the kernel's ksmd",
                "remedy": "ksmctl set --engine kernel run=2, or ksmctl set --engine module run=2",
            }
        )
    return found


# In the order in which a person would mend them.
CHECKS: dict[str, dict[str, Callable[[dict[str, Any]], list[Problem]]]] = {
    "module": {
        "kernel": problems_of_module,
        "build": problems_of_build,
        "next boot": problems_of_next_boot,
        "signature": problems_of_signature,
        "loaded": problems_of_loading,
        "device": problems_of_device,
        "conflicts": problems_of_conflict,
    },
    "kernel": {"kernel": problems_of_kernel, "conflicts": problems_of_conflict},
}


def diagnose(seen: dict[str, Any], engine: str) -> dict[str, list[Problem]]:
    """Return what each check of that engine has found."""
    return {name: check(seen) for name, check in CHECKS[engine].items()}


def refused(seen: dict[str, Any]) -> bool:
    """Tell whether the kernel may refuse ksm.ko for its signature."""
    return bool(seen["signatures"]["enforced"] and not seen["module"]["loaded"] and not seen["signature"]["enrolled"])


def choose(wanted: str | None, seen: dict[str, Any], problems: dict[str, Any]) -> str:
    """Return the engine for *wanted*, "none" when it cannot run here.

    An enforced signature policy turns "auto" away from a module that may be
    refused, unless it is loaded already or its key is known to the kernel.
    """
    if wanted in ("module", "kernel"):
        return wanted if not problems[wanted] else "none"
    if not problems["module"] and not (refused(seen) and not problems["kernel"]):
        return "module"
    return "kernel" if not problems["kernel"] else "none"


def engine_reason(wanted: str | None, chosen: str, seen: dict[str, Any], problems: Sequence[Problem]) -> str | None:
    """Return why V(auto) fell back to the built-in engine, None when it did not."""
    if wanted != "auto" or chosen != "kernel":
        return None
    if problems:
        return "; ".join(problem["reason"] for problem in problems)
    signature = (
        "no ksm.ko is there to look at"
        if not seen["module"]["file"]
        else (f"{seen['module']['file']} is not known to be signed by one")
    )
    return f"the kernel takes only modules signed by a key it knows, and {signature}"


def text(problems: Sequence[Problem]) -> str:
    """Return the problems as one text for a person, what a log says last."""
    told = [f"{p['reason']}. Remedy: {p['remedy']}." for p in problems]
    return "\n".join([" ".join(told), *(p["detail"] for p in problems if p.get("detail"))])
