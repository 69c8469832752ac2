// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scan: round and round through all registered memory.
 *
 * A pass goes through every address space once, from its lowest address to its
 * highest, in steps:
 *
 *   take     the next pages from where the cursor is, and move it on (walk.c)
 *   judge    hash them and decide on each (judge.c)
 *   merge    those worth it (merge.c)
 *   settle   count what it came to
 *
 * Several threads may be amid steps of one scan (team.c). The cursor is moved
 * before the work is done, so that each takes what nobody else has; no two have
 * a page in common but for what fork() shares, which the one that comes second
 * finds pinned, and leaves for the next pass.
 *
 *   thread 1   take 0-511    judge . . . . . . merge   settle   take ...
 *   thread 2          take 512-1023   judge . . . . merge . .   settle
 *
 * Between two steps anything may happen to the memory, the address space and
 * the regions: a step relies on nothing that an earlier one saw. Passes begin
 * and end with no step under way.
 */
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "engine.h"
#include "ksm_trace.h"

/* So many pages can be visited, and found in no need of it, while one is read. */
#define KS_TRUSTED_PER_READ	8U
/* So many are left out with their block, or not there, while one of those is visited. */
#define KS_PASSED_BY_PER_TRUSTED	16U

/* Ticks in which an address space is tried whose mmap_lock is taken. */
#define KS_BUSY_TICKS		16U

/* Without a new pass: how soon the lists of the CPUs may be drained again. */
#define KS_DRAIN_INTERVAL	(HZ / 10)

/* Regions, tables and counters; see engine.h. */
DECLARE_RWSEM(ks_lock);
static DEFINE_MUTEX(ks_cursor_lock);
struct ks_counters ks_counters;

/* The thread's or a caller's: two that share a cursor would scan half each. */
DEFINE_MUTEX(ks_scan_turn);

/* Where the scan is. No km: between two passes. */
static struct {
	struct ks_mm *km;
	u64 last;			/* id of the pass' last km */
	unsigned long addr;
	unsigned int busy;
	unsigned long tried;		/* jiffies */
	bool pass_done;
} ks_cursor;

static struct {
	unsigned long pages_unshared;
	unsigned long pages_volatile;
} ks_this_pass;

/* Of the freezes of this pass; protected by ks_merge_lock. */
static struct {
	bool drained;
	unsigned long when;		/* jiffies */
} ks_drain;

/* Of whose turn it is. */
static struct ks_batch *ks_batch;

/* Pages that a huge page took beyond its scan's share. */
static unsigned int ks_debt;

/* Pages that were not read, or not even visited, and not yet charged. */
static unsigned int ks_trusted;
static unsigned int ks_passed_by;

enum ks_step {
	KS_STEP_TAKEN,	/* there is work to do */
	KS_STEP_NOTHING,
	KS_STEP_BUSY,
	KS_STEP_TURN,	/* a pass must end or begin first */
	KS_STEP_STOP,
};

/* What a step took. */
struct ks_work {
	struct ks_mm *km;		/* mm_users and mmap_lock taken */
	struct vm_area_struct *vma;
	const struct ks_given *given;
	unsigned long start;
	unsigned long end;
};

struct ks_batch *ks_batch_alloc(void)
{
	return kvzalloc(sizeof(struct ks_batch), GFP_KERNEL);
}

void ks_batch_free(struct ks_batch *b)
{
	kvfree(b);
}

int ks_scan_init(void)
{
	ks_batch = ks_batch_alloc();
	return ks_batch ? 0 : -ENOMEM;
}

void ks_scan_exit(void)
{
	ks_batch_free(ks_batch);
}

/*
 * Those that have come since the pass began are for the next one: or who comes and
 * goes, and is queued behind all others each time, could keep a pass from ending.
 */
static void ks_cursor_next_mm(void)
{
	struct ks_mm *km = ks_cursor.km;

	ks_cursor.addr = 0;
	ks_cursor.busy = 0;
	if (list_is_last(&km->link, &ks_mms) ||
	    list_next_entry(km, link)->id > ks_cursor.last) {
		ks_cursor.km = NULL;
		ks_cursor.pass_done = true;
	} else {
		ks_cursor.km = list_next_entry(km, link);
	}
}

