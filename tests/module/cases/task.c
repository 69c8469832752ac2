// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory of another task, which knows nothing of merging: KSM_REGISTER_TASK
 * with its /proc/PID/mem, and KSM_REMOVE_TASK.
 */
#include "ksmtest.h"
#include "remote.h"

#define N 256
#define M 4

/* The counters of the remote process's known memory, whatever else it has. */
static void expect_merged(struct remote *r, char *p, size_t contents)
{
	size_t frames;

	engine_start();
	engine_passes(SETTLE);
	frames = remote_frames(r, p, N);
	require(frames == contents, "%zu contents are in %zu page frames: %s", contents, frames,
		engine_state());
}

CASE(task, range, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N), *q = remote_map(&r, N);
	int area = area_new(), mem = mem_open(r.peer.pid), err;

	remote_fill(&r, p, N, M, 700);
	remote_fill(&r, q, N, M, 700);
	err = task_add(area, mem, p, N, 0);
	require(!err, "KSM_REGISTER_TASK: %s", strerror(-err));
	close(mem);	/* the region does not need it any more */
	engine_merge(M, N - M);
	remote_check(&r, p, N, M, 700);
	require(remote_frames(&r, q, N) == N, "memory beside the range was merged");
	remote_fill(&r, p, N / 2, M, 750);
	remote_check(&r, p + N / 2 * PAGE, N / 2, M, 700);
	engine_merge(2 * M, N - 2 * M);
	remote_check(&r, p, N / 2, M, 750);
	remote_end(&r);
	engine_expect(0, 0);
}

CASE(task, own_memory, 60)
{
	char *p = mem_map(N);
	int err;

	mem_fill(p, N, M, 700);
	err = task_add(area_new(), mem_open(getpid()), p, N, 0);
	require(!err, "KSM_REGISTER_TASK of oneself: %s", strerror(-err));
	engine_merge(M, N - M);
	mem_check(p, N, M, 700);
}

CASE(task, range_ends_with_area, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N);
	int area = area_new(), err;

	sentinel();
	remote_fill(&r, p, N, M, 700);
	err = task_add(area, mem_open(r.peer.pid), p, N, 0);
	require(!err, "KSM_REGISTER_TASK: %s", strerror(-err));
	engine_merge(1 + M, 1 + N - M);
	close(area);
	remote_fill(&r, p, N, M, 710);
	engine_merge(1, 1);
	remote_check(&r, p, N, M, 710);
	remote_end(&r);
}

CASE(task, whole, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N), *q;
	int err;

	remote_fill(&r, p, N, M, 700);
	err = task_add(area_new(), mem_open(r.peer.pid), NULL, 0, KSM_TASK_WHOLE);
	require(!err, "KSM_REGISTER_TASK of the whole: %s", strerror(-err));
	expect_merged(&r, p, M);
	q = remote_map(&r, N);		/* mapped later */
	remote_fill(&r, q, N, M, 720);
	expect_merged(&r, q, M);
	remote_check(&r, p, N, M, 700);
	remote_check(&r, q, N, M, 720);
	remote_end(&r);
	engine_expect(0, 0);
}

CASE(task, detached_range, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N);
	int area = area_new(), err;

	remote_fill(&r, p, N, M, 700);
	err = task_add(area, mem_open(r.peer.pid), p, N, KSM_TASK_DETACHED);
	require(!err, "KSM_REGISTER_TASK, detached: %s", strerror(-err));
	close(area);
	engine_merge(M, N - M);
	remote_fill(&r, p, N, 2, 730);
	engine_merge(2, N - 2);
	remote_check(&r, p, N, 2, 730);
	remote_end(&r);
	engine_expect(0, 0);
}

CASE(task, detached_whole, 60)
{
	struct remote r = remote_start();
	char *p;
	int area = area_new(), err;

	err = task_add(area, mem_open(r.peer.pid), NULL, 0, KSM_TASK_WHOLE | KSM_TASK_DETACHED);
	require(!err, "KSM_REGISTER_TASK, whole and detached: %s", strerror(-err));
	close(area);
	p = remote_map(&r, N);
	remote_fill(&r, p, N, M, 700);
	expect_merged(&r, p, M);
	remote_check(&r, p, N, M, 700);
	remote_end(&r);
	engine_expect(0, 0);
}

CASE(task, remove_range, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N), *q = remote_map(&r, N);
	int area = area_new(), mem = mem_open(r.peer.pid), err;

	sentinel();
	require(!task_add(area, mem, p, N, 0) && !task_add(area, mem, q, N, 0),
		"KSM_REGISTER_TASK failed");
	expect_errno(task_remove(area_new(), mem, p, 0), ENOENT, "removing by another area");
	expect_errno(task_remove(area, mem, p + PAGE, 0), ENOENT, "removing inside of the region");
	expect_errno(task_remove(area, mem, p, KSM_TASK_DETACHED), ENOENT,
		     "removing as a detached region what is none");
	err = task_remove(area, mem, p, 0);
	require(!err, "KSM_REMOVE_TASK: %s", strerror(-err));
	expect_errno(task_remove(area, mem, p, 0), ENOENT, "removing twice");
	remote_fill(&r, p, N, M, 700);
	remote_fill(&r, q, N, M, 700);
	engine_merge(1 + M, 1 + N - M);
	require(remote_frames(&r, p, N) == N, "a removed region was merged");
	require(!task_add(area, mem, p, N, 0), "registering again failed");
	engine_merge(1 + M, 1 + 2 * N - M);
	remote_end(&r);
}

