# SPDX-License-Identifier: GPL-2.0-or-later
"""`ksmctl reload` on a real kernel: what reloading.py does and sees in a VM, a test for each step."""

from __future__ import annotations

import sys
from pathlib import Path

import ansible.module_utils
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests/vm/lib")]

import ksmvm  # noqa: E402
from ksmvm import steps  # noqa: E402
from ksmvm.paths import cache  # noqa: E402
from reloading import STEPS  # noqa: E402


@pytest.fixture(scope="session", params=steps.kernels("6.1"))
def result(request: pytest.FixtureRequest) -> ksmvm.Result:
    kernel: str = request.param
    builds = {
        f"/builds/{name}.ko": ksmvm.build_module(
            kernel, out=cache("modules", f"{kernel}-{name}"), make_args=[f"KSM_VERSION={version}"]
        )
        for name, version in (("old", "0.0.1"), ("new", "0.0.2"))
    }
    return steps.run(kernel, HERE / "reloading.py", builds, Path(ansible.module_utils.__file__).parent)


@pytest.mark.parametrize("step", [step.__name__ for step in STEPS])
def test_step(result: ksmvm.Result, step: str) -> None:
    complaint = steps.complaint(result, step)
    if complaint:
        pytest.fail(complaint, pytrace=False)


def test_the_kernel_had_nothing_to_complain_of(result: ksmvm.Result) -> None:
    assert result.exit_status == 0, "\n\n".join(result.splats)
