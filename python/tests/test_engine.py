# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import System

from ksm.engine import Engine, available_engines, select
from ksm.errors import EngineUnavailable, NoSuchAttribute

KTHREAD = 0x00200000
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def test_the_engines_lie_where_sysfs_has_them() -> None:
    assert str(Engine.module().root) == "/sys/class/misc/ksm"
    assert str(Engine.kernel().root) == "/sys/kernel/mm/ksm"


def test_reads_numbers_signs_and_choices(system: System) -> None:
    engine = system.add_kernel(general_profit=-123456, advisor_mode="none [scan-time]")
    assert engine.read("pages_to_scan") == 100
    assert engine.read("general_profit") == -123456
    assert engine.read("advisor_mode") == "scan-time"


def test_a_list_of_users_is_text(system: System) -> None:
    engine = system.add_module(scan_all_exclude_uids="33")
    assert engine.read("scan_all_exclude_uids") == "33"
    engine.write("scan_all_exclude_uids", "")
    assert engine.read("scan_all_exclude_uids") == ""


def test_missing_attributes_are_left_out(system: System) -> None:
    engine = system.add_module()
    (engine.root / "adopt_mergeable").unlink()
    (engine.root / "metadata_bytes").unlink()
    (engine.root / "thread_pid").unlink()
    (engine.root / "of_a_newer_module").write_text("7\n")
    snapshot = engine.snapshot()
    assert snapshot["tunables"] == {"run": 0, "pages_to_scan": 100, "sleep_millisecs": 20}
    assert "metadata_bytes" not in engine.counters()
    assert "thread_pid" not in snapshot
    assert "thread_cpu_seconds" not in snapshot


def test_read_of_an_unknown_attribute_names_it(system: System) -> None:
    engine = system.add_module()
    with pytest.raises(NoSuchAttribute, match="smart_scan"):
        engine.read("smart_scan")
    with pytest.raises(NoSuchAttribute, match="no name"):
        engine.read("../../module/ksm/version")


def test_snapshot_of_the_module_is_json(system: System) -> None:
    engine = system.add_module()
    system.add_task(512, "kksmd", KTHREAD, 3 * TICKS, TICKS // 2)
    snapshot = json.loads(json.dumps(engine.snapshot()))
    assert snapshot["engine"] == "module"
    assert snapshot["version"] == "0.1.0"
    assert snapshot["thread_pid"] == 512
    assert snapshot["thread_cpu_seconds"] == pytest.approx(3.5)
    assert snapshot["counters"]["general_profit"] == -4096
    assert snapshot["saved_bytes"] == 2032 * PAGE
    assert snapshot["kernel"] == os.uname().release


@pytest.mark.parametrize("version", [None, "\n"])
def test_a_module_without_version_has_none(system: System, version: str | None) -> None:
    engine = system.add_module(version=version)
    assert engine.version() is None
    assert "version" not in engine.snapshot()


def test_zero_pages_count_as_saved(system: System) -> None:
    engine = system.add_kernel(pages_sharing=10, ksm_zero_pages=7)
    assert engine.saved_bytes() == 17 * PAGE


def test_ksmd_is_the_kernel_thread_of_that_name(system: System) -> None:
    engine = system.add_kernel()
    assert engine.thread_pid() is None
    assert engine.thread_cpu_seconds() is None
    system.add_task(40, "ksmd", 0, 900, 900)
    assert engine.thread_pid() is None
    system.add_task(42, "ksmd", KTHREAD, TICKS, TICKS)
    assert engine.thread_pid() == 42
    assert engine.thread_cpu_seconds() == pytest.approx(2.0)


def test_a_name_may_hold_parentheses_and_spaces(system: System) -> None:
    system.add_task(512, "a) S 1 (b", KTHREAD, TICKS, 0)
    assert system.add_module().thread_cpu_seconds() == pytest.approx(1.0)


def test_an_ended_thread_has_no_cpu_time(system: System) -> None:
    assert system.add_module(thread_pid=513).thread_cpu_seconds() is None
    assert system.add_module(thread_pid=0).thread_pid() is None


def test_all_threads_are_asked_for_their_cpu_time(system: System) -> None:
    for pid in (512, 513, 514):
        system.add_task(pid, "ksm_scan", KTHREAD, TICKS, 0)
    engine = system.add_module(thread_pids="512 514 0")
    assert engine.thread_pids() == [512, 514]
    assert engine.thread_cpu_seconds() == pytest.approx(2.0)
    assert system.add_module(thread_pids=513).thread_pids() == [513]


def test_a_module_that_has_one_thread_says_so(system: System) -> None:
    assert system.add_module().thread_pids() == [512]


def test_select_prefers_the_module(system: System) -> None:
    with pytest.raises(EngineUnavailable, match="modprobe ksm"):
        select("auto", system.root)
    system.add_kernel()
    assert select("auto", system.root).name == "kernel"
    with pytest.raises(EngineUnavailable, match="modprobe ksm"):
        select("module", system.root)
    system.add_module()
    assert select("auto", system.root).name == "module"
    assert select("kernel", system.root).name == "kernel"
    assert [engine.name for engine in available_engines(system.root)] == ["module", "kernel"]
    with pytest.raises(EngineUnavailable, match="'uksm' is unknown"):
        select("uksm", system.root)


def test_a_missing_engine_says_so(system: System) -> None:
    with pytest.raises(EngineUnavailable, match="CONFIG_KSM"):
        Engine.kernel(system.root).snapshot()
    with pytest.raises(EngineUnavailable, match="is missing"):
        Engine.module(system.root).read("run")


def test_a_given_root_has_no_other_engine(system: System, tmp_path: Path) -> None:
    module = system.add_module()
    system.add_kernel()
    other = module.other()
    assert other is not None
    assert other.name == "kernel"
    assert Engine("module", module.root, system=tmp_path).other() is None


def test_write_makes_no_file(system: System) -> None:
    engine = Engine("module", system.add_module().root)
    with pytest.raises(FileNotFoundError):
        engine.write("no_such", 1)
    assert not engine.has("no_such")
    engine.write("pages_to_scan", 7)
    assert (engine.root / "pages_to_scan").read_text() == "7\n"


@pytest.mark.skipif(not Engine.kernel().present(), reason="this kernel has no KSM")
def test_the_kernel_of_this_host() -> None:
    engine = Engine.kernel()
    snapshot = engine.snapshot()
    names = {entry.name for entry in engine.root.iterdir()}
    assert names == {*engine.tunables(), *engine.counters()}
    assert isinstance(snapshot["saved_bytes"], int)
