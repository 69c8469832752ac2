# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages hold exactly what they should."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, Package, run, tree_files

BASH = "usr/share/bash-completion/completions/ksmctl"
ZSH = "usr/share/zsh/vendor-completions/_ksmctl"
SERVICE = "lib/systemd/system/ksm-policy.service"
COLLECTION = "usr/share/ansible/collections/ansible_collections/ksm/fleet"


def test_there_are_five_packages(packages: dict[str, Package]) -> None:
    assert set(packages) == {"ksm-dkms", "ksm-dev", "python3-ksm", "ksm-tools", "ansible-collection-ksm"}


def test_module_source(packages: dict[str, Package], source: Path, version: str) -> None:
    package = packages["ksm-dkms"]
    place = f"usr/src/ksm-{version}"
    expected = tree_files(source / "dkms", ".") - {"dkms.conf.in"}
    assert package.files(place) == expected | {"dkms.conf", "VERSION"}
    assert {name for name in package.files() if not name.startswith(place)} == {
        "lib/udev/rules.d/60-ksm-dkms.rules",
        "usr/share/man/man4/ksm.4.gz",
    }
    for name in expected:
        assert (package.root / place / name).read_bytes() == (source / "dkms" / name).read_bytes()


def test_nothing_loads_the_module(packages: dict[str, Package]) -> None:
    scripts = run("dpkg-deb", "--info", packages["ksm-dkms"].deb, "postinst", "prerm").stdout
    assert "modprobe" not in scripts
    assert "insmod" not in scripts
    assert not any("modules-load" in name for name in packages["ksm-dkms"].files())


def test_device_belongs_to_kvm(packages: dict[str, Package]) -> None:
    rules = (packages["ksm-dkms"].root / "lib/udev/rules.d/60-ksm-dkms.rules").read_text().splitlines()
    assert [line for line in rules if line and not line.startswith("#")] == [
        'KERNEL=="ksm", SUBSYSTEM=="misc", GROUP="kvm", MODE="0660"'
    ]


