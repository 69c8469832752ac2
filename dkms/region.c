// SPDX-License-Identifier: GPL-2.0-only
/*
 * Areas, their regions, and the address spaces they lie in.
 *
 * Everything here is called with, or takes, ks_lock. A region is nothing but a
 * range of addresses: what is mapped there is looked up anew in every step, so
 * munmap(), mremap() and mmap() need no hook.
 */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "engine.h"

/* Regions of one user without CAP_SYS_RESOURCE, over all areas and tasks. */
#define KS_USER_REGIONS_MAX	4096U

struct ks_user {
	kuid_t uid;
	unsigned int nr_regions;
	struct list_head link;
};

LIST_HEAD(ks_mms);
/* Regions that belong to no area, in the order of their numbers. */
LIST_HEAD(ks_detached);
/* Regions that their tasks' children are to have too. */
unsigned int ks_nr_families;
static LIST_HEAD(ks_users);
static DEFINE_HASHTABLE(ks_mm_hash, 10);

/* With *@spare for who has none yet. */
static struct ks_user *ks_user_get(struct ks_user **spare)
{
	kuid_t uid = current_uid();
	struct ks_user *user;

	list_for_each_entry(user, &ks_users, link) {
		if (!uid_eq(user->uid, uid))
			continue;
		if (user->nr_regions >= KS_USER_REGIONS_MAX &&
		    !capable(CAP_SYS_RESOURCE))
			return ERR_PTR(-ENOSPC);
		user->nr_regions++;
		return user;
	}

	user = *spare;
	*spare = NULL;
	user->uid = uid;
	user->nr_regions = 1;
	list_add(&user->link, &ks_users);
	return user;
}

static void ks_user_put(struct ks_user *user)
{
	if (--user->nr_regions)
		return;
	list_del(&user->link);
	kfree(user);
}

struct ks_mm *ks_mm_find(struct mm_struct *mm)
{
	struct ks_mm *km;

	hash_for_each_possible(ks_mm_hash, km, hash, (unsigned long)mm)
		if (km->mm == mm)
			return km;
	return NULL;
}

/* Take an address space in, as a zeroed @km. */
static struct ks_mm *ks_mm_insert(struct ks_mm *km, struct mm_struct *mm)
{
	static u64 last_id;

	mmgrab(mm);
	km->mm = mm;
	km->id = ++last_id;
	INIT_LIST_HEAD(&km->regions);
	xa_init(&km->sums);
	km->sums_first = ULONG_MAX;
	xa_init(&km->zeros);
	hash_add(ks_mm_hash, &km->hash, (unsigned long)mm);
	list_add_tail(&km->link, &ks_mms);
	return km;
}

/**
 * ks_mm_get - find an address space, or take it in with nothing to merge
 * @mm: the address space; the caller holds mm_users or mm_count
 *
 * Context: ks_lock held.
 * Return: the address space, NULL without memory
 */
struct ks_mm *ks_mm_get(struct mm_struct *mm)
{
	struct ks_mm *km = ks_mm_find(mm);

	lockdep_assert_held(&ks_lock);
	if (km)
		return km;
	km = kzalloc(sizeof(*km), KS_GFP);
	return km ? ks_mm_insert(km, mm) : NULL;
}

/**
 * ks_region_free - remove a region
 * @r: the region; its address space may be left without one, and stays
 *
 * Context: ks_lock held.
 */
void ks_region_free(struct ks_region *r)
{
	lockdep_assert_held(&ks_lock);
	if (r->family)
		ks_nr_families--;
	if (r->km->near == r)
		r->km->near = NULL;
	list_del(&r->in_mm);
	list_del(&r->in_area);
	ks_user_put(r->user);
	kfree(r);
}

/* The user whom it counts for. */
kuid_t ks_region_uid(const struct ks_region *r)
{
	return r->user->uid;
}

/**
 * ks_mm_free - forget an address space with all its regions
 * @km: the address space
 *
 * What was merged in it stays merged. Context: ks_lock held.
 */
void ks_mm_free(struct ks_mm *km)
{
	struct ks_region *r, *next;

	lockdep_assert_held(&ks_lock);
	ks_scan_forget(km);
	list_for_each_entry_safe(r, next, &km->regions, in_mm)
		ks_region_free(r);
	hash_del(&km->hash);
	list_del(&km->link);
	ks_sums_free(km);
	ks_zeros_free(km);
	mmdrop(km->mm);
	kfree(km);
}

void ks_mm_free_if_idle(struct ks_mm *km)
{
	if (list_empty(&km->regions) && !km->adopted && !km->all)
		ks_mm_free(km);
}

/* Forget address spaces with nothing to merge. Context: ks_lock held. */
void ks_mm_free_idle(void)
{
	struct ks_mm *km, *next;

	lockdep_assert_held(&ks_lock);
	list_for_each_entry_safe(km, next, &ks_mms, link)
		ks_mm_free_if_idle(km);
}

