#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run real memory on a host, have it merged, and tell what came of it.

    workload.py start      guests and readers that are not running; register the readers
    workload.py merged     wait until what was made identical is merged
    workload.py look       every process verifies its contents
    workload.py rewrite    every process writes to some of its merged pages, and verifies
    workload.py report     what the processes, and the engine, say of their memory
    workload.py watch      look again and again what is merged of the processes, from now on
    workload.py watched    the least that was merged meanwhile, in pages; the watch ends
    workload.py stop

Two kinds of processes: QEMU guests under KVM, which the engine adopts since QEMU marks their
memory mergeable, and readers, registered by ksmctl. Every command prints JSON.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

HERE = Path(__file__).resolve().parent
RUN = Path("/run/ksm-workload")
WATCH = RUN / "watch.json"
SIZES: dict[str, int] = json.loads((HERE / "sizes.json").read_text())
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
# Emulated, and side by side with other hosts.
TIMEOUT = 900.0
ENGINE = Path("/sys/class/misc/ksm")
# What is dear under emulation is left out. The emulated TSC is measured wrongly on busy cores.
GUEST_KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 acpi=off mitigations=off tsc=unstable"
VMA = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)")

Json = dict[str, Any]


def fail(text: str) -> None:
    sys.exit(f"workload: {text}")


def wait_for(what: str, done: Callable[[], bool], timeout: float = TIMEOUT) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            fail(f"{what}: not after {timeout:g} s")
        time.sleep(0.5)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        fail(f"exit status {done.returncode} of {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Process:
    """A transient service of systemd: it ends with the boot and leaves nothing behind."""

    kind = ""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"ksm-{self.kind}-{number}"

    def pid(self) -> int:
        return int(run("systemctl", "show", "-p", "MainPID", "--value", self.name))

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> bool:
        if self.pid():
            return False
        RUN.mkdir(exist_ok=True)
        for leftover in RUN.glob(f"{self.kind}-{self.number}.*"):
            leftover.unlink()
        run("systemd-run", "--quiet", "--collect", f"--unit={self.name}", *self.command())
        return True

    def looks(self) -> int:
        """How often it has verified its contents."""
        raise NotImplementedError

    def settled(self) -> bool:
        """Whether it has filled its memory, or ended."""
        return self.looks() > 0 or not self.pid()

    def ask(self, rewrite: bool) -> None:
        raise NotImplementedError

    def verdict(self) -> str:
        """What it said of its contents at the last look."""
        raise NotImplementedError

    def common(self, vmas: list[Json]) -> Json:
        """The memory of which a part is identical in all processes of the kind."""
        raise NotImplementedError

    def common_pages(self) -> int:
        raise NotImplementedError


class Guest(Process):
    kind = "guest"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.line = RUN / f"guest-{number}.socket"
        self.log = RUN / f"guest-{number}.log"

    def command(self) -> list[str]:
        return [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-M", "pc,accel=kvm", "-cpu", "host", "-m", str(SIZES["guest_mib"]), "-no-reboot"),
            *("-kernel", f"/boot/vmlinuz-{os.uname().release}"),
            *("-initrd", str(HERE / "guest.initramfs")),
            *("-append", f"{GUEST_KERNEL_ARGUMENTS} guest={self.number}"),
            "-chardev",
            f"socket,id=line,path={self.line},server=on,wait=off,logfile={self.log}",
            *("-serial", "chardev:line"),
        ]

    def _told(self) -> list[str]:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return re.findall(rf"^guest {self.number}: (.*?)\r?$", text, re.MULTILINE)

    def looks(self) -> int:
        return len(self._told())

    def ask(self, rewrite: bool) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.line))
            line.sendall(f"rewrite {SIZES['pages_rewritten']}\n".encode() if rewrite else b"look\n")
            before = self.looks()
            wait_for(f"{self.name} answers", lambda: self.looks() > before, 120)

    def verdict(self) -> str:
        told = self._told()
        broken = [text for text in told if "broken" in text]
        return "; ".join(broken) or told[-1]

    def common(self, vmas: list[Json]) -> Json:
        # The guest's own memory is by far the largest.
        return max(vmas, key=lambda vma: vma["pages"])

    def common_pages(self) -> int:
        return SIZES["guest_common_mib"] * MIB // PAGE


