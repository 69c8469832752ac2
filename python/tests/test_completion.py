# SPDX-License-Identifier: GPL-2.0-or-later
"""Shells offer what the parser takes, no less and no more."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest
from test_man import _commands, verbs

from ksm.cli.parser import build_parser

FOLDER = Path(__file__).resolve().parents[1] / "completion"
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_ksmctl
printf '%s\\n' "${COMPREPLY[@]}"
"""
COMMANDS = _commands()


def bash_offers(*typed: str) -> list[str]:
    script = str(FOLDER / "ksmctl")
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", script, "ksmctl", *typed],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.split()


def options(parser: argparse.ArgumentParser) -> set[str]:
    found = {option for action in parser._actions for option in action.option_strings}
    return {option for option in found if option.startswith("--")}


def test_bash_commands() -> None:
    assert set(bash_offers("")) == set(COMMANDS) | options(build_parser())
    assert bash_offers("do") == ["doctor"]


@pytest.mark.parametrize("name", COMMANDS)
def test_bash_options(name: str) -> None:
    assert set(bash_offers(name, "--")) == options(COMMANDS[name])
    of_verbs = verbs(COMMANDS[name])
    if of_verbs:
        assert set(bash_offers(name, "")) == {*of_verbs, "--help"}
    for verb, parser in of_verbs.items():
        assert set(bash_offers(name, verb, "--")) == options(parser), verb


def test_bash_values() -> None:
    assert bash_offers("set", "--engine", "") == ["auto", "module", "kernel"]
    assert "1" in bash_offers("register", "--pid", "")
    assert bash_offers("register", "--addr", "") == []


def test_zsh() -> None:
    text = (FOLDER / "_ksmctl").read_text()
    assert text.startswith("#compdef ksmctl\n")
    listed = re.findall(r"^\t\t['\"]([a-z]+):", text, re.M)
    assert listed == list(COMMANDS)
    left = dict(COMMANDS)
    for name, parser in COMMANDS.items():
        left.update({f"{name} {verb}": of for verb, of in verbs(parser).items()})
    shared = {"json": "--json", "engine": "--engine", "pid": "--pid"}
    body = text[text.index("case $words[1]") :]
    for names, taken in re.findall(r"\t\t([a-z' ]+(?: \| [a-z' ]+)*)\) ?(.*?);;", body, re.S):
        offered = set(re.findall(r"'(--[a-z-]+)", taken))
        offered |= {shared[name] for name in re.findall(r"\$(\w+)", taken) if name in shared}
        for name in names.split(" | "):
            assert offered == options(left.pop(name.strip("'"))), name
    listed_verbs = re.findall(r"verbs=\(([a-z ]+)\)", text)
    assert [names.split() for names in listed_verbs] == [list(verbs(COMMANDS["policy"]))]
    assert not left
