// SPDX-License-Identifier: GPL-2.0-or-later
/* What others track about pages survives merging: soft-dirty bits, userfaultfd. */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "ksmtest.h"

#define N 64

static size_t soft_dirty(char *p, size_t npages)
{
	size_t n = 0;

	for (size_t i = 0; i < npages; i++)
		n += !!(pagemap(p + i * PAGE) & PM_SOFT_DIRTY);
	return n;
}

static void clear_soft_dirty(void)
{
	int err = file_write("/proc/self/clear_refs", "4");

	require(!err, "clear_refs: %s", strerror(-err));
}

CASE(tracking, soft_dirty, 60)
{
	char *p = mem_map(N);

	mem_fill(p, N, 1, 1600);
	clear_soft_dirty();
	mem_fill(p, N / 2, 1, 1600);
	if (soft_dirty(p, N / 2) != N / 2)
		skip("this kernel keeps no soft-dirty bits");
	area_with(p, N);
	engine_start();
	engine_passes(SETTLE);
	require(soft_dirty(p, N / 2) == N / 2, "%zu of %d dirty pages are dirty after merging",
		soft_dirty(p, N / 2), N / 2);
	require(soft_dirty(p + N / 2 * PAGE, N / 2) == 0, "%zu of %d clean pages became dirty",
		soft_dirty(p + N / 2 * PAGE, N / 2), N / 2);
	require(distinct_pfns(p + N / 2 * PAGE, N / 2) == 1, "clean pages did not merge");
	/* A write to a merged page is a change. */
	clear_soft_dirty();
	engine_passes(SETTLE);
	require(soft_dirty(p, N) == 0, "%zu clean pages became dirty", soft_dirty(p, N));
	for (int i = 0; i < N; i += 4)
		p[i * PAGE] ^= 1;
	for (int i = 0; i < N; i++)
		require(soft_dirty(p + i * PAGE, 1) == (i % 4 == 0),
			"page %d was %swritten, and is %sdirty", i, i % 4 ? "not " : "",
			i % 4 ? "" : "not ");
}

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		skip("no userfaultfd with the features %#llx: %s", (unsigned long long)features,
		     strerror(errno));
	return fd;
}

static void uffd_register(int fd, char *p, size_t npages, uint64_t mode)
{
	struct uffdio_register arg = { .range = { (uintptr_t)p, npages * PAGE }, .mode = mode };

	if (ioctl(fd, UFFDIO_REGISTER, &arg))
		skip("userfaultfd mode %#llx: %s", (unsigned long long)mode, strerror(errno));
}

static void *write_a_byte(void *arg)
{
	*(volatile char *)arg ^= 1;
	return NULL;
}

/* Write-protected pages report their first write, merged or not. */
CASE(tracking, userfaultfd_wp, 60)
{
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	char *p = mem_map(N);
	struct uffdio_writeprotect protect = { { (uintptr_t)p, N * PAGE },
		UFFDIO_WRITEPROTECT_MODE_WP };

	sentinel();
	mem_fill(p, N, 1, 1700);
	uffd_register(fd, p, N, UFFDIO_REGISTER_MODE_WP);
	require(!ioctl(fd, UFFDIO_WRITEPROTECT, &protect), "UFFDIO_WRITEPROTECT: %s", strerror(errno));
	area_with(p, N);
	engine_start();
	engine_passes(SETTLE);
	mem_check(p, N, 1, 1700);
	for (int i = 0; i < N; i += 16) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		struct uffd_msg msg;
		pthread_t thread;

		pthread_create(&thread, NULL, write_a_byte, p + i * PAGE);
		require(poll(&ready, 1, 5000) == 1, "a write to the protected page %d was not reported", i);
		require(read(fd, &msg, sizeof(msg)) == sizeof(msg), "userfaultfd: %s", strerror(errno));
		require(msg.event == UFFD_EVENT_PAGEFAULT &&
			msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP &&
			(msg.arg.pagefault.address & -PAGE) == (uintptr_t)p + i * PAGE,
			"userfaultfd told of another event");
		require(page_is(p + i * PAGE, 1700), "the write came through");
		protect = (struct uffdio_writeprotect){ { (uintptr_t)p + i * PAGE, PAGE }, 0 };
		require(!ioctl(fd, UFFDIO_WRITEPROTECT, &protect), "UFFDIO_WRITEPROTECT: %s",
			strerror(errno));
		pthread_join(thread, NULL);
		p[i * PAGE] ^= 1;
	}
	mem_check(p, N, 1, 1700);
}

