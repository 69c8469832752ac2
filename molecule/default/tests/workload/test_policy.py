# SPDX-License-Identifier: GPL-2.0-or-later
"""The service, as the role set it up and with its hardening, keeps units in their domains."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

# As converge.yml has them.
DOMAINS = {"tenant-a-1": "tenant-a", "tenant-a-2": "tenant-a", "tenant-b-1": "tenant-b"}
PAGES = 256
PROGRAM = f"""
import ctypes, mmap, time
memory = mmap.mmap(-1, {PAGES} * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range({PAGES}):
    memory[page * 4096 : page * 4096 + 64] = f"tenants {{page}}".encode().ljust(64, b".")
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
time.sleep(3600)
"""
FRAMES = f"""
import json, pathlib, struct, sys
def frames(pid, addr):
    with open(f"/proc/{{pid}}/pagemap", "rb") as stream:
        stream.seek(addr // 4096 * 8)
        return [entry & (1 << 55) - 1 for entry in struct.unpack("{PAGES}Q", stream.read({PAGES} * 8))]
pids = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print(json.dumps({{n: frames(p, int(pathlib.Path(f"/run/{{n}}.addr").read_text())) for n, p in pids.items()}}))
"""
PATIENCE = 300
# Of the ten that systemd-analyze gives to a service without any hardening.
MOST_EXPOSURE = 2.5


@pytest.fixture
def units(host: Any) -> Iterator[dict[str, str]]:
    """Transient units of two tenants with the same contents, by their processes."""
    try:
        for name in DOMAINS:
            host.check_output(
                "systemd-run --quiet --unit %s --property StandardOutput=file:/run/%s.addr python3 -c %s",
                name,
                name,
                PROGRAM,
            )
        yield {name: host.check_output("systemctl show --value -p MainPID %s", name) for name in DOMAINS}
    finally:
        host.run("systemctl stop 'tenant-*'")


def test_units_of_a_tenant_are_merged_with_each_other_only(host: Any, units: dict[str, str]) -> None:
    by_pid = {pid: name for name, pid in units.items()}
    end = time.monotonic() + PATIENCE
    while True:
        status = json.loads(host.check_output("ksmctl policy status --json"))
        found = {by_pid.get(str(task["pid"])): task for task in status["tasks"]}
        words = " ".join(f"{name} {pid}" for name, pid in units.items())
        frames = json.loads(host.check_output(f"python3 -c %s {words}", FRAMES))
        if frames["tenant-a-1"] == frames["tenant-a-2"] and set(found) == set(DOMAINS):
            break
        assert time.monotonic() < end, (status, host.check_output("journalctl -u ksm-policy"))
        time.sleep(2)
    assert status["running"]
    assert {name: task["domain"] for name, task in found.items()} == DOMAINS
    assert all(task["registered"] for task in found.values())
    assert not set(frames["tenant-a-1"]) & set(frames["tenant-b-1"])


def test_the_service_is_hardened(host: Any) -> None:
    service = host.service("ksm-policy")
    assert service.is_running
    said = host.run(f"systemd-analyze security --no-pager --threshold={MOST_EXPOSURE * 10:g} ksm-policy.service")
    assert said.rc == 0, said.stdout


def test_it_has_nothing_to_complain_of(host: Any) -> None:
    """What the hardening forbids, say."""
    said = host.check_output("journalctl --output cat --unit ksm-policy")
    lines = [line for line in said.splitlines() if line.startswith("process") and "is registered in domain" not in line]
    assert [line for line in lines if "not registered any more" not in line] == []
    assert "nothing was done" not in said
    assert host.check_output("systemctl show --value -p NRestarts ksm-policy") == "0"
