// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scan: round and round through all registered memory.
 *
 * A pass goes through every address space once, from its lowest address to its
 * highest, in steps. A step locks, takes the next pages (walk.c), hashes them,
 * decides on each and merges those worth it (merge.c), and unlocks. What is
 * decided of a page:
 *
 *   its sum changed since the last pass    volatile: leave it
 *   a merged page has its hash             merge
 *   another page had it, now or last pass  merge
 *   otherwise                              unshared: leave it
 *
 * Between two steps anything may happen to the memory, the address space and
 * the regions: a step relies on nothing that an earlier one saw.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "engine.h"

/* Split a huge page when at least one in so many of its pages would merge. */
#define KS_HUGE_SHARE		8U

/* Tries at an address space whose mmap_lock is taken, a tick apart. */
#define KS_BUSY_TRIES		16U

/* Regions, tables and counters; see engine.h. */
DEFINE_MUTEX(ks_lock);
struct ks_counters ks_counters;

/* Where the scan is. No km: before the first address space of a pass. */
static struct {
	struct ks_mm *km;
	unsigned long addr;
	unsigned int busy;
	bool pass_done;
} ks_cursor;

static struct {
	unsigned long pages_unshared;
	unsigned long pages_volatile;
	bool drained;
} ks_this_pass;

static struct ks_batch *ks_batch;

/* Pages that a huge page took beyond its scan's share. */
static unsigned int ks_debt;

enum ks_step {
	KS_STEP_DONE,
	KS_STEP_BUSY,
	KS_STEP_PASS_END,
	KS_STEP_IDLE,
};

int ks_scan_init(void)
{
	ks_batch = kvzalloc(sizeof(*ks_batch), GFP_KERNEL);
	return ks_batch ? 0 : -ENOMEM;
}

void ks_scan_exit(void)
{
	kvfree(ks_batch);
}

