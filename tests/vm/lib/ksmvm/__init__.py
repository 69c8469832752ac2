# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines that prove ksm-fleet on real kernels.

Standard library only: it runs before any virtual environment exists.
"""

from ksmvm import fleet_host
from ksmvm.errors import HarnessError
from ksmvm.kernel_log import find_splats
from ksmvm.kernels import ALL_KERNELS, DEBUG, KERNELS, PreparedKernel, prepare
from ksmvm.module_build import build_module
from ksmvm.module_vm import ModuleVM, Result

__all__ = [
    "ALL_KERNELS",
    "DEBUG",
    "KERNELS",
    "HarnessError",
    "ModuleVM",
    "PreparedKernel",
    "Result",
    "build_module",
    "fleet_host",
    "find_splats",
    "prepare",
]
