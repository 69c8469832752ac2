// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scan_all: memory of processes that asked for nothing. Where others must not be
 * in the counts the processes have uids from MIN_UID on, and scan_all_min_uid
 * leaves out the rest of the system.
 */
#include <sys/prctl.h>

#include "ksmtest.h"

#define N 128
#define M 4
#define MIN_UID 1000

struct citizen {
	struct peer peer;
	char *p;
};

/* Shared with the process: what it is, and what it does next. */
struct orders {
	uid_t uid;
	uint64_t base;
	int advice;		/* 0: none */
	bool lock, undumpable;
	char *p;
};

static void citizen_main(struct peer *self, void *arg)
{
	struct orders *o = arg;

	require(!setgid(o->uid) && !setuid(o->uid), "setuid: %s", strerror(errno));
	require(!prctl(PR_SET_DUMPABLE, !o->undumpable), "prctl: %s", strerror(errno));
	o->p = mem_map(N);
	mem_fill(o->p, N, M, o->base);
	require(!o->advice || !madvise(o->p, N * PAGE, o->advice), "madvise: %s",
		strerror(errno));
	require(!o->lock || !mlock(o->p, N * PAGE), "mlock: %s", strerror(errno));
	peer_tell(self);
	for (;;) {
		peer_wait(self);
		mem_check(o->p, N, M, o->base);
		require(!prctl(PR_SET_DUMPABLE, !o->undumpable), "prctl: %s", strerror(errno));
		peer_tell(self);
	}
}

static struct orders *orders_new(uid_t uid)
{
	struct orders *o = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	require(o != MAP_FAILED, "mmap: %s", strerror(errno));
	o->uid = uid;
	o->base = 700;
	return o;
}

static struct citizen citizen_start(struct orders *o)
{
	struct citizen c = { .peer = peer_start(citizen_main, o) };

	peer_wait(&c.peer);
	c.p = o->p;
	return c;
}

static struct citizen citizen(uid_t uid)
{
	return citizen_start(orders_new(uid));
}

