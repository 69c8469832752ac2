// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Domains: what merges within one, and that nobody learns what is in another.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "ksmtest.h"

#define N 64
#define USER 1000

static int set_domain(int area, uint64_t number, unsigned int flags)
{
	struct ksm_domain domain = {
		.size = sizeof(domain),
		.flags = flags,
		.domain = number,
	};

	return dev_ioctl(area, KSM_SET_DOMAIN, &domain);
}

static int area_in(uint64_t number, unsigned int flags)
{
	int area = area_new();
	int err = set_domain(area, number, flags);

	require(!err, "domain %llu, flags %#x: %s", (unsigned long long)number, flags,
		strerror(-err));
	return area;
}

/* N pages of the contents base to base + N - 1, in an area of this domain. */
static char *pages_in(uint64_t number, unsigned int flags, uint64_t base)
{
	char *p = mem_map(N);
	int area = area_in(number, flags), err;

	mem_fill(p, N, N, base);
	err = region_add(area, p, N);
	require(!err, "registering: %s", strerror(-err));
	return p;
}

static void expect_together(const char *p, const char *q, bool together, const char *what)
{
	for (size_t i = 0; i < N; i++)
		require((pfn_of(p + i * PAGE) == pfn_of(q + i * PAGE)) == together,
			"page %zu of %s is %s", i, what, together ? "not shared" : "shared");
}

CASE(domain, numbers, 60)
{
	char *one = pages_in(1, 0, 100), *two = pages_in(2, 0, 100);
	char *again = pages_in(1, 0, 100), *none = pages_in(0, 0, 100);
	char *common = pages_in(0, KSM_DOMAIN_SYSTEM, 100), *never = mem_map(N);
	char *system = pages_in(1, KSM_DOMAIN_SYSTEM, 100);

	mem_fill(never, N, N, 100);
	area_with(never, N);
	/* 1 with 1; with none: 0, the common one by its number, and the area that never asked. */
	engine_merge(2 * N, 3 * N);
	expect_together(one, again, true, "one domain");
	expect_together(none, never, true, "the common domain");
	expect_together(none, common, true, "the common domain");
	expect_together(one, two, false, "two domains");
	expect_together(one, none, false, "a domain and the common one");
	expect_together(one, system, false, "a user's number and the system's");
	mem_check(two, N, N, 100);
	mem_check(one, N, N, 100);
}

/* What is merged in one domain is not joined by another's single page. */
CASE(domain, latecomer, 60)
{
	char *one = pages_in(1, 0, 100), *again = pages_in(1, 0, 100), *two;

	engine_merge(N, N);
	expect_together(one, again, true, "one domain");
	two = pages_in(2, 0, 100);
	engine_passes(2 * SETTLE);
	engine_expect(N, N);
	expect_together(one, two, false, "two domains");
	mem_check(two, N, N, 100);
}

/* The domain goes to later regions too, detached ones and other tasks' included. */
CASE(domain, later_regions, 60)
{
	char *p = mem_map(N), *q = mem_map(N), *beside = pages_in(0, 0, 100);
	int area = area_in(7, 0), mem = mem_open(getpid());

	mem_fill(p, N, N, 100);
	mem_fill(q, N, N, 100);
	require(!task_add(area, mem, p, N, 0), "KSM_REGISTER_TASK failed");
	require(!task_add(area, mem, q, N, KSM_TASK_DETACHED), "a detached region failed");
	engine_merge(N, N);
	expect_together(p, q, true, "one area");
	expect_together(p, beside, false, "two domains");
	require(!task_remove(area, mem, q, KSM_TASK_DETACHED), "KSM_REMOVE_TASK failed");
}

