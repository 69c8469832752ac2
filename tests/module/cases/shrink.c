// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory that the module gives back when the system asks for it. */
#include <signal.h>

#include "ksmtest.h"

#define CONTENTS 1024

/* Priority zero, which asks every shrinker for all it has. */
static void reclaim(void)
{
	int err = file_write("/proc/sys/vm/drop_caches", "2");

	require(!err, "drop_caches: %s", strerror(-err));
}

/*
 * Merged pages that nobody uses any more go at once, in the middle of a pass
 * whose end would free them; those in use stay, and so does what is registered.
 */
CASE(shrink, stale, 90)
{
	char *kept = mem_map(64), *p = mem_map(2 * CONTENTS), *q;
	long long before, after;
	long free_before;

	mem_fill(kept, 64, 4, 90000);
	area_with(kept, 64);
	mem_fill(p, 2 * CONTENTS, CONTENTS, 100);
	area_with(p, 2 * CONTENTS);
	engine_merge(4 + CONTENTS, 60 + CONTENTS);
	/* From here on the pass goes on for a day. */
	engine_pace(1, 60000);
	nap_ms(200);
	mem_unmap(p, 2 * CONTENTS);
	engine_expect(4, 60);
	before = engine_read("metadata_bytes");
	free_before = meminfo_kb("MemFree");
	reclaim();
	after = engine_read("metadata_bytes");
	note("%lld bytes of metadata before, %lld after; MemFree %ld and %ld kB", before, after,
	     free_before, meminfo_kb("MemFree"));
	require(before - after >= CONTENTS * 64,
		"reclaim took %lld bytes of metadata of %lld, with %d stale pages",
		before - after, before, CONTENTS);
	engine_expect(4, 60);
	mem_check(kept, 64, 4, 90000);
	/* What was forgotten is learned again. */
	q = mem_map(2 * CONTENTS);
	mem_fill(q, 2 * CONTENTS, CONTENTS, 100);
	area_with(q, 2 * CONTENTS);
	engine_pace(20000, 5);
	engine_merge(4 + CONTENTS, 60 + CONTENTS);
	mem_check(q, 2 * CONTENTS, CONTENTS, 100);
}

CASE(shrink, candidates, 90)
{
	size_t npages = 16384;
	char *p = mem_map(npages);
	long long before, after;
	double end;

	mem_fill(p, npages, npages, 100);
	area_with(p, npages);
	engine_merge(0, 0);
	engine_pace(1, 60000);
	nap_ms(200);
	before = engine_read("metadata_bytes");
	/* What the scan has locked is not waited for. */
	end = now() + 20 * patience;
	do {
		reclaim();
		after = engine_read("metadata_bytes");
	} while (before - after < (long long)npages * 8 && now() < end);
	require(before - after >= (long long)npages * 8,
		"reclaim took %lld bytes of metadata of %lld, with %zu candidates",
		before - after, before, npages);
	/* The pages find partners all the same. */
	mem_fill(p, npages, npages / 2, 100);
	engine_pace(20000, 5);
	engine_merge(npages / 2, npages / 2);
	mem_check(p, npages, npages / 2, 100);
}

/* Reclaim at every moment of the scan. */
CASE(race, reclaim, 90)
{
	char *p = mem_map(2048);
	pid_t pid = fork();

	require(pid >= 0, "fork: %s", strerror(errno));
	if (!pid)
		for (;;)
			reclaim();
	engine_set("max_page_sharing", 8);
	area_with(p, 2048);
	for (int round = 0; rounds_left(round, 6); round++) {
		mem_fill(p, 2048, 64, 100 + 1000 * round);
		engine_start();
		engine_passes(2 * SETTLE);
		mem_check(p, 2048, 64, 100 + 1000 * round);
		require(engine_read("pages_sharing") > 0, "nothing merged: %s", engine_state());
	}
	kill(pid, 9);
	waitpid(pid, NULL, 0);
	/* In full duplicates, if none was left half filled on the way. */
	engine_passes(SETTLE);
	require(engine_read("pages_shared") + engine_read("pages_sharing") == 2048 &&
		engine_read("pages_shared") >= 256, "not all merged: %s", engine_state());
}
