# SPDX-License-Identifier: GPL-2.0-or-later
"""What DKMS prints, in the dialects that are around."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.ksm.fleet.plugins.module_utils import dkms

KERNEL = "6.12.107+deb13-amd64"


@pytest.mark.parametrize(
    ("line", "state", "version"),
    [
        (f"ksm/0.2.0, {KERNEL}, x86_64: installed", "installed", "0.2.0"),
        (f"ksm/0.2.0, {KERNEL}, x86_64: built", "built", "0.2.0"),
        ("ksm/0.2.0: added", "added", "0.2.0"),
        (f"ksm, 0.2.0, {KERNEL}, x86_64: installed", "installed", "0.2.0"),
        ("ksm, 0.2.0: added", "added", "0.2.0"),
        (f"ksm/0.2.0, {KERNEL}, x86_64: installed (original_module exists)", "installed", "0.2.0"),
        (
            f"ksm/0.2.0, {KERNEL}, x86_64: installed (Differences between built and installed modules)",
            "installed",
            "0.2.0",
        ),
        (f"ksm, 0.2.0, {KERNEL}, x86_64: installed-weak from 6.12.1", "installed", "0.2.0"),
        # Built for some other kernel: nothing that this one could load.
        ("ksm/0.2.0, 6.1.0-50-amd64, x86_64: installed", "added", "0.2.0"),
        (f"ksmbd/0.2.0, {KERNEL}, x86_64: installed", "absent", None),
        (f"zfs/2.1, {KERNEL}, x86_64: installed", "absent", None),
        ("Error! no such module", "absent", None),
        ("", "absent", None),
    ],
)
def test_state_of_a_line(line: str, state: str, version: str) -> None:
    assert dkms.state_for(dkms.parse_status(line, "ksm"), KERNEL) == (state, version)


def test_the_furthest_build_counts() -> None:
    text = f"ksm/0.3.0: added\nksm/0.2.0, {KERNEL}, x86_64: installed\nksm/0.2.0, 6.1.0-50-amd64, x86_64: built\n"
    builds = dkms.parse_status(text, "ksm")
    assert len(builds) == 3
    assert dkms.state_for(builds, KERNEL) == ("installed", "0.2.0")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (f"ksm/0.9.0, {KERNEL}, x86_64: installed\nksm/0.10.0: added\n", "0.10.0"),
        (f"ksm/0.9.0, {KERNEL}, x86_64: installed\nksm/0.10.0, 6.1.0-50-amd64, x86_64: installed\n", "0.10.0"),
        # What an upgrade has replaced here, but not elsewhere.
        (f"ksm/0.10.0, {KERNEL}, x86_64: installed\nksm/0.9.0, {KERNEL}, x86_64: built\n", None),
        (f"ksm/0.10.0, {KERNEL}, x86_64: installed\nksm/0.9.0: added\n", None),
        (f"ksm/0.10.0, {KERNEL}, x86_64: installed\n", None),
        # That there is none is another matter.
        ("ksm/0.9.0: added\nksm/0.10.0: added\n", None),
        ("", None),
    ],
)
def test_an_upgrade_that_is_overdue(text: str, version: str | None) -> None:
    assert dkms.overdue(dkms.parse_status(text, "ksm"), KERNEL) == version


def test_make_log_of_this_kernel_only(tmp_path: Path) -> None:
    other = tmp_path / "var/lib/dkms/ksm/0.1.0/6.1.0-50-amd64/x86_64/log/make.log"
    other.parent.mkdir(parents=True)
    other.write_text("fine\n")
    assert dkms.make_log(str(tmp_path), "ksm", KERNEL) is None
    failed = tmp_path / "var/lib/dkms/ksm/0.1.0/build/make.log"
    failed.parent.mkdir(parents=True)
    failed.write_text("".join(f"line {n}\n" for n in range(50)))
    assert dkms.make_log(str(tmp_path), "ksm", KERNEL) == str(failed)
    assert dkms.tail(str(failed), 2) == ["line 48", "line 49"]
    assert dkms.tail(None) == []
