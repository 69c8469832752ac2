# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmctl reload` on real kernels: what scenario.py does and sees in a VM, a test for each step."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import ansible.module_utils
import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPOSITORY / "tests/vm/lib")]

import ksmvm  # noqa: E402
from ksmvm import root_programs  # noqa: E402
from ksmvm.paths import cache  # noqa: E402
from scenario import STEPS  # noqa: E402

# Those whose roots hold a Python.
KERNELS = ("6.1", "6.12")
KMOD = ("modprobe", "modinfo", "insmod", "depmod")
ENVIRONMENT = "PATH=/usr/sbin:/usr/bin:/bin PYTHONPATH=/opt"


@pytest.fixture(scope="session", params=KERNELS)
def result(request: pytest.FixtureRequest) -> ksmvm.Result:
    kernel: str = request.param
    root = ksmvm.prepare(kernel).root
    files: dict[str, Path | bytes] = {
        **root_programs.python(root),
        **root_programs.programs(root, [f"/usr/sbin/{name}" for name in KMOD]),
        **root_programs.ksm("/opt"),
        "/opt/scenario.py": HERE / "scenario.py",
        "/opt/ansible/__init__.py": b"",
        "/opt/ansible/module_utils": Path(ansible.module_utils.__file__).parent,
        "/opt/ansible_collections/ksm/fleet/plugins": REPOSITORY / "plugins",
    }
    for name, version in (("old", "0.0.1"), ("new", "0.0.2")):
        out = cache("modules", f"{kernel}-{name}")
        files[f"/builds/{name}.ko"] = ksmvm.build_module(kernel, out=out, make_args=[f"KSM_VERSION={version}"])
    done = ksmvm.ModuleVM(kernel).run(f"{ENVIRONMENT} python3 /opt/scenario.py", files)
    logs = cache("logs")
    logs.mkdir(parents=True, exist_ok=True)
    (logs / f"reload-{kernel}.out").write_text(done.output)
    return done


@pytest.mark.parametrize("step", [step.__name__ for step in STEPS])
def test_step(result: ksmvm.Result, step: str) -> None:
    if re.search(rf"^ok {step} #", result.output, re.MULTILINE):
        return
    why = re.search(rf"^not ok {step}\n(.*?)^end {step}$", result.output, re.MULTILINE | re.DOTALL)
    pytest.fail(why[1] if why else f"not reached; the VM said:\n{result.output[-3000:]}", pytrace=False)


def test_the_kernel_had_nothing_to_complain_of(result: ksmvm.Result) -> None:
    assert result.exit_status == 0, "\n\n".join(result.splats)
