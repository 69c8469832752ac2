# SPDX-License-Identifier: GPL-2.0-or-later
"""The role's files agree with each other, with the client and with the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ksm.fleet.plugins.modules import ksm_preflight
from ksm.expect import EXPECTATIONS
from ksm.tunables import TUNABLES, validate

from fakes import TREE

ROLE = TREE / "roles/ksm"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


SPECS = load(ROLE / "meta/argument_specs.yml")["argument_specs"]
OPTIONS = SPECS["main"]["options"]


def test_every_tunable_is_a_variable_with_its_range() -> None:
    ranges = load(ROLE / "vars/main.yml")["__ksm_ranges"]
    for name, tunable in TUNABLES.items():
        option = OPTIONS[f"ksm_{name}"]
        if tunable.kind == "choice":
            assert tuple(option["choices"]) == tunable.choices
            continue
        if tunable.kind == "users":
            assert option["type"] == "str"
            assert name in load(ROLE / "vars/main.yml")["__ksm_user_lists"]
            continue
        assert ranges[name] == [tunable.minimum, tunable.maximum], name
        listed = option.get("choices")
        assert listed is None or listed == list(range(ranges[name][0], ranges[name][1] + 1))
    assert set(ranges) < set(TUNABLES)


def test_every_expectation_has_its_range() -> None:
    ranges = load(ROLE / "vars/main.yml")["__ksm_expect_ranges"]
    options = OPTIONS["ksm_expect"]["options"]
    types = {"minimum": "float", "maximum": "float", "switch": "bool", "same": "str"}
    assert {name: option["type"] for name, option in options.items()} == {
        name: types[expectation.kind] for name, expectation in EXPECTATIONS.items()
    }
    assert ranges == {
        name: [expectation.low, expectation.high]
        for name, expectation in EXPECTATIONS.items()
        if types[expectation.kind] == "float"
    }


def test_every_tunable_reaches_the_host() -> None:
    given = load(ROLE / "vars/main.yml")["__ksm_given"]
    for name in TUNABLES:
        assert f"'{name}': ksm_{name}" in given


def test_defaults_are_those_that_are_documented() -> None:
    defaults = load(ROLE / "defaults/main.yml")
    options = {name: o for spec in SPECS.values() for name, o in spec["options"].items()}
    documented = {name: o["default"] for name, o in options.items() if "default" in o}
    assert defaults == documented


def test_every_file_that_the_role_leaves_is_known_to_removal() -> None:
    texts = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("roles", "plugins/module_utils", "plugins/modules")
        for path in (TREE / folder).rglob("*.*")
        if path.suffix in (".yml", ".py", ".j2")
    )
    for file in ksm_preflight.FILES:
        stem = file.rpartition(".")[0]
        assert texts.count(stem) >= 2, file


def test_versions_agree() -> None:
    version = (TREE / "VERSION").read_text(encoding="ascii").strip()
    assert load(TREE / "galaxy.yml")["version"] == version


def ansible(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.fixture
def environment(tmp_path: Path, collections: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def test_the_collection_holds_nothing_else(tmp_path: Path, environment: dict[str, str]) -> None:
    readme = TREE / "README.md"
    assert readme.is_file()
    subprocess.run(
        [ansible("ansible-galaxy"), "collection", "build", str(TREE), "--output-path", tmp_path],
        env=environment,
        check=True,
        capture_output=True,
    )
    (built,) = tmp_path.glob("ksm-fleet-*.tar.gz")
    with tarfile.open(built) as archive:
        top = {name.split("/")[0] for name in archive.getnames()}
    wanted = {"FILES.json", "MANIFEST.json", "README.md", "changelogs", "meta", "playbooks", "plugins", "roles"}
    assert wanted <= top
    assert top <= wanted | {"CHANGELOG.md", "COPYING", "LICENSE", "LICENSES"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ksm_pages_to_scan": 0}, "ksm_pages_to_scan is 0: write a number in 1..4294967295"),
        ({"ksm_sleep_millisecs": True}, "ksm_sleep_millisecs is True"),
        ({"ksm_run": 3}, "ksm_run"),
        ({"ksm_advisor_mode": "fast"}, "ksm_advisor_mode"),
        ({"ksm_engine": "uksm"}, "ksm_engine"),
        ({"ksm_policies": [{"name": "a", "domain": "d"}]}, "match"),
        ({"ksm_policies": [{"name": "a", "match": {"pid": 1}, "domain": "d"}]}, "pid"),
        ({"ksm_profile": "fast"}, "ksm_profile"),
        ({"ksm_scan_all_exclude_uids": "33;34"}, "write users and ranges of them"),
        ({"ksm_expect": {"saved_mib": 1}}, "saved_mib"),
        ({"ksm_expect": {"memory_pressure_max": 101}}, "ksm_expect.memory_pressure_max is 101"),
        ({"ksm_run": True, "ksm_pages_to_scan": 0}, "ksm_pages_to_scan is 0: write"),
        ({"ksm_repository_url": "http://apt.test"}, "a repository needs the key"),
        (
            {"ksm_repository_url": "http://apt.test", "ksm_repository_key": "http://apt.test/key"},
            "needs ksm_repository_key_checksum",
        ),
    ],
)
def test_bad_variables_stop_before_the_host_is_asked(
    tmp_path: Path, environment: dict[str, str], variables: dict[str, Any], said: str
) -> None:
    (tmp_path / "vars.yml").write_text(yaml.safe_dump(variables))
    # Nothing listens there: a task that went to the host would be "unreachable".
    inventory = "nowhere ansible_host=127.0.0.1 ansible_port=9\n"
    (tmp_path / "inventory").write_text(inventory)
    done = subprocess.run(
        [
            ansible("ansible-playbook"),
            "-i",
            str(tmp_path / "inventory"),
            "-e",
            f"@{tmp_path}/vars.yml",
            str(TREE / "playbooks/site.yml"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stdout
    assert "UNREACHABLE" not in done.stdout


PROFILES = {
    "none": {},
    "dense": {"ksm_profile": "dense"},
    "override": {"ksm_profile": "dense", "ksm_pages_to_scan": 7, "ksm_use_zero_pages": 0},
    "latency": {"ksm_profile": "latency", "ksm_sleep_millisecs": None},
    "word": {"ksm_profile": "off"},
    "boolean": {"ksm_profile": False},
    "started": {"ksm_profile": "off", "ksm_run": 1},
    "advised": {"ksm_advisor_mode": "scan-time", "ksm_pages_to_scan": 9},
}
SHOW = """
- hosts: all
  gather_facts: false
  vars_files: [{role}/defaults/main.yml, {role}/vars/main.yml, "{vars}/{{{{ inventory_hostname }}}}"]
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ __ksm_tunables | to_json }}}}"
        dest: "{vars}/{{{{ inventory_hostname }}}}.json"
      delegate_to: localhost
