# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's own Python package ksm (python3-ksm): the only way to the engines."""

from __future__ import annotations

import importlib
import traceback
from typing import TYPE_CHECKING

from ansible.module_utils.basic import missing_required_lib

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

IMPORT_ERROR: str | None = None
try:
    importlib.import_module("ksm.tunables")
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def require(module: AnsibleModule) -> None:
    """Fail with the remedy when the package is not on the host."""
    if IMPORT_ERROR:
        module.fail_json(
            msg=missing_required_lib(
                "ksm",
                reason="to read and set the engines; install the package python3-ksm",
            ),
            exception=IMPORT_ERROR,
        )
