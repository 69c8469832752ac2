// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scan: round and round through all registered memory.
 *
 * A pass goes through every address space once, from its lowest address to its
 * highest, in steps. A step locks, takes the next pages (walk.c), hashes them,
 * decides on each and merges those worth it (merge.c), and unlocks. What is
 * decided of a page that is read:
 *
 *   its sum changed since the last pass    volatile: leave it
 *   a merged page has its hash             merge
 *   another page had it, now or last pass  merge
 *   otherwise                              unshared: leave it
 *
 * Not every page is read in every pass: see huge.c and age.c.
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
#include "ksm_trace.h"

/* So many pages can be looked up in the tables while one is read. */
#define KS_TRUSTED_PER_READ	8U

/* Tries at an address space whose mmap_lock is taken, a tick apart. */
#define KS_BUSY_TRIES		16U

/* Regions, tables and counters; see engine.h. */
DEFINE_MUTEX(ks_lock);
struct ks_counters ks_counters;

/* The thread's or a caller's: two that share a cursor would scan half each. */
DEFINE_MUTEX(ks_scan_turn);

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

/* Pages that were not read, and not yet charged. */
static unsigned int ks_trusted;

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
	ks_advisor_pass_ended();
	ks_candidates_end_pass();
	ks_kpages_reap();
	ks_kpages_prune();
	ks_kpages_unreserve();
	ks_counters.full_scans++;
	ks_counters.pages_unshared = ks_this_pass.pages_unshared;
	ks_counters.pages_volatile = ks_this_pass.pages_volatile;
	memset(&ks_this_pass, 0, sizeof(ks_this_pass));
	trace_ks_pass_end(&ks_counters);
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

static enum ks_action ks_decide(struct ks_batch *b, struct ks_sums *s,
				unsigned int slot, bool known)
{
	u64 hash = b->hash[slot];
	bool stable = ks_sum_update(s, slot, hash);
	struct ks_kpage *kp = ks_kpage_find(hash, &b->scope);
	bool mergeable = b->empty[slot] || (kp && ks_kpage_room(kp));

	/* Also of a volatile page: its content may be one that stays elsewhere. */
	known = (known && stable) || mergeable || ks_candidate_seen(hash, b->page[slot]);
	if (!stable) {
		ks_age_renew(s, slot);
		ks_this_pass.pages_volatile++;
		return KS_LEAVE;
	}
	if (!known) {
		ks_age_unshared(s, slot);
		ks_this_pass.pages_unshared++;
		return KS_LEAVE;
	}
	ks_age_renew(s, slot);
	if (!mergeable && !ks_kpages_allowed()) {
		ks_counters.pages_skipped++;
		return KS_LEAVE;
	}
	return KS_MERGE;
}

/**
 * ks_read_page - hash a page of a batch and decide on it
 * @b:     the batch
 * @s:     its sums
 * @slot:  which page
 * @known: ks_trust_page() was asked for it in this step, and said no
 *
 * Context: ks_lock held. May sleep.
 * Return: whether the page is what it was
 */
bool ks_read_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot, bool known)
{
	u64 before = ks_sum_hash(s, slot);

	b->hash[slot] = ks_page_hash(b->page[slot], &b->scope);
	b->nid[slot] = ks_page_node(b->page[slot]);
	b->empty[slot] = b->scope.zero_pages && ks_page_is_empty(b->page[slot]);
	b->action[slot] = ks_decide(b, s, slot, known);
	b->read++;
	cond_resched();
	return ks_sum_hash(s, slot) == before;
}

/**
 * ks_trust_page - take a page for what it was, instead of reading it
 * @b:    the batch
 * @s:    its sums
 * @slot: which page
 *
 * It is noted in the candidate table as if it had been read, so others that
 * became equal to it are worth merging.
 *
 * Context: ks_lock held. May sleep.
 * Return: true where it has no partner; else it is worth reading
 */
