// SPDX-License-Identifier: GPL-2.0-or-later
/* What merges, what does not, and the exact counts. */

#include "ksmtest.h"

/* What max_page_sharing is, unless somebody sets it. */
#define SHARING 256

/* N copies of M contents: M pages shared, unless more than SHARING have one, and the others sharing them. */
static void merge_and_count(char *p, size_t npages, size_t contents)
{
	size_t shared = contents * ((npages / contents + SHARING - 1) / SHARING);
	long before, after, saved_kb = (long)(npages - shared) * 4;

	mem_fill(p, npages, contents, 1000);
	area_with(p, npages);
	before = meminfo_kb("AnonPages");
	engine_merge(shared, npages - shared);
	mem_check(p, npages, contents, 1000);
	require(distinct_pfns(p, npages) == shared,
		"%zu contents are in %zu page frames", contents, distinct_pfns(p, npages));
	require(smaps_pages(p, npages, "Anonymous") == 0, "%ld pages are still anonymous",
		smaps_pages(p, npages, "Anonymous"));
	require(smaps_pages(p, npages, "Rss") == (long)npages, "Rss is %ld pages, not %zu",
		smaps_pages(p, npages, "Rss"), npages);
	/* Merged pages are not anonymous; allow for what else the VM does. */
	after = meminfo_kb("AnonPages");
	require(before - after >= saved_kb - 512 && before - after <= (long)npages * 4 + 512,
		"AnonPages went from %ld to %ld kB, while %ld kB were merged away",
		before, after, saved_kb);
}

static void count(size_t npages, size_t contents)
{
	merge_and_count(mem_map(npages), npages, contents);
}

CASE(merge, two_pages, 30) { count(2, 1); }
CASE(merge, all_equal, 60) { count(2048, 1); }
CASE(merge, few_contents, 60) { count(2048, 16); }
CASE(merge, odd_numbers, 60) { count(1009, 7); }
CASE(merge, pairs, 60) { count(2048, 1024); }

static void merge_huge(size_t npages, size_t contents)
{
	char *p = mem_map_huge(npages);

	file_write("/sys/kernel/mm/transparent_hugepage/enabled", "always");
	p[0] = 1;
	require(smaps_pages(p, npages, "AnonHugePages") > 0,
		"the kernel gave no huge page, the case would prove nothing");
	merge_and_count(p, npages, contents);
	file_write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
}

CASE(merge, huge_all_equal, 60) { merge_huge(2048, 1); }
CASE(merge, huge_few_contents, 60) { merge_huge(2048, 16); }

/* The region covers a part of each of two huge pages. */
CASE(merge, huge_in_part, 60)
{
	char *p = mem_map_huge(1024);

	mem_fill(p, 1024, 1, 7);
	require(smaps_pages(p, 1024, "AnonHugePages") > 0,
		"the kernel gave no huge page, the case would prove nothing");
	area_with(p + 256 * PAGE, 512);
	engine_merge(2, 510);
	mem_check(p, 1024, 1, 7);
	require(smaps_pages(p, 1024, "Anonymous") == 512, "%ld pages are anonymous, not 512",
		smaps_pages(p, 1024, "Anonymous"));
}

/*
 * Large folios that page table entries map. No exported function freezes or
 * splits them, so an engine may leave them alone, but then whole and counted.
 */
static void merged_or_skipped(char *p, size_t npages, size_t contents, uint64_t base)
{
	long long skipped = engine_read("pages_unmergeable");

	engine_start();
	engine_passes(SETTLE);
	mem_check(p, npages, contents, base);
	if (distinct_pfns(p, npages) == npages) {
		require(engine_read("pages_unmergeable") - skipped >= (long long)npages,
			"large folios are left alone, but not counted: %s", engine_state());
		note("large folios are left alone");
	} else {
		engine_expect(contents, npages - contents);
	}
	/* What is written anew is in small pages, at the latest. */
	require(!madvise(p, npages * PAGE, MADV_DONTNEED), "madvise: %s", strerror(errno));
	madvise(p, npages * PAGE, MADV_NOHUGEPAGE);
	mem_fill(p, npages, contents, base);
	engine_merge(contents, npages - contents);
}

CASE(merge, huge_split_mapping, 60)
{
	char *p = mem_map_huge(1024);

	mem_fill(p, 1024, 16, 6);
	require(smaps_pages(p, 1024, "AnonHugePages") > 0,
		"the kernel gave no huge page, the case would prove nothing");
	for (int i = 0; i < 2; i++) {
		require(!mprotect(p + i * HUGE + 5 * PAGE, PAGE, PROT_READ) &&
			!mprotect(p + i * HUGE + 5 * PAGE, PAGE, PROT_READ | PROT_WRITE),
			"mprotect: %s", strerror(errno));
	}
	area_with(p, 1024);
	merged_or_skipped(p, 1024, 16, 6);
}

