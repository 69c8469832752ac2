# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: what it takes, what it refuses, and the exit status."""

import argparse
from pathlib import Path

import pytest
from ksmvm import cli
from ksmvm.errors import HarnessError
from ksmvm.module_vm import ModuleVM, Result


def test_a_file_goes_to_the_top_by_default(tmp_path: Path) -> None:
    source = tmp_path / "probe"
    source.touch()
    assert cli.carried_file(str(source)) == ("/probe", source)
    assert cli.carried_file(f"{source}:/opt/x") == ("/opt/x", source)


@pytest.mark.parametrize(("text", "word"), [("{missing}", "does not exist"), ("{here}:opt/x", "absolute")])
def test_a_wrong_file_is_named(tmp_path: Path, text: str, word: str) -> None:
    text = text.format(missing=tmp_path / "missing", here=tmp_path)
    with pytest.raises(argparse.ArgumentTypeError, match=word):
        cli.carried_file(text)


def test_a_host_may_name_its_kernel() -> None:
    assert cli.host_and_kernel("web1") == ("web1", None)
    assert cli.host_and_kernel("web1:6.12") == ("web1", "6.12")
    with pytest.raises(argparse.ArgumentTypeError, match="'5.10'"):
        cli.host_and_kernel("web1:5.10")


@pytest.mark.parametrize("text", ["0", "-1", "two", ""])
def test_a_number_must_be_above_zero(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        cli.at_least_one(text)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["kernel", "5.10"],
        ["run", "--", "true"],
        ["run", "--kernel", "6.1"],
        ["run", "--kernel", "6.1", "--smp", "0", "--", "true"],
    ],
)
def test_wrong_usage_is_refused(arguments: list) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "web1"], "'web1' has no kernel"),
        (["up", "Web_1:6.1"], "'Web_1' is no host name"),
        (["up", "a:6.1", "b:6.1", "--port", "2222"], "--port is for one host"),
        (["up", "web1:backports"], "'backports' has no fleet image"),
        (["down"], "--all"),
        (["ssh", "web1"], "no host 'web1'; hosts that were started: none"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    arguments: list,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KSM_CACHE", str(tmp_path))
    assert cli.main(arguments) == cli.STATUS_HARNESS_FAILED
    assert message in capsys.readouterr().err


def test_run_hands_over_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def run(self: ModuleVM, command: object, files: object, **options: object) -> Result:
        seen.update(options, smp=self.smp, kernel=self.kernel, command=command, files=files)
        return Result(3, "", "the log\n", "")

    monkeypatch.setattr(ModuleVM, "run", run)
    module = tmp_path / "ksm.ko"
    module.touch()
    log = tmp_path / "log"
    words = ["run", "--kernel", "6.12", "--smp", "2", "--module", str(module), "--log", str(log)]
    assert cli.main([*words, "-m", "zram", "--", "ls", "--color"]) == 3
    assert seen["command"] == ["ls", "--color"]
    assert seen["files"] == {"/ksm.ko": module}
    assert (seen["kernel"], seen["smp"], seen["modules"]) == ("6.12", 2, ["zram"])
    assert log.read_text() == "the log\n"
    cli.main([*words, "--", "ls | wc -l"])
    assert seen["command"] == "ls | wc -l"


def test_a_complaint_of_the_kernel_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ModuleVM, "run", lambda *_a, **_k: Result(0, "", "", "", ["WARNING: odd"]))
    assert cli.main(["run", "--kernel", "6.1", "--", "true"]) == 125
    assert "WARNING: odd" in capsys.readouterr().err


def test_an_error_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise HarnessError("packages are missing: x; run `ksmvm setup`")

    monkeypatch.setattr(cli.host, "setup", fail)
    assert cli.main(["setup"]) == cli.STATUS_HARNESS_FAILED
    assert capsys.readouterr().err == ("ksmvm: error: packages are missing: x; run `ksmvm setup`\n")
