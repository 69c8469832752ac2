// SPDX-License-Identifier: GPL-2.0-or-later
#include "bench.h"

static const struct {
	const char *name;
	void (*fn)(const struct options *o);
} measures[] = {
	{ "merging", measure_merging },
	{ "profile", measure_profile },
	{ "pace", measure_pace },
	{ "effect", measure_effect },
	{ "threads", measure_threads },
};

void result_begin(const struct options *o, const char *measure)
{
	printf("@{\"measure\": \"%s\", \"label\": %s, ", measure, o->label);
}

void result_end(void)
{
	printf("}\n");
	fflush(stdout);
}

static void options(struct options *o, char **argv)
{
	for (; argv[0] && argv[1]; argv += 2) {
		const char *name = argv[0], *value = argv[1];

		if (!strcmp(name, "--engine"))
			o->merger = merger_named(value);
		else if (!strcmp(name, "--workload"))
			o->workload = workload_named(value);
		else if (!strcmp(name, "--mib"))
			o->mib = strtoul(value, NULL, 10);
		else if (!strcmp(name, "--procs"))
			o->procs = strtoul(value, NULL, 10);
		else if (!strcmp(name, "--passes"))
			o->passes = strtoul(value, NULL, 10);
		else if (!strcmp(name, "--seconds"))
			o->seconds = atof(value);
		else if (!strcmp(name, "--threads"))
			o->threads = atoi(value);
		else if (!strcmp(name, "--pages"))
			o->pages_to_scan = atoll(value);
		else if (!strcmp(name, "--dynamic"))
			o->dynamic = atoi(value);
		else if (!strcmp(name, "--like"))
			o->like = value;
		else if (!strcmp(name, "--label"))
			o->label = value;
		else
			fail("no option \"%s\"", name);
	}
	require(!argv[0], "\"%s\" takes a value", argv[0]);
}

int main(int argc, char **argv)
{
	struct options o = {
		.mib = 32, .passes = 16, .seconds = 20, .threads = 1, .pages_to_scan = 100,
		.label = "null",
	};

	require(argc > 1, "which measurement?");
	o.merger = merger_named("module");
	o.workload = workload_named("mix");
	options(&o, argv + 2);
	for (size_t i = 0; i < sizeof(measures) / sizeof(*measures); i++) {
		if (!strcmp(measures[i].name, argv[1])) {
			measures[i].fn(&o);
			return 0;
		}
	}
	fail("no measurement \"%s\"", argv[1]);
}
