// SPDX-License-Identifier: GPL-2.0-only
/*
 * Spans: the memory of an address space that is to be scanned, one mapping's
 * part of one region at a time. An example, with all of it registered but "u":
 *
 *   mappings   [ heap        ] [file] [   guest memory                ]
 *   regions    [  r1 ]u[ r2  .............  r2 ] u [ r3 ][  r4        ]
 *   spans      [  1  ] [  2  ]        [    3   ]   [ 4  ][  5         ]
 */
#include <linux/mm.h>
#include <linux/userfaultfd_k.h>

#include "compat.h"
#include "engine.h"

/*
 * Private anonymous memory only. Left alone is what a driver or userfaultfd
 * watches, and what means more than its bytes (shadow stacks, memory tags).
 */
static bool ks_vma_may_merge(struct vm_area_struct *vma)
{
	const unsigned long never = VM_SHARED | VM_MAYSHARE | VM_SPECIAL |
				    VM_HUGETLB | KS_VM_SHADOW_STACK |
				    KS_VM_DROPPABLE | KS_VM_MTE;

	return vma_is_anonymous(vma) && !(vma->vm_flags & never) &&
	       !userfaultfd_armed(vma);
}

/*
 * The next memory of @vma from *@start on that is registered, or taken in as a
 * whole. Where it is both the region counts, for it may have been given a domain.
 */
static bool ks_vma_span(struct ks_mm *km, struct vm_area_struct *vma,
			unsigned long *start, unsigned long *end,
			const struct ks_given **given)
{
	bool whole = (km->adopted && (vma->vm_flags & VM_MERGEABLE)) ||
		     (km->all && ks_scan_all_takes(vma));
	struct ks_region *r = ks_region_next(km, *start);

	*given = NULL;
	*end = vma->vm_end;
	if (!r || r->start >= vma->vm_end)
		return whole;
	if (whole && r->start > *start) {
		*end = r->start;
		return true;
	}
	*start = max(*start, r->start);
	*end = min(vma->vm_end, r->end);
	*given = &r->given;
	return true;
}

/* Where only regions count, go on at the next one. Return: false: there is none */
static bool ks_mm_skip(struct ks_mm *km, unsigned long *start)
{
	struct ks_region *r;

	if (km->adopted || km->all)
		return true;
	r = ks_region_next(km, *start);
	if (r)
		*start = max(*start, r->start);
	return r;
}

/**
 * ks_mm_next_span - find the next memory to scan
 * @km:    the address space
 * @start: in: where to look from; out: where the span starts
 * @end:   out: where it ends
 * @given: out: what its area asked for, NULL outside of regions
 *
 * Looks at a bounded number of mappings, so that an address space full of
 * others cannot hold the scan up: @start then says where to go on, and @end is
 * the same.
 *
 * Context: ks_lock and mmap_lock held.
 * Return: the mapping that holds the span, NULL where there is none up to
 * *@start, and NULL with *@start at mm->task_size where there is none at all
 */
struct vm_area_struct *ks_mm_next_span(struct ks_mm *km, unsigned long *start,
				       unsigned long *end,
				       const struct ks_given **given)
{
	struct vm_area_struct *vma;
	unsigned int looks = 1024;

	lockdep_assert_held(&ks_lock);
	while (ks_mm_skip(km, start)) {
		vma = find_vma(km->mm, *start);
		if (!vma)
			break;
		*start = max(*start, vma->vm_start);
		if (ks_vma_may_merge(vma) &&
		    ks_vma_span(km, vma, start, end, given))
			return vma;
		*start = vma->vm_end;
		*end = *start;
		if (!--looks)
			return NULL;
	}
	*start = km->mm->task_size;
	*end = *start;
	return NULL;
}
