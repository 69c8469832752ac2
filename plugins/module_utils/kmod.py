# SPDX-License-Identifier: GPL-2.0-or-later
"""Which build of ksm.ko runs and which one is installed, where python3-ksm may be missing."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ansible_collections.ksm.fleet.plugins.module_utils import host

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Of ksm.reload, which goes on with it.
INTERRUPTED = "run/ksm/reload.json"


class Build(NamedTuple):
    """A version, and a digest of the sources that tells its builds apart. None when unknown."""

    version: Optional[str]
    srcversion: Optional[str]


NONE = Build(None, None)


def running(root: str) -> Build:
    """Return the build that is loaded."""
    if not host.module_loaded(root):
        return NONE
    texts = (host.read(root, f"sys/module/ksm/{name}") for name in Build._fields)
    return Build(*((text or "").strip() or None for text in texts))


def installed(module: AnsibleModule) -> Build:
    """Return the build that modprobe would load."""
    modinfo = module.get_bin_path("modinfo")
    if modinfo is None:
        return NONE
    said = (module.run_command([modinfo, "-F", name, "ksm"]) for name in Build._fields)
    return Build(*(out.strip() or None if status == 0 else None for status, out, _err in said))


def outdated(runs: Build, waits: Build) -> bool:
    """Tell whether another build is installed than runs, as far as both say."""
    return any(None not in pair and pair[0] != pair[1] for pair in zip(runs, waits))


def interrupted(root: str) -> bool:
    """Tell whether a reload was cut short, with regions that the module has not got back."""
    return os.path.exists(os.path.join(root, INTERRUPTED))


def forget_interrupted(root: str) -> None:
    """Give up the regions of an interrupted reload, as unloading gives up all of them."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(root, INTERRUPTED))


def facts(runs: Build, waits: Build) -> dict[str, Any]:
    """Return what modules return of the builds."""
    return {
        "version_running": runs.version,
        "version_installed": waits.version,
        "srcversion_running": runs.srcversion,
        "srcversion_installed": waits.srcversion,
        "reload_required": outdated(runs, waits),
    }
