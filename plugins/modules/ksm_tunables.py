#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: set the tunables of an engine, now and after a reboot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_tunables
short_description: Set the tunables of samepage merging, at run time and after a reboot
version_added: 0.1.0
description:
  - Sets tunables of the module C(ksm.ko) or of the kernel's built-in engine, all of them or none.
  - Writes them where the engine finds them after a reboot, C(/etc/modprobe.d/ksm.conf) for the
    module and C(/etc/tmpfiles.d/ksm-fleet.conf) for the built-in engine. Other lines of these
    files are kept.
  - A value out of range changes nothing, and the error names the value and the range.
requirements:
  - python3-ksm on the host
options:
  state:
    description:
      - V(present) sets O(tunables).
      - V(absent) stops the engine, sets back to their defaults the tunables that were persisted,
        and removes them from the file.
    type: str
    choices: [present, absent]
    default: present
  engine:
    description:
      - V(module) is C(ksm.ko), V(kernel) the built-in one.
      - V(auto) is C(ksm.ko) where it is loaded, else the built-in one.
    type: str
    choices: [auto, module, kernel]
    default: auto
  tunables:
    description:
      - Names and values, as in sysfs.
      - A number must be written as one. V(true) is refused for it, since C(run=yes) is an
        accident more often than not.
      - V(run) 0 stops the engine, 1 starts it, 2 stops it and unmerges everything. Unmerging is
        refused when it takes more memory than is available.
      - Required with O(state=present), refused with O(state=absent).
    type: dict
  persist:
    description: Whether the tunables hold after a reboot, too.
    type: bool
    default: true
  purge:
    description:
      - Whether tunables that the file holds and O(tunables) does not name go back to their
        defaults and leave the file.
      - With V(false) they stay as they are.
    type: bool
    default: false
  unmerge:
    description:
      - With O(state=absent), unmerge everything. Otherwise pages stay merged, and are copied
        when they are written.
    type: bool
    default: false
  other_engine:
    description:
      - What becomes of the other engine. Two engines that run at once compete for the same
        pages, so starting one is refused while the other runs.
      - V(keep) leaves it alone.
      - V(stop) stops it and keeps what it merged.
      - V(unmerge) stops it and unmerges what it merged, which this engine can then merge.
      - Both V(stop) and V(unmerge) remove its persisted tunables.
    type: str
    choices: [keep, stop, unmerge]
    default: keep
attributes:
  check_mode:
    description: Validates everything and says what it would change.
    support: full
  diff_mode:
    description: Shows the tunables and the file, before and after.
    support: full
notes:
  - In check mode O(engine=module) may name a module that is not loaded yet.
seealso:
  - module: ksm.fleet.ksm_info
  - module: ksm.fleet.ksm_module
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Merge, at a gentle pace
  ksm.fleet.ksm_tunables:
    tunables:
      run: 1
      pages_to_scan: 200
      sleep_millisecs: 50

- name: Scan harder until the next reboot
  ksm.fleet.ksm_tunables:
    tunables:
      pages_to_scan: 5000
    persist: false

- name: Let the built-in engine's advisor set the pace
  ksm.fleet.ksm_tunables:
    engine: kernel
    other_engine: stop
    tunables:
      run: 1
      advisor_mode: scan-time
      advisor_max_cpu: 10

- name: Stop merging and unmerge everything
  ksm.fleet.ksm_tunables:
    state: absent
    unmerge: true
"""

RETURN = r"""
engine:
  description: The engine whose tunables these are.
  returned: always
  type: str
  sample: module
tunables:
  description: The tunables asked for, as the engine stores them.
  returned: always
  type: dict
  sample: {run: 1, pages_to_scan: 200}
before:
  description:
    - Their values before, with those of the tunables that went back to their defaults. Empty
      in check mode when the engine is not there yet.
  returned: always
  type: dict
  sample: {run: 0, pages_to_scan: 100}
after:
  description: Their values after; in check mode, those that they would have.
  returned: always
  type: dict
  sample: {run: 1, pages_to_scan: 200}
path:
  description: The file that holds them over a reboot.
  returned: always
  type: str
  sample: /etc/modprobe.d/ksm.conf
persisted:
  description: What that file holds after the task.
  returned: always
  type: dict
  sample: {pages_to_scan: 200, run: 1}
other_engine_stopped:
  description: Whether the other engine was stopped.
  returned: always
  type: bool
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import client, persistence

if not client.IMPORT_ERROR:
    from ksm.engine import Engine, select
    from ksm.errors import KsmError
    from ksm.tunables import TUNABLES, Change, apply, validate

OTHER = {"module": "kernel", "kernel": "module"}


class PersistedFile:
    """The file of one engine, as it is and as it shall be."""

    def __init__(self, engine: str, root: str) -> None:
        self.form = persistence.FORMATS[engine]
        self.path = os.path.join(root, self.form.path.lstrip("/"))
        self.before = self.after = persistence.read(self.path)

    @property
    def values(self) -> dict[str, Any]:
        return self.form.parse(self.before)

    def plan(self, values: dict[str, Any]) -> None:
        ordered = persistence.order(values, TUNABLES)
        self.after = persistence.render(self.form, self.before, ordered)

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def diff(self) -> dict[str, str]:
        return {
            "before_header": self.form.path,
            "after_header": self.form.path,
            "before": self.before,
            "after": self.after,
        }


