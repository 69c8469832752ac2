// SPDX-License-Identifier: GPL-2.0-or-later
/* fork() before, after and during merging; each side keeps its own contents. */
#include "ksmtest.h"

#define N 256
#define M 4

struct shared_memory {
	char *p;
	int area;
};

/* Writes to the even pages when told, looks at all of them when told. */
static void writer(struct peer *self, void *arg)
{
	char *p = ((struct shared_memory *)arg)->p;

	mem_check(p, N, M, 300);
	peer_tell(self);
	peer_wait(self);
	for (size_t i = 0; i < N; i += 2)
		page_fill(p + i * PAGE, 6000 + i);
	peer_tell(self);
	peer_wait(self);
	for (size_t i = 0; i < N; i++)
		require(page_is(p + i * PAGE, i % 2 ? 300 + i % M : 6000 + i),
			"page %zu of the child is damaged", i);
}

static void bystander(struct peer *self, void *arg)
{
	char *p = ((struct shared_memory *)arg)->p;

	mem_check(p, N, M, 300);
	peer_tell(self);
	peer_wait(self);
	mem_check(p, N, M, 300);
}

static struct shared_memory region(void)
{
	struct shared_memory memory = { .p = mem_map(N) };

	mem_fill(memory.p, N, M, 300);
	memory.area = area_with(memory.p, N);
	return memory;
}

CASE(fork, merged_child_writes, 60)
{
	struct shared_memory memory = region();
	struct peer child;

	engine_merge(M, N - M);
	child = peer_start(writer, &memory);
	peer_wait(&child);
	engine_expect(M, 2 * N - M);
	peer_tell(&child);
	peer_wait(&child);
	engine_expect(M, 2 * N - N / 2 - M);
	mem_check(memory.p, N, M, 300);
	engine_passes(SETTLE);
	peer_end(&child);
	engine_expect(M, N - M);
	mem_check(memory.p, N, M, 300);
}

CASE(fork, merged_parent_writes, 60)
{
	struct shared_memory memory = region();
	struct peer child;

	engine_merge(M, N - M);
	child = peer_start(bystander, &memory);
	peer_wait(&child);
	for (size_t i = 0; i < N; i++)
		page_fill(memory.p + i * PAGE, 7000 + i);
	engine_expect(M, N - M);
	engine_passes(SETTLE);
	peer_end(&child);
	engine_expect(0, 0);
	for (size_t i = 0; i < N; i++)
		require(page_is(memory.p + i * PAGE, 7000 + i), "page %zu of the parent is damaged", i);
}

/* The parent ends first; the child goes on with the merged pages. */
static void orphan(struct peer *self, void *arg)
{
	struct shared_memory memory = region();
	struct peer child;

	(void)arg;
	engine_merge(M, N - M);
	child = peer_start(writer, &memory);
	peer_wait(&child);
	peer_tell(self);
	peer_wait(self);
	/* Exits with its child alive, which then learns of it by the pipe. */
	peer_tell(&child);
	peer_wait(&child);
	peer_tell(&child);
}

CASE(fork, parent_exits_first, 60)
{
	struct peer parent = peer_start(orphan, NULL);

	peer_wait(&parent);
	engine_expect(M, 2 * N - M);
	peer_end(&parent);
	engine_expect(0, 0);
}

/* Pages that two processes still share by fork() merge in the one registered. */
CASE(fork, before_merging_child_writes, 60)
{
	struct shared_memory memory = region();
	struct peer child = peer_start(writer, &memory);

	peer_wait(&child);
	engine_merge(M, N - M);
	peer_tell(&child);
	peer_wait(&child);
	mem_check(memory.p, N, M, 300);
	engine_passes(SETTLE);
	engine_expect(M, N - M);
	peer_end(&child);
	mem_check(memory.p, N, M, 300);
	engine_expect(M, N - M);
}

CASE(fork, before_merging_parent_writes, 60)
{
	struct shared_memory memory = region();
	struct peer child = peer_start(bystander, &memory);

	peer_wait(&child);
	engine_merge(M, N - M);
	for (size_t i = 0; i < N; i++)
		page_fill(memory.p + i * PAGE, 7000 + i);
	engine_expect(0, 0);
	engine_passes(SETTLE);
	peer_end(&child);
	for (size_t i = 0; i < N; i++)
		require(page_is(memory.p + i * PAGE, 7000 + i), "page %zu of the parent is damaged", i);
}

/* The child registers its own copy through the area it inherited. */
static void registering_child(struct peer *self, void *arg)
{
	struct shared_memory *memory = arg;
	int err = region_add(memory->area, memory->p, N);

	require(!err, "registering in the parent's area: %s", strerror(-err));
	peer_tell(self);
	peer_wait(self);
	mem_check(memory->p, N, M, 300);
	/* An address means the caller's own, not the parent's of the same area. */
	err = region_remove(memory->area, memory->p);
	require(!err, "removing from the parent's area: %s", strerror(-err));
	expect_errno(region_remove(memory->area, memory->p), ENOENT, "removing twice");
}

CASE(fork, child_registers_too, 60)
{
	struct shared_memory memory = region();
	struct peer child = peer_start(registering_child, &memory);

	peer_wait(&child);
	engine_merge(M, 2 * N - M);
	peer_end(&child);
	engine_expect(M, N - M);
	mem_check(memory.p, N, M, 300);
	/* The parent's region is still there. */
	mem_fill(memory.p, N, 1, 900);
	engine_merge(1, N - 1);
}

CASE(fork, while_merging, 90)
{
	struct shared_memory memory = region();

	engine_pace(100, 0);
	engine_start();
	for (int round = 0; round < 60; round++) {
		pid_t pid;

		mem_fill(memory.p, N, M, 300 + round);
		if (round % 4)
			nap_ms(round % 16);
		pid = fork();
		if (!pid) {
			mem_check(memory.p, N, M, 300 + round);
			mem_fill(memory.p, N / 2, M, 8000 + round);
			mem_check(memory.p, N / 2, M, 8000 + round);
			mem_check(memory.p + N / 2 * PAGE, N / 2, M, 300 + round);
			_exit(0);
		}
		mem_check(memory.p, N, M, 300 + round);
		reap(pid);
	}
	engine_pace(20000, 5);
	engine_merge(M, N - M);
	mem_check(memory.p, N, M, 300 + 59);
}
