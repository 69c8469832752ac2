// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/ksm and its area descriptors: the ioctl ABI of linux/ksm_dev.h.
 *
 * The size that _IOW() puts into a command's number tells the historic layouts
 * apart, so one switch serves every client since 2008.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/ksm_dev.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "engine.h"

/**
 * ks_struct_get - copy a struct from user space that may grow with the ABI
 * @to:    where to
 * @room:  size of our own
 * @least: size of the first version
 * @from:  the caller's, with its size first
 * @size:  out: the caller's size
 *
 * Return: 0, -EFAULT, -EINVAL: too small, -E2BIG: larger than a page, or what we do
 * not know of it is not zero
 */
int ks_struct_get(void *to, size_t room, u32 least, const void __user *from, u32 *size)
{
	if (get_user(*size, (const u32 __user *)from))
		return -EFAULT;
	if (*size < least)
		return -EINVAL;
	if (*size > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(to, room, from, *size);
}

static int ks_kthread_control(u32 sleep_us, u32 pages, u32 max_merge, u32 run)
{
	struct ks_pace pace = {
		.pages_to_scan = pages,
		.max_merge = max_merge,
		.sleep_us = sleep_us,
	};
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (run > 1)
		return -EINVAL;
	err = ks_advisor_pace_set(&pace);
	return err ?: ks_run_set(run ? KS_RUN_MERGE : KS_RUN_STOP);
}

static int ks_kthread_control_nov08(void __user *argp)
{
	struct ksm_kthread_info info;

	if (copy_from_user(&info, argp, sizeof(info)))
		return -EFAULT;
	return ks_kthread_control(info.sleep, info.pages_to_scan,
				  info.max_pages_to_merge, info.running);
}

static int ks_kthread_control_rhel5(void __user *argp)
{
	struct ksm_kthread_info_rhel5 info;

	if (copy_from_user(&info, argp, sizeof(info)))
		return -EFAULT;
	return ks_kthread_control(info.sleep, info.pages_to_scan, 0, info.flags);
}

static int ks_kthread_control_mar09(void __user *argp)
{
	struct ksm_kthread_info_mar09 info;

	if (copy_from_user(&info, argp, sizeof(info)))
		return -EFAULT;
	if (info.reserved_bits)
		return -EINVAL;
	return ks_kthread_control(info.sleep, info.pages_to_scan, 0, info.flags);
}

static int ks_kthread_info(unsigned int cmd, void __user *argp)
{
	union {
		struct ksm_kthread_info nov08;
		struct ksm_kthread_info_rhel5 rhel5;
		struct ksm_kthread_info_mar09 mar09;
	} info = {};
	u32 run = ks_run_get() == KS_RUN_MERGE;
	struct ks_pace pace;
	u32 sleep_us;

	ks_pace_get(&pace);
	sleep_us = min_t(u64, pace.sleep_us, U32_MAX);
	switch (cmd) {
	case KSM_GET_INFO_KTHREAD:
		info.nov08.sleep = sleep_us;
		info.nov08.pages_to_scan = pace.pages_to_scan;
		info.nov08.max_pages_to_merge = pace.max_merge;
		info.nov08.running = run;
		break;
	case KSM_GET_INFO_KTHREAD_RHEL5:
		info.rhel5.sleep = sleep_us;
		info.rhel5.pages_to_scan = pace.pages_to_scan;
		info.rhel5.flags = run ? ksm_control_flags_run : 0;
		break;
	case KSM_GET_INFO_KTHREAD_MAR09:
		info.mar09.sleep = sleep_us;
		info.mar09.pages_to_scan = pace.pages_to_scan;
		info.mar09.flags = run ? ksm_control_flags_run : 0;
		break;
	}
	return copy_to_user(argp, &info, _IOC_SIZE(cmd)) ? -EFAULT : 0;
}

static int ks_area_register_own(struct ks_area *area, u64 addr, u32 npages)
{
	/* (0, 0) would mean the whole address space. */
	if (!npages)
		return -EINVAL;
	if (!current->mm)
		return -EINVAL;
	return ks_region_add(current->mm, area, false, KS_CHILDREN_NONE, addr,
			     (u64)npages << PAGE_SHIFT);
}

static int ks_area_register_nov08(struct ks_area *area, void __user *argp)
{
	struct ksm_memory_region mem;

	if (copy_from_user(&mem, argp, sizeof(mem)))
		return -EFAULT;
	return ks_area_register_own(area, mem.addr, mem.npages);
}

static int ks_area_register_mar09(struct ks_area *area, void __user *argp)
{
	struct ksm_memory_region_mar09 mem;

	if (copy_from_user(&mem, argp, sizeof(mem)))
		return -EFAULT;
	if (mem.reserved_bits)
		return -EINVAL;
	return ks_area_register_own(area, mem.addr, mem.npages);
}

static int ks_area_remove_own(struct ks_area *area, unsigned long addr)
{
	if (!addr) {
		ks_area_clear(area);
		return 0;
	}
	return current->mm ? ks_region_remove(current->mm, area, addr, false, false) :
			     -ENOENT;
}

#define KS_TASK_FLAGS	(KSM_TASK_WHOLE | KSM_TASK_DETACHED | KSM_TASK_CHILDREN | KSM_TASK_JOIN)

static enum ks_children ks_task_children(u32 flags)
{
	if (!(flags & KSM_TASK_CHILDREN))
		return KS_CHILDREN_NONE;
	return (flags & KSM_TASK_JOIN) ? KS_CHILDREN_JOIN : KS_CHILDREN_FAMILY;
}

static int ks_area_task(struct ks_area *area, unsigned int cmd, void __user *argp)
{
	struct ksm_task_region region;
	struct mm_struct *mm;
	bool whole, detached, children;
	u32 size;
	int err;

	err = ks_struct_get(&region, sizeof(region), KSM_TASK_REGION_SIZE_VER0, argp, &size);
	if (err)
		return err;
	if (region.flags & ~KS_TASK_FLAGS || region.reserved)
		return -EINVAL;
	whole = region.flags & KSM_TASK_WHOLE;
	children = region.flags & KSM_TASK_CHILDREN;
	if (whole && (region.addr || region.length))
		return -EINVAL;
	if (children && !whole)
		return -EINVAL;
	if (region.flags & KSM_TASK_JOIN && (!children || cmd == KSM_REMOVE_TASK))
		return -EINVAL;
	if (cmd == KSM_REMOVE_TASK && region.length)
		return -EINVAL;
	if (cmd == KSM_REGISTER_TASK && !whole && !region.length)
		return -EINVAL;
	detached = region.flags & KSM_TASK_DETACHED;
	/* Of a child to come nobody can say who may trace it. */
	if (children && !capable(CAP_SYS_PTRACE))
		return -EPERM;

	mm = ks_task_mem_get(region.mem_fd);
	if (IS_ERR(mm))
		return PTR_ERR(mm);
	if (cmd == KSM_REGISTER_TASK)
		err = ks_region_add(mm, area, detached, ks_task_children(region.flags),
				    region.addr, region.length);
	else
		err = ks_region_remove(mm, detached ? NULL : area, region.addr, whole, children);
	mmput(mm);
	return err;
}

static int ks_area_domain(struct ks_area *area, void __user *argp)
{
	struct ks_given given = {};
	struct ks_domain *domain = &given.domain;
	struct ksm_domain arg;
	u32 size;
	int err;

	err = ks_struct_get(&arg, sizeof(arg), KSM_DOMAIN_SIZE_VER0, argp, &size);
	if (err)
		return err;
	if (arg.flags & ~(KSM_DOMAIN_SYSTEM | KSM_DOMAIN_ZERO_PAGES) || arg.reserved)
		return -EINVAL;

	if (arg.flags & KSM_DOMAIN_SYSTEM) {
		if (!capable(CAP_SYS_ADMIN))
			return -EPERM;
		domain->kind = arg.domain ? KS_DOMAIN_SYSTEM : KS_DOMAIN_COMMON;
		domain->number = arg.domain;
	} else if (arg.domain) {
		domain->kind = KS_DOMAIN_PRIVATE;
		domain->owner = __kuid_val(current_euid());
		domain->number = arg.domain;
	}
	given.zero_pages = arg.flags & KSM_DOMAIN_ZERO_PAGES;
	return ks_area_set_given(area, &given);
}

static long ks_area_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct ks_area *area = file->private_data;
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KSM_REGISTER_MEMORY_REGION:
		return ks_area_register_nov08(area, argp);
	case KSM_REGISTER_MEMORY_REGION_MAR09:
		return ks_area_register_mar09(area, argp);
	case KSM_REMOVE_MEMORY_REGION:
		return ks_area_remove_own(area, arg);
	case KSM_REGISTER_TASK:
	case KSM_REMOVE_TASK:
		return ks_area_task(area, cmd, argp);
	case KSM_SET_DOMAIN:
		return ks_area_domain(area, argp);
	case KSM_AREA_STATISTICS:
		return ks_statistics(area, argp);
	case KSM_AREA_UNMERGE:
		return arg ? -EINVAL : ks_unmerge_area(area);
	default:
		return -ENOTTY;
	}
}

