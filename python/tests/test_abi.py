# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers and layouts of ksm.abi against the header, by a C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ksm import abi

HEADER = Path(__file__).resolve().parents[2] / "dkms/include/uapi/linux/ksm_dev.h"

PROGRAM = r"""
#include <stddef.h>
#include <stdio.h>
#include HEADER
#define NUMBER(name) printf("%s %u\n", #name, (unsigned int)KSM_##name)
#define FIELD(type, field) \
    printf("%s.%s %zu %zu\n", #type, #field, offsetof(struct type, field), \
           sizeof(((struct type *)0)->field))
int main(void)
{
    NUMBER(API_VERSION);
    NUMBER(GET_API_VERSION);
    NUMBER(CREATE_SHARED_MEMORY_AREA);
    NUMBER(START_STOP_KTHREAD);
    NUMBER(GET_INFO_KTHREAD);
    NUMBER(REGISTER_MEMORY_REGION);
    NUMBER(REMOVE_MEMORY_REGION);
    NUMBER(REGISTER_TASK);
    NUMBER(REMOVE_TASK);
    NUMBER(SET_DOMAIN);
    NUMBER(DOMAIN_SYSTEM);
    NUMBER(DOMAIN_ZERO_PAGES);
    NUMBER(CREATE_SCAN);
    NUMBER(SCAN);
    NUMBER(AREA_STATISTICS);
    NUMBER(TASK_STATISTICS);
    NUMBER(AREA_UNMERGE);
    NUMBER(TASK_WHOLE);
    NUMBER(TASK_DETACHED);
    NUMBER(TASK_CHILDREN);
    NUMBER(TASK_JOIN);
    NUMBER(LIST_REGIONS);
    FIELD(ksm_kthread_info, sleep);
    FIELD(ksm_kthread_info, pages_to_scan);
    FIELD(ksm_kthread_info, max_pages_to_merge);
    FIELD(ksm_kthread_info, running);
    FIELD(ksm_memory_region, npages);
    FIELD(ksm_memory_region, pad);
    FIELD(ksm_memory_region, addr);
    FIELD(ksm_task_region, size);
    FIELD(ksm_task_region, flags);
    FIELD(ksm_task_region, mem_fd);
    FIELD(ksm_task_region, reserved);
    FIELD(ksm_task_region, addr);
    FIELD(ksm_task_region, length);
    FIELD(ksm_domain, size);
    FIELD(ksm_domain, flags);
    FIELD(ksm_domain, domain);
    FIELD(ksm_domain, reserved);
    FIELD(ksm_user_scan, pages_to_scan);
    FIELD(ksm_user_scan, max_pages_to_merge);
    FIELD(ksm_statistics, size);
    FIELD(ksm_statistics, flags);
    FIELD(ksm_statistics, mem_fd);
    FIELD(ksm_statistics, reserved);
    FIELD(ksm_statistics, address_spaces);
    FIELD(ksm_statistics, regions);
    FIELD(ksm_statistics, pages_mapped);
    FIELD(ksm_statistics, pages_merged);
    FIELD(ksm_statistics, pages_sharing);
    FIELD(ksm_statistics, zero_pages);
    FIELD(ksm_statistics, saved_bytes);
    FIELD(ksm_statistics, metadata_bytes);
    FIELD(ksm_statistics, profit);
    FIELD(ksm_region_info, id);
    FIELD(ksm_region_info, addr);
    FIELD(ksm_region_info, length);
    FIELD(ksm_region_info, family);
    FIELD(ksm_region_info, domain);
    FIELD(ksm_region_info, flags);
    FIELD(ksm_region_info, pid);
    FIELD(ksm_region_info, uid);
    FIELD(ksm_region_info, domain_flags);
    FIELD(ksm_region_info, domain_owner);
    FIELD(ksm_region_info, reserved);
    FIELD(ksm_region_list, size);
    FIELD(ksm_region_list, flags);
    FIELD(ksm_region_list, cursor);
    FIELD(ksm_region_list, end);
    FIELD(ksm_region_list, entries);
    FIELD(ksm_region_list, entry_size);
    FIELD(ksm_region_list, nr);
    printf("sizes %zu %zu %zu %zu %zu %zu %zu %zu\n", sizeof(struct ksm_kthread_info),
           sizeof(struct ksm_memory_region), sizeof(struct ksm_task_region),
           sizeof(struct ksm_domain), sizeof(struct ksm_user_scan), sizeof(struct ksm_statistics),
           sizeof(struct ksm_region_info), sizeof(struct ksm_region_list));
    return 0;
}
"""

FIELDS = {
    "ksm_kthread_info": (4, 4, 4, 4),
    "ksm_memory_region": (4, 4, 8),
    "ksm_task_region": (4, 4, 4, 4, 8, 8),
    "ksm_domain": (4, 4, 8, 8),
    "ksm_user_scan": (4, 4),
    "ksm_statistics": (4, 4, 4, 4, *(8,) * 9),
    "ksm_region_info": (*(8,) * 5, *(4,) * 6),
    "ksm_region_list": (4, 4, 8, 8, 8, 4, 4),
}


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    if not HEADER.is_file():
        # A source distribution is python/ alone; the repository and the package build have it.
        pytest.skip(f"no {HEADER} outside of the repository")
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler; as root: apt-get install gcc libc6-dev"
    directory = tmp_path_factory.mktemp("abi")
    (directory / "abi.c").write_text(PROGRAM)
    command = [compiler, f'-DHEADER="{HEADER}"', "-o", "abi", "abi.c"]
    subprocess.run(command, cwd=directory, check=True)
    output = subprocess.run([directory / "abi"], check=True, capture_output=True, text=True).stdout
    return [line.split() for line in output.splitlines()]


def test_numbers(header: list[list[str]]) -> None:
    numbers = {line[0]: int(line[1]) for line in header if len(line) == 2}
    assert len(numbers) == 22
    assert numbers == {name: getattr(abi, name) for name in numbers}


def test_layouts(header: list[list[str]]) -> None:
    for struct, sizes in FIELDS.items():
        lines = [line for line in header if line[0].startswith(f"{struct}.")]
        offsets = [sum(sizes[:index]) for index in range(len(sizes))]
        assert [(int(at), int(size)) for _, at, size in lines] == list(zip(offsets, sizes))
    sizes_of_structs = next(line[1:] for line in header if line[0] == "sizes")
    layouts = (
        abi.KTHREAD_INFO,
        abi.MEMORY_REGION,
        abi.TASK_REGION,
        abi.DOMAIN,
        abi.USER_SCAN,
        abi.STATISTICS,
        abi.REGION_INFO,
        abi.REGION_LIST,
    )
    assert [int(size) for size in sizes_of_structs] == [layout.size for layout in layouts]
