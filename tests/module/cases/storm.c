// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything that core mm does to pages, at full speed, against an engine that
 * scans without a pause and threads that write and verify all the time.
 */
#include <dirent.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "storm.h"
#include "system.h"
#include "writers.h"

#define PAGES STORM_PAGES
#define SECONDS 3

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

char *storm_at;
size_t storm_pages;
unsigned int storm_turn;

void storm_over(char *p, size_t npages, void (*disturb)(void))
{
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };

	storm_at = p;
	storm_pages = npages;
	make_flippable(p, npages);
	area_with(p, npages);
	engine_pace(20000, 0);
	engine_start();
	writers_start(w, THREADS, flip, p, npages);
	watch_doing(&seen, lasting(SECONDS), disturb);
	writers_join(w, THREADS);
	note("%u disturbances", storm_turn);
	check_flipped(p, npages);
	expect_seen(&seen);
}

void storm(void (*disturb)(void))
{
	storm_over(mem_map(PAGES), PAGES, disturb);
}

/* Half of a range, another one in each turn. */
static char *half(void)
{
	return storm_at + storm_turn % 3 * (storm_pages / 4) * PAGE;
}

static void be_forked(int depth)
{
	check_flipping(storm_at, storm_pages);
	if (depth < 2) {
		pid_t pid = fork();

		require(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			be_forked(depth + 1);
			_exit(0);
		}
		mem_fill(storm_at, 64, 2, 4100);
		mem_check(storm_at, 64, 2, 4100);
		reap(pid);
	} else if (storm_turn % 2) {
		execl("/proc/self/exe", "ksm-module-tests", "--helper", "sleep", "1", (char *)NULL);
		fail("execl: %s", strerror(errno));
	}
	check_flipping(storm_at + 64 * PAGE, storm_pages - 64);
}

static void fork_some(void)
{
	pid_t pid[4];

	for (int i = 0; i < 4; i++, storm_turn++) {
		pid[i] = fork();
		require(pid[i] >= 0, "fork: %s", strerror(errno));
		if (!pid[i]) {
			be_forked(0);
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++)
		reap(pid[i]);
}

CASE(race, forks, 60) { storm(fork_some); }

/* Processes whose regions vanish by munmap() and whose areas outlive them. */
static void *map_and_unmap(void *arg)
{
	struct worker *w = arg;

	for (int round = 0; !writers_stop; round++) {
		char *p = mem_map(64);
		int area = area_with(p, 64);

		mem_fill(p, 64, 2, 4200);
		nap_ms(dice(w, 30));
		mem_check(p, 64, 2, 4200);
		mem_unmap(p + 16 * PAGE, 16);
		mem_check(p, 16, 2, 4200);
		if (round % 2)
			mem_unmap(p, 64);
		close(area);
		if (round % 2 == 0)
			mem_unmap(p, 64);
		w->written += 64;
	}
	return NULL;
}

CASE(race, unmapping, 60)
{
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };

	engine_pace(20000, 0);
	engine_start();
	writers_start(w, THREADS, map_and_unmap, NULL, 0);
	watch(&seen, lasting(SECONDS));
	writers_join(w, THREADS);
	expect_seen(&seen);
}

/* Each page is its old self or zero after MADV_FREE, until it is written again. */
static void *free_lazily(void *arg)
{
	enum { SHARE = 64 };
	struct worker *w = arg;
	char *p = w->p + w->number * SHARE * PAGE, *want = malloc(PAGE);

	while (!writers_stop) {
		mem_fill(p, SHARE, 1, 4300);
		nap_ms(dice(w, 20));
		require(!madvise(p, SHARE * PAGE, MADV_FREE), "MADV_FREE: %s", strerror(errno));
		if (dice(w, 2))
			madvise(p, SHARE * PAGE, MADV_PAGEOUT);
		nap_ms(dice(w, 20));
		for (size_t i = 0; i < SHARE; i++) {
			volatile uint64_t *word = (uint64_t *)(p + i * PAGE) + 100;
			bool gone;

			/* From this write on its contents are settled. */
			*word = 77;
			gone = !word[1];
			if (gone)
				memset(want, 0, PAGE);
			else
				page_fill(want, 4300);
			((uint64_t *)want)[100] = 77;
			require(!memcmp(p + i * PAGE, want, PAGE),
				"page %zu is neither what it was nor zero", i);
		}
		nap_ms(dice(w, 20));
		for (size_t i = 0; i < SHARE; i++)
			require(((uint64_t *)(p + i * PAGE))[100] == 77,
				"page %zu lost what was written after MADV_FREE", i);
		w->written += SHARE;
	}
	free(want);
	return NULL;
}

CASE(race, madv_free, 60)
{
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };
	char *p = mem_map(THREADS * 64);

	swap_on(64 << 20);
	area_with(p, THREADS * 64);
	engine_pace(20000, 0);
	engine_start();
	writers_start(w, THREADS, free_lazily, p, THREADS * 64);
	watch(&seen, lasting(SECONDS));
	writers_join(w, THREADS);
	swap_off();
	expect_seen(&seen);
}

