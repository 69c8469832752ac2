# SPDX-License-Identifier: GPL-2.0-or-later
"""/dev/ksm: registering memory and the historic commands of the kernel thread."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import NamedTuple, Protocol

from ksm import abi
from ksm.errors import DeviceError
from ksm.region import Region
from ksm.task import open_task_memory

__all__ = ["Area", "Device", "Scan", "Statistics", "ThreadInfo", "open_task_memory"]

_LIBC = ctypes.CDLL(None, use_errno=True)

_OPEN_REMEDY = {
    errno.ENOENT: "is missing; load the module: modprobe ksm",
    errno.ENODEV: "has no driver; load the module: modprobe ksm",
    errno.ENXIO: "has no driver; load the module: modprobe ksm",
    errno.EACCES: "may not be opened by this user; join the group kvm, or be root",
    errno.EPERM: "may not be opened here; the container or a security module forbids it",
}
_REGION_REMEDY = {
    errno.EEXIST: "overlaps memory that is registered already; remove that first",
    errno.ENOSPC: "this user has too many regions; remove some, or be another user",
    errno.ENOENT: "no such region is registered",
    errno.ESRCH: "the process ended or called execve(); try again if it still runs",
    errno.EOPNOTSUPP: "the module could not learn how /proc/PID/mem looks on this kernel; dmesg has the reason",
    errno.EINVAL: "not a range that can be registered: start and length are multiples of the "
    "page size, at least one page, in user space",
    errno.ENOTTY: "the loaded module does not know the command; update ksm-dkms and reload it",
    errno.ENOMEM: "no memory",
}
_TASK_REMEDY = {
    **_REGION_REMEDY,
    errno.EBADF: "the descriptor is not open",
    errno.EPERM: "children take CAP_SYS_PTRACE; be root",
    errno.EINVAL: "the descriptor is no /proc/PID/mem, or start and length are not multiples of "
    "the page size, at least one page, in user space",
}
_DOMAIN_REMEDY = {
    errno.EBUSY: "the area has regions; choose its domain before them",
    errno.EPERM: "a number of the whole system takes CAP_SYS_ADMIN; be root",
    errno.ENOTTY: "the loaded module has no domains; update ksm-dkms and reload it",
}
_THREAD_REMEDY = {
    errno.EPERM: "takes CAP_SYS_ADMIN; be root",
    errno.EINVAL: "a value is out of range; pages are at least 1",
    errno.ENOTTY: "the loaded module does not know the command; update ksm-dkms and reload it",
}
_SCAN_REMEDY = {
    **_THREAD_REMEDY,
    errno.EAGAIN: "no memory is registered",
    errno.EBUSY: "memory is or was unmerged; set run to 0 or 1 first",
    errno.EINTR: "a signal came",
}
_LIST_REMEDY = {
    errno.EPERM: "takes CAP_SYS_ADMIN; be root",
    errno.ENOTTY: "the loaded module cannot tell; update ksm-dkms and reload it",
    errno.ENOMEM: "no memory",
}
# What one call tells at most.
_LISTED = 512
_WALK_REMEDY = {
    **_TASK_REMEDY,
    errno.ENOMEM: "memory ran out; free some, and ask again",
    errno.EINTR: "a signal came",
}


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class ThreadInfo(NamedTuple):
    """The scan thread: run 0 or 1, pages a scan, pause in microseconds, merges a scan (0: all)."""

    run: int
    pages_to_scan: int
    sleep_us: int
    max_merge: int


class Statistics(NamedTuple):
    """What merging does for an area or a task.

    Pages count mappings; saved_bytes is this area's or task's share of what its merged
    pages save, profit the same less metadata_bytes (may be negative).
    """

    address_spaces: int
    regions: int
    pages_mapped: int
    pages_merged: int
    pages_sharing: int
    zero_pages: int
    saved_bytes: int
    metadata_bytes: int
    profit: int


class _Descriptor:
    """An owned descriptor that closes with the with-block."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Close; harmless when closed already."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def _statistics(self, what: str, request: int, mem_fd: int) -> Statistics:
        empty = (0,) * len(Statistics._fields)
        buffer = _pack(what, abi.STATISTICS, abi.STATISTICS.size, 0, mem_fd, 0, *empty)
        self._ioctl(what, request, buffer, _WALK_REMEDY)
        return Statistics(*abi.STATISTICS.unpack(buffer)[4:])

    def _plain(self, what: str, request: int, remedies: dict[int, str] | None = None) -> int:
        try:
            return fcntl.ioctl(self._fd, request, 0)
        except OSError as error:
            raise _device_error(what, error.errno or 0, remedies or _THREAD_REMEDY) from error

    def _ioctl(self, what: str, request: int, argument: bytearray, remedies: dict[int, str]) -> int:
        try:
            answer: int = fcntl.ioctl(self._fd, request, argument)
        except OSError as error:
            raise _device_error(what, error.errno or 0, remedies) from error
        return answer