static void ks_cursor_next_mm(void)
{
	struct ks_mm *km = ks_cursor.km;

	ks_cursor.addr = 0;
	ks_cursor.busy = 0;
	if (list_is_last(&km->link, &ks_mms)) {
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
 * Context: ks_lock held.
 */
void ks_scan_forget(struct ks_mm *km)
{
	if (ks_cursor.km == km)
		ks_cursor_next_mm();
}

static void ks_end_pass(void)
{
	ks_cursor.pass_done = false;
	ks_candidates_end_pass();
	ks_kpages_reap();
	ks_kpages_unreserve();
	ks_counters.full_scans++;
	ks_counters.pages_unshared = ks_this_pass.pages_unshared;
	ks_counters.pages_volatile = ks_this_pass.pages_volatile;
	memset(&ks_this_pass, 0, sizeof(ks_this_pass));
}

/* What the end of a pass would free, when there are no passes. */
static void ks_tidy(void)
{
	ks_mm_prune_dead();
	if (list_empty(&ks_mms))
		ks_candidates_end_pass();
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
	mutex_lock(&ks_lock);
	ks_tidy();
	mutex_unlock(&ks_lock);
}

static enum ks_action ks_decide(struct page *page, u64 hash, u32 *sum)
{
	u32 now = (u32)hash ?: 1;
	bool stable = *sum == now;
	bool known;

	/* Also of a volatile page: its content may be one that stays elsewhere. */
	known = ks_kpage_find(hash) || ks_candidate_seen(hash, page);
	*sum = now;
	if (!stable) {
		ks_this_pass.pages_volatile++;
		return KS_LEAVE;
	}
	if (!known) {
		ks_this_pass.pages_unshared++;
		return KS_LEAVE;
	}
	return KS_MERGE;
}

/*
 * A page just faulted in waits in a list of its CPU's, on an idle CPU for ever.
 * Freezing it drains the lists of all CPUs, which takes a while: so let one
 * batch do it in a pass, after which only pages newer than that are off the LRU.
 */
static void ks_limit_drains(struct ks_batch *b)
{
	unsigned int slot;
	bool drain = false;

	for (slot = b->first; slot < b->last; slot++) {
		if (b->action[slot] != KS_MERGE || !b->off_lru[slot])
			continue;
		if (ks_this_pass.drained)
			b->action[slot] = KS_LEAVE;
		else
			drain = true;
	}
	ks_this_pass.drained |= drain;
}

/* Hash and decide; drops the pages' references, which would count as pins. */
static unsigned int ks_judge(struct ks_mm *km, struct ks_batch *b)
{
	u32 *sums = ks_sums_get(km, b->addr);
	unsigned int slot, worth = 0;

	for (slot = b->first; slot < b->last; slot++) {
		struct page *page = b->page[slot];

		b->action[slot] = KS_LEAVE;
		if (!page)
			continue;
		if (sums) {
			b->hash[slot] = ks_page_hash(page);
			b->action[slot] = ks_decide(page, b->hash[slot], &sums[slot]);
		}
		put_page(page);
		b->page[slot] = NULL;
		if (b->action[slot] == KS_MERGE)
			worth++;
		cond_resched();
	}
	return worth;
}

static unsigned long ks_scan_span(struct ks_mm *km, struct vm_area_struct *vma,
				  unsigned long start, unsigned long end,
				  unsigned int *pages, unsigned int *merges)
{
	struct ks_batch *b = ks_batch;
	unsigned int worth, merged;
	unsigned long next;

	next = ks_walk_collect(km->mm, start, end, min(*pages, KS_BATCH), b);
	ks_counters.pages_skipped += b->passed_over;
	if (!b->nr)
		return next;

	worth = ks_judge(km, b);
	ks_counters.pages_scanned += b->nr;
	if (b->nr > *pages) {
		ks_debt += b->nr - *pages;
		*pages = 0;
	} else {
		*pages -= b->nr;
	}

	if (!worth)
		return next;
	if (b->huge && worth * KS_HUGE_SHARE < b->nr) {
		ks_counters.pages_skipped += worth;
		return next;
	}
	ks_limit_drains(b);
	merged = ks_merge_batch(vma, b, *merges);
	ks_counters.pages_skipped += worth - merged;
	*merges -= merged;
	return next;
}

static enum ks_step ks_scan_step(unsigned int *pages, unsigned int *merges)
{
	struct vm_area_struct *vma;
	unsigned long start, end;
	struct ks_mm *km;

	if (ks_cursor.pass_done) {
		ks_end_pass();
		return KS_STEP_PASS_END;
	}
	if (!ks_cursor.km) {
		if (ks_adopting())
			ks_processes_adopt();
		ks_cursor.km = list_first_entry_or_null(&ks_mms, struct ks_mm, link);
		ks_cursor.addr = 0;
		if (!ks_cursor.km) {
			ks_tidy();
			return KS_STEP_IDLE;
		}
	}

	km = ks_cursor.km;
	if (!mmget_not_zero(km->mm)) {
		ks_mm_free(km);
		return KS_STEP_DONE;
	}
	if (ks_builtin_works_in(km->mm)) {
		mmput_async(km->mm);
		ks_cursor_next_mm();
		return KS_STEP_DONE;
	}
	if (!mmap_read_trylock(km->mm)) {
		mmput_async(km->mm);
		if (++ks_cursor.busy == KS_BUSY_TRIES)
			ks_cursor_next_mm();
		return KS_STEP_BUSY;
	}
	ks_cursor.busy = 0;

	start = ks_cursor.addr;
	vma = ks_mm_next_span(km, &start, &end);
	if (vma)
		start = ks_scan_span(km, vma, start, end, pages, merges);
	ks_cursor.addr = start;
	mmap_read_unlock(km->mm);
	/* Not mmput(): the last user's whole memory would be freed right here. */
	mmput_async(km->mm);

	if (start >= km->mm->task_size) {
		ks_sums_sweep(km);
		ks_cursor_next_mm();
	}
	return KS_STEP_DONE;
}

/**
 * ks_scan_some - scan
 * @pages:     how many pages to look at
 * @max_merge: most pages to merge, 0: no limit
 * @stop:      asked with ks_lock held whether to stop before a step
 *
 * Ends early at the end of a pass.
 *
 * Context: kernel thread, takes ks_lock.
 * Return: false when there is nothing to scan
 */
bool ks_scan_some(unsigned int pages, unsigned int max_merge, bool (*stop)(void))
{
	unsigned int merges = max_merge ?: UINT_MAX;
	unsigned int paid = min(ks_debt, pages);
	enum ks_step step;

	ks_debt -= paid;
	pages -= paid;
	while (pages && merges) {
		ks_builtin_look();
		mutex_lock(&ks_lock);
		if (stop()) {
			mutex_unlock(&ks_lock);
			break;
		}
		step = ks_scan_step(&pages, &merges);
		mutex_unlock(&ks_lock);

		if (step == KS_STEP_PASS_END)
			break;
		if (step == KS_STEP_IDLE)
			return false;
		if (step == KS_STEP_BUSY)
			schedule_timeout_interruptible(1);
		else
			cond_resched();
	}
	return true;
}
