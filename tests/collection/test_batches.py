# SPDX-License-Identifier: GPL-2.0-or-later
"""The batches that Ansible's serial makes, told as Ansible makes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.executor.playbook_executor import PlaybookExecutor
from ansible_collections.ksm.fleet.plugins.filter.batches import batches


def of_ansible(serial: list[Any], total: int) -> list[int]:
    executor = SimpleNamespace(
        _inventory=SimpleNamespace(get_hosts=lambda *_args, **_more: list(range(total))),
    )
    play = SimpleNamespace(serial=serial, hosts="all", order=None)
    made = PlaybookExecutor._get_serialized_batches(executor, play)  # type: ignore[arg-type]
    return [len(batch) for batch in made]


@pytest.mark.parametrize("total", [1, 2, 3, 7, 10, 33, 100])
@pytest.mark.parametrize(
    "serial",
    [[1], [1, "10%", "50%", "100%"], [2], ["100%"], [5, "1%"], ["33%"], [1, 3, "20%"], ["7%", 2]],
)
def test_they_are_ansibles(serial: list[Any], total: int) -> None:
    made = batches(serial, total)
    assert [count for _before, count in made] == of_ansible(serial, total)
    assert [before for before, _count in made] == [sum(c for _b, c in made[:i]) for i in range(len(made))]


@pytest.mark.parametrize("serial", [[0], [-1], ["x"], ["0.5.1%"], [None], []])
def test_what_is_no_batch_is_refused(serial: list[Any]) -> None:
    with pytest.raises(AnsibleFilterError, match="[Ww]rite|write"):
        batches(serial, 5)
