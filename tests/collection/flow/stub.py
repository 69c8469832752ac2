#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for a module of the collection where only the order of a playbook's tasks is tried.

It notes that it was called, and does what the test says of this host and call: a failure, results,
or the end of the host's connection. What modules do themselves is tested elsewhere.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

HOST, FOLDER = os.environ["KSM_FLOW_HOST"], Path(os.environ["KSM_FLOW_FOLDER"])
NAME = "@NAME@"
RECORD = FOLDER / f"{HOST}.record"
DEFAULTS = {
    "ksm_preflight": {
        "engine": "module",
        "engine_reason": None,
        "package_manager": None,
        "missing": {},
        "packages": {"ksm-dkms": "0.2.0", "ksm-tools": "0.2.0", "python3-ksm": "0.2.0"},
        "kernel": {"headers": True, "headers_package": "headers"},
        "info": None,
    },
    "ksm_lock": {"token": "t0"},
    "ksm_expect": {"observation": {"mark": "m:9"}},
    "ksm_rollout": {
        "interrupted": False,
        "installed": True,
        "pins": [],
        "surplus": [],
        "sources_changed": False,
        "policy_service": {"active": False, "enabled": False},
    },
}
BEFORE = {
    "package_manager": "apt",
    "module_loaded": True,
    "policy_service": {"active": False, "enabled": False},
}


def main() -> None:
    options = ("state", "id", "outcome", "text", "parts", "engine", "wanted", "expect", "seconds", "since", "token")
    options += ("owner", "purpose", "break_token", "version", "packages", "packages_state", "room", "sources")
    module = AnsibleModule(argument_spec={name: {"type": "raw"} for name in options}, supports_check_mode=True)
    params = {name: value for name, value in module.params.items() if value is not None}
    call = f"{NAME}:{params['state']}" if "state" in params else NAME
    if params.get("outcome"):
        call += f":{params['outcome']}"
    with (FOLDER / "calls").open("a") as log:
        log.write(json.dumps([HOST, call, params]) + "\n")
    told = json.loads((FOLDER / "told.json").read_text()).get(HOST, {}).get(call, {})
    if "fail" in told:
        module.fail_json(msg=told["fail"])
    result = {**DEFAULTS.get(NAME, {}), **told}
    if NAME == "ksm_rollout":
        result["record"] = record(params)
    module.exit_json(changed=False, **result)


def record(params: dict) -> dict:
    old = json.loads(RECORD.read_text()) if RECORD.exists() else None
    if params.get("state") == "begun" and (old is None or old["id"] != params["id"] or old["outcome"] != "passed"):
        old = {"id": params["id"], "outcome": None, "before": BEFORE, "log_mark": "m:1"}
    if params.get("state") == "ended":
        old["outcome"], old["text"] = params["outcome"], params.get("text", "")
    RECORD.write_text(json.dumps(old))
    return old


if __name__ == "__main__":
    main()