static void uffd_protect(int fd, char *p, size_t npages, bool protect)
{
	struct uffdio_writeprotect arg = { { (uintptr_t)p, npages * PAGE },
		protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	require(!ioctl(fd, UFFDIO_WRITEPROTECT, &arg), "UFFDIO_WRITEPROTECT: %s", strerror(errno));
}

static bool uffd_tells(int fd, int ms)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	return poll(&ready, 1, ms) == 1;
}

/* Since 6.2 core mm copies for who does not write, too. */
static bool copies_protected(void)
{
	unsigned int major, minor;
	struct utsname name;

	uname(&name);
	require(sscanf(name.release, "%u.%u", &major, &minor) == 2, "kernel %s", name.release);
	return major > 6 || (major == 6 && minor >= 2);
}

static int unmerge_all(int area)
{
	int err = engine_write("run", "2");

	(void)area;
	require(engine_read("run") == (err ? 0 : 2), "run is %lld", engine_read("run"));
	return err;
}

static int unmerge_area(int area)
{
	engine_stop();
	return dev_ioctl(area, KSM_AREA_UNMERGE, NULL);
}

/*
 * Unmerging is no write: nobody is told of one, and the protection stays. What
 * cannot be unmerged is said to be, and keeps nothing else merged.
 */
static void unmerge_protected(int (*unmerge)(int area), bool empty)
{
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP), area = area_new(), err;
	char *p = mem_map(2 * N), *q = p + N * PAGE;
	pthread_t thread;

	if (empty)
		memset(p, 0, N * PAGE);
	else
		mem_fill(p, N, 1, 1700);
	mem_fill(q, N, 1, 1701);
	require(!region_add(area, p, 2 * N), "registering failed");
	engine_set("use_zero_pages", empty);
	engine_merge(empty ? 1 : 2, empty ? N - 1 : 2 * (N - 1));
	uffd_register(fd, p, N, UFFDIO_REGISTER_MODE_WP);
	uffd_protect(fd, p, N, true);

	err = unmerge(area);
	note("unmerging protected memory: %s", err ? strerrorname_np(-err) : "done");
	require(!uffd_tells(fd, 200), "unmerging was told of as a write");
	require(err == (copies_protected() ? 0 : -EBUSY), "unmerging: %s", strerror(-err));
	require(distinct_pfns(p, N) == (err ? 1 : N), "%d, but the protected pages are in %zu frames",
		err, distinct_pfns(p, N));
	require(distinct_pfns(q, N) == N, "others are in %zu frames", distinct_pfns(q, N));
	for (int i = 0; i < N; i++)
		require(empty ? page_is_zero(p + i * PAGE) : page_is(p + i * PAGE, 1700),
			"page %d is damaged", i);
	mem_check(q, N, 1, 1701);
	/* Who writes is still told of. */
	pthread_create(&thread, NULL, write_a_byte, p);
	require(uffd_tells(fd, 5000), "a write to a protected page was not reported");
	uffd_protect(fd, p, 1, false);
	pthread_join(thread, NULL);
	/* The rest can be unmerged when nobody protects it any more. */
	uffd_protect(fd, p, N, false);
	close(fd);
	err = unmerge(area);
	require(!err, "unprotected: %s", strerror(-err));
	require(distinct_pfns(p, 2 * N) == 2 * N, "%zu frames", distinct_pfns(p, 2 * N));
	engine_expect(0, 0);
	require(engine_read("ksm_zero_pages") == 0, "zero pages are left");
}

CASE(tracking, unmerge_protected, 60) { unmerge_protected(unmerge_all, false); }
CASE(tracking, unmerge_protected_area, 60) { unmerge_protected(unmerge_area, false); }
CASE(tracking, unmerge_protected_empty, 60) { unmerge_protected(unmerge_all, true); }

/* Scanning must not populate what its owner wants to be asked for. */
CASE(tracking, userfaultfd_missing, 60)
{
	int fd = uffd_open(0);
	char *p = mem_map(N);

	sentinel();
	mem_fill(p, N / 2, 1, 1800);
	uffd_register(fd, p, N, UFFDIO_REGISTER_MODE_MISSING);
	area_with(p, N);
	engine_start();
	engine_passes(SETTLE);
	mem_check(p, N / 2, 1, 1800);
	for (int i = N / 2; i < N; i++)
		require(!(pagemap(p + i * PAGE) & PM_PRESENT), "page %d was populated", i);
}
