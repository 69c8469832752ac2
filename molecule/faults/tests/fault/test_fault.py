# SPDX-License-Identifier: GPL-2.0-or-later
"""A module that cannot be had stops the role, with reason and remedy.

The faults are real ones: headers that do not compile, a kernel that enforces signatures.
"""

from __future__ import annotations

from pathlib import Path

from fleet.role_run import on, run

HOST = "faults-dense"


def test_a_module_that_does_not_compile_then_one_that_the_kernel_refuses(tmp_path: Path) -> None:
    header = on(HOST, "ls /usr/src/linux-headers-*-common/include/linux/migrate.h").strip()
    on(HOST, f"mv {header} {header}.away")
    try:
        play = run({HOST: {}}, tmp_path)
    finally:
        on(HOST, f"mv {header}.away {header}")
    assert play.failed == [HOST], play.said
    assert "DKMS did not build ksm.ko for the running kernel" in play.of(HOST)
    assert "Remedy: mend what the log names, then run dkms install ksm/" in play.of(HOST)
    # The end of DKMS' log is there, too.
    assert "linux/migrate.h: No such file" in play.of(HOST)

    # Mended, the next run builds it. Now this kernel wants a signature, and nobody enrolled the key.
    on(HOST, "echo Y > /sys/module/module/parameters/sig_enforce")
    play = run({HOST: {}}, tmp_path)
    assert play.failed == [HOST], play.said
    assert "ksm.ko cannot be loaded" in play.of(HOST)
    assert "Remedy: the kernel takes only modules signed by a key it knows: enrol DKMS' key" in play.of(HOST)
    assert ": installed" in on(HOST, "dkms status -m ksm")
