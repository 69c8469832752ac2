# SPDX-License-Identifier: GPL-2.0-or-later
"""The one error that the harness shows to a person."""


class HarnessError(Exception):
    """Something went wrong; the text names the value and the remedy."""
