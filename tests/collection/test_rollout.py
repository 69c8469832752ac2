# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host keeps of a rollout, and what is brought back from it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.module_utils import rollout_record
from ansible_collections.ksm.fleet.plugins.modules import ksm_rollout

from fakes import Failed, FakeModule, Host

RECORD = "var/lib/ksm-fleet/rollout.json"
STATUS = """\
Package: ksm-dkms
Status: {}
Version: {}

Package: ksm-tools
Status: install ok installed
Version: {}

"""


def run(host: Host, scratch: Path, check: bool = False, **params: Any) -> dict[str, Any]:
    given = {"state": "read", "id": None, "outcome": None, "text": "", **params}
    given.setdefault("parts", ["files", "engines"])
    module = FakeModule(scratch, check, **given)
    return ksm_rollout.KsmRollout(module, str(host.root)).run()  # type: ignore[arg-type]


def installed(host: Host, version: str, status: str = "install ok installed") -> None:
    host.write("var/lib/dpkg/status", STATUS.format(status, version, version))


@pytest.fixture
def running(host: Host) -> Host:
    """0.1.0, loaded, with tunables that hold over a reboot and a repository."""
    installed(host, "0.1.0")
    host.add_kernel_engine()
    host.add_module_engine("0.1.0", run="1", pages_to_scan="500", pages_shared="0")
    host.write("etc/modprobe.d/ksm.conf", "# mine\noptions ksm pages_to_scan=500 run=1\n")
    host.write("etc/apt/sources.list.d/ksm-fleet.sources", "URIs: http://old\n")
    key = host.root / "etc/apt/keyrings/ksm-fleet.gpg"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"\x99\x00\xffkey")
    # As sysfs has them: only tunables can be written.
    for folder in ("sys/class/misc/ksm", "sys/kernel/mm/ksm"):
        for name in ("pages_shared", "pages_sharing", "thread_pid"):
            path = host.root / folder / name
            if path.exists():
                path.chmod(0o444)
    return host


def test_what_is_kept(running: Host, scratch: Path) -> None:
    running.write("proc/sys/kernel/random/boot_id", "b\n")
    running.write("dev/kmsg", "6,1234,99,-;hello\n")
    told = run(running, scratch, state="begun", id="x")
    assert told["changed"]
    record = json.loads(running.read(RECORD))
    assert record == told["record"]
    assert (record["id"], record["outcome"], record["log_mark"]) == ("x", None, "b:1234")
    before = record["before"]
    assert before["packages"] == {"ksm-dkms": "0.1.0", "ksm-tools": "0.1.0", "python3-ksm": None}
    assert (before["module_loaded"], before["module_version"]) == (True, "0.1.0")
    assert before["tunables"]["module"] == {
        "run": 1,
        "pages_to_scan": 500,
        "sleep_millisecs": 20,
        "adopt_mergeable": 0,
    }
    assert before["files"]["/etc/modprobe.d/ksm.conf"]["mode"] == "0644"
    assert before["files"]["/etc/modules-load.d/ksm.conf"] is None
    assert "content" not in told["diff"]["after"], "nobody reads base64"


def test_check_mode_keeps_nothing(running: Host, scratch: Path) -> None:
    assert run(running, scratch, check=True, state="begun", id="x")["changed"]
    assert not running.exists(RECORD)


def test_a_rerun_does_not_take_a_host_that_is_changed_in_half(running: Host, scratch: Path) -> None:
    run(running, scratch, state="begun", id="x")
    good = running.read(RECORD)
    installed(running, "0.2.0", "install ok half-configured")
    told = run(running, scratch, state="begun", id="x")
    assert not told["changed"]
    assert running.read(RECORD) == good
    assert told["pins"] == ["ksm-dkms=0.1.0", "ksm-tools=0.1.0"]

    # Nor does another rollout after one that did not end well.
    run(running, scratch, state="ended", outcome="failed", text="it burns")
    told = run(running, scratch, state="begun", id="y")
    assert told["changed"]
    assert told["record"]["before"] == json.loads(good)["before"]
    assert (told["record"]["id"], told["record"]["outcome"]) == ("y", None)


@pytest.mark.parametrize("outcome", ["passed", "rolled_back"])
def test_a_host_that_is_whole_is_taken_anew(running: Host, scratch: Path, outcome: str) -> None:
    run(running, scratch, state="begun", id="x")
    installed(running, "0.2.0")
    run(running, scratch, state="ended", outcome=outcome)
    told = run(running, scratch, state="begun", id="y")
    assert told["record"]["before"]["packages"]["ksm-dkms"] == "0.2.0"


def test_a_rollout_that_passed_goes_on_with_its_record(running: Host, scratch: Path) -> None:
    run(running, scratch, state="begun", id="x")
    run(running, scratch, state="ended", outcome="passed")
    installed(running, "0.2.0")
    told = run(running, scratch, state="begun", id="x")
    assert not told["changed"]
    assert told["record"]["outcome"] == "passed"
    assert not run(running, scratch, state="ended", outcome="passed")["changed"]


def test_why_it_was_taken_back_outlives_that_it_was(running: Host, scratch: Path) -> None:
    run(running, scratch, state="begun", id="x")
    run(running, scratch, state="ended", outcome="failed", text="it burns")
    told = run(running, scratch, state="ended", outcome="rolled_back", text="by hand")
    assert told["record"]["text"] == "it burns; by hand"
    assert not run(running, scratch, state="ended", outcome="rolled_back", text="once more")["changed"]


