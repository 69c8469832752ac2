// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The clients of 2008 and 2009, each with the layouts and numbers of its day
 * and none of linux/ksm_dev.h: what they were built with is for ever.
 */
#include <sys/ioctl.h>

#include "ksmtest.h"

#define N 256
#define M 4

/* As they all open it, mode and all. */
static int old_open(void)
{
	int fd = open("/dev/ksm", O_RDWR | O_TRUNC, (mode_t)0600);

	require(fd >= 0, "opening /dev/ksm: %s", strerror(errno));
	return fd;
}

struct old_region {
	uint32_t npages;
	uint32_t pad;
	uint64_t addr;
};

struct old_scan {
	uint32_t pages_to_scan;
	uint32_t max_pages_to_merge;
};

/* What the thread must do with some memory after a client started it. */
static void expect_started(char *p, uint32_t pages, uint32_t sleep_us)
{
	require(engine_read("run") == 1 && engine_read("pages_to_scan") == pages &&
		engine_read("sleep_millisecs") == sleep_us / 1000,
		"after the start: %s", engine_state());
	engine_passes(SETTLE);
	engine_expect(M, N - M);
	mem_check(p, N, M, 1);
}

static void expect_stopped(void)
{
	long long scanned = engine_read("pages_scanned");

	require(engine_read("run") == 0, "the thread runs after a stop");
	nap_ms(100);
	require(engine_read("pages_scanned") == scanned, "the thread scans after a stop");
	engine_expect(M, N - M);
}

static char *registered(void)
{
	char *p = mem_map(N);

	mem_fill(p, N, M, 1);
	area_with(p, N);
	return p;
}

/* ksmctl start NPAGES MAX_MERGE SLEEP, info, stop: November 2008 */
CASE(clients, ksmctl_nov08, 60)
{
	struct { uint32_t sleep, pages_to_scan, max_pages_to_merge, running; } info;
	char *p = registered();
	int fd = old_open();

	info.sleep = 5000;
	info.pages_to_scan = 2000;
	info.max_pages_to_merge = 1000;
	info.running = 1;
	require(ioctl(fd, 0x4010ab03, &info) == 0, "start: %s", strerror(errno));
	expect_started(p, 2000, 5000);
	memset(&info, 0xee, sizeof(info));
	require(ioctl(fd, 0x4010ab04, &info) == 0, "info: %s", strerror(errno));
	require(info.sleep == 5000 && info.pages_to_scan == 2000 &&
		info.max_pages_to_merge == 1000 && info.running == 1,
		"info: sleep %u, pages %u, merge %u, running %u", info.sleep, info.pages_to_scan,
		info.max_pages_to_merge, info.running);
	info.running = 0;
	require(ioctl(fd, 0x4010ab03, &info) == 0, "stop: %s", strerror(errno));
	expect_stopped();
}

/* ksmctl start NPAGES SLEEP of RHEL 5 */
CASE(clients, ksmctl_rhel5, 60)
{
	struct { uint32_t sleep, pages_to_scan, flags; } info;
	char *p = registered();
	int fd = old_open();

	info.sleep = 6000;
	info.pages_to_scan = 3000;
	info.flags = 1;
	require(ioctl(fd, 0x400cab03, &info) == 0, "start: %s", strerror(errno));
	expect_started(p, 3000, 6000);
	memset(&info, 0xee, sizeof(info));
	require(ioctl(fd, 0x400cab04, &info) == 0, "info: %s", strerror(errno));
	require(info.sleep == 6000 && info.pages_to_scan == 3000 && info.flags == 1,
		"info: sleep %u, pages %u, flags %u", info.sleep, info.pages_to_scan, info.flags);
	info.flags = 0;
	require(ioctl(fd, 0x400cab03, &info) == 0, "stop: %s", strerror(errno));
	expect_stopped();
}

/* The same of March 2009, with what was on its stack in pad. */
CASE(clients, ksmctl_mar09, 60)
{
	struct { uint32_t sleep, pages_to_scan, flags, pad; uint64_t reserved; } info;
	struct { uint32_t npages, pad; uint64_t addr, reserved; } region;
	char *p = mem_map(N);
	int fd = old_open(), area;

	mem_fill(p, N, M, 1);
	area = ioctl(fd, 0xab01);
	require(area >= 0, "creating an area: %s", strerror(errno));
	region.npages = N;
	region.pad = 0xdeadbeef;
	region.addr = (uintptr_t)p;
	region.reserved = 0;
	require(ioctl(area, 0x4018ab20, &region) == 0, "registering: %s", strerror(errno));
	info.sleep = 7000;
	info.pages_to_scan = 4000;
	info.flags = 1;
	info.pad = 0xdeadbeef;
	info.reserved = 0;
	require(ioctl(fd, 0x4018ab02, &info) == 0, "start: %s", strerror(errno));
	expect_started(p, 4000, 7000);
	memset(&info, 0xee, sizeof(info));
	require(ioctl(fd, 0x4018ab03, &info) == 0, "info: %s", strerror(errno));
	require(info.sleep == 7000 && info.pages_to_scan == 4000 && info.flags == 1,
		"info: sleep %u, pages %u, flags %u", info.sleep, info.pages_to_scan, info.flags);
	info.flags = 0;
	info.reserved = 0;
	require(ioctl(fd, 0x4018ab02, &info) == 0, "stop: %s", strerror(errno));
	expect_stopped();
}

