# SPDX-License-Identifier: GPL-2.0-or-later
"""DKMS reads the configuration and refuses kernels that cannot work, with a reason."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conftest import TREE, Package, run

EXCLUDED = 77  # dkms's own number for it, which its package hooks take as "skipped"


@pytest.fixture(scope="module", autouse=True)
def dkms_is_installed() -> None:
    run(TREE / "tests/apt-install", "dkms")


@pytest.fixture
def build(packages: dict[str, Package], version: str, tmp_path: Path):  # noqa: ANN201
    """Have dkms build the packaged source against headers that hold only a Makefile and .config."""
    source = packages["ksm-dkms"].root / f"usr/src/ksm-{version}"
    places = ("--dkmstree", tmp_path / "dkms", "--sourcetree", tmp_path / "src", "--installtree", tmp_path / "modules")
    for place in places[1::2]:
        place.mkdir()
    run("dkms", "add", *places, source)

    def build(kernel: str, config: str, arch: str = "x86_64") -> subprocess.CompletedProcess[str]:
        headers = tmp_path / "headers"
        (headers / "include").mkdir(parents=True)
        (headers / ".config").write_text(config)
        (headers / "Makefile").write_text("modules clean:\n\t@echo TARGET $@ RELEASE=[$(KERNELRELEASE)] && false\n")
        return run(
            "dkms",
            "build",
            *places,
            "-m",
            "ksm",
            "-v",
            version,
            "-k",
            kernel,
            "-a",
            arch,
            "--kernelsourcedir",
            headers,
            check=False,
        )

    return build


GOOD = "CONFIG_MODULES=y\nCONFIG_DEVICE_MIGRATION=y\n"


@pytest.mark.parametrize("kernel", ["6.1.0-40-amd64", "6.12.74+deb13-amd64", "7.3.4+deb13-amd64", "10.0.1"])
def test_supported_kernels_are_built(build, kernel: str, tmp_path: Path, version: str) -> None:  # noqa: ANN001
    done = build(kernel, GOOD)
    # The headers are empty: that make was started in them is all that can be seen.
    assert done.returncode not in (0, EXCLUDED)
    log = (tmp_path / f"dkms/ksm/{version}/build/make.log").read_text()
    assert "TARGET modules RELEASE=[]" in log


@pytest.mark.parametrize("kernel", ["5.10.0-30-amd64", "5.19.17", "4.19.0-6.1-amd64"])
def test_old_kernel(build, kernel: str) -> None:  # noqa: ANN001
    done = build(kernel, GOOD)
    assert done.returncode == EXCLUDED
    assert f"not built for kernel {kernel}: it needs Linux 6.1 or newer. Remedy:" in done.stdout


@pytest.mark.parametrize("config", ["# CONFIG_DEVICE_MIGRATION is not set\n", "CONFIG_MODULES=y\n"])
def test_kernel_without_device_migration(build, config: str) -> None:  # noqa: ANN001
    done = build("6.12.74+deb13-amd64", config)
    assert done.returncode == EXCLUDED
    assert "configured without CONFIG_DEVICE_MIGRATION. Remedy:" in done.stdout


def test_other_architecture(build) -> None:  # noqa: ANN001
    done = build("6.12.74+deb13-s390x", GOOD, arch="s390x")
    assert done.returncode == EXCLUDED
    assert "architecture s390x is not supported" in done.stdout
