# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host is, read from files alone: works before any package is installed.

Every function takes the *root* below which it looks, so that it can be tried on
a made-up tree.
"""

from __future__ import annotations

import glob
import gzip
import os
import re
from typing import Any

# GUID of the global EFI variables.
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def read(root: str, path: str) -> str | None:
    """Return the text of a file, None when it cannot be read."""
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def kernel_config(root: str, release: str) -> tuple[str | None, dict[str, str]]:
    """Return the path of the kernel's configuration and its options.

    The path is None when no place that kernels keep it in has it.
    """
    places = (
        f"boot/config-{release}",
        f"lib/modules/{release}/config",
        f"lib/modules/{release}/build/.config",
        "proc/config.gz",
    )
    for place in places:
        path = os.path.join(root, place)
        try:
            if path.endswith(".gz"):
                with gzip.open(path, "rt", encoding="utf-8") as stream:
                    text = stream.read()
            else:
                with open(path, encoding="utf-8") as stream:
                    text = stream.read()
        except OSError:
            continue
        found = re.findall(r"^CONFIG_(\w+)=(\S+)$", text, flags=re.MULTILINE)
        return "/" + place, dict(found)
    return None, {}


def has_headers(root: str, release: str) -> bool:
    """Tell whether modules can be built for that kernel."""
    return os.path.isfile(os.path.join(root, "lib/modules", release, "build/Makefile"))


def module_file(root: str, release: str) -> str | None:
    """Return the path of ksm.ko of that kernel, compressed or not."""
    tree = os.path.join(root, "lib/modules", release)
    # The places that DKMS uses: Debian's, Fedora's and the default.
    for place in ("updates/dkms", "extra", "updates", "kernel/extra"):
        for path in sorted(glob.glob(os.path.join(glob.escape(tree), place, "ksm.ko*"))):
            if re.fullmatch(r"ksm\.ko(\.(xz|zst|gz))?", os.path.basename(path)):
                return "/" + os.path.relpath(path, root)
    return None


def module_loaded(root: str) -> bool:
    """Tell whether ksm.ko is loaded: the built-in engine is no module."""
    modules = read(root, "proc/modules") or ""
    return any(line.split(" ", 1)[0] == "ksm" for line in modules.splitlines())


def kernels(root: str) -> list[str]:
    """Return the releases of the kernels that can be booted, as far as files tell."""
    images = glob.glob(os.path.join(root, "boot/vmlinuz-*"))
    images += glob.glob(os.path.join(root, "lib/modules/*/vmlinuz"))
    found = {
        os.path.basename(os.path.dirname(path))
        if path.endswith("/vmlinuz")
        else os.path.basename(path).partition("-")[2]
        for path in images
    }
    # Fedora's rescue image is a copy of another, under the name of the machine.
    return sorted(k for k in found if os.path.isdir(os.path.join(root, "lib/modules", k)))


def processes(root: str, names: tuple[str, ...]) -> list[int]:
    """Return the pids of programs of these names."""
    found = glob.glob(os.path.join(root, "proc/[0-9]*/comm"))
    return sorted(int(path.split("/")[-2]) for path in found if (read(root, path) or "").strip() in names)


def enabled_units(root: str, names: list[str]) -> list[str]:
    """Return those units that systemd starts at boot, by the links that enabling makes."""
    places = ("etc/systemd/system/*.wants", "etc/systemd/system/*.requires")
    return [name for name in names if any(glob.glob(os.path.join(glob.escape(root), place, name)) for place in places)]


def builtin_engine(root: str) -> bool:
    """Tell whether the kernel has its own engine."""
    return os.path.isdir(os.path.join(root, "sys/kernel/mm/ksm"))


def signatures(root: str) -> dict[str, Any]:
    """Tell whether the kernel refuses modules that no enrolled key signed."""
    sig = (read(root, "sys/module/module/parameters/sig_enforce") or "").strip()
    lockdown = re.search(r"\[(\w+)\]", read(root, "sys/kernel/security/lockdown") or "")
    mode = lockdown[1] if lockdown else "none"
    secure = None
    try:
        with open(os.path.join(root, _SECURE_BOOT), "rb") as stream:
            # Four bytes of attributes come first.
            secure = stream.read()[4:5] == b"\x01"
    except OSError:
        pass
    return {
        "secure_boot": bool(secure),
        "lockdown": mode,
        "enforced": sig == "Y" or mode != "none",
    }


def os_release(root: str) -> dict[str, str]:
    """Return what the distribution says about itself."""
    text = read(root, "etc/os-release") or read(root, "usr/lib/os-release") or ""
    pairs = re.findall(r'^(\w+)="?([^"\n]*)"?$', text, flags=re.MULTILINE)
    return dict(pairs)


def package_manager(root: str, programs: dict[str, str]) -> str | None:
    """Return the first package manager whose program is there."""
    return next((k for k, v in programs.items() if os.path.exists(os.path.join(root, v))), None)


# A tab, which no message of rpm holds.
RPM_FORMAT = "%{NAME}\\t%{VERSION}-%{RELEASE}\\n"


def rpm_packages(query: str, names: list[str]) -> dict[str, str | None]:
    """Return the versions of those packages from rpm's answer to RPM_FORMAT, None for the rest."""
    known = dict(re.findall(r"^(\S+)\t(\S+)$", query, flags=re.MULTILINE))
    return {name: known.get(name) for name in names}


def _dpkg(root: str, names: list[str]) -> dict[str, tuple[str, str | None]]:
    """Return (status, version) of those packages that dpkg knows of."""
    known: dict[str, tuple[str, str | None]] = {}
    text = "\n" + (read(root, "var/lib/dpkg/status") or "")
    for name in names:
        # There are thousands of stanzas: only ours are taken apart.
        start = text.find(f"\nPackage: {name}\n")
        if start < 0:
            continue
        stanza = text[start + 1 :].partition("\n\n")[0]
        fields = dict(re.findall(r"^(Status|Version): (.+)$", stanza, flags=re.MULTILINE))
        known[name] = (fields.get("Status", ""), fields.get("Version"))
    return known


def deb_packages(root: str, names: list[str]) -> dict[str, str | None]:
    """Return the versions of those packages, None for those not wholly installed.

    A half-configured package is what a failed DKMS build leaves: it counts as
    not installed.
    """
    known = _dpkg(root, names)
    return {
        name: known[name][1] if known.get(name, ("", None))[0].endswith(" ok installed") else None for name in names
    }


def deb_remains(root: str, names: list[str]) -> list[str]:
    """Return those packages of which anything is left, were it but configuration."""
    return [
        name for name, (status, _version) in sorted(_dpkg(root, names).items()) if not status.endswith(" not-installed")
    ]
