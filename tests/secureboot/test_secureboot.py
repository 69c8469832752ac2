# SPDX-License-Identifier: GPL-2.0-or-later
"""Stock kernels that demand signatures: who gets ksm.ko in, and what ksmctl doctor says to the others.

The key is made, and the module signed, as docs/packaging.md tells operators.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from ksmvm.kernels import PreparedKernel, prepare
from ksmvm.module_build import build_module
from ksmvm.module_vm import ModuleVM, Result
from ksmvm.root_programs import ksm, programs, python
from ksmvm.secure_boot import KeyPair, SecureBoot

TREE = Path(__file__).resolve().parents[2]
# What makes it a key for modules, and for nothing else.
FOR_MODULES = ("-addext", "extendedKeyUsage=codeSigning,1.3.6.1.4.1.2312.16.1.2")
REJECTED = "Key was rejected by service"

LOOK = """
mount -t securityfs security /sys/kernel/security
mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null
export PATH=/usr/sbin:/usr/bin:/bin PYTHONPATH=/srv PYTHONDONTWRITEBYTECODE=1
echo "== doctor"
python3 -m ksm doctor --engine module --json
echo "== insmod"
insmod /lib/modules/*/updates/dkms/ksm.ko 2>&1 && cat /sys/class/misc/ksm/run
"""


@dataclass
class Host:
    """A kernel with ksm.ko built for it, and the programs that ksmctl doctor runs."""

    kernel: PreparedKernel
    unsigned: Path
    site: KeyPair
    owner: KeyPair
    programs: dict[str, Path]

    def sign(self, target: Path) -> Path:
        """Do as DKMS does."""
        (tool,) = (self.kernel.root / "usr/lib").glob("linux-kbuild-*/scripts/sign-file")
        inside = "/" + str(tool.relative_to(self.kernel.root))
        sign = '"$3" sha256 /mnt/site.key /mnt/site.pem /mnt/ksm.ko /mnt/out'
        script = f'mount --bind "$1" "$2/mnt" && exec chroot "$2" {sign}'
        work = self.site.key.parent
        (work / "ksm.ko").write_bytes(self.unsigned.read_bytes())
        arguments = ("sh", work, self.kernel.root, inside)
        subprocess.run(["unshare", "--mount", "sh", "-c", script, *map(str, arguments)], check=True)
        return (work / "out").rename(target)

    def look(self, module: Path, secure_boot: SecureBoot | None, append: str = "") -> Looked:
        certificate = subprocess.run(
            ["openssl", "x509", "-in", self.site.certificate, "-outform", "DER"], check=True, capture_output=True
        ).stdout
        files: dict[str, Path | bytes] = {
            **self.programs,
            **ksm("/srv"),
            "/var/lib/dkms/mok.pub": certificate,
            f"/lib/modules/{self.kernel.version}/updates/dkms/ksm.ko": module,
        }
        machine = ModuleVM(self.kernel.name, append=append, secure_boot=secure_boot)
        # Where the firmware tells whether Secure Boot is on.
        return Looked(machine.run(LOOK, files, modules=["efivarfs"] if secure_boot else []))


class Looked:
    """What was seen on the host: what the doctor said, and then insmod."""

    def __init__(self, result: Result) -> None:
        assert not result.splats, result.splats
        self.log = result.kernel_log
        parts = re.split(r"^== (\w+)\n", result.output, flags=re.MULTILINE)[1:]
        self.doctor = json.loads(parts[1])
        self.insmod = parts[3]

    def signature(self) -> list[dict[str, str]]:
        return [finding for finding in self.doctor["findings"] if finding["check"] == "signature"]


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    work = tmp_path_factory.mktemp("keys")
    kernel = prepare(request.param)
    built = build_module(request.param, out=work / "built")
    site = KeyPair.make(work, "site", *FOR_MODULES)
    carried = {**python(kernel.root), **programs(kernel.root, ["/usr/sbin/modinfo", "/usr/bin/openssl"])}
    return Host(kernel, built, site, KeyPair.make(work, "owner"), carried)


@pytest.fixture
def signed(host: Host, tmp_path: Path) -> Path:
    return host.sign(tmp_path / "ksm.ko")


def test_an_enrolled_key_lets_it_in(host: Host, signed: Path) -> None:
    seen = host.look(signed, SecureBoot(host.owner, [host.site.certificate]))
    assert "Secure boot enabled" in seen.log
    assert seen.insmod == "0\n"
    assert seen.doctor["host"]["signatures"] == {"secure_boot": True, "lockdown": "integrity", "enforced": True}
    assert seen.doctor["host"]["signature"]["enrolled"] is True
    assert seen.signature() == []


def test_a_key_that_was_not_enrolled(host: Host, signed: Path) -> None:
    seen = host.look(signed, SecureBoot(host.owner))
    assert "Secure boot enabled" in seen.log
    assert REJECTED in seen.insmod
    (finding,) = seen.signature()
    assert '"site" of /lib/modules/' in finding["reason"]
    assert finding["reason"].endswith("is not among them")
    assert finding["remedy"].startswith("mokutil --import /var/lib/dkms/mok.pub, reboot")


def test_no_signature(host: Host) -> None:
    seen = host.look(host.unsigned, SecureBoot(host.owner, [host.site.certificate]))
    assert re.search(r"can't insert|Operation not permitted|rejected", seen.insmod)
    (finding,) = seen.signature()
    assert finding["reason"].endswith("ksm.ko has no signature")


def test_enforced_without_secure_boot(host: Host, signed: Path) -> None:
    """Without shim there are no enrolled keys."""
    seen = host.look(signed, None, append="module.sig_enforce=1")
    assert REJECTED in seen.insmod
    assert seen.doctor["host"]["signatures"] == {"secure_boot": False, "lockdown": "none", "enforced": True}
    assert seen.signature()[0]["reason"].endswith("is not among them")


def test_not_enforced(host: Host, signed: Path) -> None:
    seen = host.look(signed, None)
    assert seen.insmod == "0\n"
    assert seen.signature() == []
