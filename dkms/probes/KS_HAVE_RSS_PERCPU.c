// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is mm_struct.rss_stat an array of percpu counters? Since 6.2; before, a struct
 * of atomic ones. The functions that count for both are not exported.
 */
#include <linux/mm_types.h>
#include <linux/percpu_counter.h>

static void __maybe_unused probe(struct mm_struct *mm)
{
	percpu_counter_inc(&mm->rss_stat[MM_ANONPAGES]);
}
