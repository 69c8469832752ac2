// SPDX-License-Identifier: GPL-2.0-only
/*
 * What administrators want of the scan beyond its pace: parameters at load, and
 * the same names in sysfs afterwards.
 *
 * Of several words one is in force, in brackets as elsewhere in sysfs.
 */
#include <linux/capability.h>
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "engine.h"

static const char * const ks_thp_modes[] = {
	[KS_THP_NEVER] = "never",
	[KS_THP_SHARE] = "share",
	[KS_THP_ALWAYS] = "always",
};

static const char * const ks_advisor_modes[] = {
	[KS_ADVISOR_NONE] = "none",
	[KS_ADVISOR_SCAN_TIME] = "scan-time",
};

struct ks_policy ks_policy;

static char *thp_mode = "share";
module_param(thp_mode, charp, 0);
MODULE_PARM_DESC(thp_mode, "split huge pages: never, share, always (default share)");

static unsigned int thp_split_share = 12;
module_param(thp_split_share, uint, 0);
MODULE_PARM_DESC(thp_split_share,
		 "thp_mode=share: least percentage of a huge page that merges (default 12)");

static unsigned int smart_scan = 1;
module_param(smart_scan, uint, 0);
MODULE_PARM_DESC(smart_scan, "1: read pages that long had no partner more seldom (default 1)");

static unsigned int scan_all;
module_param(scan_all, uint, 0);
MODULE_PARM_DESC(scan_all, "1: merge the memory of all processes (default 0)");

static unsigned int scan_all_min_uid;
module_param(scan_all_min_uid, uint, 0);
MODULE_PARM_DESC(scan_all_min_uid, "scan_all=1: not of users below (default 0)");

static unsigned int scan_all_protected;
module_param(scan_all_protected, uint, 0);
MODULE_PARM_DESC(scan_all_protected,
		 "scan_all=1: 1: also what is locked or kept out of core dumps (default 0)");

static char *advisor_mode = "none";
module_param(advisor_mode, charp, 0);
MODULE_PARM_DESC(advisor_mode, "who sets pages_to_scan: none, scan-time (default none)");

static unsigned int advisor_target_scan_time = 200;
module_param(advisor_target_scan_time, uint, 0);
MODULE_PARM_DESC(advisor_target_scan_time,
		 "advisor: seconds that a pass shall take, at least 1 (default 200)");

static unsigned int advisor_max_cpu = 70;
module_param(advisor_max_cpu, uint, 0);
MODULE_PARM_DESC(advisor_max_cpu,
		 "advisor: most CPU that the thread may use, in percent (default 70)");

static unsigned int advisor_min_pages_to_scan = 500;
module_param(advisor_min_pages_to_scan, uint, 0);
MODULE_PARM_DESC(advisor_min_pages_to_scan,
		 "advisor: least pages_to_scan, and where it starts (default 500)");

static unsigned int advisor_max_pages_to_scan = 30000;
module_param(advisor_max_pages_to_scan, uint, 0);
MODULE_PARM_DESC(advisor_max_pages_to_scan,
		 "advisor: most pages_to_scan (default 30000)");

static unsigned int scan_threads = 1;
module_param(scan_threads, uint, 0);
MODULE_PARM_DESC(scan_threads, "threads that share a scan, 1 to 64 (default 1)");

/* The place of @text in @words, -EINVAL when it is none of them. */
static int ks_choice_find(const char * const *words, unsigned int nr, const char *text)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (sysfs_streq(text, words[i]))
			return i;
	return -EINVAL;
}

static int ks_choice_parse(const char * const *words, unsigned int nr, const char *buf)
{
	return capable(CAP_SYS_ADMIN) ? ks_choice_find(words, nr, buf) : -EPERM;
}

static ssize_t ks_choice_show(const char * const *words, unsigned int nr,
			      unsigned int in_force, char *buf)
{
	ssize_t len = 0;
	unsigned int i;

	for (i = 0; i < nr; i++)
		len += sysfs_emit_at(buf, len, i == in_force ? "%s[%s]" : "%s%s",
				     i ? " " : "", words[i]);
	return len + sysfs_emit_at(buf, len, "\n");
}

static int ks_number_parse(const char *buf, unsigned int low, unsigned int high,
			   unsigned int *value)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (kstrtouint(buf, 10, value) || *value < low || *value > high)
		return -EINVAL;
	return 0;
}

#define KS_NUMBER_ATTR(_name, _low, _high)					\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr,	\
			    char *buf)						\
{										\
	return sysfs_emit(buf, "%u\n", READ_ONCE(ks_policy._name));		\
}										\
										\
static ssize_t _name##_store(struct device *dev, struct device_attribute *attr,	\
			     const char *buf, size_t count)			\
{										\
	unsigned int value;							\
	int err = ks_number_parse(buf, _low, _high, &value);			\
										\
	if (err)								\
		return err;							\
	WRITE_ONCE(ks_policy._name, value);					\
	return count;								\
}										\
static DEVICE_ATTR_RW(_name)

