/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Allocations that fail on demand (CONFIG_FAULT_INJECTION).
 *
 * A task's fail-nth says which of its next allocations fails, once. So whoever
 * tries 1, 2, 3, ... until none was left to fail has seen each of them fail:
 *
 *	for (int nth = 1, met = true; met; nth++) {
 *		fault_arm(nth);
 *		the_call();
 *		met = fault_disarm();
 *	}
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "ksmtest.h"

/* Those that the module asks for, itself or through core mm. Skips where none can fail. */
void faults_of_module(void);

/* The nth allocation of this task, or of another, is to fail. */
void fault_arm(unsigned int nth);
void fault_arm_task(pid_t pid, unsigned int nth);
/* No more; answers whether the one to fail was met. */
bool fault_disarm(void);
bool fault_disarm_task(pid_t pid);

/* Of 100 allocations of the task so many fail, until 0. */
void faults_often(pid_t pid, unsigned int percent);

#endif
