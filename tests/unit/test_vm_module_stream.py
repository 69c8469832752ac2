# SPDX-License-Identifier: GPL-2.0-or-later
"""The line from a module VM, however it is cut into pieces."""

import pytest
from ksmvm.module_stream import ModuleStream

TOKEN = "ksmvm-0123456789abcdef"
LOG = "<6>[    0.0] Linux\n<4>[    1.0] odd\n"


def sent(output: bytes, status: int = 0) -> bytes:
    return output + f"\n{TOKEN} status {status}\n{LOG}{TOKEN} end\n".encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize(
    "output",
    [b"", b"one\n", b"no newline", b"\n\n", b"\nksmvm-0123 status 1\n", b"\n" + TOKEN.encode()],
)
def test_output_status_and_log_come_apart(output: bytes, size: int) -> None:
    stream = ModuleStream(TOKEN)
    data = sent(output, 3)
    streamed = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert streamed == output
    assert stream.output == output.decode()
    assert stream.status == 3
    assert stream.kernel_log == LOG
    assert stream.ended


def test_nothing_has_ended_before_the_end() -> None:
    stream = ModuleStream(TOKEN)
    stream.feed(sent(b"x")[:-1])
    assert stream.status == 0
    assert not stream.ended


def test_output_is_not_held_back_without_need() -> None:
    stream = ModuleStream(TOKEN)
    assert stream.feed(b"progress: 10 %") == b"progress: 10 %"
    assert stream.feed(b"\nksm") == b""
    assert stream.feed(b"d is idle") == b"\nksmd is idle"


def test_what_was_held_back_is_output_when_the_vm_dies() -> None:
    stream = ModuleStream(TOKEN)
    assert stream.feed(b"last words\n") == b"last words"
    assert stream.close() == b"\n"
    assert stream.output == "last words\n"
    assert stream.status is None
