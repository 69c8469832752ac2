// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writers against the engine, on two CPUs. A thread knows what it wrote last;
 * any other value in its place is a lost write. Each case also proves that
 * memory did merge meanwhile.
 */
#include "writers.h"

/*
 * Counters: word 128 * t + x of each page is thread t's own and holds the number
 * of its sweeps over the page; the last word counts the sweeps of all.
 */
static const int own_words[] = { 0, 37, 126 };

static uint64_t *word_of(struct worker *w, size_t page, int x)
{
	return (uint64_t *)(w->p + page * PAGE) + 128 * w->number + own_words[x];
}

static void *count_up(void *arg)
{
	struct worker *w = arg;

	while (!writers_stop) {
		for (size_t i = 0; i < w->npages; i++) {
			for (int x = 0; x < 3; x++) {
				volatile uint64_t *word = word_of(w, i, x);

				if (*word != w->sweeps)
					fail("thread %d, page %zu, word %d: %llu, but %llu was written",
					     w->number, i, x, (unsigned long long)*word,
					     (unsigned long long)w->sweeps);
				*word = w->sweeps + 1;
			}
			__atomic_fetch_add((uint64_t *)(w->p + i * PAGE) + 511, 1, __ATOMIC_RELAXED);
			w->written += 4;
			/* So long that the engine finds pages unchanged since its last pass. */
			if (i % 64 == 63)
				nap_ms(dice(w, 12) * patience);
		}
		w->sweeps++;
		nap_ms(dice(w, 30) * patience);
	}
	return NULL;
}

CASE(race, counters, 120)
{
	enum { PAGES = 512 };
	char *p = mem_map(PAGES);
	struct worker w[THREADS];
	struct seen seen = { .want = 40 };
	uint64_t sum = 0;

	memset(p, 0, PAGES * PAGE);
	area_with(p, PAGES);
	engine_pace(20000, 1);
	engine_start();
	writers_start(w, THREADS, count_up, p, PAGES);
	watch(&seen, lasting(9));
	writers_join(w, THREADS);
	for (int t = 0; t < THREADS; t++)
		sum += w[t].sweeps;
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t all = ((uint64_t *)(p + i * PAGE))[511];

		for (int t = 0; t < THREADS; t++)
			for (int x = 0; x < 3; x++)
				require(*word_of(&w[t], i, x) == w[t].sweeps,
					"page %zu: %llu sweeps of thread %d, %llu are left", i,
					(unsigned long long)w[t].sweeps, t,
					(unsigned long long)*word_of(&w[t], i, x));
		require(all == sum, "page %zu: %llu sweeps of all threads, %llu are left", i,
			(unsigned long long)sum, (unsigned long long)all);
	}
	expect_seen(&seen);
	/* All pages are equal now; max_page_sharing is 256. */
	engine_merge(2, PAGES - 2);
}

CASE(race, flips, 90)
{
	enum { PAGES = 256 };
	char *p = flippable(PAGES);
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };

	area_with(p, PAGES);
	engine_pace(20000, 0);
	engine_start();
	writers_start(w, THREADS, flip, p, PAGES);
	watch(&seen, lasting(8));
	writers_join(w, THREADS);
	check_flipped(p, PAGES);
	expect_seen(&seen);
	engine_merge(1, PAGES - 1);
	check_flipped(p, PAGES);
}

static void compact(void)
{
	file_write("/proc/sys/vm/compact_memory", "1");
	nap_ms(100);
}

CASE(race, compaction, 90)
{
	enum { PAGES = 1024 };
	char *p = flippable(PAGES);
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };

	if (file_write("/proc/sys/vm/compact_memory", "1"))
		skip("this kernel cannot compact memory");
	area_with(p, PAGES);
	engine_pace(20000, 1);
	engine_start();
	writers_start(w, THREADS, flip, p, PAGES);
	watch_doing(&seen, lasting(6), compact);
	writers_join(w, THREADS);
	check_flipped(p, PAGES);
	expect_seen(&seen);
}

/* Every way to stop and go, with writers all the time. */
CASE(race, control, 180)
{
	enum { PAGES = 512 };
	char *p = flippable(PAGES);
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };
	int area = area_with(p, PAGES);

	engine_pace(20000, 0);
	writers_start(w, THREADS, flip, p, PAGES);
	for (int round = 0; rounds_left(round, 12); round++) {
		engine_start();
		watch(&seen, 0.3);
		engine_set("run", round % 3 == 0 ? 2 : 0);
		if (round % 3 == 1) {
			close(area);
			area = area_with(p, PAGES);
		} else if (round % 3 == 2) {
			engine_start();
			require(!region_remove(area, p), "removing the region failed");
			require(!region_add(area, p, PAGES), "registering again failed");
		}
	}
	writers_join(w, THREADS);
	check_flipped(p, PAGES);
	expect_seen(&seen);
	engine_merge(2, PAGES - 2);
	engine_set("run", 2);
	engine_expect(0, 0);
	check_flipped(p, PAGES);
}

