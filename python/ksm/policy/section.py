# SPDX-License-Identifier: GPL-2.0-or-later
"""One section of a file: the policy that it says, or what is wrong with it and the remedy."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ksm.policy.model import Match, Policy, PolicyError, domain_number

KEYS = (*Match._fields, "domain", "children", "zero_pages")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPACE = re.compile(r"[\x00-\x20\x7f]")
# What a process can be in; a pattern may leave the end open.
_UNITS = (".service", ".scope", "*")
_BOOLEANS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class _Bad(NamedTuple):
    value: str
    text: str


def read(file: str, name: str, given: Mapping[str, str]) -> Policy:
    """Return the policy of a section. Raises PolicyError."""
    match = Match(**{key: given.get(key) for key in Match._fields})
    bad = _name(name) or _keys(given) or _match(match) or _domain(given) or _flags(given)
    if bad:
        raise PolicyError(file, name, *bad)
    uid = None
    if match.user is not None:
        uid = _uid(match.user)
        if uid is None:
            text = f"user {match.user!r} is not on this host; create it, or write its number"
            raise PolicyError(file, name, match.user, text)
    return Policy(
        name,
        file,
        match,
        given["domain"],
        children=_flag(given, "children"),
        zero_pages=_flag(given, "zero_pages"),
        uid=uid,
    )


def _name(name: str) -> _Bad | None:
    if _NAME.fullmatch(name):
        return None
    return _Bad(name, f"{name!r} is no name; write up to 64 letters, digits, '.', '_' and '-'")


def _keys(given: Mapping[str, str]) -> _Bad | None:
    for key, value in given.items():
        if key not in KEYS:
            return _Bad(key, f"there is no key {key!r}; write one of {', '.join(KEYS)}")
        if not value:
            return _Bad(value, f"{key} is empty; give it a value, or leave it out")
        if "\n" in value:
            return _Bad(value, f"{key} goes on in another line; begin no line with white space")
    return None


def _match(match: Match) -> _Bad | None:
    if not match.given():
        return _Bad("", f"matches no task; give one or more of {', '.join(Match._fields)}")
    if match.unit and not match.unit.endswith(_UNITS):
        text = "is no unit that has processes; end it in .service, .scope or *"
        return _Bad(match.unit, f"unit {match.unit!r} {text}")
    if match.cgroup and not match.cgroup.startswith("/"):
        return _Bad(match.cgroup, f"cgroup {match.cgroup!r} is no path; begin it with /")
    return None


def _domain(given: Mapping[str, str]) -> _Bad | None:
    if "domain" not in given:
        return _Bad("", "has no domain; write domain = NAME, or a number")
    domain = given["domain"]
    if _SPACE.search(domain):
        return _Bad(domain, f"domain {domain!r} has white space in it; write it without")
    try:
        domain_number(domain)
    except ValueError as error:
        return _Bad(domain, f"domain {error}")
    return None


def _flags(given: Mapping[str, str]) -> _Bad | None:
    for key in ("children", "zero_pages"):
        value = given.get(key, "no")
        if value.lower() not in _BOOLEANS:
            return _Bad(value, f"{key} {value!r} is neither yes nor no; write one of them")
    return None


def _flag(given: Mapping[str, str], key: str) -> bool:
    return _BOOLEANS[given.get(key, "no").lower()]


def numbers(policies: Iterable[Policy]) -> dict[str, int | None]:
    """Return the numbers that users of policies have now, None for those that are gone."""
    return {p.match.user: _uid(p.match.user) for p in policies if p.match.user is not None}


def _uid(user: str) -> int | None:
    if user.isascii() and user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
