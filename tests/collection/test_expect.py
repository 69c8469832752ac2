# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm_expect: what it takes is what the client takes; what it returns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.ksm.fleet.plugins.modules import ksm_expect
from ksm.errors import BadValue
from ksm.expect import EXPECTATIONS

from fakes import Host

BOOT = "6f0cdbd8-9b1b-4b62-bd4e-0e4d6f0cdbd8"


@pytest.fixture
def merging(host: Host) -> Host:
    host.add_module_engine()
    host.write("dev/kmsg", "6,1,100,-;Linux version 6.12\n")
    host.write("proc/sys/kernel/random/boot_id", BOOT + "\n")
    host.write("proc/pressure/memory", "some avg10=0.00 avg60=2.00 avg300=0.10 total=5\n")
    return host


def look(host: Host, **expected: Any) -> dict[str, Any]:
    return ksm_expect.look({"expect": expected, "seconds": 0, "since": ""}, str(host.root))


def spec(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    monkeypatch.setattr(ksm_expect, "AnsibleModule", lambda **words: taken.update(words))
    ksm_expect.build_module()
    return taken["argument_spec"]


def test_takes_what_the_client_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    options = spec(monkeypatch)["expect"]["options"]
    assert set(options) == set(EXPECTATIONS)
    types = {"minimum": "float", "maximum": "float", "switch": "bool", "same": "str"}
    for name, expectation in EXPECTATIONS.items():
        assert options[name]["type"] == types[expectation.kind]
        assert tuple(options[name].get("choices", ())) == expectation.choices


def test_findings(merging: Host) -> None:
    found = look(merging, saved_mib_min=4.0, memory_pressure_max=1.0, engine=None)
    assert found["ok"] is False
    assert [(f["name"], f["ok"]) for f in found["findings"]] == [
        ("saved_mib_min", False),
        ("memory_pressure_max", False),
    ]
    assert look(merging, saved_mib_min=3.9, memory_pressure_max=2.0)["ok"] is True


def test_only_observing(merging: Host) -> None:
    found = look(merging)
    assert (found["ok"], found["findings"]) == (True, [])
    assert found["observation"]["mark"] == f"{BOOT}:1"
    json.dumps(found)


def test_bad_range_is_told_before_looking(merging: Host) -> None:
    with pytest.raises(BadValue, match="write a number in 0..100"):
        look(merging, memory_pressure_max=101.0)


def call(monkeypatch: pytest.MonkeyPatch, capsys: Any, root: Path, **arguments: Any) -> dict[str, Any]:
    """Run the module as Ansible does, on that root."""
    words = json.dumps({"ANSIBLE_MODULE_ARGS": {"_ansible_remote_tmp": str(root), **arguments}})
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", words.encode())
    # Of newer releases.
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    real = ksm_expect.look
    monkeypatch.setattr(ksm_expect, "look", lambda params: real(params, str(root)))
    with pytest.raises(SystemExit):
        ksm_expect.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("fail", [True, False])
def test_fail(merging: Host, monkeypatch: pytest.MonkeyPatch, capsys: Any, fail: bool) -> None:
    said = call(monkeypatch, capsys, merging.root, expect={"saved_mib_min": 100}, seconds=0, fail=fail)
    assert said.get("failed", False) is fail
    assert said["ok"] is False
    assert said["findings"][0]["found"] == pytest.approx(3.9375)
    if fail:
        assert said["msg"] == ("Merging is not as expected: saved_mib_min: 3.94 MiB, but wanted at least 100 MiB.")


def test_seconds(merging: Host, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    said = call(monkeypatch, capsys, merging.root, seconds=-1)
    assert said["failed"]
    assert "write 0..86400" in said["msg"]
