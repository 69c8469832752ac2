// SPDX-License-Identifier: GPL-2.0-or-later
/* advisor_mode=scan-time: the time of a pass, the share of a CPU, and the rules. */
#include "ksmtest.h"

#define N 4096

static void alone(void)
{
	char *p = mem_map(N);

	mem_fill(p, N, N, 2000);
	area_with(p, N);
}

CASE(advisor, modes, 60)
{
	char text[64];

	require(file_read(ENGINE "advisor_mode", text, sizeof(text)) > 0 &&
		!strcmp(text, "[none] scan-time\n"), "advisor_mode holds \"%s\"", text);
	engine_set("pages_to_scan", 77);
	engine_set("advisor_min_pages_to_scan", 300);
	engine_choose("advisor_mode", "none");
	require(engine_read("pages_to_scan") == 77, "the mode it had already changed pages_to_scan");
	engine_choose("advisor_mode", "scan-time");
	require(file_read(ENGINE "advisor_mode", text, sizeof(text)) > 0 &&
		!strcmp(text, "none [scan-time]\n"), "advisor_mode holds \"%s\"", text);
	require(engine_read("pages_to_scan") == 300, "it starts from %lld",
		engine_read("pages_to_scan"));
	expect_errno(engine_write("pages_to_scan", "400"), EINVAL, "pages_to_scan");
	require(engine_read("pages_to_scan") == 300, "what was refused was set");
	engine_set("sleep_millisecs", 7);
	engine_choose("advisor_mode", "none");
	require(engine_read("pages_to_scan") == 100, "pages_to_scan is not its default again");
	engine_set("pages_to_scan", 400);
}

/* Who stops the thread by the old commands must not be refused. */
CASE(advisor, old_commands, 60)
{
	struct ksm_kthread_info info = {
		.sleep = 3000, .pages_to_scan = 55, .running = 1,
	};
	int dev = dev_fd();

	engine_choose("advisor_mode", "scan-time");
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD, &info), "starting was refused");
	require(engine_read("run") == 1 && engine_read("sleep_millisecs") == 3 &&
		engine_read("pages_to_scan") == 500, "%lld pages, %lld ms: %s",
		engine_read("pages_to_scan"), engine_read("sleep_millisecs"), engine_state());
	info.running = 0;
	require(!dev_ioctl(dev, KSM_START_STOP_KTHREAD, &info), "stopping was refused");
	require(engine_read("run") == 0, "it runs on");
	info.pages_to_scan = 0;
	expect_errno(dev_ioctl(dev, KSM_START_STOP_KTHREAD, &info), EINVAL, "no pages");
}

/* Passes that would take 0.02 s or 40 s take one. */
static void takes_a_second(long long min_pages)
{
	long long passes;
	double from, took;

	alone();
	sentinel();
	engine_set("sleep_millisecs", 20);
	engine_set("advisor_min_pages_to_scan", min_pages);
	engine_set("advisor_target_scan_time", 1);
	engine_choose("advisor_mode", "scan-time");
	engine_start();
	engine_passes(3);
	engine_set("advisor_min_pages_to_scan", 1);
	engine_passes(1);
	passes = engine_read("full_scans");
	from = now();
	engine_passes(4);
	took = (now() - from) / (engine_read("full_scans") - passes);
	require(took > 0.7 && took < 1.4, "a pass takes %.2f s, not 1 s, at %lld pages: %s", took,
		engine_read("pages_to_scan"), engine_state());
	engine_expect(1, 1);
}

CASE(advisor, slows_down, 90) { takes_a_second(30000); }
CASE(advisor, speeds_up, 120) { takes_a_second(2); }

CASE(advisor, limits, 60)
{
	alone();
	engine_set("sleep_millisecs", 1);
	engine_set("advisor_min_pages_to_scan", 250);
	engine_set("advisor_max_pages_to_scan", 1500);
	engine_choose("advisor_mode", "scan-time");
	engine_start();
	engine_passes(4);
	require(engine_read("pages_to_scan") == 250, "%lld pages, less than the least",
		engine_read("pages_to_scan"));
	engine_set("advisor_min_pages_to_scan", 100000);
	engine_passes(3);
	require(engine_read("pages_to_scan") == 1500, "%lld pages, more than the most",
		engine_read("pages_to_scan"));
	engine_set("advisor_min_pages_to_scan", 0);
	engine_set("advisor_max_pages_to_scan", 0);
	engine_passes(3);
	require(engine_read("pages_to_scan") == 1, "%lld pages", engine_read("pages_to_scan"));
}

