# SPDX-License-Identifier: GPL-2.0-or-later
"""Child processes whose failure is told with their own words."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Optional

from ksmvm.errors import HarnessError

# A user's PATH may lack sbin (mke2fs) or lead to a Python that Debian's tools do not expect.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ERROR_LINES = 60
MINUTE = 60.0


def system_environment(**extra: str) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {**keep, "PATH": SYSTEM_PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", **extra}


def run(
    command: Sequence[str],
    *,
    log: Optional[Path] = None,
    env: Optional[Mapping[str, str]] = None,
    every_minute: Optional[Callable[[], None]] = None,
) -> str:
    """Run to the end and return stdout and stderr together; raise on a failure.

    With `log`, the output is also kept in that file, as it comes, and `every_minute` is called while
    the command runs.
    """
    environment = dict(env) if env is not None else system_environment()
    if log is None:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        status, output = done.returncode, done.stdout
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            status = _wait(
                subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
                ),
                every_minute,
            )
        output = log.read_text(errors="replace")
    if status:
        tail = "\n".join(output.splitlines()[-ERROR_LINES:])
        where = f" (whole output: {log})" if log else ""
        raise HarnessError(f"exit status {status} of: {shlex.join(command)}{where}\n{tail}")
    return output


def _wait(process: subprocess.Popen[bytes], every_minute: Optional[Callable[[], None]]) -> int:
    try:
        while True:
            try:
                return process.wait(MINUTE if every_minute else None)
            except subprocess.TimeoutExpired:
                if every_minute:
                    every_minute()
    except BaseException:
        process.kill()
        process.wait()
        raise
