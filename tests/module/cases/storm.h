/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writers and an engine at full speed, and something that disturbs both again and again. */
#ifndef STORM_H
#define STORM_H

#include "ksmtest.h"

#define STORM_PAGES 512

/* What the storm blows on: memory of the writers. */
extern char *storm_at;
extern size_t storm_pages;
/* How often it has. */
extern unsigned int storm_turn;

void storm(void (*disturb)(void));
void storm_over(char *p, size_t npages, void (*disturb)(void));

#endif
