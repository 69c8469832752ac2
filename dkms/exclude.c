// SPDX-License-Identifier: GPL-2.0-only
/*
 * scan_all_exclude_uids: users whose processes scan_all leaves out.
 *
 * A list of users and ranges of them, as the initial user namespace counts:
 *
 *   33,1000-1999        www-data, and the users from 1000 to 1999
 *
 * It is shown as it was written, but for leading zeros and ranges of one user;
 * ranges may overlap. A list with an error anywhere is refused as a whole, since
 * half a list of exclusions takes in who was to be left out.
 */
#include <linux/capability.h>
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "engine.h"

/* All of them, at their longest, are shown in one page. */
#define KS_UID_RANGES_MAX	64U

struct ks_uid_range {
	u32 first;
	u32 last;
};

struct ks_uid_ranges {
	unsigned int nr;
	struct ks_uid_range range[KS_UID_RANGES_MAX];
};

/* Protected by ks_lock; set before there is anything to protect, too. */
static struct ks_uid_ranges ks_excluded;

static int ks_uid_range_parse(char *text, struct ks_uid_range *range)
{
	char *first = strsep(&text, "-");

	/* What is left of "1000-1999" is the last one; of "33" it is nothing. */
	if (kstrtou32(first, 10, &range->first) ||
	    kstrtou32(text ?: first, 10, &range->last) || range->first > range->last)
		return -EINVAL;
	return 0;
}

/* Of digits, commas and dashes only: kstrtou32() would let more pass. */
static int ks_uid_ranges_parse(char *text, struct ks_uid_ranges *list)
{
	char *word;

	list->nr = 0;
	if (!*text)
		return 0;
	if (text[strspn(text, "0123456789,-")])
		return -EINVAL;
	while ((word = strsep(&text, ","))) {
		if (list->nr == KS_UID_RANGES_MAX ||
		    ks_uid_range_parse(word, &list->range[list->nr]))
			return -EINVAL;
		list->nr++;
	}
	return 0;
}

/* Context: process context, takes ks_lock. Return: 0, -EINVAL, -ENOMEM */
static int ks_uid_ranges_set(const char *text)
{
	struct ks_uid_ranges *list;
	size_t length = strlen(text);
	char *copy;
	int err = -ENOMEM;

	/* As echo writes it. */
	if (length && text[length - 1] == '\n')
		length--;
	list = kmalloc(sizeof(*list), GFP_KERNEL);
	copy = kmemdup_nul(text, length, GFP_KERNEL);
	if (list && copy)
		err = ks_uid_ranges_parse(copy, list);
	if (!err) {
		down_write(&ks_lock);
		ks_excluded = *list;
		up_write(&ks_lock);
	}
	kfree(copy);
	kfree(list);
	return err;
}

/**
 * ks_uid_excluded - is a user's memory to be left out?
 * @uid: the user
 *
 * Context: ks_lock held.
 */
bool ks_uid_excluded(kuid_t uid)
{
	u32 value = __kuid_val(uid);
	unsigned int i;

	lockdep_assert_held(&ks_lock);
	for (i = 0; i < ks_excluded.nr; i++)
		if (value >= ks_excluded.range[i].first && value <= ks_excluded.range[i].last)
			return true;
	return false;
}

/* Not a charp, which must not be as long as a list may be. */
static int ks_exclude_param_set(const char *text, const struct kernel_param *param)
{
	return ks_uid_ranges_set(text);
}

static const struct kernel_param_ops ks_exclude_param_ops = {
	.set = ks_exclude_param_set,
};

module_param_cb(scan_all_exclude_uids, &ks_exclude_param_ops, NULL, 0);
MODULE_PARM_DESC(scan_all_exclude_uids,
		 "scan_all=1: not of these users, such as 33,1000-1999 (default none)");

static ssize_t scan_all_exclude_uids_show(struct device *dev,
					  struct device_attribute *attr, char *buf)
{
	unsigned int i;
	ssize_t len = 0;

	down_write(&ks_lock);
	for (i = 0; i < ks_excluded.nr; i++) {
		const struct ks_uid_range *r = &ks_excluded.range[i];

		len += sysfs_emit_at(buf, len, i ? ",%u" : "%u", r->first);
		if (r->last != r->first)
			len += sysfs_emit_at(buf, len, "-%u", r->last);
	}
	up_write(&ks_lock);
	return len + sysfs_emit_at(buf, len, "\n");
}

static ssize_t scan_all_exclude_uids_store(struct device *dev,
					   struct device_attribute *attr,
					   const char *buf, size_t count)
{
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	/* What stands behind a NUL would be lost. */
	if (strlen(buf) != count)
		return -EINVAL;
	err = ks_uid_ranges_set(buf);
	return err ?: count;
}
static DEVICE_ATTR_RW(scan_all_exclude_uids);

static struct attribute *ks_exclude_attrs[] = {
	&dev_attr_scan_all_exclude_uids.attr,
	NULL
};

const struct attribute_group ks_exclude_attr_group = {
	.attrs = ks_exclude_attrs,
};
