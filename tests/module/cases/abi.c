// SPDX-License-Identifier: GPL-2.0-or-later
/* Every layout of the historic commands, and their exact numbers. */
#include <sched.h>

#include "ksmtest.h"

_Static_assert(KSM_GET_API_VERSION == 0xab00, "number");
_Static_assert(KSM_CREATE_SHARED_MEMORY_AREA == 0xab01, "number");
_Static_assert(KSM_START_STOP_KTHREAD == 0x4010ab03, "number");
_Static_assert(KSM_START_STOP_KTHREAD_RHEL5 == 0x400cab03, "number");
_Static_assert(KSM_START_STOP_KTHREAD_MAR09 == 0x4018ab02, "number");
_Static_assert(KSM_GET_INFO_KTHREAD == 0x4010ab04, "number");
_Static_assert(KSM_GET_INFO_KTHREAD_RHEL5 == 0x400cab04, "number");
_Static_assert(KSM_GET_INFO_KTHREAD_MAR09 == 0x4018ab03, "number");
_Static_assert(KSM_REGISTER_MEMORY_REGION == 0x4010ab20, "number");
_Static_assert(KSM_REGISTER_MEMORY_REGION_MAR09 == 0x4018ab20, "number");
_Static_assert(KSM_REMOVE_MEMORY_REGION == 0xab21, "number");
_Static_assert(KSM_REGISTER_TASK == 0xab60, "number");
_Static_assert(KSM_REMOVE_TASK == 0xab61, "number");
_Static_assert(sizeof(struct ksm_task_region) == KSM_TASK_REGION_SIZE_VER0, "size");

/* What the kernel thread is set to, as each layout tells it. */
static void expect_info(int dev, uint32_t run, uint32_t pages, uint32_t sleep)
{
	struct ksm_kthread_info a;
	struct ksm_kthread_info_rhel5 b;
	struct ksm_kthread_info_mar09 c;
	int err;

	memset(&a, 0xff, sizeof(a));
	memset(&b, 0xff, sizeof(b));
	memset(&c, 0xff, sizeof(c));
	err = dev_ioctl(dev, KSM_GET_INFO_KTHREAD, &a);
	require(!err, "KSM_GET_INFO_KTHREAD: %s", strerror(-err));
	require(a.running == run && a.pages_to_scan == pages && a.sleep == sleep,
		"layout of 2008: running %u, pages %u, sleep %u; expected %u, %u, %u",
		a.running, a.pages_to_scan, a.sleep, run, pages, sleep);
	err = dev_ioctl(dev, KSM_GET_INFO_KTHREAD_RHEL5, &b);
	require(!err, "KSM_GET_INFO_KTHREAD_RHEL5: %s", strerror(-err));
	require(b.flags == run && b.pages_to_scan == pages && b.sleep == sleep,
		"layout of RHEL 5: flags %u, pages %u, sleep %u; expected %u, %u, %u",
		b.flags, b.pages_to_scan, b.sleep, run, pages, sleep);
	err = dev_ioctl(dev, KSM_GET_INFO_KTHREAD_MAR09, &c);
	require(!err, "KSM_GET_INFO_KTHREAD_MAR09: %s", strerror(-err));
	require(c.flags == run && c.pages_to_scan == pages && c.sleep == sleep,
		"layout of March 2009: flags %u, pages %u, sleep %u; expected %u, %u, %u",
		c.flags, c.pages_to_scan, c.sleep, run, pages, sleep);
	require(!c.pad && !c.reserved_bits, "reserved fields are not zero");
	require(engine_read("run") == run && engine_read("pages_to_scan") == pages,
		"sysfs disagrees with run %u, pages %u: %s", run, pages, engine_state());
}

static uint32_t max_merge(int dev)
{
	struct ksm_kthread_info info = { 0 };

	require(!dev_ioctl(dev, KSM_GET_INFO_KTHREAD, &info), "KSM_GET_INFO_KTHREAD failed");
	return info.max_pages_to_merge;
}

CASE(abi, version, 30)
{
	int answer = dev_ioctl(dev_fd(), KSM_GET_API_VERSION, NULL);

	require(answer == 1, "the version is %d", answer);
}

