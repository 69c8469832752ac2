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

static struct attribute *ks_sharing_attrs[] = {
	&dev_attr_domain_mode.attr,
	&dev_attr_use_zero_pages.attr,
	&dev_attr_ksm_zero_pages.attr,
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
	ks_use_zero_pages_set(use_zero_pages);
	return 0;
}