KS_NUMBER_ATTR(thp_split_share, 1, 100);
KS_NUMBER_ATTR(smart_scan, 0, 1);
KS_NUMBER_ATTR(scan_all_min_uid, 0, UINT_MAX);
KS_NUMBER_ATTR(scan_all_protected, 0, 1);
KS_NUMBER_ATTR(advisor_target_scan_time, 1, UINT_MAX);
KS_NUMBER_ATTR(advisor_max_cpu, 0, UINT_MAX);
KS_NUMBER_ATTR(advisor_min_pages_to_scan, 0, UINT_MAX);
KS_NUMBER_ATTR(advisor_max_pages_to_scan, 0, UINT_MAX);
KS_NUMBER_ATTR(scan_threads, 1, KS_THREADS_MAX);

static ssize_t scan_all_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ks_policy.scan_all));
}

static ssize_t scan_all_store(struct device *dev, struct device_attribute *attr,
			      const char *buf, size_t count)
{
	unsigned int all;
	int err = ks_number_parse(buf, 0, 1, &all);

	if (err)
		return err;
	ks_scan_all_set(all);
	return count;
}
static DEVICE_ATTR_RW(scan_all);

static ssize_t thp_mode_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return ks_choice_show(ks_thp_modes, ARRAY_SIZE(ks_thp_modes),
			      READ_ONCE(ks_policy.thp_mode), buf);
}

static ssize_t thp_mode_store(struct device *dev, struct device_attribute *attr,
			      const char *buf, size_t count)
{
	int mode = ks_choice_parse(ks_thp_modes, ARRAY_SIZE(ks_thp_modes), buf);

	if (mode < 0)
		return mode;
	WRITE_ONCE(ks_policy.thp_mode, mode);
	return count;
}
static DEVICE_ATTR_RW(thp_mode);

static ssize_t advisor_mode_show(struct device *dev, struct device_attribute *attr,
				 char *buf)
{
	return ks_choice_show(ks_advisor_modes, ARRAY_SIZE(ks_advisor_modes),
			      READ_ONCE(ks_policy.advisor_mode), buf);
}

static ssize_t advisor_mode_store(struct device *dev, struct device_attribute *attr,
				  const char *buf, size_t count)
{
	int mode = ks_choice_parse(ks_advisor_modes, ARRAY_SIZE(ks_advisor_modes), buf);

	if (mode < 0)
		return mode;
	ks_advisor_mode_set(mode);
	return count;
}
static DEVICE_ATTR_RW(advisor_mode);

static struct attribute *ks_policy_attrs[] = {
	&dev_attr_thp_mode.attr,
	&dev_attr_thp_split_share.attr,
	&dev_attr_smart_scan.attr,
	&dev_attr_scan_all.attr,
	&dev_attr_scan_all_min_uid.attr,
	&dev_attr_scan_all_protected.attr,
	&dev_attr_advisor_mode.attr,
	&dev_attr_advisor_target_scan_time.attr,
	&dev_attr_advisor_max_cpu.attr,
	&dev_attr_advisor_min_pages_to_scan.attr,
	&dev_attr_advisor_max_pages_to_scan.attr,
	&dev_attr_scan_threads.attr,
	NULL
};

const struct attribute_group ks_policy_attr_group = {
	.attrs = ks_policy_attrs,
};

/**
 * ks_policy_init - check and take over the parameters
 *
 * Return: 0, or -EINVAL: one is out of range
 */
int __init ks_policy_init(void)
{
	int mode = ks_choice_find(ks_thp_modes, ARRAY_SIZE(ks_thp_modes), thp_mode);

	if (mode < 0)
		pr_err("thp_mode=%s: never, share or always\n", thp_mode);
	else if (thp_split_share < 1 || thp_split_share > 100)
		pr_err("thp_split_share=%u: 1 to 100\n", thp_split_share);
	else if (smart_scan > 1)
		pr_err("smart_scan=%u: 0 or 1\n", smart_scan);
	else if (scan_all > 1)
		pr_err("scan_all=%u: 0 or 1\n", scan_all);
	else if (scan_all_protected > 1)
		pr_err("scan_all_protected=%u: 0 or 1\n", scan_all_protected);
	else if (ks_choice_find(ks_advisor_modes, ARRAY_SIZE(ks_advisor_modes),
				advisor_mode) < 0)
		pr_err("advisor_mode=%s: none or scan-time\n", advisor_mode);
	else if (!advisor_target_scan_time)
		pr_err("advisor_target_scan_time=0: at least 1\n");
	else if (!scan_threads || scan_threads > KS_THREADS_MAX)
		pr_err("scan_threads=%u: 1 to %u\n", scan_threads, KS_THREADS_MAX);
	else
		goto good;
	return -EINVAL;

good:
	ks_policy.thp_mode = mode;
	ks_policy.thp_split_share = thp_split_share;
	ks_policy.smart_scan = smart_scan;
	ks_policy.scan_all = scan_all;
	ks_policy.scan_all_min_uid = scan_all_min_uid;
	ks_policy.scan_all_protected = scan_all_protected;
	ks_policy.advisor_target_scan_time = advisor_target_scan_time;
	ks_policy.advisor_max_cpu = advisor_max_cpu;
	ks_policy.advisor_min_pages_to_scan = advisor_min_pages_to_scan;
	ks_policy.advisor_max_pages_to_scan = advisor_max_pages_to_scan;
	ks_policy.scan_threads = scan_threads;
	return 0;
}

/* What must come after the thread and its pace are there. */
void __init ks_policy_start(void)
{
	ks_advisor_mode_set(ks_choice_find(ks_advisor_modes, ARRAY_SIZE(ks_advisor_modes),
					   advisor_mode));
}
