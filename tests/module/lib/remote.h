/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A process that does with its own memory what it is told, and knows no /dev/ksm. */
#ifndef REMOTE_H
#define REMOTE_H

#include "ksmtest.h"

struct remote_order;

struct remote {
	struct peer peer;
	struct remote_order *order;
	struct peer child;	/* pipes to a child that is still to be forked */
};

struct remote remote_start(void);
char *remote_map(struct remote *r, size_t npages);
void remote_fill(struct remote *r, char *p, size_t npages, size_t contents, uint64_t base);
void remote_check(struct remote *r, char *p, size_t npages, size_t contents, uint64_t base);
/* In how many page frames these pages are. */
size_t remote_frames(struct remote *r, char *p, size_t npages);
/* 0 or -errno */
int remote_madvise(struct remote *r, char *p, size_t npages, int advice);
/* A child of the remote process, to be told things as well; one for each. */
struct remote remote_fork(struct remote *r);
void remote_end(struct remote *r);

#endif