#define FOLIOS "/sys/kernel/mm/transparent_hugepage/hugepages-"

/* Those of less than 2 MiB, since 6.8. */
CASE(merge, large_folios, 60)
{
	char *p, text[32] = "";
	long before;

	if (file_write(FOLIOS "64kB/enabled", "always"))
		skip("this kernel has no 64 kB folios");
	file_write(FOLIOS "2048kB/enabled", "never");
	file_read(FOLIOS "64kB/stats/anon_fault_alloc", text, sizeof(text));
	before = atol(text);
	p = mem_map_huge(1024);
	mem_fill(p, 1024, 16, 6);
	file_read(FOLIOS "64kB/stats/anon_fault_alloc", text, sizeof(text));
	file_write(FOLIOS "64kB/enabled", "never");
	file_write(FOLIOS "2048kB/enabled", "inherit");
	require(atol(text) >= before + 64, "the kernel gave %ld large folios, the case proves nothing",
		atol(text) - before);
	area_with(p, 1024);
	merged_or_skipped(p, 1024, 16, 6);
}

CASE(merge, nothing_unique, 60)
{
	char *p = mem_map(1024);

	mem_fill(p, 1024, 1024, 1000);
	area_with(p, 1024);
	engine_merge(0, 0);
	mem_check(p, 1024, 1024, 1000);
	require(smaps_pages(p, 1024, "Anonymous") == 1024, "%ld of 1024 pages are anonymous",
		smaps_pages(p, 1024, "Anonymous"));
	require(engine_read("pages_unshared") == 1024, "1024 unique pages, but: %s", engine_state());
	require(engine_read("general_profit") <= 0, "a profit of %lld from nothing",
		engine_read("general_profit"));
}

/* Pages that differ in one byte, wherever it is, are different. */
CASE(merge, one_byte_differs, 60)
{
	size_t npages = 1024;
	char *p = mem_map(2 * npages);

	for (size_t i = 0; i < 2 * npages; i++) {
		page_fill(p + i * PAGE, 5);
		p[i * PAGE + i % npages * 4 + i % 4] ^= 0x40;
	}
	area_with(p, 2 * npages);
	engine_merge(npages, npages);
	for (size_t i = 0; i < npages; i++)
		require(pfn_of(p + i * PAGE) == pfn_of(p + (i + npages) * PAGE),
			"the pages %zu and %zu are not shared", i, i + npages);
	for (size_t i = 0; i < 2 * npages; i++) {
		char *page = p + i * PAGE;

		page[i % npages * 4 + i % 4] ^= 0x40;
		require(page_is(page, 5), "page %zu has lost its contents", i);
	}
}

/*
 * Pages of one sample, which is what most of them will be here: all zeros but
 * for a word, in another place each time.
 */
CASE(merge, samples_collide, 60)
{
	enum { CONTENTS = 128, COPIES = 4 };
	size_t words = PAGE / sizeof(uint64_t);
	uint64_t *p = (uint64_t *)mem_map(CONTENTS * COPIES);

	memset(p, 0, CONTENTS * COPIES * PAGE);
	for (int i = 0; i < CONTENTS * COPIES; i++)
		p[i * words + i % CONTENTS * 4 + 1] = 1;
	area_with(p, CONTENTS * COPIES);
	engine_merge_in(4, CONTENTS, CONTENTS * (COPIES - 1));
	for (int i = 0; i < CONTENTS * COPIES; i++)
		for (size_t w = 0; w < words; w++)
			require(p[i * words + w] == (w == i % CONTENTS * 4UL + 1),
				"word %zu of page %d is %llu", w, i,
				(unsigned long long)p[i * words + w]);
}

/* Pages that have the sample of the only merged page, and are not like it. */
CASE(merge, sample_misleads, 60)
{
	char *p = mem_map(64), *q = mem_map(64);
	long long frozen;

	memset(p, 0, 64 * PAGE);
	memset(q, 0, 64 * PAGE);
	area_with(p, 64);
	engine_merge(1, 63);
	frozen = engine_read("pages_unmergeable");
	/* Late, when the sample of the merged page is known and is no other's. */
	for (int i = 0; i < 64; i++)
		q[i * PAGE + 8 + i * 32] = 1;
	area_with(q, 64);
	engine_merge_in(8, 1, 63);
	/* Each is tried once, and known for what it is then. */
	require(engine_read("pages_unmergeable") <= frozen + 64, "they are tried again and again: "
		"%s, %lld before", engine_state(), frozen);
	for (int i = 0; i < 64; i++) {
		require(page_is_zero(p + i * PAGE), "page %d is not zero", i);
		require(q[i * PAGE + 8 + i * 32] == 1, "a word of page %d is lost", i);
	}
	require(distinct_pfns(q, 64) == 64, "pages that differ in a word were merged");
}

