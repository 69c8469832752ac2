// SPDX-License-Identifier: GPL-2.0-only
/*
 * The candidate table: which contents were seen twice?
 *
 * It answers that for every page in one look-up and without knowing where the
 * other one is, so nothing in it refers to memory that could go away. One entry
 * of eight bytes for each content of the last two passes:
 *
 *   63                     24 23        12 11     6 5      0
 *   [ 40 bits of the hash   ] [ page tag ] [ seen ] [ twice ]
 *
 * seen and twice are numbers of passes (1 to 63, then 1 again). Take pages
 * A, B of equal content and C of another:
 *
 *   pass 1   A: new entry, seen 1.  B: seen in this pass already, so twice 1.
 *            C: new entry, seen 1.
 *   pass 2   A: twice 1 is the pass before: worth merging. A merged page is
 *            made of A. B finds it by its hash. C: no.
 *
 * So two passes over unchanged memory merge all that can merge, and a content
 * that two pages had in the pass before but one has now costs no more than a
 * merged page with one user.
 *
 * A page that fork() shares is met once in each address space. That is no
 * second copy, and merging it would gain nothing: hence the tag, twelve bits of
 * the page's number, which is looked at only where the page has several users.
 *
 * The entries lie in 256 tables by the hash's top bits, open addressed, each
 * grown by itself, so that no insertion moves more than a 256th of all.
 */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "engine.h"

#define KS_PARTS		256U
#define KS_PART_MIN		64U
#define KS_PASSES		63U

#define KS_TWICE_SHIFT		0
#define KS_SEEN_SHIFT		6
#define KS_PASS_MASK		0x3fULL
#define KS_TAG_SHIFT		12
#define KS_TAG_BITS		12
#define KS_PRINT_SHIFT		24
#define KS_PRINT_MASK		(~0ULL << KS_PRINT_SHIFT)

struct ks_part {
	u64 *entry;		/* 0: empty */
	unsigned int size;	/* a power of two, 0 before the first entry */
	unsigned int used;
};

static struct ks_part ks_part[KS_PARTS];
static unsigned long ks_candidate_slots;
static unsigned int ks_pass = 1;

static unsigned int ks_pass_before(void)
{
	return ks_pass == 1 ? KS_PASSES : ks_pass - 1;
}

static unsigned int ks_entry_seen(u64 e)
{
	return (e >> KS_SEEN_SHIFT) & KS_PASS_MASK;
}

static unsigned int ks_entry_twice(u64 e)
{
	return (e >> KS_TWICE_SHIFT) & KS_PASS_MASK;
}

static bool ks_pass_is_fresh(unsigned int pass)
{
	return pass == ks_pass || pass == ks_pass_before();
}

/* The hash's top byte chose the table; entries are placed by what is stored. */
static u64 ks_print(u64 hash)
{
	u64 print = (hash << 8) & KS_PRINT_MASK;

	return print ?: 1ULL << KS_PRINT_SHIFT;
}

static u64 *ks_part_slot(struct ks_part *part, u64 print)
{
	unsigned int i = hash_64(print, 32);

	for (;; i++) {
		u64 *e = &part->entry[i & (part->size - 1)];

		if (!*e || (*e & KS_PRINT_MASK) == print)
			return e;
	}
}

/* Move what is still fresh to a table of its size, with room for more. */
static int ks_part_rebuild(struct ks_part *part, unsigned int room)
{
	struct ks_part new = {};
	unsigned int i, fresh = 0;

	for (i = 0; i < part->size; i++)
		if (part->entry[i] && ks_pass_is_fresh(ks_entry_seen(part->entry[i])))
			fresh++;
	if (fresh + room) {
		new.size = roundup_pow_of_two(max(KS_PART_MIN, (fresh + room) * 3 / 2));
		new.entry = kvcalloc(new.size, sizeof(*new.entry), KS_GFP);
		if (!new.entry)
			return -ENOMEM;
	}
	for (i = 0; i < part->size; i++) {
		u64 e = part->entry[i];

		if (e && ks_pass_is_fresh(ks_entry_seen(e)))
			*ks_part_slot(&new, e & KS_PRINT_MASK) = e;
	}
	new.used = fresh;
	ks_candidate_slots += new.size;
	ks_candidate_slots -= part->size;
	kvfree(part->entry);
	*part = new;
	return 0;
}