CASE(task, remove_whole, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N), *q = remote_map(&r, N), *s = remote_map(&r, N);
	int area = area_new(), other = area_new(), mem = mem_open(r.peer.pid), err;

	sentinel();
	require(!task_add(area, mem, p, N, 0) && !task_add(area, mem, q, N, 0) &&
		!task_add(other, mem, s, N, 0), "KSM_REGISTER_TASK failed");
	err = task_remove(area, mem, NULL, KSM_TASK_WHOLE);
	require(!err, "KSM_REMOVE_TASK of the whole: %s", strerror(-err));
	remote_fill(&r, p, N, M, 700);
	remote_fill(&r, q, N, M, 700);
	remote_fill(&r, s, N, M, 700);
	engine_merge(1 + M, 1 + N - M);
	require(remote_frames(&r, s, N) == M, "another area's region was removed as well");
	expect_errno(task_remove(area, mem, NULL, KSM_TASK_WHOLE), ENOENT, "removing twice");
	remote_end(&r);
}

CASE(task, remove_detached, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N), *q = remote_map(&r, N), *s = remote_map(&r, N);
	int area = area_new(), mem = mem_open(r.peer.pid), err;

	sentinel();
	require(!task_add(area, mem, p, N, KSM_TASK_DETACHED) &&
		!task_add(area, mem, q, N, KSM_TASK_DETACHED) &&
		!task_add(area, mem, s, N, 0), "KSM_REGISTER_TASK failed");
	expect_errno(task_remove(area, mem, p, 0), ENOENT, "removing a detached region as the area's");
	/* By whatever area, one of them and then the others. */
	err = task_remove(area_new(), mem, p, KSM_TASK_DETACHED);
	require(!err, "KSM_REMOVE_TASK, detached: %s", strerror(-err));
	remote_fill(&r, p, N, M, 700);
	remote_fill(&r, q, N, M, 710);
	remote_fill(&r, s, N, M, 720);
	engine_merge(1 + 2 * M, 1 + 2 * (N - M));
	err = task_remove(area_new(), mem, NULL, KSM_TASK_WHOLE | KSM_TASK_DETACHED);
	require(!err, "KSM_REMOVE_TASK, whole and detached: %s", strerror(-err));
	remote_fill(&r, q, N, M, 700);
	remote_fill(&r, s, N, M, 700);
	engine_merge(1 + M, 1 + N - M);
	require(remote_frames(&r, s, N) == M, "the area's own region was removed as well");
	remote_end(&r);
}

/* Neither a detached region nor an open descriptor keeps the memory. */
CASE(task, memory_not_kept, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, 2048);
	int area = area_new(), mem = mem_open(r.peer.pid);
	long before, after;

	sentinel();
	require(!task_add(area, mem, NULL, 0, KSM_TASK_WHOLE), "KSM_REGISTER_TASK failed");
	before = meminfo_kb("AnonPages");
	remote_fill(&r, p, 2048, 2048, 700);
	engine_start();
	engine_passes(SETTLE);
	peer_kill(&r.peer);
	engine_passes(SETTLE);
	after = meminfo_kb("AnonPages");
	require(after - before < 2048, "AnonPages went from %ld to %ld kB", before, after);
	engine_expect(1, 1);
}

/* A region belongs to one address space: fork() does not hand it on. */
CASE(task, not_inherited, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N);
	struct remote child;

	sentinel();
	require(!task_add(area_new(), mem_open(r.peer.pid), p, N, 0), "KSM_REGISTER_TASK failed");
	remote_fill(&r, p, N, M, 700);
	engine_merge(1 + M, 1 + N - M);
	child = remote_fork(&r);
	engine_expect(1 + M, 1 + 2 * N - M);
	remote_fill(&child, p, N, M, 740);
	engine_merge(1 + M, 1 + N - M);
	remote_check(&child, p, N, M, 740);
	remote_check(&r, p, N, M, 700);
	remote_end(&child);
	remote_end(&r);
	engine_expect(1, 1);
}

/* Threads of one process are one address space. */
CASE(task, same_memory_twice, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N);
	int area = area_new(), a = mem_open(r.peer.pid), b = mem_open(r.peer.pid);

	require(!task_add(area, a, p, N, 0), "KSM_REGISTER_TASK failed");
	expect_errno(task_add(area, b, p, N, 0), EEXIST, "the same range by another descriptor");
	require(!task_remove(area, b, p, 0), "removing by another descriptor of the same task");
	remote_end(&r);
}