class Area(_Descriptor):
    """Regions that live as long as this descriptor (or are detached from it).

    Made by Device.create_area(). Closing it ends its regions; what was merged stays merged.
    """

    def __enter__(self) -> Area:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_domain(self, number: int, *, system: bool = False, zero_pages: bool = False) -> None:
        """Let the regions of this area merge with those of the same domain only.

        number: 1..2^64-1, or 0 for none. It is the caller's user's own; with system it means
        the same for every user, and 0 the common domain.
        zero_pages: empty pages may become the kernel's zero page, which every domain shares.
        Raises DeviceError: EBUSY (the area has regions), EPERM, ENOTTY (an older module).
        """
        what = f"choosing domain {number}"
        flags = (abi.DOMAIN_SYSTEM if system else 0) | (abi.DOMAIN_ZERO_PAGES if zero_pages else 0)
        domain = _pack(what, abi.DOMAIN, abi.DOMAIN.size, flags, number, 0)
        self._ioctl(what, abi.SET_DOMAIN, domain, _DOMAIN_REMEDY)

    def register(self, addr: int, npages: int) -> None:
        """Let a range of this process's own memory be merged.

        addr: a multiple of the page size; npages: 1..2^32-1.
        Raises DeviceError: EINVAL, EEXIST (overlap), ENOSPC (limit of the user), ENOMEM.
        """
        what = f"registering {npages} pages at {addr:#x}"
        region = _pack(what, abi.MEMORY_REGION, npages, 0, addr)
        self._ioctl(what, abi.REGISTER_MEMORY_REGION, region, _REGION_REMEDY)

    def remove(self, addr: int = 0) -> None:
        """Remove the region of this area that starts at addr; 0: every region.

        Raises DeviceError: ENOENT when none starts there.
        """
        # fcntl.ioctl() takes an int of 32 bits; the argument is an address.
        answer = _LIBC.ioctl(
            ctypes.c_int(self._fd),
            ctypes.c_ulong(abi.REMOVE_MEMORY_REGION),
            ctypes.c_ulong(addr),
        )
        if answer < 0:
            raise _device_error(f"removing {addr:#x}", ctypes.get_errno(), _REGION_REMEDY)

    def register_task(
        self,
        mem_fd: int | _HasFileno,
        addr: int = 0,
        length: int = 0,
        *,
        whole: bool = False,
        detached: bool = False,
        children: bool = False,
        join: bool = False,
    ) -> None:
        """Let memory of another process be merged; mem_fd is from open_task_memory().

        addr, length: bytes, multiples of the page size; both 0 with whole.
        whole: all its memory, with what it maps later.
        detached: the region outlives this area, until the process ends or it is removed.
        children: its children and theirs too, with whole; takes CAP_SYS_PTRACE.
        join: with children, one family with those registered so by this area before.
        Raises DeviceError: ESRCH (ended, or execve), EEXIST, EINVAL, EBADF, ENOSPC, EPERM,
        EOPNOTSUPP.
        """
        flags = _flags(whole, detached, children) | (abi.TASK_JOIN if join else 0)
        self._task("registering", abi.REGISTER_TASK, mem_fd, addr, length, flags)

    def remove_task(
        self,
        mem_fd: int | _HasFileno,
        addr: int = 0,
        *,
        whole: bool = False,
        detached: bool = False,
        children: bool = False,
    ) -> None:
        """Remove the region of another process that starts at addr, or with whole all of them.

        detached: the detached ones, whoever registered them, instead of this area's.
        children: and those of its parents and children that were registered with it.
        Raises DeviceError: ENOENT when there was none, and as register_task().
        """
        self._task("removing", abi.REMOVE_TASK, mem_fd, addr, 0, _flags(whole, detached, children))

    def statistics(self) -> Statistics:
        """Count what the regions hold now, by a walk through their memory.

        Raises DeviceError: ENOMEM, EINTR.
        """
        return self._statistics("counting the area", abi.AREA_STATISTICS, 0)

    def unmerge(self) -> None:
        """Give the regions pages of their own again; a running scan merges them anew.

        Raises DeviceError: ENOMEM (the rest stays merged), EINTR.
        """
        self._plain("unmerging the area", abi.AREA_UNMERGE, _WALK_REMEDY)

    def _task(
        self,
        verb: str,
        request: int,
        mem_fd: int | _HasFileno,
        addr: int,
        length: int,
        flags: int,
    ) -> None:
        fd = _number(mem_fd)
        whole = flags & abi.TASK_WHOLE
        what = f"{verb} " + ("the whole process" if whole else f"{length} bytes at {addr:#x}")
        region = _pack(what, abi.TASK_REGION, abi.TASK_REGION.size, flags, fd, 0, addr, length)
        self._ioctl(what, request, region, _TASK_REMEDY)