"""


@pytest.fixture(scope="module")
def tunables(tmp_path_factory: pytest.TempPathFactory, collections: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What hosts with these variables are given, by host and engine."""
    scratch = tmp_path_factory.mktemp("profiles")
    for host, variables in PROFILES.items():
        (scratch / host).write_text(yaml.safe_dump(variables))
    (scratch / "play.yml").write_text(SHOW.format(role=ROLE, vars=scratch))
    command = [ansible("ansible-playbook"), "-c", "local", "-i", ",".join(PROFILES) + ","]
    done = subprocess.run(
        [*command, str(scratch / "play.yml")],
        env={
            **os.environ,
            "ANSIBLE_HOME": str(scratch / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return {host: load(scratch / f"{host}.json") for host in PROFILES}


def test_profiles(tunables: dict[str, dict[str, dict[str, Any]]]) -> None:
    profiles = load(ROLE / "vars/main.yml")["__ksm_profiles"]
    assert sorted(profiles) == sorted(OPTIONS["ksm_profile"]["choices"])
    for engine in ("module", "kernel"):
        for host, name in (("none", "balanced"), ("dense", "dense"), ("word", "off")):
            assert tunables[host][engine] == {**profiles[name]["all"], **profiles[name][engine]}
        assert tunables["boolean"] == tunables["word"] == {"module": {"run": 0}, "kernel": {"run": 0}}
        assert tunables["started"][engine] == {"run": 1}
        # A variable that was emptied counts as not set.
        assert tunables["latency"][engine]["sleep_millisecs"] == 50
        assert tunables["override"][engine]["pages_to_scan"] == 7
        assert "pages_to_scan" not in tunables["advised"][engine]
        assert tunables["advised"][engine]["advisor_mode"] == "scan-time"
    assert tunables["override"]["module"] == {
        **tunables["dense"]["module"],
        "pages_to_scan": 7,
        "use_zero_pages": 0,
    }


@pytest.mark.parametrize("engine", ["module", "kernel"])
def test_profiles_are_good_values(engine: Any) -> None:
    """Of tunables that every supported kernel has; those of the module it has itself."""
    everywhere = {"run", "pages_to_scan", "sleep_millisecs"}
    for profile in load(ROLE / "vars/main.yml")["__ksm_profiles"].values():
        values = {**profile["all"], **profile[engine]}
        assert validate(values, engine) == values
        assert engine == "module" or set(values) <= everywhere
