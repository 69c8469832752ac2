// SPDX-License-Identifier: GPL-2.0-or-later
/* Things of the machine that a case turns on: swap space, a slow disk, control groups. */
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>

#include "system.h"

#define ZRAM "/dev/zram0"
#define CGROUPS "/tmp/cgroup"

const char *zram_sized(size_t bytes)
{
	char text[32];

	if (access(ZRAM, F_OK))
		skip("the module zram is not there");
	/* A case that failed may have left it in use. */
	swapoff(ZRAM);
	file_write("/sys/block/zram0/reset", "1");
	snprintf(text, sizeof(text), "%zu", bytes);
	require(!file_write("/sys/block/zram0/disksize", text), "the size of " ZRAM " cannot be set");
	return ZRAM;
}

/* What mkswap(8) writes. */
static void make_swap(const char *path, size_t bytes)
{
	static union {
		char page[PAGE];
		struct {
			char boot[1024];
			uint32_t version, last_page, bad_pages;
		} head;
	} header;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	require(fd >= 0, "%s: %s", path, strerror(errno));
	header.head.version = 1;
	header.head.last_page = bytes / PAGE - 1;
	memcpy(header.page + PAGE - 10, "SWAPSPACE2", 10);
	require(write(fd, &header, PAGE) == (ssize_t)PAGE, "writing %s: %s", path, strerror(errno));
	close(fd);
}

void swap_on(size_t bytes)
{
	const char *path = zram_sized(bytes);

	make_swap(path, bytes);
	require(!swapon(path, 0), "swapon: %s", strerror(errno));
}

void swap_off(void)
{
	require(!swapoff(ZRAM), "swapoff: %s", strerror(errno));
}

/* The device mapper's commands take a struct with a table behind it. */
static int mapper(unsigned long cmd, const char *table, uint64_t sectors)
{
	struct {
		struct dm_ioctl head;
		struct dm_target_spec target;
		char table[128];
	} arg = {
		.head = {
			.version = { DM_VERSION_MAJOR },
			.data_size = sizeof(arg),
			.data_start = sizeof(arg.head),
			.target_count = !!table,
			.name = "slow",
		},
		.target = { .length = sectors, .target_type = "delay" },
	};
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), err;

	if (fd < 0)
		skip("no device mapper: %s", strerror(errno));
	if (table)
		strcpy(arg.table, table);
	err = ioctl(fd, cmd, &arg) ? -errno : 0;
	close(fd);
	return err ?: (int)minor(arg.head.dev);
}

const char *slow_disk(size_t bytes, int delay_ms)
{
	static char path[32];
	char table[128];
	int number;

	mapper(DM_DEV_REMOVE, NULL, 0);
	snprintf(table, sizeof(table), "%s 0 %d", zram_sized(bytes), delay_ms);
	number = mapper(DM_DEV_CREATE, NULL, 0);
	require(number >= 0, "DM_DEV_CREATE: %s", strerror(-number));
	require(mapper(DM_TABLE_LOAD, table, bytes / 512) >= 0, "dm-delay refuses \"%s\"", table);
	require(mapper(DM_DEV_SUSPEND, NULL, 0) >= 0, "the slow disk does not start");
	snprintf(path, sizeof(path), "/dev/dm-%d", number);
	return path;
}

void slow_disk_gone(void)
{
	int err = mapper(DM_DEV_REMOVE, NULL, 0);

	require(err >= 0, "removing the slow disk: %s", strerror(-err));
}

static const char *group_file(const char *group, const char *name)
{
	static _Thread_local char path[128];

	snprintf(path, sizeof(path), CGROUPS "/%s/%s", group, name);
	return path;
}

void group_make(const char *group, const char *memory_max)
{
	int err;

	mkdir(CGROUPS, 0755);
	if (access(CGROUPS "/cgroup.procs", F_OK))
		require(!mount("cgroup2", CGROUPS, "cgroup2", 0, NULL), "mounting cgroup2: %s",
			strerror(errno));
	err = file_write(CGROUPS "/cgroup.subtree_control", "+memory");
	if (err)
		skip("no memory control groups: %s", strerror(-err));
	if (mkdir(group_file(group, ""), 0755) && errno != EEXIST)
		fail("group %s: %s", group, strerror(errno));
	group_limit(group, memory_max);
}

void group_limit(const char *group, const char *memory_max)
{
	int err = file_write(group_file(group, "memory.max"), memory_max);

	require(!err, "memory.max of %s: %s", group, strerror(-err));
	file_write(group_file(group, "memory.swap.max"), "0");
}

void group_enter(const char *group)
{
	int err = file_write(group_file(group, "cgroup.procs"), "0");

	require(!err, "entering group %s: %s", group, strerror(-err));
}

long group_read(const char *group, const char *name)
{
	char text[64];
	int n = file_read(group_file(group, name), text, sizeof(text));

	require(n > 0, "%s of group %s: %s", name, group, strerror(-n));
	return atol(text);
}
