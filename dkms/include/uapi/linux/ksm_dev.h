/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/ksm: user interface of the samepage merging driver.
 *
 * The driver merges pages of equal content in private anonymous memory. What
 * may be merged is said with an *area*, a file descriptor to which regions of
 * memory are added. A region ends when it is removed, when its area's last
 * descriptor is closed or when its address space ends, whichever is first.
 * Pages that were merged stay merged, and are copied when written, whatever
 * becomes of the area, the region or the driver.
 *
 * Every command answers 0 (or a descriptor, or a version) or a negative errno.
 * Common to all: ENOTTY for an unknown command or a layout of unknown size,
 * EFAULT for an argument that cannot be read or written.
 *
 * Rights: who may open /dev/ksm may register memory. The kernel thread is
 * administered, and what others registered is listed, by CAP_SYS_ADMIN in the
 * initial user namespace.
 */
#ifndef _UAPI_LINUX_KSM_DEV_H
#define _UAPI_LINUX_KSM_DEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KSMIO 0xAB

#define KSM_API_VERSION 1

/**
 * struct ksm_memory_region - region of the caller's own memory
 * @npages: length in pages, at least 1
 * @pad:    ignored: clients of 2008 pass what was on their stack
 * @addr:   start, a multiple of the page size
 */
struct ksm_memory_region {
	__u32 npages;
	__u32 pad;
	__u64 addr;
};

/**
 * struct ksm_memory_region_mar09 - the same in the layout of March 2009
 * @npages:        length in pages, at least 1
 * @pad:           ignored
 * @addr:          start, a multiple of the page size
 * @reserved_bits: zero
 */
struct ksm_memory_region_mar09 {
	__u32 npages;
	__u32 pad;
	__u64 addr;
	__u64 reserved_bits;
};

/* ksm_kthread_info.flags and .running */
#define ksm_control_flags_run	0x1

/**
 * struct ksm_kthread_info - the kernel thread, layout of November 2008
 * @sleep:              pause between two scans, microseconds
 * @pages_to_scan:      pages looked at in one scan, at least 1
 * @max_pages_to_merge: most pages merged in one scan, 0: no limit
 * @running:            1: the thread scans, 0: it is stopped
 */
struct ksm_kthread_info {
	__u32 sleep;
	__u32 pages_to_scan;
	__u32 max_pages_to_merge;
	__u32 running;
};

/**
 * struct ksm_kthread_info_rhel5 - the same in the layout of RHEL 5
 * @sleep:         pause between two scans, microseconds
 * @pages_to_scan: pages looked at in one scan, at least 1
 * @flags:         ksm_control_flags_run or 0
 */
struct ksm_kthread_info_rhel5 {
	__u32 sleep;
	__u32 pages_to_scan;
	__u32 flags;
};

/**
 * struct ksm_kthread_info_mar09 - the same in the layout of March 2009
 * @sleep:         pause between two scans, microseconds
 * @pages_to_scan: pages looked at in one scan, at least 1
 * @flags:         ksm_control_flags_run or 0
 * @pad:           ignored
 * @reserved_bits: zero
 */
struct ksm_kthread_info_mar09 {
	__u32 sleep;
	__u32 pages_to_scan;
	__u32 flags;
	__u32 pad;
	__u64 reserved_bits;
};

/**
 * struct ksm_user_scan - one scan by the caller
 * @pages_to_scan:      pages to look at, at least 1
 * @max_pages_to_merge: most pages to merge, 0: no limit
 *
 * Later headers called the second field flags. No driver that had those ever
 * scanned, so it is taken for what it was at first.
 */
struct ksm_user_scan {
	__u32 pages_to_scan;
	__u32 max_pages_to_merge;
};

/* Commands of /dev/ksm. */

/*
 * KSM_GET_API_VERSION - answers KSM_API_VERSION.
 */
#define KSM_GET_API_VERSION		_IO(KSMIO, 0x00)

