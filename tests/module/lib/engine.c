// SPDX-License-Identifier: GPL-2.0-or-later
/* The engine's attributes in sysfs. */
#include "ksmtest.h"

static const char *path_of(const char *name)
{
	static _Thread_local char path[128];

	snprintf(path, sizeof(path), ENGINE "%s", name);
	return path;
}

bool engine_there(void)
{
	return !access(ENGINE "run", F_OK);
}

long long engine_read(const char *name)
{
	char text[64], *end;
	int n = file_read(path_of(name), text, sizeof(text));
	long long value;

	if (n < 0)
		fail("reading %s: %s", path_of(name), strerror(-n));
	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || strcmp(end, "\n") || errno)
		fail("%s holds \"%s\", not a number and a newline", path_of(name), text);
	return value;
}

int engine_write(const char *name, const char *text)
{
	return file_write(path_of(name), text);
}

void engine_set(const char *name, long long value)
{
	char text[32];
	int err;

	snprintf(text, sizeof(text), "%lld\n", value);
	err = engine_write(name, text);
	if (err)
		fail("writing %lld to %s: %s", value, path_of(name), strerror(-err));
}

void engine_pace(long long pages_to_scan, long long sleep_millisecs)
{
	engine_set("pages_to_scan", pages_to_scan);
	engine_set("sleep_millisecs", sleep_millisecs);
}

void engine_start(void)
{
	engine_set("run", 1);
}

void engine_stop(void)
{
	engine_set("run", 0);
}

void engine_passes(int n)
{
	long long start = engine_read("full_scans");
	double limit = 60 * patience, end = now() + limit;

	while (engine_read("full_scans") < start + n) {
		if (now() > end)
			fail("no %d passes within %.0f s: %s", n, limit, engine_state());
		nap_ms(5);
	}
}

void engine_expect(long long shared, long long sharing)
{
	double end = now() + 2 * patience;

	/* The counters may be a moment old. */
	while (engine_read("pages_shared") != shared ||
	       engine_read("pages_sharing") != sharing) {
		if (now() > end)
			fail("expected %lld shared and %lld sharing: %s",
			     shared, sharing, engine_state());
		nap_ms(20);
	}
}

void engine_merge(long long shared, long long sharing)
{
	engine_start();
	engine_passes(SETTLE);
	engine_expect(shared, sharing);
}

double thread_cpu_time(void)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "/proc/%lld/schedstat", engine_read("thread_pid"));
	require(file_read(path, text, sizeof(text)) > 0, "%s cannot be read", path);
	return strtoull(text, NULL, 10) / 1e9;
}

/* The word of a choice that is in force. */
const char *engine_choice(const char *name)
{
	static _Thread_local char text[64];
	int n = file_read(path_of(name), text, sizeof(text));
	char *from, *to;

	if (n < 0)
		fail("reading %s: %s", path_of(name), strerror(-n));
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (!to)
		fail("%s holds \"%s\", of which no word is in force", path_of(name), text);
	*to = '\0';
	return from + 1;
}

void engine_choose(const char *name, const char *word)
{
	int err = engine_write(name, word);

	if (err)
		fail("writing %s to %s: %s", word, path_of(name), strerror(-err));
	require(!strcmp(engine_choice(name), word), "%s was chosen for %s, but it is %s",
		word, name, engine_choice(name));
}

/* In the long pause after a pass nothing counts: wait for one. Returns the number of the pass. */
static long long pause_of(const char *name, long long *value)
{
	double limit = 60 * patience, end = now() + limit;

	while (now() < end) {
		long long pass = engine_read("full_scans"), scanned = engine_read("pages_scanned");

		*value = engine_read(name);
		nap_ms(30 * patience);
		if (engine_read("full_scans") == pass && engine_read("pages_scanned") == scanned &&
		    engine_read(name) == *value)
			return pass;
	}
	fail("no pause within %.0f s: %s", limit, engine_state());
}

long long engine_counted(const char *name, int passes)
{
	long long first, last, from, to;
	int tries = 5;

	engine_pace(UINT32_MAX, 150 * patience);
	engine_passes(1);
	do {
		require(tries--, "the pauses are too short");
		first = pause_of(name, &from);
		engine_passes(passes);
		last = pause_of(name, &to);
	} while (last != first + passes);
	engine_pace(20000, 5);
	return to - from;
}

void engine_merge_in(int passes, long long shared, long long sharing)
{
	/* A pass under way may be past what is new, and is none of them. */
	bool under_way = engine_read("run") == 1;

	engine_pace(UINT32_MAX, 100 * patience);
	engine_start();
	engine_passes(passes + under_way);
	engine_stop();
	engine_expect(shared, sharing);
	engine_pace(20000, 5);
}

const char *engine_state(void)
{
	static const char *const names[] = {
		"run", "pages_shared", "pages_sharing", "pages_unshared",
		"pages_volatile", "pages_skipped", "pages_unmergeable", "pages_scanned", "full_scans",
	};
	static _Thread_local char text[512];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char value[64];

		if (file_read(path_of(names[i]), value, sizeof(value)) < 0)
			strcpy(value, "?");
		value[strcspn(value, "\n")] = '\0';
		n += snprintf(text + n, sizeof(text) - n, "%s%s %.20s",
			      i ? ", " : "", names[i], value);
	}
	return text;
}
