# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmark of many hosts measures, and that the contenders have the same to do."""

import re
from pathlib import Path

import yaml
from ksmscale.attributes import AT_BOOT, FOLDER, WANTED
from ksmscale.plan import CONTENDERS, FLOOR, KINDS, plan

PLAYS = Path(__file__).resolve().parents[1] / "scale/plays"


def role_of(contender: str) -> dict:
    (play,) = yaml.safe_load((PLAYS / f"{contender}.yml").read_text())
    (role,) = play["roles"]
    return role["vars"]


def test_contenders_take_turns() -> None:
    steps = plan(CONTENDERS, ["noop"], [10, 20], [25], [True], 2)
    assert [(step.hosts, step.round, step.contender) for step in steps] == [
        (hosts, number, name) for hosts in (10, 20) for number in (1, 2) for name in CONTENDERS
    ]


def test_what_sets_nothing_has_no_first_time() -> None:
    steps = plan(["ours", FLOOR], KINDS, [10], [25], [True], 1)
    assert [(step.kind, step.contender) for step in steps] == [("first", "ours"), ("noop", "ours"), ("noop", FLOOR)]


def test_all_set_the_same_values() -> None:
    ours = {name.partition("_")[2]: str(value) for name, value in role_of("ours").items() if name != "ksm_engine"}
    theirs = {
        re.sub(f"^/{FOLDER}/", "", entry["name"]): str(entry["value"])
        for entry in role_of("kernel_settings")["kernel_settings_sysfs"]
    }
    plain = {name: str(value) for name, value in role_of("plain")["plain_ksm_tunables"].items()}
    assert ours == theirs == plain == WANTED


def test_each_value_is_another_than_after_boot() -> None:
    assert not WANTED.items() & AT_BOOT.items()
    assert WANTED.keys() <= AT_BOOT.keys()
