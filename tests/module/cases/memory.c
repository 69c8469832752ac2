// SPDX-License-Identifier: GPL-2.0-or-later
/* No memory left: for the caller, for the scan, for the copies of unmerging. */
#include <signal.h>

#include "system.h"

#define N 2048
#define TRIES 500

/* Pipes want memory too, so this is how the processes of a case take turns. */
static volatile struct turns {
	int turn;
	int regions, areas, region_errno, area_errno;
} *turns;

static void prepare(void)
{
	turns = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	require(turns != MAP_FAILED, "mmap: %s", strerror(errno));
	turns->turn = 0;
}

static void wait_turn(int turn)
{
	double end = now() + 60;

	while (turns->turn < turn) {
		require(now() < end, "step %d does not come", turn);
		nap_ms(5);
	}
}

/* No page of it will be missing later, and nobody kills it. */
static void settle_down(void)
{
	require(!file_write("/proc/self/oom_score_adj", "-1000"), "oom_score_adj");
	require(!mlockall(MCL_CURRENT), "mlockall: %s", strerror(errno));
}

/* What a command allocates is charged to the caller's group: refused, not killed for. */
static void ask_for_much(struct peer *self, void *arg)
{
	int dev, area, err;

	(void)self;
	(void)arg;
	group_enter("small");
	dev = dev_fd();
	area = area_new();
	settle_down();
	turns->turn = 1;
	wait_turn(2);
	for (int i = 0; i < TRIES && !turns->region_errno; i++) {
		err = region_add(area, (char *)0x100000000000 + 2 * i * PAGE, 1);
		if (err)
			turns->region_errno = -err;
		else
			turns->regions++;
	}
	for (int i = 0; i < TRIES && !turns->area_errno; i++) {
		err = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL);
		if (err < 0)
			turns->area_errno = -err;
		else
			turns->areas++;
	}
	turns->turn = 3;
	wait_turn(4);
	err = region_add(area, (char *)0x200000000000, 1);
	require(!err, "a region, when there is memory again: %s", strerror(-err));
	for (int i = 0; i < turns->regions; i++) {
		err = region_remove(area, (char *)0x100000000000 + 2 * i * PAGE);
		require(!err, "removing region %d: %s", i, strerror(-err));
	}
	err = region_remove(area, (char *)0x100000000000 + 2 * turns->regions * PAGE);
	expect_errno(err, ENOENT, "removing what was refused");
}

CASE(memory, charged, 90)
{
	struct peer peer;

	prepare();
	sentinel();
	group_make("small", "max");
	peer = peer_start(ask_for_much, NULL);
	wait_turn(1);
	group_limit("small", "0");
	turns->turn = 2;
	wait_turn(3);
	group_limit("small", "max");
	note("%d regions and %d areas were to be had", turns->regions, turns->areas);
	expect_errno(-turns->region_errno, ENOMEM, "a region without memory");
	expect_errno(-turns->area_errno, ENOMEM, "an area without memory");
	turns->turn = 4;
	reap(peer.pid);
	engine_merge(1, 1);
}

/*
 * The scan's allocations fail when free memory is below the reserve, so a
 * reserve of all memory is enough: nothing is really used up.
 */
static void victim(struct peer *self, void *arg)
{
	(void)arg;
	require(!file_write("/proc/self/oom_score_adj", "1000"), "oom_score_adj");
	memset(mem_map(1024), 1, 1024 * PAGE);
	peer_tell(self);
	nap_ms(100000);
}

static long long read_open(int fd)
{
	char text[64] = "";

	require(pread(fd, text, sizeof(text) - 1, 0) > 0, "reading: %s", strerror(errno));
	return atoll(text);
}

static int open_attribute(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	require(fd >= 0, "%s: %s", path, strerror(errno));
	return fd;
}

static void write_open(int fd, const char *text)
{
	ssize_t length = strlen(text);

	require(pwrite(fd, text, length, 0) == length, "writing: %s", strerror(errno));
}

