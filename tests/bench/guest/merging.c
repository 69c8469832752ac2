// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How much CPU time merging takes: until what can merge is merged, and for each
 * pass after it.
 *
 *   steps of a part of memory       saved pages against CPU time: the curve
 *   from pass 16 on, whole passes   the mean of a pass
 */
#include "bench.h"

#define STEPS_PER_PASS 24
#define FIRST_PASSES 3
#define PASSES_MAX 8
/* Where nobody knows how much can merge. */
#define PASSES_UNKNOWN 4
#define SETTLED_PASS 16

static void rewrite_after_pass(struct people *p, long long *pass)
{
	long long is = merger_read(p->m, "full_scans");

	if (is != *pass && workload_is_volatile(p->w))
		people_do(p, -1, ORDER_REWRITE);
	*pass = is;
}

void measure_merging(const struct options *o)
{
	const struct merger *m = o->merger;
	long long ideal, pass, first, cpu = 0, start, saved = 0, merged_at = -1, three_at = -1, one_at = -1;
	long long most = PASSES_MAX;
	const char *comma = "";
	struct people people;
	size_t pages;

	merger_up(m, o->threads);
	people_start(&people, o->workload, m, o->mib, o->procs);
	pages = people_pages(&people);
	ideal = people_ideal(&people);
	if (ideal < 0)
		most = PASSES_UNKNOWN;
	first = pass = merger_read(m, "full_scans");

	result_begin(o, "merging");
	printf("\"curve\": [");
	steps_begin(m, pages / STEPS_PER_PASS);
	start = merger_cpu(m);
	merger_set(m, "run", 1);
	while (pass - first < most && (three_at < 0 || (ideal && merged_at < 0))) {
		cpu = step(m) - start;
		saved = merger_saved(m);
		printf("%s[%lld, %lld]", comma, cpu, saved);
		comma = ", ";
		if (merged_at < 0 && ideal > 0 && saved * 100 >= ideal * 99)
			merged_at = cpu;
		rewrite_after_pass(&people, &pass);
		if (one_at < 0 && pass > first)
			one_at = cpu;
		if (three_at < 0 && pass - first >= FIRST_PASSES)
			three_at = cpu;
	}
	printf("], \"cpu_merged\": %lld, \"cpu_one\": %lld, \"cpu_three\": %lld", merged_at, one_at,
	       three_at);

	steps_begin(m, STEP_ALL);
	while (pass - first < SETTLED_PASS) {
		cpu = step(m);
		rewrite_after_pass(&people, &pass);
	}
	start = cpu;
	first = pass;
	printf(", \"passes\": [");
	comma = "";
	while (pass - first < (long long)o->passes) {
		long long before = cpu, from = pass;

		cpu = step(m);
		rewrite_after_pass(&people, &pass);
		require(pass - from <= 1, "%lld passes at once", pass - from);
		if (pass != from)
			printf("%s%lld", comma, cpu - before);
		comma = ", ";
	}
	printf("], \"cpu_pass\": %lld", (cpu - start) / (pass - first));
	printf(", \"saved\": %lld, \"shared\": %lld, \"ideal\": %lld, \"pages\": %zu", merger_saved(m),
	       merger_read(m, "pages_shared"), ideal, pages);
	printf(", \"metadata\": %lld", merger_metadata(m));
	result_end();
	people_end(&people);
	merger_down(m);
}
