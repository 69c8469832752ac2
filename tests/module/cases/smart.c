// SPDX-License-Identifier: GPL-2.0-or-later
/* smart_scan: pages that long had no partner are read more seldom. */
#include "ksmtest.h"

/* Some in blocks that are left out as a whole, some at the edges, which are not. */
#define N 256
/* Most passes in a row in which a page is not read. */
#define SKIPS 8

static void leave_alone(char *p)
{
	sentinel();
	area_with(p, N);
	engine_set("smart_scan", 1);
	engine_merge(1, 1);
	engine_passes(30);
}

/* Pages that have been alone for long. */
static char *alone(void)
{
	char *p = mem_map(N);

	mem_fill(p, N, N, 3000);
	leave_alone(p);
	return p;
}

/* Pages of four groups; those of each differ in one place, which but one sample in 16 has. */
#define ALIKE 4

static void fill_alike(char *p)
{
	for (int i = 0; i < N; i++) {
		page_fill(p + i * PAGE, 3000 + i % ALIKE);
		p[i * PAGE + i % ALIKE * 32] = i / ALIKE;
	}
}

static void require_few_are_read(void)
{
	long long scanned = engine_counted("pages_scanned", 2 * (SKIPS + 1));

	require(scanned == 2 * N, "%lld pages were read in %d passes over %d", scanned,
		2 * (SKIPS + 1), N);
}

CASE(smart, off, 60)
{
	long long skipped = engine_read("pages_skipped");
	char *p = mem_map(N);

	require(engine_read("smart_scan") == 0, "smart_scan is on");
	mem_fill(p, N, N, 3000);
	area_with(p, N);
	engine_start();
	engine_passes(30);
	require(engine_counted("pages_scanned", 4) == 4 * N, "not every page is read: %s",
		engine_state());
	require(engine_read("pages_skipped") == skipped, "%s", engine_state());
}

CASE(smart, skips, 60)
{
	long long skipped, unmergeable = engine_read("pages_unmergeable");

	alone();
	require_few_are_read();
	skipped = engine_counted("pages_skipped", 2 * (SKIPS + 1));
	require(skipped == 2 * SKIPS * N, "%lld pages were skipped", skipped);
	require(engine_read("pages_unshared") == N, "%s", engine_state());
	require(engine_read("pages_unmergeable") == unmergeable, "%s", engine_state());
	engine_set("smart_scan", 0);
	engine_passes(1);
	require(engine_counted("pages_scanned", 2) == 2 * N, "pages are skipped when it is off");
}

/* Equal pages that come later merge as soon as without smart_scan. */
static void newcomers_merge(const char *p)
{
	char *q = mem_map(N);

	mem_fill(q, N, N, 3000);
	area_with(q, N);
	engine_merge_in(SETTLE, 1 + N, 1 + N);
	mem_check(p, N, N, 3000);
	mem_check(q, N, N, 3000);
}

CASE(smart, newcomer, 60)
{
	newcomers_merge(alone());
}

/* Whatever their turn of being read is: no pass is the wrong one to come in. */
CASE(smart, newcomers_at_any_time, 90)
{
	enum { COMERS = 16, TIMES = N / COMERS };
	char *p = alone();

	for (int i = 0; i < TIMES; i++) {
		char *q = mem_map(COMERS);

		mem_fill(q, COMERS, COMERS, 3000 + COMERS * i);
		area_with(q, COMERS);
		engine_merge_in(SETTLE, 1 + COMERS * (i + 1), 1 + COMERS * (i + 1));
		mem_check(q, COMERS, COMERS, 3000 + COMERS * i);
		engine_start();
		engine_passes(i % 3);
	}
	mem_check(p, N, N, 3000);
}

/*
 * Mappings that have a part of a block of 64 pages each, and share it with another one: they are
 * left out as whole blocks are, if in fewer passes, and found by newcomers.
 */
CASE(smart, parts_of_blocks, 60)
{
	char *p = mem_map(N);
	long long scanned;

	mem_fill(p, N, N, 3000);
	for (int i = 0; i < N; i += 64)
		require(!mprotect(p + i * PAGE, 32 * PAGE, PROT_READ), "mprotect: %m");
	leave_alone(p);
	scanned = engine_counted("pages_scanned", 2 * (SKIPS + 1));
	require(scanned >= 2 * N && scanned <= 5 * N, "%lld pages were read in %d passes over %d",
		scanned, 2 * (SKIPS + 1), N);
	newcomers_merge(p);
}

