# SPDX-License-Identifier: GPL-2.0-or-later
"""Rollouts that fail on real hosts, each in its own way, and what the fleet is like afterwards.

In this order: each begins where the one before has left the hosts, which is the same every time.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fleet.role_run import on

from conftest import (
    BOTH,
    CANARY,
    DOES_NOT_COMPILE,
    FIRST,
    HOSTS,
    NEXT,
    NOISY,
    OOPS,
    SECOND,
    VERSION,
    Fleet,
    Watcher,
    harness,
)

# A key, but not the one that signs the repository.
OTHER_KEY = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# All that root can have but so many MiB.
FILL = "rm -f /var/filler; sync; fallocate -l $(($(stat -f -c '%a * %S' /var) - {} * 1048576)) /var/filler"


@pytest.fixture(scope="module")
def good() -> dict[str, str]:
    """What the hosts were before any of this."""
    return {host: Fleet(Path("/")).state(host) for host in HOSTS}


def unchanged(fleet: Fleet, good: dict[str, str]) -> bool:
    return {host: fleet.state(host) for host in HOSTS} == good


def test_an_untrusted_key_stops_it_before_anything_changes(fleet: Fleet, good: dict[str, str]) -> None:
    records = {host: on(host, "cat /var/lib/ksm-fleet/rollout.json") for host in HOSTS}
    play = fleet.rollout(NEXT, CANARY, ksm_repository_key=str(OTHER_KEY))
    assert SECOND in play.failed, play.said
    assert "Nothing was changed. the signature of the package repository is not trusted" in play.of(SECOND)
    assert "Remedy: give in ksm_repository_key the key that signs" in play.of(SECOND)
    assert unchanged(fleet, good)
    assert records == {host: on(host, "cat /var/lib/ksm-fleet/rollout.json") for host in HOSTS}
    assert "ksm-fleet" not in on(FIRST, "ls /var/lib/apt/lists | grep -i debian-archive || :")


def test_a_version_that_nobody_has_stops_it_before_anything_changes(fleet: Fleet, good: dict[str, str]) -> None:
    play = fleet.rollout("8.8.8", CANARY)
    assert sorted(play.failed) == sorted(HOSTS)
    assert f"offers ksm-dkms 8.8.8, only {NEXT}" in play.of(FIRST)
    assert unchanged(fleet, good)


def test_a_full_disk_stops_it_before_anything_changes_and_on_the_way(fleet: Fleet, good: dict[str, str]) -> None:
    on(SECOND, FILL.format(30))
    play = fleet.rollout(NEXT, BOTH)
    assert play.failed, play.said
    assert "MiB free, and 170 MiB may be needed. Remedy: make room there" in play.of(SECOND), play.said
    assert unchanged(fleet, good)

    # Where nobody looks at it, it strikes in the middle.
    on(SECOND, FILL.format(3))
    play = fleet.rollout(NEXT, BOTH, "-e", '{"ksm_rollout_room": {}}')
    assert sorted(play.failed) == sorted(HOSTS), play.said
    assert "passed, and went with its batch. It is what it was before the rollout." in play.of(FIRST)
    assert fleet.state(FIRST) == good[FIRST]
    told = fleet.report()
    assert told[FIRST]["rollout_outcome"] == "rolled_back"
    # Where no room was left, not even for that.
    assert told[SECOND]["rollout_outcome"] in ("failed", "rolled_back", "unfinished")
    assert f"{SECOND} failed: " in play.of(SECOND)

    on(SECOND, "rm /var/filler")
    play = fleet.play("rollback", hosts=(SECOND,))
    assert play.failed == []
    assert unchanged(fleet, good)
    assert fleet.play("rollback", hosts=(SECOND,)).changed == {SECOND: 0}, "it is back already"


def test_a_build_that_does_not_compile_ends_at_the_canary(fleet: Fleet, good: dict[str, str]) -> None:
    play = fleet.rollout(DOES_NOT_COMPILE, CANARY)
    assert play.failed == [FIRST], play.said
    assert "DKMS did not build ksm.ko for the running kernel" in play.of(FIRST)
    assert "broken on purpose" in play.of(FIRST)
    assert "It is what it was before the rollout." in play.of(FIRST)
    assert f"{SECOND}: not begun" in play.said
    assert unchanged(fleet, good)
    assert "broken on purpose" in fleet.report()[FIRST]["rollout_text"]


def test_a_module_that_floods_the_log_and_warns_does_not_pass(fleet: Fleet, good: dict[str, str]) -> None:
    play = fleet.rollout(NOISY, CANARY)
    assert play.failed == [FIRST], play.said
    assert "kernel_log_clean: " in play.of(FIRST)
    assert "WARNING: " in play.of(FIRST)
    assert "flood the log" in play.of(FIRST)
    assert "It is what it was before the rollout." in play.of(FIRST)
    assert f"{SECOND}: not begun" in play.said
    assert unchanged(fleet, good)
    # It was there, and is no more.
    assert "made on purpose" in on(FIRST, "dmesg")
    before = on(FIRST, "dmesg | grep -c 'a fault of this build'")
    assert before == on(FIRST, "sleep 3; dmesg | grep -c 'a fault of this build'")
    told = fleet.report()
    assert told[FIRST]["rollout_outcome"] == "rolled_back"
    assert "kernel_log_clean" in told[FIRST]["rollout_text"]


def test_a_module_that_oopses_is_gone_after_a_reboot(fleet: Fleet, good: dict[str, str]) -> None:
    play = fleet.rollout(OOPS, CANARY)
    assert play.failed == [FIRST], play.said
    assert "kernel_log_clean: " in play.of(FIRST)
    assert "Oops" in play.of(FIRST)
    # The thread that died holds the module.
    assert "It could NOT go back: " in play.of(FIRST)
    assert f"ksm.fleet.rollback with --limit {FIRST}" in play.of(FIRST)
    assert f"{SECOND}: not begun" in play.said
    assert fleet.state(SECOND) == good[SECOND]
    assert on(FIRST, "cat /sys/module/ksm/version").strip() == OOPS
    told = fleet.report()
    assert told[FIRST]["rollout_outcome"] == "failed"

    # The packages are the old ones already.
    harness("reboot", FIRST)
    assert on(FIRST, "cat /sys/module/ksm/version").strip() == VERSION
    play = fleet.play("rollback", hosts=(FIRST,))
    assert play.failed == [], play.said
    assert unchanged(fleet, good)
    assert fleet.report()[FIRST]["rollout_outcome"] == "rolled_back"


def test_a_host_that_dies_on_the_way(fleet: Fleet, good: dict[str, str]) -> None:
    # The images have no journal, and dpkg is told to trust in that: so a power cut leaves what nobody would run.
    on(SECOND, "rm /etc/dpkg/dpkg.cfg.d/ksmvm")
    on(SECOND, "tune2fs -O has_journal $(findmnt --noheadings --output SOURCE /)")
    harness("reboot", SECOND)
    assert "has_journal" in on(SECOND, "dumpe2fs -h $(findmnt --noheadings --output SOURCE /) 2>/dev/null")
    assert unchanged(fleet, good)

    building = f"test -e /var/lib/dkms/ksm/{NEXT}/build"
    watcher = Watcher(SECOND, building, lambda: harness("crash", SECOND))
    watcher.start()
    try:
        play = fleet.rollout(NEXT, BOTH)
    finally:
        watcher.ended.set()
        watcher.join(120)
    assert watcher.acted, "nothing was proved"
    assert sorted(play.failed) == sorted(HOSTS), play.said
    assert f"{SECOND} failed: the host cannot be reached any more" in play.of(SECOND)
    assert "It could NOT go back: it cannot be reached" in play.of(SECOND)
    assert f"ksm.fleet.rollback with --limit {SECOND}" in play.of(SECOND)
    assert "passed, and went with its batch. It is what it was before the rollout." in play.of(FIRST)
    assert fleet.state(FIRST) == good[FIRST]
    told = fleet.report()
    assert (told[FIRST]["state"], told[FIRST]["rollout_outcome"]) == ("merging", "rolled_back")
    assert told[SECOND]["state"] == "unreachable"

    # It keeps the lock, being the last host, and nobody could give that up.
    assert f"{SECOND}: FAILED, and could not go back" in play.said
    assert "The fleet's lock is still held" in play.said

    harness("start", SECOND)
    broken = f"ksm_break_lock={json.loads(on(SECOND, 'cat /var/lib/ksm-fleet/rollout.lock'))['token']}"
    refused = fleet.play("rollback", hosts=(SECOND,))
    assert refused.failed == [SECOND]
    assert broken in refused.said
    assert broken in play.said
    assert fleet.record(SECOND)["outcome"] is None, "the state before outlives the crash"
    assert fleet.state(SECOND) != good[SECOND], "nothing was half done, and nothing is proved"
    play = fleet.play("rollback", "-e", broken, hosts=(SECOND,))
    assert play.failed == [], play.said
    assert unchanged(fleet, good)


def test_then_it_is_rolled_out_and_again_changes_nothing(fleet: Fleet, good: dict[str, str]) -> None:
    play = fleet.rollout(NEXT, BOTH)
    assert play.failed == [], play.said
    for host in HOSTS:
        assert on(host, "cat /sys/module/ksm/version").strip() == NEXT
        assert fleet.record(host)["outcome"] == "passed"
    again = fleet.rollout(NEXT, CANARY)
    assert again.failed == []
    assert again.changed == dict.fromkeys(HOSTS, 0), again.said
    told = fleet.report()
    assert {host["version_running"] for host in told.values()} == {NEXT}
    assert {host["rollout_outcome"] for host in told.values()} == {"passed"}

    # And back to what it was before.
    assert fleet.play("rollback").failed == []
    assert unchanged(fleet, good)
    assert {fleet.record(host)["before"]["packages"]["ksm-dkms"] for host in HOSTS} == {VERSION}
