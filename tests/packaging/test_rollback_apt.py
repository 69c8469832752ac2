# SPDX-License-Identifier: GPL-2.0-or-later
"""The way back of a rollout in a Debian root, with apt. The packages are empty."""

from __future__ import annotations

from role_on_root import Play, changes
from test_role_apt import NAMES, play, repository  # noqa: F401  (fixtures)

from conftest import TREE

PLAYBOOK = TREE / "tests/packaging/rollback-on-root.yml"
TOOLS = ("ksm-tools", "python3-ksm")


def there(play: Play) -> dict[str, str]:  # noqa: F811
    """Versions of the packages that are wholly installed."""
    query = "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n'"
    rows = [line.split() for line in play.root.run(query).stdout.splitlines()]
    return {row[1]: row[2] for row in rows if row[0] == "ii" and row[1] in NAMES}


def test_a_rollout_and_the_way_back(play: Play) -> None:  # noqa: F811
    play.run("packages", ksm_version="0.1.0")
    play.root.run("apt-get -q -y purge ksm-dkms; echo mine >/etc/modprobe.d/ksm.conf")
    before = play.root.files()
    assert there(play) == dict.fromkeys(TOOLS, "0.1.0")

    play.run(playbook=PLAYBOOK, wanted="0.2.0")
    play.root.run("rm /etc/modprobe.d/ksm.conf; echo new >/etc/modules-load.d/ksm.conf")
    assert len(there(play)) == len(NAMES)
    # What the rollout was told, here by -e, has no say in the way back.
    play.run(playbook=PLAYBOOK, back=True, ksm_version="0.2.0")
    assert there(play) == dict.fromkeys(TOOLS, "0.1.0")
    assert play.root.run("cat /etc/modprobe.d/ksm.conf").stdout == "mine\n"
    left = {line.split()[0] for line in play.root.files() ^ before if "ksm" in line}
    assert left == {"./var/lib/ksm-fleet", "./var/lib/ksm-fleet/rollout.json"}
    assert changes(play.run(playbook=PLAYBOOK, back=True)) == 0

    # And from nothing to nothing.
    play.root.run("apt-get -q -y purge ksm-tools python3-ksm; rm /etc/modprobe.d/ksm.conf")
    play.run(playbook=PLAYBOOK, wanted="0.2.0")
    assert len(there(play)) == len(NAMES)
    play.run(playbook=PLAYBOOK, back=True)
    assert there(play) == {}


def test_back_from_a_package_that_cannot_be_configured(play: Play) -> None:  # noqa: F811
    play.run("packages", ksm_version="0.1.0")
    play.run(playbook=PLAYBOOK, wanted="0.2.0")
    # As a power cut leaves it, and a build that fails.
    play.root.run(
        "sed -i '/^Package: ksm-dkms$/,/^Version/s/install ok installed/install ok half-configured/'"
        " /var/lib/dpkg/status; printf '#!/bin/sh\\nexit 1\\n' >/var/lib/dpkg/info/ksm-dkms.postinst;"
        " chmod +x /var/lib/dpkg/info/ksm-dkms.postinst; cp /var/lib/dpkg/status /var/lib/dpkg/updates/0000"
    )
    assert "dpkg was interrupted" in play.root.run("apt-get -q -y install ksm-tools 2>&1", check=False).stdout
    play.run(playbook=PLAYBOOK, back=True)
    assert there(play) == dict.fromkeys(NAMES, "0.1.0")
