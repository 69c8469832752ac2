# SPDX-License-Identifier: GPL-2.0-or-later
"""Where packages come from: the machine's own mirror, for every suite."""

import pytest
from ksmvm.errors import HarnessError
from ksmvm.mirrors import Mirrors, parse_targets

LISTING = """Other vendor|https://packages.example/apt/
Debian|http://mirror.example/debian/
Debian|http://second.example/debian/
Debian-Security|http://mirror.example/security/
"""


def test_the_first_repository_of_each_kind_counts() -> None:
    found = parse_targets(LISTING)
    assert found == Mirrors("http://mirror.example/debian", "http://mirror.example/security")


@pytest.mark.parametrize("label", ["Debian", "Debian-Security"])
def test_a_missing_repository_is_named(label: str) -> None:
    listing = "\n".join(line for line in LISTING.splitlines() if not line.startswith(f"{label}|"))
    with pytest.raises(HarnessError, match=f"labelled {label} .*Other vendor"):
        parse_targets(listing)


def test_every_source_is_signed_and_backports_only_on_demand() -> None:
    mirrors = parse_targets(LISTING)
    plain = mirrors.sources("trixie").splitlines()
    more = mirrors.sources("trixie", backports=True).splitlines()
    assert all("signed-by=" in line for line in more)
    assert [line.split("] ")[1] for line in plain] == [
        "http://mirror.example/debian trixie main",
        "http://mirror.example/security trixie-security main",
    ]
    assert more[: len(plain)] == plain
    assert more[-1].endswith("http://mirror.example/debian trixie-backports main")
