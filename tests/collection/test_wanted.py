# SPDX-License-Identifier: GPL-2.0-or-later
"""One look at a host finds all that a run would change, and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ksm.fleet.plugins.module_utils import checks, loading, tuning
from ansible_collections.ksm.fleet.plugins.modules import ksm_preflight as preflight

from fakes import RELEASE, TREE, Failed, FakeModule, Host

BUILT = f"ksm/0.1.0, {RELEASE}, x86_64: installed\n"
MODINFO = "version:        0.1.0\nsrcversion:     A1\n"
KO = f"lib/modules/{RELEASE}/updates/dkms/ksm.ko.xz"
TUNABLES = {"run": 1, "pages_to_scan": 500, "adopt_mergeable": 1}
SOURCES = "/etc/apt/sources.list.d/ksm-fleet.sources"
TEXT = "Types: deb\n"
DIGEST = "sha256:" + hashlib.sha256(TEXT.encode()).hexdigest()
WANTED: dict[str, Any] = {
    "tunables": {"module": TUNABLES, "kernel": {"run": 1, "pages_to_scan": 50}},
    "other_engine": "stop",
    "reload": False,
    "policies": [],
    "files": {"apt": {SOURCES: DIGEST}, "dnf": {"/nowhere": ""}},
}


@pytest.fixture
def settled(host: Host, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host as the role leaves it."""
    host.add_module_engine()
    host.add_kernel_engine()
    host.write(KO, "")
    host.write(loading.BOOT_FILE.lstrip("/"), loading.BOOT_TEXT)
    write_sources(host)
    params = {"state": "present", "engine": "module", "tunables": TUNABLES, "persist": True}
    rest = {"purge": True, "unmerge": False, "other_engine": "stop"}
    tuning.KsmTunables(FakeModule(scratch, **params, **rest), str(host.root)).run()
    # Root's in the tests' own tree, whoever runs them.
    monkeypatch.setattr(preflight.wanted, "ROOT", (os.getuid(), os.getgid()))
    return host


def write_sources(host: Host, text: str = TEXT, mode: int = 0o644) -> None:
    host.write(SOURCES.lstrip("/"), text)
    (host.root / SOURCES.lstrip("/")).chmod(mode)


def compare(host: Host, engine: str = "module", modinfo: str = MODINFO, **wanted: Any) -> dict[str, Any]:
    def run(command: list[str]) -> str:
        return {"dkms": BUILT, "modinfo": modinfo}.get(command[0], "")

    seen = preflight.look(str(host.root), RELEASE, "x86_64", run)
    module: Any = FakeModule(host.root)
    return preflight.compare(module, {**WANTED, **wanted}, engine, seen, str(host.root))


def missing(host: Host, *args: Any, **wanted: Any) -> dict[str, str]:
    return compare(host, *args, **wanted)["missing"]


def tree(host: Host) -> dict[str, str]:
    return {str(path): path.read_text() for path in host.root.rglob("*") if path.is_file()}


def test_nothing_is_missing_and_nothing_is_written(settled: Host) -> None:
    before = tree(settled)
    found = compare(settled)
    assert found["missing"] == {}
    assert found["info"]["observed"]["module"]["tunables"]["pages_to_scan"] == 500
    assert found["info"]["desired"]["module"]["at_boot"]
    assert found["info"]["module"]["version_installed"] == "0.1.0"
    assert not found["info"]["module"]["reload_required"]
    assert tree(settled) == before


def test_each_tunable(settled: Host) -> None:
    settled.write("sys/class/misc/ksm/pages_to_scan", "100\n")
    assert missing(settled) == {"tunables": "pages_to_scan is 100, not 500"}


def test_the_file_for_the_next_boot(settled: Host) -> None:
    file = settled.root / "etc/modprobe.d/ksm.conf"
    text = file.read_text()
    file.write_text(text.replace("500", "100"))
    assert missing(settled) == {"tunables": "/etc/modprobe.d/ksm.conf differs"}
    # One more than is wanted goes back to its default.
    file.write_text(text.replace("=500", "=500 sleep_millisecs=20"))
    assert "tunables" in missing(settled)
    file.unlink()
    assert "tunables" in missing(settled)


def test_the_other_engine(settled: Host) -> None:
    settled.write("sys/kernel/mm/ksm/run", "1\n")
    assert "the other engine is at work" in missing(settled)["tunables"]
    settled.write("sys/kernel/mm/ksm/run", "0\n")
    settled.write("etc/tmpfiles.d/ksm-fleet.conf", "w /sys/kernel/mm/ksm/run - - - - 1\n")
    assert missing(settled) == {"tunables": "/etc/tmpfiles.d/ksm-fleet.conf differs"}
    assert missing(settled, other_engine="keep") == {}


def test_at_boot(settled: Host) -> None:
    file = settled.root / loading.BOOT_FILE.lstrip("/")
    file.write_text("ksm\n")
    assert missing(settled) == {"load": "/etc/modules-load.d/ksm.conf differs"}
    file.unlink()
    assert list(missing(settled)) == ["load"]


def test_not_loaded(settled: Host) -> None:
    settled.write("proc/modules", "")
    assert missing(settled)["load"] == "ksm.ko: load"


def test_not_built(settled: Host) -> None:
    (settled.root / KO).unlink()
    assert "was not built for the running kernel" in missing(settled)["build"]


