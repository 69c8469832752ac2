// SPDX-License-Identifier: GPL-2.0-or-later
/* KSM_TASK_CHILDREN: a task together with those that it starts. */
#include <signal.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "ksmtest.h"
#include "remote.h"

#define N 256
#define M 4
#define FAMILY (KSM_TASK_WHOLE | KSM_TASK_CHILDREN)

static void add(int area, pid_t pid, unsigned int flags)
{
	int mem = mem_open(pid), err = task_add(area, mem, NULL, 0, flags);

	require(!err, "KSM_REGISTER_TASK with its children: %s", strerror(-err));
	close(mem);
}

/* New contents, which merge where they are scanned. */
static void expect_scanned(struct remote *r, char *p, uint64_t base)
{
	size_t frames;

	remote_fill(r, p, N, M, base);
	engine_passes(SETTLE + 1);
	frames = remote_frames(r, p, N);
	require(frames == M, "%zu page frames: %s", frames, engine_state());
	remote_check(r, p, N, M, base);
}

static void expect_unscanned(struct remote *r, char *p, uint64_t base)
{
	size_t frames;

	remote_fill(r, p, N, M, base);
	engine_passes(SETTLE + 1);
	frames = remote_frames(r, p, N);
	require(frames == N, "%zu page frames: %s", frames, engine_state());
}

CASE(family, child, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N);

	add(area_new(), r.peer.pid, FAMILY);
	engine_start();
	expect_scanned(&r, p, 700);
	child = remote_fork(&r);
	expect_scanned(&child, p, 800);
	/* What it maps later is in it, too. */
	expect_scanned(&child, remote_map(&child, N), 900);
	remote_check(&r, p, N, M, 700);
	remote_end(&child);
	remote_end(&r);
	engine_expect(0, 0);
}

CASE(family, child_there_before, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N);

	child = remote_fork(&r);
	add(area_new(), r.peer.pid, FAMILY);
	engine_start();
	expect_scanned(&child, p, 800);
	remote_end(&child);
	remote_end(&r);
}

/* Without the flag, and of another task, nothing is taken. */
CASE(family, others_are_left_alone, 60)
{
	struct remote r = remote_start(), child, stranger = remote_start();
	char *p = remote_map(&r, N), *s = remote_map(&stranger, N);

	add(area_new(), r.peer.pid, KSM_TASK_WHOLE);
	child = remote_fork(&r);
	add(area_new(), child.peer.pid, FAMILY);
	engine_start();
	expect_scanned(&child, p, 700);
	expect_unscanned(&stranger, s, 800);
	/* Its parent's registration has no family, and its own ends here. */
	expect_scanned(&r, p, 900);
	remote_end(&child);
	remote_end(&r);
	remote_end(&stranger);
}

CASE(family, area_ends_it, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N);
	int area = area_new();

	sentinel();
	add(area, r.peer.pid, FAMILY);
	engine_start();
	child = remote_fork(&r);
	expect_scanned(&child, p, 700);
	close(area);
	expect_unscanned(&child, p, 800);
	expect_unscanned(&r, p, 900);
	remote_end(&child);
	remote_end(&r);
}

CASE(family, outlives_parent, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N);
	int area = area_new();

	add(area, r.peer.pid, FAMILY | KSM_TASK_DETACHED);
	close(area);
	engine_start();
	child = remote_fork(&r);
	expect_scanned(&child, p, 700);
	kill(r.peer.pid, SIGKILL);
	require(waitpid(r.peer.pid, NULL, 0) == r.peer.pid, "waitpid: %s", strerror(errno));
	expect_scanned(&child, p, 800);
	kill(child.peer.pid, SIGKILL);
	engine_expect(0, 0);
}

CASE(family, removed_together, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N);
	int area = area_new(), mem, child_mem;

	sentinel();
	add(area, r.peer.pid, FAMILY);
	engine_start();
	child = remote_fork(&r);
	expect_scanned(&child, p, 700);
	mem = mem_open(r.peer.pid);
	child_mem = mem_open(child.peer.pid);
	expect_errno(task_remove(area_new(), mem, NULL, FAMILY), ENOENT, "by another area");
	/* The child by itself comes back with the next pass. */
	require(!task_remove(area, child_mem, NULL, KSM_TASK_WHOLE), "removing the child");
	expect_scanned(&child, p, 750);
	require(!task_remove(area, mem, NULL, FAMILY), "removing the family");
	expect_errno(task_remove(area, child_mem, NULL, KSM_TASK_WHOLE), ENOENT,
		     "the child of a removed family");
	expect_unscanned(&child, p, 800);
	expect_unscanned(&r, p, 900);
	remote_end(&child);
	remote_end(&r);
}

/* Without the flag only the task goes: what was taken is registered as it was. */
CASE(family, child_stays, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N);
	int area = area_new(), mem;

	add(area, r.peer.pid, FAMILY);
	engine_start();
	child = remote_fork(&r);
	expect_scanned(&child, p, 700);
	mem = mem_open(r.peer.pid);
	require(!task_remove(area, mem, NULL, KSM_TASK_WHOLE), "removing the parent");
	expect_scanned(&child, p, 800);
	expect_unscanned(&r, p, 900);
	remote_end(&child);
	remote_end(&r);
}

