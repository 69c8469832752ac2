# SPDX-License-Identifier: GPL-2.0-or-later
"""The file system that all simulated hosts have below their own changes."""

from __future__ import annotations

from pathlib import Path

from ksmvm import host, roots

RECIPE = roots.Recipe(
    "scale",
    "bookworm",
    # tuned and configobj are what kernel_settings installs; python3-apt is what its module package asks.
    ("openssh-server", "procps", "python3", "python3-apt", "python3-configobj", "tuned"),
)
PACKAGES = ("debian-archive-keyring", "iproute2", "mmdebstrap", "openssh-client", "util-linux")


def ensure() -> Path:
    host.setup(PACKAGES)
    return roots.ensure(RECIPE)
