# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of /etc/ksm/policy.d: ini, a section for each policy."""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ksm.policy.model import Policy, PolicyError
from ksm.policy.section import numbers, read

FOLDER = "etc/ksm/policy.d"


class Folder(NamedTuple):
    """All policies in the order of their names, and what is wrong; of bad files the last good ones.

    good: policies by file, as of the last time that the file had no error.
    """

    policies: list[Policy]
    errors: list[PolicyError]
    good: dict[str, list[Policy]]


def load(system: str | Path = "/", last: Mapping[str, list[Policy]] | None = None) -> Folder:
    """Read the folder; last is `good` of the time before."""
    good: dict[str, list[Policy]] = {}
    bad: dict[str, list[PolicyError]] = {}
    for path in paths(system):
        try:
            good[path.name] = parse(path.name, path.read_text(encoding="utf-8"))
        except PolicyError as error:
            bad[path.name] = [error]
        except (OSError, ValueError) as error:
            bad[path.name] = [PolicyError(path.name, "", "", f"cannot be read: {error}")]
    taken: dict[str, Policy] = {}
    for file, policies in list(good.items()):
        double = [policy for policy in policies if policy.name in taken]
        if double:
            bad[file] = [_double(policy, taken[policy.name]) for policy in double]
            del good[file]
        else:
            taken.update({policy.name: policy for policy in policies})
    for file in bad:
        kept = (last or {}).get(file)
        if kept is not None:
            good[file] = kept
            taken.update({p.name: p for p in _still(kept) if p.name not in taken})
    return Folder(
        [taken[name] for name in sorted(taken)],
        [error for file in sorted(bad) for error in bad[file]],
        good,
    )


def _still(policies: Iterable[Policy]) -> list[Policy]:
    """Return policies as their users are now: a number may be another user's by now."""
    policies = list(policies)
    uids = numbers(policies)
    now = [p if p.match.user is None else p._replace(uid=uids[p.match.user]) for p in policies]
    return [p for p in now if p.match.user is None or p.uid is not None]


def paths(system: str | Path = "/") -> list[Path]:
    """Return the files that count, in the order of their names."""
    return sorted(path for path in Path(system, FOLDER).glob("*.conf") if path.name[0] != ".")


def signature(system: str | Path = "/") -> list[tuple[str, int, int, int]]:
    """Return what differs when any of the files was written."""
    seen = []
    for path in paths(system):
        try:
            stat = path.stat()
        except OSError:
            continue
        seen.append((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return seen


def parse(file: str, text: str) -> list[Policy]:
    """Return the policies of a file's text. Raises PolicyError for the first thing wrong."""
    parser = configparser.ConfigParser(
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        default_section="",
        interpolation=None,
        empty_lines_in_values=False,
    )
    try:
        parser.read_string(text, file)
    except configparser.DuplicateSectionError as error:
        raise PolicyError(
            file, error.section, error.section, "is there twice; give each policy its own name"
        ) from error
    except configparser.DuplicateOptionError as error:
        raise PolicyError(
            file,
            error.section,
            error.option,
            f"{error.option} is there twice; leave one of them",
        ) from error
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or _first_line(error)
        raise PolicyError(
            file,
            "",
            "",
            f"line {line} is neither [NAME] nor KEY = VALUE below one; mend it, or begin it with #",
        ) from error
    return [read(file, name, parser[name]) for name in parser.sections()]


def render(policies: Iterable[Policy]) -> str:
    """Return policies as text that parse() takes."""
    sections = []
    for policy in sorted(policies):
        lines = [f"[{policy.name}]"]
        lines += [f"{key} = {value}" for key, value in policy.match.given().items()]
        lines.append(f"domain = {policy.domain}")
        lines += ["children = yes"] * policy.children
        lines += ["zero_pages = yes"] * policy.zero_pages
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _first_line(error: configparser.Error) -> int:
    errors = getattr(error, "errors", None)
    return int(errors[0][0]) if errors else 1


def _double(policy: Policy, other: Policy) -> PolicyError:
    return PolicyError(
        policy.file,
        policy.name,
        policy.name,
        f"{other.file} has a policy of that name; rename one of them",
    )
