# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark's arithmetic, on figures that can be checked by hand."""

import json
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from ksmbench import cli, plot, report, series, statistics


def merging(engine: str, cpu: int, *, ideal: int = 256, workload: str = "mix") -> dict:
    """4 MiB, of which 1 MiB can be saved, by steps of 10 ms."""
    return {
        "part": "merging",
        "engine": engine,
        "workload": workload,
        "ideal": ideal,
        "saved": 256,
        "pages": 1024,
        "metadata": 65536,
        "cpu_merged": cpu if ideal > 0 else -1,
        "cpu_one": cpu // 4,
        "cpu_three": 3 * cpu,
        "cpu_pass": cpu // 2,
        "curve": [[10_000_000, 0], [20_000_000, 250], [30_000_000, 254], [40_000_000, 256]],
    }


def pace(engine: str, dynamic: int, saved: list[int]) -> dict:
    samples = [[float(i + 1), (i + 1) * 1_000_000, pages] for i, pages in enumerate(saved)]
    row = {"part": "pace", "engine": engine, "workload": "mix", "dynamic": dynamic, "pages_to_scan": 100, "mib": 8}
    return {**row, "samples": samples}


def test_figure() -> None:
    found = statistics.figure([4.0, 1.0, 2.0])
    assert found == statistics.Figure(2.0, 1.0, 4.0, 3)
    assert found.spread == 1.5
    assert statistics.figure([]) is None


def test_ratio_is_of_the_same_round() -> None:
    found = statistics.ratio([1.0, 2.0, 4.0], [3.0, 4.0, 4.0])
    assert found == statistics.Figure(2.0, 1.0, 3.0, 3)
    assert statistics.ratio([0.0], [1.0]) is None


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_slope_is_the_power_of_growth(power: float) -> None:
    assert statistics.slope([(x, 7 * x**power) for x in (1.0, 4.0, 16.0)]) == pytest.approx(power)


def test_memory_stays_saved_between_two_looks() -> None:
    line = [(1.0, 10.0), (3.0, 30.0)]
    assert [series.at(line, x) for x in (0.5, 1.0, 2.9, 3.0, 9.0)] == [None, 10.0, 10.0, 30.0, 30.0]


def test_engines_are_compared_from_a_noticeable_part_on() -> None:
    theirs = [(1.0, 1.0), (2.0, 50.0), (3.0, 100.0)]
    ours = [(1.0, 0.0), (2.0, 25.0), (3.0, 100.0)]
    assert series.compare(ours, theirs) == series.Comparison(0.5, 0.75, 125 / 150)
    assert series.compare(ours, []) is None
    assert series.compare([], theirs) is None
    assert series.compare(ours, [(1.0, 0.0)]) is None


def test_when_so_much_was_saved() -> None:
    line = [(1.0, 0.0), (2.0, 50.0), (3.0, 40.0), (4.0, 90.0)]
    assert [series.reached(line, y) for y in (0.0, 50.0, 51.0, 91.0)] == [1.0, 2.0, 4.0, None]


def test_part_of_the_time_so_many_times_ahead() -> None:
    theirs = [(1.0, 0.0), (2.0, 0.0), (3.0, 10.0), (4.0, 100.0)]
    ours = [(2.0, 30.0), (3.0, 50.0), (4.0, 100.0)]
    # Not of nothing by nothing; of something by nothing.
    assert series.ahead(ours, theirs, 5) == 0.5
    assert series.ahead(ours, theirs, 6) == 0.25
    assert series.ahead(ours, theirs, 1) == 0.75
    assert series.ahead(ours, [], 5) is None


def test_cpu_time_until_merged() -> None:
    assert report.cpu_until_merged(merging("module", 25_000_000)) == 25
    # Nothing can merge: three passes.
    assert report.cpu_until_merged(merging("module", 25_000_000, ideal=0)) == 75
    # Nobody knows: 99 % of what was in the end.
    assert report.cpu_until_merged(merging("module", 25_000_000, ideal=-1)) == 30
    never = {**merging("module", 25_000_000), "cpu_merged": -1}
    assert report.cpu_until_merged(never) is None
    assert report.mib_per_cpu_second(merging("module", 25_000_000)) == 40
    assert report.metadata_per_page(merging("module", 25_000_000)) == 64


def test_instructions_for_a_page() -> None:
    rows = [merging(name, 4096 * 1024, ideal=0, workload="unique") for name in ("module", "ksmd")]
    ((_title, head, lines),) = report.pages(rows)
    assert head[2:] == ["module", "ksmd"]
    assert [line[2:] for line in lines] == [["1024", "1024"], ["2048", "2048"]]


