# SPDX-License-Identifier: GPL-2.0-or-later
"""What apt and dnf said, as cause and remedy."""

from __future__ import annotations

import pytest
from ansible_collections.ksm.fleet.plugins.filter.package_failure import package_failure


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
    said = package_failure(text, url="http://apt.test")
    before, after = said.split(". Remedy: ", 1)
    assert cause in before
    assert remedy in after
    assert said.endswith(f"apt said: {text}")


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        (
            "Failed to download metadata for repo 'ksm-fleet': repomd.xml GPG signature"
            " verification error: Bad GPG signature",
            "is not trusted",
            "ksm_repository_key the key that signs http://dnf.test",
        ),
        (
            "Failed to validate GPG signature for ksm-tools-0.1.0-1.el10.noarch: Package"
            " ksm-tools-0.1.0-1.el10.noarch.rpm is not signed",
            "is not trusted",
            "ksm_repository_key",
        ),
        (
            "Failed to install some of the specified packages No package kernel-devel-6.18.44-own available.",
            "headers of the running kernel cannot be had: no package source of this host offers"
            " kernel-devel-6.18.44-own",
            "reboot into a kernel",
        ),
        ("No package ksm-dkms available.", "offers ksm-dkms", "ksm_repository_url"),
        (
            "Depsolve Error occurred: nothing provides python(abi) = 3.14 needed by"
            " python3-ksm-0.1.0-1.fc43.noarch from ksm-fleet",
            "nothing offers python(abi) = 3.14",
            "for this release of the distribution",
        ),
        (
            "Failed to download metadata for repo 'ksm-fleet': Cannot download repomd.xml: Curl"
            " error (7): Couldn't connect to server",
            "cannot be reached",
            "ksm_repository_url (http://dnf.test)",
        ),
        ("something new", "could not be installed", "dnf install by hand"),
    ],
)
def test_cause_and_remedy_of_dnf(text: str, cause: str, remedy: str) -> None:
    said = package_failure(text, url="http://dnf.test", manager="dnf")
    before, after = said.split(". Remedy: ", 1)
    assert cause in before
    assert remedy in after
    assert said.endswith(f"dnf said: {text}")
