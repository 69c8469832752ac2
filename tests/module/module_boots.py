# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots module VMs for the cases that were selected, and reads their results."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "tests/vm/lib"))

import ksmvm  # noqa: E402  (the path above comes first)

# The debug kernel only when it is asked for: KSM_TEST_KERNELS=debug.
KERNELS = tuple(os.environ.get("KSM_TEST_KERNELS", "").split()) or tuple(ksmvm.KERNELS)
CACHE = Path(os.environ.get("KSM_CACHE") or REPOSITORY / ".cache").resolve() / "module-tests"
CASE = re.compile(r"^CASE\((\w+), (\w+), \d+\)", re.MULTILINE)
RESULT = re.compile(r"^(ok|not ok) (\w+\.\w+)(?:: (.*)| # (.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Machine:
    smp: int
    append: str
    modules: tuple[str, ...]
    options: tuple[str, ...] = ()


# Races need a second CPU, of a second node, and a second thread that scans; the emulator is more
# reliable with one CPU. zram is there to swap to, and dm-delay makes a slow disk of it.
BOOTS = {
    "one-cpu": Machine(1, "", ("zram", "dm-delay")),
    "two-cpus": Machine(2, "numa=fake=2", ("zram",), ("--threads", "2")),
}
BOOT_OF_GROUP = {"race": "two-cpus", "nodes": "two-cpus"}
# Groups that only kernels can serve which were built for them, and one in which no kernel has a part: it
# does sums with what the module counted, and takes its time.
KERNELS_OF_GROUP = {"inject": (ksmvm.DEBUG,), "advisor": ("6.12", ksmvm.DEBUG)}
# To the program, before the names of cases: "--soak 4 --calls 1000000 --seed 7".
OPTIONS = tuple(os.environ.get("KSM_TEST_OPTIONS", "").split())
RUN_TIMEOUT = 1800.0
# A case that brings the VM down costs a boot; more than these are not worth the time.
CRASHES_MAX = 4


def all_cases() -> list[str]:
    """Read from the sources: pytest collects before anything is built."""
    names: list[str] = []
    for source in sorted((HERE / "cases").glob("*.c")):
        names += [".".join(found) for found in CASE.findall(source.read_text())]
    return sorted(names)


def boot_of(case: str) -> str:
    return BOOT_OF_GROUP.get(case.split(".")[0], "one-cpu")


def cases_of(kernel: str) -> list[str]:
    return [case for case in all_cases() if kernel in KERNELS_OF_GROUP.get(case.split(".")[0], (kernel,))]


@dataclass
class Boot:
    """What the cases of one kind said on one kernel."""

    passed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    splats: list[str] = field(default_factory=list)

    @property
    def told(self) -> set[str]:
        return {*self.passed, *self.failed}


class Boots:
    """Runs all selected cases of a kernel in one VM, or in one more for each crash."""

    def __init__(
        self,
        selected: set[tuple[str, str]],
        *,
        options: tuple[str, ...] = OPTIONS,
        timeout: float = RUN_TIMEOUT,
        logs: Path = CACHE,
    ) -> None:
        self._selected = selected
        self._options = options
        self._timeout = timeout
        self._logs = logs
        self._done: dict[tuple[str, str], Boot] = {}
        self._program: Path | None = None

    def get(self, kernel: str, kind: str) -> Boot:
        key = (kernel, kind)
        if key not in self._done:
            cases = sorted(c for k, c in self._selected if k == kernel and boot_of(c) == kind)
            self._done[key] = self._run(kernel, kind, cases)
        return self._done[key]

    def _build(self) -> Path:
        if self._program is None:
            if not shutil.which("gcc") or not shutil.which("make"):
                raise RuntimeError("no compiler for the test program; as root: apt-get install gcc libc6-dev make")
            subprocess.run(["make", "-s", "-C", HERE, f"OUT={CACHE}"], check=True)
            self._program = CACHE / "ksm-module-tests"
        return self._program

    def _run(self, kernel: str, kind: str, cases: list[str]) -> Boot:
        boot = Boot()
        files = {
            "/bin/ksm-module-tests": self._build(),
            "/ksm.ko": ksmvm.build_module(kernel),
        }
        patience = ksmvm.prepare(kernel).patience
        options = (*self._options, "--patience", str(patience))
        crashes = 0
        while cases:
            machine = BOOTS[kind]
            vm = ksmvm.ModuleVM(kernel, smp=machine.smp, append=machine.append)
            result = vm.run(
                ["/bin/ksm-module-tests", *machine.options, *options, *cases],
                files,
                modules=machine.modules,
                timeout=self._timeout * patience,
                stream=sys.__stdout__.buffer if sys.__stdout__ else None,
            )
            name = f"{kernel}-{kind}" + (f"-{crashes}" if crashes else "")
            (self._logs / f"{name}.out").write_text(result.output)
            (self._logs / f"{name}.log").write_text(result.kernel_log)
            boot.splats += result.splats
            for verdict, case, reason, remark in RESULT.findall(result.output):
                if verdict == "ok":
                    boot.passed[case] = remark
                else:
                    boot.failed[case] = reason
            left = [case for case in cases if case not in boot.told]
            if not left:
                break
            # The program takes them in order: the first without a word was running.
            crashes += 1
            why = result.splats[0] if result.splats else result.output[-2000:]
            boot.failed[left[0]] = f"the VM ended with status {result.status}:\n{why}"
            if crashes > CRASHES_MAX or "Bail out!" in result.output:
                boot.failed.update((case, "not run: too many crashes") for case in left[1:])
                break
            cases = left[1:]
        return boot
