# SPDX-License-Identifier: GPL-2.0-or-later
"""/sys/kernel/mm/ksm of a host after boot, as Linux 6.1 (Debian 12) has it."""

AT_BOOT = {
    "run": "0",
    "pages_to_scan": "100",
    "sleep_millisecs": "20",
    "merge_across_nodes": "1",
    "max_page_sharing": "256",
    "use_zero_pages": "0",
    "stable_node_chains_prune_millisecs": "2000",
    "full_scans": "0",
    "pages_shared": "0",
    "pages_sharing": "0",
    "pages_unshared": "0",
    "pages_volatile": "0",
    "stable_node_chains": "0",
    "stable_node_dups": "0",
}
# What every contender shall set; their plays say the same.
WANTED = {"run": "1", "pages_to_scan": "1000", "sleep_millisecs": "50", "use_zero_pages": "1"}
FOLDER = "sys/kernel/mm/ksm"
