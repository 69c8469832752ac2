// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is whether a task may be dumped a mark of the task? Since 7.3; before, of its
 * mm_struct.
 */
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/exec_state.h>

static bool __maybe_unused probe(struct task_struct *task)
{
	const struct task_exec_state *state = rcu_dereference(task->exec_state);

	return state && READ_ONCE(state->dumpable) == TASK_DUMPABLE_OWNER;
}
