/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the driver know of each other.
 *
 * Objects and their lives
 *
 *   ks_mm      An address space in which something may be merged. Holds
 *              mm_count, so it never keeps memory of a dead process alive;
 *              mm_users is taken for one scan step only. Freed when its last
 *              region goes and it is not adopted, or when a step (or, without
 *              work, the thread every few seconds) finds no users left.
 *   ks_region  A range of addresses of a ks_mm. Freed with its area, by
 *              removal, or with its ks_mm.
 *   ks_area    What an area descriptor stands for. Freed with its last file.
 *   ks_kpage   A merged page. Freed when nothing maps or pins it any more; at
 *              unload those that are still mapped are handed to core mm.
 *
 * Locks, outermost first
 *
 *   ks_run_lock   serializes changes of the run state; nothing else
 *   ks_lock       everything above, all tables and all counters. The scan
 *                 takes it for one step (at most KS_BATCH pages) at a time, so
 *                 whoever holds it knows that no step is under way.
 *   mmap_lock     read; only tried under ks_lock, since a tenant can hold it
 *                 for long. Unmerging waits for it, without ks_lock.
 *   folio lock    of frozen pages, by migrate_vma_setup()
 *   page table locks
 */
#ifndef KS_ENGINE_H
#define KS_ENGINE_H

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rhashtable-types.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <linux/xarray.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/* Pages that one step looks at: on x86 what one page table or huge page maps. */
#define KS_BATCH		512U
#define KS_BATCH_BYTES		((unsigned long)KS_BATCH << PAGE_SHIFT)

/*
 * Allocations of the scan may fail: what they would have served is left alone
 * until the next pass, and nobody is killed for it.
 */
#define KS_GFP			(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

struct ks_mm {
	struct mm_struct *mm;
	struct list_head link;		/* in ks_mms, in scan order */
	struct hlist_node hash;
	struct list_head regions;	/* by address, disjoint */
	bool adopted;			/* its VM_MERGEABLE memory too */
	struct xarray sums;		/* see sums.c */
};

struct ks_area {
	struct list_head regions;
};

struct ks_region {
	unsigned long start;
	unsigned long end;		/* exclusive */
	struct ks_mm *km;
	struct ks_area *area;		/* NULL: detached */
	struct list_head in_mm;
	struct list_head in_area;	/* empty when detached */
	struct ks_user *user;
};

struct ks_kpage {
	struct page *page;
	u64 hash;
	struct rhash_head node;
	union {
		struct list_head link;
		struct rcu_head rcu;
	};
};

/* What a step does with a page of its batch. */
enum ks_action {
	KS_LEAVE,
	KS_MERGE,	/* a merged page of this hash is there, or worth making */
};

/**
 * struct ks_batch - the pages of one step
 * @addr:   address of slot 0, a multiple of KS_BATCH_BYTES
 * @first:  first slot of the range looked at
 * @last:   slot after the last one looked at
 * @nr:     slots with a page
 * @huge:   they are mapped by one huge page
 * @passed_over: eligible pages that the walk could not take
 * @page:   pages, referenced until hashed; NULL where there is none
 * @off_lru: the page is on no LRU list
 * @hash:   content hash
 * @action: what to do
 * @src:    migrate_vma arrays
 * @dst:    always zero: frozen pages never move
 */
struct ks_batch {
	unsigned long addr;
	unsigned int first;
	unsigned int last;
	unsigned int nr;
	bool huge;
	unsigned int passed_over;
	struct page *page[KS_BATCH];
	bool off_lru[KS_BATCH];
	u64 hash[KS_BATCH];
	u8 action[KS_BATCH];
	unsigned long src[KS_BATCH];
	unsigned long dst[KS_BATCH];
};

static inline unsigned long ks_slot_addr(const struct ks_batch *b, unsigned int slot)
{
	return b->addr + ((unsigned long)slot << PAGE_SHIFT);
}

/**
 * struct ks_counters - what sysfs shows, protected by ks_lock
 * @full_scans:     passes ended since load
 * @pages_scanned:  pages hashed since load
 * @pages_unshared: pages that had no partner, of the last pass
 * @pages_volatile: pages that changed since the pass before, of the last pass
 * @pages_skipped:  pages that could not be looked at or frozen, since load
 */
struct ks_counters {
	unsigned long full_scans;
	unsigned long pages_scanned;
	unsigned long pages_unshared;
	unsigned long pages_volatile;
	unsigned long pages_skipped;
};

extern struct mutex ks_lock;
extern struct ks_counters ks_counters;
extern struct list_head ks_mms;