CASE(domain, bad_calls, 30)
{
	struct { struct ksm_domain known; uint64_t unknown; } arg = { .known.size = sizeof(arg) };
	char *p = mem_map(2);
	int area = area_new();

	expect_errno(dev_ioctl(area, KSM_SET_DOMAIN, NULL), EFAULT, "a null pointer");
	expect_errno(set_domain(area, 1, 0x80), EINVAL, "an unknown flag");
	arg.known.domain = 1;
	require(!dev_ioctl(area, KSM_SET_DOMAIN, &arg), "a larger struct was refused");
	arg.unknown = 1;
	expect_errno(dev_ioctl(area, KSM_SET_DOMAIN, &arg), E2BIG, "a field of the future");
	arg.known.size = KSM_DOMAIN_SIZE_VER0 - 4;
	expect_errno(dev_ioctl(area, KSM_SET_DOMAIN, &arg), EINVAL, "a struct too small");
	arg.known.size = 1 << 20;
	expect_errno(dev_ioctl(area, KSM_SET_DOMAIN, &arg), E2BIG, "a huge struct");
	arg.known = (struct ksm_domain){ .size = sizeof(arg.known), .reserved = 1 };
	expect_errno(dev_ioctl(area, KSM_SET_DOMAIN, &arg), EINVAL, "a reserved field");
	expect_errno(dev_ioctl(dev_fd(), KSM_SET_DOMAIN, &arg), ENOTTY, "the device itself");

	require(!region_add(area, p, 2), "registering failed");
	expect_errno(set_domain(area, 1, 0), EBUSY, "an area with a region");
	require(!region_remove(area, p), "removing failed");
	require(!set_domain(area, 1, 0), "an area without a region any more was refused");
}

/* Another user, with the right to dump its memory as after execve(). */
static void become(uid_t uid)
{
	require(!setresuid(uid, uid, uid), "setresuid: %s", strerror(errno));
	require(!prctl(PR_SET_DUMPABLE, 1), "PR_SET_DUMPABLE: %s", strerror(errno));
}

struct tenant {
	uid_t uid;		/* 0: stays root */
	uint64_t number;
	unsigned int flags;
	const char *cgroup;	/* its cgroup.procs */
	bool undumpable;
};