/*
 * The sums of pages that differ in one word only differ, whichever word it is: none
 * is frozen for nothing.
 */
CASE(merge, every_word_counts, 60)
{
	enum { WORDS = PAGE / 8, N = WORDS + 1 };
	char *p = mem_map(N);
	long long frozen;

	mem_fill(p, N, 1, 77);
	for (int i = 0; i < WORDS; i++)
		p[i * PAGE + i * 8 + i % 8] ^= 1 << i % 7;
	frozen = engine_read("pages_unmergeable");
	area_with(p, N);
	engine_start();
	engine_passes(4);
	require(engine_read("pages_sharing") == 0, "pages that differ were merged: %s", engine_state());
	require(engine_read("pages_unmergeable") == frozen, "pages that differ have one sum: %s, %lld before",
		engine_state(), frozen);
}

CASE(merge, pages_of_zeros, 60)
{
	char *p = mem_map(512);

	memset(p, 1, 512 * PAGE);
	memset(p, 0, 512 * PAGE);
	area_with(p, 512);
	engine_merge(2, 510);
	for (int i = 0; i < 512; i++)
		require(page_is_zero(p + i * PAGE), "page %d is not zero", i);
}

/* Memory that was only read is the kernel's zero page: nothing to gain. */
CASE(merge, zero_page_left_alone, 60)
{
	char *p = mem_map(512);
	int sum = 0;

	sentinel();
	for (int i = 0; i < 512; i++)
		sum += ((volatile char *)p)[i * PAGE];
	area_with(p, 512);
	engine_merge(1, 1);
	require(sum == 0, "fresh memory is not zero");
}

/* Only private anonymous memory may be merged, whatever was registered. */
static void left_alone(char *p, size_t npages, const char *what)
{
	uint64_t *before = malloc(npages * 8), *after = malloc(npages * 8);

	require(p != MAP_FAILED, "mapping %s: %s", what, strerror(errno));
	sentinel();
	mem_fill(p, npages, 1, 3);
	pfns_of(p, npages, before);
	area_with(p, npages);
	engine_merge(1, 1);
	mem_check(p, npages, 1, 3);
	pfns_of(p, npages, after);
	require(!memcmp(before, after, npages * 8), "pages of %s were replaced", what);
}

CASE(merge, shared_memory_left_alone, 60)
{
	left_alone(mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
		   64, "shared memory");
}

CASE(merge, private_file_left_alone, 60)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	require(!ftruncate(fd, 64 * PAGE), "ftruncate: %s", strerror(errno));
	left_alone(mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0),
		   64, "a private file mapping");
}

CASE(merge, hugetlb_left_alone, 60)
{
	char *p;

	file_write("/proc/sys/vm/nr_hugepages", "2");
	p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED) {
		file_write("/proc/sys/vm/nr_hugepages", "0");
		skip("no hugetlb pages: %s", strerror(errno));
	}
	left_alone(p, 1024, "hugetlb memory");
	munmap(p, 2 * HUGE);
	file_write("/proc/sys/vm/nr_hugepages", "0");
}

/* Two processes, two areas. */
static void fill_and_register(struct peer *self, void *arg)
{
	char *p = mem_map(256);

	mem_fill(p, 256, 16, *(uint64_t *)arg);
	area_with(p, 256);
	peer_tell(self);
	peer_wait(self);
	mem_check(p, 256, 16, *(uint64_t *)arg);
}

CASE(merge, across_processes, 60)
{
	uint64_t base = 50;
	struct peer a = peer_start(fill_and_register, &base);
	struct peer b = peer_start(fill_and_register, &base);

	peer_wait(&a);
	peer_wait(&b);
	engine_merge(16, 2 * 256 - 16);
	peer_end(&a);
	engine_expect(16, 256 - 16);
	peer_end(&b);
	engine_expect(0, 0);
}

