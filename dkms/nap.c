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
 * A page of a block that naps is still found by others that become equal to it:
 * what was noted of it in the candidate table counts until it is read again, and
 * wakes it (wanted.c), to be read in the next pass.
 */
#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/xarray.h>

#include "engine.h"

/**
 * ks_naps - which blocks of a batch are to be left out?
 * @km:   the address space
 * @addr: address of slot 0
 * @seed: of the domain that the memory is in now
 *
 * Context: a step, without the lock of the sums: a guess will do.
 * Return: a bit for each
 */
u8 ks_naps(struct ks_mm *km, unsigned long addr, u64 seed)
{
	struct ks_sums *s;
	unsigned int i;
	u8 naps = 0;

	if (!READ_ONCE(ks_policy.smart_scan))
		return 0;
	s = xa_load(&km->sums, addr / KS_BATCH_BYTES);
	if (!s || READ_ONCE(s->seed) != seed)
		return 0;
	for (i = 0; i < KS_BLOCKS; i++)
		if (READ_ONCE(s->nap[i]))
			naps |= BIT(i);
	return naps;
}

/* Is a page of the block wanted? Then it is read when the block is looked at. */
static bool ks_nap_is_disturbed(struct ks_sums *s, unsigned int first)
{
	bool disturbed = false;
	unsigned int slot;

	for (slot = first; slot < first + KS_BLOCK; slot++) {
		u32 sum = ks_sum_get(s, slot);

		if (sum && ks_wants(sum)) {
			ks_age_renew(s, slot);
			disturbed = true;
		}
	}
	return disturbed;
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
		if (s->nap[i])
			s->nap[i]--;
		if (any && ks_nap_is_disturbed(s, i * KS_BLOCK))
			s->nap[i] = 0;
	}
}

/* Are all slots of a block in the batch, and none of them a hole? */
static bool ks_nap_possible(const struct ks_batch *b, const struct ks_sums *s,
			    unsigned int block)
{
	unsigned int first = block * KS_BLOCK, slot;

	if (b->huge || first < b->first || first + KS_BLOCK > b->last || !s->block[block])
		return false;
	for (slot = first; slot < first + KS_BLOCK; slot++)
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
	unsigned int first = block * KS_BLOCK, slot;
	bool due = false;

	if (!READ_ONCE(ks_policy.smart_scan) || !ks_nap_possible(b, s, block))
		return false;
	for (slot = first; slot < first + KS_BLOCK; slot++) {
		if (!b->page[slot])
			continue;
		if (!ks_age_is_old(s, slot))
			return false;
		due |= !ks_age_skips(s, slot);
	}
	return due;
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
	unsigned int first = block * KS_BLOCK, slot, nap = U8_MAX, alone = 0;

	s->nap[block] = 0;
	if (!READ_ONCE(ks_policy.smart_scan) || !ks_nap_possible(b, s, block))
		return;
	for (slot = first; slot < first + KS_BLOCK && nap; slot++) {
		if (!b->page[slot])
			continue;
		alone++;
		nap = b->action[slot] == KS_LEAVE ? min(nap, ks_age_skips(s, slot)) : 0;
	}
	if (!alone || !nap)
		return;
	for (slot = first; slot < first + KS_BLOCK; slot++)
		if (b->page[slot])
			ks_age_pass(s, slot, nap);
	s->alone[block] = alone;
	s->nap[block] = nap;
}
