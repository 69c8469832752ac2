// SPDX-License-Identifier: GPL-2.0-or-later
/* Tunables: what run, the pace and the module's parameters do, and bad values. */
#include "ksmtest.h"

#define N 256
#define M 4

CASE(control, defaults, 30)
{
	require(!module_unload(), "rmmod failed");
	require(!module_load(""), "insmod failed");
	require(engine_read("run") == 0, "run is %lld", engine_read("run"));
	require(engine_read("pages_to_scan") == 100, "pages_to_scan is %lld", engine_read("pages_to_scan"));
	require(engine_read("sleep_millisecs") == 20, "sleep_millisecs is %lld",
		engine_read("sleep_millisecs"));
	require(engine_read("adopt_mergeable") == 0, "adopt_mergeable is %lld",
		engine_read("adopt_mergeable"));
}

/* After 0 is written nothing merges any more. */
CASE(control, run_0_stops, 60)
{
	enum { PAGES = 2048 };
	char *p = mem_map(PAGES);
	uint64_t *before = malloc(PAGES * 8), *after = malloc(PAGES * 8);

	area_with(p, PAGES);
	for (int round = 0; round < 6; round++) {
		long long scanned;
		double end;

		mem_fill(p, PAGES, PAGES / 2, 600 + round * 5000);
		engine_pace(64, 0);
		/* Somewhere in the second pass, in which merging begins. */
		scanned = engine_read("pages_scanned") + PAGES * 10 / 9 + round * 128;
		engine_start();
		end = now() + 20 * patience;
		while (engine_read("pages_scanned") < scanned)
			require(now() < end, "nothing is scanned: %s", engine_state());
		engine_stop();
		pfns_of(p, PAGES, before);
		scanned = engine_read("pages_scanned");
		nap_ms(200);
		pfns_of(p, PAGES, after);
		require(!memcmp(before, after, PAGES * 8), "pages merged after run=0");
		require(engine_read("pages_scanned") == scanned, "pages were scanned after run=0");
		mem_check(p, PAGES, PAGES / 2, 600 + round * 5000);
	}
	mem_fill(p, PAGES, PAGES / 2, 600);
	nap_ms(300);
	engine_expect(0, 0);
	engine_pace(20000, 5);
	engine_merge(PAGES / 2, PAGES / 2);
	mem_check(p, PAGES, PAGES / 2, 600);
}

/* 0 takes effect at once although the thread is in a long pause. */
CASE(control, run_0_during_pause, 30)
{
	double start;

	sentinel();
	engine_set("sleep_millisecs", 4000000000);
	engine_start();
	nap_ms(200);
	start = now();
	engine_stop();
	require(now() - start < 3, "run=0 took %.1f s", now() - start);
	/* And so does a shorter pause. */
	engine_start();
	nap_ms(200);
	engine_set("sleep_millisecs", 1);
	engine_merge(1, 1);
}

static void unmerge_child(struct peer *self, void *arg)
{
	char *p = arg;

	peer_tell(self);
	peer_wait(self);
	mem_check(p, N, M, 620);
	require(smaps_pages(p, N, "Anonymous") == N, "%ld of %d pages of the child are anonymous",
		smaps_pages(p, N, "Anonymous"), N);
	require(distinct_pfns(p, N) == N, "pages of the child are still shared");
}

