# SPDX-License-Identifier: GPL-2.0-or-later
"""One host does not trust the repository's key: it stops with reason and remedy, others go on."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from conftest import TREE

# A key, but not the one that signs the repository.
OTHER_KEY = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
BAD, GOOD = "molecule-latency", "molecule-dense"


def test_a_host_that_fails_stops_alone(tmp_path: Path) -> None:
    assert OTHER_KEY.exists()
    hosts = {
        BAD: {"ksm_repository_key": str(OTHER_KEY)},
        # The kernel's own engine, to have no module built.
        GOOD: {"ksm_engine": "kernel"},
    }
    faulty = tmp_path / "faulty.yml"
    faulty.write_text(json.dumps({"all": {"hosts": hosts}}))
    done = subprocess.run(
        [
            *("ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "-i", str(faulty)),
            str(TREE / "playbooks/site.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout
    assert done.returncode == 2, said + done.stderr
    recap = dict(re.findall(r"^(\S+) +: ok=.*? failed=(\d+)", said, re.MULTILINE))
    assert recap == {BAD: "1", GOOD: "0"}, said
    assert "the signature of the package repository is not trusted" in said
    assert "Remedy: give in ksm_repository_key the key that signs" in said
