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
#include "ksm_trace.h"

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

static int ks_unmerge_zero(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = find_vma(mm, addr);

	if (!vma || vma->vm_start > addr || !vma_is_anonymous(vma) ||
	    !(vma->vm_flags & VM_MAYWRITE) || !ks_zero_page_at(mm, addr))
		return 0;
	return ks_unmerge_found(vma, &addr, 1);
}

/* The zero pages that were merged: only they are noted. */
static int ks_unmerge_zeros(const struct ks_extent *x, struct ks_unmerge *u)
{
	unsigned long index = x->start / KS_BATCH_BYTES;
	unsigned int i, nr;
	int err = 0;

	if (!mmget_not_zero(x->mm))
		return 0;
	for (; (nr = ks_zeros_find(x->mm, &index, u->found)); index++) {
		unsigned long addr = index * KS_BATCH_BYTES;
		bool whole = addr >= x->start && (x->end >= x->mm->task_size ||
						  addr + KS_BATCH_BYTES <= x->end);

		if (addr >= x->end)
			break;
		if (signal_pending(current) || mmap_read_lock_killable(x->mm))
			err = -EINTR;
		if (err)
			break;
		for (i = 0; i < nr && !err; i++)
			if (u->found[i] >= x->start && u->found[i] < x->end)
				err = ks_unmerge_zero(x->mm, u->found[i]);
		mmap_read_unlock(x->mm);
		if (err)
			break;
		/* What else is noted of it the next pass looks at. */
		if (whole)
			ks_zeros_unmerged(x->mm, index);
		u->total += nr;
		cond_resched();
	}
	mmput(x->mm);
	return err;
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
	unsigned long pages = 0;
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
			if (!err)
				err = ks_unmerge_zeros(&all, &u);
			mmdrop(mms[i]);
		}
		kvfree(mms);
		pages += u.total;
		if (!u.total)
			break;
	}
	kfree(u.found);
	trace_ks_unmerge(pages, err);
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
	size_t i;
	int err;

	u.found = kcalloc(KS_BATCH, sizeof(*u.found), GFP_KERNEL_ACCOUNT);
	if (!u.found)
		return -ENOMEM;
	err = ks_extents_of_area(area, &x);
	if (!err) {
		err = ks_extents_walk(&x, ks_unmerge_part, &u);
		for (i = 0; i < x.nr && !err; i++)
			err = ks_unmerge_zeros(&x.extent[i], &u);
		ks_extents_free(&x);
	}
	kfree(u.found);
	return err;
}
