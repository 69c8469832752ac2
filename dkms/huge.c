// SPDX-License-Identifier: GPL-2.0-only
/*
 * Huge pages: when to split one, and how to know without reading it all.
 *
 * Merging a page of a huge page splits it, which costs its user TLB misses ever
 * after. thp_mode says when that is worth it: never, when thp_split_share
 * percent of its pages would merge, or always.
 *
 * Most huge pages stay whole, pass after pass, and to read two megabytes each
 * time would be a waste. So of a huge page that was read in full, later passes
 * read those pages that had a partner or were changing, and of the rest a
 * sample: one page in KS_HUGE_SAMPLE, others in every pass (s, of the first 48):
 *
 *   pass n       s...............     .....s..........     ..........s.....
 *   pass n + 1   .s..............     ......s.........     ...........s....
 *
 *   one of the sample has changed   the whole is read in this very pass
 *   none has                        the others are taken for what they were
 *
 * Taking them for what they were costs a look-up and no memory bandwidth, and
 * they are still found by pages that become equal to them. If, with them,
 * enough would merge, those that would are read, and only then it is decided.
 *
 * So a huge page that does not change is split in the pass in which it would be
 * if all were read. A change that the sample misses is noticed within KS_HUGE_SAMPLE
 * passes.
 */
#include "engine.h"

/* One page in so many is read. */
#define KS_HUGE_SAMPLE	(KS_HUGE_SKIPS + 1)

/* How much further into each run of KS_HUGE_SAMPLE pages, against patterns. */
#define KS_HUGE_SHIFT	5U

static unsigned int ks_huge_share(void)
{
	unsigned int mode = READ_ONCE(ks_policy.thp_mode);

	/* Set just now: what was collected stays whole. */
	if (mode == KS_THP_NEVER)
		return 101;
	return mode == KS_THP_ALWAYS ? 0 : READ_ONCE(ks_policy.thp_split_share);
}

/**
 * ks_huge_may_split - is a huge page worth splitting?
 * @worth: pages of it that would merge, at least one
 * @nr:    pages of it that may be merged
 */
bool ks_huge_may_split(unsigned int worth, unsigned int nr)
{
	return worth * 100 >= ks_huge_share() * nr;
}

static bool ks_huge_in_sample(unsigned int slot)
{
	unsigned int run = slot / KS_HUGE_SAMPLE;

	return (slot - run * KS_HUGE_SHIFT - ks_counters.full_scans) % KS_HUGE_SAMPLE == 0;
}

/*
 * Read the sample, and mark the rest. Return: whether a page changed that had
 * been the same before.
 */
static bool ks_huge_read_sample(struct ks_batch *b, struct ks_sums *s)
{
	bool changed = false;
	unsigned int slot;

	for (slot = b->first; slot < b->last; slot++) {
		bool known;

		/* One without a place for what is known of it. */
		if (!b->page[slot])
			continue;
		known = ks_age_known(s, slot);
		if (known && !ks_huge_in_sample(slot))
			b->action[slot] = KS_UNREAD;
		else if (!ks_read_page(b, s, slot) && known)
			changed = true;
	}
	return changed;
}

/* Decide on the rest by what it was. Return: how many of all would merge */
static unsigned int ks_huge_trust_rest(struct ks_batch *b, struct ks_sums *s)
{
	unsigned int slot, worth = 0;

	for (slot = b->first; slot < b->last; slot++) {
		if (b->action[slot] == KS_UNREAD) {
			if (ks_trust_page(b, s, slot)) {
				b->action[slot] = KS_LEAVE;
				continue;
			}
			/* The partner may be merged by the next pass: read it then. */
			ks_age_renew(s, slot);
		}
		if (b->action[slot] != KS_LEAVE)
			worth++;
	}
	return worth;
}

/**
 * ks_huge_judge - decide on the pages of a huge page
 * @b: the batch, of pages of one huge page
 * @s: its sums
 *
 * Context: ks_lock held. May sleep.
 */
void ks_huge_judge(struct ks_batch *b, struct ks_sums *s)
{
	bool read = true;
	unsigned int slot;

	if (!ks_huge_read_sample(b, s))
		read = ks_huge_may_split(ks_huge_trust_rest(b, s), b->nr);
	for (slot = b->first; slot < b->last; slot++) {
		if (b->action[slot] != KS_UNREAD)
			continue;
		if (read) {
			ks_read_page(b, s, slot);
		} else {
			b->action[slot] = KS_LEAVE;
			b->trusted++;
		}
	}
}
