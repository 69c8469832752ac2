# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines that tell how far a long command is, each with the time since it began."""

from __future__ import annotations

import time


class Progress:
    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        elapsed = int(time.monotonic() - self._start)
        print(f"[{elapsed // 60:2}:{elapsed % 60:02}] {text}", flush=True)
