// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every page looked like when it was last read.
 *
 * A page whose hash is not what it was is volatile and left alone, since merging
 * it would soon cost a copy. Kept are the upper 48 bits, as many as the
 * candidate table knows, so that a page which is not read in this pass can be
 * noted there all the same; and an age (age.c). That is seven bytes a page: the
 * allocator would round four up to eight.
 *
 * The sums of one batch lie in one array, and the arrays in an xarray of the
 * address space. An array that no step asked for in a whole pass describes
 * memory that is gone, and is freed.
 */
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/xarray.h>

#include "engine.h"

struct ks_sums {
	u64 seed;		/* of the domain met last */
	bool used;		/* in this pass */
	u8 age[KS_BATCH];
	u16 low[KS_BATCH];	/* bits 16 to 31 */
	u32 high[KS_BATCH];	/* bits 32 to 63; 0: not known */
};

static unsigned long ks_nr_sums;

/**
 * ks_sums_get - the sums of a batch
 * @km: the address space
 * @b:  the batch
 *
 * In another domain than before the batch's pages must be read: what they were
 * is not to be noted there, nor in the old one any more.
 *
 * Context: ks_lock held. May sleep.
 * Return: the sums of its KS_BATCH slots, NULL without memory
 */
struct ks_sums *ks_sums_get(struct ks_mm *km, const struct ks_batch *b)
{
	unsigned long index = b->addr / KS_BATCH_BYTES;
	struct ks_sums *s = xa_load(&km->sums, index);

	if (!s) {
		s = kzalloc(sizeof(*s), KS_GFP);
		if (!s)
			return NULL;
		if (xa_is_err(xa_store(&km->sums, index, s, KS_GFP))) {
			kfree(s);
			return NULL;
		}
		ks_nr_sums++;
		km->nr_sums++;
	}
	if (s->seed != b->scope.seed) {
		memset(&s->age[b->first], 0, b->last - b->first);
		s->seed = b->scope.seed;
	}
	s->used = true;
	return s;
}

/**
 * ks_sum_update - remember what a page is
 * @s:    sums of its batch
 * @slot: its slot
 * @hash: content hash
 *
 * Return: whether it is what it was
 */
bool ks_sum_update(struct ks_sums *s, unsigned int slot, u64 hash)
{
	u32 high = (u32)(hash >> 32) ?: 1;
	u16 low = hash >> 16;
	bool same = s->high[slot] == high && s->low[slot] == low;

	s->high[slot] = high;
	s->low[slot] = low;
	return same;
}

/* What it was: the upper 48 bits of its hash, and zeroes. */
u64 ks_sum_hash(const struct ks_sums *s, unsigned int slot)
{
	return (u64)s->high[slot] << 32 | (u64)s->low[slot] << 16;
}

u8 *ks_sum_age(struct ks_sums *s, unsigned int slot)
{
	return &s->age[slot];
}

/**
 * ks_sums_sweep - free what this pass did not use
 * @km: the address space, just scanned through
 *
 * Context: ks_lock held.
 */
void ks_sums_sweep(struct ks_mm *km)
{
	unsigned long index;
	struct ks_sums *s;

	xa_for_each(&km->sums, index, s) {
		if (s->used) {
			s->used = false;
			continue;
		}
		xa_erase(&km->sums, index);
		kfree(s);
		ks_nr_sums--;
		km->nr_sums--;
	}
}

void ks_sums_free(struct ks_mm *km)
{
	unsigned long index;
	struct ks_sums *s;

	xa_for_each(&km->sums, index, s) {
		kfree(s);
		ks_nr_sums--;
	}
	xa_destroy(&km->sums);
}

/* What the engine keeps of one address space. Context: ks_lock held. */
unsigned long ks_mm_metadata_bytes(const struct ks_mm *km)
{
	return km->nr_sums * sizeof(struct ks_sums);
}

unsigned long ks_sums_bytes(void)
{
	return ks_nr_sums * sizeof(struct ks_sums);
}