def test_an_attempt_after_a_crash_counts_from_its_own_boot(running: Host, scratch: Path) -> None:
    running.write("dev/kmsg", "6,7,99,-;hello\n")
    running.write("proc/sys/kernel/random/boot_id", "one\n")
    run(running, scratch, state="begun", id="x")
    running.write("dev/kmsg", "6,9,99,-;hello\n")
    assert run(running, scratch, state="begun", id="x")["record"]["log_mark"] == "one:7"
    running.write("proc/sys/kernel/random/boot_id", "two\n")
    again = run(running, scratch, state="begun", id="x")["record"]
    assert again["log_mark"] == "two:9"
    assert again["before"] == json.loads(running.read(RECORD))["before"]


def test_a_crash_while_it_is_written_leaves_the_old_record(
    running: Host, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(running, scratch, state="begun", id="x")
    good = running.read(RECORD)
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        run(running, scratch, state="ended", outcome="passed")
    assert running.read(RECORD) == good
    assert [path.name for path in (running.root / RECORD).parent.iterdir()] == ["rollout.json"]


def test_all_is_brought_back(running: Host, scratch: Path) -> None:
    run(running, scratch, state="begun", id="x")
    before = {path: path.read_bytes() for path in (running.root / "etc").rglob("*") if path.is_file()}
    running.write("etc/modprobe.d/ksm.conf", "options ksm pages_to_scan=9 run=1 scan_threads=2\n")
    running.write("etc/modules-load.d/ksm.conf", "ksm\n")
    running.write("etc/ksm/policy.d/tenant.conf", "new\n")
    running.write("etc/apt/sources.list.d/ksm-fleet.sources", "URIs: http://new\n")
    (running.root / "etc/apt/keyrings/ksm-fleet.gpg").unlink()
    running.write("sys/class/misc/ksm/pages_to_scan", "9\n")
    running.write("sys/class/misc/ksm/run", "0\n")

    told = run(running, scratch, check=True, state="restored")
    assert told["changed"]
    assert running.tunable("module", "pages_to_scan") == "9"

    told = run(running, scratch, state="restored", parts=["files"])
    assert told["changed"] and told["sources_changed"]
    assert not running.exists("etc/modules-load.d/ksm.conf")
    assert running.tunable("module", "pages_to_scan") == "9", "only what was asked for"
    told = run(running, scratch, state="restored")
    assert told["changed"] and told["problems"] == []
    after = {path: path.read_bytes() for path in (running.root / "etc").rglob("*") if path.is_file()}
    assert after == before
    assert stat.S_IMODE((running.root / "etc/apt/keyrings/ksm-fleet.gpg").stat().st_mode) == 0o644
    assert running.tunable("module", "pages_to_scan") == "500"
    assert running.tunable("module", "run") == "1"

    assert not run(running, scratch, state="restored")["changed"], "once more changes nothing"


def test_what_is_not_as_it_was_is_told(running: Host, scratch: Path) -> None:
    run(running, scratch, state="begun", id="x")
    installed(running, "0.2.0")
    running.write("sys/module/ksm/version", "0.2.0\n")
    with pytest.raises(Failed, match="package ksm-dkms is 0.2.0, was 0.1.0") as failed:
        run(running, scratch, state="restored")
    assert "version of ksm.ko is 0.2.0, was 0.1.0" in str(failed.value)
    assert "Remedy: " in str(failed.value)


def test_the_builtin_engine_without_our_package(host: Host, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that had nothing of ours, but whose own ksmd ran: the role had stopped it."""
    monkeypatch.setattr(ksm_rollout.client, "IMPORT_ERROR", "no module named ksm")
    host.add_kernel_engine(run="1", pages_to_scan="321")
    for name in ("pages_shared", "pages_sharing"):
        (host.root / "sys/kernel/mm/ksm" / name).chmod(0o444)
    told = run(host, scratch, state="begun", id="x")
    assert told["installed"] is False
    host.write("sys/kernel/mm/ksm/run", "0\n")
    host.write("sys/kernel/mm/ksm/pages_to_scan", "100\n")
    run(host, scratch, state="restored")
    assert (host.tunable("kernel", "run"), host.tunable("kernel", "pages_to_scan")) == ("1", "321")


def test_what_the_advisor_sets_is_not_brought_back(running: Host, scratch: Path) -> None:
    running.write("sys/class/misc/ksm/advisor_mode", "none [scan-time]\n")
    told = run(running, scratch, state="begun", id="x")
    assert told["record"]["before"]["tunables"]["module"]["advisor_mode"] == "scan-time"
    assert "pages_to_scan" not in told["record"]["before"]["tunables"]["module"]


def test_packages_that_were_not_there_are_surplus(host: Host, scratch: Path) -> None:
    host.write("var/lib/dpkg/status", STATUS.format("deinstall ok config-files", "0.1.0", "0.1.0"))
    run(host, scratch, state="begun", id="x")
    installed(host, "0.2.0")
    told = run(host, scratch)
    assert told["surplus"] == ["ksm-dkms"]
    assert told["pins"] == ["ksm-tools=0.1.0"]


def test_an_interrupted_dpkg_is_seen(host: Host, scratch: Path) -> None:
    assert run(host, scratch)["interrupted"] is False
    host.write("var/lib/dpkg/updates/0001", "")
    assert run(host, scratch)["interrupted"] is True


def test_a_host_without_a_record_is_told(host: Host, scratch: Path) -> None:
    assert run(host, scratch)["record"] is None
    with pytest.raises(Failed, match="no rollout has begun here. Remedy: "):
        run(host, scratch, state="restored")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', "{}"])
def test_a_record_that_cannot_be_used_is_told_and_kept(host: Host, scratch: Path, text: str) -> None:
    host.write(RECORD, text)
    with pytest.raises(rollout_record.Unreadable, match="Remedy: "):
        run(host, scratch, state="begun", id="x")
    assert host.read(RECORD) == text
