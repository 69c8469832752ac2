# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host lacks of what is wanted of it, all seen in one look.

The code that would mend it decides, in check mode, so that nothing is passed over that a
run would change.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from . import checks, client, kmod, loading, persistence, policies, policy_service, tuning

if not client.IMPORT_ERROR:
    from ksm.errors import KsmError

FILE_MODE, ROOT = 0o644, (0, 0)


class _Foreseen:
    """Stands in for AnsibleModule in check mode, which writes nothing."""

    tmpdir = ""
    check_mode = True

    def __init__(self, module: Any, **params: Any) -> None:
        self.params = params
        # These only look.
        self.get_bin_path = module.get_bin_path
        self.run_command = module.run_command

    def warn(self, text: str) -> None:
        """The step itself will say so."""

    def atomic_move(self, src: str, dest: str) -> None:
        raise AssertionError(f"check mode writes {dest}")


def missing(
    module: Any,
    wanted: dict[str, Any],
    engine: str,
    seen: dict[str, Any],
    installed: kmod.Build,
    root: str,
) -> dict[str, str]:
    """Return what is not as wanted, by the role's step that mends it, with the reason."""
    found = {
        "repository": _files(wanted["files"].get(seen["package_manager"] or "") or {}, root),
        "rivals": ", ".join(checks.rivals(seen)),
        "build": checks.text(checks.problems_of_build(seen)) if engine == "module" else "",
        "load": _load(wanted, engine, seen, installed, root),
        "tunables": _tunables(module, wanted, engine, root),
        "policies": _policies(module, wanted["policies"], root),
    }
    return {step: reason for step, reason in found.items() if reason}


def _files(digests: dict[str, str], root: str) -> str:
    """Tell the files that are not there, have another content, or are not root's alone to write."""
    return ", ".join(path for path, digest in digests.items() if _differs(root, path, digest))


def _differs(root: str, path: str, digest: str) -> bool:
    """Tell whether a file differs. A digest is ALGORITHM:HEX, or empty where none is known."""
    place = os.path.join(root, path.lstrip("/"))
    algorithm, wanted = digest.partition(":")[::2]
    try:
        with open(place, "rb") as stream:
            content = stream.read()
        status = os.stat(place)
    except OSError:
        return True
    if stat.S_IMODE(status.st_mode) != FILE_MODE or (status.st_uid, status.st_gid) != ROOT:
        return True
    try:
        return bool(digest) and hashlib.new(algorithm, content).hexdigest() != wanted.lower()
    except ValueError:
        # The step that wants such a digest says that there is none.
        return True


def _load(wanted: dict[str, Any], engine: str, seen: dict[str, Any], installed: kmod.Build, root: str) -> str:
    """Tell what is to be done about ksm.ko, now and at boot."""
    at_boot = persistence.read(os.path.join(root, loading.BOOT_FILE.lstrip("/")))
    loaded = seen["module"]["loaded"]
    if engine == "kernel":
        if wanted["other_engine"] == "keep":
            return ""
        return "ksm.ko is loaded, now or at boot" if loaded or at_boot else ""
    state = "latest" if wanted["reload"] else "loaded"
    steps = loading.plan(state, loaded, kmod.running(root), installed, kmod.interrupted(root))
    if steps:
        return f"ksm.ko: {steps[0]}"
    return "" if at_boot == loading.BOOT_TEXT else f"{loading.BOOT_FILE} differs"


def _policies(module: Any, asked: list[dict[str, Any]], root: str) -> str:
    """Tell whether the policies of domains differ, or their service does."""
    path = os.path.join(root, policies.files.FOLDER, policies.NAME) if policies.HAS_POLICIES else ""
    if not asked and not os.path.exists(path):
        return ""
    if not path:
        return "python3-ksm on the host knows no policies"
    entries = [
        {
            "name": entry.get("name"),
            "match": entry.get("match"),
            "domain": entry.get("domain"),
            **{flag: boolean(entry.get(flag, False), strict=False) for flag in policies.FLAGS},
        }
        for entry in asked
    ]
    foreseen = _Foreseen(module, policies=entries, purge=True, state="present", service=True)
    try:
        change = policies.KsmPolicy(foreseen, root).run()
    except (policies.Refused, policy_service.Failed, KsmError, OSError) as error:
        # Likewise: the step itself fails if it still is so.
        return str(error)
    return "what is registered in which domain differs" if change["changed"] else ""


def _tunables(module: Any, wanted: dict[str, Any], engine: str, root: str) -> str:
    """Tell which tunables differ, now or in the files of the engines."""
    if client.IMPORT_ERROR:
        return "python3-ksm is not on the host"
    asked = _Foreseen(
        module,
        state="present",
        engine=engine,
        tunables=wanted["tunables"].get(engine) or {},
        persist=True,
        purge=True,
        unmerge=False,
        other_engine=wanted["other_engine"],
    )
    try:
        change = tuning.KsmTunables(asked, root).run()
    except KsmError as error:
        # The packages may be about to change: the step itself fails if it still is so.
        return str(error)
    if not change["changed"]:
        return ""
    before, after = change["before"], change["after"]
    told = [f"{name} is {before.get(name)}, not {after[name]}" for name in after if before.get(name) != after[name]]
    told += [f"{file['before_header']} differs" for file in change["diff"][1:]]
    told += ["the other engine is at work"] if change["other_engine_stopped"] else []
    return ", ".join(told)


def installed(module: Any, seen: dict[str, Any]) -> kmod.Build:
    """Return the build that modprobe would load, which is told already where DKMS put it."""
    if seen["module"]["file"]:
        return kmod.Build(seen["module"]["version"], seen["module"]["srcversion"])
    return kmod.installed(module)