/* Pages that only look alike are read in full to know that, and then are alone like others. */
CASE(smart, alike, 60)
{
	char *p = mem_map(N);

	fill_alike(p);
	leave_alone(p);
	require_few_are_read();
	require(engine_read("pages_volatile") == 0, "%s", engine_state());
}

/* Numbers of passes come again: none is to be taken for one that is just over. */
CASE(smart, alike_for_long, 120)
{
	char *p = mem_map(N);

	sentinel();
	fill_alike(p);
	area_with(p, N);
	engine_merge(1, 1);
	for (int i = 0; i < 10; i++) {
		engine_passes(56);
		engine_expect(1, 1);
	}
}

/*
 * And find who is equal to them. Of those of one sample each is taken for the first
 * that merged, once, and read in two passes more.
 */
CASE(smart, alike_newcomer, 60)
{
	char *p = mem_map(N), *q = mem_map(N);

	fill_alike(p);
	leave_alone(p);
	fill_alike(q);
	area_with(q, N);
	engine_merge_in(SETTLE + 2, 1 + N, 1 + N);
	require(!memcmp(p, q, N * PAGE), "pages have changed");
}

/* A change of its own is seen when it is read again. */
CASE(smart, changed, 60)
{
	char *p = alone();

	mem_fill(p, N, 4, 3900);
	engine_merge_in(SKIPS + SETTLE, 1 + 4, 1 + N - 4);
	mem_check(p, N, 4, 3900);
}

/* Young pages are not skipped, so new memory merges in two passes. */
CASE(smart, fresh, 60)
{
	char *p;

	alone();
	p = mem_map(N);
	mem_fill(p, N, 4, 3900);
	area_with(p, N);
	engine_merge_in(SETTLE, 1 + 4, 1 + N - 4);
	mem_check(p, N, 4, 3900);
}

/* A page that turns up where there was none is read at once, old as its neighbours are. */
CASE(smart, hole, 60)
{
	char *p = mem_map(N);

	for (int i = 0; i < N; i++)
		if (i % 16)
			page_fill(p + i * PAGE, 3000 + i);
	sentinel();
	area_with(p, N);
	engine_set("smart_scan", 1);
	engine_merge(1, 1);
	engine_passes(30);
	for (int i = 0; i < N; i += 16)
		page_fill(p + i * PAGE, 3900);
	engine_merge_in(SETTLE, 1 + 1, 1 + N / 16 - 1);
	for (int i = 0; i < N; i++)
		require(page_is(p + i * PAGE, i % 16 ? 3000 + i : 3900), "page %d has changed", i);
}

/* In another domain a page is read anew: what it was is nothing to be noted there. */
CASE(smart, other_domain, 60)
{
	char *p = mem_map(N), *q;

	mem_fill(p, N, N, 3000);
	area_with(p, N);
	engine_set("smart_scan", 1);
	engine_start();
	engine_passes(30);
	require(engine_counted("pages_scanned", 2) <= N, "pages that are alone are not skipped");
	require(!engine_write("domain_mode", "process"), "domain_mode was refused");
	/* Two passes read all of them twice, where else they are read in one of nine. */
	require(engine_counted("pages_scanned", 2) == 2 * N, "after a change of domain_mode pages "
		"are taken for what they were: %s", engine_state());
	q = mem_map(N);
	mem_fill(q, N, N, 3000);
	area_with(q, N);
	engine_merge_in(SETTLE, N, N);
	mem_check(p, N, N, 3000);
	mem_check(q, N, N, 3000);
}

CASE(smart, values, 30)
{
	static const char *const bad[] = { "2", "-1", "x", "1x", "\n", NULL };

	for (int i = 0; bad[i]; i++)
		expect_errno(engine_write("smart_scan", bad[i]), EINVAL, bad[i]);
	require(!module_unload(), "rmmod failed");
	expect_errno(module_load("smart_scan=2"), EINVAL, "smart_scan=2");
	require(!module_load("smart_scan=0"), "insmod failed");
	require(engine_read("smart_scan") == 0, "smart_scan=0 is lost");
	require(!module_unload() && !module_load(""), "the module was not replaced");
	require(engine_read("smart_scan") == 1, "smart_scan is off by default");
}
