# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual tells every command, option and tunable with its default."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from ksm.cli.parser import build_parser
from ksm.policy.section import KEYS
from ksm.tunables import TUNABLES

MANUAL = Path(__file__).resolve().parents[1] / "man/ksmctl.8"
POLICIES = MANUAL.with_name("ksm-policy.conf.5")


@pytest.fixture(scope="module")
def text() -> str:
    return MANUAL.read_text()


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Commands of a command, if it has any."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _commands() -> dict[str, argparse.ArgumentParser]:
    return verbs(build_parser())


def _uses() -> dict[str, argparse.ArgumentParser]:
    found = {}
    for name, parser in _commands().items():
        found.update({f"{name} {verb}": of for verb, of in verbs(parser).items()} or {name: parser})
    return found


@pytest.mark.parametrize("name", _uses())
def test_every_command_and_its_options(text: str, name: str) -> None:
    synopsis = text[text.index(".Sh SYNOPSIS") : text.index(".Sh DESCRIPTION")]
    words = name.split()
    begins = "".join(f".Cm {word}\n" for word in words)
    usages = [use for use in synopsis.split(".Nm ksmctl\n") if use.startswith(begins)]
    assert usages
    assert re.search(rf"^\.It Cm {' Cm '.join(words)}\b", text, re.M)
    for action in _uses()[name]._actions:
        for option in action.option_strings:
            if option not in ("-h", "--help"):
                assert f"Fl Fl {option[2:]}" in usages[0]
                assert re.search(rf"^\.It .*Fl Fl {option[2:]}\b", text, re.M)


@pytest.mark.parametrize("name", TUNABLES)
def test_every_tunable_and_its_default(text: str, name: str) -> None:
    items = text.split("\n.It Va ")[1:]
    (item,) = [item for item in items if name in re.split(r"[ ,]+", item.split("\n")[0])]
    default = re.search(r"^Default (.*)\.$", item, re.M)
    assert default
    assert (str(TUNABLES[name].default) or "none") in default.group(1).split()


def test_every_key_of_a_policy() -> None:
    assert tuple(re.findall(r"^\.It Cm (\w+) =", POLICIES.read_text(), re.M)) == KEYS
