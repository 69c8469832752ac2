// SPDX-License-Identifier: GPL-2.0-or-later
/* The trace events of the system ksm_fleet. */
#include <sys/mount.h>

#include "ksmtest.h"

#define TRACING "/sys/kernel/tracing/"
#define EVENTS TRACING "events/ksm_fleet/"

static void put(const char *path, const char *text)
{
	int err = file_write(path, text);

	require(!err, "writing %s to %s: %s", text, path, strerror(-err));
}

static void clear(void)
{
	int fd = open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	require(fd >= 0, TRACING "trace: %s", strerror(errno));
	close(fd);
}

static void tracing(void)
{
	if (access(TRACING "trace", F_OK))
		require(!mount("tracefs", TRACING, "tracefs", 0, NULL), "no tracefs: %s",
			strerror(errno));
	clear();
	put(EVENTS "enable", "1");
}

/* How many lines of the trace hold this event and text. */
static int traced(const char *event, const char *text)
{
	FILE *in = fopen(TRACING "trace", "r");
	char line[1024];
	int n = 0;

	require(in, TRACING "trace: %s", strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		char *at = strstr(line, event);

		n += at && strstr(at, text);
	}
	fclose(in);
	return n;
}

static void expect(const char *event, const char *text, int n)
{
	require(traced(event, text) == n, "%d times \"%s ... %s\", expected %d: %s",
		traced(event, text), event, text, n, engine_state());
}

CASE(trace, events, 60)
{
	char *p = mem_map_huge(512), *q = mem_map(62);
	char text[64];
	long long before, pass;

	mem_fill(p, 512, 512, 1000);
	require(smaps_pages(p, 512, "AnonHugePages") == 512, "the kernel gave no huge page");
	mem_fill(q, 62, 62, 1100);
	tracing();
	area_with(p, 512);
	/* At first one page less than a huge page is split for. */
	area_with(q, 61);
	before = engine_read("full_scans");
	engine_merge_in(SETTLE, 61, 0);
	require(traced("ks_huge:", "worth=61 nr=512 split=0") > 0, "no huge page was judged");
	expect("ks_huge:", "split=1", 0);
	area_with(q + 61 * PAGE, 1);
	engine_merge_in(SETTLE, 62, 62);
	expect("ks_huge:", "worth=62 nr=512 split=1", 1);
	expect("ks_merge:", "worth=62 merged=62", 1);
	for (pass = before + 1; pass <= engine_read("full_scans"); pass++) {
		snprintf(text, sizeof(text), "pass=%lld ", pass);
		expect("ks_pass_end:", text, 1);
		snprintf(text, sizeof(text), "pass=%lld\n", pass);
		/* The first may have begun when nobody was looking yet. */
		if (pass > before + 1)
			expect("ks_pass_begin:", text, 1);
	}
	engine_set("run", 2);
	expect("ks_unmerge:", "pages=124 err=0", 1);
	put(EVENTS "enable", "0");
	clear();
	engine_merge(62, 62);
	expect("ks_", "", 0);
}

CASE(trace, advice, 60)
{
	char *p = mem_map(512);

	mem_fill(p, 512, 512, 1000);
	tracing();
	area_with(p, 512);
	engine_set("advisor_min_pages_to_scan", 300);
	engine_choose("advisor_mode", "scan-time");
	engine_start();
	engine_passes(SETTLE);
	require(traced("ks_advice:", "pages_to_scan=300 ") > 0, "the advisor's advice is not traced");
	put(EVENTS "enable", "0");
}

/* The module goes while its events are on. */
CASE(trace, unload, 60)
{
	for (int i = 0; i < 5; i++) {
		tracing();
		engine_start();
		nap_ms(50);
		require(!module_unload(), "rmmod failed");
		require(access(EVENTS "enable", F_OK), "the events are still there");
		require(traced("ks_", "") == 0, "events of a module that is gone are kept");
		require(!module_load("run=1"), "insmod failed");
	}
}
