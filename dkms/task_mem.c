// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another task's address space, named by an open /proc/PID/mem.
 *
 * When such a file was opened the kernel checked ptrace and LSM access, and it
 * stays bound to one address space, whatever becomes of the number PID. The
 * file is known by its file_operations, learned once from the loader's own
 * /proc/self/mem and never from a path that a caller could control.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/sched/mm.h>
#include <linux/string.h>

#include "engine.h"

static const struct file_operations *ks_task_mem_fops;

/**
 * ks_task_mem_learn - learn what a /proc/PID/mem looks like
 *
 * Context: process context of the task that loads the module.
 * Return: 0; -EOPNOTSUPP: other tasks' memory cannot be registered then; -ENOMEM
 */
int ks_task_mem_learn(void)
{
	struct file *file;

	if (!current->mm)
		return -EOPNOTSUPP;
	file = filp_open("/proc/self/mem", O_RDONLY, 0);
	if (IS_ERR(file))
		return PTR_ERR(file) == -ENOMEM ? -ENOMEM : -EOPNOTSUPP;
	/* Another file of procfs may be bound to us too, and be less guarded. */
	if (file_inode(file)->i_sb->s_magic == PROC_SUPER_MAGIC &&
	    file->private_data == current->mm &&
	    !strcmp(file->f_path.dentry->d_name.name, "mem"))
		ks_task_mem_fops = file->f_op;
	filp_close(file, NULL);
	return ks_task_mem_fops ? 0 : -EOPNOTSUPP;
}

/**
 * ks_task_mem_get - the address space behind a descriptor
 * @fd: the caller's descriptor
 *
 * Context: process context.
 * Return: the address space with mm_users taken (mmput() it), or ERR_PTR:
 * -EBADF not open, -EINVAL not a /proc/PID/mem, -ESRCH the address space has
 * ended, -EOPNOTSUPP not learned
 */
struct mm_struct *ks_task_mem_get(int fd)
{
	struct mm_struct *mm;
	struct file *file;

	if (!ks_task_mem_fops)
		return ERR_PTR(-EOPNOTSUPP);
	file = fget(fd);
	if (!file)
		return ERR_PTR(-EBADF);
	if (file->f_op != ks_task_mem_fops) {
		mm = ERR_PTR(-EINVAL);
	} else {
		mm = file->private_data;
		if (!mm || !mmget_not_zero(mm))
			mm = ERR_PTR(-ESRCH);
	}
	fput(file);
	return mm;
}