bool ks_trust_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot)
{
	if (ks_candidate_seen(ks_sum_hash(s, slot), b->page[slot]))
		return false;
	ks_this_pass.pages_unshared++;
	b->trusted++;
	return true;
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

static void ks_look(struct ks_batch *b, struct ks_sums *s, unsigned int slot)
{
	bool skip = ks_age_skip(s, slot);

	if (!skip || !ks_trust_page(b, s, slot))
		ks_read_page(b, s, slot, skip);
}

/* Hash and decide; drops the pages' references, which would count as pins. */
static unsigned int ks_judge(struct ks_mm *km, struct ks_batch *b)
{
	struct ks_sums *s = ks_sums_get(km, b);
	bool sample = b->huge && READ_ONCE(ks_policy.thp_mode) == KS_THP_SHARE;
	unsigned int slot, worth = 0;

	memset(b->action, KS_LEAVE, sizeof(b->action));
	if (!s)
		b->passed_over += b->nr;
	else if (sample)
		ks_huge_judge(b, s);
	for (slot = b->first; slot < b->last; slot++) {
		struct page *page = b->page[slot];

		if (!page)
			continue;
		if (s && !sample)
			ks_look(b, s, slot);
		put_page(page);
		b->page[slot] = NULL;
		if (b->action[slot] == KS_MERGE)
			worth++;
	}
	return worth;
}

/* What a batch costs of the pages that this scan may look at. */
static void ks_charge(const struct ks_batch *b, unsigned int *pages)
{
	unsigned int cost = b->read;

	ks_trusted += b->trusted;
	cost += ks_trusted / KS_TRUSTED_PER_READ;
	ks_trusted %= KS_TRUSTED_PER_READ;
	/* Nothing is for nothing, or a pass over such memory would have no pause. */
	if (!b->read && (b->kept_huge || b->passed_over))
		cost++;

	ks_advisor_count(cost);
	if (cost > *pages) {
		ks_debt += cost - *pages;
		*pages = 0;
	} else {
		*pages -= cost;
	}
}

static unsigned long ks_scan_span(struct ks_mm *km, struct vm_area_struct *vma,
				  const struct ks_given *given,
				  unsigned long start, unsigned long end,
				  unsigned int *pages, unsigned int *merges)
{
	struct ks_batch *b = ks_batch;
	unsigned int worth = 0, merged;
	unsigned long next;

	b->keep_huge = READ_ONCE(ks_policy.thp_mode) == KS_THP_NEVER;
	next = ks_walk_collect(km->mm, start, end, min(*pages, KS_BATCH), b);
	ks_zeros_revisit(km, start, next);
	if (b->nr) {
		ks_scope_of(km, given, &b->scope);
		worth = ks_judge(km, b);
	}
	ks_charge(b, pages);
	ks_counters.pages_scanned += b->read;
	ks_counters.pages_skipped += b->kept_huge + b->trusted;
	ks_counters.pages_unmergeable += b->passed_over;

	if (!worth)
		return next;
	if (b->huge) {
		bool split = ks_huge_may_split(worth, b->nr);

		trace_ks_huge(km->mm, ks_slot_addr(b, b->first), worth, b->nr, split);
		if (!split) {
			ks_counters.pages_skipped += worth;
			return next;
		}
	}
	ks_limit_drains(b);
	b->zeros = b->scope.zero_pages ? ks_zeros_get(km, b->addr) : NULL;
	merged = ks_merge_batch(vma, b, *merges);
	trace_ks_merge(km->mm, b->addr, worth, merged);
	ks_counters.pages_unmergeable += worth - merged;
	*merges -= merged;
	return next;
}

static enum ks_step ks_scan_step(unsigned int *pages, unsigned int *merges)
{
	const struct ks_given *given;
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
		if (READ_ONCE(ks_policy.scan_all))
			ks_scan_all_update();
		if (ks_nr_families)
			ks_children_take();
		ks_cursor.km = list_first_entry_or_null(&ks_mms, struct ks_mm, link);
		ks_cursor.addr = 0;
		if (!ks_cursor.km) {
			ks_tidy();
			return KS_STEP_IDLE;
		}
		ks_advisor_pass_began();
		trace_ks_pass_begin(ks_counters.full_scans + 1);
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
	vma = ks_mm_next_span(km, &start, &end, &given);
	if (vma)
		start = ks_scan_span(km, vma, given, start, end, pages, merges);
	ks_cursor.addr = start;
	mmap_read_unlock(km->mm);
	/* Not mmput(): the last user's whole memory would be freed right here. */
	mmput_async(km->mm);

	if (start >= km->mm->task_size) {
		ks_sums_sweep(km);
		ks_zeros_sweep(km);
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
 * Context: process context, ks_scan_turn held; takes ks_lock.
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