/*
 * KSM_CREATE_SHARED_MEMORY_AREA - answers the descriptor of a new, empty area.
 *
 * ENOMEM, EMFILE, ENFILE: no memory or no descriptor left.
 */
#define KSM_CREATE_SHARED_MEMORY_AREA	_IO(KSMIO, 0x01)

/*
 * KSM_CREATE_SCAN - answers a descriptor for KSM_SCAN.
 *
 * EPERM: the caller lacks CAP_SYS_ADMIN. ENOMEM, EMFILE, ENFILE.
 */
#define KSM_CREATE_SCAN			_IO(KSMIO, 0x02)

/*
 * KSM_START_STOP_KTHREAD - set the pace of the kernel thread, start or stop it.
 *
 * After a stop nothing is merged any more when the command returns.
 * EPERM: the caller lacks CAP_SYS_ADMIN. EINVAL: pages_to_scan is 0, an unknown
 * flag or a reserved field is set, or running is neither 0 nor 1. On an error
 * nothing is changed, but for EINTR: a signal was handled while the run state was being
 * changed by somebody else; the pace is set.
 *
 * The struct's size tells the three historic layouts apart.
 */
#define KSM_START_STOP_KTHREAD		_IOW(KSMIO, 0x03, struct ksm_kthread_info)
#define KSM_START_STOP_KTHREAD_RHEL5	_IOW(KSMIO, 0x03, struct ksm_kthread_info_rhel5)
#define KSM_START_STOP_KTHREAD_MAR09	_IOW(KSMIO, 0x02, struct ksm_kthread_info_mar09)

/*
 * KSM_GET_INFO_KTHREAD - read what KSM_START_STOP_KTHREAD sets.
 *
 * Writes to the caller's struct, though _IOW says otherwise since 2008. A pause
 * of more than 2^32-1 microseconds (set in sysfs) reads as 2^32-1.
 */
#define KSM_GET_INFO_KTHREAD		_IOW(KSMIO, 0x04, struct ksm_kthread_info)
#define KSM_GET_INFO_KTHREAD_RHEL5	_IOW(KSMIO, 0x04, struct ksm_kthread_info_rhel5)
#define KSM_GET_INFO_KTHREAD_MAR09	_IOW(KSMIO, 0x03, struct ksm_kthread_info_mar09)

/* The command of a scan descriptor. */

/*
 * KSM_SCAN - scan, whether or not the kernel thread is to run.
 *
 * Looks at the next pages of all registered memory, whoever registered it, in
 * the caller's context, from where the last scan ended, the thread's or another
 * caller's. Ends early at the end of a pass, and when merging is stopped.
 * Two passes over unchanged memory merge all that can merge, and three where
 * pages differ in a few bytes only, several threads scan, or smart_scan leaves
 * pages unread.
 * EPERM: the caller lacks CAP_SYS_ADMIN, whoever made the descriptor. EINVAL:
 * pages_to_scan is 0. EAGAIN: no memory is registered. EBUSY: memory is being
 * unmerged, or was (run is 2). EINTR: a signal was handled; less was scanned.
 */
#define KSM_SCAN			_IOW(KSMIO, 0x40, struct ksm_user_scan)

/* Commands of an area. */

/*
 * KSM_REGISTER_MEMORY_REGION - let a region of the caller's memory be merged.
 *
 * A region is a range of addresses: memory mapped there later is in it too.
 * EINVAL: zero pages, an address that is not a multiple of the page size, a
 * range that wraps or leaves user space, a reserved field that is not zero.
 * EEXIST: it overlaps a region of the same address space, in whatever area.
 * ENOSPC: the user has too many regions. ENOMEM.
 */
#define KSM_REGISTER_MEMORY_REGION	_IOW(KSMIO, 0x20, struct ksm_memory_region)
#define KSM_REGISTER_MEMORY_REGION_MAR09 _IOW(KSMIO, 0x20, struct ksm_memory_region_mar09)

