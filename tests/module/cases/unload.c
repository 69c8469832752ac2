// SPDX-License-Identifier: GPL-2.0-or-later
/* The module leaves while pages are merged; memory management goes on alone. */
#include <sys/uio.h>

#include "ksmtest.h"

#define N 4096
#define M 2048

static void load(void)
{
	int err = module_load("");

	require(!err, "insmod: %s", strerror(-err));
	engine_pace(20000, 5);
}

static char *merged(size_t npages, size_t contents)
{
	char *p = mem_map(npages);
	int area;

	mem_fill(p, npages, contents, 2000);
	area = area_with(p, npages);
	engine_merge(contents, npages - contents);
	close(area);
	return p;
}

CASE(unload, refused_while_in_use, 30)
{
	int area = area_new(), dev;

	require(module_unload() == -EWOULDBLOCK, "rmmod with an open area did not say EWOULDBLOCK");
	close(area);
	dev = dev_fd();
	require(module_unload() == -EWOULDBLOCK, "rmmod with an open device did not say EWOULDBLOCK");
	close(dev);
	module_remove();
	load();
}

CASE(unload, merged_memory_goes_on, 90)
{
	char *p = merged(1024, 256), *q;
	pid_t pid;

	module_remove();
	mem_check(p, 1024, 256, 2000);
	require(distinct_pfns(p, 1024) == 256, "rmmod unshared memory: %zu page frames of 256",
		distinct_pfns(p, 1024));
	/* Writes, fork and changed mappings, all without the module. */
	mem_fill(p, 128, 128, 5000);
	mem_check(p + 256 * PAGE, 768, 256, 2000);
	pid = fork();
	if (!pid) {
		mem_check(p + 256 * PAGE, 768, 256, 2000);
		mem_fill(p, 1024, 1024, 7000);
		mem_check(p, 1024, 1024, 7000);
		_exit(0);
	}
	reap(pid);
	mem_check(p, 128, 128, 5000);
	mem_check(p + 256 * PAGE, 768, 256, 2000);
	q = mem_map(256);
	require(mremap(p + 256 * PAGE, 256 * PAGE, 256 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q,
		"mremap: %s", strerror(errno));
	mem_check(q, 256, 256, 2000);
	require(!madvise(q, 64 * PAGE, MADV_DONTNEED), "madvise: %s", strerror(errno));
	require(page_is_zero(q), "MADV_DONTNEED had no effect");
	mem_unmap(q, 256);
	mem_check(p + 512 * PAGE, 512, 256, 2000);
	load();
	engine_expect(0, 0);
	mem_check(p + 512 * PAGE, 512, 256, 2000);
}

/* A new module finds pages that an old one merged, and merges the rest. */
CASE(unload, merge_again, 90)
{
	char *p = merged(1024, 256), *q;

	module_remove();
	load();
	q = mem_map(1024);
	mem_fill(q, 1024, 256, 2000);
	area_with(p, 1024);
	area_with(q, 1024);
	engine_start();
	engine_passes(SETTLE);
	mem_check(p, 1024, 256, 2000);
	mem_check(q, 1024, 256, 2000);
	require(distinct_pfns(q, 1024) == 256, "new memory is in %zu page frames, not 256",
		distinct_pfns(q, 1024));
	/* Rewritten, the old pages are ordinary memory again. */
	mem_fill(p, 1024, 256, 2000);
	engine_merge(256, 2048 - 256);
	mem_check(p, 1024, 256, 2000);
	engine_set("run", 2);
	engine_expect(0, 0);
	mem_check(p, 1024, 256, 2000);
	mem_check(q, 1024, 256, 2000);
}

CASE(unload, while_scanning, 90)
{
	char *p = mem_map(2048);

	for (int round = 0; round < 6; round++) {
		int area, err;

		mem_fill(p, 2048, 64, 3000 + round);
		area = area_new();
		err = task_add(area, mem_open(getpid()), p, 2048, KSM_TASK_DETACHED);
		require(!err, "KSM_REGISTER_TASK: %s", strerror(-err));
		close(area);
		engine_pace(64, 0);
		engine_start();
		nap_ms(50 + 60 * round);
		module_remove();
		mem_check(p, 2048, 64, 3000 + round);
		load();
	}
}

/* The process that had merged pages ends when the module is long gone. */
static void merge_and_wait(struct peer *self, void *arg)
{
	size_t npages = N * (arg ? *(int *)arg : 1);
	char *p = merged(npages, npages / N * M);

	peer_tell(self);
	peer_wait(self);
	mem_fill(p, npages / 4, M, 9000);
	mem_check(p + npages / 2 * PAGE, npages / 2, npages / N * M, 2000);
}

CASE(unload, accounting, 90)
{
	static const char *const fields[] = { "nr_mapped", "nr_file_pages", "nr_anon_pages" };
	long before[3], after;
	struct peer peer;

	for (int i = 0; i < 3; i++)
		before[i] = vmstat(fields[i]);
	peer = peer_start(merge_and_wait, NULL);
	peer_wait(&peer);
	module_remove();
	peer_end(&peer);
	for (int i = 0; i < 3; i++) {
		after = vmstat(fields[i]);
		require(labs(after - before[i]) < M / 8,
			"%s was %ld and is %ld after %d merged pages came and went",
			fields[i], before[i], after, M);
	}
	load();
}

/* The same without rmmod. */
CASE(lifetime, accounting, 90)
{
	static const char *const fields[] = { "nr_mapped", "nr_file_pages", "nr_anon_pages" };
	long before[3], during, after;
	struct peer peer;

	for (int i = 0; i < 3; i++)
		before[i] = vmstat(fields[i]);
	peer = peer_start(merge_and_wait, NULL);
	peer_wait(&peer);
	during = vmstat(fields[0]);
	peer_end(&peer);
	engine_expect(0, 0);
	for (int i = 0; i < 3; i++) {
		after = vmstat(fields[i]);
		require(labs(after - before[i]) < M / 8,
			"%s was %ld and is %ld after %d merged pages came and went",
			fields[i], before[i], after, M);
	}
	require(labs(during - before[0]) < M / 8, "nr_mapped went from %ld to %ld by merging",
		before[0], during);
}

/*
 * 8 MiB of merged pages in each round would be seen, were they not freed. KASAN
 * keeps what was freed for a while: there it takes more of them.
 */
static void free_memory_stays(bool reload)
{
	long before = 0, after = 0;
	int times = patience;

	for (int round = 0; round < 6; round++) {
		struct peer peer = peer_start(merge_and_wait, &times);

		peer_wait(&peer);
		if (reload)
			module_remove();
		peer_end(&peer);
		if (reload)
			load();
		engine_expect(0, 0);
		nap_ms(300);
		/* The first rounds fill caches. */
		after = free_kb();
		if (round == 1)
			before = after;
	}
	require(before - after < times * 12 * 1024, "free memory went from %ld to %ld kB in four rounds",
		before, after);
}

CASE(unload, no_leak, 120) { free_memory_stays(true); }
CASE(lifetime, no_leak, 120) { free_memory_stays(false); }

/* Merged pages that mlock() marked, and that a pipe holds, outlive the module. */
CASE(unload, marked_and_held_pages, 60)
{
	char *p = merged(64, 4), *got = malloc(PAGE);
	struct iovec iov = { p, PAGE };
	long before = meminfo_kb("Mlocked");
	int pipefd[2];

	require(!pipe2(pipefd, O_CLOEXEC), "pipe2: %s", strerror(errno));
	require(vmsplice(pipefd[1], &iov, 1, 0) == (ssize_t)PAGE, "vmsplice: %s", strerror(errno));
	require(!mprotect(p, 64 * PAGE, PROT_READ) && !mlock(p, 64 * PAGE), "mlock: %s",
		strerror(errno));
	module_remove();
	mem_check(p, 64, 4, 2000);
	mem_unmap(p, 64);
	require(read(pipefd[0], got, PAGE) == (ssize_t)PAGE && page_is(got, 2000),
		"the page in the pipe has other contents");
	close(pipefd[0]);
	close(pipefd[1]);
	load();
	require(meminfo_kb("Mlocked") == before, "Mlocked went from %ld to %ld kB", before,
		meminfo_kb("Mlocked"));
}

CASE(unload, again_and_again, 60)
{
	for (int i = 0; i < 10; i++) {
		module_remove();
		load();
		if (i % 2)
			engine_start();
	}
}
