# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 -m ksm` is ksmctl."""

import sys

from ksm.cli import main

sys.exit(main())
