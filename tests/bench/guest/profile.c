// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where the CPU time of the first passes goes: the kernel's own profiler looks at the
 * engine's thread every so many instructions, and who had called whom then is
 * counted. What looking costs is not seen by it, but is CPU time of the thread: so
 * how much there was to do is measured without.
 */
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "bench.h"

/* Not much less is taken, nor without gaps; a prime, or it may fall into step with the engine. */
#define PERIOD_NS 20011
#define RING_PAGES 8192UL
#define PASSES 3
#define STACKS_MAX 8192
#define TEXT_MAX 1024

struct symbol {
	unsigned long address;
	char name[48];
};

static struct symbol *symbols;
static size_t nr_symbols;
static struct {
	char text[TEXT_MAX];
	long n;
} stacks[STACKS_MAX];
static size_t nr_stacks;

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return (x->address > y->address) - (x->address < y->address);
}

static void symbols_read(void)
{
	FILE *in = fopen("/proc/kallsyms", "re");
	size_t room = 0;
	char line[512], type;

	require(in, "/proc/kallsyms: %s", strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		struct symbol s;

		if (sscanf(line, "%lx %c %47s", &s.address, &type, s.name) != 3 ||
		    (type != 't' && type != 'T'))
			continue;
		if (nr_symbols == room) {
			room = room ? 2 * room : 1 << 16;
			symbols = realloc(symbols, room * sizeof(*symbols));
			require(symbols, "no memory");
		}
		symbols[nr_symbols++] = s;
	}
	fclose(in);
	qsort(symbols, nr_symbols, sizeof(*symbols), by_address);
	require(nr_symbols && symbols[nr_symbols - 1].address, "/proc/kallsyms tells no addresses");
}

static const char *symbol_at(unsigned long address)
{
	size_t low = 0, high = nr_symbols;

	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (symbols[middle].address <= address)
			low = middle;
		else
			high = middle;
	}
	return symbols[low].name;
}

/* Outermost first. */
static void stack_count(const uint64_t *ips, uint64_t nr)
{
	char text[TEXT_MAX] = "";
	size_t at = 0, i;

	while (nr--) {
		if (ips[nr] >= PERF_CONTEXT_MAX)
			continue;
		at += snprintf(text + at, sizeof(text) - at, "%s%s", at ? ";" : "",
			       symbol_at(ips[nr]));
		if (at >= sizeof(text))
			break;
	}
	for (i = 0; i < nr_stacks && strcmp(stacks[i].text, text); i++)
		;
	require(i < STACKS_MAX, "more than %d ways to get somewhere", STACKS_MAX);
	if (i == nr_stacks)
		memcpy(stacks[nr_stacks++].text, text, sizeof(text));
	stacks[i].n++;
}

static int profiler_open(long pid, struct perf_event_mmap_page **ring)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = PERIOD_NS,
		.sample_type = PERF_SAMPLE_CALLCHAIN,
	};
	int fd, err;

	/* Else it takes pauses when looking takes long, as it does where all is emulated. */
	err = file_write("/proc/sys/kernel/perf_cpu_time_max_percent", "0\n");
	require(!err, "perf_cpu_time_max_percent: %s", strerror(-err));
	fd = syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	require(fd >= 0, "perf_event_open: %s", strerror(errno));
	*ring = mmap(NULL, (RING_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	require(*ring != MAP_FAILED, "the profiler's memory: %s", strerror(errno));
	return fd;
}

static void ring_read(const struct perf_event_mmap_page *ring)
{
	const char *data = (const char *)ring + PAGE;
	uint64_t at = 0, head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);

	require(head < RING_PAGES * PAGE * 9 / 10, "the profiler's memory was too little");
	while (at < head) {
		const struct perf_event_header *event = (const void *)(data + at);
		const uint64_t *chain = (const void *)(event + 1);

		require(event->type != PERF_RECORD_LOST && event->type != PERF_RECORD_THROTTLE,
			"the profiler left out some of it");
		if (event->type == PERF_RECORD_SAMPLE)
			stack_count(chain + 1, chain[0]);
		at += event->size;
	}
}

/* With the profiler or without; answers the CPU time in nanoseconds. */
static long long run(const struct options *o, bool profiled, long long *saved, size_t *pages)
{
	const struct merger *m = o->merger;
	struct perf_event_mmap_page *ring = NULL;
	struct people people;
	long long pass, start, cpu;
	int fd = -1;

	merger_up(m, 1);
	people_start(&people, o->workload, m, o->mib, o->procs);
	if (profiled) {
		symbols_read();
		fd = profiler_open(merger_pid(m), &ring);
	}
	pass = merger_read(m, "full_scans");
	steps_begin(m, STEP_ALL);
	start = cpu = merger_cpu(m);
	merger_set(m, "run", 1);
	while (merger_read(m, "full_scans") < pass + PASSES)
		cpu = step(m);
	*saved = merger_saved(m);
	*pages = people_pages(&people);
	if (profiled) {
		ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
		ring_read(ring);
		munmap(ring, (RING_PAGES + 1) * PAGE);
		close(fd);
	}
	people_end(&people);
	merger_down(m);
	return cpu - start;
}

void measure_profile(const struct options *o)
{
	long long saved, cpu;
	size_t pages;

	cpu = run(o, false, &saved, &pages);
	run(o, true, &saved, &pages);
	result_begin(o, "profile");
	printf("\"cpu\": %lld, \"pages\": %zu, \"saved\": %lld, \"stacks\": {", cpu, pages, saved);
	for (size_t i = 0; i < nr_stacks; i++)
		printf("%s\"%s\": %ld", i ? ", " : "", stacks[i].text, stacks[i].n);
	printf("}");
	result_end();
}