def test_python_package(packages: dict[str, Package], source: Path, version: str) -> None:
    site = "usr/lib/python3/dist-packages"
    modules = tree_files(source / "python", "ksm")
    metadata = {f"ksm_fleet-{version}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    assert packages["python3-ksm"].files(site) == modules | metadata
    assert packages["python3-ksm"].files() == {f"{site}/{name}" for name in modules | metadata}


def test_command(packages: dict[str, Package], version: str) -> None:
    tools = packages["ksm-tools"]
    manuals = {f"usr/share/man/man{name[-1]}/{name}.gz" for name in ("ksmctl.8", "ksm-policy.conf.5")}
    assert tools.files() == {"usr/sbin/ksmctl", SERVICE, BASH, ZSH, *manuals}
    ksmctl = tools.root / "usr/sbin/ksmctl"
    assert os.access(ksmctl, os.X_OK)
    assert ksmctl.read_text().startswith("#!/usr/bin/python3\n")
    site = packages["python3-ksm"].root / "usr/lib/python3/dist-packages"
    shown = run(ksmctl, "--version", env={**ENVIRONMENT, "PYTHONPATH": str(site)}).stdout
    assert version in shown


def test_service(packages: dict[str, Package], source: Path) -> None:
    """It waits for policies, and for somebody to enable it."""
    tools = packages["ksm-tools"]
    assert (tools.root / "etc/ksm/policy.d").is_dir()
    service = tools.root / SERVICE
    assert service.read_bytes() == (source / "debian/ksm-tools.ksm-policy.service").read_bytes()
    assert "ConditionPathExistsGlob=/etc/ksm/policy.d/*.conf\n" in service.read_text()
    script = run("dpkg-deb", "--info", tools.deb, "postinst").stdout
    assert "deb-systemd-invoke try-restart 'ksm-policy.service'" in script
    # What an administrator enabled stays so.
    assert re.findall(r"deb-systemd-helper enable .*", script) == re.findall(
        r"was-enabled 'ksm-policy.service'; then\n(?:\s*#.*\n)?\s*(deb-systemd-helper enable .*)", script
    )
    assert len(re.findall("deb-systemd-invoke", script)) == 1
    assert "deb-systemd-invoke stop ksm-policy.service" in run("dpkg-deb", "--info", tools.deb, "prerm").stdout


def test_completion(packages: dict[str, Package], source: Path) -> None:
    for path, name in ((BASH, "ksmctl"), (ZSH, "_ksmctl")):
        shipped = packages["ksm-tools"].root / path
        assert shipped.read_bytes() == (source / "python/completion" / name).read_bytes()


def test_header(packages: dict[str, Package], source: Path, tmp_path: Path) -> None:
    """A program finds it by its name alone."""
    package = packages["ksm-dev"]
    assert package.files() == {"usr/include/linux/ksm_dev.h"}
    header = package.root / "usr/include/linux/ksm_dev.h"
    assert header.read_bytes() == (source / "dkms/include/uapi/linux/ksm_dev.h").read_bytes()
    program = tmp_path / "program.c"
    program.write_text("#include <linux/ksm_dev.h>\nint main(void) { return KSM_GET_API_VERSION != 0xab00; }\n")
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    run("gcc", *strict, "-isystem", package.root / "usr/include", program, "-o", tmp_path / "program")
    run(tmp_path / "program")


def test_manual_of_the_device_tells_every_command(source: Path) -> None:
    header = (source / "dkms/include/uapi/linux/ksm_dev.h").read_text()
    manual = (source / "docs/ksm.4").read_text()
    told = set(re.findall(r"\bDv (KSM_\w+)", manual)) - set(re.findall(r"#define (KSM_TASK_\w+)\s+0x", header))
    assert told == set(re.findall(r"#define (KSM_\w+)\s+_IOW?\(", header))


def test_collection(packages: dict[str, Package], source: Path) -> None:
    package = packages["ansible-collection-ksm"]
    shipped = package.files(COLLECTION)
    assert package.files() == {f"{COLLECTION}/{name}" for name in shipped}
    assert {"MANIFEST.json", "FILES.json", "README.md"} <= shipped
    expected = {
        name
        for name in tree_files(source, "plugins", "roles", "meta", "playbooks")
        if not name.startswith("playbooks/demo")
    }
    assert expected <= shipped
    # Beside them only documents may lie, and all must be the tree's own.
    others = shipped - expected - {"MANIFEST.json", "FILES.json"}
    documents = {
        "README.md",
        "CHANGELOG.md",
        "LICENSES/GPL-2.0-or-later.txt",
        "changelogs/CHANGELOG.rst",
        "changelogs/changelog.yaml",
        "changelogs/config.yaml",
    }
    assert others == documents
    for name in expected | others:
        assert (package.root / COLLECTION / name).read_bytes() == (source / name).read_bytes()


def test_collection_agrees_with_its_manifest(packages: dict[str, Package], version: str) -> None:
    collections = packages["ansible-collection-ksm"].root / "usr/share/ansible/collections"
    environment = {**ENVIRONMENT, "ANSIBLE_COLLECTIONS_PATHS": str(collections)}
    verify = ("ansible-galaxy", "collection", "verify", "--offline", "ksm.fleet")
    assert "internally consistent" in run(*verify, env=environment).stdout
    listing = run("ansible-galaxy", "collection", "list", "ksm.fleet", env=environment).stdout
    assert version in listing


@pytest.mark.parametrize("name", ["ksm-dkms", "ksm-dev", "python3-ksm", "ksm-tools", "ansible-collection-ksm"])
def test_version_architecture_and_documents(packages: dict[str, Package], name: str, version: str) -> None:
    package = packages[name]
    assert package.field("Version") == version
    assert package.field("Architecture") == "all"
    assert package.field("Source") == "ksm-fleet"
    documents = {path.name for path in (package.root / f"usr/share/doc/{name}").iterdir()}
    assert documents == {"changelog.gz", "copyright"}


def test_dependencies(packages: dict[str, Package], version: str) -> None:
    dkms, tools = packages["ksm-dkms"], packages["ksm-tools"]
    # 3.0.3-4 is the first that knows BUILD_EXCLUSIVE_CONFIG.
    assert dkms.field("Depends") == "dkms (>= 3.0.3-4~)"
    # Debian 13's bring a kernel along, and of another kind than the one that runs.
    assert dkms.field("Recommends") == ""
    assert tools.field("Depends").split(", ") == [f"python3-ksm (= {version})", "python3:any"]
    # Debian's ksmtuned has a /usr/sbin/ksmctl of its own.
    assert tools.field("Conflicts") == tools.field("Replaces") == "ksmtuned"
    assert packages["python3-ksm"].field("Depends") == "python3:any"
    assert packages["ansible-collection-ksm"].field("Depends").startswith("ansible-core (>= 2.14)")
