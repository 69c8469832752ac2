# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import errno
import itertools
import os
import signal
import threading
from typing import Any

import pytest
from conftest import MIB, MainlineEngine, System

from ksm import turn
from ksm.errors import BadValue, EngineUnavailable
from ksm.tunables import Change, TunableError, apply

PAGE = os.sysconf("SC_PAGE_SIZE")
EINVAL = OSError(errno.EINVAL, "Invalid argument")
EIO = OSError(errno.EIO, "Input/output error")


def test_start_writes_run_last(system: System) -> None:
    engine = system.add_module()
    change = apply(engine, {"run": 1, "sleep_millisecs": 5, "pages_to_scan": 200})
    assert engine.writes == [("pages_to_scan", 200), ("sleep_millisecs", 5), ("run", 1)]
    assert change == Change(
        {"run": 0, "sleep_millisecs": 20, "pages_to_scan": 100},
        {"run": 1, "sleep_millisecs": 5, "pages_to_scan": 200},
        True,
    )


@pytest.mark.parametrize("run", [0, 2])
def test_stop_writes_run_first(system: System, run: int) -> None:
    engine = system.add_module(run=1)
    apply(engine, {"sleep_millisecs": 5, "run": run})
    assert engine.writes == [("run", run), ("sleep_millisecs", 5)]


def test_what_stands_already_is_not_written(system: System) -> None:
    engine = system.add_kernel(run=1)
    change = apply(engine, {"run": 1, "advisor_mode": "none", "smart_scan": True})
    assert engine.writes == []
    assert not change.changed
    assert change.before == change.after == {"run": 1, "advisor_mode": "none", "smart_scan": 1}


def test_check_writes_nothing(system: System) -> None:
    engine = system.add_kernel(run=1)
    change = apply(engine, {"run": 2, "pages_to_scan": 7}, check=True)
    assert engine.writes == []
    assert change == Change({"run": 1, "pages_to_scan": 100}, {"run": 2, "pages_to_scan": 7}, True)


def test_one_bad_value_keeps_all(system: System) -> None:
    engine = system.add_kernel()
    with pytest.raises(BadValue, match="run: 7 is out of range"):
        apply(engine, {"pages_to_scan": 7, "run": 7})
    assert engine.writes == []


def test_a_missing_engine_is_told(system: System) -> None:
    with pytest.raises(EngineUnavailable, match="modprobe ksm"):
        apply(MainlineEngine("module", system.root), {"run": 1})


@pytest.mark.parametrize(
    ("run", "wanted", "writes"),
    [
        (1, {}, [("run", 2), ("merge_across_nodes", 0), ("run", 1)]),
        (0, {}, [("run", 2), ("merge_across_nodes", 0), ("run", 0)]),
        (2, {}, [("merge_across_nodes", 0)]),
        (1, {"run": 0}, [("run", 2), ("merge_across_nodes", 0), ("run", 0)]),
        (1, {"run": 2}, [("run", 2), ("merge_across_nodes", 0)]),
        (0, {"run": 1}, [("run", 2), ("merge_across_nodes", 0), ("run", 1)]),
    ],
)
def test_unmerges_for_merge_across_nodes(
    system: System, run: int, wanted: dict[str, int], writes: list[tuple[str, int]]
) -> None:
    engine = system.add_kernel(run=run, pages_shared=0 if run == 2 else 9)
    apply(engine, {"merge_across_nodes": 0, **wanted})
    assert engine.writes == writes


@pytest.mark.parametrize(("name", "value"), [("domain_mode", "cgroup"), ("max_page_sharing", 8)])
def test_unmerges_for_whatever_needs_it(system: System, name: str, value: str | int) -> None:
    engine = system.add_module(run=1, domain_mode="[global] user cgroup process", max_page_sharing=256)
    apply(engine, {name: value, "pages_to_scan": 500})
    order = [written for written, _ in engine.writes]
    assert order.index("run") < order.index(name) < len(order) - 1
    assert (engine.writes[0], engine.writes[-1]) == (("run", 2), ("run", 1))


