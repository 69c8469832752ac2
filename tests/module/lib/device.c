// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/ksm, areas and the module itself. */
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "ksmtest.h"

const char *module_path = "/ksm.ko";

int dev_ioctl(int fd, unsigned long cmd, const void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	if (ret > 0 && cmd != KSM_GET_API_VERSION && cmd != KSM_CREATE_SHARED_MEMORY_AREA &&
	    cmd != KSM_CREATE_SCAN)
		fail("ioctl %#lx answered the positive number %d", cmd, ret);
	return ret < 0 ? -errno : ret;
}

int dev_fd(void)
{
	/* As every client since 2008 opens it. */
	int fd = open("/dev/ksm", O_RDWR | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		fail("opening /dev/ksm: %s", strerror(errno));
	return fd;
}

int area_new(void)
{
	int dev = dev_fd();
	int area = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL);

	if (area < 0)
		fail("KSM_CREATE_SHARED_MEMORY_AREA: %s", strerror(-area));
	close(dev);
	return area;
}

int region_add(int area, const void *addr, size_t npages)
{
	struct ksm_memory_region region = {
		.npages = npages,
		.addr = (uintptr_t)addr,
	};

	return dev_ioctl(area, KSM_REGISTER_MEMORY_REGION, &region);
}

int region_remove(int area, const void *addr)
{
	return dev_ioctl(area, KSM_REMOVE_MEMORY_REGION, addr);
}

int task_add(int area, int mem_fd, const void *addr, size_t npages, unsigned int flags)
{
	struct ksm_task_region region = {
		.size = sizeof(region),
		.flags = flags,
		.mem_fd = mem_fd,
		.addr = (uintptr_t)addr,
		.length = npages * PAGE,
	};

	return dev_ioctl(area, KSM_REGISTER_TASK, &region);
}

int task_remove(int area, int mem_fd, const void *addr, unsigned int flags)
{
	struct ksm_task_region region = {
		.size = sizeof(region),
		.flags = flags,
		.mem_fd = mem_fd,
		.addr = (uintptr_t)addr,
	};

	return dev_ioctl(area, KSM_REMOVE_TASK, &region);
}

int mem_open(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("opening %s: %s", path, strerror(errno));
	return fd;
}

int area_with(const void *addr, size_t npages)
{
	int area = area_new();
	int err = region_add(area, addr, npages);

	if (err)
		fail("registering %zu pages at %p: %s", npages, addr, strerror(-err));
	return area;
}

void sentinel(void)
{
	char *p = mem_map(2);

	/* Children would count as further users of its pages. */
	madvise(p, 2 * PAGE, MADV_DONTFORK);
	mem_fill(p, 2, 1, 0x5e47173e1);
	area_with(p, 2);
}

bool module_there(void)
{
	return !access("/sys/module/ksm", F_OK);
}

int module_load(const char *params)
{
	int fd = open(module_path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return err;
}

int module_unload(void)
{
	return syscall(SYS_delete_module, "ksm", O_NONBLOCK) ? -errno : 0;
}

long module_refcnt(void)
{
	char text[32];

	if (file_read("/sys/module/ksm/refcnt", text, sizeof(text)) < 0)
		return -1;
	return atol(text);
}

void module_remove(void)
{
	double end = now() + 5 * patience;
	int err;

	while ((err = module_unload()) == -EWOULDBLOCK && now() < end)
		nap_ms(20);
	require(!err, "rmmod: %s, refcnt %ld", strerror(-err), module_refcnt());
	require(!module_there() && !engine_there(), "the module is still there");
	require(access("/dev/ksm", F_OK), "/dev/ksm is still there");
}
