# SPDX-License-Identifier: GPL-2.0-or-later
"""The versions of packages that a host's package manager can install."""

from __future__ import annotations

from collections.abc import Sequence

from .signing import Run

DNF_FORMAT = "%{name} %{version}-%{release}\n"


def available(manager: str | None, names: Sequence[str], run: Run) -> dict[str, list[str]]:
    """Return the versions by package, the newest first, as far as its lists tell."""
    if manager == "apt":
        return parse_madison(run(["apt-cache", "madison", *names]) or "", names)
    # dnf asks before it takes a repository's key for that of the lists, also where rpm has it.
    dnf = ["dnf", "--quiet", "--assumeyes", "repoquery"]
    query = [*dnf, "--showduplicates", "--queryformat", DNF_FORMAT, *names]
    return parse_repoquery((run(query) if manager else None) or "", names)


def parse_madison(text: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return what ``apt-cache madison`` tells: package | version | source of packages."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    # A source package of that name stands there, too.
    return _by_name([(row[0], row[1]) for row in rows if len(row) > 2 and not row[2].endswith(" Sources")], names)


def parse_repoquery(text: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return what ``dnf repoquery`` tells, which sorts upwards."""
    rows = [line.split() for line in text.splitlines()]
    return _by_name([(row[0], row[1]) for row in rows if len(row) == 2][::-1], names)


def _by_name(rows: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, list[str]]:
    return {name: list(dict.fromkeys(version for of, version in rows if of == name)) for name in names}
