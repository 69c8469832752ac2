// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks that nobody needs to look at for a while.
 *
 * Of old memory most pages are not read in most passes (age.c), and to visit
 * each only to find that out costs more than all the rest. So a block is left
 * out as long as all of its pages may be: then a pass reads neither its page
 * table entries nor its pages, nor what is known of them.
 *
 *   pass    10     11     12  ...  18     19
 *   page A  read   -      -        -      read
 *   page B  read   -      -        -      read
 *   block   looks  naps   naps     naps   looks
 *
 * For that all must be due in the same pass: where all are old, all are read
 * when one is due. A block with a hole does not nap, since a page that turns up
 * in it would wait.
 *
 * A mapping may have only a part of a block. That naps alike; which part it is,
 * is noted with it. Another mapping's part does not nap meanwhile.
 *
 * A page of a block that naps is still found by others that become equal to it:
 * what was noted of it in the candidate table counts until it is read again, and
 * wakes it (wanted.c), to be read in the next pass.
 */
#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/xarray.h>

#include "engine.h"

/* In ks_sums.nap: not the whole block. */
#define KS_NAP_PART	0x80

/* Is it what the batch has of the block that naps? */
static bool ks_nap_is_of(const struct ks_batch *b, const struct ks_sums *s, unsigned int block)
{
	unsigned int first, last = ks_block_slots(b, block, &first);
	const struct ks_nap_part *part;

	if (!(READ_ONCE(s->nap[block]) & KS_NAP_PART))
		return last - first == KS_BLOCK;
	part = ks_sums_nap_part(s, block);
	return first % KS_BLOCK == part->first && last - block * KS_BLOCK == part->last;
}

/**
 * ks_naps - which blocks of a batch are to be left out?
 * @km: the address space
 * @b:  the batch, with all that the mapping has of it, and the domain that it is in now
 *
 * Context: a step, without the lock of the sums: a guess will do.
 * Return: a bit for each
 */
u8 ks_naps(struct ks_mm *km, const struct ks_batch *b)
{
	struct ks_sums *s;
	unsigned int i;
	u8 naps = 0;

	if (!READ_ONCE(ks_policy.smart_scan))
		return 0;
	s = xa_load(&km->sums, b->addr / KS_BATCH_BYTES);
	if (!s || READ_ONCE(s->seed) != b->scope.seed)
		return 0;
	for (i = b->first / KS_BLOCK; i * KS_BLOCK < b->last; i++)
		if (READ_ONCE(s->nap[i]) && ks_nap_is_of(b, s, i))
			naps |= BIT(i);
	return naps;
}

/* Is a page of them wanted? Then it is read when the block is looked at. */
static bool ks_nap_is_disturbed(const struct ks_batch *b, struct ks_sums *s, unsigned int block)
{
	unsigned int slot, last = ks_block_slots(b, block, &slot);
	bool disturbed = false;

	for (; slot < last; slot++) {
		u32 sum = ks_sum_get(s, slot);

		if (sum && ks_wants(sum)) {
			ks_age_renew(s, slot);
			disturbed = true;
		}
	}
	return disturbed;
}

/* One pass less. */
static void ks_nap_count(struct ks_sums *s, unsigned int block)
{
	u8 nap = s->nap[block];

	WRITE_ONCE(s->nap[block], (nap & ~KS_NAP_PART) > 1 ? nap - 1 : 0);
}

/**
 * ks_nap_go_on - count a pass for the blocks that were left out
 * @b: the batch; out: counts
 * @s: its sums
 *
 * Context: a step, sums locked.
 */
void ks_nap_go_on(struct ks_batch *b, struct ks_sums *s)
{
	bool any = ks_wants_any();
	unsigned int i;

	for (i = 0; i < KS_BLOCKS; i++) {
		if (!(b->napping & BIT(i)) || !s->block[i])
			continue;
		s->used |= BIT(i);
		b->trusted += s->alone[i];
		b->napped += s->alone[i];
		b->unshared += s->alone[i];
		ks_nap_count(s, i);
		if (any && ks_nap_is_disturbed(b, s, i))
			WRITE_ONCE(s->nap[i], 0);
	}
}

/* Are all pages there that the mapping has of a block? */
static bool ks_nap_possible(const struct ks_batch *b, const struct ks_sums *s,
			    unsigned int block)
{
	unsigned int slot, last = ks_block_slots(b, block, &slot);

	if (b->huge || !s->block[block] ||
	    (b->cut_before && slot != block * KS_BLOCK) ||
	    (b->cut_behind && last != (block + 1) * KS_BLOCK))
		return false;
	for (; slot < last; slot++)
		if (!b->page[slot] && !test_bit(slot, b->settled))
			return false;
	return true;
}

/**
 * ks_nap_together - should all pages of a block be read, since one must be?
 * @b:     the batch, whose pages are still there
 * @s:     its sums
 * @block: number of the block
 *
 * Context: a step, sums locked.
 */
bool ks_nap_together(const struct ks_batch *b, struct ks_sums *s, unsigned int block)
{
	unsigned int slot, last = ks_block_slots(b, block, &slot);
	bool due = false;

	if (!READ_ONCE(ks_policy.smart_scan) || !ks_nap_possible(b, s, block))
		return false;
	for (; slot < last; slot++) {
		if (!b->page[slot])
			continue;
		if (!ks_age_is_old(s, slot))
			return false;
		due |= !ks_age_skips(s, slot);
	}
	return due;
}

static void ks_nap_note(const struct ks_batch *b, struct ks_sums *s, unsigned int block,
			unsigned int passes)
{
	unsigned int first, last = ks_block_slots(b, block, &first);
	bool whole = last - first == KS_BLOCK;

	if (!whole)
		*ks_sums_nap_part(s, block) = (struct ks_nap_part){
			.first = first % KS_BLOCK,
			.last = last - block * KS_BLOCK,
		};
	WRITE_ONCE(s->nap[block], passes | (whole ? 0 : KS_NAP_PART));
}

/**
 * ks_nap_begin - leave a block out in the next passes, if all of its pages may be
 * @b:     the batch, whose pages are still there, and were looked at
 * @s:     its sums
 * @block: number of the block
 *
 * Context: a step, sums locked.
 */
void ks_nap_begin(struct ks_batch *b, struct ks_sums *s, unsigned int block)
{
	unsigned int first, last = ks_block_slots(b, block, &first), slot;
	unsigned int nap = U8_MAX, alone = 0;

	/* Another mapping's, or one that is gone: it is over in a few passes. */
	if (s->nap[block] && s->block[block] && !ks_nap_is_of(b, s, block)) {
		ks_nap_count(s, block);
		return;
	}
	WRITE_ONCE(s->nap[block], 0);
	if (!READ_ONCE(ks_policy.smart_scan) || !ks_nap_possible(b, s, block))
		return;
	for (slot = first; slot < last && nap; slot++) {
		if (!b->page[slot])
			continue;
		alone++;
		nap = b->action[slot] == KS_LEAVE ? min(nap, ks_age_skips(s, slot)) : 0;
	}
	if (!alone || !nap)
		return;
	for (slot = first; slot < last; slot++)
		if (b->page[slot])
			ks_age_pass(s, slot, nap);
	s->alone[block] = alone;
	ks_nap_note(b, s, block, nap);
}
