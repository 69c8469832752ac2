// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unmerging: give every user of a merged page a copy of its own.
 *
 * There is no list of who maps a merged page, and none is needed: a walk over
 * the memory of all processes finds them, in regions that were removed, in
 * children, and those that an unloaded module left behind. Each is given a
 * write fault, after which core mm has copied it.
 *
 * Where userfaultfd protects a page from writes, a write fault is its owner's to
 * answer, and unmerging is no write. Core mm has a fault for that too, which
 * copies and leaves the protection: but before 6.2 it copies anonymous pages
 * only. There they stay merged, and whoever unmerges is told.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>

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
		unsigned int how = userfaultfd_wp(vma) ? FAULT_FLAG_UNSHARE : FAULT_FLAG_WRITE;
		vm_fault_t ret = handle_mm_fault(vma, found[i], how | FAULT_FLAG_REMOTE, NULL);

		if (ret & VM_FAULT_OOM)
			return -ENOMEM;
	}
	return 0;
}

/**
 * struct ks_unmerge - a walk
 * @found: room for KS_BATCH addresses
 * @total: pages that were unmerged
 * @kept:  pages that could not be
 */
struct ks_unmerge {
	unsigned long *found;
	unsigned long total;
	unsigned long kept;
};

static int ks_unmerge_part(struct vm_area_struct *vma, unsigned long *addr,
			   unsigned long end, void *arg)
{
	struct ks_unmerge *u = arg;
	unsigned long start = *addr;
	unsigned int nr, kept = 0;
	int err;

	/* Nothing, not even ptrace, writes to what may not become writable. */
	if (!(vma->vm_flags & VM_MAYWRITE)) {
		*addr = end;
		return 0;
	}
	*addr = ks_walk_find_merged(vma->vm_mm, start, end, u->found, &nr);
	err = ks_unmerge_found(vma, u->found, nr);
	/* Only there: elsewhere the scan may have merged some again. */
	if (!err && nr && userfaultfd_wp(vma))
		ks_walk_find_merged(vma->vm_mm, start, *addr, u->found, &kept);
	u->kept += kept;
	u->total += nr - kept;
	return err;
}

static int ks_unmerge_zero(struct mm_struct *mm, unsigned long addr, unsigned int *kept)
{
	struct vm_area_struct *vma = find_vma(mm, addr);
	int err;

	if (!vma || vma->vm_start > addr || !vma_is_anonymous(vma) ||
	    !(vma->vm_flags & VM_MAYWRITE) || !ks_zero_page_at(mm, addr))
		return 0;
	err = ks_unmerge_found(vma, &addr, 1);
	if (!err && userfaultfd_wp(vma) && ks_zero_page_at(mm, addr))
		(*kept)++;
	return err;
}

/* The zero pages that were merged: only they are noted. */
static int ks_unmerge_zeros(const struct ks_extent *x, struct ks_unmerge *u)
{
	unsigned long index = x->start / KS_BATCH_BYTES;
	unsigned int i, nr, kept;
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
			err = -ERESTARTNOHAND;
		if (err)
			break;
		kept = 0;
		for (i = 0; i < nr && !err; i++)
			if (u->found[i] >= x->start && u->found[i] < x->end)
				err = ks_unmerge_zero(x->mm, u->found[i], &kept);
		mmap_read_unlock(x->mm);
		if (err)
			break;
		/* What else is noted of it the next pass looks at. */
		if (whole && !kept)
			ks_zeros_unmerged(x->mm, index, u->found, nr);
		u->kept += kept;
		u->total += nr - kept;
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
 * Return: 0; -EBUSY: pages that userfaultfd protects stay merged, and no others;
 * -ENOMEM: memory ran out, the rest stays merged; -ERESTARTNOHAND
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
		u.kept = 0;
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
	if (!err && u.kept)
		err = -EBUSY;
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
 * Return: as ks_unmerge_everything()
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
	return err ?: u.kept ? -EBUSY : 0;
}
