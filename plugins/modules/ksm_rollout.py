#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: what a host was before a rollout, and going back to it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_rollout
short_description: Keep on a host what it was before a rollout, and bring that back
version_added: 0.1.0
description:
  - A host keeps C(/var/lib/ksm-fleet/rollout.json), which tells its state before the last rollout
    (versions of packages, tunables of both engines, whether C(ksm.ko) was loaded, and all files
    of the role, with keys and policies) and what came of it.
  - The record is replaced at one stroke, and before anything else changes.
  - Needs no package on the host, except to set tunables of C(ksm.ko).
options:
  state:
    description:
      - V(read) only returns the record.
      - V(begun) takes the state of the host, unless a rollout before this one ended half-way; then
        the state that it took stays, since the host is not whole. A rollout of the same O(id) that
        is under way, or has passed, goes on with the record that is there.
      - V(ended) notes in the record what came of the rollout.
      - V(restored) brings back O(parts) of the state before. Packages and C(ksm.ko) are other
        tasks' work.
    type: str
    choices: [read, begun, ended, restored]
    default: read
  id:
    description:
      - Name of the rollout. Required with V(begun).
    type: str
  outcome:
    description: What came of it. Required with V(ended).
    type: str
    choices: [passed, failed, rolled_back]
  text:
    description: Why, for people.
    type: str
    default: ""
  parts:
    description:
      - Of V(restored), V(files) for all files of the role, and V(engines) for the tunables of the
        engines. With these the host is then compared with the state before, and any difference
        fails the task.
    type: list
    elements: str
    choices: [files, engines]
    default: [files, engines]
attributes:
  check_mode:
    description: Says what it would write.
    support: full
  diff_mode:
    description: Shows the record, or the files, before and after.
    support: full
seealso:
  - module: ksm.fleet.ksm_expect
  - module: ksm.fleet.ksm_lock
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Keep what the host is before anything changes
  ksm.fleet.ksm_rollout:
    state: begun
    id: "0.2.0"

- name: Note that the host has passed
  ksm.fleet.ksm_rollout:
    state: ended
    outcome: passed

- name: Bring back repository, key and all other files
  ksm.fleet.ksm_rollout:
    state: restored
    parts: [files]
"""

RETURN = r"""
record:
  description: The record as it is after the task, null when there is none.
  returned: always
  type: dict
  contains:
    id:
      description: Name of the rollout.
      type: str
    began:
      description: When it began, in UTC.
      type: str
      sample: "2026-03-01T12:00:00Z"
    ended:
      description: When it was known what came of it, null before.
      type: str
    outcome:
      description: V(passed), V(failed), V(rolled_back), or null while it is under way.
      type: str
    text:
      description: Why.
      type: str
    log_mark:
      description: Where the kernel's log ended when it began, for O(ksm.fleet.ksm_expect#module:since).
      type: str
    before:
      description: The state before. Contents of files are in base64.
      type: dict
installed:
  description: Whether any of our packages was there before.
  returned: when there is a record
  type: bool
pins:
  description:
    - The packages that were there before and have another version now, as the package manager
      takes name and version.
  returned: when there is a record
  type: list
  elements: str
  sample: [ksm-dkms=0.1.0, ksm-tools=0.1.0]
surplus:
  description: The packages that are there now, even if only in part, and were not before.
  returned: when there is a record
  type: list
  elements: str
interrupted:
  description: Whether dpkg was interrupted, and does nothing before it is told to go on.
  returned: always
  type: bool
sources_changed:
  description: Whether a package source or its key was another one.
  returned: with O(state=restored)
  type: bool
policy_service:
  description: Whether C(ksm-policy.service) runs, and will at boot, now.
  returned: with O(state=restored)
  type: dict
  sample: {active: true, enabled: true}
problems:
  description: What is not as it was.
  returned: with O(state=restored)
  type: list
  elements: str
