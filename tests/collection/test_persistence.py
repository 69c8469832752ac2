# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that carry tunables over a reboot."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.ksm.fleet.plugins.module_utils import persistence

from fakes import FakeModule

MODULE = persistence.FORMATS["module"]
KERNEL = persistence.FORMATS["kernel"]


def test_both_formats_read_what_they_write() -> None:
    values = {"pages_to_scan": 200, "advisor_mode": "scan-time", "run": 1}
    for form in (MODULE, KERNEL):
        assert form.parse(persistence.render(form, "", values)) == values


def test_lines_are_those_that_the_host_reads() -> None:
    assert MODULE.lines({"pages_to_scan": 200, "run": 1}) == ["options ksm pages_to_scan=200 run=1"]
    assert KERNEL.lines({"run": 1}) == ["w /sys/kernel/mm/ksm/run - - - - 1"]


def test_lists_are_one_word_and_may_be_empty() -> None:
    for users in ("33,1000-1999", ""):
        lines = MODULE.lines({"scan_all_exclude_uids": users})
        assert lines == [f"options ksm scan_all_exclude_uids={users}"]
        assert MODULE.parse(lines[0]) == {"scan_all_exclude_uids": users}


def test_other_peoples_lines_are_kept() -> None:
    text = "# mine\noptions ksmbd foo=1\noptions ksm run=0\nsoftdep ksm pre: kvm\n"
    new = persistence.render(MODULE, text, {"run": 1})
    assert "# mine\noptions ksmbd foo=1\nsoftdep ksm pre: kvm\n" in new
    assert MODULE.parse(new) == {"run": 1}
    assert persistence.render(MODULE, new, {"run": 1}) == new
    assert persistence.render(MODULE, new, {}) == "# mine\noptions ksmbd foo=1\nsoftdep ksm pre: kvm\n"


def test_no_file_when_nothing_is_left() -> None:
    for form in (MODULE, KERNEL):
        assert persistence.render(form, persistence.render(form, "", {"run": 1}), {}) == ""


def test_run_comes_last() -> None:
    ordered = persistence.order(
        {"run": 1, "zeta": 3, "sleep_millisecs": 5, "pages_to_scan": 9},
        ["run", "pages_to_scan", "sleep_millisecs"],
    )
    assert list(ordered) == ["pages_to_scan", "sleep_millisecs", "zeta", "run"]


def test_a_bare_option_is_a_switch() -> None:
    assert MODULE.parse("options ksm adopt_mergeable run=1\n") == {"adopt_mergeable": 1, "run": 1}


def test_lines_in_another_encoding_are_kept(scratch: Path) -> None:
    file = scratch / "ksm.conf"
    file.write_bytes(b"# f\xfcr den G\xe4stebetrieb\noptions ksm run=1\n")
    module, form = FakeModule(scratch, False), persistence.FORMATS["module"]
    text = persistence.read(str(file))
    persistence.write(module, str(file), persistence.render(form, text, {"run": 0}))
    assert b"# f\xfcr den G\xe4stebetrieb\n" in file.read_bytes()
    assert b"run=0" in file.read_bytes()
