// SPDX-License-Identifier: GPL-2.0-or-later
/* Every end that a region can have: removal, close, exit, exec, SIGKILL. */
#include <signal.h>
#include <sys/resource.h>

#include "ksmtest.h"

#define N 256
#define M 4

CASE(lifetime, region_removed, 60)
{
	char *p = mem_map(N), *q = mem_map(N);
	int area, err;

	sentinel();
	mem_fill(p, N, M, 500);
	mem_fill(q, N, M, 500);
	area = area_with(p, N);
	err = region_add(area, q, N);
	require(!err, "the second region: %s", strerror(-err));
	engine_merge(1 + M, 1 + 2 * N - M);
	err = region_remove(area, p);
	require(!err, "KSM_REMOVE_MEMORY_REGION: %s", strerror(-err));
	/* What was merged stays merged; what comes later is left alone. */
	engine_passes(SETTLE);
	engine_expect(1 + M, 1 + 2 * N - M);
	mem_fill(p, N, M, 550);
	mem_fill(q, N, M, 560);
	engine_merge(1 + M, 1 + N - M);
	mem_check(p, N, M, 550);
	mem_check(q, N, M, 560);
	require(smaps_pages(p, N, "Anonymous") == N, "a removed region was merged");
	expect_errno(region_remove(area, p), ENOENT, "removing a region twice");
	/* The range is free again. */
	err = region_add(area, p, N);
	require(!err, "registering again: %s", strerror(-err));
	engine_merge(1 + 2 * M, 1 + 2 * N - 2 * M);
}

CASE(lifetime, all_regions_removed, 60)
{
	char *p = mem_map(N);
	int area, other, err;

	sentinel();
	area = area_with(p, N / 4);
	err = region_add(area, p + N / 2 * PAGE, N / 4);
	require(!err, "the second region: %s", strerror(-err));
	other = area_with(p + 3 * N / 4 * PAGE, N / 4);
	err = region_remove(area, NULL);
	require(!err, "KSM_REMOVE_MEMORY_REGION with 0: %s", strerror(-err));
	mem_fill(p, N, M, 500);
	engine_merge(1 + M, 1 + N / 4 - M);
	require(smaps_pages(p, N, "Anonymous") == 3 * N / 4,
		"%ld pages are anonymous, not those of the area alone: %d",
		smaps_pages(p, N, "Anonymous"), 3 * N / 4);
	/* Of this area only, and only by a start address. */
	expect_errno(region_remove(area, p + 3 * N / 4 * PAGE), ENOENT,
		     "removing another area's region");
	expect_errno(region_remove(other, p + (3 * N / 4 + 1) * PAGE), ENOENT,
		     "removing at an address inside of the region");
}

CASE(lifetime, area_closed, 60)
{
	char *p = mem_map(N);
	int area, second;

	sentinel();
	mem_fill(p, N, M, 500);
	area = area_with(p, N);
	second = dup(area);
	engine_merge(1 + M, 1 + N - M);
	close(area);
	mem_fill(p, N, M, 520);
	engine_merge(1 + M, 1 + N - M);	/* a descriptor is still open */
	close(second);
	mem_fill(p, N, M, 540);
	engine_merge(1, 1);
	mem_check(p, N, M, 540);
	area = area_with(p, N);		/* the range is free again */
	engine_merge(1 + M, 1 + N - M);
	close(area);
	engine_passes(SETTLE);
	engine_expect(1 + M, 1 + N - M);
	mem_check(p, N, M, 540);
}

/* A closed device keeps its areas; closing it is no more than that. */
CASE(lifetime, device_closed, 60)
{
	char *p = mem_map(N);
	int dev = dev_fd();
	int area = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL);

	require(area >= 0, "KSM_CREATE_SHARED_MEMORY_AREA: %s", strerror(-area));
	close(dev);
	mem_fill(p, N, M, 500);
	require(!region_add(area, p, N), "registering failed");
	engine_merge(M, N - M);
}

static void fill_and_register(char *p)
{
	mem_fill(p, N, M, 500);
	area_with(p, N);
}

CASE(lifetime, exit_while_scanning, 90)
{
	sentinel();
	engine_pace(50, 0);
	engine_start();
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (!pid) {
			fill_and_register(mem_map(N));
			nap_ms(i);
			_exit(0);
		}
		reap(pid);
	}
	engine_pace(20000, 5);
	engine_merge(1, 1);
}

CASE(lifetime, kill_while_merging, 90)
{
	sentinel();
	engine_pace(50, 0);
	engine_start();
	for (int i = 0; i < 40; i++) {
		int status;
		pid_t pid = fork();

		if (!pid) {
			char *p = mem_map(N);

			fill_and_register(p);
			for (;;)
				mem_fill(p + i % 8 * PAGE, 1, 1, rand());
		}
		nap_ms(20 + i % 20 * 3);
		kill(pid, SIGKILL);
		require(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
			WTERMSIG(status) == SIGKILL, "the child ended with %#x", status);
	}
	engine_pace(20000, 5);
	engine_merge(1, 1);
}

