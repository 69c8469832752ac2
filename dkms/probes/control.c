// SPDX-License-Identifier: GPL-2.0-only
/*
 * Must compile: it includes what the others include. If it does not, they would
 * all answer no, and the module be built for a kernel that nobody has.
 */
#include <linux/mm.h>
#include <linux/mm_types.h>
#include <linux/sched/coredump.h>
#include <linux/shrinker.h>

static unsigned long __maybe_unused probe(struct mm_struct *mm)
{
	return mm->total_vm;
}
