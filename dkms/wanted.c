// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which contents are wanted: those that a page turned up with and that another
 * one has which is not read in each pass.
 *
 * The candidate table knows that there is such a page, and not where. So what is
 * wanted is put into a filter, and whoever leaves pages unread asks it for each.
 * That is all that a page costs in passes in which it is not read, and when
 * nothing is wanted anywhere, less than that.
 *
 * A page may come before the one that wants it in the order of the scan: what is
 * wanted stays so until the end of the next pass.
 */
#include <linux/minmax.h>
#include <linux/slab.h>

#include "engine.h"

/* Of each filter: what some ten thousand pages of one pass can want. */
#define KS_WANTED_WORDS	4096U

/* Of this pass and of the one before. */
static struct ks_filter *ks_wanted[2];
static bool ks_any_wanted[2];

int ks_wanted_init(void)
{
	ks_wanted[0] = ks_filter_alloc(KS_WANTED_WORDS);
	ks_wanted[1] = ks_filter_alloc(KS_WANTED_WORDS);
	if (ks_wanted[0] && ks_wanted[1])
		return 0;
	ks_wanted_exit();
	return -ENOMEM;
}

void ks_wanted_exit(void)
{
	kvfree(ks_wanted[0]);
	kvfree(ks_wanted[1]);
	ks_wanted[0] = NULL;
	ks_wanted[1] = NULL;
}

/* A page of this sum should be read. Context: a step. */
void ks_want(u32 sum)
{
	ks_filter_add(ks_wanted[0], sum);
	WRITE_ONCE(ks_any_wanted[0], true);
}

/* May anything be wanted? Context: a step. */
bool ks_wants_any(void)
{
	return READ_ONCE(ks_any_wanted[0]) || ks_any_wanted[1];
}

/* Is a page of this sum? Context: a step. */
bool ks_wants(u32 sum)
{
	return (READ_ONCE(ks_any_wanted[0]) && ks_filter_has(ks_wanted[0], sum)) ||
	       (ks_any_wanted[1] && ks_filter_has(ks_wanted[1], sum));
}

/* Context: ks_lock held for writing. */
void ks_wanted_end_pass(void)
{
	if (ks_any_wanted[1])
		ks_filter_clear(ks_wanted[1]);
	swap(ks_wanted[0], ks_wanted[1]);
	ks_any_wanted[1] = ks_any_wanted[0];
	ks_any_wanted[0] = false;
}