CASE(race, unload, 90)
{
	enum { PAGES = 512 };
	char *p = flippable(PAGES);
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };

	writers_start(w, THREADS, flip, p, PAGES);
	for (int round = 0; rounds_left(round, 8); round++) {
		int area = area_with(p, PAGES);
		int err;

		engine_pace(20000, 0);
		engine_start();
		seen.last = 0;
		watch(&seen, 0.4);
		close(area);
		err = module_unload();
		require(!err, "rmmod: %s", strerror(-err));
		nap_ms(20);
		err = module_load("");
		require(!err, "insmod: %s", strerror(-err));
	}
	writers_join(w, THREADS);
	check_flipped(p, PAGES);
	expect_seen(&seen);
}

/* System calls that change the registered mappings, checked after each. */
#define SLOT 32UL

static void *remap(void *arg)
{
	struct worker *w = arg;
	char *p = w->p + w->number * SLOT * PAGE;
	char *aside = mem_map(SLOT);
	uint64_t base = 6000;

	for (int round = 0; !writers_stop; round++) {
		int protection = PROT_READ | PROT_WRITE;

		mem_fill(p, SLOT, 2, base);
		nap_ms(dice(w, 20));
		mem_check(p, SLOT, 2, base);
		switch (dice(w, 6)) {
		case 0:
			madvise(p, SLOT / 2 * PAGE, MADV_DONTNEED);
			for (size_t i = 0; i < SLOT / 2; i++)
				require(page_is_zero(p + i * PAGE), "page %zu is not zero", i);
			mem_check(p + SLOT / 2 * PAGE, SLOT / 2, 2, base);
			break;
		case 1:
			require(mremap(p, SLOT * PAGE, SLOT * PAGE,
				       MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, aside) == aside,
				"mremap: %s", strerror(errno));
			mem_check(aside, SLOT, 2, base);
			require(page_is_zero(p), "what was moved away is still there");
			break;
		case 2:
			protection = PROT_NONE;
			/* fall through */
		case 3:
			if (protection != PROT_NONE)
				protection = PROT_READ;
			require(!mprotect(p, SLOT * PAGE, protection), "mprotect: %s", strerror(errno));
			nap_ms(dice(w, 10));
			require(!mprotect(p, SLOT * PAGE, PROT_READ | PROT_WRITE), "mprotect: %s",
				strerror(errno));
			mem_check(p, SLOT, 2, base);
			break;
		case 4:
			require(mmap(p, SLOT / 2 * PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p,
				"mmap: %s", strerror(errno));
			require(page_is_zero(p), "a new mapping is not zero");
			mem_check(p + SLOT / 2 * PAGE, SLOT / 2, 2, base);
			/* One VMA again, which mremap() wants. */
			require(mmap(p, SLOT * PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p,
				"mmap: %s", strerror(errno));
			break;
		case 5: {
			pid_t pid = fork();

			if (!pid) {
				mem_check(p, SLOT, 2, base);
				mem_fill(p, SLOT, 2, base + 100);
				mem_check(p, SLOT, 2, base + 100);
				_exit(0);
			}
			require(pid > 0, "fork: %s", strerror(errno));
			reap(pid);
			mem_check(p, SLOT, 2, base);
			break;
		}
		}
		w->written += SLOT;
		base += round % 4;
	}
	return NULL;
}

CASE(race, mappings, 90)
{
	enum { PAGES = THREADS * SLOT };
	char *p = mem_map(PAGES);
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };

	area_with(p, PAGES);
	engine_pace(20000, 0);
	engine_start();
	writers_start(w, THREADS, remap, p, PAGES);
	watch(&seen, lasting(6));
	writers_join(w, THREADS);
	expect_seen(&seen);
}

/* Processes that register, merge and exit on both CPUs at once. */
static void come_and_go(struct peer *self, void *arg)
{
	volatile bool *over = arg;

	(void)self;
	for (int i = 0; !*over; i++) {
		pid_t pid = fork();

		if (!pid) {
			char *p = mem_map(128);

			mem_fill(p, 128, 4, 7000);
			area_with(p, 128);
			nap_ms(i * 7 % 50 * patience);
			mem_check(p, 128, 4, 7000);
			_exit(0);
		}
		reap(pid);
	}
}

CASE(race, exits, 90)
{
	struct peer peer[3];
	struct seen seen = { .want = 10 };
	bool *over = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	require(over != MAP_FAILED, "mmap: %s", strerror(errno));
	sentinel();
	engine_pace(20000, 0);
	engine_start();
	for (int i = 0; i < 3; i++)
		peer[i] = peer_start(come_and_go, over);
	watch(&seen, lasting(5));
	*over = true;
	for (int i = 0; i < 3; i++)
		reap(peer[i].pid);
	expect_seen(&seen);
	engine_merge(1, 1);
}
