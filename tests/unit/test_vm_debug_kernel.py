# SPDX-License-Identifier: GPL-2.0-or-later
"""The debug kernel's recipe and its place in the cache."""

from pathlib import Path

import pytest
from ksmvm import debug_kernel, kernels
from ksmvm.errors import HarnessError

WANTED = '# words\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="text"\n'


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """What was done, with the steps replaced that take long."""
    done: list = []

    def unpack(partial: Path) -> None:
        done.append("unpacked" if not (partial / "tree").is_dir() else "went on")
        (partial / "tree").mkdir(parents=True, exist_ok=True)

    def compile_tree(_tree: Path) -> None:
        if done.count("broken"):
            done.remove("broken")
            raise HarnessError("exit status 2 of: make")
        done.append("compiled")

    def install(_tree: Path, kernel: Path) -> None:
        (kernel / "usr/lib/modules/6.12.0-ksm-debug").mkdir(parents=True)

    monkeypatch.setenv("KSM_CACHE", str(tmp_path))
    monkeypatch.setattr(debug_kernel.host, "setup", lambda _packages: None)
    monkeypatch.setattr(debug_kernel, "_unpack", unpack)
    monkeypatch.setattr(debug_kernel, "_configure", lambda _tree: None)
    monkeypatch.setattr(debug_kernel, "_compile", compile_tree)
    monkeypatch.setattr(debug_kernel, "_install", install)
    return done


def test_it_is_built_once(built: list) -> None:
    assert debug_kernel.ensure() == debug_kernel.ensure() == debug_kernel.location()
    assert built == ["unpacked", "compiled"]


def test_another_configuration_builds_anew(built: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debug_kernel.ensure()
    config = tmp_path / "config"
    config.write_text(WANTED)
    monkeypatch.setattr(debug_kernel, "CONFIG", config)
    debug_kernel.ensure()
    assert built == ["unpacked", "compiled"] * 2
    # Comments are no part of the recipe, what is not set is.
    config.write_text(WANTED.replace("words", "other words"))
    debug_kernel.ensure()
    assert len(built) == 4
    config.write_text(WANTED.replace("# CONFIG_B is not set\n", ""))
    debug_kernel.ensure()
    assert len(built) == 6


def test_half_a_kernel_is_not_taken_for_one_and_goes_on(built: list) -> None:
    built.append("broken")
    with pytest.raises(HarnessError, match="make"):
        debug_kernel.ensure()
    assert not debug_kernel.location().exists()
    debug_kernel.ensure()
    assert built == ["unpacked", "went on", "compiled"]


def test_options_that_did_not_come_out_are_named() -> None:
    assert debug_kernel.options(WANTED) == {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": '"text"'}
    assert debug_kernel.lost_options(WANTED, 'CONFIG_A=y\nCONFIG_C="text"\n') == []
    assert debug_kernel.lost_options(WANTED, "CONFIG_A=m\nCONFIG_B=y\n") == [
        "CONFIG_A=y (is m)",
        "CONFIG_B=n (is y)",
        'CONFIG_C="text" (is n)',
    ]


def test_its_modules_are_built_by_this_machine(built: list) -> None:
    prepared = kernels.prepare("debug")
    assert prepared.version == "6.12.0-ksm-debug"
    assert not prepared.own_compiler
    assert prepared.patience > 1
    assert kernels.DEBUG not in kernels.KERNELS
