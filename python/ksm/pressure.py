# SPDX-License-Identifier: GPL-2.0-or-later
"""Pressure stall information (PSI) of memory."""

from __future__ import annotations

import re
from pathlib import Path

_FILE = "proc/pressure/memory"


def memory(root: Path) -> float | str:
    """Percentage of the last minute in which some task waited for memory; or why it is unknown."""
    file = root / _FILE
    try:
        text = file.read_text(encoding="ascii")
    except OSError:
        # Without PSI the file is missing, or reading it fails, by kernel.
        text = ""
    match = re.search(r"^some .*\bavg60=([0-9.]+)", text, re.MULTILINE)
    if match:
        return float(match[1])
    return f"this kernel does not tell memory pressure (no {file}); boot it with psi=1, or leave the expectation out"