/* device.c */
int ks_device_register(void);
void ks_device_unregister(void);

/* region.c */
int ks_region_add(struct mm_struct *mm, struct ks_area *area, u64 addr, u64 length);
int ks_region_remove(struct mm_struct *mm, struct ks_area *area, u64 addr, bool all);
void ks_area_clear(struct ks_area *area);
struct ks_mm *ks_mm_find(struct mm_struct *mm);
struct ks_mm *ks_mm_adopt(struct mm_struct *mm);
void ks_mm_disown_all(void);
void ks_mm_prune_dead(void);
void ks_mm_free(struct ks_mm *km);
void ks_mm_free_all(void);
struct vm_area_struct *ks_mm_next_span(struct ks_mm *km, unsigned long *start,
				       unsigned long *end);

/* task_mem.c */
int ks_task_mem_learn(void);
struct mm_struct *ks_task_mem_get(int fd);

/* processes.c */
struct mm_struct **ks_processes_mms(bool (*wanted)(struct mm_struct *mm), size_t *nr);
void ks_processes_adopt(void);

/* builtin.c */
void ks_builtin_open(void);
void ks_builtin_close(void);
void ks_builtin_look(void);
bool ks_builtin_works_in(struct mm_struct *mm);

/* walk.c */
typedef bool (*ks_pte_fn)(pte_t *ptep, unsigned long addr, void *arg);
bool ks_walk_pte(struct mm_struct *mm, unsigned long addr, ks_pte_fn fn, void *arg);
unsigned long ks_walk_collect(struct mm_struct *mm, unsigned long start,
			      unsigned long end, unsigned int limit, struct ks_batch *b);
unsigned long ks_walk_find_merged(struct mm_struct *mm, unsigned long start,
				  unsigned long end, unsigned long *found,
				  unsigned int *nr);

/* sums.c */
u32 *ks_sums_get(struct ks_mm *km, unsigned long addr);
void ks_sums_sweep(struct ks_mm *km);
void ks_sums_free(struct ks_mm *km);
unsigned long ks_sums_bytes(void);

/* candidates.c */
void ks_candidates_exit(void);
bool ks_candidate_seen(u64 hash, struct page *page);
void ks_candidates_end_pass(void);
unsigned long ks_candidates_bytes(void);

/* kpage.c */
int ks_kpages_init(void);
void ks_kpages_exit(void);
int ks_kpages_reserve(unsigned int nr);
void ks_kpages_unreserve(void);
u64 ks_page_hash(struct page *page);
struct ks_kpage *ks_kpage_find(u64 hash);
bool ks_kpage_has_room(const struct ks_kpage *kp);
struct ks_kpage *ks_kpage_create(u64 hash, struct page *content);
void ks_kpage_retire(struct ks_kpage *kp);
void ks_kpages_reap(void);
void ks_kpages_count(unsigned long *shared, unsigned long *sharing);
unsigned long ks_kpages_bytes(void);

/* merge.c */
unsigned int ks_merge_batch(struct vm_area_struct *vma, struct ks_batch *b,
			    unsigned int limit);

/* unmerge.c */
int ks_unmerge_everything(void);

/* scan.c */
int ks_scan_init(void);
void ks_scan_exit(void);
bool ks_scan_some(unsigned int pages, unsigned int max_merge, bool (*stop)(void));
void ks_scan_tidy(void);
void ks_scan_forget(struct ks_mm *km);

/* thread.c */
#define KS_RUN_STOP	0
#define KS_RUN_MERGE	1
#define KS_RUN_UNMERGE	2

/**
 * struct ks_pace - how the kernel thread works
 * @pages_to_scan: pages looked at in one scan, at least 1
 * @max_merge:     most pages merged in one scan, 0: no limit
 * @sleep_us:      pause between two scans, microseconds
 */
struct ks_pace {
	unsigned int pages_to_scan;
	unsigned int max_merge;
	u64 sleep_us;
};

int ks_thread_start(void);
void ks_thread_stop(void);
void ks_thread_kick(void);
int ks_thread_pid(void);
int ks_run_set(unsigned int run);
unsigned int ks_run_get(void);
void ks_pace_get(struct ks_pace *pace);
int ks_pace_set(const struct ks_pace *pace);
int ks_pages_to_scan_set(unsigned int pages);
void ks_sleep_us_set(u64 us);
bool ks_adopting(void);
void ks_adopting_set(bool adopt);

/* sysfs.c */
extern const struct attribute_group *ks_sysfs_groups[];

#endif /* KS_ENGINE_H */
