// SPDX-License-Identifier: GPL-2.0-or-later
/* Scan descriptors: KSM_CREATE_SCAN and KSM_SCAN; and what a pass costs. */
#include <signal.h>
#include <sys/ioctl.h>

#include "ksmtest.h"

_Static_assert(KSM_CREATE_SCAN == 0xab02, "number");
_Static_assert(KSM_SCAN == 0x4008ab40, "number");

#define N 256
#define M 4

/* Long enough to be met half-way. */
#define LONG 16384

static int scan(int fd, uint32_t pages, uint32_t max_merge)
{
	struct ksm_user_scan order = { .pages_to_scan = pages, .max_pages_to_merge = max_merge };

	return dev_ioctl(fd, KSM_SCAN, &order);
}

/* A descriptor, and an engine that is through with what earlier cases had. */
static int scan_new(void)
{
	int fd = dev_ioctl(dev_fd(), KSM_CREATE_SCAN, NULL);

	require(fd >= 0, "KSM_CREATE_SCAN: %s", strerror(-fd));
	while (!scan(fd, UINT32_MAX, 0))
		;
	return fd;
}

/* A whole pass: what a scan of everything ends with. */
static void scan_pass(int fd)
{
	long long pass = engine_read("full_scans");
	int err = scan(fd, UINT32_MAX, 0);

	require(!err, "KSM_SCAN: %s", strerror(-err));
	require(engine_read("full_scans") == pass + 1, "a scan of everything is not one pass: %s",
		engine_state());
}

CASE(scan, passes, 60)
{
	char *p = mem_map(N);
	int fd = scan_new();
	long long scanned = engine_read("pages_scanned");

	mem_fill(p, N, M, 1);
	area_with(p, N);
	scan_pass(fd);
	require(engine_read("pages_scanned") == scanned + N, "not every page was scanned once");
	engine_expect(0, 0);
	/* What had a twin in the pass before and did not change since. */
	scan_pass(fd);
	engine_expect(M, N - M);
	mem_check(p, N, M, 1);
	require(engine_read("run") == 0, "run is %lld", engine_read("run"));
}

/* Of a pass that unmerging interrupts nothing is left: the next one is whole. */
CASE(scan, anew_after_unmerging, 60)
{
	char *p = mem_map(N);
	int fd = scan_new(), err;
	long long scanned;

	mem_fill(p, N, N, 1);
	area_with(p, N);
	scan_pass(fd);
	err = scan(fd, N / 2, 0);
	require(!err, "KSM_SCAN: %s", strerror(-err));
	engine_set("run", 2);
	engine_set("run", 0);
	scanned = engine_read("pages_scanned");
	scan_pass(fd);
	require(engine_read("pages_scanned") == scanned + N, "after unmerging a pass is not whole: %s",
		engine_state());
}

/* Pages that changed since the last pass are no candidates, equal as they are. */
CASE(scan, volatile_left_alone, 60)
{
	char *p = mem_map(N);
	int fd = scan_new();

	sentinel();
	area_with(p, N);
	for (int pass = 0; pass < 8; pass++) {
		mem_fill(p, N, 1, pass);
		scan_pass(fd);
		require(engine_read("pages_sharing") <= 1,
			"memory that changes all the time was merged: %s", engine_state());
	}
	engine_expect(1, 1);
	require(engine_read("pages_volatile") == N, "%d pages change, but: %s", N,
		engine_state());
	/* They are as soon as they do not change any more. */
	scan_pass(fd);
	engine_expect(2, N);
	mem_check(p, N, 1, 7);
}

/* What is merged costs a look each pass, and so has its share of what a scan may do. */
CASE(scan, merged_pages_are_counted, 60)
{
	enum { PAGES = 4096, PER_SCAN = 16, PER_READ = 8 };
	char *p = mem_map(PAGES);
	long long passes;
	double began;

	mem_fill(p, PAGES, 64, 100);
	area_with(p, PAGES);
	engine_merge(64, PAGES - 64);
	engine_pace(PER_SCAN, 20);
	engine_passes(1);
	passes = engine_read("full_scans");
	began = now();
	nap_ms(2000);
	passes = engine_read("full_scans") - passes;
	require(passes <= 1 + (now() - began) / 0.02 * PER_SCAN * PER_READ / PAGES,
		"%lld passes in %.1f s", passes, now() - began);
	require(engine_read("pages_sharing") == PAGES - 64, "%s", engine_state());
}

/* As many pages as asked for, and the next scan goes on after them. */
CASE(scan, exact_pages, 60)
{
	char *p = mem_map(N);
	int a = scan_new(), b = scan_new(), err;
	long long scanned;

	mem_fill(p, N, N, 1);
	area_with(p, N);
	scan_pass(a);
	scanned = engine_read("pages_scanned");
	for (int i = 0; i < N / 16; i++) {
		err = scan(i % 2 ? a : b, 16, 0);
		require(!err, "KSM_SCAN: %s", strerror(-err));
		scanned += 16;
		require(engine_read("pages_scanned") == scanned, "after scan %d: %s", i,
			engine_state());
	}
	/* Nothing is left of the pass but its end. */
	scan_pass(a);
	require(engine_read("pages_scanned") == scanned, "a page was scanned twice in a pass");
}

