// SPDX-License-Identifier: GPL-2.0-or-later
/* Users who take what they can get, several at once: others go on as before. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ksmtest.h"
#include "remote.h"

#define USERS 3
#define NEWCOMER USERS
#define UID 60000
#define GROUP 4			/* processes of one user */
#define MOST (1 << 16)

/* What the processes of a case tell each other. */
static struct shared {
	unsigned int regions[USERS + 1][GROUP];
	volatile bool go;
} *shared;

static void prepare(void)
{
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	require(shared != MAP_FAILED, "mmap: %s", strerror(errno));
	/* /dev/ksm is root's here: who may open it is another matter. */
	require(!chmod("/dev/ksm", 0666), "chmod: %s", strerror(errno));
}

static void become(int user)
{
	require(!setgid(UID + user) && !setuid(UID + user), "setuid: %s", strerror(errno));
	/* Without it its own /proc/self/mem is out of its reach. */
	prctl(PR_SET_DUMPABLE, 1);
}

/* Single pages with a gap between them, nothing mapped there. */
static unsigned int register_all(int area)
{
	unsigned int n;

	for (n = 0; n < MOST; n++) {
		int err = region_add(area, (char *)0x100000000000 + 2 * n * PAGE, 1);

		if (err == -ENOSPC)
			return n;
		require(!err, "region %u: %s", n, strerror(-err));
	}
	fail("one user may have %u regions and more", n);
}

static void greedy(struct peer *self, void *arg)
{
	int number = (intptr_t)arg, user = number / GROUP, area;

	become(user);
	area = area_new();
	peer_tell(self);
	while (!shared->go)
		nap_ms(1);
	shared->regions[user][number % GROUP] = register_all(area);
	peer_tell(self);
	peer_wait(self);
}

static unsigned int sum_of(int user)
{
	unsigned int sum = 0;

	for (int i = 0; i < GROUP; i++)
		sum += shared->regions[user][i];
	return sum;
}

/* However many processes a user has, and whoever else floods at the time. */
CASE(hostile, region_floods, 120)
{
	struct peer peer[USERS * GROUP], one;
	unsigned int limit, killed;

	prepare();
	sentinel();
	engine_start();
	for (int i = 0; i < USERS * GROUP; i++) {
		peer[i] = peer_start(greedy, (void *)(intptr_t)i);
		peer_wait(&peer[i]);
	}
	shared->go = true;
	for (int i = 0; i < USERS * GROUP; i++)
		peer_wait(&peer[i]);
	limit = sum_of(0);
	note("%u regions a user", limit);
	for (int user = 1; user < USERS; user++)
		require(sum_of(user) == limit, "user %d has %u regions, user 0 has %u", user,
			sum_of(user), limit);
	/* Others merge meanwhile. */
	engine_merge(1, 1);

	/* What a killed process had is to be had again, and no more. */
	killed = shared->regions[0][0];
	peer_kill(&peer[0]);
	one = peer_start(greedy, (void *)0);
	peer_wait(&one);
	peer_wait(&one);
	require(shared->regions[0][0] == killed, "%u regions were freed, %u are to be had", killed,
		shared->regions[0][0]);
	peer_end(&one);
	for (int i = 1; i < USERS * GROUP; i++)
		peer_kill(&peer[i]);
	engine_merge(1, 1);
	require(!chmod("/dev/ksm", 0600), "chmod: %s", strerror(errno));
}

/* Descriptors until there are no more, each area with a region; then SIGKILL. */
static void collector(struct peer *self, void *arg)
{
	int number = (intptr_t)arg, dev, area, n = 0;
	struct rlimit files = { 1024, 1024 };

	require(!setrlimit(RLIMIT_NOFILE, &files), "setrlimit: %s", strerror(errno));
	become(number % USERS);
	dev = dev_fd();
	for (;; n++) {
		area = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL);
		if (area < 0)
			break;
		require(!region_add(area, (char *)0x100000000000 + 2 * n * PAGE, 1),
			"region of area %d", n);
	}
	require(area == -EMFILE, "area %d: %s, expected EMFILE", n, strerror(-area));
	require(n > 900, "%d areas only", n);
	peer_tell(self);
	peer_wait(self);
}

CASE(hostile, descriptor_floods, 120)
{
	struct peer peer[USERS * GROUP];
	long before = 0, after;

	frees_at_once();
	prepare();
	sentinel();
	engine_start();
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < USERS * GROUP; i++)
			peer[i] = peer_start(collector, (void *)(intptr_t)i);
		for (int i = 0; i < USERS * GROUP; i++)
			peer_wait(&peer[i]);
		engine_passes(SETTLE);
		engine_expect(1, 1);
		for (int i = 0; i < USERS * GROUP; i++)
			peer_kill(&peer[i]);
		engine_passes(SETTLE);
		nap_ms(200);	/* for what is freed after a grace period */
		after = meminfo_kb("SUnreclaim");
		if (round == 0)
			before = after;
	}
	/* 36000 leaked areas would be some 30 MB with their files. */
	require(after - before < 4096, "unreclaimable slab grew from %ld to %ld kB", before, after);
	engine_merge(1, 1);
	require(!chmod("/dev/ksm", 0600), "chmod: %s", strerror(errno));
}

