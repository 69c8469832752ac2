/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the driver know of each other.
 *
 * Objects and their lives
 *
 *   ks_mm      An address space in which something may be merged. Holds
 *              mm_count, so it never keeps memory of a dead process alive;
 *              mm_users is taken for one scan step only. Freed when its last
 *              region goes and it is not adopted or scan_all's, or when a step (or, without
 *              work, the thread every few seconds) finds no users left.
 *   ks_region  A range of addresses of a ks_mm. Freed with its area, by
 *              removal, its own or its family's, or with its ks_mm.
 *   ks_area    What an area descriptor stands for. Freed with its last file.
 *   ks_kpage   A merged page. Freed when nothing maps or pins it any more; at
 *              unload those that are still mapped are handed to core mm.
 *
 * Locks, outermost first
 *
 *   ks_scan_turn  whose turn it is to scan: held for a whole ks_scan_some()
 *   ks_run_lock   serializes changes of the run state; nothing else
 *   ks_lock       everything above, all tables and all counters. The scan
 *                 takes it for one step (at most KS_BATCH pages) at a time, so
 *                 whoever holds it knows that no step is under way.
 *   mmap_lock     read; only tried under ks_lock, since a tenant can hold it
 *                 for long. Unmerging waits for it, without ks_lock.
 *   folio lock    of frozen pages, by migrate_vma_setup()
 *   page table locks
 *
 * The shrinker may be called with any lock held and by the scan itself: it only
 * tries ks_lock.
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
	u64 id;				/* never that of another, also later */
	bool all;			/* scan_all's */
	struct xarray sums;		/* see sums.c */
	unsigned long nr_sums;
	struct xarray zeros;		/* see zero.c */
	unsigned long visit;		/* see extent.c */
};

/* What a domain belongs to. */
enum ks_domain_kind {
	KS_DOMAIN_NOT_GIVEN,	/* see domain_mode */
	KS_DOMAIN_COMMON,
	KS_DOMAIN_SYSTEM,	/* a number of the administrator's */
	KS_DOMAIN_PRIVATE,	/* a number of one user's */
	KS_DOMAIN_USER,
	KS_DOMAIN_CGROUP,
	KS_DOMAIN_PROCESS,
};

/* Hashed as it is: without padding. */
struct ks_domain {
	u32 kind;
	u32 owner;		/* a user, in the initial user namespace */
	u64 number;
};

enum ks_domain_mode {
	KS_DOMAIN_MODE_GLOBAL,
	KS_DOMAIN_MODE_USER,
	KS_DOMAIN_MODE_CGROUP,
	KS_DOMAIN_MODE_PROCESS,
};

/* What an area asked for. */
struct ks_given {
	struct ks_domain domain;
	bool zero_pages;	/* in whichever domain */
};

/**
 * struct ks_scope - what the pages of a batch may merge with
 * @domain: pages of this domain
 * @seed:   of their hashes
 * @zero_pages: and with the kernel's zero page
 */
struct ks_scope {
	struct ks_domain domain;
	u64 seed;
	bool zero_pages;
};

struct ks_area {
	struct list_head regions;
	struct ks_given given;
};

struct ks_region {
	unsigned long start;
	unsigned long end;		/* exclusive */
	struct ks_mm *km;
	struct ks_area *area;		/* NULL: detached */
	struct ks_given given;
	struct list_head in_mm;
	struct list_head in_area;	/* empty when detached */
	struct ks_user *user;
	u64 family;			/* 0: without children, see children.c */
};

struct ks_kpage {
	struct page *page;
	u64 hash;
	struct ks_domain domain;
	struct rhash_head node;
	struct list_head dups;		/* others of the same content */
	bool shelved;			/* one of these is in the table */
	union {
		struct list_head link;
		struct rcu_head rcu;
	};
};

/* What a step does with a page of its batch. */
enum ks_action {
	KS_LEAVE,
	KS_MERGE,	/* a merged page of this hash is there, or worth making */
	KS_UNREAD,	/* not decided yet; never outlives huge.c */
};

