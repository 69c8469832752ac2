// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is there shrinker_alloc()? Since 6.7 shrinkers are allocated by it; before,
 * register_shrinker() took the caller's own struct.
 */
#include <linux/shrinker.h>

static struct shrinker *__maybe_unused probe(void)
{
	return shrinker_alloc(0, "ksm");
}
