// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory that the hardware lost: the kernel marks the page, and leaves it where it is mapped. */
#include "ksmtest.h"

#define N 64

/* What is known to be broken must not get new users. */
CASE(hwpoison, merged_page, 60)
{
	char *p = mem_map(N), *q = mem_map(N);
	int area, second;
	uint64_t lost;

	mem_fill(p, N, 1, 2000);
	area = area_with(p, N);
	engine_merge(1, N - 1);
	lost = pfn_of(p);
	/* Whether the kernel thinks that it could do something about it is its affair. */
	if (madvise(p, PAGE, MADV_HWPOISON)) {
		if (errno == EINVAL || errno == EPERM)
			skip("this kernel cannot feign lost memory: %s", strerror(errno));
		note("MADV_HWPOISON: %s", strerror(errno));
	}
	require(pfn_of(p + PAGE) == lost, "the lost page is not mapped any more");
	mem_fill(q, N, 1, 2000);
	second = area_with(q, N);
	engine_start();
	engine_passes(SETTLE);
	for (int i = 0; i < N; i++)
		require(pfn_of(q + i * PAGE) != lost, "page %d was merged with a lost one", i);
	/* They still merge with each other. */
	engine_expect(2, 2 * N - 2);
	mem_check(q, N, 1, 2000);
	/* Its users may have the rest of it, and it is never used again. */
	mem_unmap(p, N);
	engine_passes(SETTLE);
	engine_expect(1, N - 1);
	/* The kernel keeps its reference for ever, so the module knows the page until it goes. */
	mem_unmap(q, N);
	close(area);
	close(second);
	require(!module_unload(), "rmmod failed");
	require(!module_load(""), "insmod failed");
}
