// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scan_threads: several threads share a scan. What merges, how soon, and what
 * stops is the same with any number of them.
 */
#include <sched.h>

#include "ksmtest.h"
#include "writers.h"

#define PEERS 6
#define N 2048UL

static size_t threads_there(pid_t *pids, size_t most)
{
	char text[1024], *at = text;
	size_t n = 0;

	require(file_read(ENGINE "thread_pids", text, sizeof(text)) > 0, "thread_pids cannot be read");
	while (n < most && *at >= '0' && *at <= '9')
		pids[n++] = strtol(at, &at, 10), at += *at == ' ';
	require(*at == '\n', "thread_pids holds \"%s\"", text);
	require(pids[0] == engine_read("thread_pid"), "the first of thread_pids is not thread_pid");
	return n;
}

/* The leader starts and ends the others before its next scan. */
static void expect_threads(size_t want)
{
	pid_t pids[64];
	double end = now() + 10;
	size_t n;

	while ((n = threads_there(pids, 64)) != want) {
		require(now() < end, "%zu threads of %zu", n, want);
		nap_ms(20);
	}
}

static void with_pages(struct peer *self, void *arg)
{
	uintptr_t contents = (uintptr_t)arg;
	char *p = mem_map(N);

	mem_fill(p, N, contents, 4000);
	area_with(p, N);
	peer_tell(self);
	peer_wait(self);
	mem_check(p, N, contents, 4000);
}

/* No page may be left out between two threads, none be looked at twice. */
static void merge_with(int threads)
{
	struct peer peer[PEERS];

	for (int i = 0; i < PEERS; i++) {
		peer[i] = peer_start(with_pages, (void *)N);
		peer_wait(&peer[i]);
	}
	engine_set("scan_threads", threads);
	/*
	 * Threads do not meet equal pages in the same order in each pass; and once in a thousand
	 * times two of so many contents have the same sample, which takes two passes more.
	 */
	engine_merge_in(SETTLE + 2, N, (PEERS - 1) * N);
	for (int i = 0; i < PEERS; i++)
		peer_end(&peer[i]);
	engine_expect(0, 0);
}

CASE(threads, one_merges_all, 60) { merge_with(1); }
CASE(threads, two_merge_all, 60) { merge_with(2); }
CASE(threads, many_merge_all, 60) { merge_with(17); }

/* Each page is read once in a pass, whoever reads it. */
CASE(threads, read_once, 60)
{
	char *p = mem_map(4 * N);

	mem_fill(p, 4 * N, 4 * N, 1);
	area_with(p, 4 * N);
	engine_set("scan_threads", 4);
	engine_start();
	engine_passes(SETTLE);
	require(engine_counted("pages_scanned", 2) == 2 * 4 * N, "in two passes %zu pages were not read twice",
		4 * N);
	require(engine_read("pages_unshared") == 4 * N, "unshared: %s", engine_state());
}

/* One mapping of a few pages each: many threads in one page table. */
CASE(threads, in_one_table, 60)
{
	enum { MAPPINGS = 200 };
	char *p = mem_map(MAPPINGS * 4);
	int area = area_new();

	for (size_t i = 0; i < MAPPINGS; i++) {
		char *q = p + i * 4 * PAGE;

		require(!munmap(q + 3 * PAGE, PAGE), "munmap: %s", strerror(errno));
		mem_fill(q, 3, 3, 4000);
		require(!region_add(area, q, 3), "registering failed");
	}
	engine_set("scan_threads", 8);
	engine_pace(100000, 0);
	engine_merge(3, 3 * MAPPINGS - 3);
	for (size_t i = 0; i < MAPPINGS; i++)
		mem_check(p + i * 4 * PAGE, 3, 3, 4000);
}

CASE(threads, number, 60)
{
	static const char *const bad[] = { "0", "65", "-1", "x", "\n", "1 2" };
	static const int good[] = { 3, 64, 2, 1 };

	engine_set("adopt_mergeable", 1);
	engine_start();
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		engine_set("scan_threads", good[i]);
		expect_threads(good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_errno(engine_write("scan_threads", bad[i]), EINVAL, bad[i]);
	require(engine_read("scan_threads") == 1, "a bad value was taken");
	engine_set("scan_threads", 5);
	expect_threads(5);
	require(!module_unload(), "rmmod with five threads failed");
	expect_errno(module_load("scan_threads=0"), EINVAL, "insmod ksm.ko scan_threads=0");
	expect_errno(module_load("scan_threads=65"), EINVAL, "insmod ksm.ko scan_threads=65");
	require(!module_load("scan_threads=3 run=1 adopt_mergeable=1"), "insmod ksm.ko scan_threads=3 failed");
	expect_threads(3);
}

static long long runtime_ns(pid_t pid)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	require(file_read(path, text, sizeof(text)) > 0, "%s cannot be read", path);
	return strtoll(text, NULL, 10);
}

