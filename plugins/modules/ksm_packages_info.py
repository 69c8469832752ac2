#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: whether a version of the packages can be installed, and taken back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_packages_info
short_description: Tell which versions of the packages a host can have, before it gets them
version_added: 0.1.0
description:
  - Asks the package sources for the versions of our packages. A repository that the host does not
    use yet is asked with lists and caches of its own, thrown away afterwards, so that nothing of
    the host changes.
  - Tells what is in the way of installing a version, and of going back to the one that is installed
    now, and whether there is room for it.
options:
  sources:
    description:
      - A C(.sources) file of apt or a C(.repo) file of dnf. Left out, the host's own sources are
        asked, as they were last fetched.
    type: path
  version:
    description: The version that is wanted, with or without the distribution's revision.
    type: str
    default: ""
  packages_state:
    description: With no O(version), whether it is the newest one or the one that is installed.
    type: str
    choices: [present, latest]
    default: present
  packages:
    description: The packages that are wanted.
    type: list
    elements: str
    default: [ksm-dkms, ksm-tools, python3-ksm]
  room:
    description:
      - By folder, the MiB that must be free. Needs of folders on one file system add up. Looked at
        only where something will be installed.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Only looks.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
seealso:
  - module: ksm.fleet.ksm_preflight
  - module: ksm.fleet.ksm_rollout
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: See whether 0.2.0 can be had
  ksm.fleet.ksm_packages_info:
    version: 0.2.0
    room: {/var: 100, /usr: 50}
"""

RETURN = r"""
versions:
  description: The versions that can be had, the newest first.
  returned: always
  type: dict
  sample: {ksm-dkms: [0.2.0, 0.1.0]}
installed:
  description: The versions that are installed, null for none.
  returned: always
  type: dict
  sample: {ksm-dkms: 0.1.0}
wanted:
  description:
    - The version that the packages will have, O(version) or without a distribution's revision. Null
      when there is none.
  returned: always
  type: str
  sample: 0.2.0
problems:
  description: What is in the way.
  returned: always
  type: list
  elements: dict
  sample:
    - reason: no package source of this host offers ksm-dkms 0.2.0, only 0.1.0
      remedy: put that version into the repository
said:
  description: What the package manager complained of while it fetched its lists, empty for nothing.
  returned: always
  type: str
"""

import os
import re
import tempfile
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import checks, host, versions

MIB = 1 << 20
# What a distribution appends to our version.
REVISION = re.compile(r"-[^-]+$")
Ask = Callable[[list[str]], tuple[int, str, str]]
Versions = dict[str, list[str]]


def apt_update(ask: Ask, sources: str, scratch: str) -> tuple[list[str], str]:
    """Have apt fetch lists of its own; return how to use them, and what it complained of."""
    for name in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(scratch, name))
    # apt fetches as a user of its own.
    os.chmod(scratch, 0o755)
    options = [
        f"-oDir::Etc::SourceList={sources}",
        "-oDir::Etc::SourceParts=/dev/null",
        f"-oDir::State::Lists={scratch}/lists",
        f"-oDir::Cache={scratch}",
        "-oAcquire::Retries=2",
    ]
    status, out, err = ask(["apt-get", "-q", "--error-on=any", *options, "update"])
    return options, f"{out}\n{err}".strip() if status else ""


def dnf_update(ask: Ask, sources: str, scratch: str) -> tuple[list[str], str]:
    """Have dnf fetch metadata of its own; return how to use it, and what it complained of."""
    options = [
        f"--setopt=reposdir={os.path.dirname(sources)}",
        f"--setopt=cachedir={scratch}",
        "--setopt=*.skip_if_unavailable=0",
        "--assumeyes",
    ]
    status, _out, err = ask(["dnf", "--quiet", *options, "makecache"])
    return options, err.strip() if status else ""


UPDATE = {"apt": apt_update, "dnf": dnf_update}


def matching(wanted: str, known: list[str]) -> str | None:
    """Return the version that is meant, which may be told without the distribution's revision."""
    exact = [version for version in known if version == wanted]
    return next(iter(exact + [v for v in known if REVISION.sub("", v) == wanted]), None)


def choose(wanted: str, latest: bool, installed: dict[str, str | None], offered: Versions) -> dict[str, str | None]:
    """Return the version that each package will have, None where no source has it."""
    chosen: dict[str, str | None] = {}
    for name, has in installed.items():
        known = [has] * bool(has) + offered[name]
        if wanted:
            chosen[name] = matching(wanted, known)
        else:
            chosen[name] = has if has and not latest else next(iter(offered[name]), None)
    return chosen


