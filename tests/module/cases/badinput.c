// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Arguments that must be refused. Each case ends with the proof that nothing of
 * what was refused is scanned: equal pages are there, and only the sentinel's
 * merge.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ksmtest.h"

#define N 64

/* Equal pages that nobody may merge, and something that does merge. */
static char *bait(void)
{
	char *p = mem_map(N);

	sentinel();
	mem_fill(p, N, 1, 31);
	return p;
}

static void untouched(char *p)
{
	engine_merge(1, 1);
	mem_check(p, N, 1, 31);
	require(smaps_pages(p, N, "Anonymous") == N, "memory was merged that nobody registered");
}

static int add_raw(int area, uint64_t addr, uint32_t npages)
{
	struct ksm_memory_region region = { .npages = npages, .addr = addr };

	return dev_ioctl(area, KSM_REGISTER_MEMORY_REGION, &region);
}

CASE(bad, unknown_commands, 30)
{
	static const unsigned long device[] = {
		_IO(KSMIO, 0x7f), _IO(KSMIO, 0x03), _IO(KSMIO, 0x04), _IO('k', 0x00),
		_IOW(KSMIO, 0x00, uint32_t), _IOR(KSMIO, 0x01, uint32_t),
		_IOC(_IOC_WRITE, KSMIO, 0x03, 8), _IOC(_IOC_WRITE, KSMIO, 0x03, 20),
		_IOC(_IOC_READ, KSMIO, 0x04, 16), _IOC(_IOC_WRITE, KSMIO, 0x04, 32),
		_IOC(_IOC_WRITE, KSMIO, 0x02, 16), 0, ~0UL & 0xffffffff,
		KSM_REGISTER_MEMORY_REGION, KSM_REMOVE_MEMORY_REGION, KSM_REGISTER_TASK,
		KSM_REMOVE_TASK,
	};
	static const unsigned long area_commands[] = {
		_IO(KSMIO, 0x20), _IO(KSMIO, 0x7f), _IOC(_IOC_WRITE, KSMIO, 0x20, 8),
		_IOC(_IOC_WRITE, KSMIO, 0x20, 20), _IOC(_IOC_READ, KSMIO, 0x20, 16),
		_IOC(_IOC_WRITE, KSMIO, 0x21, 16), _IOC(_IOC_WRITE, KSMIO, 0x60, 32),
		KSM_GET_API_VERSION, KSM_CREATE_SHARED_MEMORY_AREA, KSM_START_STOP_KTHREAD,
		KSM_GET_INFO_KTHREAD,
	};
	char *p = bait();
	struct ksm_memory_region_mar09 region = { .npages = N, .addr = (uintptr_t)p };
	int dev = dev_fd(), area = area_new();

	for (size_t i = 0; i < sizeof(device) / sizeof(*device); i++) {
		char what[64];

		snprintf(what, sizeof(what), "command %#lx on /dev/ksm", device[i]);
		expect_errno(dev_ioctl(dev, device[i], &region), ENOTTY, what);
	}
	for (size_t i = 0; i < sizeof(area_commands) / sizeof(*area_commands); i++) {
		char what[64];

		snprintf(what, sizeof(what), "command %#lx on an area", area_commands[i]);
		expect_errno(dev_ioctl(area, area_commands[i], &region), ENOTTY, what);
	}
	untouched(p);
}

