# SPDX-License-Identifier: GPL-2.0-or-later
"""The module's source builds without a warning on every kernel, and reads as kernel code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ksmvm.module_build import build_module
from ksmvm.paths import cache

TREE = Path(__file__).resolve().parents[2]
DKMS = TREE / "dkms"
SOURCES = sorted([*DKMS.glob("*.[ch]"), *DKMS.glob("include/uapi/linux/*.h")])

# Checks of checkpatch that cannot apply to a module built outside of the kernel's tree.
CHECKPATCH_IGNORED = (
    "LINUX_VERSION_CODE",  # compat.h is where versions are compared
    "CONSTANT_COMPARISON",  # and KERNEL_VERSION() is what they are compared with
    "MACRO_ARG_REUSE",  # a macro that defines an attribute pastes its name twice
    "UNCOMMENTED_DEFINITION",  # a spinlock_t * on the stack is not a definition of a lock
)


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "backports"])
def test_every_file_builds_without_warnings(kernel: str, tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    build_module(kernel, out=tmp_path, make_args=["W=1", "KSM_SPLIT=1"], log=log)
    text = log.read_text()
    assert "CC [M]" in text, "nothing was compiled"
    assert not re.findall(r"^.*(?:warning:|WARNING:).*$", text, re.MULTILINE)


def test_sparse_is_silent(tmp_path: Path) -> None:
    headers = Path("/usr/src") / headers_package()
    for source in SOURCES + [DKMS / "Kbuild"]:
        target = tmp_path / source.relative_to(DKMS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    result = subprocess.run(
        ["make", "-C", str(headers), f"M={tmp_path}", "C=2", "W=1", "KSM_SPLIT=1", "modules"],
        capture_output=True, text=True, check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "CHECK" in result.stdout, "sparse did not run"
    complaints = re.findall(r"^.*\.[ch]:\d+.*$", result.stderr, re.MULTILINE)
    assert not complaints


def test_the_unit_is_every_file() -> None:
    parts = set(re.findall(r'^#include "(\w+\.c)"$', (DKMS / "unit.c").read_text(), re.MULTILINE))
    assert parts == {source.name for source in SOURCES if source.suffix == ".c"} - {"unit.c"}


def headers_package() -> str:
    """The package that linux-headers-amd64 stands for, which is also its folder."""
    listing = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Depends}", "linux-headers-amd64"],
        capture_output=True, text=True, check=True,
    ).stdout
    return listing.split()[0]


def checkpatch() -> Path:
    """checkpatch.pl of the kernel's source package, which is the only one that has it."""
    folder = cache("checkpatch")
    script = folder / "scripts/checkpatch.pl"
    if not script.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", "linux-source-6.1"], cwd=folder, check=True)
        (package,) = folder.glob("linux-source-6.1_*.deb")
        unpack = (
            f"dpkg-deb --fsys-tarfile {package.name}"
            " | tar -xOf - --wildcards './usr/src/*.tar.xz'"
            " | tar -xJf - --strip-components=1 --wildcards"
            " '*/scripts/checkpatch.pl' '*/scripts/spelling.txt'"
            " '*/scripts/const_structs.checkpatch'"
        )
        subprocess.run(["bash", "-o", "pipefail", "-c", unpack], cwd=folder, check=True)
        package.unlink()
    return script


def test_checkpatch_is_silent() -> None:
    result = subprocess.run(
        [
            "perl", str(checkpatch()), "--no-tree", "--strict", "--terse", "--no-summary",
            "--max-line-length=100", f"--ignore={','.join(CHECKPATCH_IGNORED)}", "--file",
            *map(str, SOURCES),
        ],
        capture_output=True, text=True, check=False,
    )
    assert result.stdout == ""
    assert result.returncode == 0, result.stderr


def test_only_compat_knows_versions() -> None:
    for source in SOURCES:
        if source.name != "compat.h":
            assert not re.search(r"LINUX_VERSION|KERNEL_VERSION|KS_HAVE_", source.read_text()), source


def test_engine_stays_within_exports() -> None:
    forbidden = r"kallsyms|kprobe|ftrace|symbol_get|__symbol"
    for source in SOURCES:
        assert not re.search(forbidden, source.read_text()), source


def test_every_file_says_its_license() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=TREE, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    # Lists of words without comments; what debhelper reads, which debian/copyright speaks for.
    exempt = re.compile(
        r"^(VERSION|\.gitignore|LICENSES/.*|tests/fleet/workload/sizes\.json|tests/sanity/ignore-.*\.txt"
        r"|debian/(README.source|changelog|clean|copyright|source/format|[^/]+\.(dkms|install|lintian-overrides|manpages)))$"
    )
    missing = [
        name for name in tracked
        if name and not exempt.match(name)
        and "SPDX-License-Identifier:" not in (TREE / name).read_text(errors="replace")[:600]
    ]
    assert not missing