/* Registers the same pages as everybody else, and holds them until told. */
static void tenant(struct peer *self, void *arg)
{
	struct tenant *t = arg;
	char *p = mem_map(N);
	int area = area_new(), err;

	mem_fill(p, N, N, 100);
	if (t->cgroup) {
		err = file_write(t->cgroup, "0");
		require(!err, "%s: %s", t->cgroup, strerror(-err));
	}
	if (t->flags)
		require(!set_domain(area, t->number, t->flags), "KSM_SET_DOMAIN failed");
	if (t->uid)
		become(t->uid);
	if (t->undumpable)
		require(!prctl(PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE: %s", strerror(errno));
	if (t->number && !t->flags)
		require(!set_domain(area, t->number, 0), "KSM_SET_DOMAIN failed");
	err = region_add(area, p, N);
	require(!err, "registering: %s", strerror(-err));
	peer_tell(self);
	peer_wait(self);
	mem_check(p, N, N, 100);
}

/* Three tenants: how many pages they share. */
static void tenants(struct tenant *t, long long shared, long long sharing)
{
	struct peer peer[3];

	for (int i = 0; i < 3; i++) {
		peer[i] = peer_start(tenant, &t[i]);
		peer_wait(&peer[i]);
	}
	sentinel();
	engine_merge(1 + shared, 1 + sharing);
	for (int i = 0; i < 3; i++)
		peer_end(&peer[i]);
	engine_expect(1, 1);
}

/* Of one number, but not of one user. */
CASE(domain, users_numbers, 60)
{
	struct tenant t[3] = {
		{ .uid = USER, .number = 5 }, { .uid = USER + 1, .number = 5 },
		{ .uid = USER, .number = 5 },
	};

	tenants(t, N, N);
}

CASE(domain, system_numbers, 60)
{
	struct tenant t[3] = {
		{ .uid = USER, .number = 5, .flags = KSM_DOMAIN_SYSTEM },
		{ .uid = USER + 1, .number = 5, .flags = KSM_DOMAIN_SYSTEM },
		{ .uid = USER, .number = 6, .flags = KSM_DOMAIN_SYSTEM },
	};

	tenants(t, N, N);
}

CASE(domain, system_needs_right, 30)
{
	int area = area_new();

	become(USER);
	expect_errno(set_domain(area, 5, KSM_DOMAIN_SYSTEM), EPERM, "a system number");
	expect_errno(set_domain(area, 0, KSM_DOMAIN_SYSTEM), EPERM, "the common domain");
	require(!set_domain(area, 5, 0), "a number of one's own was refused");
	require(!set_domain(area, 0, 0), "no number was refused");
}

static void mode(const char *name)
{
	int err = engine_write("domain_mode", name);

	require(!err, "domain_mode=%s: %s", name, strerror(-err));
}

CASE(domain, mode_global, 60)
{
	struct tenant t[3] = { { .uid = USER }, { .uid = USER + 1 }, { .undumpable = true } };

	tenants(t, N, 2 * N);
}

CASE(domain, mode_user, 60)
{
	struct tenant t[3] = { { .uid = USER }, { .uid = USER + 1 }, { .uid = USER } };

	mode("user");
	tenants(t, N, N);
}

/* A process that its own user may not look into is on its own. */
CASE(domain, mode_user_undumpable, 60)
{
	struct tenant t[3] = {
		{ .uid = USER }, { .uid = USER, .undumpable = true },
		{ .uid = USER, .undumpable = true },
	};

	mode("user");
	tenants(t, 0, 0);
}

CASE(domain, mode_process, 60)
{
	struct tenant t[3] = { {}, {}, {} };

	mode("process");
	tenants(t, 0, 0);
}

/* A number goes before the mode; within a process everything merges. */
CASE(domain, mode_process_itself, 60)
{
	struct tenant t[3] = { { .number = 3 }, {}, { .number = 3 } };
	char *p, *q;

	mode("process");
	tenants(t, N, N);
	p = pages_in(0, 0, 100);
	q = pages_in(0, 0, 100);
	engine_merge(1 + N, 1 + N);
	expect_together(p, q, true, "one process");
}

#define CGROUPS "/cgroups"

CASE(domain, mode_cgroup, 60)
{
	static const char *const file[] = { CGROUPS "/a/cgroup.procs", CGROUPS "/b/cgroup.procs" };
	struct tenant t[3] = {
		{ .cgroup = file[0] }, { .cgroup = file[1] }, { .cgroup = file[0] },
	};

	mkdir(CGROUPS, 0700);
	require(!mount("none", CGROUPS, "cgroup2", 0, NULL), "mounting cgroup2: %s", strerror(errno));
	require(!file_write(CGROUPS "/cgroup.subtree_control", "+memory"), "no memory controller");
	require(!mkdir(CGROUPS "/a", 0700) && !mkdir(CGROUPS "/b", 0700), "no cgroup: %s",
		strerror(errno));
	mode("cgroup");
	tenants(t, N, N);
	rmdir(CGROUPS "/a");
	rmdir(CGROUPS "/b");
	umount(CGROUPS);
	rmdir(CGROUPS);
}

CASE(domain, mode_busy, 60)
{
	char *p = mem_map(N), text[32];

	mem_fill(p, N, 1, 100);
	area_with(p, N);
	expect_errno(engine_write("domain_mode", "galaxy"), EINVAL, "an unknown mode");
	engine_merge(1, N - 1);
	expect_errno(engine_write("domain_mode", "process"), EBUSY, "a change with merged pages");
	require(!engine_write("domain_mode", "global"), "the mode that it has was refused");
	engine_stop();
	expect_errno(engine_write("domain_mode", "user"), EBUSY, "a change with merged pages");
	engine_set("run", 2);
	mode("process");
	require(file_read(ENGINE "domain_mode", text, sizeof(text)) > 0 &&
		!strcmp(text, "process\n"), "domain_mode reads %s", text);
	engine_merge(1, N - 1);
}

CASE(domain, mode_at_load, 60)
{
	struct tenant t[3] = { {}, {}, {} };

	require(!module_unload(), "unloading failed");
	expect_errno(module_load("domain_mode=galaxy"), EINVAL, "an unknown mode at load");
	require(!module_load("domain_mode=process"), "domain_mode=process was refused at load");
	engine_pace(20000, 5);
	tenants(t, 0, 0);
}

/* Adopted memory that an area put in a domain is in that domain. */
CASE(domain, region_before_adoption, 60)
{
	char *p = mem_map(N), *q = mem_map(3 * N);
	int area = area_in(9, 0);

	if (madvise(p, N * PAGE, MADV_MERGEABLE) || madvise(q, 3 * N * PAGE, MADV_MERGEABLE))
		fail("this kernel has no MADV_MERGEABLE");
	mem_fill(p, N, N, 100);
	mem_fill(q, 3 * N, N, 100);
	require(!region_add(area, q + N * PAGE, N), "registering failed");
	engine_set("adopt_mergeable", 1);
	engine_start();
	engine_passes(SETTLE + 1);
	/* p with the first and last third of q. */
	engine_expect(N, 2 * N);
	expect_together(p, q, true, "adopted memory");
	expect_together(p, q + 2 * N * PAGE, true, "adopted memory");
	expect_together(p, q + N * PAGE, false, "a region of another domain");
}

/* A child in another domain keeps what it had by fork(), and nothing joins that. */
static void child_of_other_domain(struct peer *self, void *arg)
{
	char *inherited = arg, *p = mem_map(N);
	uint64_t before = pfn_of(inherited);
	int area = area_in(2, 0);

	mem_fill(p, N, N, 100);
	require(!region_add(area, inherited, N) && !region_add(area, p, N), "registering failed");
	peer_tell(self);
	peer_wait(self);
	require(pfn_of(inherited) == before, "an inherited page was moved");
	expect_together(inherited, p, false, "a parent's domain and a child's");
	mem_check(inherited, N, N, 100);
	mem_check(p, N, N, 100);
	/* Once written it is the child's own, in its own domain. */
	mem_fill(inherited, N, N, 100);
	peer_tell(self);
	peer_wait(self);
	expect_together(inherited, p, true, "one domain");
	require(pfn_of(inherited) != before, "a page got back to the parent's domain");
}

CASE(domain, fork_into_another, 60)
{
	char *p = pages_in(1, 0, 100), *q = pages_in(1, 0, 100);
	struct peer child;

	engine_merge(N, N);
	child = peer_start(child_of_other_domain, p);
	peer_wait(&child);
	engine_passes(2 * SETTLE);
	engine_expect(N, 3 * N);	/* p and q, twice */
	peer_tell(&child);
	peer_wait(&child);
	engine_passes(SETTLE);
	engine_expect(2 * N, 3 * N);
	peer_end(&child);
	engine_expect(N, N);
	expect_together(p, q, true, "one domain");
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Writes to each page; how many took a fault, and the median time in microseconds. */
static long probe(char *p, double *median)
{
	struct rusage before, after;
	double took[N];

	getrusage(RUSAGE_SELF, &before);
	for (size_t i = 0; i < N; i++) {
		struct timespec a, b;

		clock_gettime(CLOCK_MONOTONIC, &a);
		((volatile char *)p)[i * PAGE] = 1;
		clock_gettime(CLOCK_MONOTONIC, &b);
		took[i] = (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3;
	}
	getrusage(RUSAGE_SELF, &after);
	qsort(took, N, sizeof(*took), compare);
	*median = took[N / 2];
	return after.ru_minflt - before.ru_minflt;
}

/* What the victim has: secrets that the attacker guesses. */
static void victim(struct peer *self, void *arg)
{
	char *p = pages_in(*(uint64_t *)arg, 0, 4000);

	peer_tell(self);
	peer_wait(self);
	mem_check(p, N, N, 4000);
}

/*
 * Makes pages up, half of them right, waits, and looks by nothing but its own
 * writes which it guessed.
 */
static void attack(uint64_t attacker, uint64_t attacked, bool succeeds)
{
	struct peer peer = peer_start(victim, &attacked);
	double right_us, wrong_us, warm_us;
	char *right, *wrong, *warm = mem_map(N);
	long hits, misses;

	peer_wait(&peer);
	mem_fill(warm, N, N, 1);
	probe(warm, &warm_us);
	right = pages_in(attacker, 0, 4000);
	wrong = pages_in(attacker, 0, 5000);
	engine_start();
	engine_passes(2 * SETTLE);
	engine_stop();
	if (succeeds)
		engine_expect(N, N);
	else
		engine_expect(0, 0);
	hits = probe(right, &right_us);
	misses = probe(wrong, &wrong_us);
	note("a write: %.1f us where the guess is right, %.1f us where it is wrong",
	     right_us, wrong_us);
	require(misses == 0, "%ld faults of pages that nobody else has", misses);
	if (succeeds)
		require(hits == N && right_us > wrong_us,
			"within one domain %ld of %d guesses were seen, by %.1f and %.1f us",
			hits, N, right_us, wrong_us);
	else
		require(hits == 0, "across domains %ld of %d guesses were seen", hits, N);
	peer_end(&peer);
}

CASE(domain, attack_within_one, 60) { attack(1, 1, true); }
CASE(domain, attack_in_common, 60) { attack(0, 0, true); }
CASE(domain, attack_across, 60) { attack(1, 2, false); }
CASE(domain, attack_from_common, 60) { attack(0, 1, false); }
CASE(domain, attack_on_common, 60) { attack(1, 0, false); }
CASE(domain, attack_across_processes, 60)
{
	mode("process");
	attack(0, 0, false);
}
