// SPDX-License-Identifier: GPL-2.0-or-later
/* How many merged pages there may be, and how many mappings may share one. */
#include "ksmtest.h"

static void expect_chains(long long chains, long long dups)
{
	require(engine_read("stable_node_chains") == chains &&
		engine_read("stable_node_dups") == dups,
		"%lld chains with %lld dups, not %lld with %lld",
		engine_read("stable_node_chains"), engine_read("stable_node_dups"),
		chains, dups);
}

/* How many mappings the page frame with the most has. */
static size_t most_sharing(const char *p, size_t npages)
{
	uint64_t *pfn = calloc(npages, sizeof(*pfn));
	size_t most = 0;

	pfns_of(p, npages, pfn);
	for (size_t i = 0; i < npages; i++) {
		size_t same = 0;

		for (size_t j = 0; j < npages; j++)
			same += pfn[j] == pfn[i];
		if (same > most)
			most = same;
	}
	free(pfn);
	return most;
}

CASE(limits, max_kernel_pages, 60)
{
	char *p = mem_map(128), *q = mem_map(128);

	mem_fill(p, 128, 16, 100);
	area_with(p, 128);
	engine_set("max_kernel_pages", 3);
	engine_merge(3, 3 * 7);
	engine_passes(SETTLE);
	engine_expect(3, 3 * 7);
	mem_check(p, 128, 16, 100);
	/* Merging into what is there goes on. */
	mem_fill(q, 128, 16, 100);
	area_with(q, 128);
	engine_merge(3, 3 * 15);
	/* A limit that is lowered takes nothing back. */
	engine_set("max_kernel_pages", 1);
	engine_merge(3, 3 * 15);
	engine_set("max_kernel_pages", 0);
	engine_merge(16, 256 - 16);
	mem_check(p, 128, 16, 100);
	mem_check(q, 128, 16, 100);
}

/* What is free again may be made anew. */
CASE(limits, max_kernel_pages_reused, 60)
{
	char *p = mem_map(64);

	engine_set("max_kernel_pages", 4);
	mem_fill(p, 64, 4, 100);
	area_with(p, 64);
	engine_merge(4, 60);
	mem_fill(p, 64, 4, 200);
	engine_passes(2 * SETTLE);
	engine_expect(4, 60);
	mem_check(p, 64, 4, 200);
}

static void limit_sharing(long long max)
{
	engine_set("max_page_sharing", max);
	require(engine_read("max_page_sharing") == max, "max_page_sharing reads %lld",
		engine_read("max_page_sharing"));
}

CASE(limits, max_page_sharing, 60)
{
	char *p = mem_map(300);

	limit_sharing(3);
	mem_fill(p, 300, 4, 100);
	area_with(p, 300);
	engine_merge(100, 200);
	mem_check(p, 300, 4, 100);
	require(most_sharing(p, 300) == 3, "%zu mappings share one page", most_sharing(p, 300));
	expect_chains(4, 100);
	mem_unmap(p, 300);
	engine_passes(SETTLE);
	expect_chains(0, 0);
}

/* What nobody set: fork() cannot make more of it than a page can count. */
CASE(limits, max_page_sharing_default, 60)
{
	char *p = mem_map(600);

	module_remove();
	require(!module_load(""), "insmod");
	engine_pace(20000, 5);
	engine_set("smart_scan", 0);
	mem_fill(p, 600, 1, 100);
	area_with(p, 600);
	engine_merge(3, 597);
	require(most_sharing(p, 600) == 256, "%zu mappings share one page", most_sharing(p, 600));
	mem_check(p, 600, 1, 100);
}

CASE(limits, max_page_sharing_two, 60)
{
	char *p = mem_map(512);

	limit_sharing(2);
	mem_fill(p, 512, 1, 100);
	area_with(p, 512);
	engine_merge(256, 256);
	require(most_sharing(p, 512) == 2, "%zu mappings share one page", most_sharing(p, 512));
	expect_chains(1, 256);
}