def test_an_idle_engine_need_not_unmerge(system: System) -> None:
    engine = system.add_kernel()
    apply(engine, {"max_page_sharing": 8})
    assert engine.writes == [("max_page_sharing", 8)]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"run": 2}, "run: 2"),
        ({"max_page_sharing": 8}, "max_page_sharing: 8"),
        ({"run": 0, "merge_across_nodes": 0}, "merge_across_nodes: 0"),
    ],
)
def test_refuses_to_unmerge_without_memory(system: System, check: bool, changes: dict[str, int], who: str) -> None:
    pages = 200 * MIB // PAGE
    engine = system.add_kernel(run=1, pages_shared=4, pages_sharing=pages)
    system.set_available(150 * MIB)
    with pytest.raises(TunableError) as caught:
        apply(engine, changes, check=check)
    assert str(caught.value).startswith(who)
    assert "200.0 MiB" in str(caught.value)
    assert "150.0 MiB" in str(caught.value)
    assert "run=0" in str(caught.value)
    assert not isinstance(caught.value, BadValue)
    assert engine.writes == []
    system.set_available(200 * MIB)
    assert apply(engine, changes, check=check).changed


def test_stopping_needs_no_memory(system: System) -> None:
    engine = system.add_kernel(run=1, pages_shared=4, pages_sharing=10**6)
    system.set_available(MIB)
    apply(engine, {"run": 0})
    assert engine.read("run") == 0


@pytest.mark.parametrize("pages", [200, 500])
def test_pages_to_scan_is_the_advisors(system: System, pages: int) -> None:
    engine = system.add_kernel(advisor_mode="none [scan-time]", pages_to_scan=500)
    with pytest.raises(TunableError, match=r"pages_to_scan: .* while advisor_mode is scan-time"):
        apply(engine, {"pages_to_scan": pages})
    assert engine.writes == []


def test_pages_to_scan_and_an_advisor_contradict(system: System) -> None:
    with pytest.raises(TunableError, match="leave it out, or set advisor_mode=none"):
        apply(system.add_kernel(), {"pages_to_scan": 100, "advisor_mode": "scan-time"})


def test_the_advisor_goes_before_pages_to_scan_is_set(system: System) -> None:
    engine = system.add_kernel(advisor_mode="none [scan-time]", pages_to_scan=500)
    # 500 stands already, but dropping the advisor sets it to 100.
    apply(engine, {"pages_to_scan": 500, "advisor_mode": "none"})
    assert engine.read("pages_to_scan") == 500
    assert engine.writes == [("advisor_mode", "none"), ("pages_to_scan", 500)]


def test_the_advisor_starts_from_the_new_minimum(system: System) -> None:
    engine = system.add_kernel()
    apply(engine, {"advisor_mode": "scan-time", "advisor_min_pages_to_scan": 900})
    assert engine.read("pages_to_scan") == 900


def test_the_advisors_limits_keep_their_order(system: System) -> None:
    engine = system.add_kernel()
    with pytest.raises(TunableError, match=r"40000 is more than advisor_max.* which is 30000"):
        apply(engine, {"advisor_min_pages_to_scan": 40000})
    apply(engine, {"advisor_min_pages_to_scan": 40000, "advisor_max_pages_to_scan": 50000})


def test_refuses_two_engines_at_once(system: System) -> None:
    module = system.add_module()
    system.add_kernel(run=1)
    with pytest.raises(TunableError, match=r"the kernel engine runs.*--engine kernel run=0"):
        apply(module, {"run": 1})
    assert module.writes == []
    apply(module, {"run": 2, "pages_to_scan": 9})


def test_a_running_engine_stays_tunable_beside_another(system: System) -> None:
    module = system.add_module(run=1)
    system.add_kernel(run=1)
    apply(module, {"run": 1, "pages_to_scan": 9})
    assert module.read("pages_to_scan") == 9


