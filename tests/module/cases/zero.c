// SPDX-License-Identifier: GPL-2.0-or-later
/* use_zero_pages: empty pages become the kernel's zero page, and no others. */
#include <pthread.h>

#include "ksmtest.h"

#define N 256

/* Written, so that each is a page of its own. */
static char *empty_pages(size_t npages)
{
	char *p = mem_map(npages);

	memset(p, 1, npages * PAGE);
	memset(p, 0, npages * PAGE);
	return p;
}

static uint64_t zero_pfn(void)
{
	volatile char *p = mem_map(1);

	(void)*p;
	return pfn_of((const void *)p);
}

static void expect_zero_pages(long long want)
{
	require(engine_read("ksm_zero_pages") == want, "ksm_zero_pages is %lld, not %lld: %s",
		engine_read("ksm_zero_pages"), want, engine_state());
}

/* Merges with the zero page: so many of them, and these counters. */
static void merge_empty(long long zero, long long shared, long long sharing)
{
	engine_set("use_zero_pages", 1);
	engine_merge(shared, sharing);
	expect_zero_pages(zero);
}

CASE(zero, pages, 60)
{
	char *p = empty_pages(N), *q = mem_map(N);
	uint64_t zero = zero_pfn();

	mem_fill(q, N, N / 2, 100);
	area_with(p, N);
	area_with(q, N);
	merge_empty(N, N / 2, N / 2);
	for (int i = 0; i < N; i++) {
		require(pfn_of(p + i * PAGE) == zero, "page %d is not the zero page", i);
		require(page_is_zero(p + i * PAGE), "page %d is not zero", i);
	}
	require(smaps_pages(p, N, "Anonymous") == 0 && smaps_pages(p, N, "Rss") == 0,
		"%ld pages are resident, %ld anonymous", smaps_pages(p, N, "Rss"),
		smaps_pages(p, N, "Anonymous"));
	mem_check(q, N, N / 2, 100);
	require(engine_read("general_profit") > (long long)(N * PAGE),
		"general_profit is %lld with %d zero pages", engine_read("general_profit"), N);
}

/* It needs no second one. */
CASE(zero, single, 60)
{
	char *p = empty_pages(1);

	area_with(p, 1);
	merge_empty(1, 0, 0);
	require(pfn_of(p) == zero_pfn(), "an empty page is not the zero page");
}

CASE(zero, huge, 60)
{
	char *p = mem_map_huge(1024);

	memset(p, 0, 1024 * PAGE);
	require(smaps_pages(p, 1024, "AnonHugePages") > 0,
		"the kernel gave no huge page, the case would prove nothing");
	area_with(p, 1024);
	merge_empty(1024, 0, 0);
	require(smaps_pages(p, 1024, "Rss") == 0, "%ld pages are resident",
		smaps_pages(p, 1024, "Rss"));
}

CASE(zero, off, 60)
{
	char *p = empty_pages(N);

	area_with(p, N);
	expect_errno(engine_write("use_zero_pages", "2"), EINVAL, "a value out of range");
	engine_merge(1, N - 1);
	expect_zero_pages(0);
	require(pfn_of(p) != zero_pfn(), "the zero page without being asked");
}

/* One byte that is not zero, wherever it is, is enough. */
CASE(zero, almost, 60)
{
	char *p = empty_pages(N);

	for (size_t i = 0; i < N; i++)
		p[i * PAGE + i * 16 + i % 16] = 1;
	area_with(p, N);
	merge_empty(0, 0, 0);
	for (size_t i = 0; i < N; i++)
		require(p[i * PAGE + i * 16 + i % 16] == 1, "page %zu lost its byte", i);
}

CASE(zero, written, 60)
{
	char *p = empty_pages(N);

	area_with(p, N);
	merge_empty(N, 0, 0);
	for (size_t i = 0; i < N / 2; i++)
		page_fill(p + i * PAGE, i);
	require(smaps_pages(p, N, "Anonymous") == N / 2, "%ld pages are anonymous",
		smaps_pages(p, N, "Anonymous"));
	mem_check(p, N / 2, N / 2, 0);
	require(page_is_zero(p + N / 2 * PAGE), "a neighbour was written too");
	engine_passes(SETTLE);
	expect_zero_pages(N / 2);
	/* Gone, and only read after that: it is the zero page, but nothing was saved. */
	require(!madvise(p + N / 2 * PAGE, 8 * PAGE, MADV_DONTNEED), "madvise failed");
	engine_passes(SETTLE);
	expect_zero_pages(N / 2 - 8);
	require(page_is_zero(p + N / 2 * PAGE), "fresh memory is not zero");
	engine_passes(SETTLE);
	expect_zero_pages(N / 2 - 8);
	mem_unmap(p, N);
	engine_passes(SETTLE);
	expect_zero_pages(0);
}

