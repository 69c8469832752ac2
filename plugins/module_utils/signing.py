# SPDX-License-Identifier: GPL-2.0-or-later
"""Who signed ksm.ko, and whether the kernel knows the key."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Optional

from . import host

# Runs a command; returns its standard output, None when it failed or is not there.
Run = Callable[[Sequence[str]], Optional[str]]

_FIELDS = ("version", "srcversion", "signer", "serial")
# Where DKMS of Debian and Fedora, and that of Ubuntu, keep the certificate they sign with.
_CERTIFICATES = ("/var/lib/dkms/mok.pub", "/var/lib/shim-signed/mok/MOK.der")


def modinfo(run: Run, path: str) -> dict[str, str | None]:
    """Return version, digest of the sources, signer, and the signing key's serial of a file."""
    text = run(["modinfo", path]) or ""
    found = re.findall(r"^(version|srcversion|signer|sig_key):\s+(\S.*)$", text, flags=re.MULTILINE)
    fields = dict(found)
    return {
        "version": fields.get("version"),
        "srcversion": fields.get("srcversion"),
        "signer": fields.get("signer"),
        "serial": _hexadecimal(fields.get("sig_key")),
    }


def certificates(root: str) -> list[str]:
    """Return the certificates DKMS may sign with, that of its configuration first."""
    configured = []
    settings = sorted(glob.glob(os.path.join(root, "etc/dkms/framework.conf.d/*.conf")))
    for path in [*reversed(settings), os.path.join(root, "etc/dkms/framework.conf")]:
        text = host.read(root, path) or ""
        configured += re.findall(r"^\s*mok_certificate=[\"']?([^\"'\s]+)", text, flags=re.MULTILINE)
    return [path for path in [*configured, *_CERTIFICATES] if os.path.isfile(os.path.join(root, path.lstrip("/")))]


def certificate(run: Run, path: str) -> dict[str, str | None]:
    """Return serial number and subject key identifier of a certificate."""
    command = "openssl x509 -inform DER -noout -serial -ext subjectKeyIdentifier -in"
    text = run([*command.split(), path]) or ""
    serial = re.search(r"^serial=([0-9A-Fa-f]+)$", text, flags=re.MULTILINE)
    key_id = re.search(r"^\s+([0-9A-F]{2}(?::[0-9A-F]{2})+)$", text, flags=re.MULTILINE)
    return {
        "serial": _hexadecimal(serial[1] if serial else None),
        "key_id": _hexadecimal(key_id[1] if key_id else None),
    }


def kernel_keys(root: str) -> list[str]:
    """Return the descriptions of the certificates that the kernel holds.

    None are seen without root's rights. In which keyring each is /proc/keys does not say.
    """
    return re.findall(
        r"^\S+ \S+ +\S+ +\S+ \S+ +0 +\S+ asymmetri +(.*): X509\.",
        host.read(root, "proc/keys") or "",
        flags=re.MULTILINE,
    )


def look(root: str, run: Run, path: str | None) -> dict[str, Any]:
    """Tell version and signature of the module's file, and whether its key is enrolled.

    "enrolled" is None where that cannot be told.
    """
    file = os.path.join(root, path.lstrip("/")) if path else ""
    seen: dict[str, Any] = {
        **(modinfo(run, file) if path else dict.fromkeys(_FIELDS)),
        "certificate": None,
        "enrolled": None,
    }
    if not seen["serial"]:
        return seen
    identifiers = {seen["serial"]}
    for place in certificates(root):
        known = certificate(run, os.path.join(root, place.lstrip("/")))
        if known["serial"] == seen["serial"]:
            seen["certificate"] = place
            identifiers |= {known["key_id"]} - {None}
            break
    keys = kernel_keys(root)
    if keys:
        seen["enrolled"] = _holds(keys, seen["signer"], identifiers)
        # A certificate with a key identifier is listed by that, not by its serial number.
        if not seen["enrolled"] and not seen["certificate"] and _holds(keys, seen["signer"], {""}):
            seen["enrolled"] = None
    return seen


def _holds(keys: Iterable[str], signer: str, identifiers: Iterable[str]) -> bool:
    """Tell whether one of the keys has that name and one of these identifiers, "" being any."""
    for key in keys:
        name, number = key.rpartition(": ")[::2]
        if name.endswith(signer) and any(number.endswith(known) for known in identifiers):
            return True
    return False


def _hexadecimal(text: str | None) -> str | None:
    """Return a number as the kernel writes it; OpenSSL leaves out a leading zero byte."""
    digits = re.sub(r"[^0-9a-f]", "", (text or "").lower()).lstrip("0")
    return digits or None
