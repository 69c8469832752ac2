// SPDX-License-Identifier: GPL-2.0-or-later
/* thp_mode: which huge pages are split, and how little of the others is read. */
#include "ksmtest.h"

/* Pages of a huge page. */
#define H 512
/* The least that is 12 % of them, and what smart_scan and the sample may read. */
#define SHARE 62
#define SAMPLE 32

/* n huge pages of unique contents base + i. */
static char *huge_pages(size_t n, uint64_t base)
{
	char *p = mem_map_huge(n * H);

	mem_fill(p, n * H, n * H, base);
	require(smaps_pages(p, n * H, "AnonHugePages") == (long)(n * H),
		"the kernel gave no huge page, the case would prove nothing");
	area_with(p, n * H);
	return p;
}

/* Small pages with the contents of pages first, first + stride, ... of huge_pages(). */
static char *copies(size_t n, uint64_t base, size_t first, size_t stride)
{
	char *q = mem_map(n);

	for (size_t i = 0; i < n; i++)
		page_fill(q + i * PAGE, base + first + i * stride);
	area_with(q, n);
	return q;
}

static void check_copies(char *q, size_t n, uint64_t base, size_t first, size_t stride)
{
	for (size_t i = 0; i < n; i++)
		require(page_is(q + i * PAGE, base + first + i * stride), "page %zu is lost", i);
}

static void whole(char *p, size_t n)
{
	require(smaps_pages(p, n * H, "AnonHugePages") == (long)(n * H),
		"huge pages were split: %s", engine_state());
}

static void split(char *p)
{
	require(smaps_pages(p, H, "AnonHugePages") == 0, "the huge page is whole: %s",
		engine_state());
}

CASE(thp, share_reached, 60)
{
	char *p = huge_pages(1, 1000), *q = copies(SHARE, 1000, 3, 8);

	engine_merge_in(SETTLE, SHARE, SHARE);
	split(p);
	mem_check(p, H, H, 1000);
	check_copies(q, SHARE, 1000, 3, 8);
}

/* One page less: the copies find the huge page's, but are alone. */
CASE(thp, share_missed, 60)
{
	long long skipped = engine_read("pages_skipped");
	char *p = huge_pages(1, 1000), *q = copies(SHARE - 1, 1000, 3, 8);

	engine_merge(SHARE - 1, 0);
	engine_passes(SETTLE);
	engine_expect(SHARE - 1, 0);
	whole(p, 1);
	require(engine_read("pages_skipped") > skipped, "pages left to a huge page are not counted: %s",
		engine_state());
	mem_check(p, H, H, 1000);
	check_copies(q, SHARE - 1, 1000, 3, 8);
	/* A lower share is met by what is there. */
	engine_set("thp_split_share", 11);
	engine_merge(SHARE - 1, SHARE - 1);
	split(p);
	mem_check(p, H, H, 1000);
}

CASE(thp, share_of_the_region, 60)
{
	char *p = mem_map_huge(H);

	mem_fill(p, H, H, 1000);
	require(smaps_pages(p, H, "AnonHugePages") == H,
		"the kernel gave no huge page, the case would prove nothing");
	area_with(p + 100 * PAGE, 25);
	copies(3, 1000, 100, 1);
	engine_merge(3, 3);
	split(p);
	mem_check(p, H, H, 1000);
}

CASE(thp, never, 60)
{
	long long unmergeable = engine_read("pages_unmergeable");
	char *p = mem_map_huge(2 * H);

	mem_fill(p, 2 * H, 1, 5);
	whole(p, 2);
	engine_choose("thp_mode", "never");
	sentinel();
	area_with(p, 2 * H);
	engine_merge(1, 1);
	require(engine_counted("pages_skipped", 3) == 3 * 2 * H, "pages left whole are not counted");
	require(engine_counted("pages_scanned", 3) == 0, "pages of whole huge pages are read");
	require(engine_read("pages_unmergeable") == unmergeable, "%s", engine_state());
	engine_expect(1, 1);
	whole(p, 2);
	engine_choose("thp_mode", "share");
	engine_merge(1 + 4, 1 + 2 * H - 4);
	mem_check(p, 2 * H, 1, 5);
}

CASE(thp, always, 60)
{
	char *p = huge_pages(1, 1000), *q = copies(1, 1000, 77, 1);

	engine_merge(1, 0);
	whole(p, 1);
	engine_choose("thp_mode", "always");
	engine_merge(1, 1);
	split(p);
	mem_check(p, H, H, 1000);
	check_copies(q, 1, 1000, 77, 1);
}

/* A huge page that stays whole is read in part. */
CASE(thp, sample, 90)
{
	char *p = huge_pages(4, 1000);
	long long scanned;

	sentinel();
	engine_merge(1, 1);
	engine_passes(2);
	scanned = engine_counted("pages_scanned", 6);
	require(scanned == 6 * 4 * SAMPLE, "%lld pages of 4 huge pages were read in 6 passes",
		scanned);
	require(engine_counted("pages_skipped", 4) == 4 * 4 * (H - SAMPLE),
		"pages that are not read are not counted");
	require(engine_read("pages_unshared") == 4 * H, "%s", engine_state());
	engine_choose("thp_mode", "always");
	engine_passes(1);
	require(engine_counted("pages_scanned", 3) == 3 * 4 * H, "thp_mode=always reads in part");
	whole(p, 4);
}

