# SPDX-License-Identifier: GPL-2.0-or-later
"""The module's source builds without a warning on every kernel, and reads as kernel code does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ksmvm.errors import HarnessError
from ksmvm.module_build import build_module
from ksmvm.paths import cache

TREE = Path(__file__).resolve().parents[2]
DKMS = TREE / "dkms"
KERNEL_CFG = TREE / "tests/static/kernel.cfg"
SOURCES = sorted([*DKMS.glob("*.[ch]"), *DKMS.glob("include/uapi/linux/*.h")])
# What Kbuild tries to compile to learn what the kernel has.
PROBES = sorted(DKMS.glob("probes/*.c"))

# Checks of checkpatch that cannot apply to a module built outside of the kernel's tree.
CHECKPATCH_IGNORED = (
    "LINUX_VERSION_CODE",  # compat.h is where versions are compared
    "CONSTANT_COMPARISON",  # and KERNEL_VERSION() is what they are compared with
    "MACRO_ARG_REUSE",  # a macro that defines an attribute pastes its name twice
    "UNCOMMENTED_DEFINITION",  # a spinlock_t * on the stack is not a definition of a lock
)

# What cppcheck says of code that is as kernel code should be.
CPPCHECK_SUPPRESSED = (
    "missingInclude:*/compat.h",  # what Kbuild writes; both ways of each #ifdef are looked at
    "missingIncludeSystem",  # kernel.cfg stands for the kernel's headers, which it cannot expand
    "variableScope",  # variables are declared at the top of their function, unless a block is long
    "constParameter",  # core mm's functions take no pointers to const, so who calls them cannot either
)


# Each file by itself on one kernel, which takes ten times as long as all of them in one unit.
@pytest.mark.parametrize(("kernel", "split"), [("6.1", False), ("6.12", True), ("backports", False)])
def test_it_builds_without_warnings(kernel: str, split: bool, tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    make_args = ["W=1", "KSM_STRIP=1", *(["KSM_SPLIT=1"] if split else [])]
    build_module(kernel, out=tmp_path, make_args=make_args, log=log)
    text = log.read_text()
    assert "CC [M]" in text, "nothing was compiled"
    assert not re.findall(r"^.*(?:warning:|WARNING:).*$", text, re.MULTILINE)


def test_sparse_is_silent(tmp_path: Path) -> None:
    headers = Path("/usr/src") / headers_package()
    for source in [*SOURCES, *PROBES, DKMS / "Kbuild"]:
        target = tmp_path / source.relative_to(DKMS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    result = subprocess.run(
        ["make", "-C", str(headers), f"M={tmp_path}", "C=2", "KSM_STRIP=1", "modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "CHECK" in result.stdout, "sparse did not run"
    complaints = re.findall(r"^.*\.[ch]:\d+.*$", result.stderr, re.MULTILINE)
    assert not complaints


def cppcheck(*sources: Path) -> list[str]:
    """Complaints about the sources. All at once: whether a function is used shows in other files."""
    result = subprocess.run(
        [
            "cppcheck",
            "--std=c11",
            "--enable=all",
            "--inconclusive",
            "--inline-suppr",
            "--quiet",
            "--force",
            "--template={file}:{line}: {message} [{id}]",
            f"--library={KERNEL_CFG}",
            f"-I{DKMS}",
            *(f"--suppress={name}" for name in CPPCHECK_SUPPRESSED),
            *map(str, sources),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    return [line for line in result.stderr.splitlines() if line.strip()]


# One mistake for each thing that kernel.cfg is there for.
MISTAKES = """
int ks_leaks(int how)
{
	char *lost = kzalloc(16, GFP_KERNEL);

	if (unlikely(how))
		return -EINVAL;
	kvfree(lost);
	return 0;
}

