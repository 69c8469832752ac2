# SPDX-License-Identifier: GPL-2.0-or-later
"""The most memory that the control node's programs have at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Container

from ksmscale import processes

# A look costs CPU time that is missed elsewhere: at most so much of it.
SHARE = 0.03
LEAST_PAUSE = 0.5


class Sampler(threading.Thread):
    """Looks at everything below this process but the hosts, until stopped."""

    def __init__(self, own: int, hosts: Container[int]) -> None:
        super().__init__(daemon=True)
        self.own = own
        self.hosts = hosts
        self.ansible_kib = self.ssh_kib = self.looks = 0
        self._done = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._done.wait(pause):
            start = time.thread_time()
            self.look()
            pause = max(LEAST_PAUSE, (time.thread_time() - start) / SHARE)

    def stop(self) -> None:
        self._done.set()
        self.join()

    def look(self) -> None:
        stats = processes.table()
        roots = [stat.pid for stat in stats.values() if stat.parent == self.own and stat.pid not in self.hosts]
        ansible = ssh = 0
        for members in processes.trees(roots, stats).values():
            for stat in members:
                kib = processes.pss_kib(stat.pid) or 0
                if stat.comm in ("ssh", "sftp"):
                    ssh += kib
                else:
                    ansible += kib
        self.ansible_kib = max(self.ansible_kib, ansible)
        self.ssh_kib = max(self.ssh_kib, ssh)
        self.looks += 1
