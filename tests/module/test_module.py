# SPDX-License-Identifier: GPL-2.0-or-later
"""The module on real kernels: every case of the C program is a test of its own.

`pytest tests/module -k "6.12- and fork."` boots one VM for what matches.
"""

from __future__ import annotations

import pytest
from module_boots import BOOTS, KERNELS, KERNELS_OF_GROUP, Boots, all_cases, boot_of, cases_of

QUARANTINE = "KASAN keeps freed memory for a while; kmemleak looks instead"
# Cases that a kernel cannot serve, and why. Any other case that leaves itself out has failed: it would
# stay green while it tests nothing.
LACKS = {
    ("6.1", "merge.large_folios"): "64 kB folios came with 6.8",
    ("6.1", "attack.fuse"): "FUSE is a module there, which the VM does not load",
    ("6.12", "bad.task_kernel_thread"): "/proc/PID/mem of a kernel thread cannot be opened",
    ("backports", "bad.task_kernel_thread"): "/proc/PID/mem of a kernel thread cannot be opened",
    ("backports", "cow.forced_write"): "writes past the protection by /proc/PID/mem are refused",
    ("debug", "bad.task_kernel_thread"): "/proc/PID/mem of a kernel thread cannot be opened",
    ("debug", "hostile.descriptor_floods"): QUARANTINE,
    ("debug", "lifetime.descriptors_freed"): QUARANTINE,
}

# Ordered so that one boot after the other is made.
PARAMETERS = [
    pytest.param(kernel, case, id=f"{kernel}-{case}")
    for kernel in KERNELS
    for case in sorted(cases_of(kernel), key=lambda case: (boot_of(case), case))
]


@pytest.mark.parametrize(("kernel", "case"), PARAMETERS)
def test_case(boots: Boots, kernel: str, case: str) -> None:
    boot = boots.get(kernel, boot_of(case))
    if case in boot.failed:
        pytest.fail(boot.failed[case], pytrace=False)
    remark = boot.passed[case]
    if remark.startswith("SKIP"):
        if (kernel, case) not in LACKS:
            pytest.fail(f"left itself out: {remark}", pytrace=False)
        pytest.skip(f"{LACKS[kernel, case]} ({remark})")


@pytest.mark.parametrize("kind", BOOTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_log_clean(boots: Boots, kernel: str, kind: str) -> None:
    boot = boots.get(kernel, kind)
    if not boot.told:
        # Only by -k: without it every kernel has cases of both kinds.
        pytest.skip("no case was selected")
    splats = boot.splats
    if splats:
        pytest.fail("\n\n".join(splats), pytrace=False)


def test_cases_are_known() -> None:
    """The pattern that reads case names from the sources misses none."""
    cases = all_cases()
    assert len(cases) == len(set(cases))
    assert {boot_of(case) for case in cases} == set(BOOTS)
    assert {case.split(".")[0] for case in cases} >= set(KERNELS_OF_GROUP)
