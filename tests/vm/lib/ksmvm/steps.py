# SPDX-License-Identifier: GPL-2.0-or-later
"""A Python script that goes through steps in a module VM, with ksm and the collection at hand.

Of each step it says `ok NAME # SECONDS s`, or `not ok NAME`, then why, then `end NAME`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ksmvm.kernels import prepare
from ksmvm.module_vm import ModuleVM, Result
from ksmvm.paths import REPOSITORY, cache
from ksmvm.root_programs import ksm, programs, python

# Those whose roots hold a Python.
KERNELS = ("6.1", "6.12")
_KMOD = ("modprobe", "modinfo", "insmod", "rmmod", "depmod")
_ENVIRONMENT = "PATH=/usr/sbin:/usr/bin:/bin PYTHONPATH=/opt"


def kernels(default: str) -> tuple[str, ...]:
    """Those to run on: KSM_TEST_KERNELS, or one alone, since such a boot takes minutes."""
    wanted = os.environ.get("KSM_TEST_KERNELS", default).split()
    return tuple(kernel for kernel in wanted if kernel in KERNELS)


def run(kernel: str, script: Path, files: Mapping[str, Path | bytes], module_utils: Path) -> Result:
    """Boot the kernel and run `script`; `module_utils` is ansible.module_utils' folder."""
    root = prepare(kernel).root
    done = ModuleVM(kernel).run(
        f"{_ENVIRONMENT} python3 /opt/{script.name}",
        {
            **python(root),
            **programs(root, [f"/usr/sbin/{name}" for name in _KMOD]),
            **ksm("/opt"),
            f"/opt/{script.name}": script,
            "/opt/ansible/__init__.py": b"",
            "/opt/ansible/module_utils": module_utils,
            "/opt/ansible_collections/ksm/fleet/plugins": REPOSITORY / "plugins",
            **files,
        },
    )
    logs = cache("logs")
    logs.mkdir(parents=True, exist_ok=True)
    (logs / f"{script.stem}-{kernel}.out").write_text(done.output)
    return done


def complaint(result: Result, step: str) -> str:
    """Why the step failed, or nothing."""
    if re.search(rf"^ok {step} #", result.output, re.MULTILINE):
        return ""
    why = re.search(rf"^not ok {step}\n(.*?)^end {step}$", result.output, re.MULTILINE | re.DOTALL)
    return why[1] if why else f"not reached; the VM said:\n{result.output[-3000:]}"
