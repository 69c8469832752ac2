# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm_policy on a host made of files, with this machine's own processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.module_utils import policies, policy_service
from ansible_collections.ksm.fleet.plugins.module_utils.policies import KsmPolicy, Refused
from ksm.errors import DeviceError
from ksm.policy import round as rounds
from ksm.policy.model import PolicyError
from ksm.policy.report import Report
from ksm.policy.round import Keeper

from fakes import FakeModule, Host

FILE = "etc/ksm/policy.d/ksm-fleet.conf"
OTHER = "etc/ksm/policy.d/by-hand.conf"
MATCH: dict[str, Any] = dict.fromkeys(("unit", "cgroup", "user", "command"))
ONE: dict[str, Any] = {
    "name": None,
    "match": None,
    "domain": None,
    "children": False,
    "zero_pages": False,
}
DEFAULTS: dict[str, Any] = {
    **ONE,
    "policies": None,
    "purge": False,
    "state": "present",
    "service": False,
}


def policy(name: str, domain: str | None = "d", **match: Any) -> dict[str, Any]:
    return {**ONE, "name": name, "domain": domain, "match": {**MATCH, **(match or {"user": "0"})}}


class PolicyModule(FakeModule):
    """systemctl is of a service that is loaded, and does what it is told."""

    def __init__(self, scratch: Path, units: dict[str, str], **params: Any) -> None:
        super().__init__(scratch, params.pop("check_mode", False), **{**DEFAULTS, **params})
        self.units = units
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        if command[1] == "show":
            return 0, self.units[command[4]] + "\n", ""
        if "fail" in self.units:
            return 1, "", self.units["fail"]
        on = command[1] == "enable"
        self.units["UnitFileState"] = "enabled" if on else "disabled"
        self.units["ActiveState"] = "active" if on else "inactive"
        return 0, "", ""


@pytest.fixture
def units() -> dict[str, str]:
    return {"LoadState": "loaded", "UnitFileState": "disabled", "ActiveState": "inactive"}


@pytest.fixture
def run(host: Host, scratch: Path, units: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def no_module() -> None:
        raise DeviceError("/dev/ksm is missing; load the module: modprobe ksm", 2)

    monkeypatch.setattr(rounds, "Device", no_module)

    def run_module(**params: Any) -> dict[str, Any]:
        module = PolicyModule(scratch, units, **params)
        result = KsmPolicy(module, str(host.root)).run()
        return {**result, "warnings": module.warnings, "commands": module.commands}

    return run_module


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    program = tmp_path / "server-of-the-test"
    program.write_bytes(Path("/bin/cat").read_bytes())
    program.chmod(0o755)
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)
        yield str(program), process.pid
        process.kill()


def names(result: dict[str, Any]) -> list[str]:
    return [one["name"] for one in result["policies"]]


def test_one(host: Host, run: Any, server: tuple[str, int]) -> None:
    program, pid = server
    entry = {**policy("tenant-a", "tenant-a", command=program), "children": True}
    expected = run(check_mode=True, **entry)
    assert expected["changed"]
    assert not host.exists(FILE)
    result = run(**entry)
    assert {key: expected[key] for key in result} == result
    assert host.read(FILE).endswith(f"\n\n[tenant-a]\ncommand = {program}\ndomain = tenant-a\nchildren = yes\n")
    (task,) = result["tasks"]
    assert (task["pid"], task["command"], task["policy"]) == (pid, program, "tenant-a")
    assert not task["registered"]
    assert "modprobe ksm" in task["why"]
    assert result["warnings"] == [f"The policies wait: {result['waiting']}"]
    assert result["diff"][0]["after"] == host.read(FILE)
    assert not run(**entry)["changed"]
    assert run(**{**entry, "domain": "7"})["changed"]
    assert run(name="tenant-a", state="absent")["changed"]
    assert not host.exists(FILE)
    assert not run(name="tenant-a", state="absent")["changed"]


def test_many_and_no_others(host: Host, run: Any) -> None:
    run(policies=[policy("b"), policy("a")])
    assert names(run(policies=[policy("c")])) == ["a", "b", "c"]
    result = run(policies=[policy("b")], purge=True)
    assert result["changed"]
    assert names(result) == ["b"]
    assert names(run(policies=[policy("b"), policy("x")], state="absent")) == []
    assert not run(policies=[], purge=True)["changed"]


