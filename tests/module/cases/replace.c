// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The module is replaced by another build while memory is merged: what the old
 * one merged stays merged, and the new one takes it over, finds its work again
 * and goes on.
 */
#include "remote.h"
#include "writers.h"

#define N 1024
#define M 128

static void replace(const char *params)
{
	int err;

	module_remove();
	nap_ms(20);
	err = module_load(params);
	require(!err, "insmod ksm.ko %s: %s", params, strerror(-err));
}

#define AT_WORK	"run=1 adopt_mergeable=1 pages_to_scan=20000 sleep_millisecs=5"

static struct remote marked(char **p, uint64_t base)
{
	struct remote r = remote_start();
	int err;

	*p = remote_map(&r, N);
	err = remote_madvise(&r, *p, N, MADV_MERGEABLE);
	require(!err, "madvise: %s", strerror(-err));
	remote_fill(&r, *p, N, M, base);
	return r;
}

static void merge_marked(long long shared, long long sharing)
{
	engine_set("adopt_mergeable", 1);
	engine_start();
	engine_passes(SETTLE + 1);
	engine_expect(shared, sharing);
}

/* One pass is enough to have everything back, in the frames that it was in. */
CASE(replace, takes_over, 90)
{
	char *p, *q, *late;
	struct remote a = marked(&p, 800), b = marked(&q, 800), c;
	long mapped, anon;

	merge_marked(M, 2 * N - M);
	mapped = vmstat("nr_mapped");
	anon = vmstat("nr_anon_pages");
	for (int round = 0; round < 3; round++) {
		replace("adopt_mergeable=1");
		engine_expect(0, 0);
		engine_merge_in(1, M, 2 * N - M);
	}
	require(labs(vmstat("nr_mapped") - mapped) < M / 2, "nr_mapped went from %ld to %ld", mapped,
		vmstat("nr_mapped"));
	require(labs(vmstat("nr_anon_pages") - anon) < M / 2, "nr_anon_pages went from %ld to %ld",
		anon, vmstat("nr_anon_pages"));
	/* Newcomers join them, so no second page of any content is made. */
	c = marked(&late, 800);
	merge_marked(M, 3 * N - M);
	remote_check(&c, late, N, M, 800);
	/* Written to, they are copied as ever. */
	remote_fill(&a, p, N, N, 5000);
	remote_check(&b, q, N, M, 800);
	remote_check(&a, p, N, N, 5000);
	engine_passes(SETTLE);
	engine_expect(M, 2 * N - M);
	remote_end(&b);
	remote_check(&c, late, N, M, 800);
	engine_expect(M, N - M);
	/* And the last user frees them. */
	remote_end(&c);
	engine_passes(1);
	engine_expect(0, 0);
	remote_end(&a);
}

CASE(replace, keeps_frames, 60)
{
	char *p = mem_map(N);
	uint64_t before[N], after[N];
	int area = area_new();

	mem_fill(p, N, M, 800);
	require(!task_add(area, mem_open(getpid()), p, N, KSM_TASK_DETACHED), "registering failed");
	close(area);
	engine_merge(M, N - M);
	pfns_of(p, N, before);
	replace("");
	area = area_with(p, N);
	engine_merge_in(1, M, N - M);
	pfns_of(p, N, after);
	require(!memcmp(before, after, sizeof(before)), "pages were moved to be taken over");
	close(area);
	/* Unmerging knows them. */
	engine_set("run", 2);
	engine_expect(0, 0);
	mem_check(p, N, M, 800);
	require(distinct_pfns(p, N) == N, "run=2 left pages merged");
}

/* Duplicates of one content are all taken over, and are a chain again. */
CASE(replace, duplicates, 60)
{
	char *p = mem_map(N);
	long long chains, dups;
	int area;

	engine_set("max_page_sharing", 8);
	mem_fill(p, N, 4, 800);
	area = area_with(p, N);
	engine_merge(N / 8, N - N / 8);
	chains = engine_read("stable_node_chains");
	dups = engine_read("stable_node_dups");
	close(area);
	replace("max_page_sharing=8");
	area_with(p, N);
	engine_merge_in(1, N / 8, N - N / 8);
	require(engine_read("stable_node_chains") == chains && engine_read("stable_node_dups") == dups,
		"%lld chains of %lld, %lld duplicates of %lld", engine_read("stable_node_chains"), chains,
		engine_read("stable_node_dups"), dups);
	mem_check(p, N, 4, 800);
}