class Reader(Process):
    kind = "reader"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.state_file = RUN / f"reader-{number}.json"

    def command(self) -> list[str]:
        names = ("reader_common_mib", "reader_own_mib", "pages_rewritten")
        sizes = [str(SIZES[name]) for name in names]
        script = str(HERE / "reader.py")
        return [sys.executable, script, str(self.number), str(self.state_file), *sizes]

    def register(self) -> None:
        """Once; the engine forgets it when the process ends."""
        pid = str(self.pid())
        done = RUN / f"reader-{self.number}.registered"
        if not done.exists() or done.read_text() != pid:
            run("ksmctl", "register", f"--pid={pid}")
            done.write_text(pid)

    def state(self) -> Json:
        state: Json = json.loads(self.state_file.read_text())
        return state

    def looks(self) -> int:
        return int(self.state()["looks"]) if self.state_file.exists() else 0

    def ask(self, rewrite: bool) -> None:
        before = self.looks()
        os.kill(self.pid(), signal.SIGUSR2 if rewrite else signal.SIGUSR1)
        wait_for(f"{self.name} answers", lambda: self.looks() > before, 120)

    def verdict(self) -> str:
        state = self.state()
        what = "intact" if state["intact"] else "broken"
        return f"look {state['looks']}: {what}"

    def common(self, vmas: list[Json]) -> Json:
        address = self.state()["common"]["address"]
        pages = self.state()["common"]["pages"]
        # The kernel may join it with a neighbour.
        return next(v for v in vmas if v["start"] <= address and address + pages * PAGE <= v["end"])

    def common_pages(self) -> int:
        # What it wrote to is like no other reader's any more.
        state = self.state()
        return int(state["common"]["pages"]) - int(state["pages_written"])


PROCESSES: list[Process] = [
    *(Guest(number + 1) for number in range(SIZES["guests"])),
    *(Reader(number + 1) for number in range(SIZES["readers"])),
]