static bool ks_page_is_shared(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_test_large(folio))
		return folio_entire_mapcount(folio) > 1;
	return atomic_read(&page->_mapcount) > 0;
}

/**
 * ks_candidate_seen - note a page's content
 * @hash: content hash
 * @page: the page, with a reference
 *
 * Context: ks_lock held. May sleep.
 * Return: whether another page had the same hash, in this pass or the one before
 */
bool ks_candidate_seen(u64 hash, struct page *page)
{
	struct ks_part *part = &ks_part[hash >> 56];
	u64 tag = hash_64(page_to_pfn(page), KS_TAG_BITS);
	u64 print = ks_print(hash);
	u64 *slot, e;

	if (part->used >= part->size / 4 * 3 && ks_part_rebuild(part, part->used + 1)) {
		/* Full to the brim, a search would not end. */
		if (part->used + 1 >= part->size)
			return false;
	}

	slot = ks_part_slot(part, print);
	e = *slot;
	if (!e) {
		*slot = print | tag << KS_TAG_SHIFT | (u64)ks_pass << KS_SEEN_SHIFT;
		part->used++;
		return false;
	}

	if (ks_entry_seen(e) != ks_pass) {
		e &= ~(KS_PASS_MASK << KS_SEEN_SHIFT |
		       ((1ULL << KS_TAG_BITS) - 1) << KS_TAG_SHIFT);
		e |= (u64)ks_pass << KS_SEEN_SHIFT | tag << KS_TAG_SHIFT;
	} else if (((e >> KS_TAG_SHIFT) & ((1ULL << KS_TAG_BITS) - 1)) != tag ||
		   !ks_page_is_shared(page)) {
		e &= ~(KS_PASS_MASK << KS_TWICE_SHIFT);
		e |= (u64)ks_pass << KS_TWICE_SHIFT;
	}
	*slot = e;
	return ks_pass_is_fresh(ks_entry_twice(e));
}

/**
 * ks_candidates_end_pass - begin a new pass, dropping what went stale
 *
 * Context: ks_lock held. May sleep.
 */
void ks_candidates_end_pass(void)
{
	unsigned int i;

	for (i = 0; i < KS_PARTS; i++) {
		/* Without memory the old entries serve on; they only propose. */
		if (ks_part[i].size)
			ks_part_rebuild(&ks_part[i], 0);
		cond_resched();
	}
	ks_pass = ks_pass % KS_PASSES + 1;
}

/**
 * ks_candidates_shrink - give memory back
 * @nr: how many pages
 *
 * What is forgotten is learned again in the next pass. One of the tables after
 * the other is dropped, so that the rest goes on to serve.
 *
 * Context: ks_lock held, reclaim. May sleep.
 * Return: pages freed
 */
unsigned long ks_candidates_shrink(unsigned long nr)
{
	static unsigned int next;
	unsigned long slots = 0;
	unsigned int i;

	for (i = 0; i < KS_PARTS && slots * sizeof(u64) < nr * PAGE_SIZE; i++) {
		struct ks_part *part = &ks_part[next++ % KS_PARTS];

		slots += part->size;
		kvfree(part->entry);
		memset(part, 0, sizeof(*part));
	}
	ks_candidate_slots -= slots;
	return slots * sizeof(u64) / PAGE_SIZE;
}

void ks_candidates_exit(void)
{
	unsigned int i;

	for (i = 0; i < KS_PARTS; i++)
		kvfree(ks_part[i].entry);
}

unsigned long ks_candidates_bytes(void)
{
	return ks_candidate_slots * sizeof(u64);
}