CASE(scan, max_merge, 60)
{
	char *p = mem_map(N);
	int fd = scan_new(), err;

	mem_fill(p, N, 1, 1);
	area_with(p, N);
	scan_pass(fd);
	err = scan(fd, N, 10);
	require(!err, "KSM_SCAN: %s", strerror(-err));
	require(smaps_pages(p, N, "Anonymous") == N - 10, "%ld of %d pages are left",
		smaps_pages(p, N, "Anonymous"), N);
	engine_expect(1, 9);
}

/* Nothing registered, and nothing that one may scan. */
CASE(scan, refusals, 60)
{
	static const unsigned long others[] = {
		_IO(KSMIO, 0x40), _IOW(KSMIO, 0x40, uint32_t), KSM_GET_API_VERSION,
		KSM_REGISTER_MEMORY_REGION, KSM_REMOVE_MEMORY_REGION, KSM_CREATE_SCAN,
		KSM_START_STOP_KTHREAD,
	};
	struct ksm_user_scan order = { .pages_to_scan = 100 };
	char *p;
	int fd = scan_new();

	expect_errno(scan(fd, 100, 0), EAGAIN, "a scan of nothing");
	expect_errno(scan(fd, 0, 0), EINVAL, "a scan of no pages");
	expect_errno(dev_ioctl(fd, KSM_SCAN, NULL), EFAULT, "a null pointer");
	expect_errno(dev_ioctl(dev_fd(), KSM_SCAN, &order), ENOTTY, "KSM_SCAN of /dev/ksm");
	expect_errno(dev_ioctl(area_new(), KSM_SCAN, &order), ENOTTY, "KSM_SCAN of an area");
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		expect_errno(dev_ioctl(fd, others[i], &order), ENOTTY, "another command");
	p = mem_map(N);
	mem_fill(p, N, M, 1);
	area_with(p, N);
	engine_set("run", 2);
	expect_errno(scan(fd, 100, 0), EBUSY, "a scan of what is to stay unmerged");
	engine_expect(0, 0);
	engine_set("run", 0);
	scan_pass(fd);
	scan_pass(fd);
	engine_expect(M, N - M);
}

static void without_rights(struct peer *self, void *arg)
{
	int dev = dev_fd();

	require(!setgid(65534) && !setuid(65534), "setuid: %s", strerror(errno));
	expect_errno(dev_ioctl(dev, KSM_CREATE_SCAN, NULL), EPERM, "an unprivileged KSM_CREATE_SCAN");
	/* Inherited, or handed over a socket: the same file. */
	expect_errno(scan(*(int *)arg, 100, 0), EPERM, "an unprivileged KSM_SCAN");
	peer_wait(self);
}

/* A scan is at everybody's cost, so the descriptor alone gives no right to it. */
CASE(scan, rights, 60)
{
	char *p = mem_map(N);
	int fd = scan_new();
	long long scanned = engine_read("pages_scanned");
	struct peer peer;

	mem_fill(p, N, 1, 1);
	area_with(p, N);
	peer = peer_start(without_rights, &fd);
	peer_end(&peer);
	require(engine_read("pages_scanned") == scanned, "something was scanned");
}

struct long_scan {
	int fd;
	int want;
};

static void on_signal(int number)
{
	(void)number;
}

static void scan_long(struct peer *self, void *arg)
{
	struct long_scan *order = arg;
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	int err;

	sigaction(SIGUSR1, &action, NULL);
	err = scan(order->fd, UINT32_MAX, 0);
	require(err == order->want, "the scan answered %s", strerror(-err));
	peer_tell(self);
	peer_wait(self);
}

/* A scan under way, its memory, and how much had been scanned before. */
static struct peer scan_begun(struct long_scan *order, long long *before)
{
	char *p = mem_map(LONG);
	struct peer peer;

	mem_fill(p, LONG, LONG, 1);
	area_with(p, LONG);
	*before = engine_read("pages_scanned");
	peer = peer_start(scan_long, order);
	while (engine_read("pages_scanned") == *before)
		nap_ms(1);
	return peer;
}

static void expect_ended_early(long long before)
{
	long long scanned = engine_read("pages_scanned");

	require(scanned - before < LONG, "it was over already: %lld pages", scanned - before);
	nap_ms(200);
	require(engine_read("pages_scanned") == scanned, "it went on");
}

/* run=0 promises that nothing is merged any more, by whomever. */
CASE(scan, stop_ends_it, 60)
{
	struct long_scan order = { .fd = scan_new() };
	long long before;
	struct peer peer = scan_begun(&order, &before);

	engine_set("run", 0);
	expect_ended_early(before);
	peer_wait(&peer);
	peer_end(&peer);
}

