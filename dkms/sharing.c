// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tunables of sharing, as module parameters and in /sys/class/misc/ksm/: what
 * may merge with what, and how often a page may be shared.
 *
 * Those that say which pages belong together cannot change while pages are
 * merged: what is merged would no longer be what the tunable says.
 */
#include <linux/capability.h>
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "engine.h"

static const char * const ks_domain_modes[] = {
	[KS_DOMAIN_MODE_GLOBAL] = "global",
	[KS_DOMAIN_MODE_USER] = "user",
	[KS_DOMAIN_MODE_CGROUP] = "cgroup",
	[KS_DOMAIN_MODE_PROCESS] = "process",
};

static char *domain_mode = "global";
module_param(domain_mode, charp, 0);
MODULE_PARM_DESC(domain_mode, "merge within: global, user, cgroup or process (default global)");

static ssize_t domain_mode_show(struct device *dev, struct device_attribute *attr,
				char *buf)
{
	return sysfs_emit(buf, "%s\n", ks_domain_modes[ks_domain_mode_get()]);
}

static ssize_t domain_mode_store(struct device *dev, struct device_attribute *attr,
				 const char *buf, size_t count)
{
	int mode;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	mode = sysfs_match_string(ks_domain_modes, buf);
	return mode < 0 ? mode : ks_domain_mode_set(mode) ?: count;
}
static DEVICE_ATTR_RW(domain_mode);

static unsigned int use_zero_pages;
module_param(use_zero_pages, uint, 0);
MODULE_PARM_DESC(use_zero_pages, "1: empty pages become the kernel's zero page (default 0)");

static ssize_t use_zero_pages_show(struct device *dev, struct device_attribute *attr,
				   char *buf)
{
	return sysfs_emit(buf, "%d\n", ks_use_zero_pages_get());
}

static ssize_t use_zero_pages_store(struct device *dev, struct device_attribute *attr,
				    const char *buf, size_t count)
{
	unsigned int use;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (kstrtouint(buf, 10, &use) || use > 1)
		return -EINVAL;
	ks_use_zero_pages_set(use);
	return count;
}
static DEVICE_ATTR_RW(use_zero_pages);

static ssize_t ksm_zero_pages_show(struct device *dev, struct device_attribute *attr,
				   char *buf)
{
	return sysfs_emit(buf, "%lu\n", ks_zeros_count());
}
static DEVICE_ATTR_RO(ksm_zero_pages);

/* Most of them are plain numbers, and set by a function that may refuse. */
#define KS_LIMIT_ATTR(_name, _field, _set)					\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr,	\
			    char *buf)						\
{										\
	return sysfs_emit(buf, "%u\n", READ_ONCE(ks_limits._field));		\
}										\
static ssize_t _name##_store(struct device *dev, struct device_attribute *attr,	\
			     const char *buf, size_t count)			\
{										\
	unsigned int value;							\
										\
	if (!capable(CAP_SYS_ADMIN))						\
		return -EPERM;							\
	if (kstrtouint(buf, 10, &value))					\
		return -EINVAL;							\
	return _set(value) ?: count;						\
}										\
static DEVICE_ATTR_RW(_name)

static int ks_max_kernel_pages_set(unsigned int max)
{
	down_write(&ks_lock);
	WRITE_ONCE(ks_limits.max_kernel_pages, max);
	up_write(&ks_lock);
	return 0;
}

static int ks_max_page_sharing_set(unsigned int max)
{
	int err = 0;

	if (max < 2 || max > INT_MAX)
		return -EINVAL;
	down_write(&ks_lock);
	if (max != ks_limits.max_page_sharing) {
		if (ks_kpages_in_use())
			err = -EBUSY;
		else
			WRITE_ONCE(ks_limits.max_page_sharing, max);
	}
	up_write(&ks_lock);
	return err;
}

static int ks_merge_across_nodes_set(unsigned int across)
{
	int err = 0;

	if (across > 1)
		return -EINVAL;
	down_write(&ks_lock);
	if (across != ks_limits.merge_across_nodes) {
		if (ks_kpages_in_use())
			err = -EBUSY;
		else
			WRITE_ONCE(ks_limits.merge_across_nodes, across);
	}
	up_write(&ks_lock);
	return err;
}