/*
 * KSM_REMOVE_MEMORY_REGION - remove a region of the area.
 *
 * The argument is the region's start address in the caller's address space, or
 * 0 to remove every region of the area. Nothing of a removed region is scanned
 * or merged any more when the command returns; what was merged stays merged.
 * ENOENT: no region of this area starts at that address.
 */
#define KSM_REMOVE_MEMORY_REGION	_IO(KSMIO, 0x21)

/*
 * Commands with a struct that may grow: the caller stores sizeof(struct) in
 * .size. A smaller size than the driver's is taken as if followed by zeros, a
 * larger one is E2BIG unless what the driver does not know is zero. EINVAL:
 * .size is less than KSM_TASK_REGION_SIZE_VER0, an unknown flag or a reserved
 * field is set.
 */

/* The whole address space, with what is mapped later; .addr and .length are 0. */
#define KSM_TASK_WHOLE		0x1
/* The region outlives the area: it ends with the address space or by removal. */
#define KSM_TASK_DETACHED	0x2
/*
 * The task's children and theirs too; with KSM_TASK_WHOLE. Takes CAP_SYS_PTRACE
 * in the initial user namespace.
 *
 * A pass over memory begins by asking every process for its parents, and
 * registers those that descend from the task as if by this command: what they
 * map later and their children included, in the same area or detached, until
 * they end. After execve() a child is registered anew. Not found is a process
 * all of whose parents below the task ended before a pass began (a daemon's
 * double fork). A child that has a region already is left as it is.
 */
#define KSM_TASK_CHILDREN	0x4
/*
 * With KSM_TASK_CHILDREN: one family with the tasks that were registered by this
 * area with this flag before. To register again the members of a family, of whom
 * some descend from no other any more.
 */
#define KSM_TASK_JOIN		0x8

/**
 * struct ksm_task_region - region of any task's memory
 * @size:     sizeof(struct ksm_task_region)
 * @flags:    KSM_TASK_*
 * @mem_fd:   open descriptor of the task's /proc/PID/mem
 * @reserved: zero
 * @addr:     start, a multiple of the page size
 * @length:   length in bytes, a multiple of the page size, at least one page
 */
struct ksm_task_region {
	__u32 size;
	__u32 flags;
	__s32 mem_fd;
	__u32 reserved;
	__u64 addr;
	__u64 length;
};

#define KSM_TASK_REGION_SIZE_VER0	32

/*
 * KSM_REGISTER_TASK - let memory of the task behind @mem_fd be merged.
 *
 * The descriptor is the right: the kernel checked ptrace and LSM access when it
 * was opened, and it names one address space for ever. After the task called
 * execve() or ended the command answers ESRCH.
 * Otherwise as KSM_REGISTER_MEMORY_REGION, and EBADF: @mem_fd is not open;
 * EINVAL: it is not a /proc/PID/mem, KSM_TASK_CHILDREN without KSM_TASK_WHOLE, or
 * KSM_TASK_JOIN without KSM_TASK_CHILDREN;
 * EOPNOTSUPP: the driver could not learn at load time how this kernel's
 * /proc/PID/mem looks; EPERM: KSM_TASK_CHILDREN without CAP_SYS_PTRACE.
 */
#define KSM_REGISTER_TASK		_IO(KSMIO, 0x60)

/*
 * KSM_REMOVE_TASK - remove regions of the task behind @mem_fd.
 *
 * Removes the region that starts at @addr, or with KSM_TASK_WHOLE every region
 * of the task: those of this area, and with KSM_TASK_DETACHED the detached ones
 * instead, whoever registered them. @length is 0. With KSM_TASK_CHILDREN those
 * go too that this one brought with it, or that came with it. KSM_TASK_JOIN is EINVAL.
 * ENOENT: there was none. Otherwise as KSM_REGISTER_TASK.
 */
#define KSM_REMOVE_TASK			_IO(KSMIO, 0x61)

