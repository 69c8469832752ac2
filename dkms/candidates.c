// SPDX-License-Identifier: GPL-2.0-only
/*
 * The candidate table: which contents do two pages have?
 *
 * It answers that for every page that is read, in one look-up and without
 * knowing where the other one is, so nothing in it refers to memory that could
 * go away. One entry of eight bytes for each sum:
 *
 *   63            56 55         40 39    32 31    24 23              0
 *   [ stale, in use ][ page tag   ][ twice ][ until ][ rest of the sum ]
 *
 * The tag, sixteen bits of a hash of the page's number, tells a page from
 * others: one that is met again, in the next pass or, after fork(), in another
 * address space, is no second copy. Two pages of one tag by chance are told apart
 * by being met in one pass. "until" is the pass in which the page will
 * be read again, and the last one in which the entry counts; "twice" the one in
 * which another page of this sum was met last. Both are counted modulo 256. Take
 * pages A, B of equal content and C of another:
 *
 *   pass 1   A: new entry, until 2.  B: another page's entry, so twice 1.
 *            C: new entry, until 2.
 *   pass 2   A: twice 1 is the pass before: it has a partner.  B: likewise.
 *            C: its own entry: it has none.
 *   pass 9   C is not read until pass 17, and D, of its content, turns up: it has
 *            a partner, and C is wanted (wanted.c).
 *
 * When a task ends and another one takes its place, each new page finds the note
 * of one that is gone. So a note of the pass before counts only for who comes
 * across it, and does not make an entry "twice".
 *
 * The entries lie in 256 tables by the sum's top bits, open addressed, each
 * grown by itself, so that no insertion moves more than a 256th of all, and
 * with a lock of its own, so that threads seldom meet. What is stale goes when
 * its table is full, or when its turn comes at the end of a pass.
 */
#include <linux/bits.h>
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "engine.h"

#define KS_PARTS		256U
#define KS_PART_MIN		16U
/* Tables that are looked through at the end of one pass. */
#define KS_PARTS_A_PASS		32U

#define KS_REST_MASK		0xffffffU
#define KS_UNTIL_SHIFT		24
#define KS_TWICE_SHIFT		32
#define KS_TAG_SHIFT		40
#define KS_IN_USE		BIT_ULL(56)
#define KS_STALE		BIT_ULL(57)

struct ks_entries {
	u64 *entry;		/* 0: empty */
	unsigned int size;	/* 0 before the first entry */
	unsigned int used;
};

struct ks_part {
	struct mutex lock;
	struct ks_entries entries;
};

static struct ks_part ks_part[KS_PARTS];
static atomic_long_t ks_candidate_slots;
static u8 ks_pass;

static u32 ks_entry_rest(u64 e)
{
	return e & KS_REST_MASK;
}

static u8 ks_entry_until(u64 e)
{
	return e >> KS_UNTIL_SHIFT;
}

static u8 ks_entry_twice(u64 e)
{
	return e >> KS_TWICE_SHIFT;
}

static u16 ks_entry_tag(u64 e)
{
	return e >> KS_TAG_SHIFT;
}

static u64 ks_entry(u32 rest, u16 tag, u8 twice, u8 until)
{
	return KS_IN_USE | (u64)tag << KS_TAG_SHIFT | (u64)twice << KS_TWICE_SHIFT |
	       (u64)until << KS_UNTIL_SHIFT | rest;
}

/* Does the entry still count? */
static bool ks_entry_counts(u64 e)
{
	return !(e & KS_STALE) && (s8)(ks_entry_until(e) - ks_pass) >= 0;
}

static u64 *ks_entries_slot(struct ks_entries *t, u32 rest)
{
	/* The top bits of the product choose among any number of slots. */
	unsigned int i = (u64)(rest * GOLDEN_RATIO_32) * t->size >> 32;

	for (;; i++) {
		u64 *e;

		if (i == t->size)
			i = 0;
		e = &t->entry[i];
		if (!*e || ks_entry_rest(*e) == rest)
			return e;
	}
}

/*
 * How many entries still count? The others are marked: they must not begin to
 * count again when the number of the pass comes round.
 */
static unsigned int ks_entries_count(struct ks_entries *t)
{
	unsigned int i, n = 0;

	for (i = 0; i < t->size; i++) {
		if (!t->entry[i])
			continue;
		if (ks_entry_counts(t->entry[i]))
			n++;
		else
			t->entry[i] |= KS_STALE;
	}
	return n;
}

/* Move what still counts to a table of this size, 0: none. */
static int ks_entries_rebuild(struct ks_entries *t, unsigned int size)
{
	struct ks_entries new = { .size = size };
	unsigned int i;

	if (size) {
		new.entry = kvcalloc(size, sizeof(*new.entry), KS_GFP);
		if (!new.entry)
			return -ENOMEM;
	}
	for (i = 0; i < t->size; i++) {
		u64 e = t->entry[i];

		if (!e || !ks_entry_counts(e))
			continue;
		*ks_entries_slot(&new, ks_entry_rest(e)) = e;
		new.used++;
	}
	atomic_long_add((long)new.size - t->size, &ks_candidate_slots);
	kvfree(t->entry);
	*t = new;
	return 0;
}