CASE(family, own_region_stays, 60)
{
	struct remote r = remote_start(), child;
	char *p = remote_map(&r, N), *q;
	int own = area_new(), mem;

	child = remote_fork(&r);
	q = remote_map(&child, N);
	mem = mem_open(child.peer.pid);
	require(!task_add(own, mem, q, N, 0), "registering a range of the child");
	add(area_new(), r.peer.pid, FAMILY);
	engine_start();
	expect_scanned(&child, q, 700);
	expect_unscanned(&child, p, 800);
	close(own);
	expect_scanned(&child, p, 900);
	remote_end(&child);
	remote_end(&r);
}

/* A process two forks away, whose parent has ended when it is told to. */
static void chain(struct peer *self, void *arg)
{
	bool *orphan = arg;
	char *p = mem_map(N);
	int pid, status;

	if (*orphan)
		prctl(PR_SET_CHILD_SUBREAPER, 0);
	peer_tell(self);
	peer_wait(self);
	pid = fork();
	if (pid) {
		if (*orphan)
			waitpid(pid, &status, 0);
		else
			while (waitpid(-1, &status, 0) > 0)
				;
		pause();
	}
	pid = fork();
	if (pid) {
		if (*orphan)
			_exit(0);
		pause();
	}
	if (*orphan)
		while (getppid() != 1 && getppid() == self->pid)
			;
	mem_fill(p, N, M, 600);
	peer_tell(self);
	peer_wait(self);
	require(distinct_pfns(p, N) == (*orphan ? N : M), "%zu page frames",
		distinct_pfns(p, N));
	mem_check(p, N, M, 600);
	peer_tell(self);
	pause();
}

static void grandchild(bool orphan)
{
	struct peer peer = peer_start(chain, &orphan);

	peer_wait(&peer);
	engine_pace(20000, orphan ? 1000 : 5);
	add(area_new(), peer.pid, FAMILY);
	if (!orphan)
		engine_start();
	peer_tell(&peer);
	peer_wait(&peer);
	if (orphan) {
		/* The parent had time to end: no pass has begun yet. */
		nap_ms(300);
		engine_pace(20000, 5);
		engine_start();
	}
	engine_passes(SETTLE + 1);
	peer_tell(&peer);
	peer_wait(&peer);
}

CASE(family, grandchild, 60) { grandchild(false); }
/* Promised to nobody, and shown so that the manual stays true. */
CASE(family, double_fork, 60) { grandchild(true); }

#define EXECS 48

/* Children that tell who they are, become another program, and tell when it is ready. */
static void executes(struct peer *self, void *arg)
{
	(void)arg;
	for (int i = 0; i < EXECS; i++) {
		pid_t pid;

		peer_wait(self);
		pid = fork();
		if (!pid) {
			pid = getpid();
			dup2(self->out, STDOUT_FILENO);
			if (write(self->out, &pid, sizeof(pid)) == sizeof(pid))
				execl("/proc/self/exe", "ksm-module-tests", "--helper", "equal", "64",
				      (char *)NULL);
			_exit(1);
		}
	}
	pause();
}

/* A pass that begins amid execve() must not take the new memory for what it is not yet. */
CASE(family, after_execve, 60)
{
	struct peer peer = peer_start(executes, NULL);
	pid_t pid[EXECS];

	add(area_new(), peer.pid, FAMILY);
	engine_pace(20000, 0);
	engine_start();
	for (int i = 0; i < EXECS; i++) {
		peer_tell(&peer);
		require(read(peer.in, &pid[i], sizeof(pid[i])) == sizeof(pid[i]), "no child");
		peer_wait(&peer);
	}
	engine_pace(20000, 5);
	for (int i = 0; i < EXECS; i++) {
		struct ksm_statistics s = { .mem_fd = mem_open(pid[i]) };

		/* How soon is not the point: new pages may wait in a CPU's list for a pass or two. */
		for (int n = 0; n < 8 && s.pages_merged < 64; n++) {
			engine_passes(SETTLE);
			s.size = sizeof(s);
			require(!dev_ioctl(dev_fd(), KSM_TASK_STATISTICS, &s), "KSM_TASK_STATISTICS failed");
		}
		require(s.regions == 1 && s.pages_merged >= 64, "child %d: regions %llu, merged %llu: %s", i,
			(unsigned long long)s.regions, (unsigned long long)s.pages_merged, engine_state());
		close(s.mem_fd);
	}
}

