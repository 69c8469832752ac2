// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * adopt_mergeable: memory that processes marked with madvise(MADV_MERGEABLE),
 * as QEMU does, without any of them knowing /dev/ksm.
 */
#include "ksmtest.h"
#include "remote.h"

#define N 256
#define M 4

static struct remote marked(char **p, uint64_t base)
{
	struct remote r = remote_start();
	int err;

	*p = remote_map(&r, N);
	err = remote_madvise(&r, *p, N, MADV_MERGEABLE);
	if (err)
		skip("this kernel has no MADV_MERGEABLE: %s", strerror(-err));
	remote_fill(&r, *p, N, M, base);
	return r;
}

/* What is marked is found at the latest by the next pass. */
static void merge(long long shared, long long sharing)
{
	engine_start();
	engine_passes(SETTLE + 1);
	engine_expect(shared, sharing);
}

CASE(adopt, marked_before, 60)
{
	char *p, *q, *beside;
	struct remote a = marked(&p, 800), b = marked(&q, 800);

	beside = remote_map(&a, N);
	remote_fill(&a, beside, N, M, 800);
	engine_set("adopt_mergeable", 1);
	merge(M, 2 * N - M);
	remote_check(&a, p, N, M, 800);
	remote_check(&b, q, N, M, 800);
	require(remote_frames(&a, beside, N) == N, "memory was merged that nobody marked");
	remote_end(&a);
	engine_expect(M, N - M);
	remote_end(&b);
	engine_expect(0, 0);
}

CASE(adopt, off_by_default, 60)
{
	char *p;
	struct remote r = marked(&p, 800);

	sentinel();
	merge(1, 1);
	remote_end(&r);
}

CASE(adopt, marked_later, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N), *q;
	struct remote late;

	sentinel();
	engine_set("adopt_mergeable", 1);
	remote_fill(&r, p, N, M, 800);
	merge(1, 1);
	if (remote_madvise(&r, p, N, MADV_MERGEABLE))
		skip("this kernel has no MADV_MERGEABLE");
	merge(1 + M, 1 + N - M);
	late = marked(&q, 820);		/* a process that is started later */
	merge(1 + 2 * M, 1 + 2 * (N - M));
	remote_check(&late, q, N, M, 820);
	remote_end(&late);
	remote_end(&r);
	engine_expect(1, 1);
}

CASE(adopt, unmarked, 60)
{
	char *p;
	struct remote r = marked(&p, 800);
	int err;

	sentinel();
	engine_set("adopt_mergeable", 1);
	merge(1 + M, 1 + N - M);
	err = remote_madvise(&r, p, N, MADV_UNMERGEABLE);
	require(!err, "MADV_UNMERGEABLE: %s", strerror(-err));
	remote_check(&r, p, N, M, 800);
	remote_fill(&r, p, N, M, 840);
	merge(1, 1);
	remote_check(&r, p, N, M, 840);
	remote_end(&r);
}

/* Core mm cannot have both engines at work on one page. */
CASE(adopt, builtin_runs, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, 64), *q = mem_map(64);

	if (file_write("/sys/kernel/mm/ksm/run", "1"))
		skip("this kernel has no KSM of its own");
	/* So slow that it does nothing while we look. */
	file_write("/sys/kernel/mm/ksm/sleep_millisecs", "1000000");
	nap_ms(100);
	remote_fill(&r, p, 64, 1, 350);
	mem_fill(q, 64, 1, 350);
	require(!remote_madvise(&r, p, 64, MADV_MERGEABLE), "MADV_MERGEABLE failed");
	area_with(q, 64);
	engine_set("adopt_mergeable", 1);
	engine_merge(1, 63);
	require(!file_write("/sys/kernel/mm/ksm/run", "0"), "stopping the other engine failed");
	engine_merge(1, 127);
	file_write("/sys/kernel/mm/ksm/sleep_millisecs", "20");
	remote_check(&r, p, 64, 1, 350);
	remote_end(&r);
}

