// SPDX-License-Identifier: GPL-2.0-or-later
#include "writers.h"

/* Merging begins in the second; how many there are is the machine's business. */
#define PASSES_MIN 3
#define LOOKS_MIN 10

#define FLIP_WORD 300
#define FLIP_SEED 4000

volatile bool writers_stop;

void writers_start(struct worker *w, int n, void *(*fn)(void *), char *p, size_t npages)
{
	for (int i = 0; i < n; i++) {
		w[i] = (struct worker){ .number = i, .p = p, .npages = npages,
			.random = run_seed + i };
		if (pthread_create(&w[i].thread, NULL, fn, &w[i]))
			fail("pthread_create failed");
	}
}

void writers_join(struct worker *w, int n)
{
	unsigned long written = 0;

	writers_stop = true;
	for (int i = 0; i < n; i++) {
		pthread_join(w[i].thread, NULL);
		written += w[i].written;
	}
	note("%lu writes", written);
}

unsigned int dice(struct worker *w, unsigned int sides)
{
	return (unsigned int)rand_r(&w->random) % sides;
}

static volatile uint64_t *flip_of(struct worker *w, size_t page)
{
	return (volatile uint64_t *)(w->p + page * PAGE) + FLIP_WORD;
}

static void flip_some(struct worker *w, size_t from, size_t to, unsigned char *is)
{
	for (size_t i = from; i < to; i++) {
		if (*flip_of(w, i) != is[i])
			fail("thread %d, page %zu: %llu, but %d was written", w->number, i,
			     (unsigned long long)*flip_of(w, i), is[i]);
		if (dice(w, 2)) {
			is[i] ^= 1;
			*flip_of(w, i) = is[i];
			w->written++;
		}
	}
}

void *flip(void *arg)
{
	struct worker *w = arg;
	size_t share = w->npages / THREADS, from = w->number * share, to = from + share;
	unsigned char *is = calloc(1, w->npages);

	for (int i = 1; !writers_stop; i++) {
		flip_some(w, from, to, is);
		if (dice(w, 4) == 0)
			nap_ms(dice(w, 8));
	}
	flip_some(w, from, to, is);
	/* Leave all pages equal. */
	for (size_t i = from; i < to; i++)
		*flip_of(w, i) = 0;
	free(is);
	return NULL;
}

void make_flippable(char *p, size_t npages)
{
	mem_fill(p, npages, 1, FLIP_SEED);
	for (size_t i = 0; i < npages; i++)
		((uint64_t *)(p + i * PAGE))[FLIP_WORD] = 0;
}

char *flippable(size_t npages)
{
	char *p = mem_map(npages);

	make_flippable(p, npages);
	return p;
}

void check_flipped(char *p, size_t npages)
{
	char *want = flippable(1);

	for (size_t i = 0; i < npages; i++)
		require(!memcmp(p + i * PAGE, want, PAGE), "page %zu is damaged", i);
	mem_unmap(want, 1);
}

void check_flipping(const char *p, size_t npages)
{
	static uint64_t want[PAGE / 8];

	page_fill(want, FLIP_SEED);
	for (size_t i = 0; i < npages; i++) {
		const uint64_t *page = (const uint64_t *)(p + i * PAGE);

		want[FLIP_WORD] = page[FLIP_WORD];
		require(page[FLIP_WORD] <= 1 && !memcmp(page, want, PAGE), "page %zu is damaged",
			i);
	}
}

static void look(struct seen *seen)
{
	long long sharing = engine_read("pages_sharing");

	if (sharing > seen->most)
		seen->most = sharing;
	if (sharing > seen->last)
		seen->risen += sharing - seen->last;
	seen->last = sharing;
}

static bool seen_enough(const struct seen *seen)
{
	/* Disturbances take as much longer on a slow kernel, and what merges does not wait. */
	return seen->most >= seen->want / patience && seen->passes >= PASSES_MIN;
}

void watch_doing(struct seen *seen, double seconds, void (*fn)(void))
{
	double start = now();
	long long from = engine_read("full_scans"), passes = seen->passes;
	int looks = 0;

	/* A disturbance may take long, so a look now and then is not enough to give up. */
	while (now() < start + seconds ||
	       (!seen_enough(seen) &&
		(now() < start + 3 * seconds * patience || looks < LOOKS_MIN))) {
		looks++;
		look(seen);
		seen->passes = passes + engine_read("full_scans") - from;
		if (fn)
			fn();
		nap_ms(20);
	}
}

void watch(struct seen *seen, double seconds)
{
	watch_doing(seen, seconds, NULL);
}

void expect_seen(const struct seen *seen)
{
	note("%lld passes, at most %lld pages sharing, %lu seen to come", seen->passes, seen->most,
	     seen->risen);
	require(seen_enough(seen),
		"the writers met no merging: at most %lld pages sharing in %lld passes: %s",
		seen->most, seen->passes, engine_state());
}
