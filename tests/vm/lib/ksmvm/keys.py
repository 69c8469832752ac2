# SPDX-License-Identifier: GPL-2.0-or-later
"""SSH keys of the test hosts: made once per cache, worth nothing elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ksmvm.lock import locked
from ksmvm.paths import cache
from ksmvm.process import run


@dataclass(frozen=True)
class Keys:
    user_private: Path
    user_public: Path
    host_private: Path
    host_public: Path


def ensure_keys() -> Keys:
    folder = cache("keys")
    folder.mkdir(parents=True, exist_ok=True)
    with locked("keys"):
        for name in ("user", "host"):
            if not (folder / f"{name}.pub").exists():
                (folder / name).unlink(missing_ok=True)
                run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"ksmvm-{name}"]
                    + ["-f", os.fspath(folder / name)]
                )
    return Keys(folder / "user", folder / "user.pub", folder / "host", folder / "host.pub")
