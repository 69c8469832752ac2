// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is there mm_flags_test()? Since 6.18 mm_struct.flags is opaque, and this reads
 * it; before, it is a plain word.
 */
#include <linux/mm.h>
#include <linux/sched/coredump.h>

static bool __maybe_unused probe(struct mm_struct *mm)
{
	return mm_flags_test(MMF_VM_MERGEABLE, mm);
}