CASE(limits, max_page_sharing_refused, 60)
{
	char *p = mem_map(64);

	expect_errno(engine_write("max_page_sharing", "1"), EINVAL, "one mapping");
	expect_errno(engine_write("max_page_sharing", "2147483648"), EINVAL, "too many");
	mem_fill(p, 64, 1, 100);
	area_with(p, 64);
	engine_merge(1, 63);
	expect_errno(engine_write("max_page_sharing", "8"), EBUSY, "a change with merged pages");
	require(!engine_write("max_page_sharing", "256"), "the same value was refused");
	engine_set("run", 2);
	limit_sharing(8);
	engine_merge(8, 56);
	mem_check(p, 64, 1, 100);
}

/* Both of these limits: duplicates are merged pages too. */
CASE(limits, both, 60)
{
	char *p = mem_map(64);

	limit_sharing(4);
	engine_set("max_kernel_pages", 5);
	mem_fill(p, 64, 1, 100);
	area_with(p, 64);
	engine_merge(5, 15);
	mem_check(p, 64, 1, 100);
}

/* Duplicates whose users went away are filled up again. */
CASE(limits, prune, 60)
{
	char *p = mem_map(32), *q = mem_map(16);

	limit_sharing(4);
	engine_set("stable_node_chains_prune_millisecs", 0);
	mem_fill(p, 32, 1, 100);
	area_with(p, 32);
	engine_merge(8, 24);
	expect_chains(1, 8);
	/* Half the users of each, wherever they are. */
	for (size_t i = 0; i < 32; i++) {
		size_t users = 0;

		for (size_t j = 0; j < 32; j++)
			users += pfn_of(p + i * PAGE) == pfn_of(p + j * PAGE);
		if (users > 2)
			page_fill(p + i * PAGE, 5000 + i);
	}
	engine_passes(1);
	engine_expect(8, 8);
	mem_fill(q, 16, 1, 100);
	area_with(q, 16);
	engine_start();
	engine_passes(16);
	engine_expect(8, 24);
	require(most_sharing(p, 32) <= 4, "%zu mappings share one page", most_sharing(p, 32));
	mem_check(q, 16, 1, 100);
	expect_chains(1, 8);
}

/* The duplicate that newcomers are given goes away before the others. */
CASE(limits, dups_end_in_any_order, 60)
{
	char *p = mem_map(64);

	limit_sharing(4);
	mem_fill(p, 64, 1, 100);
	area_with(p, 64);
	for (int round = 0; round < 8; round++) {
		engine_merge(16, 48);
		expect_chains(1, 16);
		/* Other halves each time. */
		for (size_t i = 0; i < 64; i++)
			if ((i >> round % 6 & 1) == (round & 1))
				page_fill(p + i * PAGE, 6000 + i);
		engine_passes(1);
		for (size_t i = 0; i < 64; i++)
			if ((i >> round % 6 & 1) == (round & 1))
				page_fill(p + i * PAGE, 6000 + i);
		mem_fill(p, 64, 1, 100);
		engine_passes(2 * SETTLE);
		mem_check(p, 64, 1, 100);
	}
	page_fill(p, 1);
	mem_unmap(p + PAGE, 63);
	engine_passes(SETTLE);
	engine_expect(0, 0);
	expect_chains(0, 0);
}

CASE(limits, at_load, 60)
{
	char *p = mem_map(64);

	require(!module_unload(), "unloading failed");
	expect_errno(module_load("max_page_sharing=1"), EINVAL, "max_page_sharing=1 at load");
	expect_errno(module_load("merge_across_nodes=2"), EINVAL, "merge_across_nodes=2 at load");
	expect_errno(module_load("use_zero_pages=2"), EINVAL, "use_zero_pages=2 at load");
	require(!module_load("max_page_sharing=4 max_kernel_pages=2 use_zero_pages=1"),
		"good values were refused at load");
	require(engine_read("use_zero_pages") == 1, "use_zero_pages is lost");
	engine_pace(20000, 5);
	mem_fill(p, 64, 1, 100);
	area_with(p, 64);
	engine_merge(2, 6);
}
