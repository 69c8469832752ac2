// SPDX-License-Identifier: GPL-2.0-or-later
#include "faults.h"

#define DEBUG "/sys/kernel/debug/"

static const char *const kinds[] = { "failslab", "fail_page_alloc" };

static void set(const char *kind, const char *name, const char *value)
{
	char path[128];
	int err;

	snprintf(path, sizeof(path), DEBUG "%s/%s", kind, name);
	err = file_write(path, value);
	require(!err, "writing %s to %s: %s", value, path, strerror(-err));
}

static void set_all(const char *name, const char *value)
{
	for (int i = 0; i < 2; i++)
		set(kinds[i], name, value);
}

/* Allocations count that are made below code from here to there. */
static void prepare(const char *from, const char *to)
{
	if (access(DEBUG "failslab", F_OK))
		skip("no allocation of this kernel can be made to fail");
	/* By default those that may wait for memory never fail, nor do single pages. */
	set_all("ignore-gfp-wait", "N");
	set("fail_page_alloc", "ignore-gfp-highmem", "N");
	set("fail_page_alloc", "min-order", "0");
	set_all("verbose", "0");
	set_all("probability", "0");
	set_all("task-filter", "Y");
	set_all("times", "-1");
	set_all("interval", "1");
	set_all("stacktrace-depth", "32");
	set_all("require-start", from);
	set_all("require-end", to);
}

/*
 * Whose stack leads through a module: the kernel itself ends below. There is no
 * other module than ours, and where it will be cannot be known before it is loaded.
 */
void faults_of_module(void)
{
	prepare("0xffffffffc0000000", "0xffffffffff000000");
}

static const char *path_of(pid_t pid, const char *name)
{
	static _Thread_local char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return path;
}

void fault_arm_task(pid_t pid, unsigned int nth)
{
	char text[16];
	int err;

	snprintf(text, sizeof(text), "%u", nth);
	err = file_write(path_of(pid, "fail-nth"), text);
	require(!err, "arming a fault: %s", strerror(-err));
}

bool fault_disarm_task(pid_t pid)
{
	char text[16];
	int n = file_read(path_of(pid, "fail-nth"), text, sizeof(text));

	require(n > 0, "reading fail-nth: %s", strerror(-n));
	fault_arm_task(pid, 0);
	return !atoi(text);
}

/* Open before it is armed: the way to the file takes memory, too. */
static int own(void)
{
	static int fd = -1;
	static pid_t pid;

	if (pid != getpid()) {
		pid = getpid();
		fd = open(path_of(pid, "fail-nth"), O_RDWR | O_CLOEXEC);
		require(fd >= 0, "fail-nth: %s", strerror(errno));
	}
	return fd;
}

void fault_arm(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	require(pwrite(own(), text, n, 0) == n, "arming a fault: %s", strerror(errno));
}

bool fault_disarm(void)
{
	char text[16] = "";

	require(pread(own(), text, sizeof(text) - 1, 0) > 0, "reading fail-nth: %s",
		strerror(errno));
	fault_arm(0);
	return !atoi(text);
}

void faults_often(pid_t pid, unsigned int percent)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", percent);
	require(!file_write(path_of(pid, "make-it-fail"), percent ? "1" : "0"), "make-it-fail");
	set_all("probability", text);
}