"""

import base64
import json
import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import (
    checks,
    client,
    host,
    host_state,
    rollout_record,
)

if not client.IMPORT_ERROR:
    from ksm.engine import Engine
    from ksm.errors import KsmError
    from ksm.tunables import TUNABLES, apply

SOURCES = ("/etc/apt/", "/etc/yum.repos.d/", "/etc/pki/")
DPKG_JOURNAL = "var/lib/dpkg/updates"
PIN = {"apt": "{}={}", "dnf": "{}-{}"}


class KsmRollout:
    """What the module does, on the host below *root*."""

    def __init__(self, module: AnsibleModule, root: str = "/") -> None:
        self.module = module
        self.root = root
        self.check: bool = module.check_mode
        self.old = rollout_record.read(root)

    def command(self, words: list[str]) -> str | None:
        path = self.module.get_bin_path(words[0])
        return self.module.run_command([path, *words[1:]])[1] if path else None

    def take(self) -> dict[str, Any]:
        return host_state.take(self.root, self.command)

    def run(self) -> dict[str, Any]:
        state = self.module.params["state"]
        if state == "restored":
            return self.restore()
        record = self.old
        if state == "begun":
            record = rollout_record.begin(
                self.old,
                self.module.params["id"],
                rollout_record.log_mark(self.root),
                self.take,
            )
        elif state == "ended":
            record = rollout_record.end(self.known(), self.module.params["outcome"], self.module.params["text"])
        changed = record != self.old
        if changed and record is not None and not self.check:
            rollout_record.write(self.root, record, self.module.atomic_move)
        return {"changed": changed, **self.told(record), "diff": diff(self.old, record)}

    def known(self) -> dict[str, Any]:
        if self.old is None:
            self.module.fail_json(
                msg=f"there is no {rollout_record.PATH} on this host: no rollout has begun here."
                " Remedy: run the playbook ksm.fleet.rollout first, or leave this host out"
            )
        return self.old  # type: ignore[return-value]

    def told(self, record: dict[str, Any] | None) -> dict[str, Any]:
        journal = os.path.join(self.root, DPKG_JOURNAL)
        result: dict[str, Any] = {
            "record": record,
            "interrupted": os.path.isdir(journal) and bool(os.listdir(journal)),
        }
        if record is not None:
            now, before = self.packages_now(), record["before"]
            pin = PIN.get(before["package_manager"], "{}")
            there = {name: version for name, version in before["packages"].items() if version}
            result["installed"] = host_state.was_installed(before)
            result["pins"] = [pin.format(name, version) for name, version in there.items() if now.get(name) != version]
            left = {name for name, version in now.items() if version}
            if before["package_manager"] == "apt":
                left |= set(host.deb_remains(self.root, checks.PACKAGES))
            result["surplus"] = sorted(left - set(there))
        return result

    def packages_now(self) -> dict[str, Any]:
        manager = self.known_manager()
        seen = checks.installed(self.root, self.command, manager)
        return {name: seen[name] for name in checks.PACKAGES}

    def known_manager(self) -> str | None:
        return host.package_manager(self.root, {name: words[0] for name, words in checks.MANAGERS.items()})

    def restore(self) -> dict[str, Any]:
        record = self.known()
        before, parts = record["before"], self.module.params["parts"]
        now = self.take()
        paths: list[str] = []
        if "files" in parts:
            paths = sorted({*before["files"], *now["files"]})
        wanted = {path: before["files"].get(path) for path in paths}
        stand = {path: now["files"].get(path) for path in paths}
        differ = [path for path in paths if wanted[path] != stand[path]]
        if not self.check:
            for path in differ:
                self.put(path, wanted[path])
        changed, problems = bool(differ), []
        if "engines" in parts:
            moved, problems = self.set_engines(before["tunables"], now["tunables"])
            changed = changed or moved
            if not self.check:
                problems += host_state.differences(before, self.take())
        result = {
            "changed": changed,
            **self.told(record),
            "sources_changed": any(path.startswith(SOURCES) for path in differ),
            "policy_service": now["policy_service"],
            "problems": problems,
            "diff": [
                {
                    "before_header": path,
                    "after_header": path,
                    "before": readable(stand[path]),
                    "after": readable(wanted[path]),
                }
                for path in differ
            ],
        }
        if problems:
            self.module.fail_json(
                msg="the host is not what it was before the rollout: "
                + "; ".join(dict.fromkeys(problems))
                + f". Remedy: mend that, and run the playbook ksm.fleet.rollback again; "
                f"{rollout_record.PATH} still has the state before",
                **result,
            )
        return result

    def put(self, path: str, wanted: dict[str, str] | None) -> None:
        """Make a file what it was; there are only files of the role here."""
        place = os.path.join(self.root, path.lstrip("/"))
        if wanted is None:
            os.unlink(place)
            return
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=self.module.tmpdir)
        with os.fdopen(fd, "wb") as stream:
            stream.write(base64.b64decode(wanted["content"]))
        self.module.atomic_move(temporary, place)
        os.chmod(place, int(wanted["mode"], 8))

    def set_engines(self, before: dict[str, Any], now: dict[str, Any]) -> tuple[bool, list[str]]:
        """Set the engines that are there as they were: first what stops, then what merges."""
        changed, problems = False, []
        there = [name for name in before if before[name] and now.get(name)]
        for name in sorted(there, key=lambda name: before[name].get("run") == 1):
            if before[name] == now[name]:
                continue
            changed = True
            try:
                self.set_engine(name, before[name])
            except OSError as error:
                problems.append(f"the {name} engine refused its tunables: {error}")
        return changed, problems

    def set_engine(self, name: str, values: dict[str, Any]) -> None:
        if client.IMPORT_ERROR:
            if not self.check:
                self.write_plainly(name, values)
            return
        engine = Engine(name, system=self.root)
        known = {key: v for key, v in values.items() if key in TUNABLES and engine.has(key)}
        try:
            apply(engine, known, check=self.check)
        except KsmError as error:
            raise OSError(str(error)) from error

    def write_plainly(self, name: str, values: dict[str, Any]) -> None:
        """Without python3-ksm, on a host that had none before: only the built-in engine is left."""
        place = host_state.ENGINES[name]
        now = host_state.settings(self.root, place)
        for key in sorted(values, key="run".__eq__):
            if now.get(key) == values[key]:
                continue
            with open(os.path.join(self.root, place, key), "w", encoding="ascii") as stream:
                stream.write(f"{values[key]}\n")


def readable(file: dict[str, str] | None) -> str:
    if file is None:
        return ""
    return base64.b64decode(file["content"]).decode("utf-8", errors="replace")


def diff(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, str]:
    def text(record: dict[str, Any] | None) -> str:
        if record is None:
            return ""
        before = {name: part for name, part in record["before"].items() if name != "files"}
        return json.dumps({**record, "before": before}, indent=1, sort_keys=True) + "\n"

    return {
        "before_header": rollout_record.PATH,
        "after_header": rollout_record.PATH,
        "before": text(old),
        "after": text(new),
    }


def build_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["read", "begun", "ended", "restored"],
                "default": "read",
            },
            "id": {"type": "str"},
            "outcome": {"type": "str", "choices": ["passed", "failed", "rolled_back"]},
            "text": {"type": "str", "default": ""},
            "parts": {
                "type": "list",
                "elements": "str",
                "choices": ["files", "engines"],
                "default": ["files", "engines"],
            },
        },
        required_if=[("state", "begun", ("id",)), ("state", "ended", ("outcome",))],
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    try:
        module.exit_json(**KsmRollout(module).run())
    except rollout_record.Unreadable as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error}. Remedy: make room for, and let root write to, that place")


if __name__ == "__main__":
    main()
