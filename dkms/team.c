// SPDX-License-Identifier: GPL-2.0-only
/*
 * The team: threads that help the scanning thread (thread.c), which leads it.
 *
 * A scan is posted for all of them, and each takes steps of it until its pages
 * are used up. So pages_to_scan, the pause, stops and passes are what they are
 * with one thread; only the work between two pauses takes less time:
 *
 *   scan_threads 1   |==== step ====|==== step ====|   pause   |==== ...
 *   scan_threads 2   |==== step ====|   pause   |==== step ====| ...
 *                    |==== step ====|           |==== step ====|
 *
 * Nobody is waited for who has not begun: a thread joins what is posted, or
 * comes too late and sleeps on. The leader waits for those that joined, and
 * these heed the same stops as it does, so neither a stop nor the freezer waits
 * for more than a step.
 *
 * Threads are started and ended by the leader between two scans, by what
 * scan_threads says then. Where one cannot be started the others do the work,
 * and it is tried again.
 */
#include <linux/err.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "engine.h"

struct ks_helper {
	struct task_struct *task;
	struct ks_batch *batch;
};

/* Changed by the leader only, under ks_helpers_lock, for those that list them. */
static DEFINE_MUTEX(ks_helpers_lock);
static struct ks_helper ks_helper[KS_THREADS_MAX - 1];
static unsigned int ks_nr_helpers;

/* CPU time of helpers that have ended, in nanoseconds. */
static u64 ks_ended_runtime;

/* What is posted, as the ks_posted_nr-th, and who is at it. */
static DEFINE_SPINLOCK(ks_post_lock);
static struct ks_scan *ks_posted;
static unsigned int ks_posted_nr;
static unsigned int ks_nr_joined;
static DECLARE_WAIT_QUEUE_HEAD(ks_posted_wait);
static DECLARE_WAIT_QUEUE_HEAD(ks_left_wait);

static struct ks_scan *ks_team_join(unsigned int *seen)
{
	struct ks_scan *scan;

	spin_lock(&ks_post_lock);
	*seen = ks_posted_nr;
	scan = ks_posted;
	if (scan)
		ks_nr_joined++;
	spin_unlock(&ks_post_lock);
	return scan;
}

static void ks_team_leave(void)
{
	spin_lock(&ks_post_lock);
	if (!--ks_nr_joined)
		wake_up(&ks_left_wait);
	spin_unlock(&ks_post_lock);
}

static int ks_helper_main(void *batch)
{
	unsigned int seen = 0;

	set_freezable();
	set_user_nice(current, KS_THREAD_NICE);

	while (!kthread_should_stop()) {
		struct ks_scan *scan;

		wait_event_freezable(ks_posted_wait, kthread_should_stop() ||
				     seen != READ_ONCE(ks_posted_nr));
		scan = ks_team_join(&seen);
		if (scan) {
			ks_scan_share(scan, batch);
			ks_team_leave();
		}
	}
	return 0;
}

/**
 * ks_team_scan - scan with all threads
 * @scan: the scan
 *
 * Context: the leader, ks_scan_turn held; takes ks_lock.
 * Return: false when there is nothing to scan
 */
bool ks_team_scan(struct ks_scan *scan)
{
	/* What one step can do is not worth waking anybody for. */
	if (!ks_nr_helpers || scan->pages <= KS_BATCH) {
		ks_scan_alone(scan);
		return !scan->idle;
	}

	spin_lock(&ks_post_lock);
	ks_posted = scan;
	ks_posted_nr++;
	spin_unlock(&ks_post_lock);
	wake_up_all(&ks_posted_wait);

	ks_scan_alone(scan);
	/* It may have been told to stop, as the others are not. */
	WRITE_ONCE(scan->over, true);

	spin_lock(&ks_post_lock);
	ks_posted = NULL;
	spin_unlock(&ks_post_lock);
	wait_event_idle(ks_left_wait, !READ_ONCE(ks_nr_joined));
	return !scan->idle;
}

static int ks_helper_start(struct ks_helper *helper, unsigned int nr)
{
	helper->batch = ks_batch_alloc();
	if (!helper->batch)
		return -ENOMEM;
	helper->task = kthread_run(ks_helper_main, helper->batch, "ksm_scan/%u", nr);
	if (IS_ERR(helper->task)) {
		ks_batch_free(helper->batch);
		return PTR_ERR(helper->task);
	}
	/* What it used can be asked for also after it has ended. */
	get_task_struct(helper->task);
	return 0;
}

static void ks_helper_end(struct ks_helper *helper)
{
	kthread_stop(helper->task);
	ks_ended_runtime += helper->task->se.sum_exec_runtime;
	put_task_struct(helper->task);
	ks_batch_free(helper->batch);
}

/**
 * ks_team_resize - have so many threads
 * @threads: with the leader, at least 1 and at most KS_THREADS_MAX
 *
 * Context: the leader, no scan under way. May sleep.
 */
void ks_team_resize(unsigned int threads)
{
	if (ks_nr_helpers == threads - 1)
		return;
	mutex_lock(&ks_helpers_lock);
	while (ks_nr_helpers > threads - 1)
		ks_helper_end(&ks_helper[--ks_nr_helpers]);
	while (ks_nr_helpers < threads - 1 &&
	       !ks_helper_start(&ks_helper[ks_nr_helpers], ks_nr_helpers + 1))
		ks_nr_helpers++;
	mutex_unlock(&ks_helpers_lock);
}

/**
 * ks_team_runtime - CPU time that all threads have used, in nanoseconds
 *
 * Up to date for those that sleep. Context: the leader.
 */
u64 ks_team_runtime(void)
{
	u64 sum = current->se.sum_exec_runtime + ks_ended_runtime;
	unsigned int i;

	for (i = 0; i < ks_nr_helpers; i++)
		sum += ks_helper[i].task->se.sum_exec_runtime;
	return sum;
}

/* Their numbers in the caller's PID namespace, after the leader's. */
ssize_t ks_team_pids(char *buf, ssize_t at)
{
	ssize_t len = 0;
	unsigned int i;

	mutex_lock(&ks_helpers_lock);
	for (i = 0; i < ks_nr_helpers; i++)
		len += sysfs_emit_at(buf, at + len, " %d", task_pid_vnr(ks_helper[i].task));
	mutex_unlock(&ks_helpers_lock);
	return len;
}
