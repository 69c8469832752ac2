/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that write while the engine merges. A thread knows what it wrote
 * last; any other value in its place is a lost write.
 */
#ifndef WRITERS_H
#define WRITERS_H

#include <pthread.h>

#include "ksmtest.h"

#define THREADS 4

struct worker {
	pthread_t thread;
	int number;
	char *p;
	size_t npages;
	unsigned long written;
	uint64_t sweeps;
	unsigned int random;
};

extern volatile bool writers_stop;

void writers_start(struct worker *w, int n, void *(*fn)(void *), char *p, size_t npages);
void writers_join(struct worker *w, int n);
unsigned int dice(struct worker *w, unsigned int sides);

/*
 * Flips: a page has one of two contents, and its owner turns it to the other
 * when it pleases, so a page often changed between the look at it and the merge
 * and still has the digest of the last pass.
 */
char *flippable(size_t npages);
void make_flippable(char *p, size_t npages);
void *flip(void *worker);
/* Once the writers have joined: nothing but the flipped words may have changed. */
void check_flipped(char *p, size_t npages);
/* The same while they write, in a child that has a copy. */
void check_flipping(const char *p, size_t npages);

/* Merging that was seen while the writers ran. */
struct seen {
	long long want;		/* pages sharing at one moment, at least */
	long long most, passes, last;
	unsigned long risen;
};

/* For some seconds; longer on a busy machine, until enough was seen. */
void watch(struct seen *seen, double seconds);
void watch_doing(struct seen *seen, double seconds, void (*fn)(void));
void expect_seen(const struct seen *seen);

#endif
