# SPDX-License-Identifier: GPL-2.0-or-later
"""Callback: what each task took on the control node, and how many modules ran on the hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: scale
type: aggregate
short_description: Time, CPU time and remote executions of each task
description:
  - Written as JSON, at the end, to the file that C(KSM_SCALE_TASKS) names.
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

import json
import os
import resource
import time
from typing import Any

from ansible.plugins.callback import CallbackBase


def now() -> tuple[float, float, float]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic(), own.ru_utime + own.ru_stime, workers.ru_utime + workers.ru_stime


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "scale"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[dict[str, Any]] = []
        self.since = now()
        self._begin("start of the play")

    def _begin(self, name: str) -> None:
        then, self.since = self.since, now()
        if self.tasks:
            for key, a, b in zip(("seconds", "main_cpu", "workers_cpu"), then, self.since):
                self.tasks[-1][key] = b - a
        self.tasks.append({"name": name, "remote": 0, "results": 0, "skipped": 0})

    def _count(self, result: Any) -> None:
        # A module says how it was called; what the control node does alone has nothing to say.
        self.tasks[-1]["remote"] += "invocation" in result._result

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._begin(task.get_name())

    v2_playbook_on_handler_task_start = v2_playbook_on_cleanup_task_start = (  # noqa: E731
        lambda self, task: self._begin(task.get_name())
    )

    def _result(self, result: Any) -> None:
        self.tasks[-1]["results"] += 1
        if "results" not in result._result:
            self._count(result)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self.tasks[-1]["skipped"] += 1

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._count(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._count(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._begin("end")
        told = {
            "tasks": self.tasks[:-1],
            "hosts": {host: stats.summarize(host) for host in stats.processed},
        }
        with open(os.environ["KSM_SCALE_TASKS"], "w", encoding="utf-8") as stream:
            json.dump(told, stream)
