// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long a page has had no partner, and what follows for reading it.
 *
 *   age 0   it changed, or had a partner, or was never read: must be read
 *   age n   it was the same and without a partner for n passes, at most 15
 *
 * A page of some age may be taken for what it was (ks_trust_page()). It is still
 * noted in the candidate table, so a page that becomes equal to it finds it at
 * once; only a change of its own goes unnoticed until it is read again. With
 * smart_scan a page that is old enough is read ever more seldom, as in the
 * built-in KSM:
 *
 *   pass      1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 ...
 *             r r r r r - r - -  r  -  -  -  -  r  -   r: read
 *
 * and never left out more than KS_SKIP_MAX times. So a page that changes is
 * noticed within KS_SKIP_MAX passes, and merges two passes later.
 */
#include "engine.h"

#define KS_AGE_MASK	0x0f
#define KS_AGE_MAX	15
#define KS_SKIP_SHIFT	4
#define KS_SKIP_MAX	8

/* Younger pages are read in every pass. */
#define KS_AGE_SKIP	3

static unsigned int ks_skips(unsigned int age)
{
	if (age <= 3)
		return 1;
	if (age <= 5)
		return 2;
	return age <= 8 ? 4 : KS_SKIP_MAX;
}

/* It changed, or has a partner. */
void ks_age_renew(struct ks_sums *s, unsigned int slot)
{
	*ks_sum_age(s, slot) = 0;
}

/* It was read, and is the same and without a partner once more. */
void ks_age_unshared(struct ks_sums *s, unsigned int slot)
{
	u8 *at = ks_sum_age(s, slot);
	unsigned int age = *at & KS_AGE_MASK;
	unsigned int skips = age < KS_AGE_SKIP ? 0 : ks_skips(age);

	*at = min(age + 1, KS_AGE_MAX) | skips << KS_SKIP_SHIFT;
}

/* May it be taken for what it was? */
bool ks_age_known(struct ks_sums *s, unsigned int slot)
{
	return *ks_sum_age(s, slot);
}

/**
 * ks_age_skip - leave a page unread in this pass?
 * @s:    sums of its batch
 * @slot: its slot
 *
 * Context: ks_lock held.
 * Return: true: yes, and one pass less from now on
 */
bool ks_age_skip(struct ks_sums *s, unsigned int slot)
{
	u8 *at = ks_sum_age(s, slot);
	unsigned int age = *at & KS_AGE_MASK;
	unsigned int skips = *at >> KS_SKIP_SHIFT;

	if (!skips || !READ_ONCE(ks_policy.smart_scan))
		return false;
	*at = min(age + 1, KS_AGE_MAX) | (skips - 1) << KS_SKIP_SHIFT;
	return true;
}
