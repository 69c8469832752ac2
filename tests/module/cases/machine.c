// SPDX-License-Identifier: GPL-2.0-or-later
/* The machine itself changes under the engine: its CPUs, its memory, its sleep. */
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <linux/ksm_dev.h>

#include "storm.h"

static void unplug_and_plug(void)
{
	int err = file_write("/sys/devices/system/cpu/cpu1/online", "0");

	require(!err, "CPU 1 cannot go: %s", strerror(-err));
	nap_ms(100);
	err = file_write("/sys/devices/system/cpu/cpu1/online", "1");
	require(!err, "CPU 1 cannot come: %s", strerror(-err));
	nap_ms(100);
	storm_turn++;
}

CASE(race, cpu_hotplug, 90)
{
	if (access("/sys/devices/system/cpu/cpu1/online", F_OK))
		skip("this machine has one CPU only");
	storm(unplug_and_plug);
}

/* Blocks of memory that went and came back, and that stayed for what is in them. */
static unsigned int gone, kept;

static void unplug_block(const char *name)
{
	char path[300];
	int err;

	snprintf(path, sizeof(path), "/sys/devices/system/memory/%s/state", name);
	err = file_write(path, "offline");
	if (err) {
		require(err == -EBUSY || err == -EINVAL, "%s: %s", path, strerror(-err));
		kept++;
		return;
	}
	gone++;
	nap_ms(20);
	err = file_write(path, "online");
	require(!err, "%s cannot come back: %s", path, strerror(-err));
}

static void unplug_memory(void)
{
	DIR *blocks = opendir("/sys/devices/system/memory");
	struct dirent *entry;

	require(blocks, "/sys/devices/system/memory: %s", strerror(errno));
	while ((entry = readdir(blocks)))
		if (!strncmp(entry->d_name, "memory", 6))
			unplug_block(entry->d_name);
	closedir(blocks);
	storm_turn++;
}

/* Merged pages keep their block where it is, and what is frozen may be on its way out. */
CASE(race, memory_hotplug, 120)
{
	storm(unplug_memory);
	note("%u blocks went and came, %u stayed", gone, kept);
	require(gone && kept, "%u blocks went, %u stayed: nothing was seen", gone, kept);
}

static int scanner;

/* Whoever scans in a system call must let itself be frozen, and never knows. */
static void scan_for_ever(struct peer *self, void *arg)
{
	struct ksm_user_scan order = { .pages_to_scan = UINT32_MAX };
	int err;

	(void)self;
	(void)arg;
	for (;;) {
		err = dev_ioctl(scanner, KSM_SCAN, &order);
		require(!err, "KSM_SCAN: %s", strerror(-err));
	}
}

/* All that comes before devices sleep, and all that comes after they woke. */
static void sleep_and_wake(void)
{
	int err = file_write("/sys/power/state", "freeze");

	require(!err, "the machine cannot sleep: %s", strerror(-err));
	storm_turn++;
	nap_ms(200);
}

/*
 * On one CPU, since each freeze patches a static key that every freezer reads, and
 * the emulator may let another CPU trip over the breakpoint for ever.
 */
CASE(sleep, while_merging, 120)
{
	struct peer peer;

	if (file_write("/sys/power/pm_test", "freezer"))
		skip("this kernel cannot rehearse sleeping");
	file_write("/sys/module/suspend/parameters/pm_test_delay", "0");
	scanner = dev_ioctl(dev_fd(), KSM_CREATE_SCAN, NULL);
	require(scanner >= 0, "KSM_CREATE_SCAN: %s", strerror(-scanner));
	sentinel();
	peer = peer_start(scan_for_ever, NULL);
	storm(sleep_and_wake);
	peer_kill(&peer);
}