CASE(abi, start_2008, 30)
{
	struct ksm_kthread_info info = { .sleep = 5000, .pages_to_scan = 123,
		.max_pages_to_merge = 7, .running = 1 };
	int dev = dev_fd();

	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD, &info), "starting failed");
	expect_info(dev, 1, 123, 5000);
	require(max_merge(dev) == 7, "max_pages_to_merge is %u", max_merge(dev));
	require(engine_read("sleep_millisecs") == 5, "sleep_millisecs is %lld",
		engine_read("sleep_millisecs"));
	info = (struct ksm_kthread_info){ .sleep = 700, .pages_to_scan = 321 };
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD, &info), "stopping failed");
	expect_info(dev, 0, 321, 700);
	require(max_merge(dev) == 0, "max_pages_to_merge is %u", max_merge(dev));
}

CASE(abi, start_rhel5, 30)
{
	struct ksm_kthread_info_rhel5 info = { .sleep = 6000, .pages_to_scan = 124,
		.flags = ksm_control_flags_run };
	int dev = dev_fd();

	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD_RHEL5, &info), "starting failed");
	expect_info(dev, 1, 124, 6000);
	info.flags = 0;
	info.pages_to_scan = 125;
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD_RHEL5, &info), "stopping failed");
	expect_info(dev, 0, 125, 6000);
}

/* What is in .pad is ignored: old clients pass what was on their stack. */
CASE(abi, start_mar09, 30)
{
	struct ksm_kthread_info_mar09 info = { .sleep = 7000, .pages_to_scan = 126,
		.flags = ksm_control_flags_run, .pad = 0xdeadbeef };
	int dev = dev_fd();

	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD_MAR09, &info), "starting failed");
	expect_info(dev, 1, 126, 7000);
	info.flags = 0;
	info.pages_to_scan = 127;
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD_MAR09, &info), "stopping failed");
	expect_info(dev, 0, 127, 7000);
}

CASE(abi, info_of_sysfs, 30)
{
	int dev = dev_fd();

	engine_pace(4294967295, 20);
	expect_info(dev, 0, 4294967295, 20000);
	engine_pace(1, 4294967);
	expect_info(dev, 0, 1, 4294967000);
	engine_pace(1, 4294968);
	expect_info(dev, 0, 1, 4294967295);
	engine_pace(1, 4294967295);
	expect_info(dev, 0, 1, 4294967295);
	engine_pace(1, 0);
	expect_info(dev, 0, 1, 0);
}

/* A stop takes effect before the command returns. */
CASE(abi, stop_takes_effect, 60)
{
	struct ksm_kthread_info_mar09 stop = { .sleep = 5000, .pages_to_scan = 20000 };
	char *p = mem_map(256);
	long long scanned;
	int dev = dev_fd();

	mem_fill(p, 256, 4, 1);
	area_with(p, 256);
	engine_merge(4, 252);
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD_MAR09, &stop), "stopping failed");
	scanned = engine_read("pages_scanned");
	mem_fill(p, 256, 4, 20);
	nap_ms(300);
	require(engine_read("pages_scanned") == scanned, "the thread scans after a stop");
	engine_expect(0, 0);
}

CASE(abi, max_pages_to_merge, 60)
{
	struct ksm_kthread_info info = { .sleep = 200000, .pages_to_scan = 20000,
		.max_pages_to_merge = 4, .running = 1 };
	char *p = mem_map(256);
	int dev = dev_fd();
	double start = now();

	mem_fill(p, 256, 1, 1);
	area_with(p, 256);
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD, &info), "starting failed");
	for (int i = 0; i < 10; i++) {
		long merged;

		nap_ms(200);
		merged = 256 - smaps_pages(p, 256, "Anonymous");
		require(merged <= 4 * ((now() - start) / 0.2 + 1),
			"%ld pages merged in %.2f s at 4 in 200 ms", merged, now() - start);
	}
	require(smaps_pages(p, 256, "Anonymous") < 256, "nothing merged at all");
	info.max_pages_to_merge = 0;
	info.sleep = 5000;
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD, &info), "starting failed");
	engine_merge(1, 255);
	mem_check(p, 256, 1, 1);
}

