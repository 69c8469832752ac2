# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock by which rollouts exclude each other."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ksm.fleet.plugins.modules import ksm_lock

from fakes import Failed, FakeModule


def run(path: Path, check: bool = False, **params: Any) -> dict[str, Any]:
    given = {"state": "held", "owner": "alice@c1", "purpose": "rollout x", "token": None, "break_token": "", **params}
    module = FakeModule(path.parent, check, **given)
    act = ksm_lock.hold if given["state"] == "held" else ksm_lock.free
    result: dict[str, Any] = act(module, ksm_lock.Lock(str(path)))  # type: ignore[arg-type]
    return result


@pytest.fixture
def path(scratch: Path) -> Path:
    return scratch / "state/rollout.lock"


def test_one_holds_it_until_it_is_given_up(path: Path) -> None:
    mine = run(path)["token"]
    with pytest.raises(Failed) as failed:
        run(path, owner="bob@c2")
    assert re.search(r"alice@c1 holds \S+ since 20\d\d-\S+Z, for rollout x. Remedy: ", str(failed.value))
    assert f"-e ksm_break_lock={mine}" in str(failed.value)
    assert [file.name for file in path.parent.iterdir()] == ["rollout.lock"], "nothing else is left"

    assert run(path, state="free", token="another")["changed"] is False
    assert path.exists()
    assert run(path, state="free", token=mine)["changed"] is True
    assert run(path, state="free", token=mine)["changed"] is False
    run(path, owner="bob@c2")


def test_only_the_lock_that_was_named_is_broken(path: Path) -> None:
    dead = run(path)["token"]
    fresh = run(path, owner="bob@c2", break_token=dead)["token"]
    # A second one who had read of the dead lock comes too late.
    with pytest.raises(Failed, match="bob@c2 holds"):
        run(path, owner="carol@c3", break_token=dead)
    assert run(path, state="free", token=fresh)["changed"]


def test_check_mode_takes_nothing(path: Path) -> None:
    assert run(path, check=True)["changed"]
    assert not path.exists()
    token = run(path)["token"]
    with pytest.raises(Failed, match="alice@c1 holds"):
        run(path, check=True, owner="bob@c2")
    assert run(path, check=True, state="free", token=token)["changed"]
    assert path.exists()


def test_whoever_comes_between_looking_and_taking_wins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look, seen = ksm_lock.Lock.holder, []

    def slow(self: Any) -> Any:
        found = look(self)
        if not seen:
            seen.append(True)
            run(path, owner="bob@c2")
        return found

    monkeypatch.setattr(ksm_lock.Lock, "holder", slow)
    with pytest.raises(Failed, match="bob@c2 holds"):
        run(path)


def test_what_a_power_cut_left_is_no_lock_that_could_be_broken(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(ValueError, match="Expecting value"):
        run(path)


def test_looking_and_taking_is_one(path: Path) -> None:
    lock, done = ksm_lock.Lock(str(path)), threading.Event()

    def second() -> None:
        with ksm_lock.Lock(str(path)).guarded():
            done.set()

    other = threading.Thread(target=second)
    with lock.guarded():
        other.start()
        assert not done.wait(0.2)
    other.join()
    assert done.is_set()
