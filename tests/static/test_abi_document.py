# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/abi.md tells every command, struct, flag and attribute as the sources have them, and no others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
HEADER = TREE / "dkms/include/uapi/linux/ksm_dev.h"
# Where the attributes are.
SYSFS = [TREE / "dkms" / name for name in ("sysfs.c", "sharing.c", "policy.c", "exclude.c")]
DOCUMENT = TREE / "docs/abi.md"

# What is neither a command nor a flag nor a size that a client stores.
NOT_TOLD = {"KSM_API_VERSION"}
ATTRIBUTE = re.compile(
    r"^(?:static )?DEVICE_ATTR_(R[OW])\((\w+)\);|^KS_(COUNTER|NUMBER|LIMIT)_ATTR\((\w+)", re.MULTILINE
)

Row = tuple[str, ...]


def tables(text: str) -> dict[str, list[list[Row]]]:
    """The rows of each table, by the heading above it."""
    found: dict[str, list[list[Row]]] = {}
    heading, inside = "", False
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").replace("`", "")
        if not line.startswith("|"):
            inside = False
            continue
        # A row's text may hold an escaped bar, a cell ends at a plain one.
        cells = tuple(cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        if not inside:
            found.setdefault(heading, []).append([])
            inside = True
        found[heading][-1].append(cells)
    return {name: [table[2:] for table in those] for name, those in found.items()}


def structs(header: str) -> dict[str, list[tuple[str, str]]]:
    """The fields of each struct: type and name."""
    return {
        name: re.findall(r"^\t(__\w+) (\w+);", body, re.MULTILINE)
        for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", header, re.MULTILINE | re.DOTALL)
    }


@pytest.fixture(scope="module")
def header() -> str:
    return HEADER.read_text()


@pytest.fixture(scope="module")
def document() -> str:
    return DOCUMENT.read_text()


@pytest.fixture(scope="module")
def compiled(header: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Value of every macro, and size and offsets of every struct, as a C compiler has them."""
    lines = [
        f'printf("{name} %llu\\n", (unsigned long long)({name}));'
        for name in re.findall(r"^#define (KSM_\w+|ksm_\w+)[ \t]", header, re.MULTILINE)
    ]
    for struct, fields in structs(header).items():
        lines.append(f'printf("struct {struct} %zu\\n", sizeof(struct {struct}));')
        lines += [f'printf("{struct}.{name} %zu\\n", offsetof(struct {struct}, {name}));' for _, name in fields]
    folder = tmp_path_factory.mktemp("abi")
    (folder / "abi.c").write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{HEADER}"\n'
        "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    )
    subprocess.run(["gcc", "-Wall", "-Werror", "-o", "abi", "abi.c"], cwd=folder, check=True)
    output = subprocess.run([folder / "abi"], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in (line.rsplit(" ", 1) for line in output.splitlines())}


def is_command(header: str, name: str) -> bool:
    return re.search(rf"^#define {name}\s+_IO", header, re.MULTILINE) is not None


def test_the_header_is_read_whole(header: str, compiled: dict[str, int]) -> None:
    """What the patterns above miss would not be compared with anything."""
    assert len(re.findall(r"_IO[WR]*\(KSMIO", header)) == sum(is_command(header, name) for name in compiled)
    fields = sum(len(fields) for fields in structs(header).values())
    assert fields == len(re.findall(r"^\t[^*/\n]*;", header, re.MULTILINE))
    assert header.count("\nstruct ") == len(structs(header))


def test_every_command_and_its_number(header: str, document: str, compiled: dict[str, int]) -> None:
    (commands,) = [table for table in tables(document)["Commands"] if len(table[0]) == 5]
    told = {row[0]: row[1] for row in commands}
    assert len(told) == len(commands)
    assert told == {name: f"{value:#x}" for name, value in compiled.items() if is_command(header, name)}


def test_every_command_has_a_section(document: str) -> None:
    headings = " ".join(re.findall(r"^### (.*)$", document, re.MULTILINE))
    (commands,) = [table for table in tables(document)["Commands"] if len(table[0]) == 5]
    for name, *_ in commands:
        assert f"`{name}`" in headings, name


def test_the_argument_is_the_struct_of_the_number(header: str, document: str) -> None:
    (commands,) = [table for table in tables(document)["Commands"] if len(table[0]) == 5]
    for name, _, argument, *_ in commands:
        found = re.search(rf"^#define {name}\s+_IOW\(KSMIO, 0x\w+, struct (\w+)\)", header, re.MULTILINE)
        if found:
            assert argument == found.group(1), name


def test_every_struct_and_field(header: str, document: str, compiled: dict[str, int]) -> None:
    told = {
        heading.removeprefix("struct "): [(row[0], row[1], int(row[2])) for row in those[0]]
        for heading, those in tables(document).items()
        if heading.startswith("struct ")
    }
    assert told == {
        struct: [(name, kind, compiled[f"{struct}.{name}"]) for kind, name in fields]
        for struct, fields in structs(header).items()
    }


def test_there_is_no_padding(header: str, compiled: dict[str, int]) -> None:
    size = {"__u32": 4, "__s32": 4, "__u64": 8, "__s64": 8}
    for struct, fields in structs(header).items():
        assert compiled[f"struct {struct}"] == sum(size[kind] for kind, _ in fields), struct


def test_flags_and_sizes(header: str, document: str, compiled: dict[str, int]) -> None:
    for name, value in compiled.items():
        if name.lower().startswith("ksm_") and not is_command(header, name) and "." not in name:
            text = str(value) if "_SIZE_" in name else f"{value:#x}"
            if name not in NOT_TOLD:
                assert re.search(rf"`{name}` (\| |\()`{text}`", document), f"{name} {text}"


def test_every_attribute_and_its_access(document: str) -> None:
    source = "".join(file.read_text() for file in SYSFS)
    assert set(SYSFS) == {file for file in SYSFS[0].parent.glob("*.c") if "&dev_attr_" in file.read_text()}
    access = {
        name or macro_name: (kind or ("RO" if macro == "COUNTER" else "RW")).lower()
        for kind, name, macro, macro_name in ATTRIBUTE.findall(source)
    }
    listed = re.findall(r"&dev_attr_(\w+)\.attr,", source)
    (attributes,) = tables(document)["Attributes in /sys/class/misc/ksm"]
    assert {row[0]: row[1] for row in attributes} == {name: access[name] for name in listed}
    assert len(attributes) == len(listed)


def test_nothing_else_is_told(document: str, compiled: dict[str, int]) -> None:
    """A command or flag that is mentioned is there."""
    for name in re.findall(r"`(KSM_\w+)`", document):
        assert name in compiled or name == "KSM_TASK_", name
