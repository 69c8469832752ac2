// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scan descriptors: a scan in its caller's context, at its caller's pace.
 *
 * KSM_SCAN takes the thread's place for a while. There is one cursor and one
 * account of pages to scan, so it goes on where the thread was, and the thread
 * sits out until it has ended:
 *
 *   thread    |=====|                  |=====|
 *   KSM_SCAN          |======|  |====|          one or the other, never both
 *
 * A descriptor holds nothing, so any number of them may be open; what they ask
 * for is done in turn.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/ksm_dev.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "engine.h"

/* What the scan under way may do; protected by ks_scan_turn. */
static unsigned int ks_caller_permit;

static bool ks_caller_must_stop(void)
{
	return signal_pending(current) || ks_scan_permit_ended(ks_caller_permit);
}

static int ks_scan_by_caller(const struct ksm_user_scan *scan)
{
	struct ks_scan turn;
	int err;

	if (!scan->pages_to_scan)
		return -EINVAL;
	if (mutex_lock_interruptible(&ks_scan_turn))
		return -ERESTARTNOHAND;
	err = ks_scan_permit(&ks_caller_permit);
	if (!err) {
		ks_scan_begin(&turn, scan->pages_to_scan, scan->max_pages_to_merge,
			      ks_caller_must_stop);
		ks_scan_alone(&turn);
		if (turn.idle)
			err = -EAGAIN;
	}
	mutex_unlock(&ks_scan_turn);
	if (!err && signal_pending(current))
		err = -ERESTARTNOHAND;
	return err;
}

static long ks_scan_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct ksm_user_scan scan;

	if (cmd != KSM_SCAN)
		return -ENOTTY;
	/* Of who calls, not of who made it: it may have been handed on. */
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (copy_from_user(&scan, (void __user *)arg, sizeof(scan)))
		return -EFAULT;
	return ks_scan_by_caller(&scan);
}

static const struct file_operations ks_scan_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = ks_scan_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/**
 * ks_scan_create - make a scan descriptor
 *
 * Context: process context.
 * Return: the descriptor, -EPERM without CAP_SYS_ADMIN, -ENOMEM, -EMFILE, -ENFILE
 */
int ks_scan_create(void)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	return anon_inode_getfd("[ksm-scan]", &ks_scan_fops, NULL, O_RDWR);
}
