// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Processes, and what they have in memory. What a page holds follows from the
 * workload, the process and the page's number, so that how much can be merged is
 * known beforehand.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "bench.h"

/* Neighbours of one kind, as files and heaps have them. */
#define RUN_OF_PAGES 4
#define ZERO 0
#define UNIQUE(proc, page, generation) \
	((1ULL << 60) + ((uint64_t)(generation) << 44) + ((uint64_t)(proc) << 32) + (page))
#define COMMON(page) ((1ULL << 61) + (page))

struct workload {
	const char *name;
	size_t procs;
	uint64_t (*content)(size_t proc, size_t page, unsigned int generation);
	bool huge, rewritten, programs, images;
};

/* Shared with a process; what it is told, and what it answers. */
struct talk {
	enum order order;
	struct times times;
};

static unsigned int percent_of(uint64_t number)
{
	number = (number + 1) * 0x9e3779b97f4a7c15ULL;
	number ^= number >> 29;
	number *= 0xbf58476d1ce4e5b9ULL;
	return (number >> 33) % 100;
}

static uint64_t clones(size_t proc, size_t page, unsigned int generation)
{
	(void)proc;
	(void)generation;
	return COMMON(page);
}

/* 15 % empty, 30 % as others have it, at another place in each process. */
static uint64_t mix(size_t proc, size_t page, unsigned int generation)
{
	size_t place = page + 1000 * RUN_OF_PAGES - 37 * RUN_OF_PAGES * (proc % 16);
	unsigned int percent = percent_of(place / RUN_OF_PAGES);

	if (percent < 15)
		return ZERO;
	return percent < 45 ? COMMON(place) : UNIQUE(proc, page, generation);
}

static uint64_t unique(size_t proc, size_t page, unsigned int generation)
{
	return UNIQUE(proc, page, generation);
}

static uint64_t zero(size_t proc, size_t page, unsigned int generation)
{
	(void)proc;
	(void)page;
	(void)generation;
	return ZERO;
}

/* Every other huge page is the same in all processes. */
static uint64_t huge(size_t proc, size_t page, unsigned int generation)
{
	return page / (HUGE / PAGE) % 2 ? UNIQUE(proc, page, generation) : COMMON(page);
}

static const struct workload workloads[] = {
	{ "clones", 4, clones },
	{ "mix", 8, mix },
	{ "unique", 4, unique },
	{ "zero", 4, zero },
	{ "volatile", 8, mix, .rewritten = true },
	{ "small", 64, mix },
	{ "huge", 4, huge, .huge = true },
	{ "guests", 3, NULL, .images = true },
	{ "programs", 4, NULL, .programs = true },
};

const struct workload *workload_named(const char *name)
{
	for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++)
		if (!strcmp(workloads[i].name, name))
			return &workloads[i];
	fail("no workload \"%s\"", name);
}

bool workload_is_volatile(const struct workload *w)
{
	return w->rewritten;
}

bool workload_is_programs(const struct workload *w)
{
	return w->programs;
}

/* What a guest had in memory (../lib/ksmbench/guests.py). */
static void fill_from_image(const struct people *p, size_t proc, char *memory)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/usr/share/ksm-bench/guest-%zu", proc);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	require(fd >= 0, "%s: %s", path, strerror(errno));
	for (size_t done = 0; done < p->npages * PAGE;) {
		ssize_t n = read(fd, memory + done, p->npages * PAGE - done);

		require(n > 0, "%s has only %zu bytes", path, done);
		done += n;
	}
	close(fd);
}

static void fill(const struct people *p, size_t proc, char *memory)
{
	if (p->w->images) {
		fill_from_image(p, proc, memory);
		return;
	}
	for (size_t i = 0; i < p->npages; i++) {
		uint64_t content = p->w->content(proc, i, p->generation);

		if (content == ZERO)
			/* A write, so that there is a page. */
			*(volatile char *)(memory + i * PAGE) = 0;
		else
			page_fill(memory + i * PAGE, content);
	}
}

/* A quarter of all pages, of those that nobody else has. */
static void rewrite(const struct people *p, size_t proc, char *memory)
{
	static uint64_t writes;

	for (size_t i = 0; i < p->npages; i++) {
		if (p->w->content(proc, i, 0) == UNIQUE(proc, i, 0) &&
		    percent_of(i + 12345) < 45)
			((volatile uint64_t *)(memory + i * PAGE))[300] = ++writes;
	}
}

