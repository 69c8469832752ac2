# SPDX-License-Identifier: GPL-2.0-or-later
"""One host changes to ksm.ko and back; ksmtuned that shall be kept stops the role."""

from __future__ import annotations

from pathlib import Path

from fleet.role_run import on, run

CHOSEN, AUTO = "kernel-engine-chosen", "kernel-engine-auto"
TMPFILES = "/etc/tmpfiles.d/ksm-fleet.conf"


def state(host: str) -> list[str]:
    """Whether each of module, device and files of the engines is there."""
    places = f"/sys/module/ksm /dev/ksm /etc/modules-load.d/ksm.conf /etc/modprobe.d/ksm.conf {TMPFILES}"
    return on(host, f"for f in {places}; do if [ -e $f ]; then echo there; else echo not; fi; done").split()


def test_kernel_to_module_and_back(tmp_path: Path) -> None:
    """While another host, where ksmtuned shall be kept, fails alone and is left as it is."""
    on(AUTO, "cp /usr/bin/sleep /usr/local/bin/ksmtuned; systemd-run --unit other /usr/local/bin/ksmtuned infinity")
    before = on(AUTO, f"cat {TMPFILES}")
    play = run(
        {
            CHOSEN: {"ksm_engine": "module", "ksm_other_engine": "unmerge"},
            AUTO: {"ksm_other_engine": "keep", "ksm_engine": "kernel", "ksm_run": 0},
        },
        tmp_path,
    )
    assert play.failed == [AUTO], play.said
    assert "ksmtuned steers the built-in engine on its own (pid" in play.of(AUTO)
    assert "Remedy: systemctl disable --now ksmtuned" in play.of(AUTO)
    assert on(AUTO, f"cat {TMPFILES}") == before
    assert on(AUTO, "cat /sys/kernel/mm/ksm/run").strip() == "1"

    assert state(CHOSEN) == ["there", "there", "there", "there", "not"]
    module = on(CHOSEN, "cd /sys/class/misc/ksm; cat run pages_to_scan scan_threads merge_across_nodes")
    assert module.split() == ["1", "5000", "2", "0"]
    assert on(CHOSEN, "cat /sys/kernel/mm/ksm/run").strip() != "1"
    again = run({CHOSEN: {"ksm_engine": "module", "ksm_other_engine": "unmerge"}}, tmp_path)
    assert again.changed == {CHOSEN: 0}, again.said

    play = run({CHOSEN: {}}, tmp_path)
    assert play.failed == []
    assert state(CHOSEN) == ["not", "not", "not", "not", "there"]
    assert on(CHOSEN, "cd /sys/kernel/mm/ksm; cat run pages_to_scan").split() == ["1", "1250"]
    assert run({CHOSEN: {}}, tmp_path).changed == {CHOSEN: 0}
