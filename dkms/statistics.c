// SPDX-License-Identifier: GPL-2.0-only
/*
 * What merging does for an area or a task, by a walk through its memory.
 *
 * Nothing is counted while pages merge, since core mm tells nobody when it
 * copies or unmaps one. What a merged page saves is shared by its mappings.
 * With three of them, in two areas:
 *
 *   area   page table entries   pages_merged   saved_bytes
 *   A      two                  2              2 * 4096 * 2/3
 *   B      one                  1              1 * 4096 * 2/3
 *
 * so that what all areas and tasks save adds up to what the engine does.
 */
#include <linux/err.h>
#include <linux/ksm_dev.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "engine.h"

static int ks_count_part(struct vm_area_struct *vma, unsigned long *addr, unsigned long end,
			 void *arg)
{
	*addr = ks_walk_count(vma->vm_mm, *addr, end, arg);
	return 0;
}

static int ks_statistics_put(void __user *argp, u32 size, const struct ks_extents *x,
			     struct ksm_statistics *s)
{
	struct ks_page_counts c = {};
	int err;

	err = ks_extents_walk(x, ks_count_part, &c);
	if (err)
		return err;
	s->size = min_t(u32, size, sizeof(*s));
	s->address_spaces = x->nr_mms;
	s->regions = x->nr_regions;
	s->pages_mapped = c.mapped;
	s->pages_merged = c.merged;
	s->pages_sharing = c.sharing;
	s->zero_pages = c.zero;
	s->saved_bytes = c.saved;
	s->metadata_bytes = x->metadata_bytes;
	s->profit = s->saved_bytes - s->metadata_bytes;
	return copy_to_user(argp, s, s->size) ? -EFAULT : 0;
}

/**
 * ks_statistics - answer KSM_AREA_STATISTICS or KSM_TASK_STATISTICS
 * @area: the area, NULL for the task that the caller's struct names
 * @argp: the caller's struct ksm_statistics
 *
 * Context: process context, takes ks_lock and mmap_lock one after the other.
 * Return: 0, -EFAULT, -EINVAL, -E2BIG, -ENOMEM, -ERESTARTNOHAND; of a task as
 * ks_task_mem_get()
 */
int ks_statistics(struct ks_area *area, void __user *argp)
{
	struct ksm_statistics s;
	struct ks_extents x;
	u32 size;
	int err;

	err = ks_struct_get(&s, sizeof(s), KSM_STATISTICS_SIZE_VER0, argp, &size);
	if (err)
		return err;
	if (s.flags || s.reserved || (area && s.mem_fd))
		return -EINVAL;

	if (area) {
		err = ks_extents_of_area(area, &x);
	} else {
		struct mm_struct *mm = ks_task_mem_get(s.mem_fd);

		if (IS_ERR(mm))
			return PTR_ERR(mm);
		err = ks_extents_of_mm(mm, &x);
		mmput(mm);
	}
	if (err)
		return err;
	err = ks_statistics_put(argp, size, &x, &s);
	ks_extents_free(&x);
	return err;
}
