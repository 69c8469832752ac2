# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from conftest import Driver

from ksm import abi
from ksm.device import Device, Statistics, ThreadInfo
from ksm.errors import DeviceError


@pytest.fixture
def device(driver: Driver, tmp_path: Path) -> Device:
    return Device(str(tmp_path / "ksm-node"))


def test_a_missing_node_says_modprobe(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="is missing; load the module: modprobe ksm") as caught:
        Device(str(tmp_path / "none"))
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("code", "text"),
    [(errno.EACCES, "group kvm"), (errno.ENODEV, "modprobe ksm"), (errno.EMFILE, "Too many")],
)
def test_open_errors_have_a_remedy(monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, "no")

    monkeypatch.setattr("ksm.device.os.open", refuse)
    with pytest.raises(DeviceError, match=text):
        Device()


def test_commands_and_their_bytes(device: Device, driver: Driver) -> None:
    assert device.api_version() == 1
    with device.create_area() as area:
        area.register(0x7F0000001000, 3)
        area.register_task(9, whole=True, detached=True)
        area.register_task(9, 0x1000, 0x2000)
        area.remove_task(9, 0x1000, detached=True)
        area.register_task(9, whole=True, children=True)
    assert driver.calls[2:] == [
        (abi.REGISTER_MEMORY_REGION, bytes.fromhex("03000000 00000000 00100000007f0000")),
        (abi.REGISTER_TASK, abi.TASK_REGION.pack(32, 3, 9, 0, 0, 0)),
        (abi.REGISTER_TASK, abi.TASK_REGION.pack(32, 0, 9, 0, 0x1000, 0x2000)),
        (abi.REMOVE_TASK, abi.TASK_REGION.pack(32, 2, 9, 0, 0x1000, 0)),
        (abi.REGISTER_TASK, abi.TASK_REGION.pack(32, 5, 9, 0, 0, 0)),
    ]


def test_statistics_and_unmerging(device: Device, driver: Driver) -> None:
    numbers = (1, 2, 30, 20, 10, 5, 4096, 8192, -4096)

    def answer(argument: bytearray) -> int:
        argument[16:] = abi.STATISTICS.pack(0, 0, 0, 0, *numbers)[16:]
        return 0

    driver.answers[abi.AREA_STATISTICS] = driver.answers[abi.TASK_STATISTICS] = answer
    with device.create_area() as area:
        assert area.statistics() == Statistics(*numbers)
        assert device.task_statistics(7) == Statistics(*numbers)
        area.unmerge()
    zeros = (0,) * 9
    assert driver.calls[1:] == [
        (abi.AREA_STATISTICS, abi.STATISTICS.pack(88, 0, 0, 0, *zeros)),
        (abi.TASK_STATISTICS, abi.STATISTICS.pack(88, 0, 7, 0, *zeros)),
        (abi.AREA_UNMERGE, b""),
    ]


def test_scanning(device: Device, driver: Driver) -> None:
    with device.create_scan() as scan:
        scan.scan(1000, 3)
        assert driver.calls[-1] == (abi.SCAN, abi.USER_SCAN.pack(1000, 3))
        driver.fail[abi.SCAN] = errno.EBUSY
        with pytest.raises(DeviceError, match="set run to 0"):
            scan.scan(1)
    driver.fail[abi.CREATE_SCAN] = errno.EPERM
    with pytest.raises(DeviceError, match="be root"):
        device.create_scan()


def test_the_thread_of_2008(device: Device, driver: Driver) -> None:
    device.start(500, 1000, 7)
    assert driver.calls[-1] == (abi.START_STOP_KTHREAD, abi.KTHREAD_INFO.pack(1000, 500, 7, 1))
    assert device.info() == ThreadInfo(run=1, pages_to_scan=500, sleep_us=1000, max_merge=7)
    device.stop()
    assert driver.calls[-1] == (abi.START_STOP_KTHREAD, abi.KTHREAD_INFO.pack(1000, 500, 7, 0))


@pytest.mark.parametrize("pages", [-1, 2**32])
def test_what_does_not_fit_is_not_sent(device: Device, driver: Driver, pages: int) -> None:
    with pytest.raises(DeviceError, match="too large") as caught:
        device.start(pages, 0)
    assert caught.value.errno == errno.EINVAL
    assert driver.calls == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.EEXIST, "registered already"),
        (errno.ENOSPC, "too many regions"),
        (errno.ESRCH, "ended or called execve"),
        (errno.EOPNOTSUPP, "dmesg"),
        (errno.ENOTTY, "update ksm-dkms"),
        (errno.EFAULT, "Bad address"),
    ],
)
def test_region_errors_have_a_remedy(device: Device, driver: Driver, code: int, text: str) -> None:
    driver.fail[abi.REGISTER_TASK] = code
    area = device.create_area()
    with pytest.raises(DeviceError, match=text) as caught:
        area.register_task(5, whole=True)
    assert caught.value.errno == code
    assert errno.errorcode[code] in str(caught.value)


def test_starting_without_the_right(device: Device, driver: Driver) -> None:
    driver.fail[abi.START_STOP_KTHREAD] = errno.EPERM
    with pytest.raises(DeviceError, match="be root"):
        device.start(1, 1)


def test_removing_takes_an_address_of_64_bits(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Libc:
        def ioctl(self, _fd: Any, request: Any, argument: Any) -> int:
            calls.append((request.value, argument.value))
            return 0

    monkeypatch.setattr("ksm.device._LIBC", Libc())
    with device.create_area() as area:
        area.remove(0x7F0000001000)
        area.remove()
    assert calls == [(abi.REMOVE_MEMORY_REGION, 0x7F0000001000), (abi.REMOVE_MEMORY_REGION, 0)]


def test_removing_reports_the_kernels_answer(device: Device) -> None:
    """A plain file knows no such command."""
    with device.create_area() as area, pytest.raises(DeviceError, match="removing 0x1000") as err:
        area.remove(0x1000)
    assert err.value.errno == errno.ENOTTY


def test_close_is_final_and_harmless(device: Device) -> None:
    area = device.create_area()
    area.close()
    area.close()
    assert area.fileno() == -1
