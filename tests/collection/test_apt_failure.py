# SPDX-License-Identifier: GPL-2.0-or-later
"""What apt said, as cause and remedy."""

from __future__ import annotations

import pytest
from ansible_collections.ksm.fleet.plugins.filter.apt_failure import apt_failure


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        (
            "Failed to update apt cache: W:GPG error: file:/srv/repo stable InRelease: The"
            " following signatures couldn't be verified because the public key is not"
            " available: NO_PUBKEY 85",
            "signature of the package repository is not trusted",
            "ksm_repository_key the key that signs http://apt.test",
        ),
        (
            "E: The repository 'http://apt.test stable InRelease' is not signed.",
            "is not trusted",
            "ksm_repository_key",
        ),
        (
            "Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key",
            "is not trusted",
            "ksm_repository_key",
        ),
        (
            "No package matching 'linux-headers-6.18.44-own' is available",
            "headers of the running kernel cannot be had: no package source of this host offers"
            " linux-headers-6.18.44-own",
            "reboot into a kernel",
        ),
        ("No package matching 'ksm-dkms' is available", "offers ksm-dkms", "ksm_repository_suite"),
        (
            "unknown reason E: Failed to fetch http://127.0.0.1:9/x  Could not connect to it",
            "cannot be reached",
            "ksm_repository_url (http://apt.test)",
        ),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend", "lock", "run the play again"),
        ("E: You don't have enough free space", "file system is full", "make room"),
        ("something new", "could not be installed", "apt-get -f install"),
    ],
)
def test_cause_and_remedy(text: str, cause: str, remedy: str) -> None:
    said = apt_failure(text, url="http://apt.test")
    before, after = said.split(". Remedy: ", 1)
    assert cause in before
    assert remedy in after
    assert said.endswith(f"apt said: {text}")
