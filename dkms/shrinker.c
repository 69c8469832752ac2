// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory given back under pressure.
 *
 * What the driver holds and can do without, in the order it is given up:
 *
 *   reserved pages    made anew for the next run of pages
 *   stale kpages      nobody maps them any more; the end of the pass, which may
 *                     be an hour away, would free them
 *   candidates        eight bytes for each content seen; without them pages
 *                     merge a pass or two later
 *
 * Reclaim may come from anywhere, also from an allocation of the scan itself,
 * so ks_lock is only tried. Which kpages are stale is not known without looking
 * at them: each call looks at as many as it is asked for, and the next one goes
 * on from there.
 */
#include <linux/mm.h>

#include "compat.h"
#include "engine.h"

/* Kpages to look at, and pages of the candidate table. Without a lock: a guess. */
static unsigned long ks_shrink_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return ks_kpages_shrinkable() + ks_candidates_bytes() / PAGE_SIZE;
}

static unsigned long ks_shrink_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	unsigned long kpages, candidates, share, freed;

	if (!down_write_trylock(&ks_lock))
		return SHRINK_STOP;
	/* Of both in proportion, so that many kpages in use do not save the table. */
	kpages = ks_kpages_shrinkable();
	candidates = ks_candidates_bytes() / PAGE_SIZE;
	share = kpages ? DIV_ROUND_UP(sc->nr_to_scan * kpages, kpages + candidates) : 0;
	freed = ks_kpages_shrink(share);
	if (share < sc->nr_to_scan)
		freed += ks_candidates_shrink(sc->nr_to_scan - share);
	up_write(&ks_lock);
	return freed;
}

static struct ks_shrinker ks_shrinker;

int ks_shrinker_init(void)
{
	return ks_shrinker_register(&ks_shrinker, ks_shrink_count, ks_shrink_scan);
}

/* Context: module unload or a load that failed, before the tables go. */
void ks_shrinker_exit(void)
{
	ks_shrinker_unregister(&ks_shrinker);
}
