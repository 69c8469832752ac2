# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm_tunables on a host made of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.modules.ksm_tunables import KsmTunables
from ksm.errors import BadValue, EngineUnavailable, TunableError

from fakes import FakeModule, Host

MODPROBE = "etc/modprobe.d/ksm.conf"
TMPFILES = "etc/tmpfiles.d/ksm-fleet.conf"
DEFAULTS: dict[str, Any] = {
    "state": "present",
    "engine": "auto",
    "tunables": None,
    "persist": True,
    "purge": False,
    "unmerge": False,
    "other_engine": "keep",
}


@pytest.fixture
def run(host: Host, scratch: Path) -> Any:
    def run_module(check_mode: bool = False, **params: Any) -> dict[str, Any]:
        module = FakeModule(scratch, check_mode, **{**DEFAULTS, **params})
        return KsmTunables(module, str(host.root)).run()

    return run_module


def test_set_now_and_for_the_next_boot(host: Host, run: Any) -> None:
    host.add_module_engine()
    wanted = {"run": 1, "pages_to_scan": "300"}
    result = run(tunables=wanted)
    assert result["changed"]
    assert result["engine"] == "module"
    assert result["before"] == {"run": 0, "pages_to_scan": 100}
    assert result["after"] == result["tunables"] == {"run": 1, "pages_to_scan": 300}
    assert host.tunable("module", "pages_to_scan") == "300"
    assert host.tunable("module", "run") == "1"
    assert host.read(MODPROBE).splitlines()[-1] == "options ksm pages_to_scan=300 run=1"
    assert (host.root / MODPROBE).stat().st_mode & 0o777 == 0o644
    again = run(tunables=wanted)
    assert not again["changed"]
    assert again["before"] == again["after"]


def test_the_built_in_engine_has_its_own_file(host: Host, run: Any) -> None:
    host.add_kernel_engine()
    run(tunables={"run": 1, "sleep_millisecs": 50})
    assert host.read(TMPFILES).splitlines()[-2:] == [
        "w /sys/kernel/mm/ksm/sleep_millisecs - - - - 50",
        "w /sys/kernel/mm/ksm/run - - - - 1",
    ]
    assert not host.exists(MODPROBE)


def test_check_mode_says_and_does_not(host: Host, run: Any) -> None:
    host.add_module_engine()
    result = run(check_mode=True, tunables={"pages_to_scan": 300})
    assert result["changed"]
    engine, file = result["diff"]
    assert (engine["before"], engine["after"]) == ({"pages_to_scan": 100}, {"pages_to_scan": 300})
    assert file["before"] == ""
    assert "options ksm pages_to_scan=300\n" in file["after"]
    assert host.tunable("module", "pages_to_scan") == "100"
    assert not host.exists(MODPROBE)


def test_check_mode_before_the_module_is_loaded(host: Host, run: Any) -> None:
    result = run(check_mode=True, engine="module", tunables={"run": 1})
    assert result["changed"]
    assert (result["before"], result["after"]) == ({}, {"run": 1})
    with pytest.raises(BadValue, match="0, 1 or 2"):
        run(check_mode=True, engine="module", tunables={"run": 3})
    with pytest.raises(EngineUnavailable, match="modprobe ksm"):
        run(engine="module", tunables={"run": 1})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("pages_to_scan", 0, "1..4294967295"),
        ("pages_to_scan", 4294967296, "4294967296 is out of range"),
        ("sleep_millisecs", -1, "0..4294967295"),
        ("run", 3, "0, 1 or 2"),
        ("run", True, "True is a boolean"),
        ("pages_to_scan", "many", "'many' is not a whole number"),
        ("pages_to_scam", 1, "write pages_to_scan"),
    ],
)
def test_bad_values_change_nothing(host: Host, run: Any, name: str, value: object, said: str) -> None:
    host.add_module_engine()
    with pytest.raises(BadValue, match=name) as caught:
        run(tunables={"sleep_millisecs": 77, name: value})
    assert said in str(caught.value)
    assert host.tunable("module", "sleep_millisecs") == "20"
    assert not host.exists(MODPROBE)


def test_what_is_not_named_stays(host: Host, run: Any) -> None:
    host.add_module_engine()
    run(tunables={"run": 1, "pages_to_scan": 300})
    result = run(tunables={"sleep_millisecs": 5})
    assert result["persisted"] == {"pages_to_scan": 300, "sleep_millisecs": 5, "run": 1}
    assert not run(tunables={"run": 1})["changed"]


def test_purge_brings_the_defaults_back(host: Host, run: Any) -> None:
    host.add_module_engine()
    run(tunables={"run": 1, "pages_to_scan": 300})
    result = run(tunables={"run": 1}, purge=True)
    assert result["persisted"] == result["tunables"] == {"run": 1}
    assert result["after"] == {"run": 1, "pages_to_scan": 100}
    assert host.tunable("module", "pages_to_scan") == "100"
    assert not run(tunables={"run": 1}, purge=True)["changed"]


