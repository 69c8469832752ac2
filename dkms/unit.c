// SPDX-License-Identifier: GPL-2.0-only
/*
 * The whole module as one compilation unit; see Kbuild.
 */
#include "main.c"
#include "device.c"
#include "region.c"
#include "task_mem.c"
#include "processes.c"
#include "builtin.c"
#include "walk.c"
#include "sums.c"
#include "candidates.c"
#include "kpage.c"
#include "merge.c"
#include "unmerge.c"
#include "scan.c"
#include "thread.c"
#include "sysfs.c"