/* A region says which addresses, not what is mapped there when it is made. */
CASE(merge, mapped_after_registering, 60)
{
	char *p;

	sentinel();	/* first, for it would be mapped into the hole */
	p = mem_map(512);
	mem_unmap(p, 512);
	area_with(p, 512);
	engine_merge(1, 1);
	require(mmap(p, 512 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p, "mmap failed");
	madvise(p, 512 * PAGE, MADV_NOHUGEPAGE);
	mem_fill(p, 512, 4, 70);
	engine_merge(1 + 4, 1 + 508);
	mem_check(p, 512, 4, 70);
}

/* One region over several mappings and the holes between them. */
CASE(merge, region_with_holes, 60)
{
	char *p = mem_map(600);

	mem_fill(p, 600, 4, 80);
	mem_unmap(p + 100 * PAGE, 100);
	require(!mprotect(p + 400 * PAGE, 100 * PAGE, PROT_READ), "mprotect failed");
	area_with(p, 600);
	engine_merge(4, 496);
	mem_check(p, 100, 4, 80);
	mem_check(p + 200 * PAGE, 400, 4, 80);
}

/* Pages outside of every region stay as they are. */
CASE(merge, only_registered, 60)
{
	char *p = mem_map(300);

	mem_fill(p, 300, 1, 90);
	area_with(p + 100 * PAGE, 100);
	engine_merge(1, 99);
	require(smaps_pages(p, 300, "Anonymous") == 200, "%ld pages are anonymous, not 200",
		smaps_pages(p, 300, "Anonymous"));
}

/* Later copies join pages that were merged long ago. */
CASE(merge, newcomers_join, 60)
{
	char *p = mem_map(256), *q = mem_map(256);
	uint64_t pfn;

	mem_fill(p, 256, 4, 100);
	area_with(p, 256);
	engine_merge(4, 252);
	pfn = pfn_of(p);
	mem_fill(q, 256, 4, 100);
	area_with(q, 256);
	engine_merge(4, 508);
	require(pfn_of(q) == pfn, "equal pages were merged into two page frames");
}

CASE(merge, profit, 60)
{
	char *p = mem_map(2048);
	long long profit, metadata;

	mem_fill(p, 2048, 1, 110);
	area_with(p, 2048);
	engine_merge(8, 2040);
	engine_stop();
	profit = engine_read("general_profit");
	metadata = engine_read("metadata_bytes");
	require(metadata > 0, "metadata_bytes is %lld", metadata);
	require(profit <= 2040 * (long long)PAGE && profit >= 2040 * (long long)PAGE - 2 * metadata,
		"general_profit is %lld with %lld bytes saved and %lld bytes of metadata",
		profit, 2040 * (long long)PAGE, metadata);
}

/* Bytes that are kept of a page, which docs/performance.md promises, and little besides. */
static void metadata_within(size_t npages, long long bytes)
{
	long long metadata = engine_read("metadata_bytes");

	require(metadata <= (long long)npages * bytes + 4096,
		"%lld bytes of metadata for %zu pages, %lld each: %s", metadata, npages, bytes,
		engine_state());
}

CASE(merge, metadata_of_unique, 120)
{
	enum { N = 16384 };
	char *p = mem_map(N);

	mem_fill(p, N, N, 5000);
	area_with(p, N);
	engine_start();
	/* Tables that grew are cut down in turns. */
	engine_passes(12);
	metadata_within(N, 16);
	/* As are those that most pages have left. */
	require(!munmap(p + N / 4 * PAGE, (N - N / 4) * PAGE), "munmap: %s", strerror(errno));
	engine_passes(12);
	engine_stop();
	metadata_within(N / 4, 16);
}

/* Four of each, and then one is left of each. */
CASE(merge, metadata_of_merged, 120)
{
	enum { N = 16384 };
	char *p = mem_map(N);

	mem_fill(p, N, N / 4, 5000);
	area_with(p, N);
	engine_merge(N / 4, N - N / 4);
	engine_passes(12);
	metadata_within(N, 16);
	require(!munmap(p + N / 4 * PAGE, (N - N / 4) * PAGE), "munmap: %s", strerror(errno));
	engine_passes(12);
	metadata_within(N / 4, 64);
}

/* Who waited for a pass reads what is so after it, not what was so before. */
CASE(merge, counters_after_a_pass, 60)
{
	enum { N = 64 };
	char *p = mem_map(N);

	mem_fill(p, N, 1, 90);
	area_with(p, N);
	engine_merge(1, N - 1);
	for (int i = N; i > 2; i--) {
		long long sharing;

		p[(i - 1) * PAGE] ^= i;
		engine_read("pages_sharing");
		engine_passes(1);
		sharing = engine_read("pages_sharing");
		require(sharing == i - 2, "%d pages share one, but %lld are counted", i - 1,
			sharing);
	}
}

/*
 * Content that was merged before and that nobody has any more: merged pages of
 * it are still there when it comes again, and go before it is known to stay.
 */
CASE(merge, content_that_comes_again, 60)
{
	require(!module_unload() && !module_load(""), "reloading the module failed");
	for (int round = 0; round < 3; round++) {
		char *p = mem_map(1024);
		int area;

		mem_fill(p, 1024, 256, 4000);
		area = area_with(p, 1024);
		/* No pass is half over, so two are enough. */
		engine_merge_in(2, 256, 1024 - 256);
		close(area);
		mem_unmap(p, 1024);
	}
}