void ks_mm_free_all(void)
{
	struct ks_mm *km, *next;

	list_for_each_entry_safe(km, next, &ks_mms, link)
		ks_mm_free(km);
}

/**
 * ks_mm_prune_dead - forget address spaces that have ended
 *
 * Their regions count against their users' share. Context: ks_lock held.
 */
void ks_mm_prune_dead(void)
{
	struct ks_mm *km, *next;

	lockdep_assert_held(&ks_lock);
	list_for_each_entry_safe(km, next, &ks_mms, link)
		if (!atomic_read(&km->mm->mm_users))
			ks_mm_free(km);
}

/**
 * ks_mm_adopt - take in the VM_MERGEABLE memory of an address space
 * @mm: the address space
 *
 * Context: ks_lock held.
 * Return: the address space, NULL without memory
 */
struct ks_mm *ks_mm_adopt(struct mm_struct *mm)
{
	struct ks_mm *km = ks_mm_get(mm);

	if (km)
		km->adopted = true;
	return km;
}

void ks_mm_disown_all(void)
{
	struct ks_mm *km, *next;

	lockdep_assert_held(&ks_lock);
	list_for_each_entry_safe(km, next, &ks_mms, link) {
		km->adopted = false;
		ks_mm_free_if_idle(km);
	}
}

/**
 * ks_region_next - the region that holds an address, or else the next one
 * @km:   the address space
 * @addr: the address
 *
 * Where the last search ended is remembered, since a scan asks from the lowest
 * address to the highest: a user may have thousands of regions in one address
 * space, and others that none of its mappings are in.
 *
 * Context: ks_lock held.
 * Return: the region, NULL where all of them end before
 */
struct ks_region *ks_region_next(struct ks_mm *km, unsigned long addr)
{
	struct ks_region *r = READ_ONCE(km->near);

	lockdep_assert_held(&ks_lock);
	if (list_empty(&km->regions))
		return NULL;
	/* Good to go on from when all before it end before @addr: they are in order. */
	if (!r || (!list_is_first(&r->in_mm, &km->regions) &&
		   list_prev_entry(r, in_mm)->end > addr))
		r = list_first_entry(&km->regions, struct ks_region, in_mm);
	while (r->end <= addr && !list_is_last(&r->in_mm, &km->regions))
		r = list_next_entry(r, in_mm);
	WRITE_ONCE(km->near, r);
	return r->end > addr ? r : NULL;
}

/*
 * Add a region that is filled in but for its address space. What it overlaps
 * has the right of the first. Context: ks_lock held.
 */
static int ks_region_insert(struct ks_region *new, struct ks_mm *km)
{
	struct ks_region *next = ks_region_next(km, new->start);
	static u64 last_id;

	if (next && next->start < new->end)
		return -EEXIST;

	new->km = km;
	new->id = ++last_id;
	list_add_tail(&new->in_mm, next ? &next->in_mm : &km->regions);
	list_add_tail(&new->in_area, new->area ? &new->area->regions : &ks_detached);
	if (new->family)
		ks_nr_families++;
	return 0;
}

/**
 * ks_region_add - let a range of an address space be merged
 * @mm:       the address space; the caller holds mm_users or mm_count
 * @area:     the area that it belongs to
 * @detached: it gets the area's domain, but does not end with it
 * @children: its children's whole address spaces too, see children.c
 * @addr:     start in bytes
 * @length:   length in bytes; 0 with @addr 0 stands for the whole address space
 *
 * Context: process context, takes ks_lock.
 * Return: 0; -EINVAL for a range that is empty, unaligned, wraps or leaves user
 * space; -EEXIST where it overlaps another region; -ENOSPC when the user has
 * too many; -ESRCH when the address space has ended; -ENOMEM
 */
int ks_region_add(struct mm_struct *mm, struct ks_area *area, bool detached,
		  enum ks_children children, u64 addr, u64 length)
{
	struct ks_user *user, *spare_user;
	struct ks_mm *km, *spare_mm;
	struct ks_region *new;
	bool idle = false;
	int err = -ENOMEM;

	if (!addr && !length)
		length = mm->task_size;
	if (!length || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(length) ||
	    length > mm->task_size || addr > mm->task_size - length)
		return -EINVAL;

	/* Before the lock: memory of who is at a limit takes a while. */
	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	spare_user = kzalloc(sizeof(*spare_user), GFP_KERNEL_ACCOUNT);
	spare_mm = kzalloc(sizeof(*spare_mm), GFP_KERNEL_ACCOUNT);
	if (!new || !spare_user || !spare_mm)
		goto free;
	new->start = addr;
	new->end = addr + length;
	new->area = detached ? NULL : area;