/* Register in every way and be gone at once, over and over. */
static void come_and_go(struct peer *self, void *arg)
{
	int user = (intptr_t)arg;
	double end = now() + lasting(4);
	unsigned long n = 0;

	(void)self;
	become(user);
	for (; now() < end; n++) {
		pid_t pid = fork();

		require(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			char *p = mem_map(8);
			int area = area_with(p, 4);

			/* One of its own and one that would outlive the area. */
			region_add(area_new(), p + 4 * PAGE, 1);
			task_add(area, mem_open(getpid()), p + 6 * PAGE, 2, KSM_TASK_DETACHED);
			if (n % 2) {
				mem_fill(p, 8, 2, 5500 + n % 16);
				nap_ms(n % 8);
			}
			_exit(0);
		}
		reap(pid);
	}
	note("user %d came and went %lu times", user, n);
}

CASE(hostile, come_and_go, 120)
{
	struct peer peer[USERS], one;

	prepare();
	sentinel();
	engine_pace(20000, 0);
	engine_start();
	for (int i = 0; i < USERS; i++)
		peer[i] = peer_start(come_and_go, (void *)(intptr_t)i);
	for (int i = 0; i < USERS; i++)
		reap(peer[i].pid);
	engine_merge(1, 1);

	/* Nothing of it counts against them: each may have as much as one who never came. */
	shared->go = true;
	for (int user = NEWCOMER; user >= 0; user--) {
		one = peer_start(greedy, (void *)(intptr_t)(user * GROUP));
		peer_wait(&one);
		peer_wait(&one);
		require(shared->regions[user][0] == shared->regions[NEWCOMER][0],
			"user %d: %u of %u regions", user, shared->regions[user][0],
			shared->regions[NEWCOMER][0]);
		peer_end(&one);
	}
	require(!chmod("/dev/ksm", 0600), "chmod: %s", strerror(errno));
}

/* Who comes and goes all the time is behind all others each time, and must not keep a pass from ending. */
CASE(hostile, queue_jumpers, 60)
{
	enum { JUMPERS = 6, PAGES = 512, MEANWHILE = 10 };
	struct remote r[JUMPERS];
	int mem[JUMPERS], area = area_new();
	long long before;
	double until;

	for (int i = 0; i < JUMPERS; i++) {
		char *p;

		r[i] = remote_start();
		p = remote_map(&r[i], PAGES);
		remote_fill(&r[i], p, PAGES, PAGES, 10000 * (i + 1));
		mem[i] = mem_open(r[i].peer.pid);
		require(!task_add(area, mem[i], NULL, 0, KSM_TASK_WHOLE), "KSM_REGISTER_TASK");
	}
	/* All of them take 50 ms and more, and come anew every few milliseconds. */
	engine_pace(64, 1);
	engine_start();
	before = engine_read("full_scans");
	until = now() + 3 * patience;
	for (int i = 0; now() < until; i = (i + 1) % JUMPERS) {
		require(!task_remove(area, mem[i], NULL, KSM_TASK_WHOLE), "KSM_REMOVE_TASK");
		require(!task_add(area, mem[i], NULL, 0, KSM_TASK_WHOLE), "KSM_REGISTER_TASK");
		nap_ms(1);
	}
	require(engine_read("full_scans") - before >= MEANWHILE, "%lld passes ended in all that time",
		engine_read("full_scans") - before);
	for (int i = 0; i < JUMPERS; i++)
		remote_end(&r[i]);
}

/* Nor does it make the scan hurry on: others' memory is not to be looked at more often for it. */
CASE(hostile, no_hurry, 60)
{
	enum { PAGES = 2048, PER_SCAN = 32, PAUSE = 250, SCANS = 8 };
	char *p = mem_map(PAGES), *q = mem_map(2);
	int area = area_new();
	long long before;
	double began;

	mem_fill(p, PAGES, PAGES, 100);
	area_with(p, PAGES);
	engine_pace(PER_SCAN, PAUSE);
	engine_start();
	before = engine_read("pages_scanned");
	began = now();
	while (now() < began + SCANS * PAUSE / 1000.0) {
		require(!region_add(area, q, 2), "registering");
		require(!region_remove(area, q), "removing");
		nap_ms(1);
	}
	/* On a busy machine the loop may end late. */
	require(engine_read("pages_scanned") - before <=
		(3 + (now() - began) * 1000 / PAUSE) * PER_SCAN,
		"%lld pages were read in %.1f s", engine_read("pages_scanned") - before,
		now() - began);
}
