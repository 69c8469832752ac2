# SPDX-License-Identifier: GPL-2.0-or-later
"""Setting tunables, now and for the next boot: what ksm_tunables does, and ksm_preflight foresees."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Protocol

from . import client, persistence

if not client.IMPORT_ERROR:
    from ksm.engine import Engine, select
    from ksm.errors import KsmError
    from ksm.tunables import TUNABLES, Change, apply, validate

OTHER = {"module": "kernel", "kernel": "module"}


class Asking(persistence.Mover, Protocol):
    """The part of AnsibleModule that this takes."""

    params: dict[str, Any]
    check_mode: bool


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

    def __init__(self, module: Asking, root: str = "/") -> None:
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
                self.put_back(other, change)
            raise

    @staticmethod
    def put_back(engine: Engine, change: Change) -> None:
        """Undo a change, because of an error that is to be told, and not one that this meets."""
        before = dict(change.before)
        # The advisor sets it.
        if before.get("advisor_mode") == "scan-time":
            before.pop("pages_to_scan", None)
        with contextlib.suppress(KsmError, OSError):
            apply(engine, before)

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
            self.put_back(self.engine, change)
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
