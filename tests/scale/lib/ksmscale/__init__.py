# SPDX-License-Identifier: GPL-2.0-or-later
"""The role against many simulated hosts on one machine."""
