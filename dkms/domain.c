// SPDX-License-Identifier: GPL-2.0-only
/*
 * Domains: what may merge with what.
 *
 * Whoever shares merged pages with others can find out which pages they have:
 * make a page up, wait, and time a write to it. A domain ends that. Nothing
 * merges across domains, and memory is in exactly one at a time:
 *
 *   an area was given a number    private to the user who gave it, or (with
 *                                 KSM_DOMAIN_SYSTEM) one for the whole system
 *   nobody gave one               by domain_mode: the common domain, or one of
 *                                 the user, memory cgroup or process
 *
 * With domain_mode at "user", and alice's area given the number 7:
 *
 *   alice's area                  { PRIVATE, alice, 7 }
 *   bob's area, 7 as well         { PRIVATE, bob, 7 }      another one
 *   QEMU of root, adopted         { USER, root }
 *
 * It holds by two means. The hash of a page's content is seeded with its
 * domain, so that one look-up in either table meets only pages of that domain:
 * no step sees that another domain has the same content, nor takes longer for
 * it. And a merged page carries its domain, which is compared before it is
 * mapped, so that two hashes that are equal by chance do no harm.
 *
 * What a page that is already merged shares was decided when it was merged:
 * fork() gives a child its parent's merged pages, whatever domain the child's
 * memory is in. That tells the child nothing, since it had the content already
 * and writing to a merged page copies it whoever else has it; and nobody else
 * can join such a page but memory of the domain it was merged in.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/xxhash.h>

#include "compat.h"
#include "engine.h"

static enum ks_domain_mode ks_domain_mode = KS_DOMAIN_MODE_GLOBAL;
static bool ks_use_zero_pages;

static bool ks_domain_mode_works(enum ks_domain_mode mode)
{
	if (mode == KS_DOMAIN_MODE_CGROUP)
		return ks_knows_memcgs();
	return KS_KNOWS_OWNERS || mode != KS_DOMAIN_MODE_USER;
}

enum ks_domain_mode ks_domain_mode_get(void)
{
	return READ_ONCE(ks_domain_mode);
}

/**
 * ks_domain_mode_set - say which domain memory is in that nobody gave one
 * @mode: how
 *
 * Context: process context, takes ks_lock.
 * Return: 0; -EBUSY: pages are merged, in domains of the old mode;
 * -EOPNOTSUPP: this kernel does not tell what the mode needs to know
 */
int ks_domain_mode_set(enum ks_domain_mode mode)
{
	int err = 0;

	if (!ks_domain_mode_works(mode))
		return -EOPNOTSUPP;
	down_write(&ks_lock);
	if (mode != ks_domain_mode) {
		if (ks_kpages_in_use() || ks_zeros_count())
			err = -EBUSY;
		else
			WRITE_ONCE(ks_domain_mode, mode);
	}
	up_write(&ks_lock);
	return err;
}

bool ks_use_zero_pages_get(void)
{
	return READ_ONCE(ks_use_zero_pages);
}

/* Those that are the zero page stay so. Context: process context, takes ks_lock. */
void ks_use_zero_pages_set(bool use)
{
	down_write(&ks_lock);
	WRITE_ONCE(ks_use_zero_pages, use);
	up_write(&ks_lock);
}

static void ks_domain_of_process(struct ks_mm *km, struct ks_domain *d)
{
	d->kind = KS_DOMAIN_PROCESS;
	d->number = km->id;
}

static void ks_domain_by_mode(struct ks_mm *km, struct ks_domain *d)
{
	kuid_t uid;

	switch (ks_domain_mode) {
	case KS_DOMAIN_MODE_GLOBAL:
		d->kind = KS_DOMAIN_COMMON;
		break;
	case KS_DOMAIN_MODE_USER:
		/* What a user may not read must not be guessed by the user either. */
		if (ks_mm_readable_by(km->mm, &uid)) {
			d->kind = KS_DOMAIN_USER;
			d->owner = __kuid_val(uid);
		} else {
			ks_domain_of_process(km, d);
		}
		break;
	case KS_DOMAIN_MODE_CGROUP:
		d->kind = KS_DOMAIN_CGROUP;
		d->number = ks_mm_memcg_serial(km->mm);
		break;
	case KS_DOMAIN_MODE_PROCESS:
		ks_domain_of_process(km, d);
		break;
	}
}

/**
 * ks_scope_of - find out what memory may merge with
 * @km:    the address space it is in
 * @given: what its area asked for, NULL where there is none
 * @scope: out
 *
 * Context: ks_lock held.
 */
void ks_scope_of(struct ks_mm *km, const struct ks_given *given, struct ks_scope *scope)
{
	struct ks_domain *d = &scope->domain;

	lockdep_assert_held(&ks_lock);
	memset(scope, 0, sizeof(*scope));
	if (given && given->domain.kind != KS_DOMAIN_NOT_GIVEN)
		*d = given->domain;
	else
		ks_domain_by_mode(km, d);
	scope->seed = xxh64(d, sizeof(*d), ks_seed);
	/* The zero page is everybody's: whose page became one, had zeros. */
	scope->zero_pages = ks_use_zero_pages &&
			    (d->kind == KS_DOMAIN_COMMON || (given && given->zero_pages));
}

bool ks_domain_equal(const struct ks_domain *a, const struct ks_domain *b)
{
	return a->kind == b->kind && a->owner == b->owner && a->number == b->number;
}
