# SPDX-License-Identifier: GPL-2.0-or-later
"""What is desired of the engines, and what they do: what ksm_info and ksm_preflight return."""

from __future__ import annotations

from typing import Any

from . import client, desired, host, kmod

if not client.IMPORT_ERROR:
    from ksm.engine import Engine, available_engines, select
    from ksm.errors import EngineUnavailable

try:
    from ksm.policy import files, record, report

    HAS_POLICIES = True
except ImportError:
    HAS_POLICIES = False


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


def policies(root: str) -> dict[str, Any] | None:
    """Return what the files say of domains."""
    if not HAS_POLICIES:
        return None
    folder = files.load(root, record.load(root).good)
    return {
        "policies": [report.shown(policy) for policy in folder.policies],
        "errors": [report.told(error) for error in folder.errors],
    }


def info(root: str, release: str, dkms_state: str, installed: kmod.Build) -> dict[str, Any]:
    """Return all that the module returns, of the host below *root*."""
    engines = {name: Engine(name, system=root) for name in ("module", "kernel")}
    observed = {name: observe(engine) for name, engine in engines.items()}
    told = {name: desired.look(name, root) for name in engines}
    used: str | None = None
    reason: str | None = None
    if available_engines(root):
        used = select("auto", root).name
    else:
        reason = "; ".join(f"{name}: {seen['reason']}" for name, seen in observed.items())

    return {
        "engine": used,
        "reason": reason,
        "kernel": release,
        "desired": told,
        "observed": observed,
        "drift": desired.drift(told[used]["tunables"], observed[used]["tunables"]) if used else {},
        "policies": policies(root),
        "module": {
            **kmod.facts(kmod.running(root), installed),
            "reload_interrupted": kmod.interrupted(root),
            "file": host.module_file(root, release),
            "dkms": dkms_state,
        },
    }
