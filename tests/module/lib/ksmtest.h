/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a case may use. A case is a function that returns when all is well and
 * calls fail() (or a helper that does) when not; it runs in a process of its
 * own, with run=0, nothing merged and nothing registered when it starts.
 */
#ifndef KSMTEST_H
#define KSMTEST_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ksm_dev.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)

/*
 * cases: CASE(merge, exact, 60) { ... } is "merge.exact", at most 60 s long
 * (times patience and the soak factor)
 */

struct testcase {
	const char *name;
	void (*fn)(void);
	int seconds;
	struct testcase *next;
};

void case_add(struct testcase *tc);

#define CASE(group, ident, limit)						\
	static void group##_##ident(void);					\
	static struct testcase group##_##ident##_case = {			\
		.name = #group "." #ident, .fn = group##_##ident,		\
		.seconds = (limit),						\
	};									\
	__attribute__((constructor)) static void group##_##ident##_add(void)	\
	{									\
		case_add(&group##_##ident##_case);				\
	}									\
	static void group##_##ident(void)

/* verdicts, callable in any process and thread of the case */

/* Where they go. */
extern int report_fd;
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...);
__attribute__((noreturn, format(printf, 1, 2))) void skip(const char *fmt, ...);
/* A line beside the result. */
__attribute__((format(printf, 1, 2))) void note(const char *fmt, ...);
#define require(cond, ...) do { if (!(cond)) fail(__VA_ARGS__); } while (0)
/* got: 0, a positive answer, or -errno */
void expect_errno(long got, int want, const char *what);

/* What scan_threads is when a case starts, by --threads. */
extern int scan_threads;

/*
 * How hard: --soak makes races last so many times as long, --least SECONDS at the
 * least; --calls is how many calls a fuzzer makes, --seed what it and the writers
 * begin with.
 */
extern double soak_factor, soak_least;
extern double case_began;
/* How long a race lasts that usually takes so many seconds. */
double lasting(double seconds);
/* Whether one that usually takes so many rounds goes on with another. */
bool rounds_left(int round, int rounds);
extern unsigned long fuzz_calls;
extern uint64_t run_seed;

/* --patience: how many times as long to wait for anything, on a slow kernel. */
extern double patience;

/* time */

double now(void);
void nap_ms(long ms);

/* engine.c: the attributes in sysfs */

#define ENGINE "/sys/class/misc/ksm/"
/* One pass may be half over when memory is ready; then two whole ones. */
#define SETTLE 3

bool engine_there(void);
long long engine_read(const char *name);
int engine_write(const char *name, const char *text);	/* 0 or -errno */
void engine_set(const char *name, long long value);
void engine_pace(long long pages_to_scan, long long sleep_millisecs);
void engine_start(void);
void engine_stop(void);
void engine_passes(int n);
/* Both counters, within two seconds; fails otherwise. */
void engine_expect(long long shared, long long sharing);
/* Starts the thread, lets everything merge and expects the counts. */
void engine_merge(long long shared, long long sharing);
/* Choices, such as "never [share] always". */
const char *engine_choice(const char *name);
void engine_choose(const char *name, const char *word);
/* By how much a counter grows in so many whole passes; the thread must be at work. */
long long engine_counted(const char *name, int passes);
/* As engine_merge(), with the thread stopped after so many passes. */
void engine_merge_in(int passes, long long shared, long long sharing);
/* CPU time that the thread has used, in seconds. */
double thread_cpu_time(void);
/* Text of every counter, for messages. */
const char *engine_state(void);

/* device.c: /dev/ksm, areas and the module file; these answer 0 or -errno */

int dev_fd(void);
int dev_ioctl(int fd, unsigned long cmd, const void *arg);
int area_new(void);
int region_add(int area, const void *addr, size_t npages);
int region_remove(int area, const void *addr);
int task_add(int area, int mem_fd, const void *addr, size_t npages, unsigned int flags);
int task_remove(int area, int mem_fd, const void *addr, unsigned int flags);
int mem_open(pid_t pid);
/* A new area with this region; fails when it cannot be had. */
int area_with(const void *addr, size_t npages);
/*
 * Two equal pages that merge: counters of one shared and one sharing page, and
 * a proof that the thread does its work while something else must not merge.
 */
void sentinel(void);

extern const char *module_path;
bool module_there(void);
int module_load(const char *params);
int module_unload(void);
/* Expects it to go: at once, or when what ended tasks held was let go. */
void module_remove(void);
long module_refcnt(void);

/* memory.c: private anonymous memory and its contents */

char *mem_map(size_t npages);		/* small pages, a VMA of its own */
char *mem_map_huge(size_t npages);	/* huge pages wanted, 2 MiB aligned */
void mem_unmap(char *p, size_t npages);
void page_fill(void *page, uint64_t seed);
bool page_is(const void *page, uint64_t seed);
/* Page i gets the contents base + i % contents. */
void mem_fill(char *p, size_t npages, size_t contents, uint64_t base);
void mem_check(const char *p, size_t npages, size_t contents, uint64_t base);
bool page_is_zero(const void *page);

/* proc.c: what the kernel tells about memory */

#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_FILE		(1ULL << 61)
#define PM_PRESENT	(1ULL << 63)

uint64_t pagemap(const void *addr);
uint64_t pfn_of(const void *addr);
void pfns_of(const char *p, size_t npages, uint64_t *pfn);
size_t distinct_pfns(const char *p, size_t npages);
/* Sum of a field over the VMAs that touch the range, in pages. */
long smaps_pages(const char *p, size_t npages, const char *field);
/* MemFree, and what waits in the CPUs' lists of free pages, which may grow to 1/8 of all. */
long free_kb(void);
long meminfo_kb(const char *field);
/* Skips a case that looks for freed memory where the kernel keeps it for a while. */
void frees_at_once(void);
long vmstat(const char *field);		/* after folding the CPUs' deltas in */
int file_write(const char *path, const char *text);	/* 0 or -errno */
int file_read(const char *path, char *buf, size_t size);/* length or -errno */

/* Of this very program, for execve() with "--helper". */
void program_copy(const char *path, mode_t mode);

/* peer.c: another process that takes steps together with the case */

struct peer {
	pid_t pid;
	int in, out;
};

struct peer peer_start(void (*fn)(struct peer *self, void *arg), void *arg);
void peer_tell(struct peer *peer);	/* one step done, the other may go on */
void peer_wait(struct peer *peer);	/* until the other says so */
void peer_end(struct peer *peer);	/* tell, and expect a clean exit */
void peer_kill(struct peer *peer);
/* Expects the exit of a child with status 0. */
void reap(pid_t pid);

#endif
