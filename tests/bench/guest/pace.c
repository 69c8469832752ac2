// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Saved memory over time at a slow, even pace, as on a machine that has other
 * things to do. With --like the pace is sought that takes as much CPU time as
 * another engine's did, which left it in that file.
 *
 * A dynamic workload: every other second a process ends and a new one comes, and
 * a part of another one's memory changes.
 */
#include "bench.h"

#define SLEEP_MS 20
#define LOOK_MS 250
#define CHANGE_SECONDS 2
#define TRIES 4
/* As much CPU time as the other, but for so much. */
#define NEAR 1.03
#define SAMPLES_MAX 2000

struct sample {
	double seconds;
	long long cpu, saved;
};

static struct sample samples[SAMPLES_MAX];

static size_t run(const struct options *o, long long pages_to_scan)
{
	const struct merger *m = o->merger;
	double start, change = CHANGE_SECONDS, end = o->seconds;
	struct people people;
	unsigned int turn = 0;
	long long cpu;
	size_t n = 0;

	merger_up(m, o->threads);
	people_start(&people, o->workload, m, o->mib, o->procs);
	merger_pace(m, pages_to_scan, SLEEP_MS);
	cpu = merger_cpu(m);
	start = now();
	merger_set(m, "run", 1);
	while (n < SAMPLES_MAX && (!n || samples[n - 1].seconds < end)) {
		nap_ms(LOOK_MS);
		if (o->dynamic && now() - start >= change) {
			people_replace(&people, turn % people.procs);
			people_do(&people, (turn + 3) % people.procs, ORDER_REWRITE);
			turn++;
			change += CHANGE_SECONDS;
		}
		samples[n++] = (struct sample){
			now() - start, merger_cpu(m) - cpu, merger_saved(m)
		};
	}
	people_end(&people);
	merger_down(m);
	return n;
}

static long long target_of(const char *path)
{
	char text[64];

	require(file_read(path, text, sizeof(text)) > 0, "%s: no CPU time to meet", path);
	return atoll(text);
}

static void tell(const char *path, long long cpu)
{
	FILE *out = fopen(path, "we");

	require(out, "%s: %s", path, strerror(errno));
	fprintf(out, "%lld\n", cpu);
	fclose(out);
}

/* How far from the CPU time to meet. */
static double off(size_t n, long long target)
{
	double part = (double)samples[n - 1].cpu / target;

	return part > 1 ? part : 1 / part;
}

/* A pass ends a scan early, so the pace is not in proportion: the nearest of several tries. */
static size_t seek(const struct options *o, long long target, long long *pages, size_t n)
{
	static struct sample best[SAMPLES_MAX];
	double least = 2 * off(n, target);
	long long next = *pages;
	size_t nr = 0;

	for (int i = 0;; i++) {
		if (off(n, target) < least) {
			least = off(n, target);
			nr = n;
			*pages = next;
			memcpy(best, samples, n * sizeof(*best));
		}
		if (least < NEAR || i == TRIES)
			break;
		next = (double)next * target / samples[n - 1].cpu + 0.5;
		n = run(o, next);
	}
	memcpy(samples, best, nr * sizeof(*best));
	return nr;
}

void measure_pace(const struct options *o)
{
	long long pages = o->pages_to_scan;
	size_t n = run(o, pages);

	if (o->like && o->merger->module)
		n = seek(o, target_of(o->like), &pages, n);
	else if (o->like)
		tell(o->like, samples[n - 1].cpu);
	result_begin(o, "pace");
	printf("\"pages_to_scan\": %lld, \"samples\": [", pages);
	for (size_t i = 0; i < n; i++)
		printf("%s[%.3f, %lld, %lld]", i ? ", " : "", samples[i].seconds, samples[i].cpu,
		       samples[i].saved);
	printf("]");
	result_end();
}
