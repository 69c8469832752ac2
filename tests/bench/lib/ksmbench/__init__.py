# SPDX-License-Identifier: GPL-2.0-or-later
"""Compares what merging costs with the module and with the kernel's own ksmd."""
