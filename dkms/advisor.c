// SPDX-License-Identifier: GPL-2.0-only
/*
 * The advisor: sets pages_to_scan so that a pass takes a given time, and keeps
 * the threads together below a share of a CPU. Tunables as of the built-in KSM.
 *
 * A pass consists of work, whose CPU time depends on the memory alone, and of
 * pauses, whose number is inverse to pages_to_scan. So after a pass
 *
 *   pages_to_scan = pages a scan in that pass * pauses / (target - work)
 *
 * makes the next one take the target time, whatever the first guess was. With
 * 100000 pages, a work of 1 s, pauses of 20 ms and a target of 201 s:
 *
 *   pass 1   500 a scan: 200 pauses, 4 s.     500 * 4 s / 200 s = 10
 *   pass 2   10 a scan: 10000 pauses, 200 s.  10 * 200 s / 200 s = 10
 *
 * Where the work needs more than advisor_max_cpu in the target time, the time
 * that it may take counts as the target. A pass that is late doubles its pace
 * each time another target time is over, since its end may be far away.
 *
 * The limit on CPU time does not rely on any of that, which looks at whole
 * passes and stays within the limits of pages_to_scan. What a scan used is owed
 * as time: 4 ms at 10 % are 40 ms, and the pause is as long as what is owed.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mutex.h>
#include <linux/sched.h>

#include "engine.h"
#include "ksm_trace.h"

#define KS_PAGES_TO_SCAN	100U

/* Owing so much, the thread does not scan even if its pause is cut short. */
#define KS_OWED_MAX		(100 * NSEC_PER_MSEC)

/* Serializes who sets pages_to_scan and the mode. */
static DEFINE_MUTEX(ks_advisor_lock);

/* The mode has just been set: nothing is known of the pass under way. */
static bool ks_advisor_afresh;

/* Of the thread. Times in nanoseconds, of the pass under way. */
static struct {
	bool whole;		/* it was seen from its start */
	bool ended;
	u64 pages;
	u64 scans;
	u64 wall;
	u64 busy;		/* of it, amid scans */
	u64 work;		/* of all threads */
	unsigned int late;	/* target times that are over */

	u64 owed;		/* by all scans so far */
	u64 wall_start;		/* of the scan under way */
	u64 work_start;
	u64 busy_now;
} ks_advisor;

static bool ks_advisor_active(void)
{
	return READ_ONCE(ks_policy.advisor_mode) == KS_ADVISOR_SCAN_TIME;
}

static unsigned int ks_advisor_clamp(u64 pages)
{
	u64 low = READ_ONCE(ks_policy.advisor_min_pages_to_scan);
	u64 high = READ_ONCE(ks_policy.advisor_max_pages_to_scan);

	/* Where they contradict each other the lower one wins. */
	return max(min(max(pages, low), high), 1ULL);
}

/* The time in which @work may be done. */
static u64 ks_advisor_time_for(u64 work)
{
	unsigned int percent = READ_ONCE(ks_policy.advisor_max_cpu);

	if (percent >= 100)
		return work;
	return div_u64(work * 100, max(percent, 1U));
}

static u64 ks_advisor_target(void)
{
	return (u64)READ_ONCE(ks_policy.advisor_target_scan_time) * NSEC_PER_SEC;
}

/* What the pass that has ended says of the next one. */
static u64 ks_advisor_next(void)
{
	u64 target = max(ks_advisor_target(), ks_advisor_time_for(ks_advisor.work));
	u64 pauses = ks_advisor.wall - min(ks_advisor.wall, ks_advisor.busy);
	u64 pages = div64_u64(ks_advisor.pages, max(ks_advisor.scans, 1ULL));

	/* In milliseconds the product fits. */
	target = div_u64(target, NSEC_PER_MSEC);
	target -= min(target, div_u64(ks_advisor.busy, NSEC_PER_MSEC));
	pauses = div_u64(pauses, NSEC_PER_MSEC);
	if (!target)
		return U32_MAX;
	return div64_u64(min_t(u64, pages, U32_MAX) * min_t(u64, pauses, U32_MAX), target);
}

static void ks_advisor_new_pass(bool whole)
{
	ks_advisor.whole = whole;
	ks_advisor.ended = false;
	ks_advisor.pages = 0;
	ks_advisor.scans = 0;
	ks_advisor.wall = 0;
	ks_advisor.busy = 0;
	ks_advisor.work = 0;
	ks_advisor.late = 0;
}

static void ks_advisor_set(u64 pages)
{
	pages = ks_advisor_clamp(pages);
	trace_ks_advice(pages, ks_advisor.wall, ks_advisor.work);
	ks_pages_to_scan_set(pages, false);
}

static void ks_advisor_advise(void)
{
	struct ks_pace pace;

	ks_pace_get(&pace);
	if (ks_advisor.ended) {
		if (ks_advisor.whole)
			ks_advisor_set(ks_advisor_next());
		ks_advisor_new_pass(false);
	} else if (ks_advisor.pages &&
		   ks_advisor.wall > (ks_advisor.late + 1ULL) * ks_advisor_target()) {
		ks_advisor.late++;
		ks_advisor_set(2ULL * pace.pages_to_scan);
	}
}

