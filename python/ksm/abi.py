# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers and layouts of /dev/ksm, after linux/ksm_dev.h."""

from __future__ import annotations

import struct

DEVICE = "/dev/ksm"
API_VERSION = 1
UINT_MAX = 2**32 - 1

_KSMIO = 0xAB
_IOC_WRITE = 1

# ksm_kthread_info: sleep (us), pages_to_scan, max_pages_to_merge, running
KTHREAD_INFO = struct.Struct("=IIII")
# ksm_memory_region: npages, pad, addr
MEMORY_REGION = struct.Struct("=IIQ")
# ksm_task_region: size, flags, mem_fd, reserved, addr, length
TASK_REGION = struct.Struct("=IIiIQQ")
# ksm_domain: size, flags, domain, reserved
DOMAIN = struct.Struct("=IIQQ")
# ksm_user_scan: pages_to_scan, max_pages_to_merge
USER_SCAN = struct.Struct("=II")
# ksm_statistics: size, flags, mem_fd, reserved, address_spaces, regions, pages_mapped,
# pages_merged, pages_sharing, zero_pages, saved_bytes, metadata_bytes, profit
STATISTICS = struct.Struct("=IIiIQQQQQQQQq")

# ksm_region_info: id, addr, length, family, domain, flags, pid, uid, domain_flags,
# domain_owner, reserved
REGION_INFO = struct.Struct("=QQQQQIiIIII")
# ksm_region_list: size, flags, cursor, end, entries, entry_size, nr
REGION_LIST = struct.Struct("=IIQQQII")


def _io(number: int) -> int:
    return _KSMIO << 8 | number


def _iow(number: int, layout: struct.Struct) -> int:
    return _IOC_WRITE << 30 | layout.size << 16 | _KSMIO << 8 | number


GET_API_VERSION = _io(0x00)
CREATE_SHARED_MEMORY_AREA = _io(0x01)
CREATE_SCAN = _io(0x02)
START_STOP_KTHREAD = _iow(0x03, KTHREAD_INFO)
GET_INFO_KTHREAD = _iow(0x04, KTHREAD_INFO)
REGISTER_MEMORY_REGION = _iow(0x20, MEMORY_REGION)
REMOVE_MEMORY_REGION = _io(0x21)
SCAN = _iow(0x40, USER_SCAN)
REGISTER_TASK = _io(0x60)
REMOVE_TASK = _io(0x61)
SET_DOMAIN = _io(0x62)
AREA_STATISTICS = _io(0x63)
TASK_STATISTICS = _io(0x64)
AREA_UNMERGE = _io(0x65)
LIST_REGIONS = _io(0x66)

TASK_WHOLE = 1 << 0
TASK_DETACHED = 1 << 1
TASK_CHILDREN = 1 << 2
TASK_JOIN = 1 << 3
DOMAIN_SYSTEM = 1 << 0
DOMAIN_ZERO_PAGES = 1 << 1
