# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own tests of KSM, unmodified, on the module: `make test-kernel-selftests`.

They look at /sys/kernel/mm/ksm and mark memory by madvise() or prctl(); `guest` lets them find the
module there, which takes the marked memory in by adopt_mergeable.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "tests/vm/lib"))

import ksmvm  # noqa: E402  (the path above comes first)

MODES = {
    "merge": "-M -p 10",
    "merge_read_only": "-M -p 10 -a r",
    "merge_many": "-M -p 200",
    "unmerge": "-U",
    "zero_pages_off": "-Z -p 10 -z 0",
    "zero_pages_on": "-Z -p 10 -z 1",
    "across_nodes": "-N -m 1",
    "within_nodes": "-N -m 0",
    "merge_time": "-P -s 32",
    "merge_time_huge": "-H -s 32",
    "unmerge_time": "-D -s 32",
    "cow_time": "-C",
    "merge_prctl": "-M -p 10 -t 1",
}
# A kernel that cannot do what the mode asks for.
LACKS = {("6.1", "merge_prctl"): "PR_SET_MEMORY_MERGE came with 6.4"}

RUN = re.compile(r"^== begin (\w+)\n(.*?)^== end \1 (\d+)$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def program() -> Path:
    built = subprocess.run([HERE / "build"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def results(program: Path) -> dict[str, dict[str, tuple[int, str]]]:
    return {}


def run_all(kernel: str, program: Path) -> dict[str, tuple[int, str]]:
    """Exit status and words of each mode."""
    lines = ["guest setup || exit", *(f"guest {mode} {arguments}" for mode, arguments in MODES.items()), "rmmod ksm"]
    files = {
        "/bin/ksm_tests": program,
        "/bin/guest": HERE / "guest",
        "/ksm.ko": ksmvm.build_module(kernel),
    }
    vm = ksmvm.ModuleVM(kernel, smp=2, append="numa=fake=2")
    result = vm.run("\n".join(lines), files, timeout=900)
    logs = Path(os.environ.get("KSM_CACHE") or REPOSITORY / ".cache") / "selftests"
    (logs / f"{kernel}.out").write_text(result.output)
    assert not result.splats, "\n\n".join(result.splats)
    assert result.status == 0, result.output
    return {mode: (int(status), words) for mode, words, status in RUN.findall(result.output)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernel", ksmvm.KERNELS)
def test_mode(kernel: str, mode: str, program: Path, results: dict[str, dict[str, tuple[int, str]]]) -> None:
    if kernel not in results:
        results[kernel] = run_all(kernel, program)
    status, words = results[kernel][mode]
    if status and (kernel, mode) in LACKS:
        pytest.skip(LACKS[kernel, mode])
    assert status == 0, words