/**
 * ks_advisor_scan_begins - a scan is due
 *
 * Context: kernel thread.
 * Return: false: not yet, the thread has used more CPU time than it may
 */
bool ks_advisor_scan_begins(void)
{
	mutex_lock(&ks_advisor_lock);
	if (ks_advisor_afresh)
		ks_advisor_new_pass(false);
	ks_advisor_afresh = false;
	mutex_unlock(&ks_advisor_lock);

	ks_advisor.wall_start = ktime_get_ns();
	ks_advisor.work_start = ks_team_runtime();
	return ks_advisor.owed <= KS_OWED_MAX || !ks_advisor_active();
}

/**
 * ks_advisor_pause - how long to pause after a scan
 * @us: what the pace says, in microseconds
 *
 * Context: kernel thread.
 * Return: the same, or more, in microseconds
 */
u64 ks_advisor_pause(u64 us)
{
	u64 work = ks_team_runtime() - ks_advisor.work_start;

	ks_advisor.busy_now = ktime_get_ns() - ks_advisor.wall_start;
	if (!ks_advisor_active())
		return us;
	/* The time that the work took is a part of it; next time counts that. */
	return max(us, div_u64(ks_advisor.owed + ks_advisor_time_for(work), NSEC_PER_USEC));
}

/**
 * ks_advisor_scan_ended - a scan and the pause after it are over
 *
 * Only now the scheduler has counted all that the scan used.
 *
 * Context: kernel thread.
 */
void ks_advisor_scan_ended(void)
{
	u64 wall = ktime_get_ns() - ks_advisor.wall_start;
	u64 work = ks_team_runtime() - ks_advisor.work_start;
	u64 owed = ks_advisor.owed + ks_advisor_time_for(work);

	if (!ks_advisor_active()) {
		ks_advisor.owed = 0;
		return;
	}
	ks_advisor.owed = owed - min(owed, wall);
	ks_advisor.wall += wall;
	ks_advisor.busy += ks_advisor.busy_now;
	ks_advisor.work += work;
	ks_advisor.scans++;

	/* The mode may change meanwhile, and what it set must stand. */
	mutex_lock(&ks_advisor_lock);
	if (ks_advisor_active() && !ks_advisor_afresh)
		ks_advisor_advise();
	mutex_unlock(&ks_advisor_lock);
}

/* A scan by a caller (scan_file.c) is not the thread's, nor paid for by it. */
static bool ks_advisor_concerned(void)
{
	return current->flags & PF_KTHREAD;
}

/* The scan came to the start of a pass. Context: as ks_advisor_pass_ended(). */
void ks_advisor_pass_began(void)
{
	if (ks_advisor_concerned())
		ks_advisor_new_pass(true);
}

/**
 * ks_advisor_pass_ended - the scan came to the end of a pass
 *
 * Context: of the scan; of the kernel thread's between ks_advisor_scan_begins()
 * and ks_advisor_scan_ended().
 */
void ks_advisor_pass_ended(void)
{
	if (ks_advisor_concerned())
		ks_advisor.ended = true;
}

/* So much of pages_to_scan was used. Context: as ks_advisor_pass_ended(). */
void ks_advisor_count(unsigned int pages)
{
	if (ks_advisor_concerned())
		ks_advisor.pages += pages;
}

static void ks_advisor_begin(void)
{
	ks_advisor_afresh = true;
	ks_pages_to_scan_set(ks_advisor_active() ? ks_advisor_clamp(0) : KS_PAGES_TO_SCAN,
			     true);
}

/**
 * ks_advisor_mode_set - choose who sets pages_to_scan
 * @mode: an enum ks_advisor_mode
 *
 * A change sets pages_to_scan: to where the advisor starts, or to its default.
 *
 * Context: process context.
 */
void ks_advisor_mode_set(unsigned int mode)
{
	mutex_lock(&ks_advisor_lock);
	if (READ_ONCE(ks_policy.advisor_mode) != mode) {
		WRITE_ONCE(ks_policy.advisor_mode, mode);
		ks_advisor_begin();
	}
	mutex_unlock(&ks_advisor_lock);
}

/**
 * ks_advisor_pages_set - somebody wants to set pages_to_scan
 * @pages: how many
 *
 * Context: process context.
 * Return: 0, or -EINVAL: the advisor sets it, or @pages is 0
 */
int ks_advisor_pages_set(unsigned int pages)
{
	int err;

	mutex_lock(&ks_advisor_lock);
	err = ks_advisor_active() ? -EINVAL : ks_pages_to_scan_set(pages, true);
	mutex_unlock(&ks_advisor_lock);
	return err;
}

/**
 * ks_advisor_pace_set - somebody wants to set the whole pace
 * @pace: the pace; pages_to_scan is checked, but left as it is while the
 *        advisor sets it, since who stops the thread must not be refused
 *
 * Context: process context.
 * Return: as ks_pace_set()
 */
int ks_advisor_pace_set(const struct ks_pace *pace)
{
	struct ks_pace new = *pace, now;
	int err;

	mutex_lock(&ks_advisor_lock);
	ks_pace_get(&now);
	if (ks_advisor_active() && pace->pages_to_scan)
		new.pages_to_scan = now.pages_to_scan;
	err = ks_pace_set(&new);
	mutex_unlock(&ks_advisor_lock);
	return err;
}
