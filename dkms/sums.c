// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every page looked like in the pass before: four bytes a page.
 *
 * A page whose sum is not what it was is volatile and left alone, since merging
 * it would soon cost a copy. The sums of one batch lie in one array, and the
 * arrays in an xarray of the address space. An array that no step asked for in
 * a whole pass describes memory that is gone, and is freed.
 */
#include <linux/slab.h>
#include <linux/xarray.h>

#include "engine.h"

struct ks_sums {
	bool used;		/* in this pass */
	u32 sum[KS_BATCH];	/* 0: not known */
};

static unsigned long ks_nr_sums;

/**
 * ks_sums_get - the sums of a batch
 * @km:   the address space
 * @addr: address of the batch
 *
 * Context: ks_lock held. May sleep.
 * Return: KS_BATCH sums, NULL without memory
 */
u32 *ks_sums_get(struct ks_mm *km, unsigned long addr)
{
	unsigned long index = addr / KS_BATCH_BYTES;
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
	s->used = true;
	return s->sum;
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
