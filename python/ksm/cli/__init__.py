# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl, the command.

Exit status: 0 done, 1 the operation failed, 2 usage or bad value, 3 a reload is to be gone on with.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from ksm.cli.parser import build_parser
from ksm.errors import BadValue, KsmError

DONE, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run ksmctl with these arguments (by default the process's); returns the exit status."""
    arguments = build_parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        # Names of files and processes are whatever bytes their makers chose.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = arguments.function(arguments)
        # Here, not at exit: a reader that went away is noticed below.
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return _complain("interrupted", FAILED)
    except BadValue as error:
        return _complain(error, USAGE)
    except (KsmError, OSError) as error:
        return _complain(error, FAILED)
    return status


def _complain(error: object, status: int) -> int:
    print(f"ksmctl: {error}", file=sys.stderr)
    return status
