// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One step of the scan after the other:
 *
 *   thread   ##work##......pause 1 s......##work##......pause
 *   step()   ..........looks, unchanged for 0.4 s: answers
 *
 * Pauses cost nothing where the emulator skips idle time.
 */
#include "bench.h"

#define PAUSE_MS 1000
#define QUIET_MS 400
#define LOOK_MS 50

static long long last;

void steps_begin(const struct merger *m, long long pages)
{
	merger_pace(m, pages, PAUSE_MS);
	last = merger_cpu(m);
}

long long step(const struct merger *m)
{
	double end = now() + 300;
	long long cpu = last, before;
	int quiet = 0;

	while (cpu == last || quiet < QUIET_MS) {
		require(now() < end, "no step ended within 300 s");
		nap_ms(LOOK_MS);
		before = cpu;
		cpu = merger_cpu(m);
		quiet = cpu == before ? quiet + LOOK_MS : 0;
	}
	last = cpu;
	return cpu;
}
