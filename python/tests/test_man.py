# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual tells every command, option and tunable with its default."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from ksm.cli.parser import build_parser
from ksm.tunables import TUNABLES

MANUAL = Path(__file__).resolve().parents[1] / "man/ksmctl.8"


@pytest.fixture(scope="module")
def text() -> str:
    return MANUAL.read_text()


def _commands() -> dict[str, argparse.ArgumentParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("no commands")


@pytest.mark.parametrize("name", _commands())
def test_every_command_and_its_options(text: str, name: str) -> None:
    synopsis = text[text.index(".Sh SYNOPSIS") : text.index(".Sh DESCRIPTION")]
    usages = [use for use in synopsis.split(".Nm ksmctl\n") if use.startswith(f".Cm {name}\n")]
    assert usages
    assert re.search(rf"^\.It Cm {name}\b", text, re.M)
    for action in _commands()[name]._actions:
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
    assert str(TUNABLES[name].default) in default.group(1).split()
