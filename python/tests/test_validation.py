# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from conftest import System

from ksm.errors import BadValue
from ksm.table import EngineName
from ksm.tunables import TUNABLES, validate

UINT_MAX = 2**32 - 1


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("run", 2, 2),
        ("run", "1", 1),
        ("pages_to_scan", UINT_MAX, UINT_MAX),
        ("sleep_millisecs", " 0\n", 0),
        ("max_page_sharing", 2, 2),
        ("smart_scan", False, 0),
        ("use_zero_pages", True, 1),
        ("merge_across_nodes", "no", 0),
        ("smart_scan", "True", 1),
        ("advisor_mode", "scan-time", "scan-time"),
        ("pages_to_scan", 0, 0),
    ],
)
def test_accepts(name: str, value: object, stored: object) -> None:
    result = validate({name: value}, "kernel")[name]
    assert result == stored
    assert type(result) is type(stored)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("33,1000-1999", "33,1000-1999"),
        (" 007,0-010\n", "7,0-10"),
        ("7-7", "7"),
        (33, "33"),
        ("0-4294967295", "0-4294967295"),
        ("", ""),
        (",".join(["1-2"] * 64), ",".join(["1-2"] * 64)),
    ],
)
def test_accepts_lists_of_users(value: object, stored: str) -> None:
    assert validate({"scan_all_exclude_uids": value}, "module") == {"scan_all_exclude_uids": stored}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1,,2", "'' is no user and no range; write at most 64 users and ranges of 0..4294967295"),
        ("1, 2", "' 2' is no user and no range"),
        ("1-", "'1-' is no user"),
        ("1-2-3", "'1-2-3' is no user"),
        ("root", "'root' is no user"),
        ("٣", "is no user"),
        ("2-1", "'2-1' ends before it begins"),
        ("4294967296", "4294967296 is out of range"),
        (-1, "'-1' is no user"),
        (True, "True is no list of users"),
        ([33], "[33] is no list of users"),
        (None, "None is no list of users"),
        (",".join("1" * 65), "65 users and ranges are too many"),
    ],
)
def test_refuses_lists_of_users(value: object, text: str) -> None:
    with pytest.raises(BadValue) as caught:
        validate({"scan_all_exclude_uids": value}, "module")
    assert str(caught.value).startswith("scan_all_exclude_uids: ")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "engine", "text"),
    [
        ("run", True, "kernel", "run: True is a boolean; write 0, 1 or 2"),
        ("run", "yes", "kernel", "run: 'yes' is not a whole number; write 0, 1 or 2"),
        ("run", 3, "module", "run: 3 is out of range; write 0, 1 or 2"),
        ("pages_to_scan", 0, "module", "pages_to_scan: 0 is out of range; write 1..4294967295"),
        ("pages_to_scan", 2**32, "kernel", "4294967296 is out of range; write 0..4294967295"),
        ("pages_to_scan", False, "kernel", "False is a boolean"),
        ("sleep_millisecs", -1, "module", "-1 is out of range; write 0..4294967295 (ms)"),
        ("sleep_millisecs", "20ms", "module", "'20ms' is not a whole number"),
        ("sleep_millisecs", 20.0, "module", "20.0 is not a whole number"),
        ("sleep_millisecs", "1_000", "module", "'1_000' is not a whole number"),
        ("sleep_millisecs", "٣", "module", "is not a whole number"),
        ("sleep_millisecs", "", "module", "'' is not a whole number"),
        ("sleep_millisecs", None, "module", "None is not a whole number"),
        ("sleep_millisecs", [20], "module", "[20] is not a whole number"),
        ("max_page_sharing", 1, "kernel", "1 is out of range; write 2..2147483647 (mappings)"),
        ("advisor_target_scan_time", 0, "kernel", "0 is out of range; write 1.."),
        ("smart_scan", 2, "kernel", "smart_scan: 2 is out of range; write 0 or 1"),
        ("smart_scan", "maybe", "kernel", "'maybe' is not a whole number; write 0 or 1"),
        ("advisor_mode", "fast", "kernel", "'fast' is unknown; write none or scan-time"),
        ("advisor_mode", ["none"], "kernel", "is unknown; write none or scan-time"),
        ("advisor_mode", False, "kernel", "False is unknown; write none or scan-time"),
        ("adopt_mergeable", 1, "kernel", "the kernel engine has no such tunable, only module"),
        ("pages_to_skan", 1, "kernel", "there is no such tunable; write pages_to_scan"),
        ("xyz", 1, "kernel", "there is no such tunable; known are run, "),
        ("pages_shared", 1, "kernel", "is a counter, nobody can set it"),
    ],
)
def test_refuses(name: str, value: object, engine: EngineName, text: str) -> None:
    with pytest.raises(BadValue) as caught:
        validate({name: value}, engine)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")
    assert (caught.value.name, caught.value.value) == (name, value)


def test_tells_every_complaint_at_once() -> None:
    with pytest.raises(BadValue) as caught:
        validate({"sleep_millisecs": 5, "run": 9, "smart_scan": 9}, "kernel")
    assert "run: 9" in str(caught.value)
    assert "smart_scan: 9" in str(caught.value)
    assert "sleep_millisecs" not in str(caught.value)


def test_refuses_what_this_host_lacks(system: System) -> None:
    engine = system.add_kernel()
    assert validate({"smart_scan": 0}, engine) == {"smart_scan": 0}
    (engine.root / "smart_scan").unlink()
    with pytest.raises(BadValue, match="smart_scan: the kernel engine of this host has no such"):
        validate({"smart_scan": 0}, engine)


def test_defaults_are_valid() -> None:
    for tunable in TUNABLES.values():
        for engine in tunable.engines:
            assert validate({tunable.name: tunable.default_of(engine)}, engine)
