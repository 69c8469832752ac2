# SPDX-License-Identifier: GPL-2.0-or-later
"""Client of kernel samepage merging, for ksm.ko and for the kernel's own ksmd.

engine: both engines through sysfs. tunables: their settings, set all or nothing.
device: /dev/ksm, to register memory. smaps: memory of processes and of the host.
"""

from ksm.version import version

__version__ = version()