def test_only_until_the_reboot(host: Host, run: Any) -> None:
    host.add_module_engine()
    assert run(tunables={"run": 1}, persist=False)["changed"]
    assert not host.exists(MODPROBE)


def full_disk(_source: str, _destination: str) -> None:
    raise OSError(28, "No space left on device")


def test_so_it_does_where_the_advisor_ran(host: Host, scratch: Path) -> None:
    """Whose pages_to_scan nobody may set."""
    host.add_module_engine(run="1", advisor_mode="none [scan-time]", pages_to_scan="500")
    module = FakeModule(scratch, **{**DEFAULTS, "tunables": {"advisor_mode": "none", "pages_to_scan": 1000}})

    module.atomic_move = full_disk  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left"):
        KsmTunables(module, str(host.root)).run()
    assert host.tunable("module", "advisor_mode") == "scan-time"


def test_a_file_that_cannot_be_written_undoes_all(host: Host, scratch: Path) -> None:
    host.add_module_engine()
    host.add_kernel_engine(run="1")
    module = FakeModule(
        scratch,
        **{**DEFAULTS, "tunables": {"run": 1, "pages_to_scan": 300}, "other_engine": "stop"},
    )

    module.atomic_move = full_disk  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left"):
        KsmTunables(module, str(host.root)).run()
    assert host.tunable("module", "pages_to_scan") == "100"
    assert host.tunable("module", "run") == "0"
    assert host.tunable("kernel", "run") == "1"


class TestOtherEngine:
    def test_kept_it_is_in_the_way(self, host: Host, run: Any) -> None:
        host.add_module_engine()
        host.add_kernel_engine(run="1")
        with pytest.raises(TunableError, match="while the kernel engine runs"):
            run(engine="module", tunables={"run": 1})

    @pytest.mark.parametrize(("policy", "left"), [("stop", "0"), ("unmerge", "2")])
    def test_it_gives_way(self, host: Host, run: Any, policy: str, left: str) -> None:
        host.add_kernel_engine()
        run(engine="kernel", tunables={"run": 1})
        host.add_module_engine()
        args = {"engine": "module", "tunables": {"run": 1}, "other_engine": policy}
        expected = run(check_mode=True, **args)
        assert host.tunable("kernel", "run") == "1"
        result = run(**args)
        assert {k: expected[k] for k in result} == result
        assert result["changed"]
        assert result["other_engine_stopped"]
        assert host.tunable("kernel", "run") == left
        assert host.tunable("module", "run") == "1"
        assert not host.exists(TMPFILES)
        assert not run(**args)["changed"]

    def test_it_runs_on_when_this_one_fails(self, host: Host, run: Any) -> None:
        host.add_module_engine()
        host.add_kernel_engine(run="1", pages_sharing="99999999", pages_shared="1")
        with pytest.raises(TunableError, match="MemAvailable"):
            run(engine="module", tunables={"run": 1}, other_engine="unmerge")
        assert host.tunable("kernel", "run") == "1"
        assert host.tunable("module", "run") == "0"


class TestAbsent:
    def test_stops_and_forgets(self, host: Host, run: Any) -> None:
        host.add_kernel_engine()
        run(tunables={"run": 1, "pages_to_scan": 300})
        result = run(state="absent", engine="kernel")
        assert result["changed"]
        assert host.tunable("kernel", "run") == "0"
        assert host.tunable("kernel", "pages_to_scan") == "100"
        assert not host.exists(TMPFILES)
        assert not run(state="absent", engine="kernel")["changed"]

    def test_unmerges_when_told(self, host: Host, run: Any) -> None:
        host.add_module_engine(run="1")
        run(state="absent", engine="module", unmerge=True)
        assert host.tunable("module", "run") == "2"

    def test_refuses_to_unmerge_without_memory(self, host: Host, run: Any) -> None:
        host.add_module_engine(run="1", pages_sharing="2560")
        host.write("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 5120 kB\n")
        with pytest.raises(TunableError, match=r"10.0 MiB that are saved, and only 5.0 MiB"):
            run(state="absent", engine="module", unmerge=True)
        assert host.tunable("module", "run") == "1"

    def test_never_unmerges_on_its_own(self, host: Host, run: Any) -> None:
        host.add_kernel_engine(run="0")
        run(tunables={"max_page_sharing": 64})
        run(state="absent", engine="kernel")
        assert host.tunable("kernel", "max_page_sharing") == "64"
        assert not host.exists(TMPFILES)

    def test_forgets_without_the_engine(self, host: Host, run: Any) -> None:
        host.write(MODPROBE, "options ksm run=1\n")
        assert run(state="absent", engine="module")["changed"]
        assert not host.exists(MODPROBE)
        assert not run(state="absent", engine="module")["changed"]
