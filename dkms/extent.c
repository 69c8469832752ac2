// SPDX-License-Identifier: GPL-2.0-only
/*
 * Extents: the memory of an area or a task as it is registered right now, to
 * be walked without ks_lock.
 *
 * A walk through a guest's memory takes seconds, and waits for a lock that the
 * guest's owner can hold. So it goes over a copy of the list of regions, which
 * like the regions keeps no memory alive: what ended meanwhile is passed over.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "engine.h"

/**
 * ks_extents_of_area - the memory of an area
 * @area: the area
 * @x:    out: for ks_extents_free()
 *
 * Context: process context, takes ks_lock.
 * Return: 0 or -ENOMEM
 */
int ks_extents_of_area(struct ks_area *area, struct ks_extents *x)
{
	static unsigned long visit;
	size_t room = 0, nr;
	struct ks_region *r;

	memset(x, 0, sizeof(*x));
	for (;;) {
		down_write(&ks_lock);
		ks_mm_prune_dead();
		nr = 0;
		list_for_each_entry(r, &area->regions, in_area)
			nr++;
		if (nr <= room)
			break;
		/* Not with the lock: memory of who is at a limit takes a while. */
		up_write(&ks_lock);
		kvfree(x->extent);
		x->extent = kvcalloc(nr, sizeof(*x->extent), GFP_KERNEL_ACCOUNT);
		if (!x->extent)
			return -ENOMEM;
		room = nr;
	}
	visit++;
	list_for_each_entry(r, &area->regions, in_area) {
		x->extent[x->nr++] = (struct ks_extent){ r->km->mm, r->start, r->end };
		mmgrab(r->km->mm);
		if (r->km->visit == visit)
			continue;
		r->km->visit = visit;
		x->nr_mms++;
		x->metadata_bytes += ks_mm_metadata_bytes(r->km);
	}
	x->nr_regions = x->nr;
	up_write(&ks_lock);
	return 0;
}

/**
 * ks_extents_of_mm - all memory of a task, be it registered or not
 * @mm: its address space
 * @x:  out: for ks_extents_free()
 *
 * Context: process context, takes ks_lock.
 * Return: 0 or -ENOMEM
 */
int ks_extents_of_mm(struct mm_struct *mm, struct ks_extents *x)
{
	struct ks_region *r;
	struct ks_mm *km;

	memset(x, 0, sizeof(*x));
	x->extent = kvcalloc(1, sizeof(*x->extent), GFP_KERNEL_ACCOUNT);
	if (!x->extent)
		return -ENOMEM;
	mmgrab(mm);
	x->extent[0] = (struct ks_extent){ mm, 0, mm->task_size };
	x->nr = 1;
	x->nr_mms = 1;
	down_write(&ks_lock);
	km = ks_mm_find(mm);
	if (km) {
		list_for_each_entry(r, &km->regions, in_mm)
			x->nr_regions++;
		x->metadata_bytes = ks_mm_metadata_bytes(km);
	}
	up_write(&ks_lock);
	return 0;
}

void ks_extents_free(struct ks_extents *x)
{
	size_t i;

	for (i = 0; i < x->nr; i++)
		mmdrop(x->extent[i].mm);
	kvfree(x->extent);
}

/* Private anonymous memory, which is where merged pages are. */
static bool ks_vma_may_hold_merged(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma) &&
	       !(vma->vm_flags & (VM_SHARED | VM_MAYSHARE | VM_SPECIAL | VM_HUGETLB));
}

/**
 * ks_extent_walk - visit the memory in which merged pages can be
 * @x:   where
 * @fn:  called with mmap_lock held for a mapping's part; moves *@addr on, not
 *       past @end, after a bounded amount of work. An error ends the walk
 * @arg: passed to @fn
 *
 * Context: process context, without ks_lock; takes mmap_lock, which a tenant
 * can hold for long.
 * Return: 0, what @fn returned, or -ERESTARTNOHAND
 */
int ks_extent_walk(const struct ks_extent *x, ks_extent_fn fn, void *arg)
{
	unsigned long addr = x->start;
	struct mm_struct *mm = x->mm;
	int err = 0;

	if (!mmget_not_zero(mm))
		return 0;
	while (!err) {
		struct vm_area_struct *vma;

		if (signal_pending(current) || mmap_read_lock_killable(mm)) {
			err = -ERESTARTNOHAND;
			break;
		}
		vma = find_vma(mm, addr);
		if (!vma || vma->vm_start >= x->end) {
			mmap_read_unlock(mm);
			break;
		}
		addr = max(addr, vma->vm_start);
		if (ks_vma_may_hold_merged(vma))
			err = fn(vma, &addr, min(vma->vm_end, x->end), arg);
		else
			addr = vma->vm_end;
		mmap_read_unlock(mm);
		if (addr >= x->end)
			break;
		cond_resched();
	}
	mmput(mm);
	return err;
}

/* ks_extent_walk() of all of them; the first error ends it. */
int ks_extents_walk(const struct ks_extents *x, ks_extent_fn fn, void *arg)
{
	int err = 0;
	size_t i;

	for (i = 0; i < x->nr && !err; i++)
		err = ks_extent_walk(&x->extent[i], fn, arg);
	return err;
}
