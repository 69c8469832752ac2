// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel thread that scans, its pace and its run state.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "engine.h"

/* With nothing to scan: how often to look for memory to adopt. */
#define KS_IDLE_US		USEC_PER_SEC

/* Without work: how often to free what ended processes left. */
#define KS_TIDY_INTERVAL	(5 * HZ)

/* Below this a pause of jiffies would be too coarse. */
#define KS_FINE_PAUSE_US	(10 * USEC_PER_MSEC)

static DEFINE_MUTEX(ks_run_lock);
static unsigned int ks_run = KS_RUN_STOP;

/* How often merging was stopped, and whether it is to unmerge; under ks_lock. */
static unsigned int ks_stops;
static bool ks_unmerging;

static DEFINE_SPINLOCK(ks_pace_lock);
static struct ks_pace ks_pace = {
	.pages_to_scan = 100,
	.sleep_us = 20 * USEC_PER_MSEC,
};

static bool ks_adopt;

static DECLARE_WAIT_QUEUE_HEAD(ks_thread_wait);
static struct task_struct *ks_thread;
static bool ks_kicked;

static bool ks_thread_must_stop(void)
{
	return kthread_should_stop() || READ_ONCE(ks_run) != KS_RUN_MERGE ||
	       freezing(current);
}

static bool ks_thread_has_work(void)
{
	return READ_ONCE(ks_run) == KS_RUN_MERGE &&
	       (READ_ONCE(ks_adopt) || READ_ONCE(ks_policy.scan_all) ||
		!list_empty_careful(&ks_mms));
}

static void ks_thread_pause(u64 us)
{
	if (us && us < KS_FINE_PAUSE_US) {
		usleep_range_state(us, us + us / 8 + 1, TASK_IDLE);
		return;
	}
	if (us)
		wait_event_freezable_timeout(ks_thread_wait,
					     kthread_should_stop() || READ_ONCE(ks_kicked),
					     nsecs_to_jiffies(us * NSEC_PER_USEC));
	WRITE_ONCE(ks_kicked, false);
}

static int ks_thread_main(void *unused)
{
	set_freezable();
	set_user_nice(current, KS_THREAD_NICE);

	while (!kthread_should_stop()) {
		struct ks_scan scan;
		struct ks_pace pace;
		u64 pause;

		/* With work at hand and no pause the waits below do not sleep. */
		try_to_freeze();
		if (!wait_event_freezable_timeout(ks_thread_wait,
						  kthread_should_stop() ||
						  ks_thread_has_work(),
						  KS_TIDY_INTERVAL)) {
			ks_scan_tidy();
			continue;
		}
		ks_pace_get(&pace);
		pause = pace.sleep_us;
		if (!mutex_trylock(&ks_scan_turn)) {
			/* Not waiting: a caller's scan may be a long one. */
			ks_thread_pause(max_t(u64, pause, KS_FINE_PAUSE_US));
			continue;
		}
		ks_team_resize(READ_ONCE(ks_policy.scan_threads));
		if (ks_advisor_scan_begins()) {
			ks_scan_begin(&scan, pace.pages_to_scan, pace.max_merge,
				      ks_thread_must_stop);
			if (!ks_team_scan(&scan))
				pause = max_t(u64, pause, KS_IDLE_US);
		}
		mutex_unlock(&ks_scan_turn);
		ks_thread_pause(ks_advisor_pause(pause));
		ks_advisor_scan_ended();
		cond_resched();
	}
	ks_team_resize(1);
	return 0;
}

int ks_thread_start(void)
{
	ks_thread = kthread_run(ks_thread_main, NULL, "ksm_scan");
	return PTR_ERR_OR_ZERO(ks_thread);
}

void ks_thread_stop(void)
{
	kthread_stop(ks_thread);
}

/* There is new work, or a new pace: end the thread's pause. */
void ks_thread_kick(void)
{
	WRITE_ONCE(ks_kicked, true);
	wake_up(&ks_thread_wait);
}

/* The thread's number in the caller's PID namespace. */
int ks_thread_pid(void)
{
	return task_pid_vnr(ks_thread);
}

unsigned int ks_run_get(void)
{
	return READ_ONCE(ks_run);
}