/* It checks its memory, and takes new orders. */
static void citizen_check(struct citizen *c)
{
	peer_tell(&c->peer);
	peer_wait(&c->peer);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* In how many page frames the memory of these processes is. */
static size_t frames(const struct citizen *c, size_t n)
{
	uint64_t pfn[4 * N];
	size_t distinct = 0;

	for (size_t i = 0; i < n; i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/pagemap", c[i].peer.pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		require(fd >= 0, "%s: %s", path, strerror(errno));
		require(pread(fd, pfn + i * N, N * 8, (uintptr_t)c[i].p / PAGE * 8) == N * 8,
			"%s: %s", path, strerror(errno));
		close(fd);
	}
	for (size_t i = 0; i < n * N; i++) {
		require(pfn[i] & PM_PRESENT, "page %zu is not present", i);
		pfn[i] &= (1ULL << 55) - 1;
	}
	qsort(pfn, n * N, sizeof(*pfn), by_number);
	for (size_t i = 0; i < n * N; i++)
		distinct += !i || pfn[i] != pfn[i - 1];
	return distinct;
}

static void expect_frames(const struct citizen *c, size_t n, size_t want, const char *what)
{
	require(frames(c, n) == want, "%s: %zu pages are in %zu frames, not %zu: %s", what, n * N,
		frames(c, n), want, engine_state());
}

static void scan_all(void)
{
	sentinel();
	engine_set("scan_all_min_uid", MIN_UID);
	engine_set("scan_all", 1);
	engine_start();
	engine_passes(SETTLE + 1);
}

CASE(all, off_by_default, 60)
{
	struct citizen c = citizen(MIN_UID);

	require(engine_read("scan_all") == 0, "scan_all is on");
	sentinel();
	engine_merge(1, 1);
	engine_passes(SETTLE);
	expect_frames(&c, 1, N, "off");
}

CASE(all, users, 60)
{
	struct citizen c[2] = { citizen(MIN_UID), citizen(MIN_UID + 1) };

	scan_all();
	expect_frames(c, 2, M, "two users");
	citizen_check(&c[0]);
	citizen_check(&c[1]);
	expect_frames(c, 2, M, "after reading");
}

CASE(all, started_later, 60)
{
	struct citizen c[2];

	scan_all();
	c[0] = citizen(MIN_UID);
	c[1] = citizen(MIN_UID);
	engine_passes(SETTLE + 1);
	expect_frames(c, 2, M, "started while it runs");
}

CASE(all, min_uid, 60)
{
	struct citizen c[2] = { citizen(MIN_UID - 1), citizen(MIN_UID) };

	scan_all();
	expect_frames(c, 1, N, "a user below scan_all_min_uid");
	expect_frames(c + 1, 1, M, "a user at scan_all_min_uid");
	engine_set("scan_all_min_uid", MIN_UID - 1);
	engine_passes(SETTLE + 1);
	expect_frames(c, 2, M, "after scan_all_min_uid was lowered");
	/* Raised, it keeps newcomers out, and what is merged merged. */
	engine_set("scan_all_min_uid", MIN_UID + 1);
	engine_passes(SETTLE);
	expect_frames(c, 2, M, "after scan_all_min_uid was raised");
	c[1] = citizen(MIN_UID);
	engine_passes(SETTLE + 1);
	expect_frames(c + 1, 1, N, "a newcomer below scan_all_min_uid");
}

static void keeps_out(struct orders *o, const char *what)
{
	struct citizen c = citizen_start(o), open = citizen(MIN_UID);

	scan_all();
	expect_frames(&open, 1, M, "an ordinary process");
	expect_frames(&c, 1, N, what);
	engine_set("scan_all_protected", 1);
	engine_passes(SETTLE + 1);
	expect_frames(&c, 1, M, "scan_all_protected");
	citizen_check(&c);
}

CASE(all, locked, 60)
{
	struct orders *o = orders_new(MIN_UID);

	o->lock = true;
	keeps_out(o, "locked memory");
}

CASE(all, dontdump, 60)
{
	struct orders *o = orders_new(MIN_UID);

	o->advice = MADV_DONTDUMP;
	keeps_out(o, "MADV_DONTDUMP memory");
}

CASE(all, wipeonfork, 60)
{
	struct orders *o = orders_new(MIN_UID);

	o->advice = MADV_WIPEONFORK;
	keeps_out(o, "MADV_WIPEONFORK memory");
}

CASE(all, undumpable, 60)
{
	struct orders *o = orders_new(MIN_UID);

	o->undumpable = true;
	keeps_out(o, "a process that is not dumpable");
}

CASE(all, dumpable_again, 60)
{
	struct orders *o = orders_new(MIN_UID);
	struct citizen c;

	o->undumpable = true;
	c = citizen_start(o);
	scan_all();
	expect_frames(&c, 1, N, "not dumpable");
	o->undumpable = false;
	citizen_check(&c);
	engine_passes(SETTLE + 1);
	expect_frames(&c, 1, M, "dumpable again");
}

/* What the process says of its memory does not bind who registers it. */
CASE(all, registered_anyway, 60)
{
	struct orders *o = orders_new(MIN_UID);
	struct citizen c;

	o->advice = MADV_DONTDUMP;
	c = citizen_start(o);
	scan_all();
	expect_frames(&c, 1, N, "MADV_DONTDUMP memory");
	require(!task_add(area_new(), mem_open(c.peer.pid), c.p, N, 0), "KSM_REGISTER_TASK failed");
	engine_passes(SETTLE);
	expect_frames(&c, 1, M, "registered");
}

CASE(all, turned_off, 60)
{
	struct citizen c = citizen(MIN_UID), late;

	scan_all();
	expect_frames(&c, 1, M, "on");
	engine_set("scan_all", 0);
	late = citizen(MIN_UID);
	engine_passes(SETTLE + 1);
	expect_frames(&late, 1, N, "off");
	expect_frames(&c, 1, M, "what was merged stays merged");
	engine_set("scan_all", 1);
	engine_passes(SETTLE + 1);
	expect_frames(&late, 1, M, "on again");
}

/* The whole system: init, the runner, and this very process. */
CASE(all, everybody, 90)
{
	struct citizen c[2] = { citizen(0), citizen(MIN_UID) };
	char *p = mem_map(N);

	mem_fill(p, N, M, 700);
	engine_set("scan_all", 1);
	engine_start();
	engine_passes(SETTLE + 1);
	expect_frames(c, 2, M, "everybody");
	require(distinct_pfns(p, N) == M, "%zu frames: %s", distinct_pfns(p, N), engine_state());
	mem_check(p, N, M, 700);
	citizen_check(&c[0]);
	citizen_check(&c[1]);
	engine_set("run", 2);
	engine_expect(0, 0);
	mem_check(p, N, M, 700);
}

CASE(all, come_and_go, 90)
{
	sentinel();
	engine_set("scan_all_min_uid", MIN_UID);
	engine_set("scan_all", 1);
	engine_pace(50, 0);
	engine_start();
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (!pid) {
			char *p;

			require(!setuid(MIN_UID + i) && !prctl(PR_SET_DUMPABLE, 1), "setuid");
			p = mem_map(N);
			mem_fill(p, N, M, 700);
			nap_ms(i);
			mem_check(p, N, M, 700);
			_exit(0);
		}
		reap(pid);
	}
	engine_pace(20000, 5);
	engine_merge(1, 1);
}

CASE(all, values, 30)
{
	static const char *const bad[] = { "2", "-1", "x", "1x", "\n", "4294967296", NULL };

	for (int i = 0; bad[i]; i++) {
		expect_errno(engine_write("scan_all", bad[i]), EINVAL, bad[i]);
		expect_errno(engine_write("scan_all_protected", bad[i]), EINVAL, bad[i]);
		if (strcmp(bad[i], "2"))
			expect_errno(engine_write("scan_all_min_uid", bad[i]), EINVAL, bad[i]);
	}
	require(!module_unload(), "rmmod failed");
	expect_errno(module_load("scan_all=2"), EINVAL, "scan_all=2");
	expect_errno(module_load("scan_all_protected=2"), EINVAL, "scan_all_protected=2");
	require(!module_load("scan_all=1 scan_all_min_uid=4294967295 scan_all_protected=1"),
		"insmod failed");
	require(engine_read("scan_all") == 1 && engine_read("scan_all_protected") == 1 &&
		engine_read("scan_all_min_uid") == 4294967295, "parameters are lost");
}
