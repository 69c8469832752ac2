# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that carry tunables over a reboot, one format per engine.

Lines that are not about the engine's tunables belong to the administrator and
are kept as they are.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from typing import Protocol, Union

Value = Union[int, str]


class Mover(Protocol):
    """The part of AnsibleModule that writing takes."""

    tmpdir: str

    def atomic_move(self, src: str, dest: str) -> None:
        """Replace one file by another."""


HEADER = "# Tunables of samepage merging, written by ksm.fleet.ksm_tunables"


def _typed(text: str) -> Value:
    """Return numbers as numbers, so that desired and observed compare."""
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text


class ModprobeOptions:
    """``options ksm NAME=VALUE ...`` in modprobe.d: read when ksm.ko loads."""

    path = "/etc/modprobe.d/ksm.conf"
    _line = re.compile(r"^\s*options\s+ksm\s+(?P<rest>.*)$")

    def parse(self, text: str) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for line in text.splitlines():
            match = self._line.match(line)
            if match:
                for word in match["rest"].split():
                    name, equals, value = word.partition("=")
                    # "options ksm run" is a boolean set: modprobe passes it bare.
                    values[name] = _typed(value) if equals else 1
        return values

    def foreign(self, text: str) -> list[str]:
        return _foreign(text, self._line)

    def lines(self, values: Mapping[str, Value]) -> list[str]:
        if not values:
            return []
        return ["options ksm " + " ".join(f"{k}={v}" for k, v in values.items())]


class Tmpfiles:
    """``w`` lines in tmpfiles.d: written to the built-in engine at boot."""

    path = "/etc/tmpfiles.d/ksm-fleet.conf"
    _line = re.compile(
        r"^\s*w[!+-]*\s+/sys/kernel/mm/ksm/(?P<name>[a-z_]+)"
        r"\s+\S+\s+\S+\s+\S+\s+\S+\s+(?P<value>\S+)\s*$"
    )

    def parse(self, text: str) -> dict[str, Value]:
        matches = (self._line.match(line) for line in text.splitlines())
        return {m["name"]: _typed(m["value"]) for m in matches if m}

    def foreign(self, text: str) -> list[str]:
        return _foreign(text, self._line)

    def lines(self, values: Mapping[str, Value]) -> list[str]:
        return [f"w /sys/kernel/mm/ksm/{name} - - - - {value}" for name, value in values.items()]


Format = Union[ModprobeOptions, Tmpfiles]

FORMATS: dict[str, Format] = {"module": ModprobeOptions(), "kernel": Tmpfiles()}


def _foreign(text: str, ours: re.Pattern[str]) -> list[str]:
    return [line for line in text.splitlines() if not ours.match(line) and line.strip() != HEADER]


def read(path: str) -> str:
    """Return the text of *path*, empty when there is no such file."""
    try:
        # What others wrote there is kept, in whatever encoding it is.
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def write(module: Mover, path: str, text: str) -> None:
    """Replace *path* by *text* at one stroke; no text, no file."""
    if not text:
        if os.path.lexists(path):
            os.unlink(path)
        return
    fd, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
    module.atomic_move(temporary, path)
    os.chmod(path, 0o644)


def render(form: Format, text: str, values: Mapping[str, Value]) -> str:
    """Return *text* with the tunables replaced by *values*.

    Empty when nothing but our own header would be left: no file is needed.
    """
    foreign = form.foreign(text)
    ours = form.lines(values)
    if not ours and not any(line.strip() for line in foreign):
        return ""
    head = [HEADER] if ours else []
    return "\n".join([*head, *foreign, *ours]) + "\n"


def order(values: Mapping[str, Value], names: Iterable[str]) -> dict[str, Value]:
    """Return *values* in the order in which an engine takes them.

    ``run`` comes last, so that merging starts with all the rest in force.
    """
    known = [name for name in names if name in values and name != "run"]
    rest = sorted(name for name in values if name not in known and name != "run")
    last = ["run"] if "run" in values else []
    return {name: values[name] for name in [*known, *rest, *last]}