/**
 * ks_run_set - start, stop or unmerge
 * @run: KS_RUN_STOP, KS_RUN_MERGE or KS_RUN_UNMERGE
 *
 * After a stop no step is under way when this returns.
 *
 * Context: process context, takes ks_run_lock and ks_lock.
 * Return: 0; -EINVAL for another value; of KS_RUN_UNMERGE what
 * ks_unmerge_everything() returned, with merging stopped
 */
int ks_run_set(unsigned int run)
{
	int err = 0;

	if (run > KS_RUN_UNMERGE)
		return -EINVAL;
	if (mutex_lock_interruptible(&ks_run_lock))
		return -ERESTARTNOHAND;
	if (run == KS_RUN_MERGE) {
		WRITE_ONCE(ks_run, KS_RUN_MERGE);
		ks_thread_kick();
	} else {
		WRITE_ONCE(ks_run, KS_RUN_STOP);
		/* A step asks for the state with the lock held. */
		down_write(&ks_lock);
		ks_stops++;
		ks_unmerging = run == KS_RUN_UNMERGE;
		up_write(&ks_lock);
		if (run == KS_RUN_UNMERGE) {
			err = ks_unmerge_everything();
			if (!err)
				WRITE_ONCE(ks_run, KS_RUN_UNMERGE);
			down_write(&ks_lock);
			ks_unmerging = false;
			ks_kpages_reap();
			ks_scan_restart();
			up_write(&ks_lock);
		}
	}
	mutex_unlock(&ks_run_lock);
	return err;
}

/**
 * ks_scan_permit - may somebody else than the thread scan?
 * @permit: out: what ks_scan_permit_ended() takes
 *
 * Also with run=0. The next stop ends the permit.
 *
 * Context: process context, takes ks_lock.
 * Return: 0; -EBUSY: memory is being unmerged, or was and is to stay so (run=2)
 */
int ks_scan_permit(unsigned int *permit)
{
	int err = 0;

	down_write(&ks_lock);
	if (ks_unmerging || ks_run_get() == KS_RUN_UNMERGE)
		err = -EBUSY;
	*permit = ks_stops;
	up_write(&ks_lock);
	return err;
}

/* Has a stop come since? Context: ks_lock held. */
bool ks_scan_permit_ended(unsigned int permit)
{
	return permit != ks_stops;
}

void ks_pace_get(struct ks_pace *pace)
{
	spin_lock(&ks_pace_lock);
	*pace = ks_pace;
	spin_unlock(&ks_pace_lock);
}

/**
 * ks_pace_set - set how fast to scan
 * @pace: the new pace, taken as a whole or not at all
 *
 * Return: 0, or -EINVAL: no pages to scan
 */
int ks_pace_set(const struct ks_pace *pace)
{
	if (!pace->pages_to_scan)
		return -EINVAL;
	spin_lock(&ks_pace_lock);
	ks_pace = *pace;
	spin_unlock(&ks_pace_lock);
	ks_thread_kick();
	return 0;
}

/**
 * ks_pages_to_scan_set - set of the pace only how many pages
 * @pages: how many, at least 1
 * @kick:  end the thread's pause
 *
 * Return: 0 or -EINVAL
 */
int ks_pages_to_scan_set(unsigned int pages, bool kick)
{
	if (!pages)
		return -EINVAL;
	spin_lock(&ks_pace_lock);
	ks_pace.pages_to_scan = pages;
	spin_unlock(&ks_pace_lock);
	if (kick)
		ks_thread_kick();
	return 0;
}

/* Of the pace only the pause, in microseconds. */
void ks_sleep_us_set(u64 us)
{
	spin_lock(&ks_pace_lock);
	ks_pace.sleep_us = us;
	spin_unlock(&ks_pace_lock);
	ks_thread_kick();
}

bool ks_adopting(void)
{
	return READ_ONCE(ks_adopt);
}

/**
 * ks_adopting_set - take in memory marked MADV_MERGEABLE, or let go of it
 * @adopt: which
 *
 * What was merged in it stays merged. Context: process context, takes ks_lock.
 */
void ks_adopting_set(bool adopt)
{
	down_write(&ks_lock);
	WRITE_ONCE(ks_adopt, adopt);
	if (!adopt)
		ks_mm_disown_all();
	up_write(&ks_lock);
	ks_thread_kick();
}
