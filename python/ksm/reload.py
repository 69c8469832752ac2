# SPDX-License-Identifier: GPL-2.0-or-later
"""Replacing the loaded module by the installed build, with regions and tunables handed over.

What is merged stays merged without a module, and the next one takes it over. The rest is noted
before the module is unloaded, on disk too: a reload that was cut short is gone on with by the next.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ksm import handover, kmod, state, turn
from ksm.change import MERGE, refuse_second_engine
from ksm.device import Device
from ksm.engine import Engine
from ksm.errors import KsmError, TunableError
from ksm.handover import Held, Outcome, Progress
from ksm.holders import holders
from ksm.kmod import Build, KmodError
from ksm.state import State
from ksm.table import Value

NOTHING, WOULD, RELOADED, RESUMED, KEPT = "nothing", "would", "reloaded", "resumed", "kept"
_MODE, _PAGES = "advisor_mode", "pages_to_scan"
_SHOWN = 5
# Seconds for descriptors that are about to be closed.
_PATIENCE = 2.0


class ReloadRefused(KsmError):
    """The reload was not begun; the module runs as before."""


@dataclass
class Report:
    """What reload() did.

    action: "nothing" (the installed build runs), "would" (dry run), "reloaded", "resumed" (an
    interrupted reload was ended), or "kept": the new build could not be loaded, the old one runs
    again. before: the build that ran, after: the one that runs (would run). regions: how many
    there were. lost: those given up by force. dropped: tunables that the new build does not have.
    problems: what is left to do, each with its remedy; the saved state is kept while there are any.
    began: when the reload that was interrupted began.
    """

    action: str
    before: Build | None
    after: Build | None
    regions: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    lost: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    began: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "action": self.action,
            "before": self.before and self.before._asdict(),
            "after": self.after and self.after._asdict(),
            "regions": self.regions,
            "registered": self.outcome.registered,
            "ended": self.outcome.ended,
            "present": self.outcome.present,
            "lost": self.lost,
            "dropped_tunables": self.dropped,
            "problems": self.problems,
            "began": self.began,
        }


def silent(_what: str, _done: int, _of: int) -> None:
    """Show no progress."""


def pending() -> bool:
    """Whether a reload was interrupted and waits to be gone on with."""
    return os.path.exists("/" + state.FILE)


def reload(*, force: bool = False, same: bool = False, dry_run: bool = False, progress: Progress = silent) -> Report:
    """Replace the loaded module by the installed build, or go on with that.

    force: also when regions would be lost. same: also when that build is loaded already.
    dry_run: look, refuse what would be refused, and change nothing.

    Raises ReloadRefused, or another KsmError, when nothing was changed.
    """
    if os.geteuid():
        raise ReloadRefused("only root may replace the module")
    with state.alone(), turn.taken():
        left = State.load()
        if left is not None and left.instance != kmod.instance():
            return _resume(left, dry_run, progress)
        return _begin(force, same, dry_run, progress)


def _begin(force: bool, same: bool, dry_run: bool, progress: Progress) -> Report:
    running = kmod.loaded()
    if running is None:
        raise ReloadRefused("the module is not loaded, so there is nothing to replace: modprobe ksm")
    new = _installed()
    if not same and not running.differs(new):
        state.forget()
        return Report(NOTHING, running, new)
    if not _unused():
        raise ReloadRefused(_in_use())
    with contextlib.ExitStack() as stack:
        with Device() as device:
            held = stack.enter_context(handover.collect(device, progress))
            pace = device.info()
        lost = [one.why for one in held if one.memory is None]
        if lost and not force:
            raise ReloadRefused(
                f"{len(lost)} of {len(held)} regions would be lost: {_some(lost)}. End or "
                "unregister these processes, or give --force to do without them"
            )
        report = Report(WOULD, running, new, len(held), lost=lost)
        if not dry_run:
            kept = [one for one in held if one.memory is not None]
            tunables = Engine.module().tunables()
            saved = State(running, kmod.instance(), state.now(), pace, tunables, kept)
            _replace(saved, kept, report, progress)
    return report


def _replace(saved: State, held: Sequence[Held], report: Report, progress: Progress) -> None:
    saved.save()
    with _undisturbed():
        try:
            _unused()
            kmod.unload()
        except KmodError as error:
            state.forget()
            raise ReloadRefused(f"{error}. {_in_use()}") from error
        report.action = RELOADED
        _bring_back(saved, held, report, progress)


def _resume(saved: State, dry_run: bool, progress: Progress) -> Report:
    report = Report(RESUMED, saved.build, kmod.loaded(), len(saved.held), began=saved.began)
    if dry_run:
        report.action, report.after = WOULD, report.after or _installed()
    else:
        with handover.reopen(saved.held) as held, _undisturbed():
            _bring_back(saved, held, report, progress)
    return report


def _installed() -> Build:
    """Return the build to be loaded, when nothing speaks against it. Raises ReloadRefused."""
    found = kmod.installed()
    release = os.uname().release
    if found is None:
        raise ReloadRefused(
            f"no ksm.ko is installed for the kernel {release}; look at dkms status, and install "
            "the package ksm-dkms and the kernel's headers"
        )
    if found.release != release:
        raise ReloadRefused(
            f"{found.file} was built for the kernel {found.release}, and {release} runs; build it "
            f"anew: dkms install --force -k {release} ksm/{found.build.version}"
        )
    if kmod.wants_signature() and not found.signed:
        raise ReloadRefused(
            f"{found.file} is not signed, and this kernel takes signed modules only; let DKMS sign "
            "it with an enrolled key (mokutil --import /var/lib/dkms/mok.pub)"
        )
    return found.build


def _unused() -> bool:
    """Whether nobody holds the module, or lets it go in a moment: who asks for statistics does."""
    end = time.monotonic() + _PATIENCE
    while kmod.users() and time.monotonic() < end:
        time.sleep(0.05)
    return not kmod.users()


def _in_use() -> str:
    held = ", ".join(holders()) or "nobody seen from here"
    return f"The module is in use by: {held}. End these processes, or let them close /dev/ksm"


def _bring_back(saved: State, held: Sequence[Held], report: Report, progress: Progress) -> None:
    """Load the new build, or else the old one, and give it what the old one had."""
    failed = "" if kmod.loaded() else _load(saved)
    report.after = kmod.loaded()
    if report.after is None:
        report.problems.append(
            f"{failed}. No module is loaded now. What is merged stays merged. When this is mended, "
            "ksmctl reload goes on: it loads the module and hands the regions over"
        )
        return
    try:
        _restore(saved, held, report, progress)
    except (KsmError, OSError) as error:
        report.problems.append(f"{error}; mend this, then ksmctl reload goes on")
    if not report.problems:
        state.forget()
    if failed:
        report.action = KEPT
        report.problems.append(f"{failed}. The old build was loaded again, with all it had")


def _load(saved: State) -> str:
    """Return why the installed build was not loaded, "" when it was.

    With run=1, by an option of modprobe.d, it would begin before it has its tunables.
    """
    try:
        kmod.load("run=0")
    except KmodError as error:
        failed = f"the installed build cannot be loaded: {error}; see dmesg"
    else:
        return ""
    old = kmod.find(saved.build)
    if old is not None:
        try:
            kmod.insert(old, "run=0")
        except KmodError as error:
            failed += f". Nor can the old one: {error}"
    return failed


def _restore(saved: State, held: Sequence[Held], report: Report, progress: Progress) -> None:
    engine = Engine.module()
    # Only an interrupted reload finds anything else.
    engine.write("run", 0)
    wanted = {name: value for name, value in saved.tunables.items() if engine.has(name)}
    report.dropped = [name for name in saved.tunables if name not in wanted]
    run = wanted.pop("run")
    unset: list[str] = []
    with Device() as device:
        if wanted.get(_MODE, "none") != "none":
            wanted.pop(_PAGES, None)
        elif _MODE in wanted:
            # Away from an advisor that an option of modprobe.d began: it sets the pace.
            unset += _set(engine, _MODE, wanted.pop(_MODE))
        device.set_info(saved.pace._replace(run=0))
        for name, value in sorted(wanted.items(), key=lambda item: item[0] == _MODE):
            unset += _set(engine, name, value)
        report.outcome = handover.register(device, held, progress)
    report.problems += [f"{failed}; not registered" for failed in report.outcome.failed]
    unset = unset or _begin_merging(engine, run)
    if unset:
        what = "; ".join(unset)
        report.problems.append(f"{what}. Merging was not begun; mend this, then: ksmctl reload")


def _begin_merging(engine: Engine, run: Value) -> list[str]:
    try:
        if run == MERGE:
            refuse_second_engine(engine)
    except TunableError as error:
        return [str(error)]
    return _set(engine, "run", run)


def _set(engine: Engine, name: str, value: Value) -> list[str]:
    """Set a tunable that differs; return why it could not be."""
    try:
        if engine.read(name) != value:
            engine.write(name, value)
    except OSError as error:
        text = f"{name} could not be set to {value}: {error.strerror}"
        if error.errno == errno.EBUSY:
            # Somebody loaded it while the reload was interrupted, and it is at work.
            text += ". It merges already: rmmod ksm, and ksmctl reload loads it in order"
        return [text]
    return []


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Neither an interrupt nor a terminal that goes away ends it half way."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
