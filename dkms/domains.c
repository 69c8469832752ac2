// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which domains merged pages are in, each kept once: there are few, and a merged
 * page that carried its own would be a quarter larger.
 *
 *   kpage ─┐
 *   kpage ─┼─▶ { PRIVATE, alice, 7 }, 3 kpages
 *   kpage ─┘
 *
 * One is made before pages are frozen, since nobody should wait for memory then,
 * and goes at the end of a pass when it is no kpage's. In between it may be used
 * by any step that has found it.
 */
#include <linux/hashtable.h>
#include <linux/slab.h>

#include "engine.h"

static DEFINE_HASHTABLE(ks_domains, 8);
static unsigned long ks_nr_domains;

/**
 * ks_domain_find - look for what kpages of a domain refer to
 * @scope: the domain
 *
 * Context: ks_merge_lock held.
 * Return: it, until the step ends or a kpage refers to it; or NULL
 */
struct ks_kept_domain *ks_domain_find(const struct ks_scope *scope)
{
	struct ks_kept_domain *k;

	hash_for_each_possible(ks_domains, k, hash, scope->seed)
		if (ks_domain_equal(&k->domain, &scope->domain))
			return k;
	return NULL;
}

/**
 * ks_domain_keep - have it there
 * @scope: the domain
 *
 * Context: ks_merge_lock held. May sleep.
 * Return: as ks_domain_find(); NULL without memory
 */
struct ks_kept_domain *ks_domain_keep(const struct ks_scope *scope)
{
	struct ks_kept_domain *k = ks_domain_find(scope);

	if (k)
		return k;
	k = kzalloc(sizeof(*k), KS_GFP);
	if (!k)
		return NULL;
	k->domain = scope->domain;
	hash_add(ks_domains, &k->hash, scope->seed);
	WRITE_ONCE(ks_nr_domains, ks_nr_domains + 1);
	return k;
}

/* Forget those of no kpage. Context: ks_lock held for writing, or nothing else runs. */
void ks_domains_sweep(void)
{
	struct ks_kept_domain *k;
	struct hlist_node *next;
	int bucket;

	hash_for_each_safe(ks_domains, bucket, next, k, hash) {
		if (k->kpages)
			continue;
		hash_del(&k->hash);
		kfree(k);
		WRITE_ONCE(ks_nr_domains, ks_nr_domains - 1);
	}
}

unsigned long ks_domains_bytes(void)
{
	return READ_ONCE(ks_nr_domains) * sizeof(struct ks_kept_domain);
}
