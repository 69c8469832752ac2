// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long a page has had no partner, and what follows for reading it.
 *
 *   age 0   it changed, or had a partner, or was never read: must be read
 *   age n   it was the same and without a partner for n passes, at most 15
 *
 * A page of some age may be taken for what it was (ks_trust_page()). What was
 * noted of it in the candidate table counts as long, so a page that becomes equal
 * to it finds it, and then it is read in the next pass at the latest; only a
 * change of its own goes unnoticed until it is read again. With
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
#define KS_AGE_MAX	15U
#define KS_SKIP_SHIFT	4
#define KS_SKIP_MAX	8

/* Younger pages are read in every pass. */
#define KS_AGE_SKIP	3

/* From here on a page is left out KS_SKIP_MAX times. */
#define KS_AGE_OLD	9

static unsigned int ks_skips(unsigned int age)
{
	if (age <= 3)
		return 1;
	if (age <= 5)
		return 2;
	return age < KS_AGE_OLD ? 4 : KS_SKIP_MAX;
}

/* It changed, or has or may have a partner: read it in the next pass. */
void ks_age_renew(struct ks_sums *s, unsigned int slot)
{
	*ks_sum_age(s, slot) = 0;
}

static unsigned int ks_age(struct ks_sums *s, unsigned int slot)
{
	return *ks_sum_age(s, slot) & KS_AGE_MASK;
}

static void ks_age_set(struct ks_sums *s, unsigned int slot, unsigned int age,
		       unsigned int skips)
{
	*ks_sum_age(s, slot) = min(age, KS_AGE_MAX) | skips << KS_SKIP_SHIFT;
}

/* So many times it would be left out, if it is found to be without a partner now. */
unsigned int ks_age_skips_next(struct ks_sums *s, unsigned int slot)
{
	unsigned int age = ks_age(s, slot);

	return age < KS_AGE_SKIP ? 0 : ks_skips(age);
}

/* It was read, and is the same and without a partner once more. */
void ks_age_unshared(struct ks_sums *s, unsigned int slot)
{
	ks_age_set(s, slot, ks_age(s, slot) + 1, ks_age_skips_next(s, slot));
}

/* So many times it will be left out from now on. */
unsigned int ks_age_skips(struct ks_sums *s, unsigned int slot)
{
	return *ks_sum_age(s, slot) >> KS_SKIP_SHIFT;
}

/* Has it been alone for so long that it is hardly ever read? */
bool ks_age_is_old(struct ks_sums *s, unsigned int slot)
{
	return ks_age(s, slot) >= KS_AGE_OLD;
}

/* It is left out in so many passes, no more than ks_age_skips(). */
void ks_age_pass(struct ks_sums *s, unsigned int slot, unsigned int passes)
{
	ks_age_set(s, slot, ks_age(s, slot) + passes, ks_age_skips(s, slot) - passes);
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
	if (!ks_age_skips(s, slot) || !READ_ONCE(ks_policy.smart_scan))
		return false;
	ks_age_pass(s, slot, 1);
	return true;
}
