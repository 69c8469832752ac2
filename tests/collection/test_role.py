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
from ksm.tunables import TUNABLES

from fakes import TREE

ROLE = TREE / "roles/ksm"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


OPTIONS = load(ROLE / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_every_tunable_is_a_variable_with_its_range() -> None:
    ranges = load(ROLE / "vars/main.yml")["__ksm_ranges"]
    for name, tunable in TUNABLES.items():
        option = OPTIONS[f"ksm_{name}"]
        if tunable.kind == "choice":
            assert tuple(option["choices"]) == tunable.choices
            continue
        assert ranges[name] == [tunable.minimum, tunable.maximum], name
        listed = option.get("choices")
        assert listed is None or listed == list(range(ranges[name][0], ranges[name][1] + 1))
    assert set(ranges) < set(TUNABLES)


def test_every_tunable_reaches_the_host() -> None:
    given = load(ROLE / "vars/main.yml")["__ksm_given"]
    for name in TUNABLES:
        assert f"'{name}': ksm_{name}" in given


def test_defaults_are_those_that_are_documented() -> None:
    defaults = load(ROLE / "defaults/main.yml")
    documented = {name: o["default"] for name, o in OPTIONS.items() if "default" in o}
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
    wanted = {"FILES.json", "MANIFEST.json", "README.md", "meta", "playbooks", "plugins", "roles"}
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