/* Its share of a CPU while it scans without any pause. */
static double share(double seconds)
{
	double from, cpu;

	nap_ms(1000);
	from = now();
	cpu = thread_cpu_time();
	nap_ms(seconds * 1000);
	return (thread_cpu_time() - cpu) / (now() - from);
}

CASE(advisor, max_cpu, 120)
{
	double used, most = 0, end;

	alone();
	engine_set("sleep_millisecs", 0);
	engine_set("pages_to_scan", 20000);
	engine_start();
	used = share(2);
	require(used > 0.4, "without a limit it uses %.0f %%: nothing to limit", used * 100);
	engine_set("advisor_target_scan_time", 1);
	engine_set("advisor_max_cpu", 10);
	engine_choose("advisor_mode", "scan-time");
	used = share(4);
	require(used < 0.13, "it uses %.1f %%, and may 10 %%", used * 100);
	engine_set("advisor_min_pages_to_scan", 20000);
	engine_set("advisor_max_cpu", 30);
	/* There is always work, so it uses what it may; on a busy machine not at once. */
	end = now() + 40;
	do {
		used = share(3);
		require(used < 0.36, "it uses %.1f %%, and may 30 %%", used * 100);
		most = used > most ? used : most;
	} while (most < 0.2 && now() < end);
	require(most >= 0.2, "it uses %.1f %% at most, and may 30 %%", most * 100);
	note("%.1f %% of a CPU, at most 30 %%", most * 100);
	engine_set("advisor_max_cpu", 0);
	used = share(4);
	require(used < 0.04, "it uses %.1f %%, and may hardly any", used * 100);
	/* A limit that is lifted ends its pauses, however long they have become. */
	engine_set("advisor_max_cpu", 100);
	engine_choose("advisor_mode", "none");
	engine_passes(2);
}

CASE(advisor, values, 60)
{
	static const char *const names[] = {
		"advisor_target_scan_time", "advisor_max_cpu", "advisor_min_pages_to_scan",
		"advisor_max_pages_to_scan",
	};
	static const char *const bad[] = { "-1", "x", "5x", "1 2", "\n", NULL };

	require(!module_unload(), "rmmod failed");
	expect_errno(module_load("advisor_mode=x"), EINVAL, "advisor_mode=x");
	expect_errno(module_load("advisor_target_scan_time=0"), EINVAL, "no time");
	require(!module_load("run=1 advisor_mode=scan-time advisor_target_scan_time=9 advisor_max_cpu=8 "
			     "advisor_min_pages_to_scan=7 advisor_max_pages_to_scan=70"),
		"insmod failed");
	require(!strcmp(engine_choice("advisor_mode"), "scan-time") &&
		engine_read("advisor_target_scan_time") == 9 && engine_read("advisor_max_cpu") == 8 &&
		engine_read("advisor_min_pages_to_scan") == 7 &&
		engine_read("advisor_max_pages_to_scan") == 70 && engine_read("pages_to_scan") == 7,
		"parameters are lost");

	engine_stop();
	engine_choose("advisor_mode", "none");
	for (size_t n = 0; n < 4; n++) {
		for (int i = 0; bad[i]; i++)
			expect_errno(engine_write(names[n], bad[i]), EINVAL, names[n]);
		engine_set(names[n], 4294967295);
		require(engine_read(names[n]) == 4294967295, "%s lost a value", names[n]);
	}
	expect_errno(engine_write("advisor_target_scan_time", "0"), EINVAL, "no time");
	expect_errno(engine_write("advisor_mode", "scan"), EINVAL, "scan");
	/* All at their ends, it works on. */
	sentinel();
	engine_choose("advisor_mode", "scan-time");
	engine_merge(1, 1);
}