static int ks_area_release(struct inode *inode, struct file *file)
{
	struct ks_area *area = file->private_data;

	ks_area_clear(area);
	kfree(area);
	return 0;
}

static const struct file_operations ks_area_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = ks_area_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = ks_area_release,
	.llseek = noop_llseek,
};

static int ks_area_create(void)
{
	struct ks_area *area = kzalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	int fd;

	if (!area)
		return -ENOMEM;
	INIT_LIST_HEAD(&area->regions);
	fd = anon_inode_getfd("[ksm-area]", &ks_area_fops, area, O_RDWR);
	if (fd < 0)
		kfree(area);
	return fd;
}

static long ks_device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KSM_GET_API_VERSION:
		return KSM_API_VERSION;
	case KSM_CREATE_SHARED_MEMORY_AREA:
		return ks_area_create();
	case KSM_CREATE_SCAN:
		return ks_scan_create();
	case KSM_START_STOP_KTHREAD:
		return ks_kthread_control_nov08(argp);
	case KSM_START_STOP_KTHREAD_RHEL5:
		return ks_kthread_control_rhel5(argp);
	case KSM_START_STOP_KTHREAD_MAR09:
		return ks_kthread_control_mar09(argp);
	case KSM_GET_INFO_KTHREAD:
	case KSM_GET_INFO_KTHREAD_RHEL5:
	case KSM_GET_INFO_KTHREAD_MAR09:
		return ks_kthread_info(cmd, argp);
	case KSM_TASK_STATISTICS:
		return ks_statistics(NULL, argp);
	case KSM_LIST_REGIONS:
		return ks_list_regions(argp);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations ks_device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = ks_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice ks_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ksm",
	.mode = 0660,
	.fops = &ks_device_fops,
	.groups = ks_sysfs_groups,
};

int ks_device_register(void)
{
	return misc_register(&ks_device);
}

void ks_device_unregister(void)
{
	misc_deregister(&ks_device);
}
