// SPDX-License-Identifier: GPL-2.0-or-later
/* What merging does to those whose memory is merged. */
#include <time.h>

#include "bench.h"

#define WRITES 8000
/* A short pause after so many, in which the engine has the CPU. */
#define WRITES_AT_ONCE 20
#define READ_SECONDS 2
#define FIRST_PASSES 4

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

long long clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void times_of(uint32_t *took, size_t n, struct times *times)
{
	qsort(took, n, sizeof(*took), compare);
	*times = (struct times){
		.n = n,
		.p50 = took[n / 2],
		.p99 = took[n * 99 / 100],
		.p999 = took[n * 999 / 1000],
		.max = took[n - 1],
	};
}

/* Each writes what is there already, so that the page can merge again. */
void do_writes(char *p, size_t npages, struct times *times)
{
	static uint32_t took[WRITES];
	unsigned int seed = 1;

	for (size_t i = 0; i < WRITES; i++) {
		volatile char *at = p + rand_r(&seed) % npages * PAGE;
		char was = *at;
		long long start = clock_ns();

		*at = was;
		took[i] = clock_ns() - start;
		if (i % WRITES_AT_ONCE == 0)
			nap_ms(5);
	}
	times_of(took, WRITES, times);
}

void do_reads(const char *p, size_t npages, struct times *times)
{
	double start = now(), took;
	volatile uint64_t sum = 0;
	size_t rounds = 0;

	do {
		const uint64_t *word = (const uint64_t *)p;
		uint64_t part = 0;

		for (size_t i = 0; i < npages * PAGE / sizeof(*word); i++)
			part += word[i];
		sum += part;
		rounds++;
		took = now() - start;
	} while (took < READ_SECONDS);
	times->mib_per_second = rounds * npages / (double)MIB_PAGES / took;
}

static void tell(const char *what, const struct times *times)
{
	printf("\"%s\": %ld, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f, \"max\": %.0f, ", what,
	       times->n, times->p50, times->p99, times->p999, times->max);
}

static void tell_memory(struct people *people)
{
	struct times times;

	people_do(people, 0, ORDER_WRITES);
	people_do(people, 0, ORDER_READS);
	times = people_times(people, 0);
	tell("writes", &times);
	printf("\"read_mib_per_second\": %.1f, ", times.mib_per_second);
}

static void tell_service(void)
{
	struct times times;

	do_requests(0, &times);
	tell("requests", &times);
	printf("\"requests_per_second\": %.2f, ", times.per_second);
}

/* Merged first, at full speed; then at the pace that was asked for. */
void measure_effect(const struct options *o)
{
	const struct merger *m = o->merger;
	struct people people;
	long long cpu;
	double start;

	merger_up(m, o->threads);
	people_start(&people, o->workload, m, o->mib, o->procs);
	if (m->dir) {
		steps_begin(m, STEP_ALL);
		merger_set(m, "run", 1);
		for (int i = 0; i < FIRST_PASSES; i++)
			step(m);
		merger_pace(m, o->pages_to_scan, 20);
	}
	result_begin(o, "effect");
	cpu = merger_cpu(m);
	start = now();
	if (workload_is_programs(o->workload))
		tell_service();
	else
		tell_memory(&people);
	printf("\"cpu\": %lld, \"seconds\": %.3f", merger_cpu(m) - cpu, now() - start);
	result_end();
	people_end(&people);
	merger_down(m);
}