/**
 * struct ks_batch - the pages of one step
 * @addr:   address of slot 0, a multiple of KS_BATCH_BYTES
 * @first:  first slot of the range looked at
 * @last:   slot after the last one looked at
 * @nr:     slots with a page
 * @huge:   they are mapped by one huge page
 * @keep_huge: in: do not take pages of large folios
 * @passed_over: eligible pages that the walk could not take
 * @kept_huge: pages that it left to their large folio
 * @read:   pages that were hashed
 * @trusted: pages that were taken for what they were when hashed last
 * @scope:  what they may merge with
 * @page:   pages, referenced until hashed; NULL where there is none
 * @off_lru: the page is on no LRU list
 * @hash:   content hash
 * @nid:    what ks_page_node() said
 * @empty:  to become the kernel's zero page
 * @zeros:  where that is noted, when any is
 * @action: what to do, an enum ks_action
 * @src:    migrate_vma arrays
 * @dst:    always zero: frozen pages never move
 */
struct ks_batch {
	unsigned long addr;
	unsigned int first;
	unsigned int last;
	unsigned int nr;
	bool huge;
	bool keep_huge;
	unsigned int passed_over;
	struct ks_scope scope;
	unsigned int kept_huge;
	unsigned int read;
	unsigned int trusted;
	struct page *page[KS_BATCH];
	bool off_lru[KS_BATCH];
	u64 hash[KS_BATCH];
	int nid[KS_BATCH];
	bool empty[KS_BATCH];
	struct ks_zeros *zeros;
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
 * @pages_skipped:  pages left alone by smart_scan and thp_mode, since load
 * @pages_unmergeable: pages that could not be looked at or frozen, since load
 */
struct ks_counters {
	unsigned long full_scans;
	unsigned long pages_scanned;
	unsigned long pages_unshared;
	unsigned long pages_volatile;
	unsigned long pages_skipped;
	unsigned long pages_unmergeable;
};

extern struct mutex ks_lock;
extern struct ks_counters ks_counters;
extern struct list_head ks_mms;
extern unsigned int ks_nr_families;

/* device.c */
int ks_device_register(void);
void ks_device_unregister(void);

/* region.c */
int ks_region_add(struct mm_struct *mm, struct ks_area *area, bool detached,
		  bool children, u64 addr, u64 length);
int ks_region_remove(struct mm_struct *mm, struct ks_area *area, u64 addr, bool all,
		     bool children);
void ks_region_copy(const struct ks_region *like, struct mm_struct *mm);
void ks_region_free(struct ks_region *r);
void ks_area_clear(struct ks_area *area);
int ks_area_set_given(struct ks_area *area, const struct ks_given *given);
struct ks_mm *ks_mm_find(struct mm_struct *mm);
struct ks_mm *ks_mm_get(struct mm_struct *mm);
void ks_mm_free_idle(void);
struct ks_mm *ks_mm_adopt(struct mm_struct *mm);
void ks_mm_disown_all(void);
void ks_mm_prune_dead(void);
void ks_mm_free(struct ks_mm *km);
void ks_mm_free_if_idle(struct ks_mm *km);
void ks_mm_free_all(void);
struct vm_area_struct *ks_mm_next_span(struct ks_mm *km, unsigned long *start,
				       unsigned long *end,
				       const struct ks_given **given);

/* domain.c */
enum ks_domain_mode ks_domain_mode_get(void);
int ks_domain_mode_set(enum ks_domain_mode mode);
void ks_scope_of(struct ks_mm *km, const struct ks_given *given, struct ks_scope *scope);
bool ks_use_zero_pages_get(void);
void ks_use_zero_pages_set(bool use);
bool ks_domain_equal(const struct ks_domain *a, const struct ks_domain *b);

/* zero.c */
bool ks_page_is_empty(struct page *page);
bool ks_zero_page_at(struct mm_struct *mm, unsigned long addr);
struct ks_zeros *ks_zeros_get(struct ks_mm *km, unsigned long addr);
void ks_zeros_note(struct ks_zeros *z, unsigned int slot);
void ks_zeros_revisit(struct ks_mm *km, unsigned long start, unsigned long end);
void ks_zeros_sweep(struct ks_mm *km);
void ks_zeros_free(struct ks_mm *km);
unsigned int ks_zeros_find(struct mm_struct *mm, unsigned long *index,
			   unsigned long *found);
void ks_zeros_unmerged(struct mm_struct *mm, unsigned long index);
unsigned long ks_zeros_count(void);
unsigned long ks_zeros_bytes(void);

/* children.c */
u64 ks_family_new(void);
void ks_family_remove(u64 family);
void ks_children_take(void);

/* task_mem.c */
int ks_task_mem_learn(void);
struct mm_struct *ks_task_mem_get(int fd);

/* processes.c */
typedef bool (*ks_process_fn)(struct task_struct *process, struct mm_struct *mm);
struct mm_struct *ks_process_mm(struct task_struct *process, ks_process_fn wanted);
struct mm_struct **ks_processes_mms(ks_process_fn wanted, size_t *nr);
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

/**
 * struct ks_page_counts - the pages that a stretch of memory maps
 * @mapped:  anonymous and merged pages
 * @merged:  merged ones among them
 * @sharing: merged ones that something else maps too
 * @zero:    mappings of the kernel's zero page
 * @saved:   bytes that merging saved, see statistics.c
 */
struct ks_page_counts {
	unsigned long mapped;
	unsigned long merged;
	unsigned long sharing;
	unsigned long zero;
	u64 saved;
};

unsigned long ks_walk_count(struct mm_struct *mm, unsigned long start, unsigned long end,
			    struct ks_page_counts *c);

/* extent.c */
struct ks_extent {
	struct mm_struct *mm;		/* mm_count taken */
	unsigned long start;
	unsigned long end;
};

/**
 * struct ks_extents - memory, with or without an end to its life
 * @extent:         where
 * @nr:             how many extents
 * @nr_mms:         address spaces that they are in
 * @nr_regions:     regions that they stand for
 * @metadata_bytes: what the engine keeps of these address spaces
 */
struct ks_extents {
	struct ks_extent *extent;
	size_t nr;
	unsigned long nr_mms;
	unsigned long nr_regions;
	unsigned long metadata_bytes;
};

typedef int (*ks_extent_fn)(struct vm_area_struct *vma, unsigned long *addr,
			    unsigned long end, void *arg);
int ks_extents_of_area(struct ks_area *area, struct ks_extents *x);
int ks_extents_of_mm(struct mm_struct *mm, struct ks_extents *x);
void ks_extents_free(struct ks_extents *x);
int ks_extent_walk(const struct ks_extent *x, ks_extent_fn fn, void *arg);
int ks_extents_walk(const struct ks_extents *x, ks_extent_fn fn, void *arg);

/* statistics.c */
int ks_statistics(struct ks_area *area, void __user *argp);

/* sums.c */
struct ks_sums *ks_sums_get(struct ks_mm *km, const struct ks_batch *b);
bool ks_sum_update(struct ks_sums *s, unsigned int slot, u64 hash);
u64 ks_sum_hash(const struct ks_sums *s, unsigned int slot);
u8 *ks_sum_age(struct ks_sums *s, unsigned int slot);
void ks_sums_sweep(struct ks_mm *km);
void ks_sums_free(struct ks_mm *km);
unsigned long ks_sums_bytes(void);
unsigned long ks_mm_metadata_bytes(const struct ks_mm *km);

/* candidates.c */
void ks_candidates_exit(void);
bool ks_candidate_seen(u64 hash, struct page *page);
void ks_candidates_end_pass(void);
unsigned long ks_candidates_shrink(unsigned long nr);
unsigned long ks_candidates_bytes(void);

/* kpage.c */
/**
 * struct ks_limits - how much is shared, protected by ks_lock
 * @max_kernel_pages:   most merged pages, 0: no limit
 * @max_page_sharing:   most mappings of one, at least 2
 * @merge_across_nodes: else pages of one NUMA node only
 * @prune_millisecs:    pause between two searches for merged pages with room
 */
struct ks_limits {
	unsigned int max_kernel_pages;
	unsigned int max_page_sharing;
	bool merge_across_nodes;
	unsigned int prune_millisecs;
};

extern struct ks_limits ks_limits;
extern u64 ks_seed;
int ks_kpages_init(void);
void ks_kpages_exit(void);
int ks_kpages_reserve(unsigned int nr, int nid);
bool ks_kpages_allowed(void);
unsigned long ks_kpages_unreserve(void);
unsigned long ks_kpages_shrinkable(void);
unsigned long ks_kpages_shrink(unsigned long nr);
u64 ks_page_hash(struct page *page, const struct ks_scope *scope);
struct ks_kpage *ks_kpage_find(u64 hash, const struct ks_scope *scope);
unsigned int ks_kpage_room(const struct ks_kpage *kp);
struct ks_kpage *ks_kpage_create(u64 hash, const struct ks_scope *scope,
				 struct page *content);
struct ks_kpage *ks_kpage_successor(struct ks_kpage *full);
void ks_kpage_retire(struct ks_kpage *kp);
void ks_kpages_reap(void);
void ks_kpages_prune(void);
void ks_kpages_count_chains(unsigned long *chains, unsigned long *dups);
int ks_page_node(struct page *page);
bool ks_kpages_in_use(void);
unsigned int ks_page_users(const struct page *page);
void ks_kpages_count(unsigned long *shared, unsigned long *sharing);
unsigned long ks_kpages_bytes(void);

/* shrinker.c */
int ks_shrinker_init(void);
void ks_shrinker_exit(void);

/* merge.c */
unsigned int ks_merge_batch(struct vm_area_struct *vma, struct ks_batch *b,
			    unsigned int limit);

/* unmerge.c */
int ks_unmerge_everything(void);
int ks_unmerge_area(struct ks_area *area);

/* policy.c */
enum ks_thp_mode {
	KS_THP_NEVER,
	KS_THP_SHARE,
	KS_THP_ALWAYS,
};

enum ks_advisor_mode {
	KS_ADVISOR_NONE,
	KS_ADVISOR_SCAN_TIME,
};

/**
 * struct ks_policy - what administrators want of the scan
 * @thp_mode: when to split huge pages, an enum ks_thp_mode
 * @thp_split_share: with KS_THP_SHARE: least percentage of pages that merge
 * @smart_scan: 1: read pages that long had no partner more seldom
 * @scan_all: 1: take in the memory of all processes
 * @scan_all_min_uid: but not of users below
 * @scan_all_protected: 1: also what was kept out of core dumps, swap or children
 * @advisor_mode: who sets pages_to_scan, an enum ks_advisor_mode
 * @advisor_target_scan_time: seconds that a pass shall take, at least 1
 * @advisor_max_cpu: most CPU that the thread may use, in percent
 * @advisor_min_pages_to_scan: least that the advisor sets, and where it starts
 * @advisor_max_pages_to_scan: most that it sets
 *
 * Each is set by itself; read them by READ_ONCE().
 */
struct ks_policy {
	unsigned int thp_mode;
	unsigned int thp_split_share;
	unsigned int smart_scan;
	unsigned int scan_all;
	unsigned int scan_all_min_uid;
	unsigned int scan_all_protected;
	unsigned int advisor_mode;
	unsigned int advisor_target_scan_time;
	unsigned int advisor_max_cpu;
	unsigned int advisor_min_pages_to_scan;
	unsigned int advisor_max_pages_to_scan;
};

extern struct ks_policy ks_policy;
extern const struct attribute_group ks_policy_attr_group;
int ks_policy_init(void);
void ks_policy_start(void);

/* scan_all.c */
bool ks_scan_all_takes(struct vm_area_struct *vma);
void ks_scan_all_update(void);
void ks_scan_all_set(bool all);

/* age.c */
void ks_age_renew(struct ks_sums *s, unsigned int slot);
void ks_age_unshared(struct ks_sums *s, unsigned int slot);
bool ks_age_known(struct ks_sums *s, unsigned int slot);
bool ks_age_skip(struct ks_sums *s, unsigned int slot);

/* huge.c */
bool ks_huge_may_split(unsigned int worth, unsigned int nr);
void ks_huge_judge(struct ks_batch *b, struct ks_sums *s);

/* scan.c */
bool ks_read_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot, bool known);
bool ks_trust_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot);
extern struct mutex ks_scan_turn;
int ks_scan_init(void);
void ks_scan_exit(void);
bool ks_scan_some(unsigned int pages, unsigned int max_merge, bool (*stop)(void));
void ks_scan_tidy(void);
void ks_scan_forget(struct ks_mm *km);

/* scan_file.c */
int ks_scan_create(void);

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
int ks_scan_permit(unsigned int *permit);
bool ks_scan_permit_ended(unsigned int permit);
void ks_pace_get(struct ks_pace *pace);
int ks_pace_set(const struct ks_pace *pace);
int ks_pages_to_scan_set(unsigned int pages, bool kick);
void ks_sleep_us_set(u64 us);
bool ks_adopting(void);
void ks_adopting_set(bool adopt);

/* advisor.c */
bool ks_advisor_scan_begins(void);
u64 ks_advisor_pause(u64 us);
void ks_advisor_scan_ended(void);
void ks_advisor_pass_began(void);
void ks_advisor_pass_ended(void);
void ks_advisor_count(unsigned int pages);
void ks_advisor_mode_set(unsigned int mode);
int ks_advisor_pages_set(unsigned int pages);
int ks_advisor_pace_set(const struct ks_pace *pace);

/* sysfs.c */
extern const struct attribute_group *ks_sysfs_groups[];

/* sharing.c */
extern const struct attribute_group ks_sharing_group;
int ks_sharing_init(void);

#endif /* KS_ENGINE_H */
