# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a version of the packages can be had, and taken back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.modules import ksm_packages_info as packages_info

from fakes import Host

NAMES = ["ksm-dkms", "ksm-tools"]
MADISON = """\
  ksm-dkms |      0.2.0 | http://apt.test stable/main amd64 Packages
  ksm-dkms |      0.1.0 | http://apt.test stable/main amd64 Packages
 ksm-tools |    0.2.0-3 | http://apt.test stable/main amd64 Packages
 ksm-tools |      0.1.0 | http://apt.test stable/main amd64 Packages
"""


class Module:
    def __init__(self, answers: dict[str, tuple[int, str, str]], **params: Any) -> None:
        self.params = {
            "sources": None,
            "version": "",
            "packages_state": "present",
            "packages": NAMES,
            "room": {},
            **params,
        }
        self.answers = answers
        self.commands: list[list[str]] = []

    def get_bin_path(self, name: str, required: bool = False) -> str:
        return name

    def run_command(self, command: list[str], environ_update: dict[str, str]) -> tuple[int, str, str]:
        self.commands.append(command)
        for option in command:
            # apt makes no folders.
            if option.startswith("-oDir::State::Lists="):
                assert Path(option.partition("=")[2], "partial").is_dir()
        return next((answer for words, answer in self.answers.items() if words in " ".join(command)), (0, "", ""))


def run(host: Host, module: Module) -> dict[str, Any]:
    (host.root / "run").mkdir(exist_ok=True)
    return packages_info.KsmPackagesInfo(module, str(host.root)).run()  # type: ignore[arg-type]


def has(host: Host, version: str) -> None:
    stanza = "Package: {}\nStatus: install ok installed\nVersion: {}\n"
    host.write("var/lib/dpkg/status", "\n".join(stanza.format(name, version) for name in NAMES))


def reasons(told: dict[str, Any]) -> list[str]:
    return [problem["reason"] for problem in told["problems"]]


@pytest.mark.parametrize(
    ("asked", "state", "installed", "wanted"),
    [
        ("", "present", None, "0.2.0"),
        ("", "present", "0.1.0", "0.1.0"),
        ("", "latest", "0.1.0", "0.2.0"),
        ("0.1.0", "present", None, "0.1.0"),
        ("0.1.0", "latest", "0.2.0", "0.1.0"),
    ],
)
def test_the_version_that_is_meant(host: Host, asked: str, state: str, installed: str | None, wanted: str) -> None:
    if installed:
        has(host, installed)
    answer = {"madison": (0, MADISON.replace("0.2.0-3", "0.2.0"), "")}
    told = run(host, Module(answer, version=asked, packages_state=state))
    assert told["wanted"] == wanted
    assert told["problems"] == []
    assert told["versions"] == {name: ["0.2.0", "0.1.0"] for name in NAMES}


def test_a_version_without_the_revision(host: Host) -> None:
    answer = "ksm-dkms | 0.2.0-3 | x\nksm-tools | 0.2.0-3 | x\n"
    told = run(host, Module({"madison": (0, answer, "")}, version="0.2.0"))
    assert (told["wanted"], told["problems"]) == ("0.2.0", [])
    assert run(host, Module({"madison": (0, answer, "")}))["wanted"] == "0.2.0"
    # Of one package there is a later revision.
    answer = "ksm-dkms | 0.2.0-4 | x\n" + answer
    assert run(host, Module({"madison": (0, answer, "")}, version="0.2.0"))["problems"] == []
    assert reasons(run(host, Module({"madison": (0, answer, "")}, version="0.2.0-4"))) == [
        "no package source of this host offers ksm-tools 0.2.0-4, only 0.2.0-3"
    ]


def test_a_version_that_nobody_offers(host: Host) -> None:
    told = run(host, Module({"madison": (0, MADISON, "")}, version="0.9.0"))
    assert reasons(told)[0] == "no package source of this host offers ksm-dkms 0.9.0, only 0.2.0, 0.1.0"
    assert "put that version into the repository" in told["problems"][0]["remedy"]
    assert reasons(run(host, Module({}, version="0.9.0")))[0].endswith("offers ksm-dkms 0.9.0")