/* Written pages stay dirty until cleared, merged in between or not. */
static char *tracked;
#define TRACKED 128

static void track_writes(void)
{
	unsigned char written[TRACKED] = { 0 };

	require(!file_write("/proc/self/clear_refs", "4"), "clear_refs failed");
	for (int i = 0; i < TRACKED; i++) {
		volatile uint64_t *word = (uint64_t *)(tracked + i * PAGE);

		if (rand() % 2) {
			/* Of the same value: the page may merge right after. */
			*word = *word;
			written[i] = 1;
		}
	}
	nap_ms(rand() % 40);
	for (int i = 0; i < TRACKED; i++)
		require(!written[i] || pagemap(tracked + i * PAGE) & PM_SOFT_DIRTY,
			"page %d was written and is not dirty", i);
	mem_check(tracked, TRACKED, 1, 4400);
	storm_turn++;
}

CASE(race, soft_dirty, 60)
{
	tracked = mem_map(TRACKED);
	mem_fill(tracked, TRACKED, 1, 4400);
	area_with(tracked, TRACKED);
	file_write("/proc/self/clear_refs", "4");
	*(volatile char *)tracked = tracked[0];
	if (!(pagemap(tracked) & PM_SOFT_DIRTY) || pagemap(tracked + PAGE) & PM_SOFT_DIRTY)
		skip("this kernel keeps no soft-dirty bits");
	storm(track_writes);
}

static int uffd;

static void *write_a_byte(void *arg)
{
	*(volatile char *)arg ^= 1;
	return NULL;
}

/* Protected while merging goes on: the first write to each page is reported. */
static void protect_and_write(void)
{
	struct uffdio_register reg = { .range = { (uintptr_t)tracked, TRACKED * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = { reg.range, UFFDIO_WRITEPROTECT_MODE_WP };
	struct pollfd ready = { .fd = uffd, .events = POLLIN };
	char *page = tracked + rand() % TRACKED * PAGE;
	struct uffd_msg msg;
	pthread_t thread;

	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		skip("no write protection by userfaultfd: %s", strerror(errno));
	require(!ioctl(uffd, UFFDIO_WRITEPROTECT, &protect), "UFFDIO_WRITEPROTECT: %s",
		strerror(errno));
	nap_ms(rand() % 10);
	require(!pthread_create(&thread, NULL, write_a_byte, page), "pthread_create failed");
	require(poll(&ready, 1, 10000) == 1, "a write to a protected page was not reported");
	require(read(uffd, &msg, sizeof(msg)) == sizeof(msg), "userfaultfd: %s", strerror(errno));
	require((msg.arg.pagefault.address & -PAGE) == (uintptr_t)page,
		"userfaultfd told of another page");
	mem_check(tracked, TRACKED, 1, 4400);
	protect.mode = 0;
	require(!ioctl(uffd, UFFDIO_WRITEPROTECT, &protect), "UFFDIO_WRITEPROTECT: %s",
		strerror(errno));
	pthread_join(thread, NULL);
	require(!ioctl(uffd, UFFDIO_UNREGISTER, &reg.range), "UFFDIO_UNREGISTER: %s",
		strerror(errno));
	*page ^= 1;
	mem_check(tracked, TRACKED, 1, 4400);
	nap_ms(rand() % 20);
	storm_turn++;
}

CASE(race, userfaultfd_wp, 60)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		skip("no userfaultfd: %s", strerror(errno));
	tracked = mem_map(TRACKED);
	mem_fill(tracked, TRACKED, 1, 4400);
	area_with(tracked, TRACKED);
	storm(protect_and_write);
}

static void lock_some(void)
{
	require(!mlock(half(), storm_pages / 2 * PAGE), "mlock: %s", strerror(errno));
	nap_ms(rand() % 10);
	storm_turn++;
	require(!munlock(half(), storm_pages / 2 * PAGE), "munlock: %s", strerror(errno));
}

CASE(race, mlock, 60)
{
	long before = meminfo_kb("Mlocked");
	double end = now() + 5;

	storm(lock_some);
	require(!munlock(storm_at, storm_pages * PAGE), "munlock: %s", strerror(errno));
	mem_unmap(storm_at, storm_pages);
	while (meminfo_kb("Mlocked") > before) {
		require(now() < end, "Mlocked went from %ld to %ld kB", before,
			meminfo_kb("Mlocked"));
		nap_ms(50);
	}
}

static void page_out(void)
{
	madvise(half(), storm_pages / 2 * PAGE, MADV_PAGEOUT);
	if (++storm_turn % 16 == 0) {
		swap_off();
		swap_on(64 << 20);
	}
}

CASE(race, swap, 60)
{
	long before;

	swap_on(64 << 20);
	before = vmstat("pswpout");
	storm(page_out);
	note("%ld pages went to the swap space", vmstat("pswpout") - before);
	require(vmstat("pswpout") - before > PAGES / 8, "hardly a page was swapped out");
	swap_off();
	check_flipped(storm_at, storm_pages);
}

/* Huge pages made of what is being merged, and taken apart again. */
static void collapse_and_split(void)
{
	char *huge = storm_at + storm_turn % (storm_pages / 512) * HUGE;

	if (storm_turn++ % 3 == 0) {
		/* A VMA that ends inside splits what maps it huge. */
		madvise(huge + HUGE / 2, HUGE / 4, MADV_NOHUGEPAGE);
		nap_ms(5);
		madvise(huge + HUGE / 2, HUGE / 4, MADV_HUGEPAGE);
	} else {
		madvise(huge, HUGE, MADV_COLLAPSE);
	}
}

CASE(race, huge_pages, 90)
{
	static const char *const eager[][2] = {
		{ "scan_sleep_millisecs", "1" }, { "alloc_sleep_millisecs", "1" },
		{ "pages_to_scan", "4096" }, { "max_ptes_shared", "511" },
	};
	char path[128];

	for (size_t i = 0; i < sizeof(eager) / sizeof(*eager); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/mm/transparent_hugepage/khugepaged/%s",
			 eager[i][0]);
		file_write(path, eager[i][1]);
	}
	storm_over(mem_map_huge(1024), 1024, collapse_and_split);
}

