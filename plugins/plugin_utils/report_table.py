# SPDX-License-Identifier: GPL-2.0-or-later
"""The report's hosts as a table for other programs."""

from __future__ import annotations

import csv
import io
from typing import Any

from .fleet_report import COLUMNS


def table(report: dict[str, Any]) -> str:
    """Return CSV with a line for each host."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for host in report["hosts"]:
        writer.writerow([_cell(host[column]) for column in COLUMNS])
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(str(each["text"]) if isinstance(each, dict) else str(each) for each in value)
    if isinstance(value, float):
        return f"{value:.3f}"
    # What a host says must not be a formula where people open the file.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
