# SPDX-License-Identifier: GPL-2.0-or-later
"""The module builds for arm64 too, with pages of 4 KiB and of 16 KiB. Nothing of it is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ksmvm.kernels import HEADERS
from ksmvm.module_build import build_module


@pytest.mark.parametrize("kernel", HEADERS)
def test_every_file_builds_without_warnings(kernel: str, tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    build_module(kernel, out=tmp_path, make_args=["W=1", "KSM_SPLIT=1"], log=log)
    text = log.read_text()
    assert "CC [M]" in text, "nothing was compiled"
    assert not re.findall(r"^.*(?:warning:|WARNING:).*$", text, re.MULTILINE)