/* On two CPUs both work. */
CASE(race, threads_share_work, 60)
{
	char *p = mem_map(8 * N);
	pid_t pids[64];
	long long first, second;

	mem_fill(p, 8 * N, 8 * N, 1);
	area_with(p, 8 * N);
	engine_set("scan_threads", 2);
	engine_pace(8 * N, 0);
	engine_start();
	expect_threads(2);
	threads_there(pids, 2);
	engine_passes(SETTLE);
	first = runtime_ns(pids[0]);
	second = runtime_ns(pids[1]);
	nap_ms(3000);
	first = runtime_ns(pids[0]) - first;
	second = runtime_ns(pids[1]) - second;
	note("%.2f and %.2f s of CPU in 3 s", first / 1e9, second / 1e9);
	require(first > 0 && second > first / 4, "one thread used %.2f s, the other %.2f s",
		first / 1e9, second / 1e9);
}

/* A stop is one for all, and comes soon even amid a scan that has no end. */
CASE(threads, stop, 60)
{
	char *p = mem_map(16 * N);

	mem_fill(p, 16 * N, 16 * N, 1);
	area_with(p, 16 * N);
	engine_set("scan_threads", 4);
	engine_pace(UINT32_MAX, 0);
	for (int round = 0; round < 10; round++) {
		long long scanned;

		engine_start();
		nap_ms(30 + 10 * round);
		engine_stop();
		scanned = engine_read("pages_scanned");
		nap_ms(50);
		require(engine_read("pages_scanned") == scanned, "pages are read after a stop");
	}
}

/* Their number changes while they work, and pages are written. */
CASE(race, threads_come_and_go, 180)
{
	enum { PAGES = 1024 };
	char *p = flippable(PAGES);
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };

	area_with(p, PAGES);
	engine_pace(20000, 0);
	engine_start();
	writers_start(w, THREADS, flip, p, PAGES);
	for (int round = 0; rounds_left(round, 5); round++) {
		static const int numbers[] = { 4, 1, 2, 9, 3 };

		engine_set("scan_threads", numbers[round % 5]);
		seen.last = 0;
		watch(&seen, 0.4);
	}
	writers_join(w, THREADS);
	check_flipped(p, PAGES);
	expect_seen(&seen);
	engine_merge(PAGES / 256, PAGES - PAGES / 256);
}

/*
 * Pages that fork() shares are met by several threads at once; one that is
 * looked at by another is pinned, and waits for a later pass.
 */
CASE(race, threads_and_forks, 90)
{
	enum { CHILDREN = 8, PAGES = 1024, CONTENTS = 64 };
	char *p = mem_map(PAGES);
	pid_t pid[CHILDREN];
	int go[2];

	mem_fill(p, PAGES, CONTENTS, 4000);
	area_with(p, PAGES);
	require(!pipe(go), "pipe: %s", strerror(errno));
	for (int i = 0; i < CHILDREN; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			char byte;

			close(go[1]);
			area_with(p, PAGES);
			while (read(go[0], &byte, 1) > 0)
				;
			mem_check(p, PAGES, CONTENTS, 4000);
			_exit(0);
		}
	}
	engine_set("scan_threads", 3);
	engine_pace(20000, 0);
	engine_start();
	for (int i = 0; i < 60 && engine_read("pages_sharing") < (CHILDREN + 1) * PAGES - CONTENTS; i++)
		engine_passes(1);
	engine_expect(CONTENTS, (CHILDREN + 1) * PAGES - CONTENTS);
	mem_check(p, PAGES, CONTENTS, 4000);
	close(go[1]);
	for (int i = 0; i < CHILDREN; i++)
		reap(pid[i]);
	engine_expect(CONTENTS, PAGES - CONTENTS);
}
