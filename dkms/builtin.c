// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own KSM: where it works we must not.
 *
 * When ksmd merges two pages it makes a KSM page of one of them, lets go of its
 * lock, and only then, after it has replaced the other, enters it where a walk
 * from the page to its users finds them. migrate_vma_setup() takes its pages
 * from the page table but puts them back by such a walk. A page frozen in
 * between would never be put back: its users would wait for it for ever, and
 * core mm stumble over it:
 *
 *   ksmd                            we
 *   lock A, make it a KSM page
 *   unlock A
 *                                   lock A, put a migration entry for it
 *                                   A has a reference too many (ksmd's): put
 *                                   it back; no user found; unlock A
 *   replace B by A
 *   enter A's users
 *
 * ksmd works in address spaces that asked for MADV_MERGEABLE at some time: so
 * those are left alone while it runs. It may turn a page into a KSM page that
 * fork() shares with one that did not ask, and does not enter that at all. So in
 * others only pages are taken that their entries tell to be exclusive: to share
 * such a page takes mmap_lock for writing.
 *
 * Nothing exported tells whether ksmd runs, but its attribute "run" does. Where
 * that cannot be seen, it may.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/magic.h>

#include "compat.h"
#include "engine.h"

#define KS_BUILTIN_RUN	"/sys/kernel/mm/ksm/run"

static struct file *ks_builtin_file;
static bool ks_builtin_runs;
static unsigned long ks_builtin_looked;	/* jiffies */

/* Whether it may run, or -ENOMEM. */
static int ks_builtin_read(void)
{
	char text[8];
	loff_t pos = 0;
	ssize_t n = kernel_read(ks_builtin_file, text, sizeof(text), &pos);

	if (n == -ENOMEM)
		return n;
	return n <= 0 || text[0] == '1';
}

/**
 * ks_builtin_open - get ready to look
 *
 * The file stays open and has been read, so that no look needs memory and kills
 * somebody for it.
 *
 * Context: process context of the task that loads the module.
 * Return: 0 or -ENOMEM
 */
int ks_builtin_open(void)
{
	struct file *file = filp_open(KS_BUILTIN_RUN, O_RDONLY, 0);
	int runs;

	if (!IS_ENABLED(CONFIG_KSM) && PTR_ERR_OR_ZERO(file) == -ENOENT)
		return 0;
	if (PTR_ERR_OR_ZERO(file) == -ENOMEM)
		return -ENOMEM;
	if (IS_ERR(file) || file_inode(file)->i_sb->s_magic != SYSFS_MAGIC) {
		pr_warn("cannot see whether the built-in KSM runs: MADV_MERGEABLE memory is left alone\n");
		if (!IS_ERR(file))
			filp_close(file, NULL);
		ks_builtin_runs = true;
		return 0;
	}
	ks_builtin_file = file;
	ks_builtin_looked = jiffies;
	runs = ks_builtin_read();
	if (runs == -ENOMEM) {
		ks_builtin_close();
		return -ENOMEM;
	}
	ks_builtin_runs = runs;
	return 0;
}

void ks_builtin_close(void)
{
	if (ks_builtin_file)
		filp_close(ks_builtin_file, NULL);
}

/**
 * ks_builtin_look - look whether the built-in KSM runs
 *
 * Not in every step, but in every tick. Left to chance is a ksmd that is started,
 * has found two equal pages and is amid merging them before that tick is over
 * and the step that had begun.
 *
 * Context: kernel thread. No locks, since the attributes of sysfs have some of
 * their own. May sleep.
 */
void ks_builtin_look(void)
{
	if (ks_builtin_file && time_is_before_jiffies(READ_ONCE(ks_builtin_looked))) {
		WRITE_ONCE(ks_builtin_looked, jiffies);
		WRITE_ONCE(ks_builtin_runs, ks_builtin_read());
	}
}

/* May the built-in KSM be at work? */
bool ks_builtin_may_run(void)
{
	return READ_ONCE(ks_builtin_runs);
}

/**
 * ks_builtin_works_in - may the built-in KSM be at work in an address space?
 * @mm: the address space
 *
 * Context: kernel thread.
 */
bool ks_builtin_works_in(struct mm_struct *mm)
{
	return ks_builtin_may_run() && ks_mm_wants_merging(mm);
}