def test_a_failed_write_is_undone_and_named(system: System) -> None:
    engine = system.add_kernel()
    engine.fail["run"] = EIO
    with pytest.raises(TunableError) as caught:
        apply(engine, {"run": 1, "pages_to_scan": 7, "sleep_millisecs": 8})
    assert engine.tunables()["pages_to_scan"] == 100
    assert engine.tunables()["sleep_millisecs"] == 20
    assert (caught.value.name, caught.value.value, caught.value.errno) == ("run", 1, errno.EIO)
    assert "run: writing 1 to" in str(caught.value)
    assert "EIO" in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_an_interrupt_undoes(system: System) -> None:
    engine = system.add_kernel()
    engine.fail["run"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        apply(engine, {"run": 1, "pages_to_scan": 7})
    assert engine.read("pages_to_scan") == 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_so_does_a_process_that_is_told_to_end(system: System, number: int) -> None:
    engine = system.add_kernel(run=1, pages_shared=3)
    # Whoever runs the tests may have it ignored, as nohup has.
    before = signal.signal(number, signal.SIG_DFL)

    class Slow(MainlineEngine):
        def write(self, name: str, value: Any) -> None:
            super().write(name, value)
            if (name, value) == ("run", 2):
                os.kill(os.getpid(), number)

    try:
        with pytest.raises(SystemExit):
            apply(Slow("kernel", system.root), {"max_page_sharing": 9})
        assert (engine.read("run"), engine.read("max_page_sharing")) == (1, 256)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_was_unmerged_is_told(system: System) -> None:
    engine = system.add_kernel(run=1, pages_shared=3)
    engine.fail["max_page_sharing"] = EIO
    with pytest.raises(TunableError, match="nothing was changed, but everything was unmerged"):
        apply(engine, {"max_page_sharing": 9})


def test_one_at_a_time(system: System) -> None:
    engine = system.add_kernel()
    done: list[Change] = []
    other = threading.Thread(target=lambda: done.append(apply(engine, {"pages_to_scan": 7})))
    with turn.taken(system.root):
        other.start()
        other.join(0.2)
        assert not done
        assert engine.read("pages_to_scan") == 100
    other.join()
    assert done[0].changed


def test_a_failed_unmerge_starts_again(system: System) -> None:
    engine = system.add_kernel(run=1, pages_shared=3)
    engine.fail["run"] = OSError(errno.ENOMEM, "Cannot allocate memory")
    with pytest.raises(TunableError, match="ENOMEM"):
        apply(engine, {"max_page_sharing": 9})
    assert engine.read("run") == 1


def test_says_what_could_not_be_put_back(system: System) -> None:
    engine = system.add_kernel()

    class Stubborn(MainlineEngine):
        def write(self, name: str, value: Any) -> None:
            if name == "sleep_millisecs" or (name, value) == ("pages_to_scan", 100):
                raise EINVAL
            super().write(name, value)

    stubborn = Stubborn("kernel", system.root)
    with pytest.raises(TunableError, match="could not put back pages_to_scan to 100"):
        apply(stubborn, {"pages_to_scan": 7, "sleep_millisecs": 8})
    assert engine.read("pages_to_scan") == 7


def test_who_may_not_write_is_told(system: System) -> None:
    engine = system.add_kernel()
    engine.fail["run"] = PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(TunableError, match="only root may"):
        apply(engine, {"run": 1})


RUNS = (0, 1, 2)
MODES = ("none", "scan-time")
FAILS = ("", "run", "merge_across_nodes", "pages_to_scan", "advisor_mode", "sleep_millisecs")


@pytest.mark.parametrize("fail", FAILS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("run", RUNS)
def test_all_or_nothing_from_any_state(system: System, run: int, mode: str, fail: str) -> None:
    """From every state to every other, with a failure of every write: the old or the new one."""
    names = ("run", "merge_across_nodes", "advisor_mode", "pages_to_scan", "sleep_millisecs")
    wanted_of = itertools.product(RUNS, (0, 1), MODES, (None, 100, 700), (30,))
    for values in wanted_of:
        wanted = {k: v for k, v in zip(names, values) if v is not None}
        if wanted["advisor_mode"] == "scan-time" and "pages_to_scan" in wanted:
            continue
        engine = system.add_kernel(
            only=True,
            run=run,
            merge_across_nodes=1,
            sleep_millisecs=20,
            advisor_min_pages_to_scan=500,
            pages_sharing=9,
            advisor_mode="[none] scan-time" if mode == "none" else "none [scan-time]",
            pages_to_scan=700,
            pages_shared=0 if run == 2 else 9,
        )
        before = engine.tunables()
        if fail:
            engine.fail[fail] = EIO
        try:
            apply(engine, wanted)
        except TunableError as error:
            assert error.errno == errno.EIO, str(error)
            after = engine.tunables()
            if mode == "scan-time":
                # The advisor starts anew, from its minimum.
                after["pages_to_scan"] = before["pages_to_scan"]
            assert after == before, engine.writes
        else:
            assert engine.fail or not fail
            assert {name: engine.read(name) for name in wanted} == wanted, engine.writes