/**
 * ks_scan_forget - an address space is about to go
 * @km: the address space
 *
 * Context: ks_lock held for writing.
 */
void ks_scan_forget(struct ks_mm *km)
{
	if (ks_cursor.km == km)
		ks_cursor_next_mm();
}

/* What the end of a pass would free, when there are no passes. */
static void ks_tidy(void)
{
	ks_mm_prune_dead();
	if (list_empty(&ks_mms))
		ks_candidates_shrink(ULONG_MAX >> PAGE_SHIFT);
	ks_kpages_reap();
	ks_kpages_unreserve();
}

/**
 * ks_scan_tidy - free what ended processes left
 *
 * Context: kernel thread, takes ks_lock.
 */
void ks_scan_tidy(void)
{
	down_write(&ks_lock);
	ks_tidy();
	up_write(&ks_lock);
}

/* Forget what this pass did not meet, where it went through. */
static void ks_sweep(void)
{
	struct ks_mm *km;

	ks_mm_prune_dead();
	list_for_each_entry(km, &ks_mms, link) {
		if (km->passed) {
			ks_sums_sweep(km);
			ks_zeros_sweep(km);
		}
		km->passed = false;
		cond_resched();
	}
}

static void ks_end_pass(void)
{
	ks_cursor.pass_done = false;
	ks_advisor_pass_ended();
	ks_sweep();
	ks_candidates_end_pass();
	ks_wanted_end_pass();
	ks_kpages_reap();
	ks_kpages_prune();
	ks_kpages_unreserve();
	ks_drain.drained = false;
	ks_counters.full_scans++;
	ks_counters.pages_unshared = ks_this_pass.pages_unshared;
	ks_counters.pages_volatile = ks_this_pass.pages_volatile;
	memset(&ks_this_pass, 0, sizeof(ks_this_pass));
	trace_ks_pass_end(&ks_counters);
}

/**
 * ks_scan_restart - go on with a new pass
 *
 * Of the one that is half over nothing counts: what it met is unmerged now.
 *
 * Context: ks_lock held for writing.
 */
void ks_scan_restart(void)
{
	struct ks_mm *km;

	if (!ks_cursor.km && !ks_cursor.pass_done)
		return;
	ks_cursor.km = NULL;
	ks_cursor.addr = 0;
	ks_cursor.busy = 0;
	ks_cursor.pass_done = false;
	list_for_each_entry(km, &ks_mms, link)
		km->passed = false;
	memset(&ks_this_pass, 0, sizeof(ks_this_pass));
	/* Else its notes would be of the new pass, and each page find its own. */
	ks_candidates_end_pass();
	ks_wanted_end_pass();
	ks_drain.drained = false;
}

/* Return: false: there is nothing to scan */
static bool ks_begin_pass(void)
{
	if (ks_adopting())
		ks_processes_adopt();
	if (READ_ONCE(ks_policy.scan_all))
		ks_scan_all_update();
	if (ks_nr_families)
		ks_children_take();
	ks_cursor.km = list_first_entry_or_null(&ks_mms, struct ks_mm, link);
	ks_cursor.addr = 0;
	if (!ks_cursor.km) {
		ks_tidy();
		return false;
	}
	ks_cursor.last = list_last_entry(&ks_mms, struct ks_mm, link)->id;
	ks_advisor_pass_began();
	trace_ks_pass_begin(ks_counters.full_scans + 1);
	return true;
}

/*
 * The pass must end, or the next one begin. Meanwhile another thread may have
 * seen to it.
 */
static void ks_turn(struct ks_scan *scan)
{
	down_write(&ks_lock);
	if (scan->over || scan->stop()) {
		/* not for us to do */
	} else if (ks_cursor.pass_done) {
		ks_end_pass();
		WRITE_ONCE(scan->over, true);
	} else if (!ks_cursor.km && !ks_begin_pass()) {
		scan->idle = true;
		WRITE_ONCE(scan->over, true);
	}
	up_write(&ks_lock);
}

static bool ks_cursor_locks_mm(void)
{
	if (mmap_read_trylock(ks_cursor.km->mm)) {
		ks_cursor.busy = 0;
		return true;
	}
	/* Whoever asks, and how many: a tick is one try. */
	if (!ks_cursor.busy || time_before(ks_cursor.tried, jiffies)) {
		ks_cursor.tried = jiffies;
		ks_cursor.busy++;
	}
	return false;
}

