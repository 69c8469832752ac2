# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl doctor: what is in the way of an engine, and the remedy."""

from __future__ import annotations

import argparse
from typing import Any

from ksm import doctor
from ksm.cli.output import print_json
from ksm.doctor import checks


def run(arguments: argparse.Namespace) -> int:
    """Print every check with what it found; exit status 1 when any found something."""
    seen = doctor.look()
    engine = arguments.engine
    if engine == "auto":
        engine = doctor.engine_meant(seen)
    found = checks.diagnose(seen, engine)
    findings = [{"check": name, **problem} for name in found for problem in found[name]]
    if arguments.json:
        print_json({"engine": engine, "ok": not findings, "findings": findings, "host": seen})
    else:
        _print(engine, seen, found)
    return 1 if findings else 0


def _print(engine: str, seen: dict[str, Any], found: dict[str, list[checks.Problem]]) -> None:
    print(f"engine: {engine}")
    width = max(map(len, found))
    indent = " " * (width + 2)
    told = _told(engine, seen)
    for name, problems in found.items():
        if not problems:
            print(f"{name:<{width}}  ok  {told[name]}".rstrip())
        for problem in problems:
            print(f"{name:<{width}}  PROBLEM: {problem['reason']}")
            print(f"{indent}remedy: {problem['remedy']}")
            if problem.get("detail"):
                print(f"{indent}{problem['detail']}")


def _told(engine: str, seen: dict[str, Any]) -> dict[str, str]:
    """Return what is said of each check that found nothing."""
    kernel, module, device = seen["kernel"], seen["module"], seen["device"]
    if engine == "kernel":
        return {"kernel": f"{kernel['release']} has samepage merging built in", "conflicts": ""}
    return {
        "kernel": f"{kernel['release']} ({kernel['arch']})",
        "build": str(module["file"]),
        "next boot": ", ".join(other["release"] for other in seen["kernels"]),
        "signature": _signature(seen),
        "loaded": f"version {module['running']}" if module["running"] else "",
        "device": f"/dev/ksm {device['mode']} {device['group']}" if device else "not loaded",
        "conflicts": "",
    }


def _signature(seen: dict[str, Any]) -> str:
    signature = seen["signature"]
    signer = f"signed by {signature['signer']}" if signature["signer"] else "not signed"
    policy = "enforced" if seen["signatures"]["enforced"] else "not enforced"
    known = {True: ", key enrolled", False: ", key not enrolled", None: ""}[signature["enrolled"]]
    return f"{signer}{known}; signatures are {policy}"
