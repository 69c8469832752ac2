// SPDX-License-Identifier: GPL-2.0-only
/*
 * The address spaces of all processes: who is to be adopted or unmerged.
 */
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "compat.h"
#include "engine.h"

/**
 * ks_process_mm - the address space of a process
 * @process: the leader; it may have ended before its threads, so all are asked
 * @wanted:  which address spaces; NULL for all
 *
 * Context: RCU read side.
 * Return: an address space to mmdrop(), or NULL
 */
struct mm_struct *ks_process_mm(struct task_struct *process, ks_process_fn wanted)
{
	struct mm_struct *mm = NULL;
	struct task_struct *t;

	for_each_thread(process, t) {
		task_lock(t);
		mm = t->mm;
		if (mm && (t->flags & PF_KTHREAD || (wanted && !wanted(process, mm))))
			mm = NULL;
		else if (mm)
			mmgrab(mm);
		task_unlock(t);
		if (mm)
			break;
	}
	return mm;
}

/**
 * ks_processes_mms - collect address spaces
 * @wanted: which; NULL for all
 * @nr:     out: how many
 *
 * An address space that several processes share may be there more than once,
 * and one that a process just made may not.
 *
 * Context: process context.
 * Return: an array to kvfree(), of address spaces to mmdrop(); NULL without memory
 */
struct mm_struct **ks_processes_mms(ks_process_fn wanted, size_t *nr)
{
	struct task_struct *p;
	struct mm_struct **mms;
	size_t room = 0;

	*nr = 0;
	rcu_read_lock();
	for_each_process(p)
		room++;
	rcu_read_unlock();
	room += room / 4 + 64;

	mms = kvcalloc(room, sizeof(*mms), KS_GFP);
	if (!mms)
		return NULL;
	rcu_read_lock();
	for_each_process(p) {
		struct mm_struct *mm = ks_process_mm(p, wanted);

		if (mm)
			mms[(*nr)++] = mm;
		if (*nr == room)
			break;
	}
	rcu_read_unlock();
	return mms;
}

static bool ks_mm_is_new(struct task_struct *process, struct mm_struct *mm)
{
	struct ks_mm *km;

	if (!ks_mm_wants_merging(mm))
		return false;
	km = ks_mm_find(mm);
	return !km || !km->adopted;
}

/**
 * ks_processes_adopt - take in all memory that was marked MADV_MERGEABLE
 *
 * Context: ks_lock held. May sleep.
 */
void ks_processes_adopt(void)
{
	struct mm_struct **mms;
	size_t i, nr;

	lockdep_assert_held(&ks_lock);
	mms = ks_processes_mms(ks_mm_is_new, &nr);
	if (!mms)
		return;
	for (i = 0; i < nr; i++) {
		/* Without memory it is tried again with the next pass. */
		ks_mm_adopt(mms[i]);
		mmdrop(mms[i]);
	}
	kvfree(mms);
}
