# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's own Debian mirror, also for suites that the machine does not use itself."""

from __future__ import annotations

from dataclasses import dataclass

from ksmvm.errors import HarnessError
from ksmvm.process import run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TARGET_FORMAT = "$(LABEL)|$(REPO_URI)"


@dataclass(frozen=True)
class Mirrors:
    main: str
    security: str

    def sources(self, suite: str, *, backports: bool = False) -> str:
        """Lines for sources.list; apt checks the suites' signatures with Debian's keyring."""
        wanted = [(self.main, suite), (self.security, f"{suite}-security")]
        if backports:
            wanted.append((self.main, f"{suite}-backports"))
        return "".join(f"deb [signed-by={KEYRING}] {uri} {name} main\n" for uri, name in wanted)


def parse_targets(listing: str) -> Mirrors:
    """Read `apt-get indextargets --format TARGET_FORMAT`."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        label, _, uri = line.partition("|")
        found.setdefault(label, uri.rstrip("/"))
    try:
        return Mirrors(main=found["Debian"], security=found["Debian-Security"])
    except KeyError as error:
        raise HarnessError(
            f"apt knows no repository labelled {error.args[0]} on this machine "
            f"(labels found: {', '.join(sorted(filter(None, found))) or 'none'}); "
            "configure apt for Debian and run `apt-get update`"
        ) from None


def machine_mirrors() -> Mirrors:
    return parse_targets(run(["apt-get", "indextargets", "--format", TARGET_FORMAT, "Created-By: Packages"]))