def problems_of_versions(
    wanted: str,
    chosen: dict[str, str | None],
    installed: dict[str, str | None],
    offered: Versions,
) -> list[checks.Problem]:
    """Return what is in the way of having the versions, and of the way back."""
    found: list[checks.Problem] = []
    for name, has in installed.items():
        only = f", only {', '.join(offered[name])}" if offered[name] else ""
        if chosen[name] is None:
            found.append(
                {
                    "reason": f"no package source of this host offers {f'{name} {wanted}'.strip()}" + only,
                    "remedy": "put that version into the repository, or set another ksm_version",
                }
            )
        elif has and has != chosen[name] and has not in offered[name]:
            found.append(
                {
                    "reason": f"no package source of this host offers {name} {has}{only}: it is"
                    " installed now, and there would be no way back to it",
                    "remedy": "keep that version in the repository beside the new one",
                }
            )
    return found


def problems_of_room(
    root: str, room: dict[str, Any], statvfs: Callable[[str], Any] = os.statvfs
) -> list[checks.Problem]:
    """Return the file systems that have too little room."""
    needs: dict[int, list[tuple[str, int]]] = {}
    for folder, mib in room.items():
        path = os.path.join(root, folder.lstrip("/"))
        if os.path.isdir(path):
            needs.setdefault(os.stat(path).st_dev, []).append((folder, int(mib)))
    found: list[checks.Problem] = []
    for folders in needs.values():
        seen = statvfs(os.path.join(root, folders[0][0].lstrip("/")))
        free, need = seen.f_bavail * seen.f_frsize // MIB, sum(mib for _folder, mib in folders)
        names = ", ".join(folder for folder, _mib in folders)
        if free < need:
            found.append(
                {
                    "reason": f"the file system of {names} has {free} MiB free, and {need} MiB may be needed",
                    "remedy": "make room there, or lower ksm_rollout_room if you know better",
                }
            )
    return found


class KsmPackagesInfo:
    """What the module does, on the host below *root*."""

    def __init__(self, module: AnsibleModule, root: str = "/") -> None:
        self.module = module
        self.root = root

    def ask(self, words: list[str]) -> tuple[int, str, str]:
        path = self.module.get_bin_path(words[0], required=True)
        return self.module.run_command([path, *words[1:]], environ_update={"LC_ALL": "C.UTF-8", "COLUMNS": "400"})

    def run(self) -> dict[str, Any]:
        params = self.module.params
        names: list[str] = params["packages"]
        manager = host.package_manager(self.root, {name: words[0] for name, words in checks.MANAGERS.items()})
        if manager is None:
            return {"versions": {}, "installed": {}, "wanted": None, "problems": [], "said": ""}
        seen = checks.installed(self.root, lambda words: self.ask(words)[1], manager)
        installed = {name: seen.get(name) for name in names}
        options: list[str] = []
        said = ""
        with tempfile.TemporaryDirectory(dir=os.path.join(self.root, "run")) as scratch:
            if params["sources"]:
                options, said = UPDATE[manager](self.ask, params["sources"], scratch)
            offered = versions.available(manager, names, lambda words: self.ask([words[0], *options, *words[1:]])[1])
        wanted: str = params["version"]
        chosen = choose(wanted, params["packages_state"] == "latest", installed, offered)
        problems: list[checks.Problem] = []
        if not said:
            problems = problems_of_versions(wanted, chosen, installed, offered)
        if chosen != installed:
            problems += problems_of_room(self.root, params["room"])
        first = next(iter(chosen.values()), None)
        return {
            "versions": offered,
            "installed": installed,
            # The others may be of another revision.
            "wanted": wanted or (REVISION.sub("", first) if first else None),
            "problems": problems,
            "said": said,
        }


def build_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            "sources": {"type": "path"},
            "version": {"type": "str", "default": ""},
            "packages_state": {
                "type": "str",
                "choices": ["present", "latest"],
                "default": "present",
            },
            "packages": {
                "type": "list",
                "elements": "str",
                "default": ["ksm-dkms", "ksm-tools", "python3-ksm"],
            },
            "room": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    module.exit_json(changed=False, **KsmPackagesInfo(module).run())


if __name__ == "__main__":
    main()
