// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bloom filters: is a sum among those that were put in?
 *
 * "No" is sure. "Yes" is wrong for few of a hundred while there is a word for
 * each four sums. The two bits of a sum lie in one word, for one cache miss:
 *
 *   sum   [ word, scaled to their number ..... ] [ bit b ] [ bit a ]
 */
#include <linux/bits.h>
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "engine.h"

static unsigned long ks_filter_mask(u32 sum)
{
	u32 mixed = sum * 0x9e3779b1U;

	return BIT(mixed & (BITS_PER_LONG - 1)) | BIT(mixed >> 8 & (BITS_PER_LONG - 1));
}

static unsigned long *ks_filter_word(const struct ks_filter *f, u32 sum)
{
	return (unsigned long *)&f->word[(u64)sum * f->words >> 32];
}

/**
 * ks_filter_alloc - make an empty filter
 * @words: its size
 *
 * Context: may sleep.
 * Return: the filter, for kvfree(); NULL without memory
 */
struct ks_filter *ks_filter_alloc(unsigned int words)
{
	struct ks_filter *f = kvzalloc(struct_size(f, word, words), KS_GFP);

	if (f)
		f->words = words;
	return f;
}

/* Put a sum in. Context: any, also beside others that do or ask. */
void ks_filter_add(struct ks_filter *f, u32 sum)
{
	unsigned long *word = ks_filter_word(f, sum), mask = ks_filter_mask(sum), old;

	for (old = READ_ONCE(*word); (old & mask) != mask; ) {
		unsigned long now = cmpxchg(word, old, old | mask);

		if (now == old)
			break;
		old = now;
	}
}

/* Is it in? Context: any. */
bool ks_filter_has(const struct ks_filter *f, u32 sum)
{
	unsigned long mask = ks_filter_mask(sum);

	return (READ_ONCE(*ks_filter_word(f, sum)) & mask) == mask;
}

void ks_filter_clear(struct ks_filter *f)
{
	memset(f->word, 0, array_size(f->words, sizeof(f->word[0])));
}