static void exec_helper(const char *ms)
{
	execl("/proc/self/exe", "ksm-module-tests", "--helper", "sleep", ms, (char *)NULL);
	fail("execl: %s", strerror(errno));
}

/* An area that survives exec() has no region of the new address space. */
CASE(lifetime, exec_while_scanning, 90)
{
	sentinel();
	engine_pace(50, 0);
	engine_start();
	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();

		if (!pid) {
			char *p = mem_map(N);
			int area;

			mem_fill(p, N, M, 500);
			area = area_with(p, N);
			fcntl(area, F_SETFD, 0);
			nap_ms(i);
			exec_helper("1");
		}
		reap(pid);
	}
	engine_pace(20000, 5);
	engine_merge(1, 1);
}

static void exec_when_told(struct peer *self, void *arg)
{
	char *p = mem_map(N);

	(void)arg;
	mem_fill(p, N, M, 500);
	fcntl(area_with(p, N), F_SETFD, 0);
	peer_tell(self);
	peer_wait(self);
	exec_helper("60000");
}

CASE(lifetime, exec_ends_merging, 60)
{
	struct peer peer;
	char byte;

	sentinel();
	peer = peer_start(exec_when_told, NULL);
	peer_wait(&peer);
	engine_merge(1 + M, 1 + N - M);
	peer_tell(&peer);
	/* Its end of the pipe closes on exec. */
	require(read(peer.in, &byte, 1) == 0, "the pipe should be at its end");
	engine_expect(1, 1);
	engine_merge(1, 1);
	peer_kill(&peer);
}

/* Descriptors and areas of a process that leaves without closing anything. */
CASE(lifetime, descriptors_freed, 90)
{
	enum { AREAS = 1500 };
	struct rlimit files = { AREAS + 64, AREAS + 64 };
	long before = 0, after = 0;

	frees_at_once();
	require(!setrlimit(RLIMIT_NOFILE, &files), "setrlimit: %s", strerror(errno));
	sentinel();
	engine_start();
	for (int round = 0; round < 5; round++) {
		pid_t pid = fork();

		if (!pid) {
			char *p = mem_map(AREAS);
			int dev = dev_fd();

			for (int i = 0; i < AREAS; i++) {
				int area = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL);

				require(area >= 0, "area %d: %s", i, strerror(-area));
				require(!region_add(area, p + i * PAGE, 1), "region %d", i);
			}
			_exit(0);
		}
		reap(pid);
		engine_passes(SETTLE);
		nap_ms(100);	/* for what is freed after a grace period */
		after = meminfo_kb("SUnreclaim");
		if (round == 0)
			before = after;
	}
	/* 6000 leaked areas would be some 5 MB with their files. */
	require(after - before < 1500, "unreclaimable slab grew from %ld to %ld kB",
		before, after);
	engine_merge(1, 1);
}

/* A descriptor that is passed on must not keep a dead process's memory. */
CASE(lifetime, passed_on_area, 60)
{
	int area = area_new();
	long before, after;
	pid_t pid;

	sentinel();
	before = meminfo_kb("AnonPages");
	pid = fork();
	if (!pid) {
		char *p = mem_map(2048);

		mem_fill(p, 2048, 2048, 500);
		require(!region_add(area, p, 2048), "registering failed");
		engine_merge(1, 1);
		_exit(0);
	}
	reap(pid);
	engine_passes(SETTLE);
	after = meminfo_kb("AnonPages");
	require(after - before < 2048, "AnonPages went from %ld to %ld kB", before, after);
	engine_merge(1, 1);
}

/* What a process leaves behind is freed although nothing is scanned any more. */
CASE(lifetime, tidied_when_stopped, 60)
{
	double end;
	pid_t pid;

	engine_start();
	pid = fork();
	if (!pid) {
		int area = area_new();

		mem_fill(mem_map(N), N, N / 2, 900);
		require(!task_add(area, mem_open(getpid()), NULL, 0,
				  KSM_TASK_WHOLE | KSM_TASK_DETACHED), "not registered");
		for (end = now() + 10; engine_read("pages_shared") < N / 2; nap_ms(50))
			require(now() < end, "not merged: %s", engine_state());
		engine_stop();
		_exit(0);
	}
	reap(pid);
	for (end = now() + 30; engine_read("metadata_bytes"); nap_ms(200))
		require(now() < end, "%lld bytes of metadata are left",
			engine_read("metadata_bytes"));
}
