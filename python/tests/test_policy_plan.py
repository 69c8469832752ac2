# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be registered and removed, from what matches and what the driver lists."""

from __future__ import annotations

from typing import Any

from ksm.policy.model import Match, Policy
from ksm.policy.plan import Plan, Removal, plan
from ksm.policy.processes import Process
from ksm.policy.record import Task
from ksm.region import Region

A = Policy("a", "f", Match(unit="*"), "1")
B = Policy("b", "f", Match(unit="*"), "2")
FAMILY = Policy("family", "f", Match(unit="*"), "3", children=True)


def region(number: int, pid: int, domain: int, **other: Any) -> Region:
    fields: dict[str, Any] = {
        "number": number,
        "pid": pid,
        "addr": 0,
        "length": 0,
        "whole": True,
        "children": bool(other.get("family")),
        "family": 0,
        "domain": domain,
        "domain_system": True,
        "zero_pages": False,
        "domain_owner": 0,
        "uid": 0,
    }
    return Region(**{**fields, **other})


def task(pid: int, policy: Policy, root: bool = True) -> Task:
    return Task(pid, (pid,), policy.name, policy.number, policy.zero_pages, policy.children, root)


def planned(
    matching: dict[int, Policy],
    policies: list[Policy],
    regions: list[Region],
    *tasks: Task,
    same: bool = True,
) -> Plan:
    found = {pid: (Process(pid), policy) for pid, policy in matching.items()}
    noted = {one.pid: one for one in tasks}
    return plan(found, policies, regions, noted, lambda _region, _task: same)


def test_what_matches_is_registered_once() -> None:
    assert planned({1: A, 2: A}, [A], []).register == [1, 2]
    done = planned({1: A, 2: A}, [A], [region(1, 1, 1)], task(1, A))
    assert (done.register, done.removals) == ([2], [])
    assert done.kept == {1: task(1, A)}


def test_what_was_lost_track_of_is_adopted() -> None:
    done = planned({1: A}, [A], [region(1, 1, 1)])
    assert (done.register, done.removals, done.taken) == ([], [], {})
    assert done.kept[1].policy == "a"
    # Of another pid's former owner too: the region is there, and as it shall be.
    assert planned({1: A}, [A], [region(1, 1, 1)], task(1, B), same=False).kept[1].policy == "a"


def test_what_others_registered_is_told_and_left() -> None:
    others = [
        region(1, 1, 7, domain_system=False),
        region(2, 2, 1, whole=False, addr=4096, length=4096),
        region(3, 3, 2),
    ]
    done = planned(dict.fromkeys((1, 2, 3), A), [A], others)
    assert (done.register, done.removals, done.kept) == ([], [], {})
    assert set(done.taken) == {1, 2, 3}
    assert "0x1000-0x2000" in done.taken[2]
    assert "ksmctl unregister --pid 3" in done.taken[3]
    assert planned({}, [A], others).removals == []


def test_no_policy_no_region() -> None:
    listed = region(1, 1, 1)
    done = planned({}, [], [listed, region(2, 2, 1)], task(1, A))
    assert done.removals == [Removal(listed, False)]
    assert done.kept == {}
    # The pid came to another process, which somebody registered.
    assert planned({}, [], [listed], task(1, A), same=False).removals == []


def test_to_another_domain() -> None:
    listed = region(1, 1, 1)
    done = planned({1: B}, [B], [listed], task(1, A))
    assert (done.removals, done.register) == ([Removal(listed, False)], [1])
    zero = A._replace(zero_pages=True)
    assert planned({1: zero}, [zero], [listed], task(1, A)).register == [1]


def test_another_policy_of_the_same_domain_changes_nothing() -> None:
    other = A._replace(name="other")
    done = planned({1: other}, [other], [region(1, 1, 1)], task(1, A))
    assert (done.register, done.removals) == ([], [])
    assert done.kept[1].policy == "other"


class TestFamilies:
    root = region(1, 1, 3, family=9)
    child = region(2, 2, 3, family=9)

    def test_children_stay(self) -> None:
        done = planned({1: FAMILY}, [FAMILY], [self.root, self.child], task(1, FAMILY))
        assert (done.register, done.removals) == ([], [])
        assert done.kept[2]._replace(identity=()) == task(2, FAMILY, root=False)._replace(identity=())

    def test_also_when_their_parent_ended(self) -> None:
        done = planned({}, [FAMILY], [self.child], task(2, FAMILY, root=False))
        assert done.removals == []
        assert 2 in done.kept

    def test_and_when_the_policy_is_called_otherwise(self) -> None:
        other = FAMILY._replace(name="other")
        done = planned({1: other}, [other], [self.root, self.child], task(1, FAMILY))
        assert done.removals == []
        assert {one.policy for one in done.kept.values()} == {"other"}

    def test_they_go_with_their_parent(self) -> None:
        done = planned({}, [FAMILY], [self.root, self.child], task(1, FAMILY))
        assert done.removals == [Removal(self.root, True)]

    def test_they_go_with_the_policy(self) -> None:
        done = planned({}, [A], [self.child], task(2, FAMILY, root=False))
        assert done.removals == [Removal(self.child, True)]

    def test_a_child_that_matches_itself_has_its_own_domain(self) -> None:
        regions = [self.root, self.child]
        done = planned({1: FAMILY, 2: A}, [A, FAMILY], regions, task(1, FAMILY))
        assert done.removals == [Removal(self.child, False)]
        assert done.register == [2]
        assert 1 in done.kept

    def test_a_child_that_matches_the_same_is_left(self) -> None:
        regions = [self.root, self.child]
        done = planned({1: FAMILY, 2: FAMILY}, [FAMILY], regions, task(1, FAMILY))
        assert (done.register, done.removals) == ([], [])

    def test_children_no_more(self) -> None:
        alone = FAMILY._replace(children=False)
        done = planned({1: alone}, [alone], [self.root, self.child], task(1, FAMILY))
        assert done.removals == [Removal(self.root, True)]
        assert done.register == [1]
        now = planned({1: FAMILY}, [FAMILY], [region(1, 1, 3)], task(1, alone))
        assert (now.removals, now.register) == ([Removal(region(1, 1, 3), False)], [1])
