// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unmerging: give every user of a merged page a copy of its own.
 *
 * There is no list of who maps a merged page, and none is needed: a walk over
 * the memory of all processes finds them, in regions that were removed, in
 * children, and those that an unloaded module left behind. Each is given a
 * write fault, after which core mm has copied it.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "engine.h"

/* Forks while we walk may carry merged pages past us: so more than once. */
#define KS_UNMERGE_ROUNDS	4

static int ks_unmerge_found(struct vm_area_struct *vma, const unsigned long *found,
			    unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		/* Of read-only memory too, as ptrace writes to it. */
		vm_fault_t ret = handle_mm_fault(vma, found[i],
						 FAULT_FLAG_WRITE | FAULT_FLAG_REMOTE,
						 NULL);

		if (ret & VM_FAULT_OOM)
			return -ENOMEM;
	}
	return 0;
}

struct ks_unmerge {
	unsigned long *found;
	unsigned long total;
};

static int ks_unmerge_part(struct vm_area_struct *vma, unsigned long *addr,
			   unsigned long end, void *arg)
{
	struct ks_unmerge *u = arg;
	unsigned int nr;

	/* Nothing, not even ptrace, writes to what may not become writable. */
	if (!(vma->vm_flags & VM_MAYWRITE)) {
		*addr = end;
		return 0;
	}
	*addr = ks_walk_find_merged(vma->vm_mm, *addr, end, u->found, &nr);
	u->total += nr;
	return ks_unmerge_found(vma, u->found, nr);
}

/**
 * ks_unmerge_everything - unmerge all memory of all processes
 *
 * Needs as much free memory as merging had saved.
 *
 * Context: process context, merging stopped, without ks_lock.
 * Return: 0; -ENOMEM: memory ran out, the rest stays merged; -EINTR
 */
int ks_unmerge_everything(void)
{
	struct ks_unmerge u = {};
	unsigned int round;
	int err = 0;

	u.found = kcalloc(KS_BATCH, sizeof(*u.found), GFP_KERNEL);
	if (!u.found)
		return -ENOMEM;
	for (round = 0; round < KS_UNMERGE_ROUNDS && !err; round++) {
		struct mm_struct **mms;
		size_t i, nr;

		u.total = 0;
		mms = ks_processes_mms(NULL, &nr);
		if (!mms) {
			err = -ENOMEM;
			break;
		}
		for (i = 0; i < nr; i++) {
			struct ks_extent all = { mms[i], 0, mms[i]->task_size };

			if (!err)
				err = ks_extent_walk(&all, ks_unmerge_part, &u);
			mmdrop(mms[i]);
		}
		kvfree(mms);
		if (!u.total)
			break;
	}
	kfree(u.found);
	return err;
}

/**
 * ks_unmerge_area - unmerge what an area's regions hold now
 * @area: the area
 *
 * Needs as much free memory as merging had saved there. The regions stay, and
 * where the scan goes on it merges them again.
 *
 * Context: process context, without ks_lock.
 * Return: 0; -ENOMEM: memory ran out, the rest stays merged; -EINTR
 */
int ks_unmerge_area(struct ks_area *area)
{
	struct ks_unmerge u = {};
	struct ks_extents x;
	int err;

	u.found = kcalloc(KS_BATCH, sizeof(*u.found), GFP_KERNEL_ACCOUNT);
	if (!u.found)
		return -ENOMEM;
	err = ks_extents_of_area(area, &x);
	if (!err) {
		err = ks_extents_walk(&x, ks_unmerge_part, &u);
		ks_extents_free(&x);
	}
	kfree(u.found);
	return err;
}