static ssize_t mistakes_show(void)
{
	char *text = kmalloc(16, GFP_KERNEL);
	char first = text[0];
	struct ks_mm *km;
	int sum;

	kfree(text);
	list_for_each_entry(km, &ks_mms, link)
		sum += READ_ONCE(km->id);
	return sum + first;
}
static DEVICE_ATTR_RO(mistakes);
"""


def test_cppcheck_finds_mistakes(tmp_path: Path) -> None:
    """It stays silent about a file that it cannot read, too."""
    mistakes = tmp_path / "region.c"
    mistakes.write_text((DKMS / "region.c").read_text() + MISTAKES)
    text = "\n".join(cppcheck(mistakes))
    found = set(re.findall(r"region.c:\d+: .*\[(\w+)\]$", text, re.MULTILINE))
    assert {"memleak", "mismatchAllocDealloc", "uninitdata", "uninitvar", "unusedFunction"} <= found
    assert "ks_leaks" in text and "mistakes_show" not in text


def test_cppcheck_is_silent() -> None:
    assert not cppcheck(*(source for source in SOURCES if source.name != "unit.c"))


def test_the_unit_is_every_file() -> None:
    parts = set(re.findall(r'^#include "(\w+\.c)"$', (DKMS / "unit.c").read_text(), re.MULTILINE))
    assert parts == {source.name for source in SOURCES if source.suffix == ".c"} - {"unit.c"}


def headers_package() -> str:
    """The package that linux-headers-amd64 stands for, which is also its folder."""
    listing = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Depends}", "linux-headers-amd64"],
        capture_output=True,
        text=True,
        check=True,
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
            "perl",
            str(checkpatch()),
            "--no-tree",
            "--strict",
            "--terse",
            "--no-summary",
            "--max-line-length=100",
            f"--ignore={','.join(CHECKPATCH_IGNORED)}",
            "--file",
            *map(str, [*SOURCES, *PROBES]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == ""
    assert result.returncode == 0, result.stderr


def test_only_compat_knows_versions() -> None:
    for source in SOURCES:
        if source.name != "compat.h":
            assert not re.search(r"LINUX_VERSION|KERNEL_VERSION|KS_HAVE_", source.read_text()), source


def test_compat_probes_instead() -> None:
    """The only version in it is the oldest one."""
    compat = (DKMS / "compat.h").read_text()
    assert re.findall(r"KERNEL_VERSION\(.*?\)", compat) == ["KERNEL_VERSION(6, 1, 0)"]
    asked = set(re.findall(r"KS_HAVE_\w+", compat)) - {"KS_HAVE_"}
    kbuild = set(re.findall(r"KS_HAVE_[A-Z]\w+", (DKMS / "Kbuild").read_text()))
    assert asked == kbuild == {probe.stem for probe in PROBES if probe.stem != "control"}


@pytest.mark.parametrize(
    ("kernel", "has"),
    [
        ("6.1", set()),
        ("6.12", {"RSS_PERCPU", "SHRINKER_ALLOC"}),
        ("backports", {"EXEC_STATE", "LEAFOPS", "MM_FLAGS_TEST", "RSS_PERCPU", "SHRINKER_ALLOC"}),
    ],
)
def test_answers_of_the_probes(kernel: str, has: set[str], tmp_path: Path) -> None:
    """They are also known from the kernels' histories: a probe that fails for another reason shows here."""
    source = tmp_path / "dkms"
    shutil.copytree(DKMS, source)
    with (source / "unit.c").open("a") as unit:
        unit.writelines(
            f'#ifdef KS_HAVE_{name}\n#pragma message "has {name}"\n#endif\n'
            for name in sorted(probe.stem.removeprefix("KS_HAVE_") for probe in PROBES)
        )
    log = tmp_path / "build.log"
    build_module(kernel, source, out=tmp_path, log=log)
    assert set(re.findall(r"message: \W*has (\w+)", log.read_text())) == has


def test_headers_that_nothing_compiles_against(tmp_path: Path) -> None:
    """No answer is better than a wrong one: the build ends, and the compiler says why."""
    source = tmp_path / "dkms"
    shutil.copytree(DKMS, source)
    control = source / "probes/control.c"
    control.write_text(control.read_text() + "#include <linux/no_such_header.h>\n")
    log = tmp_path / "build.log"
    with pytest.raises(HarnessError):
        build_module("6.12", source, out=tmp_path, log=log)
    text = log.read_text()
    assert "no_such_header.h: No such file" in text
    assert "unit.o" not in text


def test_engine_stays_within_exports() -> None:
    forbidden = r"kallsyms|kprobe|ftrace|symbol_get|__symbol"
    for source in SOURCES:
        assert not re.search(forbidden, source.read_text()), source


def spoken_for(name: str) -> Path:
    """The file, or the one beside it that tells the license of what a program writes."""
    license_ = TREE / f"{name}.license"
    return license_ if license_.exists() else TREE / name


def test_every_file_says_its_license() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=TREE, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    # Lists of words without comments; what debhelper reads, which debian/copyright speaks for.
    exempt = re.compile(
        r"^(VERSION|\.gitignore|LICENSES/.*|python/LICENSE|tests/fleet/workload/sizes\.json|tests/sanity/ignore-.*\.txt"
        r"|tests/collection/fixtures/.*\.txt"
        r"|debian/(README.source|changelog|clean|copyright|source/format|[^/]+\.(dirs|dkms|install|lintian-overrides|manpages)))$"
    )
    missing = [
        name
        for name in tracked
        if name
        and not exempt.match(name)
        and "SPDX-License-Identifier:" not in spoken_for(name).read_text(errors="replace")[:600]
    ]
    assert not missing