CASE(zero, unmerge, 60)
{
	char *p = empty_pages(N), *q = mem_map(N);
	int sum = 0;

	for (size_t i = 0; i < N; i++)
		sum += ((volatile char *)q)[i * PAGE];
	area_with(p, N);
	area_with(q, N);
	merge_empty(N, 0, 0);
	expect_errno(engine_write("domain_mode", "process"), EBUSY, "a change with zero pages");
	engine_set("run", 2);
	expect_zero_pages(0);
	require(smaps_pages(p, N, "Anonymous") == N, "%ld of %d pages were unmerged",
		smaps_pages(p, N, "Anonymous"), N);
	require(sum == 0 && smaps_pages(q, N, "Anonymous") == 0,
		"%ld pages that were only read were filled in", smaps_pages(q, N, "Anonymous"));
	for (size_t i = 0; i < N; i++)
		require(page_is_zero(p + i * PAGE), "page %zu is not zero", i);
	/* And again. */
	merge_empty(N, 0, 0);
}

static void child(struct peer *self, void *arg)
{
	char *p = arg;

	for (size_t i = 0; i < N; i += 2)
		page_fill(p + i * PAGE, i);
	peer_tell(self);
	peer_wait(self);
	for (size_t i = 0; i < N; i++)
		require(i % 2 ? page_is_zero(p + i * PAGE) : page_is(p + i * PAGE, i),
			"page %zu of the child is damaged", i);
}

CASE(zero, fork, 60)
{
	char *p = empty_pages(N);
	struct peer peer;

	area_with(p, N);
	merge_empty(N, 0, 0);
	peer = peer_start(child, p);
	peer_wait(&peer);
	engine_passes(SETTLE);
	expect_zero_pages(N);
	for (size_t i = 0; i < N; i++)
		require(page_is_zero(p + i * PAGE), "page %zu of the parent is not zero", i);
	peer_end(&peer);
}

/* Every domain would share it: only those that want to. */
CASE(zero, domains, 60)
{
	struct ksm_domain domain = { .size = sizeof(domain), .domain = 1 };
	char *p = empty_pages(N), *q = empty_pages(N), *r = empty_pages(N);
	int area = area_new(), wanting = area_new();

	require(!dev_ioctl(area, KSM_SET_DOMAIN, &domain), "KSM_SET_DOMAIN failed");
	domain.flags = KSM_DOMAIN_ZERO_PAGES;
	require(!dev_ioctl(wanting, KSM_SET_DOMAIN, &domain), "KSM_DOMAIN_ZERO_PAGES failed");
	require(!region_add(area, p, N) && !region_add(wanting, q, N), "registering failed");
	area_with(r, N);
	merge_empty(2 * N, 1, N - 1);
	require(smaps_pages(p, N, "Rss") == N && smaps_pages(q, N, "Rss") == 0 &&
		smaps_pages(r, N, "Rss") == 0, "not the pages that were to");
}

CASE(zero, domain_mode, 60)
{
	char *p = empty_pages(N);

	area_with(p, N);
	require(!engine_write("domain_mode", "process"), "domain_mode was refused");
	merge_empty(0, 1, N - 1);
}

/* Of an area that ends nothing is counted any more; its memory stays as it is. */
CASE(zero, area_closed, 60)
{
	char *p = empty_pages(N);
	int area = area_with(p, N);

	merge_empty(N, 0, 0);
	close(area);
	expect_zero_pages(0);
	require(smaps_pages(p, N, "Rss") == 0, "closing the area has unmerged it");
	page_fill(p, 1);
	require(page_is(p, 1) && page_is_zero(p + PAGE), "its memory is damaged");
}

static volatile bool stop;

#define THREADS 3

static void *empty_and_fill(void *arg)
{
	char *p = arg;

	for (uint64_t round = 1; !stop; round++) {
		for (size_t i = 0; i < 32; i++) {
			volatile uint64_t *word = (uint64_t *)(p + i * PAGE + (round + i) % 512 * 8);

			require(page_is_zero(p + i * PAGE), "page %zu is not zero, round %llu", i,
				(unsigned long long)round);
			*word = round;
			if (round % 3 == 0)
				sched_yield();
			require(*word == round, "a write to page %zu was lost", i);
			*word = 0;
		}
		if (round % 8 == 0)
			nap_ms(40);
	}
	return NULL;
}

CASE(race, zero_pages, 90)
{
	char *p = empty_pages(THREADS * 32);
	pthread_t thread[THREADS];
	double end = now() + lasting(10);
	long long most = 0;

	area_with(p, THREADS * 32);
	engine_set("use_zero_pages", 1);
	engine_pace(100, 0);
	engine_start();
	for (size_t i = 0; i < THREADS; i++)
		require(!pthread_create(&thread[i], NULL, empty_and_fill, p + i * 32 * PAGE),
			"pthread_create failed");
	while (now() < end) {
		long long zero = engine_read("ksm_zero_pages");

		if (zero > most)
			most = zero;
		nap_ms(3);
	}
	stop = true;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	require(most > 0, "nothing merged meanwhile: %s", engine_state());
	engine_pace(20000, 5);
	engine_passes(SETTLE);
	expect_zero_pages(THREADS * 32);
}
