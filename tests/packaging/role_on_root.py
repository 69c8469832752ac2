# SPDX-License-Identifier: GPL-2.0-or-later
"""The role's tasks for packages, run by Ansible in a root."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from roots import ENTER, Root

from conftest import TREE, run

PLAYBOOK = TREE / "tests/packaging/role-on-root.yml"
# Ansible runs its modules by this instead of python3. What it hands them in files lies in $SHARED.
PYTHON = """#!/bin/sh
exec unshare --mount sh -c "$ENTER" sh "exec python3 $*"
"""
SHARE = 'mkdir -p ".$SHARED"\nmount --bind "$SHARED" ".$SHARED"\nexec chroot'


class Play:
    """Runs steps of the role on the root."""

    def __init__(self, root: Root, scratch: Path) -> None:
        self.root = root
        self.python = scratch / "python3"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)
        shared = scratch / "shared"
        shared.mkdir()
        collections = scratch / "collections"
        (collections / "ansible_collections/ksm").mkdir(parents=True)
        (collections / "ansible_collections/ksm/fleet").symlink_to(TREE)
        self.environment = {
            **os.environ,
            **{name: root.environment[name] for name in ("LOWER", "OVERLAY", "REPOSITORY")},
            "ENTER": ENTER.replace("exec chroot", SHARE),
            "SHARED": str(shared),
            "ANSIBLE_HOME": str(scratch / "ansible"),
            "ANSIBLE_REMOTE_TMP": str(shared),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }

    def run(
        self,
        *steps: str,
        check: bool = True,
        want_headers: bool = False,
        options: tuple[str, ...] = (),
        playbook: Path = PLAYBOOK,
        **variables: object,
    ) -> str:
        given = {"engine": "module", "steps": steps, "want_headers": want_headers, **variables}
        done = run(
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            "root,",
            "-c",
            "local",
            "-e",
            f"ansible_python_interpreter={self.python}",
            "-e",
            json.dumps(given),
            *options,
            playbook,
            env=self.environment,
            check=False,
        )
        assert (done.returncode == 0) == check, done.stdout
        return done.stdout


def changes(said: str) -> int:
    return int(re.search(r"root +: ok=\d+ +changed=(\d+)", said)[1])