CASE(bad, pointers, 30)
{
	static const unsigned long device[] = {
		KSM_START_STOP_KTHREAD, KSM_START_STOP_KTHREAD_RHEL5, KSM_START_STOP_KTHREAD_MAR09,
		KSM_GET_INFO_KTHREAD, KSM_GET_INFO_KTHREAD_RHEL5, KSM_GET_INFO_KTHREAD_MAR09,
	};
	static const unsigned long area_commands[] = {
		KSM_REGISTER_MEMORY_REGION, KSM_REGISTER_MEMORY_REGION_MAR09, KSM_REGISTER_TASK,
		KSM_REMOVE_TASK,
	};
	int dev = dev_fd(), area = area_new();
	char *p = bait(), *edge = mem_map(1);
	struct ksm_task_region task = { .size = 64, .mem_fd = mem_open(getpid()),
		.addr = (uintptr_t)p, .length = N * PAGE };
	char *const pointers[] = { NULL, (char *)8, edge + PAGE - 4, (char *)0xffff888000000000,
		(char *)~7UL };

	for (size_t k = 0; k < sizeof(pointers) / sizeof(*pointers); k++) {
		for (size_t i = 0; i < sizeof(device) / sizeof(*device); i++)
			expect_errno(dev_ioctl(dev, device[i], pointers[k]), EFAULT, "a bad pointer");
		/* A struct that begins in memory and ends in a hole. */
		*(uint32_t *)(edge + PAGE - 4) = sizeof(task);
		for (size_t i = 0; i < sizeof(area_commands) / sizeof(*area_commands); i++)
			expect_errno(dev_ioctl(area, area_commands[i], pointers[k]), EFAULT,
				     "a bad pointer");
	}
	/* The size says more than there is. */
	memcpy(edge + PAGE - 32, &task, 32);
	expect_errno(dev_ioctl(area, KSM_REGISTER_TASK, edge + PAGE - 32), EFAULT,
		     "a struct that ends in a hole");
	/* Information cannot be written to read-only memory. */
	require(!mprotect(edge, PAGE, PROT_READ), "mprotect failed");
	expect_errno(dev_ioctl(dev, KSM_GET_INFO_KTHREAD, edge), EFAULT, "read-only memory");
	require(engine_read("pages_to_scan") == 20000, "a bad pointer changed something");
	untouched(p);
}

CASE(bad, ranges, 30)
{
	char *p = bait();
	uint64_t at = (uintptr_t)p;
	int area = area_new();

	expect_errno(add_raw(area, at, 0), EINVAL, "zero pages");
	expect_errno(add_raw(area, at + 1, N), EINVAL, "an address one byte off");
	expect_errno(add_raw(area, at + 2048, N), EINVAL, "an address half a page off");
	expect_errno(add_raw(area, 0 - PAGE, 1), EINVAL, "the last page of all");
	expect_errno(add_raw(area, 0 - PAGE, 2), EINVAL, "a range that wraps to 0");
	expect_errno(add_raw(area, 0 - 0x100000000000, 0xffffffff), EINVAL, "a range up to the end");
	expect_errno(add_raw(area, 0 - PAGE, 0xffffffff), EINVAL, "a range that wraps far");
	expect_errno(add_raw(area, 0xffff888000000000, N), EINVAL, "kernel addresses");
	expect_errno(add_raw(area, 0xffffffff81000000, 1), EINVAL, "the kernel's text");
	expect_errno(add_raw(area, 1ULL << 63, 1), EINVAL, "a non-canonical address");
	expect_errno(add_raw(area, (1ULL << 56) - PAGE, 2), EINVAL, "a range that leaves user space");
	untouched(p);
}

CASE(bad, reserved_fields, 30)
{
	char *p = bait();
	struct ksm_memory_region_mar09 region = { .npages = N, .addr = (uintptr_t)p };
	int area = area_new();

	for (int bit = 0; bit < 64; bit++) {
		region.reserved_bits = 1ULL << bit;
		expect_errno(dev_ioctl(area, KSM_REGISTER_MEMORY_REGION_MAR09, &region), EINVAL,
			     "reserved_bits");
	}
	untouched(p);
}

static void overlaps(int area, int mem, char *p)
{
	expect_errno(region_add(area, p + 16 * PAGE, 16), EEXIST, "the same range");
	expect_errno(region_add(area, p + 8 * PAGE, 9), EEXIST, "one page at the front");
	expect_errno(region_add(area, p + 31 * PAGE, 9), EEXIST, "one page at the end");
	expect_errno(region_add(area, p + 20 * PAGE, 1), EEXIST, "a page inside");
	expect_errno(region_add(area, p, N), EEXIST, "a range around it");
	expect_errno(task_add(area, mem, p, N, 0), EEXIST, "a range around it, by the task");
	expect_errno(task_add(area, mem, p, N, KSM_TASK_DETACHED), EEXIST,
		     "a range around it, by the task and detached");
	expect_errno(task_add(area, mem, NULL, 0, KSM_TASK_WHOLE), EEXIST, "the whole task");
}

/* The sentinel must not be in the way of the whole task: it is another one's. */
static void sentinel_process(struct peer *self, void *arg)
{
	(void)arg;
	sentinel();
	peer_tell(self);
	peer_wait(self);
}