def anonymous_vmas(pid: int) -> list[Json]:
    """Memory without a file behind it, as the kernel accounts it, in pages.

    Pages that the module merged are resident and are no anonymous memory any more.
    """
    vmas: list[Json] = []
    current: Optional[Json] = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        found = VMA.match(line)
        if found:
            start, end = int(found[1], 16), int(found[2], 16)
            current = {"start": start, "end": end, "pages": (end - start) // PAGE}
            special = line.endswith(("[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"))
            if found[3] == "0" and not special:
                vmas.append(current)
        elif current is not None:
            name, _, value = line.partition(":")
            if name in ("Rss", "Pss", "Anonymous", "Swap"):
                current[name.lower()] = int(value.split()[0]) * 1024 / PAGE
    for vma in vmas:
        vma["merged"] = vma["rss"] - vma["anonymous"]
    return vmas


def describe(process: Process) -> Json:
    pid = process.pid()
    if not pid:
        fail(f"{process.name} is not running: see journalctl -u {process.name}")
    vmas = anonymous_vmas(pid)
    return {
        "name": process.name,
        "kind": process.kind,
        "pid": pid,
        "verdict": process.verdict(),
        "common_pages": process.common_pages(),
        "pages_rewritten": SIZES["pages_rewritten"],
        "common": process.common(vmas),
        "merged": sum(vma["merged"] for vma in vmas),
        "anonymous": sum(vma["anonymous"] for vma in vmas),
        "pss": sum(vma["pss"] for vma in vmas),
    }


def counter(name: str) -> int:
    return int((ENGINE / name).read_text())


def report() -> Json:
    engine = json.loads(run("ksmctl", "status", "--json", "--engine", "module"))
    return {"engine": engine, "processes": [describe(process) for process in PROCESSES]}


@contextmanager
def merging_stopped() -> Iterator[None]:
    """A guest that boots writes all over its memory; to merge it meanwhile doubles the time."""
    control = ENGINE / "run"
    if not control.exists() or control.read_text().strip() != "1":
        yield
        return
    control.write_text("0")
    try:
        yield
    finally:
        control.write_text("1")


def start() -> Json:
    run("modprobe", "kvm_amd")
    started: list[str] = []
    with merging_stopped():
        # One after the other: guests that boot side by side on one emulated CPU spend much of
        # their shares of it on timer interrupts.
        for process in PROCESSES:
            if process.start():
                started.append(process.name)
            wait_for(f"{process.name} has filled its memory", process.settled)
    broken = [p.name for p in PROCESSES if not p.pid() or "intact" not in p.verdict()]
    if broken:
        fail(f"not as they should be: {', '.join(broken)}; see {RUN} and journalctl")
    for process in PROCESSES:
        if isinstance(process, Reader):
            process.register()
    return {"started": started}


def merged() -> Json:
    """Until every process has merged what is common to its kind, and two more passes."""
    began = time.monotonic()

    def enough() -> bool:
        return all(
            process.common(anonymous_vmas(process.pid()))["merged"] >= 0.99 * process.common_pages()
            for process in PROCESSES
        )

    wait_for("merging", enough)
    passes = counter("full_scans")
    wait_for("two more passes", lambda: counter("full_scans") >= passes + 2)
    return {"seconds": round(time.monotonic() - began, 1), "full_scans": counter("full_scans")}


def ask_all(rewrite: bool) -> Json:
    for process in PROCESSES:
        process.ask(rewrite)
    return {process.name: process.verdict() for process in PROCESSES}


def watch() -> Json:
    WATCH.unlink(missing_ok=True)
    run("systemd-run", "--quiet", "--collect", "--unit=ksm-watch", sys.executable, __file__, "watching")
    wait_for("the watch has begun", WATCH.exists)
    return watch_state()


def watching() -> Json:
    """In a service of its own: the engine's counters do not tell, since they begin anew with a module.

    Whoever ends has nothing merged. To merge again what was unmerged takes longer than a pause between looks.
    """
    pids = {process: process.pid() for process in PROCESSES}
    state: Json = {"first": None, "least": None, "looks": 0}

    def merged_of(process: Process) -> int:
        try:
            return int(process.common(anonymous_vmas(pids[process]))["merged"])
        except (OSError, ValueError, StopIteration):
            return 0

    while True:
        now = sum(merged_of(process) for process in PROCESSES)
        state["looks"] += 1
        state["first"] = now if state["first"] is None else state["first"]
        state["least"] = now if state["least"] is None else min(now, state["least"])
        partial = WATCH.with_suffix(".partial")
        partial.write_text(json.dumps(state))
        partial.rename(WATCH)
        time.sleep(3)


def watch_state() -> Json:
    state: Json = json.loads(WATCH.read_text())
    return state


def watched() -> Json:
    run("systemctl", "stop", "ksm-watch")
    return watch_state()


def stop() -> Json:
    running = [process.name for process in PROCESSES if process.pid()]
    if running:
        run("systemctl", "stop", *running)
    return {"stopped": running}


def main() -> None:
    commands: dict[str, Callable[[], Json]] = {
        "start": start,
        "merged": merged,
        "look": lambda: ask_all(rewrite=False),
        "rewrite": lambda: ask_all(rewrite=True),
        "report": report,
        "watch": watch,
        "watching": watching,
        "watched": watched,
        "stop": stop,
    }
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        fail(f"give one of {', '.join(commands)}")
    json.dump(commands[sys.argv[1]](), sys.stdout)


main()
