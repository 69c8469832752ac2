# SPDX-License-Identifier: GPL-2.0-or-later
"""Names, addresses and cables of the simulated hosts."""

import pytest
from ksmscale.fleet import CONTROL, MOST, NETWORK, control_batch, fleet, host_batch, inventory


def test_no_two_hosts_share_anything() -> None:
    hosts = fleet(MOST)
    ends = [host.mac(end) for host in hosts for end in (0, 1)]
    assert len(set(ends)) == 2 * MOST
    assert len({host.address for host in hosts} | {CONTROL}) == MOST + 1
    assert all(host.address in NETWORK for host in hosts)
    # What the kernel takes as the name of a link.
    assert all(len(host.link) < 16 for host in hosts)


@pytest.mark.parametrize("count", [0, -1, MOST + 1])
def test_a_count_that_cannot_be_is_named_with_the_range(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} hosts: write a number in 1..{MOST}"):
        fleet(count)


def test_both_ends_of_a_cable_know_each_other_without_asking() -> None:
    (host,) = fleet(1)
    theirs, ours = host_batch(host, "/proc/1/ns/net"), control_batch([host])
    assert f"eth0 address {host.mac(1)} type veth peer name v1 address {host.mac(0)} netns /proc/1/ns/net" in theirs
    assert f"neigh replace {CONTROL} lladdr {host.mac(0)} dev eth0 nud permanent" in theirs
    assert f"neigh replace {host.address} lladdr {host.mac(1)} dev v1 nud permanent" in ours


def test_the_inventory_has_a_line_for_each() -> None:
    assert inventory(fleet(2)) == "host0001 ansible_host=198.18.0.1\nhost0002 ansible_host=198.18.0.2\n"
