// SPDX-License-Identifier: GPL-2.0-or-later
/* Verdicts, time, and what was asked for: of every program that is linked with this library. */
#include <stdarg.h>
#include <time.h>

#include "ksmtest.h"

int report_fd = STDERR_FILENO;

double soak_factor = 1;
double soak_least;
double case_began;
double patience = 1;
unsigned long fuzz_calls = 100000;
uint64_t run_seed = 1;
int scan_threads = 1;

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

double lasting(double seconds)
{
	return seconds * soak_factor > soak_least ? seconds * soak_factor : soak_least;
}

bool rounds_left(int round, int rounds)
{
	return round < rounds * soak_factor || now() < case_began + soak_least;
}

void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* One write per verdict, so that those of several processes do not mix. */
static void report(char kind, const char *fmt, va_list args)
{
	char text[1024];
	int n;

	text[0] = kind;
	n = 1 + vsnprintf(text + 1, sizeof(text) - 2, fmt, args);
	if (n > (int)sizeof(text) - 2)
		n = sizeof(text) - 2;
	text[n++] = '\n';
	if (write(report_fd, text, n) != n)
		_exit(3);
}

void fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	report('F', fmt, args);
	va_end(args);
	_exit(1);
}

void skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	report('S', fmt, args);
	va_end(args);
	_exit(0);
}

void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	report('N', fmt, args);
	va_end(args);
}

void expect_errno(long got, int want, const char *what)
{
	if (got >= 0)
		fail("%s: succeeded (%ld), expected %s", what, got,
		     strerrorname_np(want));
	if (got != -want)
		fail("%s: %s, expected %s", what, strerrorname_np(-got),
		     strerrorname_np(want));
}
