// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of a page that the scan met:
 *
 *   what it was changed since the last pass     volatile: leave it
 *   a merged page has its hash                  merge
 *   another page had it, now or last pass       merge
 *   otherwise                                   unshared: leave it
 *   an unloaded module merged it                take it over (kpage.c)
 *
 * At first only a sample of it is read (hash.c). All of it is where a merged page
 * or another page has the same sample:
 *
 *   pages A, B, C, D of one sample, all but D of one content
 *   pass 1   A   sample 7 is new                                  remember 7
 *            B   7 was seen: hash it, 70 is new                   remember 70
 *            C   7 was seen twice, that will do                   remember 7
 *            D   likewise                                         remember 7
 *   pass 2   A   7 again, hash it, 70 was seen: make a merged page of it
 *            B   70 again, and there is a merged page: merge
 *            C   7 again, and the only merged page of sample 7: try to merge
 *            D   likewise, but it differs: from now on it is always hashed
 *
 * Not every page is read in every pass: see huge.c and age.c.
 *
 * Several threads judge at once, each a batch of its own. What is counted is
 * counted in the batch, and added up when its step ends.
 */
#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "engine.h"

/* What is found out of a page by reading it. */
struct ks_finding {
	u32 sum;		/* to remember */
	bool stable;		/* it is what it was */
	bool partner;		/* another page is like it, now or in the last pass */
	bool mergeable;		/* there is what it can be merged with */
};

static bool ks_has_room(u64 hash, const struct ks_scope *scope)
{
	struct ks_kpage *kp = ks_kpage_find(hash, scope);

	return kp && ks_kpage_room(kp);
}

/*
 * A page that will not be read in the next pass is found by its sample. Of its
 * hash only fresh evidence will do: to make a merged page of what nobody else has
 * gains nothing, and cannot be swapped.
 */
static void ks_find_full(struct ks_batch *b, unsigned int slot, u32 was, struct ks_finding *f)
{
	b->hash[slot] = ks_page_hash(b->page[slot], &b->scope);
	f->sum = ks_sum_of_hash(b->hash[slot]);
	f->stable |= was == f->sum;
	f->mergeable = ks_has_room(b->hash[slot], &b->scope);
	if (!f->stable || !f->mergeable)
		f->partner = ks_candidate_seen(f->sum, b->page[slot], 0);
}

/*
 * Is a page to wake those that look like it, or are it? Not one that was hashed
 * before and is like none of them in full, or they would wake each other in each
 * pass; nor one that is hashed and changes in each pass; nor one that has what to
 * merge with, and does not get there.
 */
static bool ks_may_want(const struct ks_finding *f, u32 was, bool known)
{
	return !(was & KS_SUM_FULL) || f->partner ||
	       (f->stable && !f->mergeable && !known);
}

static bool ks_samples_huge(const struct ks_batch *b)
{
	return b->huge && READ_ONCE(ks_policy.thp_mode) == KS_THP_SHARE;
}

/* In how many passes will the page not be read, if it is without a partner? */
static unsigned int ks_unread_passes(const struct ks_batch *b, struct ks_sums *s, unsigned int slot)
{
	if (ks_samples_huge(b))
		return KS_HUGE_SKIPS;
	return READ_ONCE(ks_policy.smart_scan) ? ks_age_skips_next(s, slot) : 0;
}

/*
 * Also of a volatile page note what it is: its content may be one that stays
 * elsewhere, and a merged page that nobody uses be gone by the next pass.
 */
static void ks_find(struct ks_batch *b, struct ks_sums *s, unsigned int slot,
		    struct ks_finding *f)
{
	unsigned int skips = ks_unread_passes(b, s, slot);
	u32 sample = ks_page_sample(b->page[slot], &b->scope), was = ks_sum_get(s, slot);
	bool any = false, read, hashed = was & KS_SUM_FULL;
	unsigned int seen;
	struct ks_kpage *kp;

	*f = (struct ks_finding){ .sum = sample, .stable = was == sample };
	if (b->empty[slot]) {
		f->mergeable = true;
		return;
	}
	read = f->stable || hashed;
	kp = read ? ks_kpage_guess(sample, &b->scope, &any) : NULL;
	if (kp && ks_has_room(kp->hash, &b->scope) &&
	    (f->stable || was == ks_sum_of_hash(kp->hash))) {
		b->hash[slot] = kp->hash;
		f->stable = true;
		f->mergeable = true;
		return;
	}
	seen = ks_candidate_seen(sample, b->page[slot], skips);
	/*
	 * What has just turned up is hashed only where it is the second of its kind:
	 * that is enough for the first one to find it in the next pass. One that sleeps
	 * must be told by its sum, whichever that is.
	 */
	if (!hashed && !(read ? any || seen : seen & (KS_SEEN_NOW | KS_SEEN_UNREAD)))
		return;
	ks_find_full(b, slot, was, f);
	if (seen & KS_SEEN_UNREAD && ks_may_want(f, was, ks_age_known(s, slot))) {
		ks_want(sample);
		ks_want(f->sum);
	}
	/* In each pass it would meet who is like it: there is nobody left. */
	if (!any && !seen && !(f->stable && skips))
		f->sum = sample;
}