def test_tables_tell_ratios_and_gaps() -> None:
    rows = [merging("module", 20_000_000), merging("ksmd", 50_000_000), merging("module", 9, workload="programs")]
    ((title, head, lines),) = report.merging(rows)
    assert title == "module beside ksmd"
    assert [line[0] for line in lines] == ["mix", "programs"]
    mix, programs = (dict(zip(head[3:6], line[3:6])) for line in lines)
    assert mix == {"CPU ms until merged": "20.0", "ksmd": "50.0", "ksmd / module": "2.50"}
    assert programs["ksmd / module"] == "-"
    for line in report.as_markdown((title, head, lines)).splitlines()[2:]:
        assert line.count("|") == len(head) + 1


def test_spread_is_told_of_several_rounds() -> None:
    rows = [merging(name, cpu) for name, cpu in (("module", 19_000_000), ("module", 21_000_000), ("ksmd", 40_000_000))]
    ((_title, _head, ((_workload, _saved, _theirs, ours, theirs, *_rest),)),) = report.merging(rows)
    assert ours == "20.0 ±5.0 %"
    assert theirs == "40.0"


def test_summary_has_ratios_for_programs() -> None:
    found = report.summary([merging("module", 20_000_000), merging("ksmd", 50_000_000)])
    ours = next(entry for entry in found if entry["engine"] == "module")
    assert ours["cpu_until_merged_ms"]["median"] == 20
    assert ours["cpu_until_merged_ms_ratio"]["median"] == 2.5
    json.dumps(found)


@pytest.mark.parametrize(
    ("most", "last", "number"), [(271, 250, 6), (1.93, 1.75, 8), (40, 40, 9), (0.3, 0.3, 7), (0, 0, 1)]
)
def test_ticks_are_round(most: float, last: float, number: int) -> None:
    found = plot.ticks(most)
    assert found[0] == 0
    assert found[-1] == pytest.approx(last)
    assert len(found) == number


def test_plot_is_well_formed_and_has_a_line_for_each_engine() -> None:
    rows = [pace(name, dynamic, [0, 100, 256]) for name in ("ksmd-smart", "module") for dynamic in (0, 1)]
    tree = ElementTree.fromstring(plot.svg(rows, "Linux <6.12>"))
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}polyline"))) == 8


@pytest.mark.parametrize("markdown", [False, True])
def test_an_earlier_run_can_be_shown(tmp_path, capsys, markdown: bool) -> None:  # type: ignore[no-untyped-def]
    rows = [pace("ksmd-smart", 0, [0, 256]), pace("module", 0, [0, 128])]
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"version": "6.12.0", "rows": rows, "troubles": []}))
    assert cli.main(["--show", str(path), *(["--markdown"] if markdown else [])]) == 0
    shown = capsys.readouterr().out
    assert "Linux 6.12.0" in shown
    assert "0.50" in shown
    assert shown.count("|") == (68 if markdown else 0)


def test_a_change_of_the_module_is_told(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    paths = [tmp_path / "new.json", tmp_path / "old.json"]
    for path, cpu in zip(paths, (15_000_000, 20_000_000)):
        path.write_text(json.dumps({"version": "6.12.0", "rows": [merging("module", cpu)], "troubles": []}))
    assert cli.main(["--show", str(paths[0]), "--before", str(paths[1])]) == 0
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.count("-25.0 %") == 2
    assert "+0.0 %" in line


def test_parts_that_were_not_measured_now_are_kept() -> None:
    old = [pace("ksmd-smart", 0, [0]), merging("module", 20_000_000), merging("module", 5_000_000, workload="huge")]
    now = cli.with_rest({"rows": [merging("module", 10_000_000)]}, old)
    kept = [(row["part"], row["workload"], row["engine"]) for row in now["rows"]]
    assert kept == [("pace", "mix", "ksmd-smart"), ("merging", "huge", "module"), ("merging", "mix", "module")]
    assert [entry["cpu_until_merged_ms"]["median"] for entry in now["summary"]] == [10, 5]


def test_another_kernels_run_is_not_added_to(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "6.12.json"
    assert cli.earlier(path, "6.12") == []
    path.write_text(json.dumps({"version": "6.12.0", "rows": [1], "troubles": []}))
    for version, fits in (("6.12.0", True), ("6.12.1", False)):
        monkeypatch.setattr(cli.ksmvm, "prepare", lambda _kernel, version=version: SimpleNamespace(version=version))
        if fits:
            assert cli.earlier(path, "6.12") == [1]
        else:
            with pytest.raises(SystemExit, match="6.12.1"):
                cli.earlier(path, "6.12")


def test_another_file_is_refused_by_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.json"
    for text in ("", "[]", '{"rows": []}'):
        path.write_text(text)
        with pytest.raises(SystemExit, match="x.json"):
            cli.main(["--show", str(path)])


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--size", "-1"], ["--kernel", "5.10"], ["--part", "x"], ["--before", "x.json"]]
)
def test_nonsense_is_refused(arguments: list, capsys) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit):
        cli.main(arguments)
    said = capsys.readouterr().err
    assert arguments[0] in said
