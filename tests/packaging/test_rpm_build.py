# SPDX-License-Identifier: GPL-2.0-or-later
"""The rpm packages hold what the Debian ones do, and building again gives the same bytes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, TARGET, TREE, run, tree_files

DISTRIBUTION, _, PYTHON = TARGET.partition("=")
NAMES = ("ansible-collection-ksm", "ksm-devel", "ksm-dkms", "ksm-tools", "python3-ksm")
GHOST = 1 << 6  # RPMFILE_GHOST


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Rpm:
    """A package file, as rpm reads it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def query(self, *words: str) -> list[str]:
        return run("rpm", "-q", "--nosignature", "-p", *words, self.file).stdout.splitlines()

    def files(self) -> dict[str, str]:
        """Digests of the files by their paths, without documentation and what is not in the package itself."""
        lines = self.query("--queryformat", "[%{FILENAMES}\t%{FILEDIGESTS}\t%{FILEFLAGS}\n]")
        rows = [line.split("\t") for line in lines]
        return {
            path: digest
            for path, digest, flags in rows
            if digest and not int(flags) & GHOST and not path.startswith(("/usr/share/doc/", "/usr/share/licenses/"))
        }


@pytest.fixture(scope="module")
def rpms(rpm_dist: Path) -> dict[str, Rpm]:
    found = {name: list(rpm_dist.glob(f"{name}-[0-9]*.noarch.rpm")) for name in NAMES}
    return {name: Rpm(file) for name, (file,) in found.items()}


def below(tree: Path, place: str, files: set[str]) -> dict[str, str]:
    return {f"{place}/{name}": sha256(tree / name) for name in files}


def test_there_are_these_packages(rpm_dist: Path, version: str) -> None:
    expected = {f"{name}-{version}-1.{DISTRIBUTION}.noarch.rpm" for name in NAMES}
    expected.add(f"ksm-fleet-{version}-1.{DISTRIBUTION}.src.rpm")
    assert {file.name for file in rpm_dist.glob("*.rpm")} == expected


def test_module_source(rpms: dict[str, Rpm], source: Path, version: str) -> None:
    place = f"/usr/src/ksm-{version}"
    files = rpms["ksm-dkms"].files()
    expected = below(source / "dkms", place, tree_files(source / "dkms", ".") - {"dkms.conf.in"})
    expected[f"{place}/VERSION"] = sha256(source / "VERSION")
    expected["/usr/lib/udev/rules.d/60-ksm-dkms.rules"] = sha256(source / "debian/ksm-dkms.udev")
    assert set(files) - set(expected) == {f"{place}/dkms.conf", "/usr/share/man/man4/ksm.4.gz"}
    assert expected.items() <= files.items()


def test_same_dkms_conf_as_debian(rpms: dict[str, Rpm], packages, version: str) -> None:  # noqa: ANN001
    path = f"/usr/src/ksm-{version}/dkms.conf"
    assert rpms["ksm-dkms"].files()[path] == sha256(packages["ksm-dkms"].root / path.lstrip("/"))


def test_nothing_loads_the_module(rpms: dict[str, Rpm]) -> None:
    scripts = "\n".join(rpms["ksm-dkms"].query("--scripts"))
    assert "dkms install" in scripts
    assert "modprobe" not in scripts
    assert "insmod" not in scripts


def test_header(rpms: dict[str, Rpm], source: Path) -> None:
    header = source / "dkms/include/uapi/linux/ksm_dev.h"
    assert rpms["ksm-devel"].files() == {"/usr/include/linux/ksm_dev.h": sha256(header)}