static enum ks_action ks_decide(struct ks_batch *b, struct ks_sums *s, unsigned int slot,
				const struct ks_finding *f)
{
	if (!f->stable) {
		ks_age_renew(s, slot);
		b->changed++;
		return KS_LEAVE;
	}
	if (!f->partner && !f->mergeable) {
		ks_age_unshared(s, slot);
		b->unshared++;
		return KS_LEAVE;
	}
	ks_age_renew(s, slot);
	if (!f->mergeable && !ks_kpages_allowed()) {
		b->skipped++;
		return KS_LEAVE;
	}
	return KS_MERGE;
}

/**
 * ks_read_page - read a page of a batch and decide on it
 * @b:     the batch
 * @s:     its sums
 * @slot:  which page
 *
 * Context: a step. May sleep.
 * Return: whether the page is what it was
 */
bool ks_read_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot)
{
	struct ks_finding f;

	b->nid[slot] = ks_page_node(b->page[slot]);
	b->empty[slot] = b->scope.zero_pages && ks_page_is_empty(b->page[slot]);
	ks_find(b, s, slot, &f);
	ks_sum_set(s, slot, f.sum);
	b->action[slot] = ks_decide(b, s, slot, &f);
	b->read++;
	cond_resched();
	return f.stable;
}

/**
 * ks_trust_page - take a page for what it was, instead of reading it
 * @b:    the batch
 * @s:    its sums
 * @slot: which page
 *
 * Context: a step.
 * Return: true where nobody wants a partner like that; else it is worth reading
 */
bool ks_trust_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot)
{
	if (ks_wants_any() && ks_wants(ks_sum_get(s, slot)))
		return false;
	b->unshared++;
	b->trusted++;
	return true;
}

static void ks_look(struct ks_batch *b, struct ks_sums *s, unsigned int slot, bool read)
{
	if (read || !ks_age_skip(s, slot) || !ks_trust_page(b, s, slot))
		ks_read_page(b, s, slot);
}

/* A reference would count as a pin. */
static void ks_drop(struct ks_batch *b, unsigned int slot)
{
	/* Meanwhile it may have got there: then its freeze need not drain. */
	b->off_lru[slot] = b->off_lru[slot] && !folio_test_lru(page_folio(b->page[slot]));
	put_page(b->page[slot]);
	b->page[slot] = NULL;
}

static void ks_drop_some(struct ks_batch *b, unsigned int first, unsigned int last)
{
	unsigned int slot;

	for (slot = first; slot < last; slot++)
		if (b->page[slot])
			ks_drop(b, slot);
}

static void ks_take_orphans_over(struct ks_mm *km, struct ks_batch *b)
{
	unsigned int slot;

	for_each_set_bit(slot, b->orphans, KS_BATCH) {
		if (!ks_kpage_take_over(b, slot, km->mm))
			b->passed_over++;
		ks_drop(b, slot);
		b->nr--;
		__set_bit(slot, b->settled);
		cond_resched();
	}
}

/* Find a place for what is known of each page; leave those alone that get none. */
static void ks_have_places(struct ks_mm *km, struct ks_batch *b, struct ks_sums *s)
{
	unsigned int slot;

	for (slot = b->first; slot < b->last; slot++) {
		if (!b->page[slot] || (s && ks_sums_have(km, s, slot)))
			continue;
		b->passed_over++;
		ks_drop(b, slot);
		b->nr--;
	}
}

static void ks_judge_block(struct ks_batch *b, struct ks_sums *s, unsigned int block)
{
	unsigned int first, last = ks_block_slots(b, block, &first), slot;
	bool together;

	if (b->napping & BIT(block))
		return;
	together = ks_nap_together(b, s, block);
	for (slot = first; slot < last; slot++)
		if (b->page[slot])
			ks_look(b, s, slot, together);
	ks_nap_begin(b, s, block);
	/* Soon: who looks at their counts takes our references for pins. */
	ks_drop_some(b, first, last);
}

/**
 * ks_judge_mistakes - remember which pages were not what their samples said
 * @km: the address space
 * @b:  the batch
 *
 * Context: a step.
 */
void ks_judge_mistakes(struct ks_mm *km, const struct ks_batch *b)
{
	struct ks_sums *s = ks_sums_get(km, b);
	unsigned int slot;

	if (!s)
		return;
	for (slot = b->first; slot < b->last; slot++)
		if (b->action[slot] == KS_MISTAKEN && ks_sums_have(km, s, slot))
			ks_sum_set(s, slot, KS_SUM_FULL);
	ks_sums_put(s);
}

/**
 * ks_judge - decide on the pages of a batch, and drop their references
 * @km: the address space that they are in
 * @b:  the batch, with its scope; out: actions, and counts
 *
 * Context: a step, mmap_lock held. May sleep.
 * Return: how many are worth merging
 */
unsigned int ks_judge(struct ks_mm *km, struct ks_batch *b)
{
	bool sample = ks_samples_huge(b);
	unsigned int block, slot, worth = 0;
	struct ks_sums *s;

	memset(b->action + b->first, KS_LEAVE, b->last - b->first);
	ks_take_orphans_over(km, b);
	if (!b->nr && !b->napping)
		return 0;
	s = ks_sums_get(km, b);
	ks_have_places(km, b, s);
	if (s) {
		ks_nap_go_on(b, s);
		if (sample)
			ks_huge_judge(b, s);
		else
			for (block = b->first / KS_BLOCK; block * KS_BLOCK < b->last; block++)
				ks_judge_block(b, s, block);
		ks_sums_put(s);
	}
	ks_drop_some(b, b->first, b->last);
	for (slot = b->first; slot < b->last; slot++)
		worth += b->action[slot] == KS_MERGE;
	return worth;
}
