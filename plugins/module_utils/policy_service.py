# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm-policy.service: at work and enabled exactly where there are policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

UNIT = "ksm-policy.service"


class Failed(Exception):
    """The service manager did not do it."""


class Service:
    """The service as it is and as it shall be. Raises Failed where there is none."""

    def __init__(self, module: AnsibleModule, *, wanted: bool) -> None:
        self._module = module
        self.before = {
            "enabled": self._state("UnitFileState") == "enabled",
            "active": self._state("ActiveState") in ("active", "activating"),
        }
        if wanted and self._state("LoadState") != "loaded":
            raise Failed(
                f"{UNIT} is not on this host: install ksm-tools of the collection's version, or set service to false"
            )
        self.after = {"enabled": wanted, "active": wanted}

    @property
    def differs(self) -> bool:
        return self.before != self.after

    def apply(self) -> None:
        """Enable and start it, or stop and disable it."""
        if self.differs:
            self._systemctl("enable" if self.after["enabled"] else "disable", "--now", UNIT)

    def diff(self) -> dict[str, str]:
        shown = ["".join(f"{name}: {value}\n" for name, value in state.items()) for state in (self.before, self.after)]
        return {
            "before_header": UNIT,
            "after_header": UNIT,
            "before": shown[0],
            "after": shown[1],
        }

    def _state(self, name: str) -> str:
        return self._systemctl("show", "--value", "--property", name, UNIT).strip()

    def _systemctl(self, *words: str) -> str:
        systemctl = self._module.get_bin_path("systemctl")
        if systemctl is None:
            raise Failed("systemctl is not on this host: set service to false")
        status, out, err = self._module.run_command([systemctl, *words])
        if status:
            raise Failed(f"systemctl {' '.join(words)}: {err.strip()}; see journalctl -u {UNIT}")
        return out