/* The number is the whole system's, not one of the caller's own user. */
#define KSM_DOMAIN_SYSTEM	0x1
/*
 * With the driver's use_zero_pages empty pages become the kernel's zero page,
 * which every domain shares; without this flag those of the common domain only.
 */
#define KSM_DOMAIN_ZERO_PAGES	0x2

/**
 * struct ksm_domain - what the regions of an area may merge with
 * @size:     sizeof(struct ksm_domain)
 * @flags:    KSM_DOMAIN_*
 * @domain:   the number, 0: see KSM_SET_DOMAIN
 * @reserved: zero
 */
struct ksm_domain {
	__u32 size;
	__u32 flags;
	__u64 domain;
	__u64 reserved;
};

#define KSM_DOMAIN_SIZE_VER0	24

/*
 * KSM_SET_DOMAIN - put the area in a merge domain.
 *
 * A page merges only with pages of its own domain, and nobody can find out by
 * the time of a write whether another domain has a page. The number goes to
 * every region that is added to the area later, detached ones included. Numbers
 * are private to the caller's effective user: to choose another user's is of no
 * use. With KSM_DOMAIN_SYSTEM the number means the same for every user. Whoever
 * is handed the area's descriptor registers in its domain.
 *
 * The number 0 stands for none: where the region is merged is then decided by
 * the driver's domain_mode. With KSM_DOMAIN_SYSTEM it is the common domain,
 * that of all memory while domain_mode is global.
 *
 * Pages that were merged before they were registered by this area, or by the
 * parent before a fork(), stay merged where they were until they are written.
 *
 * EBUSY: the area has regions, whose pages may have been merged already.
 * EPERM: KSM_DOMAIN_SYSTEM, and the caller lacks CAP_SYS_ADMIN. E2BIG and EINVAL
 * as for KSM_REGISTER_TASK.
 */
#define KSM_SET_DOMAIN			_IO(KSMIO, 0x62)

/**
 * struct ksm_statistics - what merging does for an area or a task
 * @size:           in: sizeof(struct ksm_statistics); out: how much was filled in
 * @flags:          zero
 * @mem_fd:         of KSM_TASK_STATISTICS: open descriptor of the task's
 *                  /proc/PID/mem; else zero
 * @reserved:       zero
 * @address_spaces: out: how many address spaces are looked at
 * @regions:        out: regions of the area, or of the task in all areas
 * @pages_mapped:   out: mappings of anonymous and of merged pages
 * @pages_merged:   out: mappings of merged pages among them
 * @pages_sharing:  out: those of merged pages that something else maps too
 * @zero_pages:     out: mappings of the kernel's zero page
 * @saved_bytes:    out: what merging saves here: of a merged page with n mappings,
 *                  wherever they are, (n - 1) / n of its size for each
 * @metadata_bytes: out: what the driver keeps of these address spaces
 * @profit:         out: saved_bytes less metadata_bytes; may be negative
 *
 * Pages are of the system's page size; a huge page counts as the small ones
 * that it stands for.
 */
struct ksm_statistics {
	__u32 size;
	__u32 flags;
	__s32 mem_fd;
	__u32 reserved;
	__u64 address_spaces;
	__u64 regions;
	__u64 pages_mapped;
	__u64 pages_merged;
	__u64 pages_sharing;
	__u64 zero_pages;
	__u64 saved_bytes;
	__u64 metadata_bytes;
	__s64 profit;
};

#define KSM_STATISTICS_SIZE_VER0	88

/*
 * KSM_AREA_STATISTICS - count what the area's regions hold now.
 *
 * A command of the area. Memory that is neither private nor anonymous is not
 * counted. It may change while it is walked, so that the numbers may never have
 * been true at one time.
 * EINVAL, E2BIG: as above, with KSM_STATISTICS_SIZE_VER0. ENOMEM. EINTR: a
 * signal was handled; nothing is filled in.
 */
#define KSM_AREA_STATISTICS		_IO(KSMIO, 0x63)

