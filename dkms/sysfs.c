// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/class/misc/ksm/: tunables and counters.
 *
 * Names and meanings are those of the built-in KSM's /sys/kernel/mm/ksm where
 * it has the same thing. A value that is refused leaves the old one in force.
 */
#include <linux/capability.h>
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/sysfs.h>

#include "engine.h"

static unsigned long ks_metadata_bytes(void)
{
	return ks_sums_bytes() + ks_candidates_bytes() + ks_kpages_bytes() + ks_domains_bytes() +
	       ks_zeros_bytes();
}

static ssize_t run_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", ks_run_get());
}

static ssize_t run_store(struct device *dev, struct device_attribute *attr,
			 const char *buf, size_t count)
{
	unsigned int run;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	err = kstrtouint(buf, 10, &run);
	return err ? -EINVAL : ks_run_set(run) ?: count;
}
static DEVICE_ATTR_RW(run);

static ssize_t pages_to_scan_show(struct device *dev, struct device_attribute *attr,
				  char *buf)
{
	struct ks_pace pace;

	ks_pace_get(&pace);
	return sysfs_emit(buf, "%u\n", pace.pages_to_scan);
}

static ssize_t pages_to_scan_store(struct device *dev, struct device_attribute *attr,
				   const char *buf, size_t count)
{
	unsigned int pages;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (kstrtouint(buf, 10, &pages))
		return -EINVAL;
	return ks_advisor_pages_set(pages) ?: count;
}
static DEVICE_ATTR_RW(pages_to_scan);

static ssize_t sleep_millisecs_show(struct device *dev, struct device_attribute *attr,
				    char *buf)
{
	struct ks_pace pace;

	ks_pace_get(&pace);
	return sysfs_emit(buf, "%llu\n", pace.sleep_us / USEC_PER_MSEC);
}

static ssize_t sleep_millisecs_store(struct device *dev, struct device_attribute *attr,
				     const char *buf, size_t count)
{
	unsigned int ms;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (kstrtouint(buf, 10, &ms))
		return -EINVAL;
	ks_sleep_us_set((u64)ms * USEC_PER_MSEC);
	return count;
}
static DEVICE_ATTR_RW(sleep_millisecs);

static ssize_t adopt_mergeable_show(struct device *dev, struct device_attribute *attr,
				    char *buf)
{
	return sysfs_emit(buf, "%d\n", ks_adopting());
}

static ssize_t adopt_mergeable_store(struct device *dev, struct device_attribute *attr,
				     const char *buf, size_t count)
{
	unsigned int adopt;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (kstrtouint(buf, 10, &adopt) || adopt > 1)
		return -EINVAL;
	ks_adopting_set(adopt);
	return count;
}
static DEVICE_ATTR_RW(adopt_mergeable);

static ssize_t thread_pid_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", ks_thread_pid());
}
static DEVICE_ATTR_RO(thread_pid);

static ssize_t thread_pids_show(struct device *dev, struct device_attribute *attr,
				char *buf)
{
	ssize_t len = sysfs_emit(buf, "%d", ks_thread_pid());

	len += ks_team_pids(buf, len);
	return len + sysfs_emit_at(buf, len, "\n");
}
static DEVICE_ATTR_RO(thread_pids);

#define KS_COUNTER_ATTR(_name)							\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr,	\
			    char *buf)						\
{										\
	return sysfs_emit(buf, "%lu\n", READ_ONCE(ks_counters._name));		\
}										\
static DEVICE_ATTR_RO(_name)

KS_COUNTER_ATTR(full_scans);
KS_COUNTER_ATTR(pages_scanned);
KS_COUNTER_ATTR(pages_unshared);
KS_COUNTER_ATTR(pages_volatile);
KS_COUNTER_ATTR(pages_skipped);
KS_COUNTER_ATTR(pages_unmergeable);

static ssize_t pages_shared_show(struct device *dev, struct device_attribute *attr,
				 char *buf)
{
	unsigned long shared, sharing;

	ks_kpages_count(&shared, &sharing);
	return sysfs_emit(buf, "%lu\n", shared);
}
static DEVICE_ATTR_RO(pages_shared);

static ssize_t pages_sharing_show(struct device *dev, struct device_attribute *attr,
				  char *buf)
{
	unsigned long shared, sharing;

	ks_kpages_count(&shared, &sharing);
	return sysfs_emit(buf, "%lu\n", sharing);
}
static DEVICE_ATTR_RO(pages_sharing);

static ssize_t general_profit_show(struct device *dev, struct device_attribute *attr,
				   char *buf)
{
	unsigned long shared, sharing;
	long profit;

	ks_kpages_count(&shared, &sharing);
	profit = (sharing + ks_zeros_count()) * PAGE_SIZE - ks_metadata_bytes();
	return sysfs_emit(buf, "%ld\n", profit);
}
static DEVICE_ATTR_RO(general_profit);

static ssize_t metadata_bytes_show(struct device *dev, struct device_attribute *attr,
				   char *buf)
{
	return sysfs_emit(buf, "%lu\n", ks_metadata_bytes());
}
static DEVICE_ATTR_RO(metadata_bytes);

static struct attribute *ks_attrs[] = {
	&dev_attr_run.attr,
	&dev_attr_pages_to_scan.attr,
	&dev_attr_sleep_millisecs.attr,
	&dev_attr_adopt_mergeable.attr,
	&dev_attr_thread_pid.attr,
	&dev_attr_thread_pids.attr,
	&dev_attr_full_scans.attr,
	&dev_attr_pages_scanned.attr,
	&dev_attr_pages_shared.attr,
	&dev_attr_pages_sharing.attr,
	&dev_attr_pages_unshared.attr,
	&dev_attr_pages_volatile.attr,
	&dev_attr_pages_skipped.attr,
	&dev_attr_pages_unmergeable.attr,
	&dev_attr_general_profit.attr,
	&dev_attr_metadata_bytes.attr,
	NULL
};

static const struct attribute_group ks_attr_group = {
	.attrs = ks_attrs,
};

const struct attribute_group *ks_sysfs_groups[] = {
	&ks_attr_group,
	&ks_sharing_group,
	&ks_policy_attr_group,
	&ks_exclude_attr_group,
	NULL
};
