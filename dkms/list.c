// SPDX-License-Identifier: GPL-2.0-only
/*
 * Detached regions, told to administrators: they belong to no descriptor, so
 * nobody else knows of them. With the list they can be handed to another build
 * of the driver.
 *
 * A listing takes several calls, and regions come and go in between. Each has a
 * number that no other ever had, and the list of detached regions is in their
 * order. So a place in a listing is the last number told, and its end is the
 * number of the youngest region of the time when it began:
 *
 *   numbers there   3 7 8 9     first call, room for two: 3 7, end 9
 *   7 8 go, 10 comes
 *   numbers there   3 9 10      second call: 9
 *                               third call: none
 *
 * The numbers told only rise, and up to the end: none is told twice, and it ends
 * however many come. What is there all the time is told.
 */
#include <linux/capability.h>
#include <linux/ksm_dev.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "engine.h"

/* Told in one call, while everybody else waits for ks_lock. */
#define KS_LIST_MAX	512U

/* To ks_process_mm(), which gets none: a look is all. */
static bool ks_note_pid(struct task_struct *process, struct mm_struct *mm)
{
	struct ks_mm *km = ks_mm_find(mm);

	if (km && !km->pid)
		km->pid = task_tgid_vnr(process);
	return false;
}

/* Note in each address space the oldest process that has it. Context: ks_lock held. */
static void ks_note_pids(void)
{
	struct task_struct *p;
	struct ks_mm *km;

	list_for_each_entry(km, &ks_mms, link)
		km->pid = 0;
	rcu_read_lock();
	for_each_process(p)
		ks_process_mm(p, ks_note_pid);
	rcu_read_unlock();
}

static void ks_region_tell(const struct ks_region *r, struct ksm_region_info *info)
{
	const struct ks_domain *d = &r->given.domain;

	memset(info, 0, sizeof(*info));
	info->id = r->id;
	info->flags = KSM_TASK_DETACHED;
	if (!r->start && r->end == r->km->mm->task_size) {
		info->flags |= KSM_TASK_WHOLE;
	} else {
		info->addr = r->start;
		info->length = r->end - r->start;
	}
	if (r->family)
		info->flags |= KSM_TASK_CHILDREN;
	info->family = r->family;
	info->pid = r->km->pid;
	info->uid = __kuid_val(ks_region_uid(r));
	info->domain = d->number;
	if (d->kind == KS_DOMAIN_PRIVATE)
		info->domain_owner = d->owner;
	if (d->kind == KS_DOMAIN_COMMON || d->kind == KS_DOMAIN_SYSTEM)
		info->domain_flags = KSM_DOMAIN_SYSTEM;
	if (r->given.zero_pages)
		info->domain_flags |= KSM_DOMAIN_ZERO_PAGES;
}

/* Fill in what @list asks for and has room for. Return: how many */
static unsigned int ks_list_some(struct ksm_region_list *list, struct ksm_region_info *info)
{
	unsigned int nr = 0;
	struct ks_region *r;

	down_write(&ks_lock);
	ks_mm_prune_dead();
	ks_note_pids();
	if (!list->cursor)
		list->end = list_empty(&ks_detached) ? 0 :
			    list_last_entry(&ks_detached, struct ks_region, in_area)->id;
	list_for_each_entry(r, &ks_detached, in_area) {
		if (r->id <= list->cursor)
			continue;
		if (r->id > list->end || nr == list->nr)
			break;
		ks_region_tell(r, &info[nr++]);
		list->cursor = r->id;
	}
	up_write(&ks_lock);
	return nr;
}

/* Into an array of the caller's, whose entries may be of another size than ours. */
static int ks_list_put(const struct ksm_region_list *list, const struct ksm_region_info *info)
{
	u32 known = min_t(u32, list->entry_size, sizeof(*info));
	char __user *to = u64_to_user_ptr(list->entries);
	unsigned int i;

	for (i = 0; i < list->nr; i++, to += list->entry_size)
		if (copy_to_user(to, &info[i], known) ||
		    clear_user(to + known, list->entry_size - known))
			return -EFAULT;
	return 0;
}

/**
 * ks_list_regions - answer KSM_LIST_REGIONS
 * @argp: the caller's struct ksm_region_list
 *
 * Context: process context, takes ks_lock.
 * Return: 0, -EPERM, -EFAULT, -EINVAL, -E2BIG, -ENOMEM
 */
int ks_list_regions(void __user *argp)
{
	struct ksm_region_info *info;
	struct ksm_region_list list;
	u32 size;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	err = ks_struct_get(&list, sizeof(list), KSM_REGION_LIST_SIZE_VER0, argp, &size);
	if (err)
		return err;
	if (list.flags || !list.nr || list.entry_size < KSM_REGION_INFO_SIZE_VER0)
		return -EINVAL;
	if (list.entry_size > PAGE_SIZE)
		return -E2BIG;

	list.nr = min(list.nr, KS_LIST_MAX);
	info = kvcalloc(list.nr, sizeof(*info), GFP_KERNEL_ACCOUNT);
	if (!info)
		return -ENOMEM;
	list.nr = ks_list_some(&list, info);
	err = ks_list_put(&list, info);
	kvfree(info);
	if (err)
		return err;
	list.size = min_t(u32, size, sizeof(list));
	return copy_to_user(argp, &list, list.size) ? -EFAULT : 0;
}