/*
 * KSM_TASK_STATISTICS - count what all memory of the task behind @mem_fd holds.
 *
 * A command of /dev/ksm. The memory counts whether it was registered or not.
 * Otherwise as KSM_AREA_STATISTICS, and EBADF, EINVAL, ESRCH, EOPNOTSUPP: of the
 * descriptor, as KSM_REGISTER_TASK.
 */
#define KSM_TASK_STATISTICS		_IO(KSMIO, 0x64)

/*
 * KSM_AREA_UNMERGE - give the area's regions pages of their own again.
 *
 * A command of the area; the argument is 0. What is merged in the regions now
 * is copied, which needs as much free memory as was saved there. The regions
 * stay registered, and are merged again where the scan goes on.
 * EINVAL: the argument is not 0. ENOMEM: memory ran out, the rest stays merged.
 * EINTR: a signal was handled, likewise. EBUSY: all is unmerged but for pages that
 * userfaultfd protects from writes (before Linux 6.2).
 */
#define KSM_AREA_UNMERGE		_IO(KSMIO, 0x65)

/**
 * struct ksm_region_info - a detached region
 * @id:           its number, never that of another while the driver is loaded
 * @addr:         start, 0 with KSM_TASK_WHOLE
 * @length:       length in bytes, 0 with KSM_TASK_WHOLE
 * @family:       with KSM_TASK_CHILDREN: the family's number, else 0
 * @domain:       the number given by KSM_SET_DOMAIN, 0: none
 * @flags:        KSM_TASK_*, as KSM_REGISTER_TASK takes them
 * @pid:          a process that has the address space, as the caller's PID
 *                namespace numbers it; 0: there is none
 * @uid:          the user whose region it counts as
 * @domain_flags: KSM_DOMAIN_*, as KSM_SET_DOMAIN takes them
 * @domain_owner: without KSM_DOMAIN_SYSTEM: the user whose number @domain is
 * @reserved:     zero
 *
 * Users are those of the initial user namespace.
 */
struct ksm_region_info {
	__u64 id;
	__u64 addr;
	__u64 length;
	__u64 family;
	__u64 domain;
	__u32 flags;
	__s32 pid;
	__u32 uid;
	__u32 domain_flags;
	__u32 domain_owner;
	__u32 reserved;
};

#define KSM_REGION_INFO_SIZE_VER0	64

/**
 * struct ksm_region_list - where to list detached regions, and from where on
 * @size:       in: sizeof(struct ksm_region_list); out: how much was filled in
 * @flags:      zero
 * @cursor:     in: 0 to begin, else what the last call left; out: the last @id told
 * @end:        in: what the last call left; out: the last @id of this listing
 * @entries:    address of an array of struct ksm_region_info
 * @entry_size: sizeof(struct ksm_region_info)
 * @nr:         in: room in the array; out: how many are told, 0: that was all
 */
struct ksm_region_list {
	__u32 size;
	__u32 flags;
	__u64 cursor;
	__u64 end;
	__u64 entries;
	__u32 entry_size;
	__u32 nr;
};

#define KSM_REGION_LIST_SIZE_VER0	40

/*
 * KSM_LIST_REGIONS - tell the detached regions, whoever registered them.
 *
 * A command of /dev/ksm. Call it again with the same struct, with .nr set anew,
 * until it tells none. The numbers told rise: no region is told twice. One that
 * was there when the listing began is told unless it ended before its turn; one
 * that came later is not.
 * EPERM: the caller lacks CAP_SYS_ADMIN. EINVAL: @nr is 0, @entry_size is less than
 * KSM_REGION_INFO_SIZE_VER0, or as above, with KSM_REGION_LIST_SIZE_VER0. E2BIG: as
 * above, or @entry_size is more than a page. ENOMEM.
 */
#define KSM_LIST_REGIONS		_IO(KSMIO, 0x66)

#endif /* _UAPI_LINUX_KSM_DEV_H */