static void no_right(struct peer *self, void *arg)
{
	int area = area_new(), mem;

	(void)arg;
	require(!setgid(65534) && !setuid(65534), "setuid: %s", strerror(errno));
	require(!prctl(PR_SET_DUMPABLE, 1), "prctl: %s", strerror(errno));
	mem = mem_open(getpid());
	expect_errno(task_add(area, mem, NULL, 0, FAMILY), EPERM, "children without CAP_SYS_PTRACE");
	require(!task_add(area, mem, NULL, 0, KSM_TASK_WHOLE), "the task alone");
	expect_errno(task_remove(area, mem, NULL, FAMILY), EPERM, "removing without CAP_SYS_PTRACE");
	peer_wait(self);
}

CASE(family, rights, 60)
{
	struct peer peer = peer_start(no_right, NULL);
	char *p = mem_map(N);
	int area = area_new(), mem = mem_open(getpid());

	peer_end(&peer);
	expect_errno(task_add(area, mem, p, N, KSM_TASK_CHILDREN), EINVAL, "children of a range");
	expect_errno(task_remove(area, mem, p, KSM_TASK_CHILDREN), EINVAL, "children of a range");
	expect_errno(task_add(area, mem, NULL, 0, FAMILY | 16), EINVAL, "an unknown flag");
}

/* As somebody without a limit, or not. */
static void keep_capability(int which, bool keep)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	require(!syscall(SYS_capget, &header, data), "capget: %s", strerror(errno));
	if (!keep)
		data[which / 32].effective &= ~(1U << which % 32);
	require(!syscall(SYS_capset, &header, data), "capset: %s", strerror(errno));
}

struct registrar {
	pid_t pid;
	bool unlimited;
};

/* Registers a family, and then as much as it may or more. */
static void registers_much(struct peer *self, void *arg)
{
	struct registrar *r = arg;
	char *at = (char *)0x100000000000;
	int area = area_new(), err, n = 0;

	keep_capability(CAP_SYS_RESOURCE, r->unlimited);
	add(area, r->pid, FAMILY);
	while (!(err = region_add(area, at + 2 * n * PAGE, 1)) && n < 5000)
		n++;
	require(err == (r->unlimited ? 0 : -ENOSPC), "region %d: %s", n, strerror(-err));
	/* What it may do now is not asked about again. */
	keep_capability(CAP_SYS_RESOURCE, !r->unlimited);
	peer_tell(self);
	peer_wait(self);
	require(!region_remove(area, at), "removing a region");
	peer_tell(self);
	peer_wait(self);
}

static void limited(bool unlimited)
{
	struct remote r = remote_start(), child;
	struct registrar registrar = { r.peer.pid, unlimited };
	struct peer peer = peer_start(registers_much, &registrar);
	char *p = remote_map(&r, N);

	peer_wait(&peer);
	child = remote_fork(&r);
	engine_start();
	expect_scanned(&r, p, 700);
	if (unlimited)
		expect_scanned(&child, p, 800);
	else
		expect_unscanned(&child, p, 800);
	peer_tell(&peer);
	peer_wait(&peer);
	expect_scanned(&child, p, 900);
	peer_end(&peer);
	remote_end(&child);
	remote_end(&r);
}

/* A child is one region more of its user's, and taken when there is room. */
CASE(family, limit, 60) { limited(false); }
CASE(family, no_limit, 60) { limited(true); }

static void breeds(struct peer *self, void *arg)
{
	char *p = mem_map(32);

	(void)arg;
	mem_fill(p, 32, M, 1);
	peer_tell(self);
	for (int i = 0;; i++) {
		pid_t pid = fork();

		require(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			if (i % 8 == 7)
				execl("/proc/self/exe", "ksm-module-tests", "--helper", "sleep", "20",
				      (char *)NULL);
			mem_check(p, 32, M, 1);
			mem_fill(p, 16, M, 2 + i);
			mem_check(p, 16, M, 2 + i);
			/* A child of its own, that it leaves behind. */
			if (i % 4 == 3 && !fork())
				nap_ms(i % 16);
			_exit(0);
		}
		reap(pid);
	}
}

/* Processes that come and go while families are made and removed. */
CASE(race, family, 120)
{
	struct peer a = peer_start(breeds, NULL), b = peer_start(breeds, NULL);
	double end = now() + lasting(10);
	int mem;

	peer_wait(&a);
	peer_wait(&b);
	engine_pace(1000, 0);
	engine_start();
	mem = mem_open(b.pid);
	for (int i = 0; now() < end; i++) {
		struct ksm_statistics s = { .size = sizeof(s) };
		int area = area_new();

		add(area, a.pid, FAMILY);
		require(!task_add(area, mem, NULL, 0, FAMILY | KSM_TASK_DETACHED),
			"a detached family");
		nap_ms(i % 64);
		require(!dev_ioctl(area, KSM_AREA_STATISTICS, &s), "KSM_AREA_STATISTICS failed");
		require(s.regions >= 1, "the first of the family is not there");
		if (i % 2)
			require(!dev_ioctl(area, KSM_AREA_UNMERGE, NULL), "KSM_AREA_UNMERGE failed");
		require(!task_remove(area, mem, NULL, FAMILY | KSM_TASK_DETACHED),
			"removing the detached family");
		close(area);
	}
	peer_kill(&a);
	peer_kill(&b);
}
