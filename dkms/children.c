// SPDX-License-Identifier: GPL-2.0-only
/*
 * Families: a task that was registered with its children.
 *
 * The kernel tells no module of a fork(). So at the start of every pass each
 * process is asked who its parents are, up to one that is registered with its
 * children, and is registered like it. With A registered:
 *
 *   A --- B --- C      B and C are taken: C has A above it
 *   A --- (D) --- E    D forked E and ended before the pass: E is its reaper's
 *                      child now, and not taken
 *   A --- F, execve()  its new memory is taken with the next pass
 *
 * What was taken stays so when its parents end. Nobody can check rights to a
 * process that is not there yet, hence only who may trace any may ask for this.
 */
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "engine.h"

/* A chain of parents longer than that is taken in several passes. */
#define KS_GENERATIONS	32U

struct ks_child {
	struct mm_struct *mm;
	struct ks_region *of;
};

static u64 ks_last_family;

/**
 * ks_family_new - a name for a family
 *
 * Context: ks_lock held.
 */
u64 ks_family_new(void)
{
	lockdep_assert_held(&ks_lock);
	return ++ks_last_family;
}

/*
 * The region that a process is to be registered like. Its parents' address
 * spaces are compared only: those that we know cannot be freed or used anew.
 */
static struct ks_region *ks_child_of(struct task_struct *p)
{
	unsigned int generation;
	struct ks_region *r;
	struct ks_mm *km;

	for (generation = 0; generation < KS_GENERATIONS; generation++) {
		p = rcu_dereference(p->real_parent);
		km = ks_mm_find(READ_ONCE(p->mm));
		/* Who is registered whole has no other region. */
		r = km ? list_first_entry_or_null(&km->regions, struct ks_region, in_mm) : NULL;
		if (r && r->family)
			return r;
		if (p == &init_task)
			break;
	}
	return NULL;
}

static bool ks_mm_has_region(struct mm_struct *mm)
{
	struct ks_mm *km = ks_mm_find(mm);

	return km && !list_empty(&km->regions);
}

/**
 * ks_children_take - register the children of families
 *
 * A process that has a region of its own already is left as it is.
 *
 * Context: ks_lock held. May sleep.
 */
void ks_children_take(void)
{
	struct ks_child *found;
	struct task_struct *p;
	size_t room = 64, nr = 0, i;

	lockdep_assert_held(&ks_lock);
	rcu_read_lock();
	for_each_process(p)
		room++;
	rcu_read_unlock();
	/* Without memory, and for those that start now, there is the next pass. */
	found = kvcalloc(room, sizeof(*found), KS_GFP);
	if (!found)
		return;

	rcu_read_lock();
	for_each_process(p) {
		struct ks_region *of = ks_child_of(p);
		struct mm_struct *mm = of ? ks_process_mm(p, NULL) : NULL;

		if (!mm)
			continue;
		found[nr++] = (struct ks_child){ mm, of };
		if (nr == room)
			break;
	}
	rcu_read_unlock();

	for (i = 0; i < nr; i++) {
		if (!ks_mm_has_region(found[i].mm))
			ks_region_copy(found[i].of, found[i].mm);
		mmdrop(found[i].mm);
	}
	kvfree(found);
}

/**
 * ks_family_remove - remove every region of a family
 * @family: the family
 *
 * Context: ks_lock held.
 */
void ks_family_remove(u64 family)
{
	struct ks_region *r, *next_r;
	struct ks_mm *km, *next;

	lockdep_assert_held(&ks_lock);
	list_for_each_entry_safe(km, next, &ks_mms, link) {
		list_for_each_entry_safe(r, next_r, &km->regions, in_mm)
			if (r->family == family)
				ks_region_free(r);
		ks_mm_free_if_idle(km);
	}
}