static void expose(const struct merger *m, char *memory, size_t npages)
{
	if (m->module)
		area_with(memory, npages);
	else if (m->dir)
		require(!madvise(memory, npages * PAGE, MADV_MERGEABLE), "MADV_MERGEABLE: %s",
			strerror(errno));
}

struct one {
	struct people *people;
	size_t number;
};

static void person(struct peer *self, void *arg)
{
	struct one *one = arg;
	struct people *p = one->people;
	struct talk *talk = &p->talk[one->number];
	char *memory;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memory = p->w->huge ? mem_map_huge(p->npages) : mem_map(p->npages);
	fill(p, one->number, memory);
	if (p->w->huge)
		require(smaps_pages(memory, p->npages, "AnonHugePages") * 10 >= (long)p->npages * 9,
			"the kernel gave no huge pages");
	peer_tell(self);
	for (;;) {
		peer_wait(self);
		switch (talk->order) {
		case ORDER_EXPOSE:
			expose(p->m, memory, p->npages);
			break;
		case ORDER_REWRITE:
			rewrite(p, one->number, memory);
			break;
		case ORDER_WRITES:
			do_writes(memory, p->npages, &talk->times);
			break;
		case ORDER_READS:
			do_reads(memory, p->npages, &talk->times);
			break;
		}
		peer_tell(self);
	}
}

static void person_start(struct people *p, size_t number)
{
	struct one one = { p, number };

	p->peer[number] = p->w->programs ? program_start(p, number) : peer_start(person, &one);
	peer_wait(&p->peer[number]);
	if (p->w->programs)
		program_expose(p, number);
}

void people_start(struct people *p, const struct workload *w, const struct merger *m, size_t mib,
		  size_t procs)
{
	*p = (struct people){ .w = w, .m = m, .procs = procs ?: w->procs, .area = -1 };
	p->npages = mib * MIB_PAGES / p->procs;
	if (w->huge)
		p->npages &= ~(HUGE / PAGE - 1);
	require(p->npages, "%zu MiB are too little for %zu processes", mib, p->procs);
	p->peer = calloc(p->procs, sizeof(*p->peer));
	p->talk = mmap(NULL, p->procs * sizeof(*p->talk), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	require(p->peer && p->talk != MAP_FAILED, "no memory");
	for (size_t i = 0; i < p->procs; i++)
		person_start(p, i);
	if (!w->programs)
		people_do(p, -1, ORDER_EXPOSE);
}

void people_do(struct people *p, int one, enum order order)
{
	for (size_t i = 0; i < p->procs; i++) {
		if (one >= 0 && i != (size_t)one)
			continue;
		p->talk[i].order = order;
		peer_tell(&p->peer[i]);
		peer_wait(&p->peer[i]);
	}
}

struct times people_times(struct people *p, int one)
{
	return p->talk[one].times;
}

void people_replace(struct people *p, int one)
{
	peer_kill(&p->peer[one]);
	p->generation++;
	person_start(p, one);
	people_do(p, one, ORDER_EXPOSE);
}

void people_end(struct people *p)
{
	for (size_t i = 0; i < p->procs; i++)
		peer_kill(&p->peer[i]);
	if (p->area >= 0)
		close(p->area);
	free(p->peer);
	munmap(p->talk, p->procs * sizeof(*p->talk));
}

size_t people_pages(const struct people *p)
{
	size_t sum = 0;

	if (!p->w->programs)
		return p->procs * p->npages;
	for (size_t i = 0; i < p->procs; i++)
		sum += program_pages(p->peer[i].pid);
	return sum;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Of each content, what max_page_sharing lets one page stand for. */
long long people_ideal(const struct people *p)
{
	size_t n = people_pages(p), same = 0;
	uint64_t *all;
	long long kept = 0, limit;

	if (!p->w->content || !p->m->dir)
		return -1;
	limit = merger_max_page_sharing(p->m);
	all = malloc(n * sizeof(*all));
	require(all, "no memory");
	for (size_t i = 0; i < n; i++)
		all[i] = p->w->content(i / p->npages, i % p->npages, 0);
	qsort(all, n, sizeof(*all), compare);
	for (size_t i = 0; i < n; i++) {
		same = i && all[i] == all[i - 1] ? same + 1 : 0;
		if (same % limit == 0)
			kept++;
	}
	free(all);
	return n - kept;
}
