// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lets the module's own judge.c, and all that it stands on, judge pages as a
 * program, and has callgrind count the instructions, one dump for each kind of
 * page. Walking page tables, freezing and merging are not in it.
 */
#include <stdio.h>

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <valgrind/callgrind.h>

#include "engine.h"

#define PAGES (16 * KS_BATCH)
#define PASSES 4

struct ks_policy ks_policy = { .thp_mode = KS_THP_SHARE, .thp_split_share = 12 };
struct ks_counters ks_counters;
struct ks_limits ks_limits = { .merge_across_nodes = true };

/* Not in every engine. */
void __attribute__((weak)) ks_hash_init(void);
int __attribute__((weak)) ks_wanted_init(void);
void __attribute__((weak)) ks_wanted_end_pass(void);
int __attribute__((weak)) ks_sums_init(void);

u64 xxh64(const void *data, size_t size, u64 seed)
{
	return XXH64(data, size, seed);
}

u64 get_random_u64(void)
{
	/* The same in every run. */
	static u64 x = 0x9e3779b97f4a7c15ULL;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

void get_random_bytes(void *buf, size_t size)
{
	for (size_t i = 0; i < size / sizeof(u64); i++)
		((u64 *)buf)[i] = get_random_u64();
}

/* kpage.c and zero.c: there are no merged pages. */
struct ks_kpage *ks_kpage_find(u64 hash, const struct ks_scope *scope) { return NULL; }
struct ks_kpage *ks_kpage_guess(u32 sample, const struct ks_scope *scope, bool *any)
{
	return NULL;
}
unsigned int ks_kpage_room(const struct ks_kpage *kp) { return 0; }
bool ks_kpages_allowed(void) { return true; }
bool ks_kpage_take_over(struct ks_batch *b, unsigned int slot, struct mm_struct *mm)
{
	return false;
}
int ks_page_node(struct page *page) { return NUMA_NO_NODE; }
bool ks_page_is_empty(struct page *page) { return false; }

static struct page pages[PAGES];
static struct ks_mm mm;

/* As if a pass went over them; answers how many are worth merging. */
static unsigned int pass(void)
{
	static struct ks_batch b;
	unsigned int worth = 0;

	for (size_t first = 0; first < PAGES; first += KS_BATCH) {
		memset(&b, 0, sizeof(b));
		b.addr = first * PAGE_SIZE;
		b.last = KS_BATCH;
		b.nr = KS_BATCH;
		b.scope.seed = 7;
		for (size_t i = 0; i < KS_BATCH; i++)
			b.page[i] = &pages[first + i];
		CALLGRIND_TOGGLE_COLLECT;
		worth += ks_judge(&mm, &b);
		CALLGRIND_TOGGLE_COLLECT;
	}
	CALLGRIND_TOGGLE_COLLECT;
	ks_candidates_end_pass();
	ks_sums_sweep(&mm);
	if (ks_wanted_end_pass)
		ks_wanted_end_pass();
	CALLGRIND_TOGGLE_COLLECT;
	ks_counters.full_scans++;
	return worth;
}

static void fill(unsigned int copies)
{
	for (size_t i = 0; i < PAGES; i += copies)
		for (size_t word = 0; word < PAGE_SIZE / 8; word++) {
			u64 value = get_random_u64();

			for (size_t k = i; k < i + copies; k++)
				((u64 *)pages[k].data)[word] = value;
		}
}

static void report(const char *kind, unsigned int worth)
{
	printf("%s %u %u\n", kind, PAGES, worth);
	fflush(stdout);
	CALLGRIND_DUMP_STATS_AT(kind);
}

int main(void)
{
	unsigned int worth = 0;
	volatile u64 sink = 0;

	mm.sums.at = calloc(XA_MAX, sizeof(*mm.sums.at));
	for (size_t i = 0; i < PAGES; i++)
		pages[i] = (struct page){ .data = aligned_alloc(PAGE_SIZE, PAGE_SIZE), .number = i };
	if (ks_hash_init)
		ks_hash_init();
	if (ks_sums_init && ks_sums_init())
		return 1;
	if (ks_wanted_init && ks_wanted_init())
		return 1;
	ks_candidates_init();
	CALLGRIND_ZERO_STATS;
	fill(1);
	worth = pass();
	report("unique-new", worth);
	for (int i = 0; i < PASSES; i++)
		pass();
	CALLGRIND_ZERO_STATS;
	worth = pass();
	report("unique-known", worth);
	/* Every page of two copies was another page before. */
	fill(2);
	worth = pass();
	report("pair-new", worth);
	worth = pass();
	report("pair-known", worth);
	CALLGRIND_TOGGLE_COLLECT;
	for (size_t i = 0; i < PAGES; i++)
		sink += xxh64(pages[i].data, PAGE_SIZE, 0);
	CALLGRIND_TOGGLE_COLLECT;
	report("xxh64-alone", 0);
	return 0;
}
