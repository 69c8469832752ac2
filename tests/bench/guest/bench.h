/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ksm-bench is made of. It takes one measurement, with new processes, and
 * prints it as a line of JSON behind an @. Which ones, and in what order, is
 * said by the program that starts the VM (../bench).
 */
#ifndef BENCH_H
#define BENCH_H

#include "ksmtest.h"

#define MIB (1UL << 20)
#define MIB_PAGES (MIB / PAGE)

/* mergers.c: what merges pages, the module or the kernel's own ksmd */

struct merger {
	const char *name;
	const char *dir;	/* in sysfs; NULL: nothing merges */
	bool module;
	bool smart;		/* smart_scan=1 */
};

const struct merger *merger_named(const char *name);
/* Both are put into the state of a machine that has just started; one is then set up, stopped. */
void merger_up(const struct merger *m, int threads);
/* With everything unmerged. */
void merger_down(const struct merger *m);
long long merger_read(const struct merger *m, const char *name);
void merger_set(const struct merger *m, const char *name, long long value);
void merger_pace(const struct merger *m, long long pages_to_scan, long long sleep_millisecs);
/* CPU time of its threads in nanoseconds; 0 of none. */
long long merger_cpu(const struct merger *m);
/* Of its thread, or the first of them. */
long merger_pid(const struct merger *m);
/* Pages that are not in use thanks to it. */
long long merger_saved(const struct merger *m);
/* Bytes that it keeps about memory. */
long long merger_metadata(const struct merger *m);
long long merger_max_page_sharing(const struct merger *m);

/*
 * steps.c: with long pauses, so that nothing moves when it is looked at: the
 * counters of the module may be 0.2 s old.
 */

#define STEP_ALL 0xffffffffLL

/* From here on each step is of so many pages, or the rest of the pass. */
void steps_begin(const struct merger *m, long long pages);
/* Waits for the end of the next step; answers the CPU time used so far, in ns. */
long long step(const struct merger *m);

/* workloads.c: processes, and what they have in memory */

struct workload;

enum order { ORDER_EXPOSE, ORDER_REWRITE, ORDER_WRITES, ORDER_READS };

struct times {
	long n;
	double p50, p99, p999, max;	/* of a write or a request, in ns */
	double mib_per_second;		/* of reading */
	double per_second;		/* requests */
};

struct people {
	const struct workload *w;
	const struct merger *m;
	size_t procs, npages;		/* pages of each */
	struct peer *peer;
	struct talk *talk;
	unsigned int generation;
	int area;		/* of programs; -1: none */
};

const struct workload *workload_named(const char *name);
bool workload_is_volatile(const struct workload *w);
bool workload_is_programs(const struct workload *w);
/* Starts the processes with their memory filled, and lets it merge. */
void people_start(struct people *p, const struct workload *w, const struct merger *m, size_t mib,
		  size_t procs);
void people_end(struct people *p);
/* One does it, or all when it is -1. */
void people_do(struct people *p, int one, enum order order);
/* A new process in place of one that ends. */
void people_replace(struct people *p, int one);
/* What people_do(ORDER_WRITES or ORDER_READS) found. */
struct times people_times(struct people *p, int one);
/* How many pages can be saved, by what was written into them; -1: nobody knows. */
long long people_ideal(const struct people *p);
size_t people_pages(const struct people *p);

/* effect.c */
void do_writes(char *p, size_t npages, struct times *times);
void do_reads(const char *p, size_t npages, struct times *times);
long long clock_ns(void);
/* Sorts them. */
void times_of(uint32_t *took, size_t n, struct times *times);

/* programs.c: processes that know nothing of merging */
struct peer program_start(struct people *p, int number);
/* Once it has said that it is ready: a descriptor names what a process executes now. */
void program_expose(struct people *p, int number);
/* Its anonymous pages. */
size_t program_pages(pid_t pid);
/* Asks it for rows of its database, one after the other. */
void do_requests(int number, struct times *times);

/* measurements */

struct options {
	const struct merger *merger;
	const struct workload *workload;
	size_t mib, procs, passes;
	double seconds;
	int threads;
	long long pages_to_scan;
	bool dynamic;
	const char *like;		/* a file with the CPU time to meet */
	const char *label;		/* JSON that is passed on as it is */
};

void measure_merging(const struct options *o);
void measure_profile(const struct options *o);
void measure_pace(const struct options *o);
void measure_effect(const struct options *o);
void measure_threads(const struct options *o);
/* The start of the line that tells the result; the caller ends it. */
void result_begin(const struct options *o, const char *measure);
void result_end(void);

#endif