class Scan(_Descriptor):
    """Scans in the caller's time. Made by Device.create_scan(), closes with the with-block."""

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def scan(self, pages: int, max_merge: int = 0) -> None:
        """Look at the next pages of all registered memory, up to the end of a pass.

        pages: 1..2^32-1; max_merge: most pages to merge, 0 for no limit.
        Raises DeviceError: EPERM, EINVAL, EAGAIN (nothing registered), EBUSY (run is 2), EINTR.
        """
        what = f"scanning {pages} pages"
        self._ioctl(what, abi.SCAN, _pack(what, abi.USER_SCAN, pages, max_merge), _SCAN_REMEDY)


class Device(_Descriptor):
    """An open /dev/ksm.

    Raises DeviceError when it cannot be opened: ENOENT (module not loaded), EACCES (group kvm).
    """

    def __init__(self, path: str = abi.DEVICE) -> None:
        super().__init__(-1)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _device_error(path, error.errno or 0, _OPEN_REMEDY, " ") from error

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def api_version(self) -> int:
        """Version of the interface: 1."""
        return self._plain("asking for the version", abi.GET_API_VERSION)

    def create_area(self) -> Area:
        """Return a new, empty area."""
        fd = self._plain("creating an area", abi.CREATE_SHARED_MEMORY_AREA)
        os.set_inheritable(fd, False)
        return Area(fd)

    def create_scan(self) -> Scan:
        """Return a new scan descriptor. Raises DeviceError: EPERM without CAP_SYS_ADMIN."""
        fd = self._plain("creating a scan", abi.CREATE_SCAN)
        os.set_inheritable(fd, False)
        return Scan(fd)

    def task_statistics(self, mem_fd: int | _HasFileno) -> Statistics:
        """Count all memory of a process; mem_fd is from open_task_memory().

        Raises DeviceError: ESRCH (ended, or execve), EINVAL, EBADF, ENOMEM, EINTR, EOPNOTSUPP.
        """
        return self._statistics("counting the process", abi.TASK_STATISTICS, _number(mem_fd))

    def regions(self) -> list[Region]:
        """Return the detached regions, whoever registered them, in the order they came in.

        One that comes or goes meanwhile may be there or not. Raises DeviceError: EPERM
        without CAP_SYS_ADMIN, ENOTTY (an older module), ENOMEM.
        """
        entries = ctypes.create_string_buffer(_LISTED * abi.REGION_INFO.size)
        regions: list[Region] = []
        cursor = end = 0
        while True:
            buffer = bytearray(
                abi.REGION_LIST.pack(
                    abi.REGION_LIST.size,
                    0,
                    cursor,
                    end,
                    ctypes.addressof(entries),
                    abi.REGION_INFO.size,
                    _LISTED,
                )
            )
            self._ioctl("listing regions", abi.LIST_REGIONS, buffer, _LIST_REMEDY)
            _, _, cursor, end, _, _, told = abi.REGION_LIST.unpack(buffer)
            if not told:
                return regions
            size = abi.REGION_INFO.size
            data = entries.raw
            regions += [Region.unpack(data[at * size : (at + 1) * size]) for at in range(told)]

    def info(self) -> ThreadInfo:
        """Pace of the scan thread. A pause of more than 2^32-1 us reads as 2^32-1."""
        buffer = bytearray(abi.KTHREAD_INFO.size)
        self._ioctl("reading the thread's pace", abi.GET_INFO_KTHREAD, buffer, _THREAD_REMEDY)
        sleep_us, pages, max_merge, running = abi.KTHREAD_INFO.unpack(buffer)
        return ThreadInfo(running, pages, sleep_us, max_merge)

    def start(self, pages: int, sleep_us: int, max_merge: int = 0) -> None:
        """Start the scan thread, or change its pace.

        pages: looked at in one scan, 1..2^32-1. sleep_us: pause between two scans in
        microseconds, 0..2^32-1. max_merge: most pages merged in one scan, 0 for no limit.
        Raises DeviceError: EPERM without CAP_SYS_ADMIN, EINVAL.
        """
        self._pace(f"starting with {pages} pages and {sleep_us} us", sleep_us, pages, max_merge, 1)

    def set_info(self, info: ThreadInfo) -> None:
        """Set what info() tells, the run state included.

        Raises DeviceError: EPERM without CAP_SYS_ADMIN, EINVAL.
        """
        fields = (info.sleep_us, info.pages_to_scan, info.max_merge, info.run)
        self._pace("setting the pace", *fields)

    def stop(self) -> None:
        """Stop the scan thread; nothing is merged any more on return. The pace is kept.

        Raises DeviceError: EPERM without CAP_SYS_ADMIN.
        """
        info = self.info()
        self._pace("stopping", info.sleep_us, info.pages_to_scan, info.max_merge, 0)

    def _pace(self, what: str, *fields: int) -> None:
        info = _pack(what, abi.KTHREAD_INFO, *fields)
        self._ioctl(what, abi.START_STOP_KTHREAD, info, _THREAD_REMEDY)


def _number(fd: int | _HasFileno) -> int:
    return fd if isinstance(fd, int) else fd.fileno()


def _flags(whole: bool, detached: bool, children: bool) -> int:
    return (
        (abi.TASK_WHOLE if whole else 0)
        | (abi.TASK_DETACHED if detached else 0)
        | (abi.TASK_CHILDREN if children else 0)
    )


def _pack(what: str, layout: struct.Struct, *fields: int) -> bytearray:
    try:
        return bytearray(layout.pack(*fields))
    except struct.error as error:
        # The kernel would say the same of a number that does not fit its field.
        raise DeviceError(f"{what}: a value is negative or too large", errno.EINVAL) from error


def _device_error(what: str, code: int, remedies: dict[int, str], joint: str = ": ") -> DeviceError:
    name = errno.errorcode.get(code, str(code))
    text = remedies.get(code)
    if text is None:
        text, joint = os.strerror(code), ": "
    return DeviceError(f"{what}{joint}{text} ({name})", code)