CASE(bad, overlapping, 30)
{
	struct peer other = peer_start(sentinel_process, NULL);
	int mem = mem_open(getpid());
	char *p = mem_map(N);
	int area, second = area_new();

	peer_wait(&other);
	mem_fill(p, N, 1, 31);
	area = area_with(p + 16 * PAGE, 16);
	overlaps(area, mem, p);
	overlaps(second, mem, p);
	engine_merge(2, 16);
	/* Neighbours do not overlap. */
	require(!region_add(area, p, 16), "the range before was refused");
	require(!region_add(second, p + 32 * PAGE, 32), "the range behind was refused");
	engine_merge(2, N);
	peer_end(&other);
}

CASE(bad, whole_then_range, 30)
{
	int mem = mem_open(getpid()), area = area_new(), err;
	char *p = mem_map(N);

	err = task_add(area, mem, NULL, 0, KSM_TASK_WHOLE);
	require(!err, "registering the whole task: %s", strerror(-err));
	expect_errno(region_add(area, p, N), EEXIST, "a range of it");
	expect_errno(region_add(area_new(), p, N), EEXIST, "a range of it in another area");
	expect_errno(task_add(area, mem, NULL, 0, KSM_TASK_WHOLE), EEXIST, "the whole again");
	expect_errno(task_add(area, mem, NULL, 0, KSM_TASK_WHOLE | KSM_TASK_DETACHED), EEXIST,
		     "the whole again, detached");
}

static int task_raw(int area, struct ksm_task_region region)
{
	return dev_ioctl(area, KSM_REGISTER_TASK, &region);
}

CASE(bad, task_fields, 30)
{
	char *p = bait();
	struct ksm_task_region good = {
		.size = sizeof(good), .mem_fd = mem_open(getpid()),
		.addr = (uintptr_t)p, .length = N * PAGE,
	}, bad;
	int area = area_new();

#define REFUSED(field, value, errnum) do {						\
		bad = good;								\
		bad.field = (value);							\
		expect_errno(task_raw(area, bad), errnum, #field " = " #value);		\
	} while (0)

	REFUSED(size, 0, EINVAL);
	REFUSED(size, KSM_TASK_REGION_SIZE_VER0 - 1, EINVAL);
	REFUSED(size, 8, EINVAL);
	REFUSED(reserved, 1, EINVAL);
	REFUSED(reserved, 0x80000000, EINVAL);
	for (int bit = 2; bit < 32; bit++)
		REFUSED(flags, 1u << bit, EINVAL);
	REFUSED(addr, (uintptr_t)p + 1, EINVAL);
	REFUSED(length, 0, EINVAL);
	REFUSED(length, N * PAGE - 1, EINVAL);
	REFUSED(length, 1, EINVAL);
	REFUSED(length, 0 - (uint64_t)(uintptr_t)p, EINVAL);
	REFUSED(length, 0 - PAGE, EINVAL);
	REFUSED(length, 1ULL << 63, EINVAL);
	REFUSED(addr, 0 - PAGE, EINVAL);
	REFUSED(addr, 0xffff888000000000, EINVAL);
	REFUSED(flags, KSM_TASK_WHOLE, EINVAL);		/* with an address and a length */
	bad = good;
	bad.flags = KSM_TASK_WHOLE;
	bad.addr = 0;
	expect_errno(task_raw(area, bad), EINVAL, "the whole task with a length");
	bad.addr = good.addr;
	bad.length = 0;
	expect_errno(task_raw(area, bad), EINVAL, "the whole task with an address");
#undef REFUSED
	untouched(p);
}

CASE(bad, task_size, 30)
{
	char *p = bait();
	struct {
		struct ksm_task_region region;
		char tail[PAGE];
	} *arg = (void *)mem_map(2);
	int area = area_new();

	arg->region = (struct ksm_task_region){ .mem_fd = mem_open(getpid()),
		.addr = (uintptr_t)p, .length = N * PAGE };
	arg->region.size = sizeof(arg->region) + 8;
	arg->tail[0] = 1;
	expect_errno(dev_ioctl(area, KSM_REGISTER_TASK, arg), E2BIG, "a tail that is not zero");
	arg->tail[0] = 0;
	arg->tail[7] = 1;
	expect_errno(dev_ioctl(area, KSM_REGISTER_TASK, arg), E2BIG, "a tail that ends in 1");
	expect_errno(dev_ioctl(area, KSM_REMOVE_TASK, arg), E2BIG, "the same for KSM_REMOVE_TASK");
	arg->region.size = 0xffffffff;
	expect_errno(dev_ioctl(area, KSM_REGISTER_TASK, arg), E2BIG, "a size without end");
	untouched(p);
	/* The byte behind the struct does not count, and a tail of zeros is fine. */
	arg->region.size = sizeof(arg->region) + 7;
	require(!dev_ioctl(area, KSM_REGISTER_TASK, arg), "a tail of zeros was refused");
	engine_merge(2, N);
}

