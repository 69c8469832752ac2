// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is a non-present PTE a "software leaf"? Since 6.19; before, a swap entry. The
 * old names are gone.
 */
#include <linux/mm.h>
/* Which 7.2's leafops.h needs and does not include in time. */
#include <linux/swap.h>
#include <linux/leafops.h>

static bool __maybe_unused probe(pte_t pte)
{
	return softleaf_is_migration(softleaf_from_pte(pte));
}