/* What fork() shares with memory that it works in it may change under our hands. */
CASE(adopt, builtin_shares, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N), *q = mem_map(64);
	int area, err;

	if (file_write("/sys/kernel/mm/ksm/run", "1"))
		skip("this kernel has no KSM of its own");
	/* So slow that it does nothing while we look. */
	file_write("/sys/kernel/mm/ksm/sleep_millisecs", "1000000");
	nap_ms(100);
	remote_fill(&r, p, N, M, 800);
	child = remote_fork(&r);
	require(!remote_madvise(&child, p, N, MADV_MERGEABLE), "MADV_MERGEABLE failed");
	mem_fill(q, 64, 1, 350);
	area = area_with(q, 64);
	err = task_add(area, mem_open(r.peer.pid), p, N, 0);
	require(!err, "KSM_REGISTER_TASK: %s", strerror(-err));
	engine_merge(1, 63);
	engine_passes(2 * SETTLE);
	engine_expect(1, 63);
	/* What it writes to is its own. */
	remote_fill(&r, p, N, M, 850);
	engine_merge(1 + M, 63 + N - M);
	require(!file_write("/sys/kernel/mm/ksm/run", "0"), "stopping the other engine failed");
	file_write("/sys/kernel/mm/ksm/sleep_millisecs", "20");
	remote_check(&r, p, N, M, 850);
	remote_check(&child, p, N, M, 800);
	remote_end(&child);
	remote_end(&r);
}

CASE(adopt, turned_off, 60)
{
	char *p;
	struct remote r = marked(&p, 800);

	sentinel();
	engine_set("adopt_mergeable", 1);
	merge(1 + M, 1 + N - M);
	engine_set("adopt_mergeable", 0);
	merge(1 + M, 1 + N - M);	/* stays merged */
	remote_fill(&r, p, N, M, 850);
	merge(1, 1);
	engine_set("adopt_mergeable", 1);
	merge(1 + M, 1 + N - M);
	remote_check(&r, p, N, M, 850);
	remote_end(&r);
}

/* The mark is inherited, so a child's own pages are taken in as well. */
CASE(adopt, forked, 60)
{
	char *p;
	struct remote r = marked(&p, 800), child;

	engine_set("adopt_mergeable", 1);
	merge(M, N - M);
	child = remote_fork(&r);
	remote_fill(&child, p, N, M, 860);
	merge(2 * M, 2 * (N - M));
	remote_check(&child, p, N, M, 860);
	remote_check(&r, p, N, M, 800);
	remote_end(&child);
	remote_end(&r);
	engine_expect(0, 0);
}

/* Marked and registered: once is enough. */
CASE(adopt, registered_too, 60)
{
	char *p;
	struct remote r = marked(&p, 800);
	int area = area_new();

	sentinel();
	engine_set("adopt_mergeable", 1);
	merge(1 + M, 1 + N - M);
	require(!task_add(area, mem_open(r.peer.pid), p, N, 0), "KSM_REGISTER_TASK failed");
	merge(1 + M, 1 + N - M);
	engine_set("adopt_mergeable", 0);
	remote_fill(&r, p, N, M, 870);
	merge(1 + M, 1 + N - M);	/* by its registration alone */
	engine_set("adopt_mergeable", 1);
	close(area);
	remote_fill(&r, p, N, M, 880);
	merge(1 + M, 1 + N - M);	/* by its mark alone */
	remote_check(&r, p, N, M, 880);
	remote_end(&r);
}

CASE(adopt, processes_come_and_go, 90)
{
	sentinel();
	engine_set("adopt_mergeable", 1);
	engine_pace(50, 0);
	engine_start();
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (!pid) {
			char *p = mem_map(N);

			if (madvise(p, N * PAGE, MADV_MERGEABLE))
				skip("this kernel has no MADV_MERGEABLE");
			mem_fill(p, N, M, 800);
			nap_ms(i);
			mem_check(p, N, M, 800);
			_exit(0);
		}
		reap(pid);
	}
	engine_pace(20000, 5);
	merge(1, 1);
}