class KsmTunables:
    """What the module does, on the host below *root*."""

    def __init__(self, module: AnsibleModule, root: str = "/") -> None:
        self.module = module
        self.check: bool = module.check_mode
        self.engine = self.find_engine(module.params["engine"], root)
        self.file = PersistedFile(self.engine.name, root)
        self.other_file = PersistedFile(OTHER[self.engine.name], root)

    def find_engine(self, name: str, root: str) -> Engine:
        module = Engine.module(root)
        # Loading it is another task's work, which check mode only pretended to do.
        if name == "module" and self.check and not module.present():
            return module
        # Its tunables can be forgotten after it was unloaded.
        if self.module.params["state"] == "absent" and name in OTHER:
            return Engine(name, system=root)
        return select(name, root)

    def asked(self) -> dict[str, Any]:
        """Return the tunables that the task names."""
        if self.module.params["state"] == "present":
            return self.module.params["tunables"]
        return {"run": 2 if self.module.params["unmerge"] else 0}

    def wanted(self) -> dict[str, Any]:
        """Return the tunables to set now, as they are stored."""
        params = self.module.params
        wanted = validate(self.asked(), self.engine)
        if params["state"] == "absent" or params["purge"]:
            wanted = {**self.defaults(wanted), **wanted}
        return wanted

    def defaults(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return the defaults of persisted tunables that are not wanted any more."""
        params = self.module.params
        back: dict[str, Any] = {}
        for name in self.file.values:
            tunable = TUNABLES.get(name)
            if tunable is None or name in wanted or not self.engine.has(name):
                continue
            # A change of these unmerges, which removal does only when it is told to.
            if params["state"] == "absent" and tunable.needs_unmerge and not params["unmerge"]:
                continue
            # The advisor sets it.
            if name == "pages_to_scan" and wanted.get("advisor_mode") == "scan-time":
                continue
            back[name] = tunable.default_of(self.engine.name)
        return back

    def plan_files(self, wanted: dict[str, Any]) -> None:
        params = self.module.params
        if params["state"] == "absent":
            self.file.plan({})
        elif params["persist"]:
            named = {name: wanted[name] for name in self.asked()}
            kept = {} if params["purge"] else self.file.values
            self.file.plan({**kept, **named})
        if params["other_engine"] != "keep":
            self.other_file.plan({})

    def other_run(self) -> int | None:
        """Return what the other engine's run must become, None when it stays as it is."""
        policy = self.module.params["other_engine"]
        other = self.engine.other()
        if policy == "keep" or other is None:
            return None
        run = other.read("run")
        if policy == "stop":
            return 0 if run == 1 else None
        shares = other.counters().get("pages_shared", 0) > 0
        return 2 if run == 1 or (run == 0 and shares) else None

    @contextlib.contextmanager
    def other_engine_as(self, run: int | None) -> Iterator[None]:
        """Have the other engine stopped, and back as it was when the body fails."""
        other = self.engine.other()
        if run is None or other is None:
            yield
            return
        change = apply(other, {"run": run}, check=self.check)
        try:
            yield
        except BaseException:
            if not self.check:
                apply(other, change.before)
            raise

    def set(self, wanted: dict[str, Any], other_stops: bool) -> Change:
        if not self.engine.present():
            # An engine that is gone needs no stopping; one that check mode only pretended to
            # load has nothing to compare with.
            absent = self.module.params["state"] == "absent"
            return Change({}, {} if absent else wanted, not absent)
        if self.check and other_stops and wanted.get("run") == 1:
            # The other engine still runs, which would be refused in earnest only.
            before = self.engine.read("run")
            rest = {name: value for name, value in wanted.items() if name != "run"}
            change = apply(self.engine, rest, check=True)
            return Change({**change.before, "run": before}, wanted, change.changed or before != 1)
        return apply(self.engine, wanted, check=self.check)

    def write_files(self, change: Change) -> None:
        """Write the files that differ; on a failure all is put back."""
        files = [] if self.check else [f for f in (self.file, self.other_file) if f.changed]
        try:
            for file in files:
                persistence.write(self.module, file.path, file.after)
        except BaseException:
            for file in files:
                with contextlib.suppress(OSError):
                    persistence.write(self.module, file.path, file.before)
            if change.before:
                apply(self.engine, change.before)
            raise

    def run(self) -> dict[str, Any]:
        wanted = self.wanted()
        self.plan_files(wanted)
        other_run = self.other_run()
        with self.other_engine_as(other_run):
            change = self.set(wanted, other_run is not None)
            self.write_files(change)
        files = [file for file in (self.file, self.other_file) if file.changed]
        return {
            "changed": change.changed or bool(files) or other_run is not None,
            "engine": self.engine.name,
            "tunables": {name: wanted[name] for name in self.asked()},
            "before": change.before,
            "after": change.after,
            "path": self.file.form.path,
            "persisted": self.file.form.parse(self.file.after),
            "other_engine_stopped": other_run is not None,
            "diff": [
                {
                    "before_header": f"{self.engine.name} engine",
                    "after_header": f"{self.engine.name} engine",
                    "before": change.before,
                    "after": change.after,
                },
                *(file.diff() for file in files),
            ],
        }


def build_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "engine": {
                "type": "str",
                "choices": ["auto", "module", "kernel"],
                "default": "auto",
            },
            "tunables": {"type": "dict"},
            "persist": {"type": "bool", "default": True},
            "purge": {"type": "bool", "default": False},
            "unmerge": {"type": "bool", "default": False},
            "other_engine": {
                "type": "str",
                "choices": ["keep", "stop", "unmerge"],
                "default": "keep",
            },
        },
        required_if=[("state", "present", ("tunables",))],
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    client.require(module)
    if module.params["state"] == "absent" and module.params["tunables"]:
        module.fail_json(msg="tunables cannot be given with state=absent: leave them out")
    try:
        result = KsmTunables(module).run()
    except KsmError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"nothing was changed: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