/* From node to node, by hand and by the kernel's own balancing. */
static void move_some(void)
{
	static void *page[PAGES];
	static int node[PAGES], status[PAGES];
	unsigned long nodes[2] = { 1, 2 };

	for (size_t i = 0; i < storm_pages; i++) {
		page[i] = storm_at + i * PAGE;
		node[i] = (storm_turn + i / 64) % 2;
	}
	if (storm_turn++ % 4)
		syscall(SYS_move_pages, 0, storm_pages, page, node, status, 2 /* MPOL_MF_MOVE */);
	else
		syscall(SYS_migrate_pages, 0, 3, &nodes[storm_turn / 4 % 2], &nodes[!(storm_turn / 4 % 2)]);
}

CASE(race, migration, 60)
{
	long before = vmstat("pgmigrate_success");

	if (access("/sys/devices/system/node/node1", F_OK))
		skip("this machine has one node only");
	file_write("/proc/sys/kernel/numa_balancing", "1");
	file_write("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "10");
	file_write("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "10");
	storm(move_some);
	file_write("/proc/sys/kernel/numa_balancing", "0");
	note("%ld pages migrated", vmstat("pgmigrate_success") - before);
	require(vmstat("pgmigrate_success") - before > PAGES, "hardly a page migrated");
}

/* A task that is killed for its group's lack of memory, while it merges. */
static void run_out_of_memory(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		size_t npages = (24 << 20) / PAGE, i;
		char *p = mem_map(npages);

		group_enter("oom");
		area_with(p, npages);
		for (i = 0; i < npages / 4; i++)
			page_fill(p + i * PAGE, i % 8);
		nap_ms(30);
		for (; i < npages; i++)
			page_fill(p + i * PAGE, i);
		mem_check(p, npages / 4, 8, 0);
		fail("16 MiB were not too many in a group of 8 MiB");
	}
	require(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
	require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "wait status %#x", status);
	storm_turn++;
}

CASE(race, oom_kill, 90)
{
	group_make("oom", "8M");
	storm(run_out_of_memory);
}

/* Both engines want the same memory; they take turns. */
static void mark_and_unmark(void)
{
	madvise(half(), storm_pages / 2 * PAGE, storm_turn % 3 ? MADV_MERGEABLE : MADV_UNMERGEABLE);
	file_write("/sys/kernel/mm/ksm/run", storm_turn % 4 == 3 ? "2" : storm_turn % 2 ? "0" : "1");
	nap_ms(rand() % 60);
	storm_turn++;
}

CASE(race, builtin_ksm, 60)
{
	if (file_write("/sys/kernel/mm/ksm/pages_to_scan", "5000"))
		skip("this kernel has no KSM of its own");
	file_write("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	storm(mark_and_unmark);
	require(!file_write("/sys/kernel/mm/ksm/run", "2"), "the other engine does not unmerge");
	file_write("/sys/kernel/mm/ksm/run", "0");
	check_flipped(storm_at, storm_pages);
}

/* The other engine is at work in children only, and makes pages of its own of what is shared. */
static void child_marks(void)
{
	pid_t pid = fork();

	require(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		madvise(storm_at, storm_pages * PAGE, MADV_MERGEABLE);
		nap_ms(30 + rand() % 60);
		check_flipping(storm_at, storm_pages);
		_exit(0);
	}
	nap_ms(rand() % 30);
	file_write("/sys/kernel/mm/ksm/run", storm_turn % 4 == 3 ? "0" : "1");
	reap(pid);
	storm_turn++;
}

CASE(race, builtin_ksm_in_children, 60)
{
	if (file_write("/sys/kernel/mm/ksm/pages_to_scan", "5000"))
		skip("this kernel has no KSM of its own");
	file_write("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	storm(child_marks);
	require(!file_write("/sys/kernel/mm/ksm/run", "2"), "the other engine does not unmerge");
	file_write("/sys/kernel/mm/ksm/run", "0");
	check_flipped(storm_at, storm_pages);
}
