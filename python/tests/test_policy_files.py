# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of policies: what they say, and what is wrong with them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ksm.policy import files
from ksm.policy.model import Match, Policy, PolicyError, domain_number

GOOD = """
# Guests of one tenant
[tenant-a]
unit = qemu@a*.service
domain = tenant-a
children = yes
zero_pages = yes

[everyone]
cgroup = /machine.slice
user = 1000
command = qemu-system-*
domain = 7
"""


def put(root: Path, name: str, text: str) -> None:
    folder = root / files.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def names(folder: files.Folder) -> list[str]:
    return [policy.name for policy in folder.policies]


def test_what_a_file_says() -> None:
    a, everyone = files.parse("a.conf", GOOD)
    assert a == Policy("tenant-a", "a.conf", Match(unit="qemu@a*.service"), "tenant-a", True, True)
    match = Match(cgroup="/machine.slice", user="1000", command="qemu-system-*")
    assert everyone == Policy("everyone", "a.conf", match, "7", uid=1000)
    assert everyone.number == 7


def test_what_is_rendered_says_the_same() -> None:
    policies = files.parse("a.conf", GOOD)
    assert files.parse("a.conf", files.render(policies)) == sorted(policies)


def test_users_by_name() -> None:
    me = pwd.getpwuid(os.getuid())
    (policy,) = files.parse("f", f"[x]\nuser = {me.pw_name}\ndomain = d\n")
    assert policy.uid == me.pw_uid


def test_a_name_that_no_user_can_have(tmp_path: Path) -> None:
    put(tmp_path, "a.conf", "[a]\nuser = x\0y\ndomain = d\n")
    put(tmp_path, "b.conf", GOOD)
    folder = files.load(tmp_path)
    assert [error.file for error in folder.errors] == ["a.conf"]
    assert len(folder.policies) == 2


def test_domains_as_numbers() -> None:
    # As printf %s tenant-a | sha256sum | cut -c1-16 says; it must stay so for ever.
    assert domain_number("tenant-a") == 0x80A707AF7DC77EE1
    assert domain_number("0") == 0
    assert domain_number("18446744073709551615") == 2**64 - 1
    assert domain_number("tenant-b") != domain_number("tenant-a")


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("[x]\ndomain = d\n", "", "matches no task; give one or more of unit, cgroup, user"),
        ("[x]\nunit = a.service\n", "", "has no domain; write domain = NAME"),
        ("[x]\nunit = a\ndomain = d\n", "a", "'a' is no unit that has processes; end it in"),
        ("[x]\nunit = a.slice\ndomain = d\n", "a.slice", "end it in .service, .scope or *"),
        ("[x]\ncgroup = a\ndomain = d\n", "a", "cgroup 'a' is no path; begin it with /"),
        ("[x]\nuser = no such\ndomain = d\n", "no such", "'no such' is not on this host; create"),
        ("[x]\ncommand = \ndomain = d\n", "", "command is empty; give it a value"),
        ("[x]\ncommand = a\n  b\ndomain = d\n", "a\nb", "command goes on in another line"),
        ("[x]\ncommand = a\ndomain = a b\n", "a b", "domain 'a b' has white space in it"),
        (
            "[x]\ncommand = a\ndomain = 18446744073709551616\n",
            "18446744073709551616",
            "is too large; write 0..18446744073709551615, or a name",
        ),
        ("[x]\ncommand = a\ndomain = d\nchildren = si\n", "si", "children 'si' is neither yes nor"),
        ("[x]\ncomand = a\ndomain = d\n", "comand", "no key 'comand'; write one of unit, cgroup"),
        ("[x y]\ncommand = a\ndomain = d\n", "x y", "'x y' is no name; write up to 64 letters"),
        ("[x]\ncommand = a\ncommand = b\n", "command", "command is there twice; leave one"),
        ("[x]\ndomain = d\n[x]\ndomain = d\n", "x", "is there twice; give each policy its own"),
    ],
)
def test_errors_name_file_section_value_and_remedy(section: str, value: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        files.parse("f.conf", "[good]\nunit = *\ndomain = d\n" + section)
    error = caught.value
    assert error.file == "f.conf"
    assert error.section == ("x y" if "[x y]" in section else "x")
    assert error.value == value
    assert str(error).startswith(f"f.conf, [{error.section}]: ")
    assert said in str(error)


@pytest.mark.parametrize(("text", "line"), [("unit = a\n", 1), ("[x]\nnonsense\n", 2), ("[]\n", 1), ("[x\n", 1)])
def test_lines_that_are_nothing(text: str, line: int) -> None:
    with pytest.raises(PolicyError, match=f"f.conf: line {line} is neither"):
        files.parse("f.conf", text)


def test_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    assert files.load(tmp_path) == ([], [], {})
    put(tmp_path, "z.conf", GOOD)
    put(tmp_path, "a.conf", "[middle]\nuser = 1\ndomain = d\n")
    put(tmp_path, "a.conf.bak", "[not-read]\nuser = 1\ndomain = d\n")
    folder = files.load(tmp_path)
    assert names(folder) == ["everyone", "middle", "tenant-a"]
    assert folder.errors == []


def test_a_bad_file_leaves_the_others_and_its_last_good_version(tmp_path: Path) -> None:
    put(tmp_path, "bad.conf", "[b]\nuser = 1\ndomain = d\n")
    put(tmp_path, "good.conf", "[g]\nuser = 2\ndomain = d\n")
    last = files.load(tmp_path).good
    put(tmp_path, "bad.conf", "[b]\nuser = 1\ndomain = d\n[new]\nuser =\n")
    folder = files.load(tmp_path, last)
    assert names(folder) == ["b", "g"]
    assert [error.file for error in folder.errors] == ["bad.conf"]
    assert folder.good == last
    assert names(files.load(tmp_path)) == ["g"]
    (tmp_path / files.FOLDER / "bad.conf").unlink()
    assert names(files.load(tmp_path, last)) == ["g"]


def test_what_cannot_be_read_is_a_bad_file(tmp_path: Path) -> None:
    put(tmp_path, "good.conf", "[g]\nuser = 2\ndomain = d\n")
    (tmp_path / files.FOLDER / "folder.conf").mkdir()
    (tmp_path / files.FOLDER / "bytes.conf").write_bytes(b"\xff\xfe")
    folder = files.load(tmp_path)
    assert names(folder) == ["g"]
    assert [error.file for error in folder.errors] == ["bytes.conf", "folder.conf"]


def test_a_name_is_of_the_first_file(tmp_path: Path) -> None:
    put(tmp_path, "1.conf", "[a]\nuser = 1\ndomain = d\n")
    put(tmp_path, "2.conf", "[a]\nuser = 2\ndomain = d\n[b]\nuser = 3\ndomain = d\n")
    folder = files.load(tmp_path)
    assert [policy.file for policy in folder.policies] == ["1.conf"]
    assert [str(error) for error in folder.errors] == [
        "2.conf, [a]: 1.conf has a policy of that name; rename one of them"
    ]


def test_the_signature_tells_changes(tmp_path: Path) -> None:
    before = files.signature(tmp_path)
    put(tmp_path, "1.conf", "a")
    one = files.signature(tmp_path)
    put(tmp_path, "1.conf", "ab")
    assert before != one != files.signature(tmp_path)