def test_python_package(rpms: dict[str, Rpm], source: Path, version: str) -> None:
    site = f"/usr/lib/python{PYTHON}/site-packages"
    files = rpms["python3-ksm"].files()
    modules = below(source / "python", site, tree_files(source / "python", "ksm"))
    assert modules.items() <= files.items()
    metadata = {name.removeprefix(f"{site}/ksm_fleet-{version}.dist-info/") for name in set(files) - set(modules)}
    assert metadata == {"INSTALLER", "METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert f"python(abi) = {PYTHON}" in rpms["python3-ksm"].query("--requires")


def test_command(rpms: dict[str, Rpm], source: Path, version: str) -> None:
    manuals = {f"/usr/share/man/man{file.name[-1]}/{file.name}.gz" for file in (source / "python/man").iterdir()}
    assert manuals | {"/usr/sbin/ksmctl"} <= set(rpms["ksm-tools"].files())
    assert f"python3-ksm = {version}-1.{DISTRIBUTION}" in rpms["ksm-tools"].query("--requires")


def test_service_is_debians(rpms: dict[str, Rpm], source: Path) -> None:
    tools = rpms["ksm-tools"]
    service = sha256(source / "debian/ksm-tools.ksm-policy.service")
    assert tools.files()["/usr/lib/systemd/system/ksm-policy.service"] == service
    assert "/etc/ksm/policy.d" in tools.query("--list")
    scripts = "\n".join(tools.query("--scripts"))
    # By the distribution's presets, which leave alone what they do not name.
    assert "install-system-units ksm-policy.service" in scripts
    assert "systemctl" not in scripts


def test_collection_is_debians(rpms: dict[str, Rpm], packages) -> None:  # noqa: ANN001
    debian = packages["ansible-collection-ksm"]
    assert rpms["ansible-collection-ksm"].files() == below(debian.root, "", debian.files())


def test_dependencies_of_the_module(rpms: dict[str, Rpm], version: str) -> None:
    provides = rpms["ksm-dkms"].query("--provides")
    assert {f"ksm-kmod = {version}", f"dkms-ksm = {version}-1.{DISTRIBUTION}"} <= set(provides)
    requires = rpms["ksm-dkms"].query("--requires")
    assert {"dkms >= 3.0.11", "(kernel-devel-matched if kernel-core)"} <= set(requires)


@pytest.mark.parametrize("name", NAMES)
def test_documents_and_release(rpms: dict[str, Rpm], name: str, version: str) -> None:
    rpm = rpms[name]
    assert any(path.startswith(f"/usr/share/licenses/{name}/") for path in rpm.query("--licensefiles"))
    assert rpm.query("--changelog")[0].endswith(f" - {version}-1")


def test_reproducible_and_built_only_once(source: Path, dist: Path, rpm_dist: Path, tmp_path: Path) -> None:
    """The source package gives the same again, elsewhere; a second build has nothing to do."""
    again = tmp_path / "dist"
    again.mkdir()
    options = {"env": {**ENVIRONMENT, "KSM_CACHE": str(tmp_path / "cache"), "TZ": "Pacific/Kiritimati"}, "umask": 0o077}
    commands = ((source / "rpm/build", again, TARGET), (source / "packaging/archives", again))
    run(TREE / "packaging/archives", dist)
    for command in commands:
        run(*command, **options)

    archives = {file.name for pattern in ("*.whl", "*.tar.gz") for file in dist.glob(pattern)}
    assert len(archives) == 3
    built = {file.name: sha256(file) for file in again.iterdir() if file.suffix in (".rpm", ".whl", ".gz")}
    first = [*rpm_dist.glob("*.rpm"), *(dist / name for name in archives)]
    assert built == {file.name: sha256(file) for file in first}

    times = {file: file.stat().st_mtime_ns for file in again.iterdir()}
    for command in commands:
        assert f"{again} is up to date" in run(*command, **options).stdout.splitlines()[-1]
    assert {file: file.stat().st_mtime_ns for file in again.iterdir()} == times

    # What is missing is built again.
    (again / f"ksm-devel-{(TREE / 'VERSION').read_text().strip()}-1.{DISTRIBUTION}.noarch.rpm").unlink()
    run(*commands[0], **options)
    assert {file.name: sha256(file) for file in again.glob("*.rpm")}.items() <= built.items()


def test_versions_must_agree(source: Path, tmp_path: Path, version: str) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(source, tree)
    spec = tree / "rpm/ksm-fleet.spec"
    spec.write_text(spec.read_text().replace(version, "9.8.7"))
    refused = run(tree / "rpm/build", tmp_path / "dist", check=False)
    assert refused.returncode != 0
    assert f"VERSION says '{version}' but rpm/ksm-fleet.spec says '9.8.7'. Remedy:" in refused.stdout
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("target", ["el10", "el10=3", "../el10=3.12"])
def test_bad_target(target: str, tmp_path: Path) -> None:
    refused = run(TREE / "rpm/build", tmp_path / "dist", target, check=False)
    assert refused.returncode != 0
    assert f"'{target}' names no distribution and its Python. Remedy: write it as el10=3.12" in refused.stdout
