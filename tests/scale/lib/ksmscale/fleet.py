# SPDX-License-Identifier: GPL-2.0-or-later
"""Names and addresses of the simulated hosts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

# Set aside for benchmarks by RFC 2544; it exists in the benchmark's own network namespaces only.
NETWORK = IPv4Network("198.18.0.0/16")
CONTROL = NETWORK.broadcast_address - 1
# Of one machine: far beyond it a host's share of memory and pids ends.
MOST = 4000
# Of all cables, so that they go at one stroke.
GROUP = 18


@dataclass(frozen=True)
class Host:
    number: int

    @property
    def name(self) -> str:
        return f"host{self.number:04}"

    @property
    def address(self) -> IPv4Address:
        return NETWORK.network_address + self.number

    @property
    def link(self) -> str:
        """The control node's end of the cable."""
        return f"v{self.number}"

    def mac(self, end: int) -> str:
        """Fixed, so that neither end has to ask; the machine's table of neighbours holds 1,024."""
        return f"02:00:00:0{end}:{self.number >> 8:02x}:{self.number & 0xFF:02x}"


def fleet(count: int) -> list[Host]:
    if not 1 <= count <= MOST:
        raise ValueError(f"{count} hosts: write a number in 1..{MOST}")
    return [Host(number) for number in range(1, count + 1)]


def control_batch(hosts: Iterable[Host]) -> str:
    """Lines for `ip -batch` at the control node's end."""
    lines = []
    for host in hosts:
        lines += [
            f"link set {host.link} up group {GROUP}",
            f"route add {host.address}/32 dev {host.link} src {CONTROL}",
            f"neigh replace {host.address} lladdr {host.mac(1)} dev {host.link} nud permanent",
        ]
    return "".join(f"{line}\n" for line in lines)


def host_batch(host: Host, control_namespace: str) -> str:
    """Lines for `ip -batch` in the host, which makes the cable."""
    lines = [
        "link set lo up",
        f"link add eth0 address {host.mac(1)} type veth"
        f" peer name {host.link} address {host.mac(0)} netns {control_namespace}",
        f"address add {host.address}/32 dev eth0",
        "link set eth0 up",
        f"route add {CONTROL}/32 dev eth0",
        f"neigh replace {CONTROL} lladdr {host.mac(0)} dev eth0 nud permanent",
    ]
    return "".join(f"{line}\n" for line in lines)


def inventory(hosts: Iterable[Host]) -> str:
    return "".join(f"{host.name} ansible_host={host.address}\n" for host in hosts)