CASE(scan, unmerge_ends_it, 60)
{
	struct long_scan order = { .fd = scan_new() };
	long long before;
	struct peer peer = scan_begun(&order, &before);

	engine_set("run", 2);
	expect_ended_early(before);
	peer_wait(&peer);
	peer_end(&peer);
}

CASE(scan, signal_ends_it, 60)
{
	struct long_scan order = { .fd = scan_new(), .want = -EINTR };
	long long before;
	struct peer peer = scan_begun(&order, &before);

	kill(peer.pid, SIGUSR1);
	peer_wait(&peer);
	expect_ended_early(before);
	peer_end(&peer);
}

/* Who was stopped for a while, or frozen with the machine, does not know it. */
CASE(scan, goes_on_after_a_stop, 60)
{
	struct long_scan order = { .fd = scan_new() };
	long long before, scanned;
	struct peer peer = scan_begun(&order, &before);

	kill(peer.pid, SIGSTOP);
	nap_ms(200);
	scanned = engine_read("pages_scanned");
	require(scanned - before < LONG, "it was over already: %lld pages", scanned - before);
	nap_ms(200);
	require(engine_read("pages_scanned") == scanned, "it went on while it was stopped");
	kill(peer.pid, SIGCONT);
	peer_wait(&peer);
	require(engine_read("pages_scanned") - before >= LONG, "it did not go on");
	peer_end(&peer);
}

CASE(scan, kill_ends_it, 60)
{
	struct long_scan order = { .fd = scan_new() };
	long long before;
	struct peer peer = scan_begun(&order, &before);

	peer_kill(&peer);
	expect_ended_early(before);
}

/* An open descriptor keeps the module, and nothing else. */
CASE(scan, keeps_module, 30)
{
	int fd = scan_new();

	expect_errno(module_unload(), EAGAIN, "rmmod with a scan descriptor open");
	close(fd);
}

static void scan_on(struct peer *self, void *arg)
{
	int fd = *(int *)arg, err;

	(void)self;
	for (;;) {
		err = scan(fd, 777, 3);
		require(!err || err == -EAGAIN, "KSM_SCAN: %s", strerror(-err));
	}
}

/* The thread and two callers at a time, and somebody who writes meanwhile. */
CASE(race, scanners, 120)
{
	char *p = mem_map(2048);
	int fd = scan_new();
	struct peer a, b;
	double end;

	madvise(p, 2048 * PAGE, MADV_DONTFORK);
	mem_fill(p, 2048, 32, 1);
	area_with(p, 2048);
	engine_pace(100, 0);
	engine_start();
	a = peer_start(scan_on, &fd);
	b = peer_start(scan_on, &fd);
	end = now() + lasting(8);
	for (int i = 0; now() < end; i++) {
		int at = i * 64 % 2048;

		mem_fill(p + at * PAGE, 64, 32, 1 + i % 3 * 1000);
		mem_check(p + at * PAGE, 64, 32, 1 + i % 3 * 1000);
	}
	peer_kill(&a);
	peer_kill(&b);
	engine_pace(20000, 5);
	mem_fill(p, 2048, 32, 1);
	engine_merge(32, 2048 - 32);
	mem_check(p, 2048, 32, 1);
}

/* CPU time of the thread in a pass, in milliseconds, over a second or more of them. */
static double cost_of_pass(void)
{
	long long passes;
	double before;

	engine_pace(UINT32_MAX, 50);
	engine_passes(1);
	passes = engine_read("full_scans");
	before = thread_cpu_time();
	engine_passes(20);
	return (thread_cpu_time() - before) / (engine_read("full_scans") - passes) * 1e3;
}

/* As many regions as a user may have, and far more mappings: neither is multiplied by the other. */
CASE(scan, many_regions, 90)
{
	enum { REGIONS = 4000, MAPPINGS = 16384 };
	char *below = (char *)0x100000000000, *p = mem_map(MAPPINGS);
	double one, many;
	int area;

	for (int i = 0; i < MAPPINGS; i += 2)
		require(!mprotect(p + i * PAGE, PAGE, PROT_READ), "mprotect: %s", strerror(errno));
	/* Else mappings without a region would be passed by. */
	engine_set("adopt_mergeable", 1);
	require(!madvise(mem_map(1), PAGE, MADV_MERGEABLE), "madvise: %s", strerror(errno));
	sentinel();
	area = area_with(below, 1);
	engine_merge(1, 1);
	one = cost_of_pass();
	for (int i = 1; i < REGIONS; i++)
		require(!region_add(area, below + 2 * i * PAGE, 1), "region %d", i);
	many = cost_of_pass();
	note("a pass over %d mappings takes %.1f ms with one region below them, %.1f ms with %d",
	     MAPPINGS, one, many, REGIONS);
	require(many < 4 * one, "a pass takes %.1f ms, and with one region %.1f ms", many, one);
}
