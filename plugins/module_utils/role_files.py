# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that the role may leave on a host: what removal removes, and going back brings back."""

from __future__ import annotations

import glob
import os

FILES = (
    "/etc/apt/keyrings/ksm-fleet.asc",
    "/etc/apt/keyrings/ksm-fleet.gpg",
    "/etc/apt/sources.list.d/ksm-fleet.sources",
    "/etc/ksm/policy.d/ksm-fleet.conf",
    "/etc/modprobe.d/ksm.conf",
    "/etc/modules-load.d/ksm.conf",
    "/etc/pki/rpm-gpg/RPM-GPG-KEY-ksm-fleet",
    "/etc/tmpfiles.d/ksm-fleet.conf",
    "/etc/yum.repos.d/ksm-fleet.repo",
)
POLICIES = "/etc/ksm/policy.d"


def policies(root: str) -> list[str]:
    """Return the files that say which tasks belong to which domain."""
    place = os.path.join(glob.escape(root), POLICIES.lstrip("/"), "*.conf")
    return sorted(f"{POLICIES}/{os.path.basename(path)}" for path in glob.glob(place))
