# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies of domains: what ksm_policy does, and what ksm_preflight foresees of it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from . import persistence, policy_service

try:
    from ksm.errors import KsmError
    from ksm.policy import files, record
    from ksm.policy.files import Folder
    from ksm.policy.model import Policy, PolicyError
    from ksm.policy.report import Report
    from ksm.policy.round import Keeper
    from ksm.policy.section import read as read_section

    HAS_POLICIES = True
except ImportError:
    HAS_POLICIES = False

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

NAME = "ksm-fleet.conf"
HEADER = "# Written by ksm.fleet.ksm_policy; put other policies into files of their own.\n\n"
FLAGS = ("children", "zero_pages")
OF_ONE = ("match", "domain", *FLAGS)


class Refused(Exception):
    """Nothing was changed, and this is why."""


def given(entry: dict[str, Any]) -> dict[str, str]:
    """Return a policy's parameters as a section of the file has them."""
    match = {key: str(value) for key, value in (entry["match"] or {}).items() if value is not None}
    flags = {key: "yes" for key in FLAGS if entry[key]}
    domain = {} if entry["domain"] is None else {"domain": str(entry["domain"])}
    return {key: value.strip() for key, value in {**match, **domain, **flags}.items()}


def render(policies: dict[str, Policy]) -> str:
    """Return the file's text; no policies, no file."""
    return HEADER + files.render(policies.values()) if policies else ""


class KsmPolicy:
    """What the module does, on the host below *root*."""

    def __init__(self, module: AnsibleModule, root: str = "/") -> None:
        self.module = module
        self.root = root
        self.path = os.path.join(root, files.FOLDER, NAME)
        self.before = persistence.read(self.path)
        self.keeper = Keeper(root)

    def entries(self) -> list[dict[str, Any]]:
        params = self.module.params
        if params["policies"] is not None:
            return params["policies"]
        return [{"name": params["name"], **{key: params[key] for key in OF_ONE}}]

    def wanted(self) -> dict[str, Policy]:
        """Return the policies that the file shall hold. Raises Refused, PolicyError."""
        params = self.module.params
        entries = self.entries()
        names = [entry["name"] for entry in entries]
        for name in names:
            if names.count(name) > 1:
                raise Refused(f"policy {name} is given twice; leave one of them")
        absent = params["state"] == "absent"
        wanted = {} if params["purge"] and not absent else self.there()
        for entry in entries:
            wanted.pop(entry["name"], None)
            if not absent:
                wanted[entry["name"]] = read_section(NAME, entry["name"], given(entry))
        return wanted

    def there(self) -> dict[str, Policy]:
        """Return the policies that the file holds."""
        try:
            return {policy.name: policy for policy in files.parse(NAME, self.before)}
        except PolicyError as error:
            raise Refused(f"{error}. Mend the file, or give all policies and purge: true") from error

    def folder(self, wanted: dict[str, Policy]) -> Folder:
        """Return all policies as they shall be. Raises Refused."""
        found = files.load(self.root, record.load(self.root).good)
        others = [policy for policy in found.policies if policy.file != NAME]
        for policy in others:
            if policy.name in wanted:
                raise Refused(
                    f"policy {policy.name} is in {policy.file} already; remove it there, or give this one another name"
                )
        policies = sorted([*others, *wanted.values()], key=lambda policy: policy.name)
        errors = [error for error in found.errors if error.file != NAME]
        return Folder(policies, errors, found.good)

    def apply(self, text: str, service: policy_service.Service | None) -> Report:
        """Write the file and do what follows from it; on a failure it is put back."""
        try:
            self.write(text)
            report = self.keeper.round()
            if service:
                service.apply()
        except (KsmError, OSError, policy_service.Failed):
            self.write(self.before)
            with contextlib.suppress(KsmError, OSError):
                self.keeper.round()
            raise
        return report

    def write(self, text: str) -> None:
        if text == persistence.read(self.path):
            return
        if text:
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        persistence.write(self.module, self.path, text)

    def run(self) -> dict[str, Any]:
        """Do it. Raises Refused, KsmError, OSError, policy_service.Failed."""
        wanted = self.wanted()
        folder = self.folder(wanted)
        text = render(wanted)
        service = None
        if self.module.params["service"]:
            others = [path for path in files.paths(self.root) if path.name != NAME]
            service = policy_service.Service(self.module, wanted=bool(wanted or others))
        report = self.keeper.look(folder)
        if not self.module.check_mode:
            report = self.apply(text, service)

        differs = text != self.before or (service is not None and service.differs)
        # What the service is about to do is no change that this task makes.
        served = service is not None and service.before["active"]
        acted = bool(report.registered or report.removed)
        for error in report.errors:
            self.module.warn(str(error))
        if report.waiting and folder.policies:
            self.module.warn(f"The policies wait: {report.waiting}")
        return {
            "changed": differs or (acted and not served),
            **report.as_dict(),
            "service": service.after if service else None,
            "path": "/" + os.path.relpath(self.path, self.root),
            "diff": [
                {
                    "before_header": self.path,
                    "after_header": self.path,
                    "before": self.before,
                    "after": text,
                },
                *([service.diff()] if service else []),
            ],
        }
