# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: a fleet of two kernels on this machine, merging real memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

from ksmvm import fleet_host
from ksmvm.errors import HarnessError
from ksmvm.fleet_host import FleetHost

from fleet import ansible, report, stage
from fleet.paths import FLEET, REPOSITORY
from fleet.progress import Progress

NAME = "demo"
# Host -> (group, kernel)
FLEET_OF_THE_DEMO = {"dense-1": ("dense", "6.12"), "latency-1": ("latency", "6.1")}
WORKLOAD = "python3 /opt/ksm-workload/workload.py"
WORKLOAD_TIMEOUT = 1000.0


def _hosts() -> list[FleetHost]:
    """All of them, running: those that are there already as they are."""
    missing = {}
    for name, (_, kernel) in FLEET_OF_THE_DEMO.items():
        present = fleet_host.find(name)
        if present is None or not present.running():
            missing[name] = kernel
    if missing:
        fleet_host.up(missing)
    return [fleet_host.get(name) for name in FLEET_OF_THE_DEMO]


def _workload(host: FleetHost, command: str) -> dict[str, Any]:
    done = host.ssh(f"{WORKLOAD} {command}", timeout=WORKLOAD_TIMEOUT)
    if done.returncode:
        raise HarnessError(f"{host.name}: {done.stderr.strip() or done.stdout.strip()}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def up() -> None:
    progress = Progress()
    progress.say("build the packages and the signed repository")
    made = stage.prepare(NAME)
    progress.say(f"the repository is served, for the hosts at {made['url']}")

    names = ", ".join(f"{name} ({kernel})" for name, (_, kernel) in FLEET_OF_THE_DEMO.items())
    progress.say(f"start the hosts: {names}")
    hosts = _hosts()
    groups: dict[str, list[FleetHost]] = {}
    for host in hosts:
        groups.setdefault(FLEET_OF_THE_DEMO[host.name][0], []).append(host)
    inventory = ansible.inventory(NAME, groups)

    progress.say("roll out to the hosts, and start guests and servers on them")
    ansible.play(progress, REPOSITORY / "playbooks" / "demo.yml", inventory, stage.place(NAME))

    progress.say("wait until the hosts have merged what is identical")
    with ThreadPoolExecutor(len(hosts)) as pool:
        for host, answer in zip(hosts, pool.map(lambda each: _workload(each, "merged"), hosts)):
            progress.say(f"{host.name}: merged after {answer['seconds']} s")
        reports = list(pool.map(lambda each: _workload(each, "report"), hosts))
    _print(hosts, reports)
    progress.say("done")
    print(f"""
Log in:   tests/vm/ksmvm ssh {hosts[0].name}    (then: ksmctl status)
Stop all: make demo-down""")


def _print(hosts: Sequence[FleetHost], reports: Sequence[dict[str, Any]]) -> None:
    rows = [
        report.row(host.name, FLEET_OF_THE_DEMO[host.name][0], answer["engine"]) for host, answer in zip(hosts, reports)
    ]
    print(f"\n{report.table(report.TITLES, rows)}\n")
    rows = [
        [host.name, process["name"], *report.process(process)]
        for host, answer in zip(hosts, reports)
        for process in answer["processes"]
    ]
    print(f"{report.table(('host', 'process', *report.PROCESS_TITLES), rows)}\n")


def down() -> None:
    for name in FLEET_OF_THE_DEMO:
        host = fleet_host.find(name)
        if host is not None:
            fleet_host.down(host)
            print(f"stopped {name}")
    stage.leave(NAME)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog=str(FLEET / "demo"), description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, action, text in (
        ("up", up, "start the fleet and its workload, or what is missing of them, and report"),
        ("down", down, "stop the fleet and remove it"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(action=action)
    options = parser.parse_args(arguments)
    try:
        options.action()
    except HarnessError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0
