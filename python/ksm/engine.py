# SPDX-License-Identifier: GPL-2.0-or-later
"""The two engines, read and written through sysfs.

"module" is ksm.ko (/sys/class/misc/ksm), "kernel" the built-in ksmd (/sys/kernel/mm/ksm).
Attributes of one name mean the same in both. A host may lack any of them: kernels and
modules of different age have different sets.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ksm import procfs
from ksm.errors import EngineUnavailable, NoSuchAttribute
from ksm.table import COUNTERS, ENGINES, TUNABLES, EngineName, Value
from ksm.turn import RELOAD

_SYSFS: dict[EngineName, str] = {"module": "sys/class/misc/ksm", "kernel": "sys/kernel/mm/ksm"}
_REMEDY: dict[EngineName, str] = {
    "module": "load the module: modprobe ksm",
    "kernel": "this kernel was built without CONFIG_KSM; use the module: modprobe ksm",
}
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]*")


class Engine:
    """One engine of this host.

    name: "module" or "kernel".
    root: directory of its attributes, by default where sysfs has it (is_of_the_host).
    system: directory that stands for "/" when root is not given, and for /proc and /sys/module.
    """

    def __init__(
        self,
        name: EngineName,
        root: str | Path | None = None,
        system: str | Path = "/",
    ) -> None:
        if name not in ENGINES:
            raise EngineUnavailable(f"engine {name!r} is unknown; write module or kernel")
        self.name = name
        self.system = Path(system)
        self.root = self.system / _SYSFS[name] if root is None else Path(root)
        self.proc = self.system / "proc"
        self.is_of_the_host = root is None

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, {str(self.root)!r})"

    @classmethod
    def module(cls, system: str | Path = "/") -> Engine:
        """Return ksm.ko's engine."""
        return cls("module", system=system)

    @classmethod
    def kernel(cls, system: str | Path = "/") -> Engine:
        """Return the built-in engine of the kernel."""
        return cls("kernel", system=system)

    def other(self) -> Engine | None:
        """Return the other engine when it is present on this host."""
        if not self.is_of_the_host:
            return None
        other = Engine("kernel" if self.name == "module" else "module", system=self.system)
        return other if other.present() else None

    def present(self) -> bool:
        """Whether the engine is on this host: loaded, or built in."""
        return (self.root / "run").is_file()

    def require(self) -> None:
        """Raise EngineUnavailable with the remedy when the engine is not present."""
        if not self.present():
            raise EngineUnavailable(
                f"the {self.name} engine is not there ({self.root} is missing); {_REMEDY[self.name]}"
            )

    def has(self, name: str) -> bool:
        """Whether the engine has an attribute of that name."""
        return self._path(name).is_file()

    def read(self, name: str) -> Value:
        """Value of an attribute: a number, the chosen word of "[none] scan-time", or a list.

        Raises NoSuchAttribute, EngineUnavailable.
        """
        try:
            text = self._path(name).read_text(encoding="ascii").strip()
        except OSError as error:
            # ENODEV: the module went away between open and read.
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            self.require()
            raise NoSuchAttribute(f"{name}: {self._lacks()}") from error
        tunable = TUNABLES.get(name)
        if tunable is not None and tunable.kind == "users":
            return text
        if re.fullmatch(r"-?[0-9]+", text):
            return int(text)
        chosen = re.search(r"\[([^]]+)\]", text)
        return chosen.group(1) if chosen else text

    def write(self, name: str, value: Value) -> None:
        """Write one attribute as it is, unchecked; use ksm.tunables.apply().

        Raises OSError with the kernel's answer.
        """
        # Never O_CREAT: where the attribute is missing there is nothing to make.
        fd = os.open(self._path(name), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, f"{value}\n".encode("ascii"))
        finally:
            os.close(fd)

    def tunables(self) -> dict[str, Value]:
        """Tunables that this engine has, and their values."""
        return self._read_all(TUNABLES)

    def counters(self) -> dict[str, int]:
        """Counters that this engine has; units are in ksm.table.COUNTERS.

        general_profit is signed. The module's may be 0.2 s old.
        """
        return {name: int(value) for name, value in self._read_all(COUNTERS).items()}

    def thread_pid(self) -> int | None:
        """Pid of the thread that scans; None when it is not seen from here."""
        if self.name == "kernel":
            return procfs.find_kernel_thread("ksmd", self.proc)
        try:
            return int(self.read("thread_pid")) or None
        except NoSuchAttribute:
            return None

    def thread_pids(self) -> list[int]:
        """Pids of all threads that scan, the leader's first; empty when none is seen from here."""
        try:
            pids = [int(word) for word in str(self.read("thread_pids")).split()]
        except NoSuchAttribute:
            pids = [self.thread_pid() or 0]
        return [pid for pid in pids if pid]

    def thread_cpu_seconds(self) -> float | None:
        """CPU time that the threads there are have used so far, in seconds; None when not seen."""
        stats = [procfs.read_stat(pid, self.proc) for pid in self.thread_pids()]
        seconds = [stat.cpu_seconds for stat in stats if stat is not None]
        return sum(seconds) if seconds else None

    def saved_bytes(self) -> int:
        """Bytes of memory that merging saves now: further mappings and zero pages.

        What the engine itself uses is not taken off; general_profit has that.
        """
        return _saved_bytes(self.counters())

    def version(self) -> str | None:
        """Version of the engine: the module's (None when it has none), or the kernel release."""
        if self.name == "kernel":
            return os.uname().release
        try:
            file = self.system / "sys/module/ksm/version"
            # Empty in a module that was built by hand.
            return file.read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None

    def snapshot(self) -> dict[str, object]:
        """All that is known of the engine, ready for JSON.

        Always there: engine, path, kernel (release), page_size (bytes), tunables, counters,
        saved_bytes. There when known: version (of the module), thread_pid,
        thread_cpu_seconds. Raises EngineUnavailable.
        """
        self.require()
        counters = self.counters()
        snapshot: dict[str, object] = {
            "engine": self.name,
            "path": str(self.root),
            "kernel": os.uname().release,
            "page_size": _page_size(),
            "tunables": self.tunables(),
            "counters": counters,
            "saved_bytes": _saved_bytes(counters),
        }
        optional = {
            "version": self.version() if self.name == "module" else None,
            "thread_pid": self.thread_pid(),
            "thread_cpu_seconds": self.thread_cpu_seconds(),
        }
        snapshot.update({key: value for key, value in optional.items() if value is not None})
        return snapshot

    def _path(self, name: str) -> Path:
        if not _ATTRIBUTE.fullmatch(name):
            raise NoSuchAttribute(f"{name!r} is no name of an attribute")
        return self.root / name

    def _lacks(self) -> str:
        of_what = f"the {self.name} engine of this host" if self.is_of_the_host else str(self.root)
        return f"{of_what} has no such attribute"

    def _read_all(self, names: Iterable[str]) -> dict[str, Value]:
        values = {}
        for name in names:
            try:
                values[name] = self.read(name)
            except NoSuchAttribute:
                continue
        return values


def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def _saved_bytes(counters: dict[str, int]) -> int:
    pages = counters.get("pages_sharing", 0) + counters.get("ksm_zero_pages", 0)
    return pages * _page_size()


def available_engines(system: str | Path = "/") -> list[Engine]:
    """Engines of this host, the module first."""
    engines = [Engine(name, system=system) for name in ENGINES]
    return [engine for engine in engines if engine.present()]


def select(name: str = "auto", system: str | Path = "/") -> Engine:
    """Return the engine of that name; "auto" is the module where it is loaded, else the kernel's.

    Raises EngineUnavailable with the remedy.
    """
    if name == "auto":
        engines = available_engines(system)
        if not Engine.module(system).present() and Path(system, RELOAD).exists():
            raise EngineUnavailable(
                "a reload of the module is under way, or was interrupted: ksmctl reload goes on with it"
            )
        if not engines:
            raise EngineUnavailable(
                "no engine is there: the module is not loaded (modprobe ksm) and this kernel was "
                "built without CONFIG_KSM"
            )
        return engines[0]
    for known in ENGINES:
        if name == known:
            engine = Engine(known, system=system)
            engine.require()
            return engine
    raise EngineUnavailable(f"engine {name!r} is unknown; write auto, module or kernel")