static int ks_prune_millisecs_set(unsigned int ms)
{
	down_write(&ks_lock);
	WRITE_ONCE(ks_limits.prune_millisecs, ms);
	up_write(&ks_lock);
	return 0;
}

static unsigned int max_kernel_pages;
module_param(max_kernel_pages, uint, 0);
MODULE_PARM_DESC(max_kernel_pages, "most merged pages, 0: no limit (default 0)");
KS_LIMIT_ATTR(max_kernel_pages, max_kernel_pages, ks_max_kernel_pages_set);

static unsigned int max_page_sharing = KS_PAGE_SHARING_DEFAULT;
module_param(max_page_sharing, uint, 0);
MODULE_PARM_DESC(max_page_sharing, "most mappings of a merged page, at least 2 (default 256)");
KS_LIMIT_ATTR(max_page_sharing, max_page_sharing, ks_max_page_sharing_set);

static unsigned int merge_across_nodes = 1;
module_param(merge_across_nodes, uint, 0);
MODULE_PARM_DESC(merge_across_nodes, "0: merge within NUMA nodes only (default 1)");
KS_LIMIT_ATTR(merge_across_nodes, merge_across_nodes, ks_merge_across_nodes_set);

static unsigned int stable_node_chains_prune_millisecs = 2000;
module_param(stable_node_chains_prune_millisecs, uint, 0);
MODULE_PARM_DESC(stable_node_chains_prune_millisecs,
		 "pause between two searches for duplicates with room (default 2000)");
KS_LIMIT_ATTR(stable_node_chains_prune_millisecs, prune_millisecs, ks_prune_millisecs_set);

static ssize_t stable_node_chains_show(struct device *dev, struct device_attribute *attr,
				       char *buf)
{
	unsigned long chains, dups;

	ks_kpages_count_chains(&chains, &dups);
	return sysfs_emit(buf, "%lu\n", chains);
}
static DEVICE_ATTR_RO(stable_node_chains);

static ssize_t stable_node_dups_show(struct device *dev, struct device_attribute *attr,
				     char *buf)
{
	unsigned long chains, dups;

	ks_kpages_count_chains(&chains, &dups);
	return sysfs_emit(buf, "%lu\n", dups);
}
static DEVICE_ATTR_RO(stable_node_dups);

static struct attribute *ks_sharing_attrs[] = {
	&dev_attr_domain_mode.attr,
	&dev_attr_use_zero_pages.attr,
	&dev_attr_ksm_zero_pages.attr,
	&dev_attr_max_kernel_pages.attr,
	&dev_attr_max_page_sharing.attr,
	&dev_attr_merge_across_nodes.attr,
	&dev_attr_stable_node_chains_prune_millisecs.attr,
	&dev_attr_stable_node_chains.attr,
	&dev_attr_stable_node_dups.attr,
	NULL
};

const struct attribute_group ks_sharing_group = {
	.attrs = ks_sharing_attrs,
};

/**
 * ks_sharing_init - take over the module parameters
 *
 * Context: module load, nothing else runs.
 * Return: 0, or -EINVAL or -EOPNOTSUPP for a value that cannot be taken
 */
int ks_sharing_init(void)
{
	int mode = sysfs_match_string(ks_domain_modes, domain_mode);
	int err;

	err = mode < 0 ? mode : ks_domain_mode_set(mode);
	if (err) {
		pr_err("domain_mode=%s: global, user, cgroup or process\n", domain_mode);
		return err;
	}
	if (use_zero_pages > 1) {
		pr_err("use_zero_pages=%u: 0 or 1\n", use_zero_pages);
		return -EINVAL;
	}
	if (ks_max_page_sharing_set(max_page_sharing)) {
		pr_err("max_page_sharing=%u: 2 to %d\n", max_page_sharing, INT_MAX);
		return -EINVAL;
	}
	if (ks_merge_across_nodes_set(merge_across_nodes)) {
		pr_err("merge_across_nodes=%u: 0 or 1\n", merge_across_nodes);
		return -EINVAL;
	}
	ks_max_kernel_pages_set(max_kernel_pages);
	ks_prune_millisecs_set(stable_node_chains_prune_millisecs);
	ks_use_zero_pages_set(use_zero_pages);
	return 0;
}