def test_what_others_wrote_stays(host: Host, run: Any) -> None:
    host.write(OTHER, "[hand]\nuser = 0\ndomain = d\n")
    assert names(run(policies=[policy("a")], purge=True)) == ["a", "hand"]
    with pytest.raises(Refused, match="policy hand is in by-hand.conf already; remove it there"):
        run(**policy("hand"))
    run(policies=[], purge=True)
    assert host.exists(OTHER)
    host.write(OTHER, "[hand]\nuser = \n")
    result = run(**policy("a"))
    assert (names(result), result["errors"][0]["file"]) == (["a", "hand"], "by-hand.conf")
    assert "user is empty" in result["warnings"][0]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (policy("x", unit="x.slice"), "unit 'x.slice' is no unit"),
        (policy("x", user="nobody here"), "create it, or write its number"),
        (policy("x", "two words"), "'two words' has white space"),
        (policy("x", None), "has no domain"),
        ({**policy("x"), "match": None}, "matches no task"),
        (policy("x", command="a\n[evil]\nuser = 0"), "goes on in another line"),
        (policy("x] \n[y"), "is no name"),
    ],
)
def test_one_bad_value_changes_nothing(host: Host, run: Any, bad: dict[str, Any], said: str) -> None:
    run(**policy("old"))
    before = host.read(FILE)
    with pytest.raises(PolicyError, match=said):
        run(policies=[policy("good"), bad], purge=True)
    assert host.read(FILE) == before


def test_twice_the_same_name(run: Any) -> None:
    with pytest.raises(Refused, match="policy a is given twice"):
        run(policies=[policy("a"), policy("a")])


def test_a_file_that_somebody_broke(host: Host, run: Any) -> None:
    host.write(FILE, "nonsense\n")
    with pytest.raises(Refused, match="Mend the file, or give all policies and purge: true"):
        run(**policy("a"))
    assert names(run(policies=[policy("a")], purge=True)) == ["a"]


class TestService:
    def test_it_runs_where_there_are_policies(self, run: Any, units: dict[str, str]) -> None:
        result = run(service=True, **policy("a"))
        assert result["service"] == {"enabled": True, "active": True}
        assert result["commands"][-1][1:] == ["enable", "--now", policy_service.UNIT]
        assert result["diff"][1]["before"] == "enabled: False\nactive: False\n"
        again = run(service=True, **policy("a"))
        assert not again["changed"]
        assert all(command[1] == "show" for command in again["commands"])
        units["ActiveState"] = "failed"
        assert run(service=True, **policy("a"))["changed"]
        gone = run(service=True, policies=[], purge=True)
        assert gone["changed"]
        assert gone["commands"][-1][1:] == ["disable", "--now", policy_service.UNIT]
        assert not run(service=True, policies=[], purge=True)["changed"]

    def test_what_it_is_about_to_do_is_no_change(
        self, run: Any, units: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(service=True, **policy("a"))
        report = Report([], [], [], [4711], [], [], None)
        monkeypatch.setattr(Keeper, "round", lambda _: report)
        assert not run(service=True, **policy("a"))["changed"]
        assert run(service=False, **policy("a"))["changed"]

    def test_also_for_those_of_others(self, host: Host, run: Any) -> None:
        host.write(OTHER, "[hand]\nuser = 0\ndomain = d\n")
        assert run(service=True, policies=[], purge=True)["service"]["active"]

    def test_check_mode_leaves_it(self, run: Any, units: dict[str, str]) -> None:
        assert run(service=True, check_mode=True, **policy("a"))["changed"]
        assert units["ActiveState"] == "inactive"

    def test_a_failure_puts_the_file_back(self, host: Host, run: Any, units: dict[str, str]) -> None:
        run(**policy("old"))
        before = host.read(FILE)
        units["fail"] = "Job failed"
        with pytest.raises(policy_service.Failed, match="Job failed; see journalctl"):
            run(service=True, **policy("a"))
        assert host.read(FILE) == before

    def test_an_older_package(self, host: Host, run: Any, units: dict[str, str]) -> None:
        units["LoadState"] = "not-found"
        with pytest.raises(policy_service.Failed, match="install ksm-tools"):
            run(service=True, **policy("a"))
        assert not host.exists(FILE)
        run(service=True, policies=[], purge=True)


def test_options_agree_with_the_files() -> None:
    from ksm.policy.section import KEYS

    assert {*MATCH, *policies.OF_ONE} - {"match"} == set(KEYS)


def test_nothing_that_is_returned_has_a_meaning_of_its_own_to_ansible() -> None:
    assert not {"failed", "skipped", "unreachable", "msg", "rc"} & set(Report._fields)