CASE(abi, start_bad_fields, 30)
{
	struct ksm_kthread_info a = { .sleep = 1000, .pages_to_scan = 0, .running = 1 };
	struct ksm_kthread_info_rhel5 b = { .sleep = 1000, .pages_to_scan = 0, .flags = 1 };
	struct ksm_kthread_info_mar09 c = { .sleep = 1000, .pages_to_scan = 0, .flags = 1 };
	int dev = dev_fd();

	engine_pace(200, 30);
	for (int run = 0; run < 2; run++) {
		engine_set("run", run);
		a.pages_to_scan = b.pages_to_scan = c.pages_to_scan = 0;
		expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD, &a), EINVAL, "zero pages (2008)");
		expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD_RHEL5, &b), EINVAL,
			     "zero pages (RHEL 5)");
		expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD_MAR09, &c), EINVAL,
			     "zero pages (March 2009)");
		a.pages_to_scan = b.pages_to_scan = c.pages_to_scan = 10;
		a.running = 2;
		expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD, &a), EINVAL, "running 2");
		a.running = 0x80000001;
		expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD, &a), EINVAL, "running 0x80000001");
		for (int bit = 1; bit < 32; bit++) {
			b.flags = c.flags = 1u << bit;
			expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD_RHEL5, &b), EINVAL,
				     "an unknown flag (RHEL 5)");
			expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD_MAR09, &c), EINVAL,
				     "an unknown flag (March 2009)");
		}
		c.flags = 1;
		c.reserved_bits = 1ULL << 63;
		expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD_MAR09, &c), EINVAL,
			     "reserved_bits");
		c.reserved_bits = 0;
		expect_info(dev, run, 200, 30000);
		b.flags = 1;
	}
}

static void expect_no_right(int dev, int run)
{
	struct ksm_kthread_info a = { .sleep = 1000, .pages_to_scan = 10, .running = !run };
	struct ksm_kthread_info_rhel5 b = { .sleep = 1000, .pages_to_scan = 10, .flags = !run };
	struct ksm_kthread_info_mar09 c = { .sleep = 1000, .pages_to_scan = 10, .flags = !run };

	expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD, &a), EPERM, "an unprivileged start (2008)");
	expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD_RHEL5, &b), EPERM,
		     "an unprivileged start (RHEL 5)");
	expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD_MAR09, &c), EPERM,
		     "an unprivileged start (March 2009)");
	expect_info(dev, run, 200, 30000);
}

/* Who may open the device may register, but not administer. */
static void unprivileged(int run, bool own_namespace)
{
	char *p = mem_map(64);
	int dev = dev_fd(), area;

	sentinel();
	mem_fill(p, 64, 1, 5);
	engine_pace(200, 30);
	engine_set("run", run);
	require(!setgid(65534) && !setuid(65534), "setuid: %s", strerror(errno));
	if (own_namespace && unshare(CLONE_NEWUSER))
		skip("no user namespace can be had: %s", strerror(errno));
	expect_no_right(dev, run);
	require(dev_ioctl(dev, KSM_GET_API_VERSION, NULL) == 1, "no version for an unprivileged user");
	area = dev_ioctl(dev, KSM_CREATE_SHARED_MEMORY_AREA, NULL);
	require(area >= 0, "no area for an unprivileged user: %s", strerror(-area));
	require(!region_add(area, p, 64), "no region for an unprivileged user");
	if (run) {
		engine_passes(SETTLE);
		engine_expect(2, 64);
		mem_check(p, 64, 1, 5);
	}
}

CASE(abi, unprivileged_stop, 60) { unprivileged(1, false); }
CASE(abi, unprivileged_start, 60) { unprivileged(0, false); }
CASE(abi, namespace_root, 60) { unprivileged(1, true); }

CASE(abi, region_2008, 30)
{
	char *p = mem_map(256);
	struct ksm_memory_region region = { .npages = 256, .pad = 0xdeadbeef,
		.addr = (uintptr_t)p };
	int err;

	mem_fill(p, 256, 4, 1);
	err = dev_ioctl(area_new(), KSM_REGISTER_MEMORY_REGION, &region);
	require(!err, "KSM_REGISTER_MEMORY_REGION: %s", strerror(-err));
	engine_merge(4, 252);
}

CASE(abi, region_mar09, 30)
{
	char *p = mem_map(256);
	struct ksm_memory_region_mar09 region = { .npages = 256, .pad = 0xdeadbeef,
		.addr = (uintptr_t)p };
	int err;

	mem_fill(p, 256, 4, 1);
	err = dev_ioctl(area_new(), KSM_REGISTER_MEMORY_REGION_MAR09, &region);
	require(!err, "KSM_REGISTER_MEMORY_REGION_MAR09: %s", strerror(-err));
	engine_merge(4, 252);
}
