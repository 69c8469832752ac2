# SPDX-License-Identifier: GPL-2.0-or-later
"""Which policy is whose, of processes made of files and of real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ksm.policy.matcher import Matcher
from ksm.policy.model import Match, Policy
from ksm.policy.processes import Process, processes, unit_of
from ksm.policy.report import printable


def policy(name: str = "p", uid: int | None = None, **match: Any) -> Policy:
    return Policy(name, "f", Match(**match), "d", uid=uid)


class Proc:
    """A folder that stands in for /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, pid: int, cgroup: str = "0::/", exe: str | None = "/bin/true") -> Process:
        folder = self.root / str(pid)
        (folder / "task").mkdir(parents=True)
        (folder / "cgroup").write_text(cgroup + "\n")
        uid = folder.stat().st_uid
        (folder / "status").write_text(f"Name:\tx\nUid:\t0\t{uid}\t0\t0\n")
        if exe:
            (folder / "exe").symlink_to(exe)
        return Process(pid, str(self.root))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/qemu@a1.service", "qemu@a1.service"),
        ("/system.slice/system-qemu.slice/qemu@a1.service/payload", "qemu@a1.service"),
        ("/machine.slice/qemu\\x2d1.scope/libvirt", "qemu\\x2d1.scope"),
        ("/user.slice/user-1.slice/user@1.service/app.slice/x.service", "user@1.service"),
        ("/init.scope", "init.scope"),
        ("/", ""),
        ("/user.slice", ""),
        # A delegated group may be called whatever its owner likes.
        ("/docker/evil/qemu@a1.service", ""),
    ],
)
def test_units(path: str, unit: str) -> None:
    assert unit_of(path) == unit


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/a/b", "/a/b"),
        ("12:cpu:/x\n1:name=systemd:/system.slice/a.service\n0::/", "/system.slice/a.service"),
        ("5:memory:/m\n0::/u", "/u"),
        ("0::/gone (deleted)", "/gone"),
    ],
)
def test_the_control_group(proc: Proc, text: str, path: str) -> None:
    assert proc.add(1, text).cgroup == path


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"unit": "qemu@a*.service"}, True),
        ({"unit": "qemu@b*.service"}, False),
        ({"cgroup": "/system.slice"}, True),
        ({"cgroup": "/system.slice/"}, True),
        ({"cgroup": "/system.slic"}, False),
        ({"cgroup": "/*/qemu*"}, True),
        ({"cgroup": "/"}, True),
        ({"command": "qemu-system-*"}, True),
        ({"command": "/usr/bin/qemu*"}, True),
        ({"command": "/opt/*"}, False),
        ({"command": "QEMU*"}, False),
        ({"unit": "qemu@a*.service", "command": "bash"}, False),
    ],
)
def test_patterns(proc: Proc, match: dict[str, Any], fits: bool) -> None:
    exe = "/usr/bin/qemu-system-x86_64 (deleted)"
    process = proc.add(1, "0::/system.slice/qemu@a1.service", exe)
    assert (Matcher([policy(**match)]).policy(process) is not None) == fits


def test_the_first_wins_and_all_of_it_must_match(proc: Proc) -> None:
    process = proc.add(1, "0::/a/b")
    mine = os.stat(proc.root).st_uid
    policies = [
        policy("1", mine + 1, cgroup="/a"),
        policy("2", mine, cgroup="/a/c"),
        policy("3", mine, cgroup="/a"),
        policy("4", mine),
    ]
    found = Matcher(policies).policy(process)
    assert found
    assert found.name == "3"


def test_kernel_threads_and_the_ended_match_nothing(proc: Proc) -> None:
    everything = Matcher([policy(cgroup="/"), policy(command="*")])
    assert everything.policy(proc.add(1)) is not None
    assert everything.policy(proc.add(2, exe=None)) is None
    assert everything.policy(Process(3, str(proc.root))) is None
    assert Matcher([policy(command="*")]).policy(Process(2, str(proc.root))) is None


def test_a_process_whose_first_thread_ended(proc: Proc) -> None:
    process = proc.add(1, exe=None)
    thread = proc.root / "1/task/7"
    thread.mkdir()
    (thread / "exe").symlink_to("/bin/server")
    assert process.program == "/bin/server"


@pytest.fixture
def child() -> Iterator[Any]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def test_a_real_one(child: Any) -> None:
    process = Process(child.pid)
    program = os.path.realpath(sys.executable)
    assert process.uid == os.geteuid()
    assert process.cgroup == Process(os.getpid()).cgroup
    assert process.program == program
    found = Matcher([policy(uid=os.geteuid(), command=program)]).policy(process)
    assert found is not None
    assert child.pid in {one.pid for one in processes()}


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_the_user_is_the_effective_one_of_what_hides_too() -> None:
    # Of a process that changed its user the folder is root's.
    code = "import os; os.seteuid(12345); print(flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert Process(process.pid).uid == 12345
        process.kill()


def test_what_a_process_chose_is_no_more_than_a_part_of_a_line() -> None:
    assert printable("/srv/büro x") == "/srv/büro x"
    assert printable("/x\nprocess 1 \x1b[2J\udcff") == "/x\\nprocess 1 \\x1b[2J\\udcff"