def test_another_build_waits(settled: Host) -> None:
    other = MODINFO.replace("A1", "B2")
    found = compare(settled, modinfo=other)
    assert found["missing"] == {}
    assert found["info"]["module"]["reload_required"]
    assert missing(settled, "module", other, reload=True) == {"load": "ksm.ko: reload"}


@pytest.mark.parametrize(("text", "mode"), [("Types: deb-src\n", 0o644), (TEXT, 0o664), (TEXT + "\n", 0o644)])
def test_files(settled: Host, text: str, mode: int) -> None:
    write_sources(settled, text, mode)
    assert missing(settled) == {"repository": SOURCES}
    (settled.root / SOURCES.lstrip("/")).unlink()
    assert missing(settled) == {"repository": SOURCES}


def test_files_of_any_content_must_be_there(settled: Host) -> None:
    write_sources(settled, "whatever\n")
    assert missing(settled, files={"apt": {SOURCES: ""}}) == {}
    assert missing(settled, files={"apt": {"/etc/other": ""}}) == {"repository": "/etc/other"}
    assert missing(settled, files={}) == {}
    unheard_of = missing(settled, files={"apt": {SOURCES: "crc:00"}})
    assert unheard_of == {"repository": SOURCES}


def test_files_of_others(settled: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.wanted, "ROOT", (os.getuid() + 1, os.getgid()))
    assert missing(settled) == {"repository": SOURCES}


def test_the_kernel_takes_over(settled: Host) -> None:
    found = missing(settled, "kernel")
    assert found["load"] == "ksm.ko is loaded, now or at boot"
    assert "pages_to_scan is 100, not 50" in found["tunables"]
    assert "load" not in missing(settled, "kernel", other_engine="keep")


def test_rivals(settled: Host) -> None:
    settled.write("etc/systemd/system/multi-user.target.wants/ksmtuned.service", "")
    assert missing(settled) == {"rivals": "ksmtuned.service is enabled"}
    settled.write("proc/77/comm", "ksmtuned\n")
    assert missing(settled)["rivals"] == "pid 77, ksmtuned.service is enabled"
    with pytest.raises(Failed, match=r"ksmtuned steers .* Remedy: systemctl disable --now ksmtuned"):
        missing(settled, other_engine="keep")


def test_without_the_client(settled: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.client, "IMPORT_ERROR", "no module named ksm")
    found = compare(settled)
    assert found["info"] is None
    assert found["missing"] == {"tunables": "python3-ksm is not on the host"}


def test_what_the_engine_refuses_is_left_to_the_step_that_says_so(settled: Host) -> None:
    wrong = {"module": {"pages_to_scan": 0}}
    assert "0 is out of range" in missing(settled, tunables=wrong)["tunables"]


def test_engine_reason(host: Host) -> None:
    host.add_kernel_engine()
    host.write("sys/module/module/parameters/sig_enforce", "Y\n")

    def reason(asked: str, release: str = RELEASE) -> str | None:
        seen = preflight.look(str(host.root), release, "x86_64", lambda command: None)
        found = {
            "module": preflight.problems_of_module(seen),
            "kernel": checks.problems_of_kernel(seen),
        }
        chosen = checks.choose(asked, seen, found)
        return checks.engine_reason(asked, chosen, seen, found["module"])

    assert reason("auto") == (
        "the kernel takes only modules signed by a key it knows, and no ksm.ko is there to look at"
    )
    host.write(KO, "")
    assert "ksm.ko.xz is not known to be signed by one" in (reason("auto") or "")
    assert reason("kernel") is None
    assert reason("module") is None
    assert reason("auto", "5.10.0-30-amd64") == "kernel 5.10.0-30-amd64 is older than 6.1"
    host.write("sys/module/module/parameters/sig_enforce", "N\n")
    assert reason("auto") is None


def policy_module(host: Host) -> Any:
    """Its service is as it shall be."""
    module: Any = FakeModule(host.root)
    module.get_bin_path = lambda name: name
    states = {"UnitFileState": "enabled", "ActiveState": "active", "LoadState": "loaded"}
    module.run_command = lambda command: (0, states[command[4]] + "\n", "")
    return module


def test_policies_of_domains_are_looked_at_too(settled: Host) -> None:
    asked = [{"name": "a", "match": {"user": "nobody"}, "domain": "one", "children": "no"}]
    ours = preflight.wanted.policies

    def lacks(asked: list[dict[str, Any]]) -> str:
        return preflight.wanted._policies(policy_module(settled), asked, str(settled.root))

    assert lacks([]) == ""
    assert lacks(asked) == "what is registered in which domain differs"
    section = ours.given({**asked[0], "children": False, "zero_pages": False})
    policy = ours.read_section(ours.NAME, "a", section)
    settled.write(f"{ours.files.FOLDER}/{ours.NAME}", ours.render({"a": policy}))
    assert lacks(asked) == ""
    assert lacks([{**asked[0], "domain": "two"}]) != ""
    assert lacks([]) != "", "what is named no more is to go"
    assert "there is no key 'pid'" in lacks([{**asked[0], "match": {"pid": "1"}}])


def test_what_the_role_asks_for_is_what_the_module_takes() -> None:
    asked = yaml.safe_load((TREE / "roles/ksm/vars/main.yml").read_text())["__ksm_wanted"]
    taken = yaml.safe_load(preflight.DOCUMENTATION)["options"]["wanted"]["suboptions"]
    assert set(asked) == set(taken) == set(WANTED)
