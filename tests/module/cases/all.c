// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scan_all: memory of processes that asked for nothing. Where others must not be
 * in the counts the processes have uids from MIN_UID on, and scan_all_min_uid
 * leaves out the rest of the system.
 */
#include <sys/prctl.h>
#include <sys/stat.h>

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
	uid_t effective;	/* 0: the same */
	uint64_t base;
	int advice;		/* 0: none */
	bool lock, lock_later, undumpable;
	bool as_is;		/* as dumpable as the kernel made it */
	char *p;
};

static void citizen_main(struct peer *self, void *arg)
{
	struct orders *o = arg;

	require(!setgid(o->uid) && !setresuid(o->uid, o->effective ?: o->uid, o->uid),
		"setresuid: %s", strerror(errno));
	require(o->as_is || !prctl(PR_SET_DUMPABLE, !o->undumpable), "prctl: %s", strerror(errno));
	o->p = mem_map(N);
	mem_fill(o->p, N, M, o->base);
	require(!o->advice || !madvise(o->p, N * PAGE, o->advice), "madvise: %s",
		strerror(errno));
	require(!o->lock || !mlock(o->p, N * PAGE), "mlock: %s", strerror(errno));
	require(!o->lock_later || !mlock2(o->p, N * PAGE, MLOCK_ONFAULT), "mlock2: %s",
		strerror(errno));
	peer_tell(self);
	for (;;) {
		peer_wait(self);
		mem_check(o->p, N, M, o->base);
		require(o->as_is || !prctl(PR_SET_DUMPABLE, !o->undumpable), "prctl: %s", strerror(errno));
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

static void exclude(const char *users)
{
	int err = engine_write("scan_all_exclude_uids", users);

	require(!err, "scan_all_exclude_uids=%s: %s", users, strerror(-err));
}

/* A list with one user and a range; both their ends, and who is beside them. */
CASE(all, excluded, 90)
{
	static const int of[] = { 5, 10, 13, 4, 9, 14 };
	struct citizen out[3], in[3];
	char users[64];

	snprintf(users, sizeof(users), "%d,%d-%d\n", MIN_UID + 5, MIN_UID + 10, MIN_UID + 13);
	exclude(users);
	for (int i = 0; i < 3; i++) {
		out[i] = citizen(MIN_UID + of[i]);
		in[i] = citizen(MIN_UID + of[i + 3]);
	}
	scan_all();
	expect_frames(in, 3, M, "users beside those excluded");
	for (int i = 0; i < 3; i++)
		expect_frames(&out[i], 1, N, "an excluded user");
	/* What is merged stays so, newcomers stay out. */
	snprintf(users, sizeof(users), "%d-%d", MIN_UID + 4, MIN_UID + 14);
	exclude(users);
	in[2] = citizen(MIN_UID + 14);
	engine_passes(SETTLE + 1);
	expect_frames(in, 2, M, "after they were excluded");
	expect_frames(&in[2], 1, N, "a newcomer who is excluded");
	exclude("\n");
	engine_passes(SETTLE + 1);
	expect_frames(out, 3, M, "nobody is excluded any more");
	expect_frames(&in[2], 1, M, "nobody is excluded any more");
}

/* Either user counts: who a process acts for, and whose rights it uses. */
CASE(all, excluded_by_either, 60)
{
	struct orders *real = orders_new(MIN_UID), *effective = orders_new(MIN_UID + 1);
	struct citizen out[2], in = citizen(MIN_UID + 1);

	real->effective = MIN_UID + 1;
	effective->effective = MIN_UID;
	out[0] = citizen_start(real);
	out[1] = citizen_start(effective);
	exclude("1000");
	scan_all();
	expect_frames(&in, 1, M, "an ordinary process");
	expect_frames(&out[0], 1, N, "the real user is excluded");
	expect_frames(&out[1], 1, N, "the effective user is excluded");
	/* It is the administrator's word, which scan_all_protected does not override. */
	engine_set("scan_all_protected", 1);
	engine_passes(SETTLE + 1);
	expect_frames(&out[0], 1, N, "scan_all_protected");
	exclude("\n");
	engine_passes(SETTLE + 1);
	expect_frames(out, 2, M, "nobody is excluded any more");
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

CASE(all, locked_on_fault, 60)
{
	struct orders *o = orders_new(MIN_UID);

	o->lock_later = true;
	keeps_out(o, "memory locked by mlock2()");
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

/* The kernel takes the mark from who was another user. */
CASE(all, changed_uid, 60)
{
	struct orders *o = orders_new(MIN_UID);

	o->as_is = true;
	keeps_out(o, "a process that changed its uid");
}

static void executes(struct peer *self, void *arg)
{
	require(!setgid(MIN_UID) && !setuid(MIN_UID), "setuid: %s", strerror(errno));
	dup2(self->out, STDOUT_FILENO);
	execl(arg, "ksm-module-tests", "--helper", "equal", "256", (char *)NULL);
	_exit(1);
}

/* And from who executes what it may not read. */
CASE(all, unreadable_program, 60)
{
	struct peer peer;

	program_copy("/tmp/program", 0711);
	peer = peer_start(executes, "/tmp/program");
	peer_wait(&peer);
	scan_all();
	engine_expect(1, 1);
	engine_set("scan_all_protected", 1);
	engine_passes(SETTLE + 1);
	require(engine_read("pages_sharing") >= 256, "scan_all_protected: %s", engine_state());
	peer_kill(&peer);
	engine_set("scan_all_protected", 0);
	require(!chmod("/tmp/program", 0755), "chmod: %s", strerror(errno));
	peer = peer_start(executes, "/tmp/program");
	peer_wait(&peer);
	engine_passes(SETTLE + 1);
	require(engine_read("pages_sharing") >= 256, "a readable program: %s", engine_state());
	peer_kill(&peer);
	unlink("/tmp/program");
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

static void expect_excluded(const char *want)
{
	char text[4096];

	require(file_read(ENGINE "scan_all_exclude_uids", text, sizeof(text)) > 0, "reading it");
	require(!strcmp(text, want), "it is \"%s\", not \"%s\"", text, want);
}

/* So many ranges, as long as they get, and a newline. */
static const char *long_list(int n)
{
	static char text[4096];
	size_t length = 0;

	for (int i = 0; i < n; i++)
		length += snprintf(text + length, sizeof(text) - length, "%u-%u%s",
				   4294967000u + i, 4294967295u - i, i + 1 < n ? "," : "\n");
	return text;
}

CASE(all, exclude_values, 60)
{
	static const char *const bad[] = {
		" ", "x", "-", "-1", "1-", ",", "1,", ",1", "1,,2", "1-2-3", "2-1", "1 2", "1, 2",
		" 1", "1 ", "+1", "1-+2", "0x1", "4294967296", "0-4294967296", "1\n2", "1\n\n", "1\n,2",
		"1,2,3,x", NULL
	};
	static const struct { const char *written, *shown; } good[] = {
		{ "0", "0\n" }, { "33,1000-1999\n", "33,1000-1999\n" }, { "7-7", "7\n" },
		{ "007,0-010", "7,0-10\n" }, { "5-9,1,6-7,1", "5-9,1,6-7,1\n" },
		{ "0-4294967295", "0-4294967295\n" }, { "\n", "\n" },
	};
	char param[4200];

	expect_excluded("\n");
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		exclude(good[i].written);
		expect_excluded(good[i].shown);
		exclude(good[i].shown);
		expect_excluded(good[i].shown);
	}
	exclude("33,1000-1999");
	for (int i = 0; bad[i]; i++) {
		expect_errno(engine_write("scan_all_exclude_uids", bad[i]), EINVAL, bad[i]);
		expect_excluded("33,1000-1999\n");
	}
	expect_errno(engine_write("scan_all_exclude_uids", long_list(65)), EINVAL, "65 ranges");
	expect_excluded("33,1000-1999\n");
	exclude(long_list(64));
	expect_excluded(long_list(64));

	require(!module_unload(), "rmmod failed");
	expect_errno(module_load("scan_all_exclude_uids=5-"), EINVAL, "half a range");
	expect_errno(module_load("scan_all_exclude_uids"), EINVAL, "no list at all");
	snprintf(param, sizeof(param), "scan_all_exclude_uids=%s", long_list(64));
	require(!module_load(param), "64 ranges were refused at load");
	expect_excluded(long_list(64));
	require(!module_unload() && !module_load("scan_all_exclude_uids="), "an empty list at load");
	expect_excluded("\n");
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