static void ks_take_span(struct ks_scan *scan, struct ks_batch *b, struct ks_work *w)
{
	unsigned long end;

	w->start = ks_cursor.addr;
	w->vma = ks_mm_next_span(w->km, &w->start, &end, &w->given);
	w->end = w->start;
	if (!w->vma)
		return;
	b->cut_before = w->start == ks_cursor.addr && w->start != w->vma->vm_start;
	b->keep_huge = READ_ONCE(ks_policy.thp_mode) == KS_THP_NEVER;
	b->only_exclusive = ks_builtin_may_run();
	ks_scope_of(w->km, w->given, &b->scope);
	w->end = ks_walk_collect(w->km, w->start, end, min(scan->pages, KS_BATCH), b);
	b->reserved = min(b->nr, scan->pages);
	WRITE_ONCE(scan->pages, scan->pages - b->reserved);
}

/* Context: ks_cursor_lock held. */
static enum ks_step ks_take(struct ks_scan *scan, struct ks_batch *b, struct ks_work *w)
{
	struct ks_mm *km = ks_cursor.km;

	if (!km)
		return KS_STEP_TURN;
	/* The end of the pass frees it. */
	if (!mmget_not_zero(km->mm)) {
		ks_cursor_next_mm();
		return KS_STEP_NOTHING;
	}
	if (ks_builtin_works_in(km->mm)) {
		mmput_async(km->mm);
		ks_cursor_next_mm();
		return KS_STEP_NOTHING;
	}
	if (!ks_cursor_locks_mm()) {
		mmput_async(km->mm);
		if (ks_cursor.busy > KS_BUSY_TICKS)
			ks_cursor_next_mm();
		return KS_STEP_BUSY;
	}

	w->km = km;
	ks_take_span(scan, b, w);
	ks_cursor.addr = w->end;
	if (w->end >= km->mm->task_size) {
		km->passed = true;
		ks_cursor_next_mm();
	}
	return KS_STEP_TAKEN;
}

/*
 * A page just faulted in waits in a list of its CPU's, on an idle CPU for ever.
 * Freezing it drains the lists of all CPUs, which takes a while: so let one
 * batch do it in a pass, and in a long pass one in every KS_DRAIN_INTERVAL. In
 * between only pages newer than that are off the LRU.
 */
static void ks_limit_drains(struct ks_batch *b)
{
	bool may = !ks_drain.drained ||
		   time_after(jiffies, ks_drain.when + KS_DRAIN_INTERVAL);
	unsigned int slot;

	for (slot = b->first; slot < b->last; slot++) {
		if (b->action[slot] != KS_MERGE || !b->off_lru[slot])
			continue;
		if (may) {
			ks_drain.drained = true;
			ks_drain.when = jiffies;
		} else {
			b->action[slot] = KS_LEAVE;
		}
	}
}

static void ks_merge(struct ks_scan *scan, struct ks_batch *b, const struct ks_work *w,
		     unsigned int worth)
{
	unsigned int merged;

	mutex_lock(&ks_merge_lock);
	ks_limit_drains(b);
	b->zeros = b->scope.zero_pages ? ks_zeros_get(w->km, b->addr) : NULL;
	merged = ks_merge_batch(w->vma, b, scan->merges);
	WRITE_ONCE(scan->merges, scan->merges - merged);
	mutex_unlock(&ks_merge_lock);
	trace_ks_merge(w->km->mm, b->addr, worth, merged);
	b->unmergeable += worth - merged;
}

static void ks_do(struct ks_scan *scan, struct ks_batch *b, const struct ks_work *w)
{
	unsigned int worth;
	bool split;

	ks_zeros_revisit(w->km, w->start, w->end);
	if (!b->nr && !b->napping)
		return;
	worth = ks_judge(w->km, b);
	if (!worth)
		return;
	if (b->huge) {
		split = ks_huge_may_split(worth, b->nr);
		trace_ks_huge(w->km->mm, ks_slot_addr(b, b->first), worth, b->nr, split);
		if (!split) {
			b->skipped += worth;
			return;
		}
	}
	ks_merge(scan, b, w, worth);
	if (b->mistaken)
		ks_judge_mistakes(w->km, b);
}

