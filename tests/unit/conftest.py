# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness is not installed: it runs from the tree, before any virtual environment exists."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "vm/lib"))