/* Return: whether one more entry has room, and an empty slot is left to end searches */
static bool ks_entries_room(struct ks_entries *t)
{
	unsigned int n;

	if (t->used < t->size - t->size / 8)
		return true;
	n = ks_entries_count(t);
	return !ks_entries_rebuild(t, max(KS_PART_MIN, n + n / 2 + n / 8)) ||
	       t->used + 1 < t->size;
}

/* Not by a product alone: numbers at some distances would have equal tags. */
static u16 ks_page_tag(struct page *page)
{
	u64 mixed = page_to_pfn(page) * GOLDEN_RATIO_64;

	return hash_64(mixed ^ mixed >> 32, 16);
}

static bool ks_page_is_shared(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_test_large(folio))
		return folio_entire_mapcount(folio) > 1;
	return atomic_read(&page->_mapcount) > 0;
}

static unsigned int ks_entries_seen(struct ks_entries *t, u32 sum, struct page *page, u8 until)
{
	u16 tag = ks_page_tag(page);
	u32 rest = sum & KS_REST_MASK;
	u8 twice = ks_pass - 2;	/* long ago */
	unsigned int seen = 0;
	u64 *slot, e;

	if (!ks_entries_room(t))
		return 0;
	slot = ks_entries_slot(t, rest);
	e = *slot;
	if (!e) {
		t->used++;
	} else if (ks_entry_counts(e)) {
		u8 ahead = ks_entry_until(e) - ks_pass;

		twice = ks_entry_twice(e);
		/* An entry that goes on counting outlives the numbers of passes. */
		if ((u8)(ks_pass - twice) > 1)
			twice = ks_pass - 2;
		/* In one pass a page is met once, but for one that fork() shares. */
		if (ks_entry_tag(e) != tag || (ahead == 1 && !ks_page_is_shared(page))) {
			seen = KS_SEEN;
			if (ahead > 1)
				seen |= KS_SEEN_UNREAD;
			/* Else it is a note of the pass before. */
			if (ahead) {
				if (twice != ks_pass)
					seen |= KS_SEEN_NOW;
				twice = ks_pass;
			}
		}
		if ((s8)(ks_entry_until(e) - until) > 0)
			until = ks_entry_until(e);
	}
	*slot = ks_entry(rest, tag, twice, until);
	return (u8)(ks_pass - twice) <= 1 ? seen | KS_SEEN : seen;
}

/**
 * ks_candidate_seen - note a page's content
 * @sum:   of its sample, or of all of it
 * @page:  the page, with a reference
 * @skips: passes in which it will not be read, less than 100
 *
 * Context: a step. May sleep.
 * Return: 0, or KS_SEEN and more
 */
unsigned int ks_candidate_seen(u32 sum, struct page *page, unsigned int skips)
{
	struct ks_part *part = &ks_part[sum >> 24];
	unsigned int seen;

	mutex_lock(&part->lock);
	seen = ks_entries_seen(&part->entries, sum, page, ks_pass + 1 + skips);
	mutex_unlock(&part->lock);
	return seen;
}

/**
 * ks_candidates_end_pass - begin a new pass, dropping some of what went stale
 *
 * Context: ks_lock held for writing. May sleep.
 */
void ks_candidates_end_pass(void)
{
	static unsigned int next;
	unsigned int i, n;

	ks_pass++;
	for (i = 0; i < KS_PARTS_A_PASS; i++) {
		struct ks_entries *t = &ks_part[next++ % KS_PARTS].entries;

		/* Without memory the old entries serve on; they only propose. */
		n = ks_entries_count(t);
		if (t->size > max(KS_PART_MIN, n + n / 4 + n / 8) || (!n && t->size))
			ks_entries_rebuild(t, n ? max(KS_PART_MIN, n + n / 4) : 0);
		cond_resched();
	}
}

/**
 * ks_candidates_shrink - give memory back
 * @nr: how many pages
 *
 * What is forgotten is learned again when it is read. One of the tables after
 * the other is dropped, so that the rest goes on to serve.
 *
 * Context: ks_lock held for writing, reclaim. May sleep.
 * Return: pages freed
 */
unsigned long ks_candidates_shrink(unsigned long nr)
{
	static unsigned int next;
	unsigned long slots = 0;
	unsigned int i;

	for (i = 0; i < KS_PARTS && slots * sizeof(u64) < nr * PAGE_SIZE; i++) {
		struct ks_entries *t = &ks_part[next++ % KS_PARTS].entries;

		slots += t->size;
		kvfree(t->entry);
		memset(t, 0, sizeof(*t));
	}
	atomic_long_sub(slots, &ks_candidate_slots);
	return slots * sizeof(u64) / PAGE_SIZE;
}

void ks_candidates_init(void)
{
	unsigned int i;

	for (i = 0; i < KS_PARTS; i++)
		mutex_init(&ks_part[i].lock);
}

void ks_candidates_exit(void)
{
	unsigned int i;

	for (i = 0; i < KS_PARTS; i++)
		kvfree(ks_part[i].entries.entry);
}

unsigned long ks_candidates_bytes(void)
{
	return atomic_long_read(&ks_candidate_slots) * sizeof(u64);
}
