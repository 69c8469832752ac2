# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured, and in what order: the engines take turns."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

# Every workload of guest/workloads.c.
WORKLOADS = ("clones", "mix", "unique", "zero", "volatile", "small", "huge", "guests", "programs")
# Slow to start, and large: one round tells.
LARGE = ("guests", "programs")
QUICK_WORKLOADS = tuple(name for name in WORKLOADS if name not in LARGE)
PARTS = ("merging", "profile", "scale", "pace", "effect", "threads")
# With duplicates only, with some, without.
PROFILED = ("clones", "mix", "unique")
# smart_scan came with 6.7, PR_SET_MEMORY_MERGE with 6.4.
OLD_KERNELS = ("6.1",)
PROGRAM = "/bin/ksm-bench"
GUESTS, GUEST_MIB = 3, 40
# Two huge pages for each process; images as they are; the database of each program, which itself is larger.
LEAST_MIB = {"huge": 16, "guests": GUESTS * GUEST_MIB, "programs": 16}


@dataclass(frozen=True)
class Size:
    """How much is measured; MiB of memory in a workload."""

    mib: int
    rounds: int
    passes: int
    scale: tuple[int, ...]
    scale_procs: tuple[int, ...]
    pace_mib: int
    pace_seconds: int


# So much for the pace that the built-in one needs a dozen seconds for a pass: with less it keeps up.
FULL = Size(16, 3, 32, (1, 4, 16), (4, 16, 64), 256, 40)
QUICK = Size(4, 1, 8, (1, 4), (4, 16), 8, 12)


@dataclass(frozen=True)
class Measurement:
    """One call of the program in the VM; `key` comes back with its result."""

    measure: str
    part: str
    engine: str
    workload: str
    mib: int
    round: int = 0
    options: tuple[tuple[str, str], ...] = ()
    key: dict[str, object] = field(default_factory=dict)

    @property
    def programs(self) -> bool:
        return self.workload == "programs"

    def command(self) -> str:
        label = {
            "part": self.part,
            "engine": self.engine,
            "workload": self.workload,
            "mib": self.mib,
            "round": self.round,
            **self.key,
        }
        words = [PROGRAM, self.measure, "--engine", self.engine, "--workload", self.workload]
        words += ["--mib", str(self.mib)]
        for name, value in self.options:
            words += [f"--{name}", value]
        return shlex.join([*words, "--label", json.dumps(label)])


def engines(kernel: str) -> tuple[str, ...]:
    """All, the module's first."""
    both = ("module", "ksmd", "module-smart", "ksmd-smart")
    return tuple(name for name in both if not (kernel in OLD_KERNELS and name == "ksmd-smart"))


def _can(kernel: str, engine: str, workload: str) -> bool:
    """Without PR_SET_MEMORY_MERGE ksmd is deaf to programs that know nothing of it."""
    return not (workload == "programs" and kernel in OLD_KERNELS and engine.startswith("ksmd"))


def _mib(size: Size, workload: str) -> int:
    # Images have what they have.
    return LEAST_MIB[workload] if workload == "guests" else max(size.mib, LEAST_MIB.get(workload, 0))


def usual_ksmd(kernel: str) -> str:
    """As it is after boot."""
    return "ksmd" if kernel in OLD_KERNELS else "ksmd-smart"


def plan(kernel: str, size: Size, parts: Sequence[str], workloads: Sequence[str]) -> list[Measurement]:
    """Without the part `threads`, which wants another machine."""
    steps: list[Measurement] = []
    if "merging" in parts:
        steps += _merging(kernel, size, workloads)
    if "profile" in parts:
        steps += _profile(size)
    if "scale" in parts:
        steps += _scale(kernel, size)
    if "pace" in parts:
        steps += _pace(kernel, size)
    if "effect" in parts:
        steps += _effect(kernel, size, workloads)
    return steps


def _merging(kernel: str, size: Size, workloads: Sequence[str]) -> Iterator[Measurement]:
    options = (("passes", str(size.passes)),)
    for number in range(size.rounds):
        for workload in workloads:
            if workload in LARGE and number:
                continue
            for engine in engines(kernel):
                if _can(kernel, engine, workload):
                    yield Measurement("merging", "merging", engine, workload, _mib(size, workload), number, options)


def _profile(size: Size) -> Iterator[Measurement]:
    for workload in PROFILED:
        for engine in ("module", "ksmd"):
            yield Measurement("profile", "profile", engine, workload, size.mib)


def _scale(kernel: str, size: Size) -> Iterator[Measurement]:
    base = Measurement("merging", "scale", "", "mix", size.mib)
    largest = max(size.scale)
    for engine in ("module", "ksmd"):
        for factor in size.scale:
            passes = (("passes", str(4 if factor == largest else 8)),)
            yield replace(base, engine=engine, mib=size.mib * factor, options=passes, key={"by": "memory"})
        for procs in size.scale_procs:
            both = (("passes", "8"), ("procs", str(procs)))
            yield replace(base, engine=engine, options=both, key={"by": "processes", "procs": procs})


def _pace(kernel: str, size: Size) -> Iterator[Measurement]:
    ksmd = usual_ksmd(kernel)
    for dynamic in (0, 1):
        # Each as it is when nobody changes it. The module's pace takes several tries.
        for engine in (ksmd, "module-smart"):
            options = (
                ("seconds", str(size.pace_seconds)),
                ("dynamic", str(dynamic)),
                ("like", f"/tmp/cpu-{dynamic}"),
            )
            yield Measurement("pace", "pace", engine, "mix", size.pace_mib, 0, options, {"dynamic": dynamic})


def _effect(kernel: str, size: Size, workloads: Sequence[str]) -> Iterator[Measurement]:
    workloads = [name for name in ("mix", "programs") if name in ("mix", *workloads)]
    for number in range(size.rounds):
        for engine in ("off", "module", usual_ksmd(kernel)):
            for workload in workloads:
                if _can(kernel, engine, workload):
                    yield Measurement("effect", "effect", engine, workload, _mib(size, workload), number)


def plan_threads(size: Size) -> list[Measurement]:
    """For a machine with two CPUs that really run side by side."""
    steps: list[Measurement] = []
    for number in range(max(size.rounds, 3)):
        for threads in (1, 2):
            options = (("threads", str(threads)), ("passes", str(size.passes)))
            key: dict[str, object] = {"threads": threads}
            steps.append(Measurement("threads", "threads", "module", "unique", 4 * size.mib, number, options, key))
    return steps


def script(steps: Sequence[Measurement]) -> str:
    """For the VM's shell. One that fails does not end the rest."""
    lines = []
    if any(step.programs for step in steps):
        # Programs are servers.
        lines.append("ip link set lo up")
        lines.append("echo '# a first start, for what Python keeps of it'")
        lines.append("/usr/bin/python3 -I /usr/share/ksm-bench/program.py 0 0 --once")
    for number, step in enumerate(steps, 1):
        lines.append(f"echo '# {number}/{len(steps)} {step.part} {step.workload} {step.mib} MiB {step.engine}'")
        lines.append(f"{step.command()} 2>/tmp/trouble || {{ echo '! measurement {number}'; cat /tmp/trouble; }}")
    return "\n".join(lines)