/* What becomes equal to pages that are not read any more merges as soon as ever. */
static void newcomers(size_t first, size_t stride)
{
	char *p = huge_pages(1, 1000), *q;

	sentinel();
	engine_merge(1, 1);
	engine_passes(20);
	whole(p, 1);
	q = copies(SHARE, 1000, first, stride);
	engine_merge_in(SETTLE, 1 + SHARE, 1 + SHARE);
	split(p);
	mem_check(p, H, H, 1000);
	check_copies(q, SHARE, 1000, first, stride);
}

CASE(thp, newcomers_in_a_row, 60) { newcomers(200, 1); }
CASE(thp, newcomers_spread, 60) { newcomers(5, 8); }

/* Do pages merge at once that come when a huge page was scanned for so many passes? */
static bool come_at(int passes, long long merged)
{
	static uint64_t base = 1000;
	char *p, *q;
	bool at_once;

	base += 1000;
	p = huge_pages(1, base);
	engine_passes(passes);
	whole(p, 1);
	q = copies(SHARE, base, 7 * passes, 1);
	engine_pace(UINT32_MAX, 100 * patience);
	engine_passes(1 + SETTLE);
	at_once = smaps_pages(p, H, "AnonHugePages") == 0;
	/* Else they are found when it is their turn to be read. */
	engine_pace(20000, 5);
	engine_passes(at_once ? 0 : 16 + SETTLE);
	engine_expect(merged, merged);
	split(p);
	mem_check(p, H, H, base);
	check_copies(q, SHARE, base, 7 * passes, 1);
	return at_once;
}

/*
 * No pass is the wrong one to come in, not even the one before a page's turn of being read
 * comes round. Once in a thousand times a page takes another one for itself (candidates.c).
 */
CASE(thp, newcomers_at_any_time, 120)
{
	enum { FROM = 13, TIMES = 12 };
	int late = 0;

	sentinel();
	engine_merge(1, 1);
	for (int i = 0; i < TIMES; i++)
		late += !come_at(FROM + i % 6, 1 + SHARE * (i + 1));
	require(late <= 1, "%d of %d times they are found late", late, TIMES);
}

/* Partners that come a few at a time add up. */
CASE(thp, newcomers_in_turn, 60)
{
	char *p = huge_pages(1, 1000);

	sentinel();
	engine_merge(1, 1);
	engine_passes(4);
	copies(40, 1000, 0, 1);
	engine_merge(1 + 40, 1);
	engine_passes(4);
	whole(p, 1);
	copies(22, 1000, 300, 1);
	engine_merge_in(SETTLE, 1 + SHARE, 1 + SHARE);
	split(p);
	mem_check(p, H, H, 1000);
}

/* A huge page that is written anew is read anew. */
CASE(thp, rewritten, 60)
{
	char *p = huge_pages(2, 1000);

	sentinel();
	engine_merge(1, 1);
	engine_passes(20);
	whole(p, 2);
	/* A pass amid the writing would find it rewritten in part. */
	engine_stop();
	mem_fill(p, 2 * H, 4, 9000);
	engine_merge_in(SETTLE, 1 + 4, 1 + 2 * H - 4);
	mem_check(p, 2 * H, 4, 9000);
}

/* Written where the sample may miss it: within sixteen passes it does not. */
CASE(thp, rewritten_in_part, 60)
{
	char *p = huge_pages(1, 1000);

	sentinel();
	engine_merge(1, 1);
	engine_passes(20);
	whole(p, 1);
	engine_set("thp_split_share", 1);
	for (int i = 0; i < 6; i++)
		page_fill(p + (100 + i) * PAGE, 9000);
	engine_merge_in(16 + SETTLE, 2, 1 + 5);
	split(p);
	for (int i = 0; i < 6; i++)
		require(page_is(p + (100 + i) * PAGE, 9000), "page %d is lost", i);
	mem_check(p, 100, H, 1000);
	mem_check(p + 106 * PAGE, H - 106, H, 1106);
}

CASE(thp, values, 30)
{
	static const char *const bad_mode[] = { "", "\n", "x", "shares", "2", "[share]", NULL };
	static const char *const bad_share[] = { "0", "101", "-1", "x", "12 13", "\n", NULL };
	char text[64];

	for (int i = 0; bad_mode[i]; i++)
		if (*bad_mode[i])
			expect_errno(engine_write("thp_mode", bad_mode[i]), EINVAL, bad_mode[i]);
	for (int i = 0; bad_share[i]; i++)
		expect_errno(engine_write("thp_split_share", bad_share[i]), EINVAL, bad_share[i]);
	require(file_read(ENGINE "thp_mode", text, sizeof(text)) > 0 &&
		!strcmp(text, "never [share] always\n"), "thp_mode holds \"%s\"", text);
	require(engine_read("thp_split_share") == 12, "thp_split_share is %lld",
		engine_read("thp_split_share"));
	require(!module_unload(), "rmmod failed");
	expect_errno(module_load("thp_mode=x"), EINVAL, "thp_mode=x");
	expect_errno(module_load("thp_split_share=0"), EINVAL, "thp_split_share=0");
	require(!module_load("thp_mode=never thp_split_share=50"), "insmod failed");
	require(!strcmp(engine_choice("thp_mode"), "never"), "thp_mode=never is lost");
	require(engine_read("thp_split_share") == 50, "thp_split_share=50 is lost");
}
