# SPDX-License-Identifier: GPL-2.0-or-later
"""The process behind a fleet host: runs QEMU, and starts it again when the guest reboots.

QEMU could reset by itself, but then keeps what it had translated of the old kernel; writing the
new one over that takes it minutes. A new process boots as quickly as the first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ksmvm.process import system_environment

COMMAND_FILE = "machine.json"
REBOOT = "guest-reset"


def end_reason(lines: Iterable[bytes]) -> str:
    """Why QEMU ends, from what it says on its control line (QMP)."""
    reason = "no word from QEMU"
    for line in lines:
        message = json.loads(line)
        if message.get("event") == "SHUTDOWN":
            reason = message["data"]["reason"]
    return reason


def run_once(machine: Sequence[str]) -> str:
    # The kernel ends QEMU when this process is killed.
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *machine, "-no-reboot", "-qmp", "stdio"],
        env=system_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b'{"execute": "qmp_capabilities"}\n')
        process.stdin.flush()
        return end_reason(process.stdout)


def main(folder: Path) -> None:
    machine = json.loads((folder / COMMAND_FILE).read_text())
    while True:
        reason = run_once(machine)
        print(f"QEMU ended: {reason}", file=sys.stderr, flush=True)
        if reason != REBOOT:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
