# SPDX-License-Identifier: GPL-2.0-or-later
"""What callgrind counted, by source file."""

import pytest
from ksmbench import native

# A function that calls another in a file that is named there, and has a third one inlined.
FIRST = """\
desc: Trigger: Client Request: unique-new
positions: line
events: Ir

fl=(1) /src/dkms/judge.c
fn=(1) ks_judge
10 5
+2 7
cfi=(2) /src/dkms/hash.c
cfn=(2) ks_page_sample
calls=2 30
* 1000
fi=(3) ./kernel.h
5 3
fe=(1)
-1 8

fl=(2)
fn=(2)
31 900
32 100

totals: 1023
"""
# Names stand in the first dump only.
SECOND = """\
fl=(2)
fn=(2)
31 40
fl=(4) ./malloc/malloc.c
fn=(9) calloc
* 10
totals: 50
"""


def test_costs_go_to_the_file_they_were_written_in() -> None:
    first, second = native.by_file([FIRST, SECOND])
    assert first == {"judge.c": 20, "kernel.h": 3, "hash.c": 1000}
    assert second == {"hash.c": 40, "malloc.c": 10}
    assert sum(first.values()) == native.total(FIRST)
    assert sum(second.values()) == native.total(SECOND)


def test_table_is_by_page() -> None:
    said = "unique-new 10 0\npair-known 10 5\n"
    title, head, lines = native.table(said, [FIRST, SECOND], {"judge.c", "hash.c", "kernel.h"})
    assert head == ["page", "worth merging", "all", "hash.c", "judge.c", "kernel.h", "libc"]
    assert lines[0][1:] == ["0%", "102", "100", "2", "0", "0"]
    assert lines[1][1:] == ["50%", "5", "4", "0", "0", "1"]


def test_a_dump_that_is_missing_or_empty_is_trouble() -> None:
    with pytest.raises(SystemExit, match="2 kinds of pages, but 1"):
        native.table("unique-new 10 0\npair-known 10 5\n", [FIRST], {"hash.c"})
    with pytest.raises(SystemExit, match="no totals"):
        native.table("unique-new 10 0\n", ["events: Ir\n"], {"hash.c"})


def test_a_folder_without_the_module_is_refused(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit):
        native.main(["--dkms", str(tmp_path)])
    assert str(tmp_path) in capsys.readouterr().err