def test_no_way_back(host: Host) -> None:
    has(host, "0.0.9")
    answer = MADISON.replace("0.2.0-3", "0.2.0")
    told = run(host, Module({"madison": (0, answer, "")}, version="0.2.0"))
    assert "offers ksm-dkms 0.0.9, only 0.2.0, 0.1.0: it is installed now" in reasons(told)[0]
    assert told["problems"][0]["remedy"] == "keep that version in the repository beside the new one"
    # What stays needs no source.
    assert run(host, Module({}))["problems"] == []


def test_a_repository_that_is_tried_leaves_the_host_alone(host: Host) -> None:
    module = Module({"madison": (0, MADISON, "")}, sources="/run/ksm-fleet.sources", version="0.1.0")
    told = run(host, module)
    assert (told["said"], told["problems"]) == ("", [])
    update, ask = module.commands
    assert update[0] == "apt-get" and "update" in update and "--error-on=any" in update
    assert "-oDir::Etc::SourceList=/run/ksm-fleet.sources" in update
    assert "-oDir::Etc::SourceParts=/dev/null" in update
    for command in (update, ask):
        (lists,) = (word for word in command if word.startswith("-oDir::State::Lists="))
        assert lists.startswith(f"-oDir::State::Lists={host.root}/run/")
    assert list((host.root / "run").iterdir()) == [], "thrown away"


def test_what_apt_complains_of_is_told(host: Host) -> None:
    module = Module({"apt-get": (100, "Err:1 http://x", "NO_PUBKEY 85")}, sources="/run/ksm-fleet.sources")
    told = run(host, module)
    assert told["said"] == "Err:1 http://x\nNO_PUBKEY 85"
    assert told["problems"] == [], "the complaint tells it all"


def test_dnf(host: Host) -> None:
    (host.root / "usr/bin/apt-get").unlink()
    host.write("usr/bin/dnf", "")
    answers = {
        "repoquery": (0, "ksm-dkms 0.1.0-1\nksm-dkms 0.2.0-1\nksm-tools 0.2.0-1\n", ""),
        "rpm": (0, "ksm-dkms\t0.1.0-1\n", ""),
    }
    module = Module(answers, sources="/run/ksm-fleet.repo", version="0.2.0")
    told = run(host, module)
    assert (told["wanted"], told["problems"]) == ("0.2.0", [])
    assert any("makecache" in command and "--setopt=reposdir=/run" in command for command in module.commands)
    module = Module({**answers, "makecache": (1, "", "Bad GPG signature")}, sources="/run/ksm-fleet.repo")
    assert run(host, module)["said"] == "Bad GPG signature"


def test_needs_on_one_file_system_add_up(host: Host) -> None:
    for name in ("var", "usr", "boot"):
        (host.root / name).mkdir(exist_ok=True)

    def statvfs(path: str) -> Any:
        return SimpleNamespace(f_bavail=120 * 256, f_frsize=4096)

    def problems(**room: int) -> list[str]:
        found = packages_info.problems_of_room(str(host.root), {f"/{k}": v for k, v in room.items()}, statvfs)
        return [problem["reason"] for problem in found]

    assert problems(var=100, missing=9999) == []
    assert problems(var=100, usr=50) == ["the file system of /var, /usr has 120 MiB free, and 150 MiB may be needed"]


def test_room_is_asked_for_only_where_something_is_installed(host: Host) -> None:
    has(host, "0.1.0")
    room = {"/": 1 << 40}
    answer = {"madison": (0, MADISON.replace("0.2.0-3", "0.2.0"), "")}
    assert run(host, Module(answer, room=room))["problems"] == []
    assert "MiB may be needed" in reasons(run(host, Module(answer, room=room, version="0.2.0")))[0]