/* qemu -mem-path-less guest RAM: registered once, both descriptors open to the end. */
static void qemu(struct peer *self, void *arg)
{
	struct old_region region;
	char *ram = mem_map_huge(1024);
	int fd, area;

	(void)arg;
	madvise(ram, 1024 * PAGE, MADV_NOHUGEPAGE);
	fd = old_open();
	area = ioctl(fd, 0xab01);
	require(area >= 0, "creating an area: %s", strerror(errno));
	region.npages = 1024;
	region.pad = 0x7ffe1234;
	region.addr = (uintptr_t)ram;
	require(ioctl(area, 0x4010ab20, &region) == 0, "registering: %s", strerror(errno));
	mem_fill(ram, 1024, 64, 1);
	peer_tell(self);
	peer_wait(self);
	mem_check(ram, 1024, 64, 1);
	mem_fill(ram, 512, 512, 5000 + getpid() * 1000);
	mem_check(ram + 512 * PAGE, 512, 64, 1);
	peer_tell(self);
	peer_wait(self);
}

CASE(clients, qemu, 90)
{
	struct peer a = peer_start(qemu, NULL), b = peer_start(qemu, NULL);

	peer_wait(&a);
	peer_wait(&b);
	engine_merge(64, 2048 - 64);
	peer_tell(&a);
	peer_wait(&a);
	engine_expect(64, 1536 - 64);
	peer_kill(&b);
	engine_expect(64, 512 - 64);
	peer_end(&a);
	engine_expect(0, 0);
}

/* ksmscan: scans by itself, with the thread stopped */
CASE(clients, ksmscan, 60)
{
	struct old_scan scan = { .pages_to_scan = 100, .max_pages_to_merge = 100 };
	char *p = registered();
	long long pass = engine_read("full_scans");
	int fd = old_open(), scanner = ioctl(fd, 0xab02);

	require(scanner >= 0, "KSM_CREATE_SCAN: %s", strerror(errno));
	while (engine_read("full_scans") < pass + SETTLE) {
		require(ioctl(scanner, 0x4008ab40, &scan) == 0, "KSM_SCAN: %s", strerror(errno));
		usleep(1000);
	}
	require(engine_read("run") == 0, "a scan started the thread");
	engine_expect(M, N - M);
	mem_check(p, N, M, 1);
	mem_fill(p, N / 2, N / 2, 100);
	mem_check(p + N / 2 * PAGE, N / 2, M, 1);
	engine_expect(M, N / 2 - M);
}

/* ksmpages: equal pages, registered by the program that has them */
CASE(clients, ksmpages, 60)
{
	struct old_region region = { .npages = 1000 };
	char *p = mem_map(1000);
	int fd = old_open(), area = ioctl(fd, 0xab01);

	require(area >= 0, "creating an area: %s", strerror(errno));
	region.addr = (uintptr_t)p;
	engine_set("max_page_sharing", 2147483647);
	memset(p, 1, 1000 * PAGE);
	require(ioctl(area, 0x4010ab20, &region) == 0, "registering: %s", strerror(errno));
	engine_merge(1, 999);
	for (int i = 0; i < 500; i++)
		p[i * PAGE] = 2;
	engine_merge(2, 998);
	for (int i = 0; i < 1000; i++)
		require(p[i * PAGE] == (i < 500 ? 2 : 1) && p[i * PAGE + 1] == 1, "page %d", i);
}

/* Removal of 2009 names a start address, that of 2008 takes everything. */
CASE(clients, removal, 60)
{
	struct old_region region = { .npages = N };
	char *p = mem_map(N), *q = mem_map(N);
	int fd = old_open(), area = ioctl(fd, 0xab01), none = ioctl(fd, 0xab01);

	require(area >= 0 && none >= 0, "creating areas: %s", strerror(errno));
	sentinel();
	region.addr = (uintptr_t)p;
	require(ioctl(area, 0x4010ab20, &region) == 0, "registering: %s", strerror(errno));
	region.addr = (uintptr_t)q;
	require(ioctl(area, 0x4010ab20, &region) == 0, "registering: %s", strerror(errno));
	require(ioctl(area, 0xab21, p) == 0, "removing one: %s", strerror(errno));
	require(ioctl(area, 0xab21, p) == -1 && errno == ENOENT, "removing it again");
	mem_fill(p, N, M, 1);
	mem_fill(q, N, M, 1);
	engine_merge(1 + M, 1 + N - M);
	require(ioctl(none, 0xab21, NULL) == 0, "removing all of none: %s", strerror(errno));
	require(ioctl(area, 0xab21, NULL) == 0, "removing all: %s", strerror(errno));
	mem_fill(q, N, M, 50);
	engine_merge(1, 1);
	require(ioctl(area, 0x4010ab20, &region) == 0, "registering again: %s", strerror(errno));
	engine_merge(1 + M, 1 + N - M);
}
