// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every page looked like when it was last read.
 *
 * A page whose sum is not what it was is volatile and left alone, since merging
 * it would soon cost a copy. Kept are its sum (hash.c) and an age (age.c): five
 * bytes a page, in blocks of KS_BLOCK pages, those of a batch under one head,
 * and the heads in an xarray of the address space:
 *
 *   km->sums [batch] -> ks_sums -> ks_block: 64 sums, 64 ages
 *                               -> NULL: no page met there
 *
 * A head or a block that no step asked for in a whole pass describes memory that
 * is gone, and is freed.
 */
#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/xarray.h>

#include "engine.h"

struct ks_block {
	u32 sum[KS_BLOCK];	/* 0: not known */
	u8 age[KS_BLOCK];
	struct ks_nap_part part;
};

/* Of its 324 bytes kmalloc() would make 512. */
static struct kmem_cache *ks_block_cache;
static atomic_long_t ks_all_bytes;

int ks_sums_init(void)
{
	ks_block_cache = KMEM_CACHE(ks_block, 0);
	return ks_block_cache ? 0 : -ENOMEM;
}

void ks_sums_exit(void)
{
	kmem_cache_destroy(ks_block_cache);
}

static void ks_sums_count(struct ks_mm *km, long bytes)
{
	atomic_long_add(bytes, &ks_all_bytes);
	atomic_long_add(bytes, &km->sums_bytes);
}

static struct ks_sums *ks_sums_new(struct ks_mm *km, unsigned long index)
{
	struct ks_sums *new = kzalloc(sizeof(*new), KS_GFP), *s;

	if (!new)
		return NULL;
	mutex_init(&new->lock);
	xa_lock(&km->sums);
	s = __xa_cmpxchg(&km->sums, index, NULL, new, KS_GFP);
	if (!s) {
		km->sums_first = min(km->sums_first, index);
		km->sums_last = max(km->sums_last, index);
	}
	xa_unlock(&km->sums);
	if (!s) {
		ks_sums_count(km, sizeof(*new));
		return new;
	}
	/* No memory; or another thread was faster, with pages of the same table. */
	kfree(new);
	return xa_is_err(s) ? NULL : s;
}

/* In another domain than before pages must be read: they are to be noted there. */
static void ks_sums_forget_ages(struct ks_sums *s)
{
	unsigned int i;

	for (i = 0; i < KS_BLOCKS; i++)
		if (s->block[i])
			memset(s->block[i]->age, 0, sizeof(s->block[i]->age));
	memset(s->nap, 0, sizeof(s->nap));
}

/**
 * ks_sums_get - lock the sums of a batch
 * @km: the address space
 * @b:  the batch
 *
 * Context: a step. May sleep.
 * Return: the sums of its KS_BATCH slots, for ks_sums_put(); NULL without memory
 */
struct ks_sums *ks_sums_get(struct ks_mm *km, const struct ks_batch *b)
{
	unsigned long index = b->addr / KS_BATCH_BYTES;
	struct ks_sums *s = xa_load(&km->sums, index) ?: ks_sums_new(km, index);

	if (!s)
		return NULL;
	mutex_lock(&s->lock);
	/* Of all pages, since not all of them need be in this batch. */
	if (s->seed != b->scope.seed) {
		ks_sums_forget_ages(s);
		WRITE_ONCE(s->seed, b->scope.seed);
	}
	s->met = true;
	return s;
}

void ks_sums_put(struct ks_sums *s)
{
	mutex_unlock(&s->lock);
}

/**
 * ks_sums_have - see to it that a slot has a place for its sum
 * @km:   the address space
 * @s:    sums of its batch
 * @slot: the slot
 *
 * Context: of the functions on sums and ages the only one that may be called for
 * a slot for which it has not said yes. May sleep.
 * Return: false: there is no memory for it
 */
bool ks_sums_have(struct ks_mm *km, struct ks_sums *s, unsigned int slot)
{
	unsigned int i = slot / KS_BLOCK;

	if (!s->block[i]) {
		s->block[i] = kmem_cache_zalloc(ks_block_cache, KS_GFP);
		if (!s->block[i])
			return false;
		ks_sums_count(km, sizeof(struct ks_block));
	}
	s->used |= BIT(i);
	return true;
}

u32 ks_sum_get(const struct ks_sums *s, unsigned int slot)
{
	return s->block[slot / KS_BLOCK]->sum[slot % KS_BLOCK];
}

void ks_sum_set(struct ks_sums *s, unsigned int slot, u32 sum)
{
	s->block[slot / KS_BLOCK]->sum[slot % KS_BLOCK] = sum;
}

u8 *ks_sum_age(struct ks_sums *s, unsigned int slot)
{
	return &s->block[slot / KS_BLOCK]->age[slot % KS_BLOCK];
}

/* Context: any in which the block is known to stay: ks_lock held for reading. */
struct ks_nap_part *ks_sums_nap_part(const struct ks_sums *s, unsigned int block)
{
	return &s->block[block]->part;
}

static void ks_sums_drop(struct ks_mm *km, struct ks_sums *s, u8 blocks)
{
	unsigned int i;

	for (i = 0; i < KS_BLOCKS; i++) {
		if (!(blocks & BIT(i)) || !s->block[i])
			continue;
		kmem_cache_free(ks_block_cache, s->block[i]);
		s->block[i] = NULL;
		s->nap[i] = 0;
		ks_sums_count(km, -(long)sizeof(struct ks_block));
	}
}

static void ks_sums_free_one(struct ks_mm *km, struct ks_sums *s)
{
	ks_sums_drop(km, s, (u8)~0U);
	kfree(s);
	ks_sums_count(km, -(long)sizeof(*s));
}

/**
 * ks_sums_sweep - free what this pass did not use
 * @km: the address space, which the pass went through
 *
 * Context: ks_lock held for writing. May sleep.
 */
void ks_sums_sweep(struct ks_mm *km)
{
	unsigned long index, first = ULONG_MAX, last = 0;
	struct ks_sums *s;

	/* To search an array of addresses to its ends costs more than all it has. */
	xa_for_each_range(&km->sums, index, s, km->sums_first, km->sums_last) {
		cond_resched();
		if (s->met) {
			ks_sums_drop(km, s, ~s->used);
			s->met = false;
			s->used = 0;
			first = min(first, index);
			last = index;
			continue;
		}
		xa_erase(&km->sums, index);
		ks_sums_free_one(km, s);
	}
	km->sums_first = first;
	km->sums_last = last;
}

void ks_sums_free(struct ks_mm *km)
{
	unsigned long index;
	struct ks_sums *s;

	xa_for_each(&km->sums, index, s) {
		ks_sums_free_one(km, s);
		cond_resched();
	}
	xa_destroy(&km->sums);
}

/* What the engine keeps of one address space. Context: ks_lock held. */
unsigned long ks_mm_metadata_bytes(const struct ks_mm *km)
{
	return atomic_long_read(&km->sums_bytes);
}

unsigned long ks_sums_bytes(void)
{
	return atomic_long_read(&ks_all_bytes);
}
