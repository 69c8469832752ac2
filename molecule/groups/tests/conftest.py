# SPDX-License-Identifier: GPL-2.0-or-later
"""Gives the hosts of the scenario their `host.ksm`."""

pytest_plugins = ["ksm.testing"]
