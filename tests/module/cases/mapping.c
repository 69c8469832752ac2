// SPDX-License-Identifier: GPL-2.0-or-later
/* System calls that change mappings, over merged pages. */
#include "ksmtest.h"

#define N 256
#define M 4

static char *merged(void)
{
	char *p = mem_map(N);

	mem_fill(p, N, M, 400);
	area_with(p, N);
	engine_merge(M, N - M);
	return p;
}

/* Every page can be written, and only that page changes. */
static void writable(char *p, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		page_fill(p + i * PAGE, 9000 + i);
	for (size_t i = 0; i < npages; i++)
		require(page_is(p + i * PAGE, 9000 + i), "page %zu lost what was written", i);
}

CASE(mapping, mremap_move, 60)
{
	char *p = merged(), *q = mem_map(N);

	sentinel();
	require(mremap(p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q,
		"mremap: %s", strerror(errno));
	engine_merge(1 + M, 1 + N - M);
	mem_check(q, N, M, 400);
	/* The region is the addresses, which the pages have left. */
	mem_fill(q, N, 1, 450);
	engine_merge(1, 1);
	mem_check(q, N, 1, 450);
}

CASE(mapping, mremap_into_region, 60)
{
	char *p = merged(), *q = mem_map(N);

	mem_fill(q, N, M, 400);
	require(mremap(q, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p,
		"mremap: %s", strerror(errno));
	engine_merge(M, N - M);
	mem_check(p, N, M, 400);
	writable(p, N);
	engine_expect(0, 0);
}

CASE(mapping, mremap_shrink, 60)
{
	char *p = merged();

	require(mremap(p, N * PAGE, N / 2 * PAGE, 0) == p, "mremap: %s", strerror(errno));
	engine_expect(M, N / 2 - M);
	mem_check(p, N / 2, M, 400);
	writable(p, N / 2);
	engine_expect(0, 0);
}

CASE(mapping, mremap_grow, 60)
{
	char *p = merged();

	/* A guard is behind the mapping, so it moves. */
	p = mremap(p, N * PAGE, 2 * N * PAGE, MREMAP_MAYMOVE);
	require(p != MAP_FAILED, "mremap: %s", strerror(errno));
	engine_expect(M, N - M);
	mem_check(p, N, M, 400);
	for (size_t i = N; i < 2 * N; i++)
		require(page_is_zero(p + i * PAGE), "the new page %zu is not zero", i);
	writable(p, 2 * N);
	engine_expect(0, 0);
}

CASE(mapping, mremap_dontunmap, 60)
{
	char *p = merged(), *q;

	q = mremap(p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	require(q != MAP_FAILED, "mremap: %s", strerror(errno));
	mem_check(q, N, M, 400);
	for (size_t i = 0; i < N; i++)
		require(page_is_zero(p + i * PAGE), "page %zu is left behind", i);
	engine_expect(M, N - M);
	mem_fill(p, N, M, 400);
	engine_merge(M, 2 * N - M);
}

CASE(mapping, mprotect_none_and_back, 60)
{
	char *p = merged();
	uint64_t pfn = pfn_of(p);

	require(!mprotect(p, N * PAGE, PROT_NONE), "mprotect: %s", strerror(errno));
	engine_passes(SETTLE);
	engine_expect(M, N - M);
	require(!mprotect(p, N * PAGE, PROT_READ | PROT_WRITE), "mprotect: %s", strerror(errno));
	mem_check(p, N, M, 400);
	require(pfn_of(p) == pfn, "mprotect unshared a page");
	p[0] ^= 1;
	require(page_is(p + M * PAGE, 400), "write access was given to a merged page");
	p[0] ^= 1;
	writable(p, N);
	engine_expect(0, 0);
}

CASE(mapping, mprotect_read_and_back, 60)
{
	char *p = merged();

	engine_stop();
	require(!mprotect(p, N * PAGE, PROT_READ), "mprotect: %s", strerror(errno));
	mem_check(p, N, M, 400);
	require(!mprotect(p, N * PAGE, PROT_READ | PROT_WRITE), "mprotect: %s", strerror(errno));
	engine_expect(M, N - M);
	p[0] ^= 1;
	require(page_is(p + M * PAGE, 400), "write access was given to a merged page");
	p[0] ^= 1;
	mem_check(p, N, M, 400);
	engine_expect(M, N - M - 1);
}

/* Filled, then made read-only, then merged: as a JIT or a loader does. */
CASE(mapping, merge_read_only, 60)
{
	char *p = mem_map(N);

	mem_fill(p, N, M, 400);
	require(!mprotect(p, N * PAGE, PROT_READ), "mprotect: %s", strerror(errno));
	area_with(p, N);
	engine_merge(M, N - M);
	mem_check(p, N, M, 400);
	require(!mprotect(p, N * PAGE, PROT_READ | PROT_WRITE), "mprotect: %s", strerror(errno));
	writable(p, N);
	engine_expect(0, 0);
}

/* Memory without any access keeps its contents, merged or not. */
CASE(mapping, merge_no_access, 60)
{
	char *p = mem_map(N);

	sentinel();
	mem_fill(p, N, M, 400);
	require(!mprotect(p, N * PAGE, PROT_NONE), "mprotect: %s", strerror(errno));
	area_with(p, N);
	engine_start();
	engine_passes(SETTLE);
	require(!mprotect(p, N * PAGE, PROT_READ | PROT_WRITE), "mprotect: %s", strerror(errno));
	mem_check(p, N, M, 400);
	engine_merge(1 + M, 1 + N - M);
	writable(p, N);
	engine_expect(1, 1);
}

CASE(mapping, munmap_partial, 60)
{
	char *p = merged();

	mem_unmap(p + N / 4 * PAGE, N / 2);
	engine_expect(M, N / 2 - M);
	mem_check(p, N / 4, M, 400);
	mem_check(p + 3 * N / 4 * PAGE, N / 4, M, 400);
	engine_passes(SETTLE);
	/* Another mapping in the same place is in the region again. */
	require(mmap(p + N / 4 * PAGE, N / 2 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED,
		"mmap: %s", strerror(errno));
	mem_fill(p + N / 4 * PAGE, N / 2, M, 400);
	engine_merge(M, N - M);
	writable(p, N);
}

CASE(mapping, dontneed, 60)
{
	char *p = merged();

	require(!madvise(p, N / 2 * PAGE, MADV_DONTNEED), "madvise: %s", strerror(errno));
	engine_expect(M, N / 2 - M);
	for (size_t i = 0; i < N / 2; i++)
		require(page_is_zero(p + i * PAGE), "page %zu is not zero after MADV_DONTNEED", i);
	mem_check(p + N / 2 * PAGE, N / 2, M, 400);
	mem_fill(p, N / 2, M, 400);
	engine_merge(M, N - M);
}

/* Between MADV_FREE and the next write a page may be dropped, not mixed up. */
CASE(mapping, madv_free, 60)
{
	char *p = mem_map(N);

	mem_fill(p, N, M, 400);
	require(!madvise(p, N / 2 * PAGE, MADV_FREE), "madvise: %s", strerror(errno));
	area_with(p, N);
	engine_start();
	engine_passes(SETTLE);
	for (size_t i = 0; i < N; i++)
		require(page_is(p + i * PAGE, 400 + i % M) ||
			(i < N / 2 && page_is_zero(p + i * PAGE)), "page %zu is damaged", i);
	/* And after merging. */
	mem_fill(p, N, M, 400);
	engine_merge(M, N - M);
	require(!madvise(p, N * PAGE, MADV_FREE), "madvise: %s", strerror(errno));
	for (size_t i = 0; i < N; i++)
		require(page_is(p + i * PAGE, 400 + i % M) || page_is_zero(p + i * PAGE),
			"page %zu is damaged", i);
	writable(p, N);
}

/* Reclaim advice has no effect on merged pages, and does no harm. */
CASE(mapping, pageout, 60)
{
	char *p = merged();

	require(!madvise(p, N * PAGE, MADV_COLD), "MADV_COLD: %s", strerror(errno));
	require(!madvise(p, N * PAGE, MADV_PAGEOUT), "MADV_PAGEOUT: %s", strerror(errno));
	mem_check(p, N, M, 400);
	engine_expect(M, N - M);
	writable(p, N);
}

/*
 * What nobody uses any more is freed within a pass or two. Unlocked pages may
 * wait in a list of their CPU's, which the next mlock() empties.
 */
static void expect_mlocked(long before)
{
	double end = now() + 3;
	char *other = mem_map(1);

	engine_start();
	while (meminfo_kb("Mlocked") != before) {
		require(!mlock(other, PAGE) && !munlock(other, PAGE), "mlock: %s", strerror(errno));
		require(now() < end, "Mlocked went from %ld to %ld kB", before,
			meminfo_kb("Mlocked"));
		nap_ms(50);
	}
}

/* mlock() marks the pages it finds; merged ones must lose the mark again. */
CASE(mapping, mlock_merged, 60)
{
	char *p = merged();
	long before = meminfo_kb("Mlocked");

	require(!mprotect(p, N * PAGE, PROT_READ), "mprotect: %s", strerror(errno));
	require(!mlock(p, N * PAGE), "mlock: %s", strerror(errno));
	mem_check(p, N, M, 400);
	require(!munlock(p, N / 2 * PAGE), "munlock: %s", strerror(errno));
	require(!mprotect(p, N * PAGE, PROT_READ | PROT_WRITE), "mprotect: %s", strerror(errno));
	writable(p, N / 4);
	mem_unmap(p, N);
	engine_expect(0, 0);
	expect_mlocked(before);
}

/* A guest's memory is often locked before it is merged. */
CASE(mapping, merge_mlocked, 60)
{
	char *p = mem_map(N);
	long before = meminfo_kb("Mlocked");

	require(!mlock(p, N * PAGE), "mlock: %s", strerror(errno));
	mem_fill(p, N, M, 400);
	area_with(p, N);
	engine_merge(M, N - M);
	mem_check(p, N, M, 400);
	writable(p, N / 2);
	require(!munlock(p, N * PAGE), "munlock: %s", strerror(errno));
	mem_unmap(p, N);
	engine_expect(0, 0);
	expect_mlocked(before);
}

/* Asking for a huge page over merged memory may fail, or copies it. */
CASE(mapping, collapse, 60)
{
	char *p = mem_map_huge(512);

	madvise(p, 512 * PAGE, MADV_NOHUGEPAGE);
	mem_fill(p, 512, M, 400);
	area_with(p, 512);
	engine_merge(M, 512 - M);
	engine_stop();
	madvise(p, 512 * PAGE, MADV_HUGEPAGE);
	if (madvise(p, 512 * PAGE, 25 /* MADV_COLLAPSE */))
		note("MADV_COLLAPSE over merged pages: %s", strerror(errno));
	mem_check(p, 512, M, 400);
	writable(p, 512);
	engine_expect(0, 0);
}