/* Whoever of the kernel's must have memory meanwhile has one of them killed for it. */
static void victims_start(struct peer *victims, int nr)
{
	for (int i = 0; i < nr; i++) {
		victims[i] = peer_start(victim, NULL);
		peer_wait(&victims[i]);
	}
}

static void victims_end(struct peer *victims, int nr)
{
	for (int i = 0; i < nr; i++)
		peer_kill(&victims[i]);
}

CASE(memory, starved, 150)
{
	char *p = mem_map(N), was[32];
	/* The slower the passes, the more the kernel kills meanwhile. */
	int nr = 4 * patience, reserve, run, passes, sharing;
	struct peer victims[nr];
	long long most = 0;

	prepare();
	/*
	 * What an earlier case left merged goes first: the table it was in shrinks by a
	 * worker of the kernel's, for which others are killed while memory is short.
	 */
	sentinel();
	engine_start();
	engine_passes(2);
	engine_stop();
	nap_ms(300 * patience);
	mem_fill(p, N, 16, 2100);
	area_with(p, N);
	require(file_read("/proc/sys/vm/min_free_kbytes", was, sizeof(was)) > 0, "min_free_kbytes");
	reserve = open_attribute("/proc/sys/vm/min_free_kbytes", O_RDWR);
	run = open_attribute(ENGINE "run", O_RDWR);
	passes = open_attribute(ENGINE "full_scans", O_RDONLY);
	sharing = open_attribute(ENGINE "pages_sharing", O_RDONLY);
	read_open(sharing);
	settle_down();

	/*
	 * One pass at a time: who can neither do without memory nor die would have everybody
	 * killed, one after the other, until it gets some.
	 */
	for (int pass = 0; pass <= SETTLE; pass++) {
		double end = now() + 20 * patience;
		long long before = read_open(passes), n;

		victims_start(victims, nr);
		write_open(reserve, "4000000");
		write_open(run, "1");
		while (read_open(passes) == before && now() < end)
			nap_ms(20);
		write_open(run, "0");
		n = read_open(passes) - before;
		most = read_open(sharing) > most ? read_open(sharing) : most;
		write_open(reserve, was);
		victims_end(victims, nr);
		require(n > 0, "without memory pass %d does not end", pass);
	}

	note("at most %lld pages sharing", most);
	require(most < N / 2, "%lld pages merged without memory for it", most);
	mem_check(p, N, 16, 2100);
	/* With the sentinel's. */
	engine_merge(16 + 1, N - 16 + 1);
	mem_check(p, N, 16, 2100);
	munlockall();
}

/* A group that merging keeps below its limit cannot be unmerged. */
static void live_merged(struct peer *self, void *arg)
{
	char *p;

	(void)self;
	(void)arg;
	group_enter("merged");
	p = mem_map(N);
	mem_fill(p, N, 16, 2200);
	area_with(p, N);
	settle_down();
	turns->turn = 1;
	wait_turn(2);
	mem_check(p, N, 16, 2200);
	turns->turn = 3;
	wait_turn(4);
	mem_check(p, N, 16, 2200);
}

CASE(memory, unmerge, 90)
{
	struct peer peer;
	int err;

	prepare();
	group_make("merged", "max");
	peer = peer_start(live_merged, NULL);
	wait_turn(1);
	engine_merge(16, N - 16);
	group_limit("merged", "2M");
	err = engine_write("run", "2");
	expect_errno(err, ENOMEM, "unmerging 8 MiB in a group of 2 MiB");
	require(engine_read("run") == 0, "run is %lld after a failed unmerging", engine_read("run"));
	require(engine_read("pages_sharing") > N / 2, "hardly anything is merged: %s",
		engine_state());
	turns->turn = 2;
	wait_turn(3);
	group_limit("merged", "max");
	engine_set("run", 2);
	engine_expect(0, 0);
	turns->turn = 4;
	reap(peer.pid);
}