CASE(bad, task_descriptors, 60)
{
	char *p = bait();
	int area = area_new(), dev = dev_fd(), fd, closed;
	static const char *const wrong[] = {
		"/proc/self/maps", "/proc/self/environ", "/proc/self/pagemap", "/proc/self/smaps",
		"/proc/self/auxv", "/proc/self/clear_refs", "/tmp/mem", "/dev/null", "/dev/zero",
		"/proc/self", "/dev/ksm", "/dev/mem", "/proc/self/ns/pid",
	};

	fd = open("/tmp/mem", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	require(fd >= 0, "/tmp/mem: %s", strerror(errno));
	close(fd);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		fd = open(wrong[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fd = open(wrong[i], O_WRONLY | O_CLOEXEC);
		if (fd < 0 && !strcmp(wrong[i], "/dev/mem"))
			continue;
		require(fd >= 0, "%s: %s", wrong[i], strerror(errno));
		expect_errno(task_add(area, fd, p, N, 0), EINVAL, wrong[i]);
		expect_errno(task_add(area, fd, NULL, 0, KSM_TASK_WHOLE | KSM_TASK_DETACHED),
			     EINVAL, wrong[i]);
		expect_errno(task_remove(area, fd, p, 0), EINVAL, wrong[i]);
		close(fd);
	}
	unlink("/tmp/mem");
	expect_errno(task_add(area, area, p, N, 0), EINVAL, "the area itself");
	expect_errno(task_add(area, dev, p, N, 0), EINVAL, "the device");
	expect_errno(task_add(area, memfd_create("mem", MFD_CLOEXEC), p, N, 0), EINVAL, "a memfd");

	closed = mem_open(getpid());
	close(closed);
	expect_errno(task_add(area, closed, p, N, 0), EBADF, "a closed descriptor");
	expect_errno(task_add(area, -1, p, N, 0), EBADF, "the descriptor -1");
	expect_errno(task_add(area, 0x7fffffff, p, N, 0), EBADF, "the descriptor 2^31-1");
	expect_errno(task_remove(area, closed, p, 0), EBADF, "a closed descriptor");
	fd = open("/proc/self/mem", O_PATH | O_CLOEXEC);
	require(fd >= 0, "O_PATH: %s", strerror(errno));
	expect_errno(task_add(area, fd, p, N, 0), EBADF, "a descriptor that is a path only");
	untouched(p);
}

/* A kernel thread has no memory. */
CASE(bad, task_kernel_thread, 30)
{
	int fd = open("/proc/2/mem", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		skip("this kernel does not open it: %s", strerror(errno));
	expect_errno(task_add(area_new(), fd, NULL, 0, KSM_TASK_WHOLE), ESRCH, "kthreadd's memory");
}

static void sleeper(struct peer *self, void *arg)
{
	(void)arg;
	peer_tell(self);
	peer_wait(self);
	execl("/proc/self/exe", "ksm-module-tests", "--helper", "sleep", "60000", (char *)NULL);
}

CASE(bad, task_dead, 60)
{
	struct peer peer = peer_start(sleeper, NULL);
	int area = area_new(), mem;
	char *p = bait(), byte;

	peer_wait(&peer);
	mem = mem_open(peer.pid);
	peer_tell(&peer);
	require(read(peer.in, &byte, 1) == 0, "the pipe should be at its end");
	/* The descriptor is bound to the address space before exec. */
	expect_errno(task_add(area, mem, p, N, 0), ESRCH, "a task after execve");
	expect_errno(task_add(area, mem, NULL, 0, KSM_TASK_WHOLE | KSM_TASK_DETACHED), ESRCH,
		     "a task after execve");
	expect_errno(task_remove(area, mem, NULL, KSM_TASK_WHOLE), ESRCH, "a task after execve");
	close(mem);

	mem = mem_open(peer.pid);
	kill(peer.pid, SIGKILL);
	require(!waitid(P_PID, peer.pid, NULL, WEXITED | WNOWAIT), "waitid failed");
	expect_errno(task_add(area, mem, p, N, 0), ESRCH, "a zombie");
	require(waitpid(peer.pid, NULL, 0) == peer.pid, "waitpid: %s", strerror(errno));
	expect_errno(task_add(area, mem, p, N, 0), ESRCH, "a dead task");
	expect_errno(task_remove(area, mem, p, 0), ESRCH, "a dead task");
	untouched(p);
}

CASE(bad, removal, 30)
{
	char *p = bait();
	int area = area_new(), mem = mem_open(getpid());

	expect_errno(region_remove(area, p), ENOENT, "removing what was never registered");
	expect_errno(region_remove(area, p + 1), ENOENT, "removing at an odd address");
	expect_errno(region_remove(area, (void *)0xffff888000000000), ENOENT,
		     "removing at a kernel address");
	expect_errno(task_remove(area, mem, p, 0), ENOENT, "removing what was never registered");
	expect_errno(task_remove(area, mem, NULL, KSM_TASK_WHOLE), ENOENT,
		     "removing all of the task, which has nothing in this area");
	expect_errno(task_remove(area, mem, NULL, KSM_TASK_WHOLE | KSM_TASK_DETACHED), ENOENT,
		     "removing all detached regions, of which there are none");
	untouched(p);
}

/* No descriptor left: EMFILE, and nothing is leaked. */
CASE(bad, no_descriptor_left, 30)
{
	struct rlimit files;
	int dev = dev_fd(), fd, last = dev;

	sentinel();
	files.rlim_cur = files.rlim_max = 40;
	require(!setrlimit(RLIMIT_NOFILE, &files), "setrlimit: %s", strerror(errno));
	while ((fd = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL)) >= 0)
		last = fd;
	require(fd == -EMFILE, "area number %d: %s, expected EMFILE", last, strerror(-fd));
	close(last);
	fd = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL);
	require(fd == last, "after a close: %d", fd);
	close(fd);	/* sysfs needs one */
	close(last - 1);
	engine_merge(1, 1);
}

/* Regions of one user, until there are too many: how many is the engine's affair. */
static int regions_until_refused(char *p, int most, int *area)
{
	int n, err = 0;

	*area = area_new();
	for (n = 0; n < most; n++) {
		/* Single pages with a gap between them. */
		err = region_add(*area, p + 2 * n * PAGE, 1);
		if (err)
			break;
	}
	require(!err || err == -ENOSPC, "region %d: %s, expected ENOSPC", n, strerror(-err));
	return n;
}

static void second_process(struct peer *self, void *arg)
{
	int area = *(int *)arg;

	/* Another address space and an inherited area, but the same user. */
	expect_errno(region_add(area, mem_map(1), 1), ENOSPC, "one more by another process");
	peer_tell(self);
	peer_wait(self);
	require(!region_add(area, mem_map(1), 1), "after regions were removed");
}

static void greedy(struct peer *self, void *arg)
{
	enum { MOST = 1 << 18 };
	char *p = mem_map(64);
	struct peer other;
	int area, n;

	(void)arg;
	/* /dev/ksm is root's here: who may open it is another matter. */
	require(!chmod("/dev/ksm", 0666), "chmod: %s", strerror(errno));
	require(!setgid(65534) && !setuid(65534), "setuid: %s", strerror(errno));
	n = regions_until_refused((char *)0x100000000000, MOST, &area);
	require(n < MOST, "one user may have %d regions and more", n);
	require(n >= 64, "one user may have %d regions only", n);
	expect_errno(region_add(area_new(), p, 64), ENOSPC, "one more in another area");
	other = peer_start(second_process, &area);
	peer_wait(&other);
	peer_tell(self);
	peer_wait(self);
	require(!region_remove(area, (void *)0x100000000000), "removing one failed");
	mem_fill(p, 64, 1, 33);
	require(!region_add(area, p, 64), "a freed region cannot be had again");
	require(!region_remove(area, NULL), "removing all failed");
	require(!region_add(area, p, 64), "nothing can be had after all were removed");
	peer_end(&other);
	peer_tell(self);
	peer_wait(self);
}

CASE(bad, too_many_regions, 60)
{
	struct peer user = peer_start(greedy, NULL);

	peer_wait(&user);
	/* Other users are not affected. */
	sentinel();
	engine_merge(1, 1);
	peer_tell(&user);
	peer_wait(&user);
	engine_merge(2, 64);
	peer_end(&user);
	require(!chmod("/dev/ksm", 0600), "chmod: %s", strerror(errno));
}
