# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm_version in a Debian root: up, down, nothing to do, and what nobody has. The packages are empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from role_on_root import Play, changes
from roots import Root, kernel_root

from conftest import run

NAMES = ("ksm-dkms", "ksm-tools", "python3-ksm")
CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: nobody <nobody@test>
Description: nothing
"""
# Nothing else is asked, so that no mirror is.
SOURCES = """
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/ksm ./' >/etc/apt/sources.list.d/ksm.list
apt-get -q -o APT::Update::Error-Mode=any update
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of the packages; of the later one the module has two revisions."""
    folder = tmp_path_factory.mktemp("repository")
    versions = [(name, version) for name in NAMES for version in ("0.1.0", "0.2.0-1")]
    for name, version in [*versions, ("ksm-dkms", "0.2.0-2")]:
        tree = folder / "tree" / f"{name}-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        depends = f"Depends: python3-ksm (= {version})\n" if name == "ksm-tools" else ""
        (tree / "DEBIAN/control").write_text(CONTROL.format(name=name, version=version) + depends)
        run("dpkg-deb", "--root-owner-group", "--build", tree, folder)
    run("sh", "-c", "dpkg-scanpackages --multiversion . >Packages", cwd=folder)
    return folder


@pytest.fixture
def play(repository: Path, tmp_path: Path) -> Iterator[Play]:
    lower, _release = kernel_root("6.12")
    root = Root([lower], tmp_path / "overlay", repository)
    root.run(SOURCES)
    yield Play(root, tmp_path)
    run("rm", "-rf", tmp_path / "overlay")


def installed(play: Play) -> dict[str, str]:
    lines = play.root.run("dpkg-query -W -f '${Package} ${Version}\\n'").stdout.splitlines()
    versions = dict(line.split() for line in lines if " " in line.strip())
    return {name: versions[name] for name in NAMES if name in versions}


def test_up_and_down(play: Play) -> None:
    assert changes(play.run("packages", ksm_version="0.1.0")) == 1
    assert installed(play) == dict.fromkeys(NAMES, "0.1.0")
    # Check mode knows, and does nothing.
    assert changes(play.run("packages", options=("--check",), ksm_version="0.2.0")) == 1
    assert installed(play) == dict.fromkeys(NAMES, "0.1.0")

    assert changes(play.run("packages", ksm_version="0.2.0")) == 1
    later = {"ksm-dkms": "0.2.0-2", "ksm-tools": "0.2.0-1", "python3-ksm": "0.2.0-1"}
    assert installed(play) == later
    assert changes(play.run("packages", ksm_version="0.2.0")) == 0

    assert changes(play.run("packages", ksm_version="0.1.0")) == 1
    assert installed(play) == dict.fromkeys(NAMES, "0.1.0")


def test_what_another_engine_has_left(play: Play) -> None:
    play.run("packages", ksm_version="0.1.0")
    assert changes(play.run("packages", ksm_version="0.2.0", engine="kernel")) == 1
    assert installed(play)["ksm-dkms"] == "0.2.0-2"
    # Nor does it come along.
    play.root.run("apt-get -q -y purge ksm-dkms")
    assert changes(play.run("packages", ksm_version="0.1.0", engine="kernel")) == 1
    assert "ksm-dkms" not in installed(play)


def test_what_nobody_has(play: Play) -> None:
    play.run("packages", ksm_version="0.2.0-1")
    before = installed(play)
    assert before == dict.fromkeys(NAMES, "0.2.0-1")
    # Of the revision 0.2.0-2 there is the module alone: then none is touched.
    for version in ("0.3.0", "0.2.0-2"):
        said = " ".join(play.run("packages", check=False, ksm_version=version).split())
        assert f"ksm_version is {version}, but the package sources of this host offer ksm-dkms 0.2.0-2 or" in said
        assert "No package was touched. Remedy: set ksm_version to what they offer" in said
        assert installed(play) == before
    said = " ".join(play.run("packages", options=("--check",), ksm_version="0.3.0").split())
    assert "which the lists of packages that this host has do not offer" in said
