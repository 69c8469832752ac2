// SPDX-License-Identifier: GPL-2.0-or-later
/* How long a pass takes without pauses, on the clock. */
#include "bench.h"

#define FIRST_PASSES 4

static double wait_for(const struct merger *m, long long pass)
{
	double end = now() + 300;

	while (merger_read(m, "full_scans") < pass) {
		require(now() < end, "no %lld passes within 300 s", pass);
		nap_ms(5);
	}
	return now();
}

void measure_threads(const struct options *o)
{
	const struct merger *m = o->merger;
	struct people people;
	double start, took;
	long long pass;

	merger_up(m, o->threads);
	people_start(&people, o->workload, m, o->mib, o->procs);
	merger_pace(m, STEP_ALL, 0);
	pass = merger_read(m, "full_scans") + FIRST_PASSES;
	merger_set(m, "run", 1);
	start = wait_for(m, pass);
	took = wait_for(m, pass + o->passes) - start;
	result_begin(o, "threads");
	printf("\"threads\": %d, \"pages\": %zu, \"seconds_pass\": %.6f", o->threads,
	       people_pages(&people), took / o->passes);
	result_end();
	people_end(&people);
	merger_down(m);
}
