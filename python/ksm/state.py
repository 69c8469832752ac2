# SPDX-License-Identifier: GPL-2.0-or-later
"""What a reload took from the old build, kept on disk until the new one has all of it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksm import turn
from ksm.device import ThreadInfo
from ksm.errors import KsmError
from ksm.handover import Held
from ksm.kmod import Build
from ksm.region import Region
from ksm.table import Value

FILE = turn.RELOAD
_FORMAT = 1


@dataclass(frozen=True)
class State:
    """The old build, which loading of it, its pace and tunables, and regions without memory."""

    build: Build
    instance: int | None
    began: str
    pace: ThreadInfo
    tunables: dict[str, Value]
    held: Sequence[Held]

    @classmethod
    def load(cls, system: str | Path = "/") -> State | None:
        """Return what an interrupted reload left, None when there was none. Raises KsmError."""
        file = Path(system, FILE)
        try:
            with file.open(encoding="ascii") as stream:
                return cls._from_json(json.load(stream))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise KsmError(
                f"{file} is not what this version of ksmctl wrote ({error!r}); register again what "
                "it names, then remove it"
            ) from error

    def save(self, system: str | Path = "/") -> None:
        """Put it on disk for root alone, whole or not at all."""
        file = Path(system, FILE)
        temporary = file.with_suffix(".new")
        text = json.dumps(self._as_json(), indent=1)
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(fd)
        temporary.rename(file)

    def _as_json(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "build": self.build._asdict(),
            "instance": self.instance,
            "began": self.began,
            "pace": self.pace._asdict(),
            "tunables": self.tunables,
            "regions": [{**one.region._asdict(), "identity": list(one.identity)} for one in self.held],
        }

    @classmethod
    def _from_json(cls, fields: dict[str, Any]) -> State:
        if fields["format"] != _FORMAT:
            raise ValueError(f"format {fields['format']}")
        held = []
        for region in fields["regions"]:
            identity = region.pop("identity")
            held.append(Held(Region(**region), identity, None))
        return cls(
            build=Build(**fields["build"]),
            instance=fields["instance"],
            began=str(fields["began"]),
            pace=ThreadInfo(**fields["pace"]),
            tunables=dict(fields["tunables"]),
            held=held,
        )


def now() -> str:
    """Return the time of day as it is told to people."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z")


def forget(system: str | Path = "/") -> None:
    """Remove what was saved."""
    Path(system, FILE).unlink(missing_ok=True)


def alone(system: str | Path = "/") -> contextlib.AbstractContextManager[None]:
    """Keep a second reload from beginning. Raises KsmError when one is under way."""
    return turn.locked(system, "reload.lock", "another reload is under way; wait for it")
