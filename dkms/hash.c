// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hashes of a page's content: a short one of a sample, a long one of it all.
 *
 * Most memory is like no other. To learn that a few cache lines are enough: half
 * of one in each eighth of the page, at places that are drawn anew with each
 * load. Only a page whose sample some other page or a merged page has is read in
 * full.
 *
 *   line    0       8       16      24      32      40      48      56     63
 *           |   x   |x      |     x |  x    | x     |      x|   x   |  x    |
 *
 * What is kept of either, and looked up, is a sum of 32 bits, whose lowest bit
 * tells of which it is. Sums only propose: at worst two pages are read or frozen
 * for nothing.
 *
 * Either is found in two rounds. NH (of UMAC, RFC 4418, here with words of 64
 * bits) makes 128 bits of 4 KiB, with two thirds of xxh64's instructions: for
 * each two words a and b and their keys j and k, drawn with each load, one
 * product.
 *
 *   (a1 + j1) * (b1 + k1) + (a2 + j2) * (b2 + k2) + ...      modulo 2^128
 *
 * Of two different contents, whoever made them up, at most one in 2^64 choices of
 * keys makes the same. xxh64 of that, seeded with the domain, mixes the bits.
 */
#include <linux/build_bug.h>
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/xxhash.h>

#include "engine.h"

#define KS_KEYS		512U
#define KS_PIECES	8U
#define KS_PIECE_WORDS	4U
#define KS_PIECE_BYTES	(KS_PIECE_WORDS * sizeof(u64))
#define KS_CHUNK_BYTES	(KS_KEYS * sizeof(u64))
#define KS_CHUNKS	(PAGE_SIZE / KS_CHUNK_BYTES)

/* So that nobody can make contents up that collide. */
u64 ks_seed;
static u64 ks_key[KS_KEYS];
/* Where in the page the pieces of the sample are. */
static unsigned int ks_piece_at[KS_PIECES];

static_assert(PAGE_SIZE % KS_CHUNK_BYTES == 0);

void ks_hash_init(void)
{
	unsigned int i;
	u64 random = get_random_u64();

	ks_seed = get_random_u64();
	get_random_bytes(ks_key, sizeof(ks_key));
	for (i = 0; i < KS_PIECES; i++, random >>= 8)
		ks_piece_at[i] = i * PAGE_SIZE / KS_PIECES +
				 (u8)random * KS_PIECE_BYTES % (PAGE_SIZE / KS_PIECES);
}

/* Another seed for each node; the common one is node -1's. */
static u64 ks_seed_of(struct page *page, const struct ks_scope *scope)
{
	return scope->seed + (u64)(ks_page_node(page) + 1) * GOLDEN_RATIO_64;
}

static __always_inline unsigned __int128 ks_product(const u64 *word, const u64 *key)
{
	return (unsigned __int128)(word[0] + key[0]) * (word[1] + key[1]);
}

/**
 * ks_page_sample - the sum of a page's sample
 * @page:  the page, with a reference or frozen
 * @scope: what it may merge with: equal pages of different ones hash differently
 *
 * Return: never 0
 */
u32 ks_page_sample(struct page *page, const struct ks_scope *scope)
{
	const char *data = kmap_local_page(page);
	unsigned __int128 products = 0;
	unsigned int i;
	u32 sum;

	for (i = 0; i < KS_PIECES; i++) {
		const u64 *word = (const u64 *)(data + ks_piece_at[i]);
		const u64 *key = ks_key + i * KS_PIECE_WORDS;

		products += ks_product(word, key);
		products += ks_product(word + 2, key + 2);
	}
	kunmap_local(data);
	sum = (u32)xxh64(&products, sizeof(products), ks_seed_of(page, scope)) & ~KS_SUM_FULL;
	return sum ?: ~KS_SUM_FULL;
}

/* A cache line at a time, in registers. */
static unsigned __int128 ks_chunk_products(const u64 *word)
{
	unsigned __int128 products = 0;
	const u64 *key;

	for (key = ks_key; key < ks_key + KS_KEYS; key += 8, word += 8) {
		products += ks_product(word, key);
		products += ks_product(word + 2, key + 2);
		products += ks_product(word + 4, key + 4);
		products += ks_product(word + 6, key + 6);
	}
	return products;
}

/**
 * ks_page_hash - the hash of all of a page's content
 * @page:  as of ks_page_sample()
 * @scope: likewise
 */
u64 ks_page_hash(struct page *page, const struct ks_scope *scope)
{
	const u64 *data = kmap_local_page(page);
	unsigned __int128 products[KS_CHUNKS];
	unsigned int i;

	for (i = 0; i < KS_CHUNKS; i++)
		products[i] = ks_chunk_products(data + i * KS_KEYS);
	kunmap_local(data);
	return xxh64(products, sizeof(products), ks_seed_of(page, scope));
}

/* The sum of a whole page's hash. */
u32 ks_sum_of_hash(u64 hash)
{
	return (u32)(hash >> 32) | KS_SUM_FULL;
}