/* What is taken over belongs to the domain that it was met in, and to no other. */
CASE(replace, domains, 90)
{
	char *p, *q, *late;
	struct remote a, b, c;

	require(!engine_write("domain_mode", "process"), "domain_mode=process was refused");
	a = marked(&p, 800);
	b = marked(&q, 800);
	merge_marked(2 * M, 2 * (N - M));
	replace("adopt_mergeable=1 domain_mode=process");
	engine_merge_in(1, 2 * M, 2 * (N - M));
	c = marked(&late, 800);
	merge_marked(3 * M, 3 * (N - M));
	remote_check(&a, p, N, M, 800);
	remote_check(&b, q, N, M, 800);
	remote_check(&c, late, N, M, 800);
	remote_end(&a);
	remote_end(&b);
	remote_end(&c);
}

/*
 * A child carries its parent's pages into a domain of its own. Whoever meets
 * them first has them; the other goes on to share the frames, and makes new
 * ones for its newcomers.
 */
CASE(replace, forked_into_another_domain, 90)
{
	char *p;
	struct remote a = marked(&p, 800), b;

	require(!engine_write("domain_mode", "process"), "domain_mode=process was refused");
	merge_marked(M, N - M);
	b = remote_fork(&a);
	replace("adopt_mergeable=1 domain_mode=process");
	engine_merge_in(2, M, 2 * N - M);
	remote_fill(&b, p, N / 2, M, 800);
	merge_marked(2 * M, 2 * N - 2 * M);
	remote_check(&a, p, N, M, 800);
	remote_check(&b, p, N, M, 800);
	remote_end(&b);
	remote_end(&a);
}

/* Above max_kernel_pages nothing is made, but what is there is taken over. */
CASE(replace, above_the_limit, 60)
{
	char *p, *late;
	struct remote a = marked(&p, 800), b;

	merge_marked(M, N - M);
	replace("adopt_mergeable=1 max_kernel_pages=10");
	engine_merge_in(1, M, N - M);
	b = marked(&late, 5000);
	merge_marked(M, N - M);
	remote_end(&b);
	remote_end(&a);
}

/*
 * Eight times under load, with threads, while writers, forks and exits go on; and
 * in each round all that nobody writes to is back.
 */
static void come_and_go(struct peer *self, void *arg)
{
	volatile bool *stop = arg;

	(void)self;
	while (!*stop) {
		pid_t pid = fork();

		if (!pid) {
			char *p = mem_map(256);

			madvise(p, 256 * PAGE, MADV_MERGEABLE);
			mem_fill(p, 256, 16, 800);
			nap_ms(150);
			mem_check(p, 256, 16, 800);
			_exit(0);
		}
		require(pid > 0, "fork: %s", strerror(errno));
		reap(pid);
	}
}

CASE(race, replace, 180)
{
	enum { PAGES = 1024 };
	volatile bool *stop = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *p = flippable(PAGES), *still = mem_map(N);
	struct worker w[THREADS];
	struct seen seen = { .want = N - M + 10 };
	struct peer peer[2];

	require(!madvise(p, PAGES * PAGE, MADV_MERGEABLE) &&
		!madvise(still, N * PAGE, MADV_MERGEABLE), "madvise: %s", strerror(errno));
	mem_fill(still, N, M, 800);
	for (int i = 0; i < 2; i++)
		peer[i] = peer_start(come_and_go, (void *)stop);
	writers_start(w, THREADS, flip, p, PAGES);
	for (int round = 0; rounds_left(round, 8); round++) {
		replace(round % 2 ? AT_WORK " scan_threads=3" : AT_WORK);
		seen.last = 0;
		watch(&seen, 0.7);
		mem_check(still, N, M, 800);
	}
	writers_join(w, THREADS);
	*stop = true;
	for (int i = 0; i < 2; i++)
		reap(peer[i].pid);
	check_flipped(p, PAGES);
	mem_check(still, N, M, 800);
	expect_seen(&seen);
	engine_passes(SETTLE);
	/* Of what is equal 256 mappings share a page; those that one module left, the next fills up. */
	require(engine_read("pages_shared") + engine_read("pages_sharing") == N + PAGES &&
		engine_read("pages_shared") <= M + 2 * PAGES / 256, "%s", engine_state());
	engine_set("run", 2);
	engine_expect(0, 0);
	check_flipped(p, PAGES);
	mem_check(still, N, M, 800);
}