	down_write(&ks_lock);
	ks_mm_prune_dead();
	if (!atomic_read(&mm->mm_users)) {
		err = -ESRCH;
		goto unlock;
	}
	user = ks_user_get(&spare_user);
	if (IS_ERR(user)) {
		err = PTR_ERR(user);
		goto unlock;
	}
	new->given = area->given;
	new->user = user;
	if (children == KS_CHILDREN_FAMILY)
		new->family = ks_family_new();
	else if (children == KS_CHILDREN_JOIN)
		new->family = area->family ?: ks_family_new();
	new->unlimited = children && capable(CAP_SYS_RESOURCE);
	idle = list_empty(&ks_mms);
	km = ks_mm_find(mm);
	if (!km) {
		km = ks_mm_insert(spare_mm, mm);
		spare_mm = NULL;
	}
	err = ks_region_insert(new, km);
	if (err) {
		ks_user_put(user);
		goto unlock;
	}
	if (children == KS_CHILDREN_JOIN)
		area->family = new->family;
	new = NULL;
unlock:
	up_write(&ks_lock);
	/* Else it comes with its turn: nobody is to end pauses between scans at will. */
	if (!err && idle)
		ks_thread_kick();
free:
	kfree(spare_mm);
	kfree(spare_user);
	kfree(new);
	return err;
}

/**
 * ks_region_copy - register a whole address space like another
 * @like: whose area, domain, user and family it gets
 * @mm:   the address space; the caller holds mm_count
 *
 * Where that fails it is tried again with the next pass. It is one of its
 * user's regions, and not made where the user has too many, unless the first of
 * the family was registered with CAP_SYS_RESOURCE.
 *
 * Context: ks_lock held. May sleep.
 */
void ks_region_copy(const struct ks_region *like, struct mm_struct *mm)
{
	struct ks_region *new;
	struct ks_mm *km;

	lockdep_assert_held(&ks_lock);
	/* The latter amid execve(), which has not yet said how large it is. */
	if (!atomic_read(&mm->mm_users) || !READ_ONCE(mm->task_size))
		return;
	if (like->user->nr_regions >= KS_USER_REGIONS_MAX && !like->unlimited)
		return;
	km = ks_mm_get(mm);
	new = km ? kzalloc(sizeof(*new), KS_GFP) : NULL;
	if (!new)
		return;
	new->end = mm->task_size;
	new->area = like->area;
	new->given = like->given;
	new->user = like->user;
	new->family = like->family;
	new->unlimited = like->unlimited;
	if (ks_region_insert(new, km))
		kfree(new);
	else
		new->user->nr_regions++;
}

/**
 * ks_region_remove - remove regions of an address space
 * @mm:       the address space
 * @area:     the area they belong to, NULL for the detached ones
 * @addr:     start of the region
 * @all:      every such region instead
 * @children: and the others of the families that they belong to
 *
 * No step is under way in a removed region when this returns.
 *
 * Context: process context, takes ks_lock.
 * Return: 0, or -ENOENT where there was none
 */
int ks_region_remove(struct mm_struct *mm, struct ks_area *area, u64 addr, bool all,
		     bool children)
{
	struct ks_region *r, *next;
	struct ks_mm *km;
	u64 family = 0;
	int err = -ENOENT;

	down_write(&ks_lock);
	km = ks_mm_find(mm);
	if (km) {
		list_for_each_entry_safe(r, next, &km->regions, in_mm) {
			if (r->area != area || (!all && r->start != addr))
				continue;
			if (children)
				family = r->family;
			ks_region_free(r);
			err = 0;
		}
		ks_mm_free_if_idle(km);
	}
	if (family)
		ks_family_remove(family);
	up_write(&ks_lock);
	return err;
}

/**
 * ks_area_clear - remove every region of an area
 * @area: the area
 *
 * Context: process context, takes ks_lock.
 */
void ks_area_clear(struct ks_area *area)
{
	struct ks_region *r, *next;

	down_write(&ks_lock);
	list_for_each_entry_safe(r, next, &area->regions, in_area) {
		struct ks_mm *km = r->km;

		ks_region_free(r);
		ks_mm_free_if_idle(km);
	}
	up_write(&ks_lock);
}

/**
 * ks_area_set_given - put an area's regions in a domain
 * @area:  the area
 * @given: the domain, or KS_DOMAIN_NOT_GIVEN, and what else it asked for
 *
 * Context: process context, takes ks_lock.
 * Return: 0, or -EBUSY: it has regions
 */
int ks_area_set_given(struct ks_area *area, const struct ks_given *given)
{
	int err = -EBUSY;

	down_write(&ks_lock);
	if (list_empty(&area->regions)) {
		area->given = *given;
		err = 0;
	}
	up_write(&ks_lock);
	return err;
}
