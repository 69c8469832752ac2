# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages of this tree under other version numbers, among them bad ones.

NUMBER or NUMBER:FAULT names one. A fault is made in a copy of the tree and nowhere else.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ksmvm.errors import HarnessError
from ksmvm.lock import locked
from ksmvm.process import run, system_environment

from fleet.paths import REPOSITORY, cache

# Loaded, it warns once, and goes on to say the same over and over, but so that a minute or two later
# the kernel's log still has the warning.
NOISE = """
static void ks_noise(struct work_struct *work);
static DECLARE_DELAYED_WORK(ks_noise_work, ks_noise);

static void ks_noise(struct work_struct *work)
{
	int i;

	for (i = 0; i < 10; i++)
		pr_info("a fault of this build, made on purpose: %d\\n", i);
	schedule_delayed_work(&ks_noise_work, HZ);
}
"""

# Loaded, it oopses. The thread that dies holds the module, as one in the midst of its work would.
OOPS = """
static int ks_oops(void *unused)
{
	return *(volatile int *)8;
}
"""


def _does_not_compile(tree: Path) -> None:
    with (tree / "dkms/main.c").open("a") as main:
        main.write('#error "broken on purpose"\n')


def _change_main(tree: Path, *changes: tuple[str, str]) -> None:
    main = tree / "dkms/main.c"
    text = main.read_text()
    for old, new in changes:
        if text.count(old) != 1:
            raise HarnessError(f"{main} has not exactly one {old!r} to make a fault at")
        text = text.replace(old, new)
    main.write_text(text)


INCLUDE = "#include <linux/module.h>\n"
BEGIN = "static int __init ks_init(void)\n"
LOADED = "\treturn 0;\n\nfail_device:"
UNLOAD = "\tks_device_unregister();\n\tks_thread_stop();\n\tks_shrinker_exit();\n\tdown"


def _noisy(tree: Path) -> None:
    _change_main(
        tree,
        (INCLUDE, f"{INCLUDE}#include <linux/workqueue.h>\n"),
        (BEGIN, f"{NOISE.lstrip()}\n{BEGIN}"),
        (LOADED, f'\tWARN(1, "made on purpose\\n");\n\tschedule_delayed_work(&ks_noise_work, 0);\n{LOADED}'),
        (UNLOAD, f"\tcancel_delayed_work_sync(&ks_noise_work);\n{UNLOAD}"),
    )


def _oops(tree: Path) -> None:
    _change_main(
        tree,
        (INCLUDE, f"#include <linux/kthread.h>\n{INCLUDE}"),
        (BEGIN, f"{OOPS.lstrip()}\n{BEGIN}"),
        (LOADED, f'\t__module_get(THIS_MODULE);\n\tkthread_run(ks_oops, NULL, "ks_oops");\n{LOADED}'),
    )


FAULTS: dict[str, Callable[[Path], None]] = {
    "does-not-compile": _does_not_compile,
    "noisy": _noisy,
    "oops": _oops,
}


def build(name: str) -> Path:
    """Build the packages, unless they are what the tree gives, and return where they lie."""
    number, _, fault = name.partition(":")
    if fault and fault not in FAULTS:
        raise HarnessError(f"{name}: no such fault; known are {', '.join(FAULTS)}")
    work = cache(f"version-{number}{'-' if fault else ''}{fault}")
    # Scenarios that run side by side want the same one.
    with locked(work.name):
        return _build(work, number, fault)


def _build(work: Path, number: str, fault: str) -> Path:
    tree = work / "ksm-fleet"
    _copy(tree)
    version = (tree / "VERSION").read_text().strip()
    for file in ("VERSION", "galaxy.yml"):
        (tree / file).write_text((tree / file).read_text().replace(version, number))
    changelog = tree / "debian/changelog"
    changelog.write_text(changelog.read_text().replace(f"({version})", f"({number})", 1))
    if fault:
        FAULTS[fault](tree)
    environment = system_environment(KSM_CACHE=str(work / "cache"), DEB_BUILD_OPTIONS="nocheck")
    run([str(tree / "debian/build"), str(work / "dist")], env=environment)
    return work / "dist"


def _copy(target: Path) -> None:
    """What belongs to the tree, as debian/build sees it."""
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = REPOSITORY / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
