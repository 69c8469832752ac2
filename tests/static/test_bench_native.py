# SPDX-License-Identifier: GPL-2.0-or-later
"""What judges pages still compiles as a program: `make bench-native` is no part of the other tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

NATIVE = Path(__file__).resolve().parents[1] / "bench/native"


def test_the_engine_compiles_as_a_program(tmp_path: Path) -> None:
    subprocess.run(["make", "-s", "-C", NATIVE, f"OUT={tmp_path}", "objects"], check=True)
    assert (tmp_path / "judge.o").exists()
