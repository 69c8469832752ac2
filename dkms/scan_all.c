// SPDX-License-Identifier: GPL-2.0-only
/*
 * scan_all: merging without being asked, the mode that needs no API.
 *
 * At the start of every pass the private anonymous memory of all processes is
 * taken in, but for those that are left out, by the administrator
 * (scan_all_min_uid, exclude.c) or by themselves:
 *
 *   prctl(PR_SET_DUMPABLE, 0)    the process is left out, from the next pass on
 *   madvise(MADV_DONTDUMP)       this memory is left out
 *   madvise(MADV_WIPEONFORK)     this memory is left out
 *   mlock()                      this memory is left out
 *
 * A merged page tells whoever can make its content up that somebody else has it
 * (by the time of a write), so what holds secrets should not merge without
 * being asked. Programs that hold some already say so by these calls: they keep
 * them out of core dumps, swap and children; and the kernel clears the dumpable
 * mark of who changes its uid or executes what it may not read. Locked memory
 * may also be meant to be written without delay. scan_all_protected takes this
 * memory in nevertheless, and what somebody registered or marked MADV_MERGEABLE
 * is merged in any case.
 *
 * A process is judged anew in every pass, and a mapping in every step, so there
 * is nothing to be told when one changes its mind.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "engine.h"

/* Context: RCU, ks_lock held. */
static bool ks_scan_all_wants(struct task_struct *process, struct mm_struct *mm)
{
	unsigned int min_uid = READ_ONCE(ks_policy.scan_all_min_uid);
	const struct cred *cred = __task_cred(process);

	return __kuid_val(cred->uid) >= min_uid && __kuid_val(cred->euid) >= min_uid &&
	       !ks_uid_excluded(cred->uid) && !ks_uid_excluded(cred->euid) &&
	       (READ_ONCE(ks_policy.scan_all_protected) ||
		ks_process_is_dumpable(process, mm));
}

/**
 * ks_scan_all_takes - may a mapping be merged because of scan_all?
 * @vma: a mapping of an address space that was taken in
 *
 * Context: mmap_lock held.
 */
bool ks_scan_all_takes(struct vm_area_struct *vma)
{
	const unsigned long protected = VM_LOCKED | VM_LOCKONFAULT | VM_DONTDUMP |
					VM_WIPEONFORK;

	return !(vma->vm_flags & protected) || READ_ONCE(ks_policy.scan_all_protected);
}

/* Let go of those that are in by nothing but scan_all. */
static void ks_scan_all_drop(void)
{
	struct ks_mm *km;

	list_for_each_entry(km, &ks_mms, link)
		km->all = false;
}

/**
 * ks_scan_all_update - take in who is there now, and nobody else
 *
 * Context: ks_lock held, between two passes. May sleep.
 */
void ks_scan_all_update(void)
{
	struct mm_struct **mms;
	size_t i, nr;

	lockdep_assert_held(&ks_lock);
	mms = ks_processes_mms(ks_scan_all_wants, &nr);
	/* Without memory those of the last pass stay. */
	if (!mms)
		return;
	ks_scan_all_drop();
	for (i = 0; i < nr; i++) {
		struct ks_mm *km = ks_mm_get(mms[i]);

		if (km)
			km->all = true;
		mmdrop(mms[i]);
	}
	kvfree(mms);
	ks_mm_free_idle();
}

/**
 * ks_scan_all_set - take in the memory of all processes, or let go of it
 * @all: which
 *
 * What was merged in it stays merged. Context: process context, takes ks_lock.
 */
void ks_scan_all_set(bool all)
{
	down_write(&ks_lock);
	WRITE_ONCE(ks_policy.scan_all, all);
	if (!all) {
		ks_scan_all_drop();
		ks_mm_free_idle();
	}
	up_write(&ks_lock);
	ks_thread_kick();
}