CASE(control, run_2_unmerges, 60)
{
	char *p = mem_map(N), *read_only = mem_map(N), *gone = mem_map(N);
	struct peer child;
	long before, after;
	int area;

	mem_fill(p, N, M, 620);
	mem_fill(read_only, N, M, 620);
	mem_fill(gone, N, M, 620);
	area_with(p, N);
	area_with(read_only, N);
	area = area_with(gone, N);
	before = meminfo_kb("AnonPages");
	engine_merge(M, 3 * N - M);
	/* A region that is removed and a process that never registered. */
	close(area);
	require(!mprotect(read_only, N * PAGE, PROT_READ), "mprotect failed");
	child = peer_start(unmerge_child, p);
	peer_wait(&child);
	engine_expect(M, 6 * N - M);

	engine_set("run", 2);
	engine_expect(0, 0);
	require(engine_read("run") == 2, "run reads %lld", engine_read("run"));
	mem_check(p, N, M, 620);
	mem_check(read_only, N, M, 620);
	mem_check(gone, N, M, 620);
	require(smaps_pages(p, N, "Anonymous") == N, "memory stayed merged");
	require(smaps_pages(read_only, N, "Anonymous") == N, "read-only memory stayed merged");
	require(smaps_pages(gone, N, "Anonymous") == N, "memory of a closed area stayed merged");
	after = meminfo_kb("AnonPages");
	require(after - before > -512, "AnonPages were %ld and are %ld kB", before, after);
	peer_end(&child);
	nap_ms(300);
	engine_expect(0, 0);		/* stopped as well */
	/* The regions are still there. */
	engine_merge(M, 2 * N - M);
}

CASE(control, run_2_no_access, 60)
{
	char *p = mem_map(N);

	mem_fill(p, N, M, 620);
	area_with(p, N);
	engine_merge(M, N - M);
	require(!mprotect(p, N * PAGE, PROT_NONE), "mprotect failed");
	engine_set("run", 2);
	engine_expect(0, 0);
	require(!mprotect(p, N * PAGE, PROT_READ | PROT_WRITE), "mprotect failed");
	mem_check(p, N, M, 620);
	require(smaps_pages(p, N, "Anonymous") == N, "memory stayed merged");
}

/* pages_to_scan pages in each round of sleep_millisecs, and not more. */
CASE(control, pace, 60)
{
	char *p = mem_map(2048);
	long long from, to;
	double start, took;

	mem_fill(p, 2048, 2048, 640);
	area_with(p, 2048);
	engine_pace(20, 50);
	engine_start();
	nap_ms(500);
	start = now();
	from = engine_read("pages_scanned");
	nap_ms(3000);
	to = engine_read("pages_scanned");
	took = now() - start;
	require(to - from <= 20 * (took / 0.05 + 2), "%lld pages scanned in %.1f s at 20 in 50 ms",
		to - from, took);
	require(to - from >= 20 * 8, "only %lld pages scanned in %.1f s at 20 in 50 ms",
		to - from, took);
}

CASE(control, thread, 30)
{
	char path[64], name[64] = "";

	sentinel();
	engine_merge(1, 1);
	snprintf(path, sizeof(path), "/proc/%lld/comm", engine_read("thread_pid"));
	require(file_read(path, name, sizeof(name)) > 0, "%s: no such process", path);
	require(!strncmp(name, "ksm", 3), "thread_pid is a process called %s", name);
}

/* A refused value: EINVAL, and the old value stays. */
static void refuses(const char *name, long long good, const char *const *bad)
{
	engine_set(name, good);
	for (; *bad; bad++) {
		int err = engine_write(name, *bad);

		require(err == -EINVAL, "%s=%s: %s, expected EINVAL", name, *bad,
			err ? strerror(-err) : "accepted");
		require(engine_read(name) == good, "%s=%s changed it to %lld", name, *bad,
			engine_read(name));
	}
}

CASE(control, bad_values, 30)
{
	static const char *const bad_run[] = { "3", "-1", "x", "1x", "1 2", "\n", "4294967296",
		"4294967297", "99999999999999999999", NULL };
	static const char *const bad_pages[] = { "0", "-1", "x", "5x", "1 2", "\n", "4294967296",
		"99999999999999999999", NULL };
	static const char *const bad_sleep[] = { "-1", "x", "5x", "1 2", "\n", "4294967296",
		"99999999999999999999", NULL };
	static const char *const bad_flag[] = { "2", "-1", "x", "1x", "1 2", "\n", "4294967296",
		"99999999999999999999", NULL };

	refuses("run", 0, bad_run);
	refuses("run", 1, bad_run);
	refuses("pages_to_scan", 55, bad_pages);
	refuses("sleep_millisecs", 66, bad_sleep);
	refuses("adopt_mergeable", 0, bad_flag);
	refuses("adopt_mergeable", 1, bad_flag);
}

