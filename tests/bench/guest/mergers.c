// SPDX-License-Identifier: GPL-2.0-or-later
/* The two engines behind one face. */
#include <ctype.h>
#include <dirent.h>

#include "bench.h"

#define BUILTIN "/sys/kernel/mm/ksm/"

static const struct merger mergers[] = {
	{ .name = "off" },
	{ .name = "module", .dir = ENGINE, .module = true },
	{ .name = "module-smart", .dir = ENGINE, .module = true, .smart = true },
	{ .name = "ksmd", .dir = BUILTIN },
	{ .name = "ksmd-smart", .dir = BUILTIN, .smart = true },
};

const struct merger *merger_named(const char *name)
{
	for (size_t i = 0; i < sizeof(mergers) / sizeof(*mergers); i++)
		if (!strcmp(mergers[i].name, name))
			return &mergers[i];
	fail("no engine \"%s\"; there are: off, module, module-smart, ksmd, ksmd-smart", name);
}

static const char *path_of(const char *dir, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s%s", dir, name);
	return path;
}

long long merger_read(const struct merger *m, const char *name)
{
	char text[64];
	int n = file_read(path_of(m->dir, name), text, sizeof(text));

	require(n > 0, "%s%s: %s", m->dir, name, strerror(-n));
	return atoll(text);
}

static void set(const char *dir, const char *name, long long value)
{
	char text[32];
	int err;

	snprintf(text, sizeof(text), "%lld\n", value);
	err = file_write(path_of(dir, name), text);
	require(!err, "writing %lld to %s%s: %s", value, dir, name, strerror(-err));
}

void merger_set(const struct merger *m, const char *name, long long value)
{
	set(m->dir, name, value);
}

void merger_pace(const struct merger *m, long long pages_to_scan, long long sleep_millisecs)
{
	if (!m->dir)
		return;
	merger_set(m, "pages_to_scan", pages_to_scan);
	merger_set(m, "sleep_millisecs", sleep_millisecs);
}

/* Nobody's memory is merged any more. */
static void rest(void)
{
	double end = now() + 60;
	int err;

	set(BUILTIN, "run", 2);
	set(BUILTIN, "run", 0);
	/* Frees what is left of its tree. */
	if (!access(BUILTIN "merge_across_nodes", F_OK)) {
		set(BUILTIN, "merge_across_nodes", 0);
		set(BUILTIN, "merge_across_nodes", 1);
	}
	if (!module_there())
		return;
	set(ENGINE, "run", 2);
	while ((err = module_unload()) && now() < end)
		nap_ms(20);
	require(!err, "rmmod: %s, refcnt %ld", strerror(-err), module_refcnt());
}

void merger_up(const struct merger *m, int threads)
{
	char parameters[64];
	int err;

	rest();
	if (!m->dir)
		return;
	if (m->module) {
		snprintf(parameters, sizeof(parameters), "smart_scan=%d scan_threads=%d", m->smart,
			 threads);
		err = module_load(parameters);
		require(!err, "insmod %s: %s", module_path, strerror(-err));
	} else if (!access(BUILTIN "smart_scan", F_OK)) {
		merger_set(m, "smart_scan", m->smart);
	} else {
		require(!m->smart, "this kernel's KSM has no smart_scan");
	}
}

void merger_down(const struct merger *m)
{
	if (m->dir)
		merger_set(m, "run", 2);
	rest();
}

static long long cpu_of(long pid)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "/proc/%ld/schedstat", pid);
	require(file_read(path, text, sizeof(text)) > 0, "%s cannot be read", path);
	return atoll(text);
}

static long ksmd_pid(void)
{
	static long pid;
	DIR *proc = pid ? NULL : opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		char path[300], name[32];

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (isdigit(entry->d_name[0]) && file_read(path, name, sizeof(name)) > 0 &&
		    !strcmp(name, "ksmd\n"))
			pid = atol(entry->d_name);
	}
	if (proc)
		closedir(proc);
	require(pid, "there is no ksmd");
	return pid;
}

long long merger_cpu(const struct merger *m)
{
	char text[1024], *at = text, *end;
	long long sum = 0;
	long pid;

	if (!m->dir)
		return 0;
	if (!m->module)
		return cpu_of(ksmd_pid());
	require(file_read(ENGINE "thread_pids", text, sizeof(text)) > 0, "no thread_pids");
	while ((pid = strtol(at, &end, 10)), end != at) {
		sum += cpu_of(pid);
		at = end;
	}
	return sum;
}

long merger_pid(const struct merger *m)
{
	return m->module ? merger_read(m, "thread_pids") : ksmd_pid();
}

long long merger_saved(const struct merger *m)
{
	long long saved;

	if (!m->dir)
		return 0;
	saved = merger_read(m, "pages_sharing");
	if (!access(path_of(m->dir, "ksm_zero_pages"), F_OK))
		saved += merger_read(m, "ksm_zero_pages");
	return saved;
}

/* Of whole slabs, also where they are not full: that is what the memory is gone for. */
static long long slabs(void)
{
	FILE *in = fopen("/proc/slabinfo", "re");
	long long sum = 0;
	char line[512];
	bool found = false;

	require(in, "/proc/slabinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		long per_slab, number;
		const char *data = strstr(line, ": slabdata");

		if (strncmp(line, "ksm_rmap_item ", 14) && strncmp(line, "ksm_stable_node ", 16) &&
		    strncmp(line, "ksm_mm_slot ", 12))
			continue;
		found = true;
		require(sscanf(line, "%*s %*d %*d %*d %*d %ld", &per_slab) == 1 && data &&
			sscanf(data, ": slabdata %*d %ld", &number) == 1, "slabinfo: %s", line);
		sum += per_slab * number * PAGE;
	}
	fclose(in);
	require(found, "no ksm_rmap_item in /proc/slabinfo: boot with slab_nomerge");
	return sum;
}

long long merger_metadata(const struct merger *m)
{
	if (!m->dir)
		return 0;
	return m->module ? merger_read(m, "metadata_bytes") : slabs();
}

long long merger_max_page_sharing(const struct merger *m)
{
	return merger_read(m, "max_page_sharing");
}
