// SPDX-License-Identifier: GPL-2.0-only
/*
 * ksm.ko: samepage merging of private anonymous memory.
 *
 * The driver of 2008 needed a patched kernel. This one does not: it freezes
 * pages by migrate_vma_setup(), which core mm exports for device drivers, and
 * replaces frozen pages by a copy-on-write page that all their users share.
 *
 *   device.c      /dev/ksm, what users ask for
 *   sysfs.c       what administrators set and read
 *   sharing.c     of which, what may be shared and how often
 *   policy.c      how administrators want memory scanned
 *   region.c      which memory may be merged
 *   span.c        which part of it comes next
 *   domain.c      with what
 *   task_mem.c    other tasks' memory, by /proc/PID/mem
 *   processes.c   the memory of all processes
 *   scan_all.c    which of them to merge without being asked
 *   exclude.c     and users who are left out then
 *   children.c    the memory of a task's children
 *   builtin.c     where the kernel's own KSM works
 *   thread.c      when to scan
 *   advisor.c     how fast, unless an administrator says so
 *   team.c        with how many threads
 *   scan.c        a pass, and a step
 *   judge.c       what becomes of a page
 *   huge.c        huge pages: which to split
 *   age.c         pages that need not be read again
 *   scan_file.c   a scan that somebody else than the thread does
 *   walk.c        page tables
 *   sums.c        did a page change?
 *   candidates.c  did another have the same content?
 *   kpage.c       merged pages
 *   shrinker.c    memory given back under pressure
 *   merge.c       freeze, compare, replace
 *   zero.c        empty pages
 *   unmerge.c     the way back
 *   trace.c       trace events, see ksm_trace.h
 *   extent.c      registered memory, to be walked without locks
 *   statistics.c  what merging does for an area or a task
 *   list.c        which regions there are that no descriptor stands for
 *   compat.h      what differs between kernels
 *
 * Object lifetimes and the lock order: engine.h.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/time64.h>

#include "engine.h"

static unsigned int run;
module_param(run, uint, 0);
MODULE_PARM_DESC(run, "at load: 0 idle, 1 merge (default 0)");

static unsigned int pages_to_scan = 100;
module_param(pages_to_scan, uint, 0);
MODULE_PARM_DESC(pages_to_scan, "pages looked at in one scan, at least 1 (default 100)");

static unsigned int sleep_millisecs = 20;
module_param(sleep_millisecs, uint, 0);
MODULE_PARM_DESC(sleep_millisecs, "pause between two scans (default 20)");

static unsigned int adopt_mergeable;
module_param(adopt_mergeable, uint, 0);
MODULE_PARM_DESC(adopt_mergeable, "1: merge what is marked MADV_MERGEABLE (default 0)");

static int __init ks_check_params(void)
{
	if (run > KS_RUN_MERGE)
		pr_err("run=%u: 0 or 1 at load\n", run);
	else if (!pages_to_scan)
		pr_err("pages_to_scan=0: at least 1\n");
	else if (adopt_mergeable > 1)
		pr_err("adopt_mergeable=%u: 0 or 1\n", adopt_mergeable);
	else
		return 0;
	return -EINVAL;
}

static int __init ks_init(void)
{
	struct ks_pace pace = {
		.pages_to_scan = pages_to_scan,
		.sleep_us = (u64)sleep_millisecs * USEC_PER_MSEC,
	};
	int err;

	err = ks_check_params() ?: ks_policy_init();
	if (err)
		return err;
	/* Not for good without what would be there a moment later. */
	err = ks_task_mem_learn();
	if (err == -ENOMEM)
		return err;
	if (err)
		pr_warn("no /proc/self/mem at load: other tasks' memory cannot be registered\n");

	err = ks_sharing_init();
	if (err)
		return err;
	err = ks_builtin_open();
	if (err)
		return err;
	ks_hash_init();
	ks_candidates_init();
	err = ks_sums_init();
	if (err)
		goto fail_sums;
	err = ks_wanted_init();
	if (err)
		goto fail_wanted;
	err = ks_kpages_init();
	if (err)
		goto fail_kpages;
	err = ks_scan_init();
	if (err)
		goto fail_scan;
	err = ks_shrinker_init();
	if (err)
		goto fail_shrinker;
	err = ks_thread_start();
	if (err)
		goto fail_thread;
	err = ks_pace_set(&pace);
	if (err)
		goto fail_device;
	ks_adopting_set(adopt_mergeable);
	ks_policy_start();
	err = ks_device_register();
	if (err)
		goto fail_device;
	if (run)
		ks_run_set(KS_RUN_MERGE);
	return 0;

fail_device:
	ks_thread_stop();
fail_thread:
	ks_shrinker_exit();
fail_shrinker:
	ks_scan_exit();
fail_scan:
	ks_kpages_exit();
fail_kpages:
	ks_wanted_exit();
fail_wanted:
	ks_sums_exit();
fail_sums:
	ks_builtin_close();
	return err;
}

static void __exit ks_exit(void)
{
	ks_device_unregister();
	ks_thread_stop();
	ks_shrinker_exit();
	down_write(&ks_lock);
	ks_mm_free_all();
	up_write(&ks_lock);
	ks_scan_exit();
	ks_candidates_exit();
	ks_kpages_exit();
	ks_wanted_exit();
	ks_sums_exit();
	ks_builtin_close();
}

module_init(ks_init);
module_exit(ks_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Samepage merging of private anonymous memory, of any task");
MODULE_AUTHOR("The ksm-fleet developers");
MODULE_VERSION(KSM_VERSION);