/* What a batch costs of the pages that this scan may look at. */
static void ks_charge(struct ks_scan *scan, const struct ks_batch *b)
{
	unsigned int pages = scan->pages + b->reserved;
	unsigned int cost = b->read;

	ks_passed_by += b->napped + b->absent;
	ks_trusted += b->trusted - b->napped + b->at_rest +
		      ks_passed_by / KS_PASSED_BY_PER_TRUSTED;
	ks_passed_by %= KS_PASSED_BY_PER_TRUSTED;
	cost += ks_trusted / KS_TRUSTED_PER_READ;
	ks_trusted %= KS_TRUSTED_PER_READ;
	/* Nothing is for nothing, or a pass over such memory would have no pause. */
	if (!b->read && (b->kept_huge || b->passed_over))
		cost++;

	ks_advisor_count(cost);
	if (cost > pages)
		ks_debt += cost - pages;
	WRITE_ONCE(scan->pages, pages - min(cost, pages));
}

static void ks_settle(struct ks_scan *scan, const struct ks_batch *b)
{
	mutex_lock(&ks_cursor_lock);
	ks_charge(scan, b);
	ks_this_pass.pages_unshared += b->unshared;
	ks_this_pass.pages_volatile += b->changed;
	ks_counters.pages_scanned += b->read;
	ks_counters.pages_skipped += b->kept_huge + b->trusted + b->skipped;
	ks_counters.pages_unmergeable += b->passed_over + b->unmergeable;
	mutex_unlock(&ks_cursor_lock);
}

static enum ks_step ks_scan_step(struct ks_scan *scan, struct ks_batch *b)
{
	struct ks_work w;
	enum ks_step step;

	if (scan->stop())
		return KS_STEP_STOP;
	mutex_lock(&ks_cursor_lock);
	step = ks_take(scan, b, &w);
	mutex_unlock(&ks_cursor_lock);
	if (step != KS_STEP_TAKEN)
		return step;

	if (w.vma)
		ks_do(scan, b, &w);
	mmap_read_unlock(w.km->mm);
	/* Not mmput(): the last user's whole memory would be freed right here. */
	mmput_async(w.km->mm);
	if (w.vma)
		ks_settle(scan, b);
	return step;
}

/**
 * ks_scan_begin - prepare a scan
 * @scan:      the scan
 * @pages:     how many pages to look at
 * @max_merge: most pages to merge, 0: no limit
 * @stop:      asked with ks_lock held whether to stop before a step
 *
 * Context: ks_scan_turn held until the scan has ended.
 */
void ks_scan_begin(struct ks_scan *scan, unsigned int pages, unsigned int max_merge,
		   bool (*stop)(void))
{
	unsigned int paid = min(ks_debt, pages);

	ks_debt -= paid;
	*scan = (struct ks_scan){
		.pages = pages - paid,
		.merges = max_merge ?: UINT_MAX,
		.stop = stop,
	};
}

/**
 * ks_scan_share - take part in a scan
 * @scan: the scan, which ends early at the end of a pass
 * @b:    a batch of one's own
 *
 * Context: process context, whoever prepared the scan holds ks_scan_turn; takes
 * ks_lock.
 */
void ks_scan_share(struct ks_scan *scan, struct ks_batch *b)
{
	enum ks_step step;

	while (READ_ONCE(scan->pages) && READ_ONCE(scan->merges) && !READ_ONCE(scan->over)) {
		ks_builtin_look();
		down_read(&ks_lock);
		step = ks_scan_step(scan, b);
		up_read(&ks_lock);

		if (step == KS_STEP_STOP)
			break;
		if (step == KS_STEP_TURN)
			ks_turn(scan);
		if (step == KS_STEP_BUSY)
			schedule_timeout_interruptible(1);
		else
			cond_resched();
	}
}

/**
 * ks_scan_alone - scan without the team
 * @scan: the scan
 *
 * Context: process context, ks_scan_turn held; takes ks_lock.
 */
void ks_scan_alone(struct ks_scan *scan)
{
	ks_scan_share(scan, ks_batch);
}
