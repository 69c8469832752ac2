/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Things of the machine that a case turns on: swap space, a slow disk, control groups. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include "ksmtest.h"

/* The zram device, empty and of this size: answers its path. */
const char *zram_sized(size_t bytes);
/* Swap space on it. */
void swap_on(size_t bytes);
void swap_off(void);

/* A disk on it that does nothing before so many milliseconds have passed: answers its path. */
const char *slow_disk(size_t bytes, int delay_ms);
void slow_disk_gone(void);

/* A memory control group; made at first use, left for the next case. */
void group_make(const char *group, const char *memory_max);
void group_limit(const char *group, const char *memory_max);
void group_enter(const char *group);
long group_read(const char *group, const char *name);

#endif
