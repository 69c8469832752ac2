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

static bool ks_vma_may_hold_merged(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma) &&
	       !(vma->vm_flags & (VM_SHARED | VM_MAYSHARE | VM_SPECIAL | VM_HUGETLB)) &&
	       (vma->vm_flags & VM_MAYWRITE);
}

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

static int ks_unmerge_mm(struct mm_struct *mm, unsigned long *found, unsigned long *total)
{
	unsigned long addr = 0;
	int err = 0;

	while (!err) {
		struct vm_area_struct *vma;
		unsigned int nr = 0;

		if (signal_pending(current) || mmap_read_lock_killable(mm))
			return -EINTR;
		vma = find_vma(mm, addr);
		if (!vma) {
			mmap_read_unlock(mm);
			break;
		}
		addr = max(addr, vma->vm_start);
		if (ks_vma_may_hold_merged(vma)) {
			addr = ks_walk_find_merged(mm, addr, vma->vm_end, found, &nr);
			err = ks_unmerge_found(vma, found, nr);
		} else {
			addr = vma->vm_end;
		}
		mmap_read_unlock(mm);
		*total += nr;
		cond_resched();
	}
	return err;
}

/* The zero pages that were merged: only they are noted. */
static int ks_unmerge_zeros(struct mm_struct *mm, unsigned long *found,
			    unsigned long *total)
{
	unsigned long index = 0;
	unsigned int i, nr;
	int err = 0;

	while (!err && (nr = ks_zeros_find(mm, &index, found))) {
		if (signal_pending(current) || mmap_read_lock_killable(mm))
			return -EINTR;
		for (i = 0; i < nr && !err; i++) {
			struct vm_area_struct *vma = find_vma(mm, found[i]);

			if (!vma || vma->vm_start > found[i] ||
			    !ks_vma_may_hold_merged(vma) ||
			    !ks_zero_page_at(mm, found[i]))
				continue;
			err = ks_unmerge_found(vma, &found[i], 1);
		}
		mmap_read_unlock(mm);
		if (!err)
			ks_zeros_unmerged(mm, index);
		*total += nr;
		cond_resched();
	}
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
	unsigned long *found, pages = 0;
	unsigned int round;
	int err = 0;

	found = kcalloc(KS_BATCH, sizeof(*found), GFP_KERNEL);
	if (!found)
		return -ENOMEM;
	for (round = 0; round < KS_UNMERGE_ROUNDS && !err; round++) {
		unsigned long total = 0;
		struct mm_struct **mms;
		size_t i, nr;

		mms = ks_processes_mms(NULL, &nr);
		if (!mms) {
			err = -ENOMEM;
			break;
		}
		for (i = 0; i < nr; i++) {
			if (!err && mmget_not_zero(mms[i])) {
				err = ks_unmerge_mm(mms[i], found, &total);
				if (!err)
					err = ks_unmerge_zeros(mms[i], found, &total);
				mmput(mms[i]);
			}
			mmdrop(mms[i]);
		}
		kvfree(mms);
		pages += total;
		if (!total)
			break;
	}
	kfree(found);
	trace_ks_unmerge(pages, err);
	return err;
}