CASE(control, edge_values, 30)
{
	engine_set("pages_to_scan", 1);
	require(engine_read("pages_to_scan") == 1, "pages_to_scan is %lld", engine_read("pages_to_scan"));
	engine_set("pages_to_scan", 4294967295);
	require(engine_read("pages_to_scan") == 4294967295, "pages_to_scan is %lld",
		engine_read("pages_to_scan"));
	engine_set("sleep_millisecs", 4294967295);
	require(engine_read("sleep_millisecs") == 4294967295, "sleep_millisecs is %lld",
		engine_read("sleep_millisecs"));
	engine_set("sleep_millisecs", 0);
	require(engine_read("sleep_millisecs") == 0, "sleep_millisecs is %lld",
		engine_read("sleep_millisecs"));
	/* Without a pause, and with no end to a batch, 0 must still stop it. */
	sentinel();
	engine_set("pages_to_scan", 4294967295);
	engine_merge(1, 1);
	engine_stop();
}

CASE(control, counters_read_only, 30)
{
	static const char *const names[] = {
		"full_scans", "pages_scanned", "pages_shared", "pages_sharing", "pages_unshared",
		"pages_volatile", "pages_skipped", "pages_unmergeable", "general_profit",
		"metadata_bytes", "thread_pid", "ksm_zero_pages", "stable_node_chains",
		"stable_node_dups",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		engine_read(names[i]);
		expect_errno(engine_write(names[i], "1"), EACCES, names[i]);
	}
}

static void unprivileged(void)
{
	require(!setgid(65534) && !setuid(65534), "setuid: %s", strerror(errno));
}

CASE(control, tunables_root_only, 30)
{
	static const char *const names[] = {
		"run", "pages_to_scan", "sleep_millisecs", "adopt_mergeable", "scan_all_min_uid",
		"scan_all_protected", "scan_all", "smart_scan", "thp_split_share", "thp_mode",
		"scan_all_exclude_uids",
		"advisor_mode", "advisor_max_cpu", "use_zero_pages", "max_kernel_pages",
		"max_page_sharing", "merge_across_nodes", "stable_node_chains_prune_millisecs",
	};

	unprivileged();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		expect_errno(engine_write(names[i], "1"), EACCES, names[i]);
	}
	expect_errno(engine_write("domain_mode", "global"), EACCES, "domain_mode");
	require(open("/dev/ksm", O_RDWR) < 0 && errno == EACCES,
		"anybody may open /dev/ksm before udev gave it to a group");
}

static void refused_load(const char *params)
{
	int err = module_load(params);

	if (!err)
		module_unload();
	require(err == -EINVAL, "insmod ksm.ko %s: %s, expected EINVAL", params,
		err ? strerror(-err) : "loaded");
	require(!module_there() && !engine_there() && access("/dev/ksm", F_OK),
		"insmod ksm.ko %s failed, but left something behind", params);
}

CASE(control, parameters, 60)
{
	require(!module_unload(), "rmmod failed");
	refused_load("pages_to_scan=0");
	refused_load("run=3");
	refused_load("adopt_mergeable=2");
	refused_load("run=-1");
	refused_load("pages_to_scan=x");
	refused_load("run=1 pages_to_scan=77 sleep_millisecs=x");
	require(!module_load("run=1 pages_to_scan=77 sleep_millisecs=33 adopt_mergeable=1"),
		"insmod with good parameters failed");
	require(engine_read("run") == 1 && engine_read("pages_to_scan") == 77 &&
		engine_read("sleep_millisecs") == 33 && engine_read("adopt_mergeable") == 1,
		"parameters are lost: %s", engine_state());
	sentinel();
	engine_passes(SETTLE);
	engine_expect(1, 1);
}
