/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the driver know of each other.
 *
 * Objects and their lives
 *
 *   ks_mm      An address space in which something may be merged. Holds
 *              mm_count, so it never keeps memory of a dead process alive;
 *              mm_users is taken for one scan step only. Freed when its last
 *              region goes and it is not adopted or scan_all's, or when the
 *              end of a pass (or, without work, the thread every few seconds)
 *              finds no users left.
 *   ks_region  A range of addresses of a ks_mm. Freed with its area, by
 *              removal, its own or its family's, or with its ks_mm.
 *   ks_area    What an area descriptor stands for. Freed with its last file.
 *   ks_kpage   A merged page. Freed when nothing maps or pins it any more; at
 *              unload those that are still mapped are handed to core mm, and
 *              the module that is loaded next takes them over.
 *   ks_kept_domain  The domain of kpages. Freed by the end of a pass that finds none
 *              of it.
 *   ks_scan    One scan, on the stack of who does it. Other threads of the team
 *              work on it only while it is posted (team.c).
 *
 * Locks, outermost first
 *
 *   ks_scan_turn  whose turn it is to scan: held for a whole scan
 *   ks_run_lock   serializes changes of the run state; nothing else
 *   ks_lock       a read-write semaphore over everything above, all tables and
 *                 all counters. A step of the scan (at most KS_BATCH pages)
 *                 takes it for reading, so several may be under way; all else
 *                 takes it for writing, and whoever holds it so knows that no
 *                 step is.
 *   mmap_lock     read; only tried under ks_lock, since a tenant can hold it
 *                 for long. Unmerging waits for it, without ks_lock.
 *
 * What steps have in common, each for a part of a step only; who holds ks_lock
 * for writing needs none of them:
 *
 *   ks_cursor_lock  where the scan is, the scan under way and the counters
 *   ks_sums.lock    what is known of the pages of a page table
 *   ks_merge_lock   kpages and the tables that hold them, zero pages; freezing
 *   ks_part.lock    a part of the candidate table
 *   folio lock      of frozen pages, by migrate_vma_setup()
 *   page table locks
 *
 * Of the first four only a part's is taken with another held, that of the sums.
 *
 * The shrinker may be called with any lock held and by the scan itself: it only
 * tries ks_lock.
 */
#ifndef KS_ENGINE_H
#define KS_ENGINE_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rhashtable-types.h>
#include <linux/rwsem.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <linux/xarray.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/*
 * Pages that one step looks at: what one page table or huge page maps where pages
 * are of 4 KiB. Those of larger ones map several times as many, and a step takes a
 * part: of a huge page too, on which is decided by the part met first.
 */
#define KS_BATCH		512U
#define KS_BATCH_BYTES		((unsigned long)KS_BATCH << PAGE_SHIFT)

/* What is kept of pages is kept in blocks of so many, and so they are left out. */
#define KS_BLOCK		64U
#define KS_BLOCKS		(KS_BATCH / KS_BLOCK)

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
	struct ks_region *near;		/* one of these, see ks_region_next() */
	bool adopted;			/* its VM_MERGEABLE memory too */
	u64 id;				/* never that of another, also later */
	bool all;			/* scan_all's */
	bool passed;			/* scanned to its end in this pass */
	struct xarray sums;		/* see sums.c */
	unsigned long sums_first;	/* of its indices, or lower */
	unsigned long sums_last;	/* likewise, or higher */
	atomic_long_t sums_bytes;
	struct xarray zeros;		/* see zero.c */
	unsigned long visit;		/* see extent.c */
	pid_t pid;			/* see list.c */
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
	u64 family;			/* the one to join, 0: none yet */
};

/* Are a region's task's children to be in it, too? */
enum ks_children {
	KS_CHILDREN_NONE,
	KS_CHILDREN_FAMILY,	/* one of its own */
	KS_CHILDREN_JOIN,	/* the area's */
};

struct ks_region {
	unsigned long start;
	unsigned long end;		/* exclusive */
	struct ks_mm *km;
	struct ks_area *area;		/* NULL: detached */
	struct ks_given given;
	struct list_head in_mm;
	struct list_head in_area;	/* or in ks_detached */
	u64 id;				/* never that of another, rising */
	struct ks_user *user;
	u64 family;			/* 0: without children, see children.c */
	bool unlimited;			/* the family: its user had CAP_SYS_RESOURCE */
};

/* A domain that kpages are in, see domains.c. */
struct ks_kept_domain {
	struct hlist_node hash;
	struct ks_domain domain;
	unsigned long kpages;
};

/* Linked with all others by its page's "lru", which core mm leaves alone off the LRU. */
struct ks_kpage {
	struct page *page;
	u64 hash;
	struct ks_kept_domain *domain;
	struct rhash_head node;
	struct rhash_head by_sample;
	union {
		struct list_head dups;	/* others of the same content */
		struct rcu_head rcu;
	};
	u32 sample;			/* the sum of it */
	bool shelved;			/* one of these is in the table */
	bool first;			/* of its sample */
	bool ambiguous;			/* and others are of another content */
	bool retired;			/* gets no more users */
};

/* Where few pages share one it is most of what is kept; and what kmalloc() rounds up to. */
static_assert(sizeof(struct ks_kpage) <= 64);

/* What a step does with a page of its batch. */
enum ks_action {
	KS_LEAVE,
	KS_MERGE,	/* a merged page of this hash is there, or worth making */
	KS_MISTAKEN,	/* it was not like the merged page of its sample */
	KS_UNREAD,	/* not decided yet; never outlives huge.c */
};

/**
 * struct ks_batch - the pages of one step
 * @addr:   address of slot 0, a multiple of KS_BATCH_BYTES
 * @first:  first slot of the range looked at
 * @last:   slot after the last one looked at
 * @nr:     slots with a page
 * @reserved: what the scan set aside for it
 * @huge:   they are mapped by one huge page
 * @keep_huge: in: do not take pages of large folios
 * @only_exclusive: in: do not take pages that others may map, too
 * @passed_over: eligible pages that the walk could not take
 * @kept_huge: pages that it left to their large folio
 * @read:   pages that were hashed
 * @trusted: pages that were taken for what they were when hashed last
 * @napped: those of them that were not even looked up
 * @at_rest: merged pages, and the zero page, that were met
 * @absent: slots with nothing in them that were looked at
 * @napping: blocks that were passed by
 * @cut_before: before its first slot there is more of the mapping
 * @cut_behind: behind its last one there is more
 * @unshared: pages that had no partner
 * @changed: pages that were not what they were
 * @skipped: pages left unmerged on purpose
 * @unmergeable: pages worth merging that could not be
 * @mistaken: some of them were not what their hash said
 * @scope:  what they may merge with
 * @page:   pages, referenced until hashed; NULL where there is none
 * @orphans: slots of pages that an unloaded module merged
 * @settled: slots of merged pages, and of the zero page
 * @off_lru: the page is on no LRU list
 * @hash:   content hash, perhaps only that of the merged page with its sample
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
	unsigned int reserved;
	bool huge;
	bool keep_huge;
	bool only_exclusive;
	unsigned int passed_over;
	struct ks_scope scope;
	unsigned int kept_huge;
	unsigned int read;
	unsigned int trusted;
	unsigned int napped;
	unsigned int at_rest;
	unsigned int absent;
	u8 napping;
	bool cut_before;
	bool cut_behind;
	unsigned int unshared;
	unsigned int changed;
	unsigned int skipped;
	unsigned int unmergeable;
	bool mistaken;
	struct page *page[KS_BATCH];
	DECLARE_BITMAP(orphans, KS_BATCH);
	DECLARE_BITMAP(settled, KS_BATCH);
	bool off_lru[KS_BATCH];
	u64 hash[KS_BATCH];
	int nid[KS_BATCH];
	bool empty[KS_BATCH];
	struct ks_zeros *zeros;
	u8 action[KS_BATCH];
	unsigned long src[KS_BATCH];
	unsigned long dst[KS_BATCH];
};

/* Slots of a block that are in the batch: from *first on, before the one returned. */
static inline unsigned int ks_block_slots(const struct ks_batch *b, unsigned int block,
					  unsigned int *first)
{
	*first = max(b->first, block * KS_BLOCK);
	return min(b->last, (block + 1) * KS_BLOCK);
}

static inline unsigned long ks_slot_addr(const struct ks_batch *b, unsigned int slot)
{
	return b->addr + ((unsigned long)slot << PAGE_SHIFT);
}

/**
 * struct ks_counters - what sysfs shows, protected by ks_cursor_lock
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

extern struct rw_semaphore ks_lock;
extern struct ks_counters ks_counters;
extern struct list_head ks_mms;
extern struct list_head ks_detached;
extern unsigned int ks_nr_families;

/* device.c */
int ks_struct_get(void *to, size_t room, u32 least, const void __user *from, u32 *size);
int ks_device_register(void);
void ks_device_unregister(void);

/* region.c */
int ks_region_add(struct mm_struct *mm, struct ks_area *area, bool detached,
		  enum ks_children children, u64 addr, u64 length);
int ks_region_remove(struct mm_struct *mm, struct ks_area *area, u64 addr, bool all,
		     bool children);
void ks_region_copy(const struct ks_region *like, struct mm_struct *mm);
void ks_region_free(struct ks_region *r);
struct ks_region *ks_region_next(struct ks_mm *km, unsigned long addr);
kuid_t ks_region_uid(const struct ks_region *r);
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

/* span.c */
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

/* domains.c */
struct ks_kept_domain *ks_domain_find(const struct ks_scope *scope);
struct ks_kept_domain *ks_domain_keep(const struct ks_scope *scope);
void ks_domains_sweep(void);
unsigned long ks_domains_bytes(void);

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
void ks_zeros_unmerged(struct mm_struct *mm, unsigned long index, const unsigned long *found,
		       unsigned int nr);
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
int ks_builtin_open(void);
void ks_builtin_close(void);
void ks_builtin_look(void);
bool ks_builtin_may_run(void);
bool ks_builtin_works_in(struct mm_struct *mm);

/* walk.c */
typedef bool (*ks_pte_fn)(pte_t *ptep, unsigned long addr, void *arg);
bool ks_walk_pte(struct mm_struct *mm, unsigned long addr, ks_pte_fn fn, void *arg);
unsigned long ks_walk_collect(struct ks_mm *km, unsigned long start,
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

/* list.c */
int ks_list_regions(void __user *argp);

/* statistics.c */
int ks_statistics(struct ks_area *area, void __user *argp);

/* hash.c */
/* In a sum: it is of the whole page, not of its sample. */
#define KS_SUM_FULL	1U
extern u64 ks_seed;
void ks_hash_init(void);
u32 ks_page_sample(struct page *page, const struct ks_scope *scope);
u64 ks_page_hash(struct page *page, const struct ks_scope *scope);
u32 ks_sum_of_hash(u64 hash);

/* filter.c */
/**
 * struct ks_filter - a set of sums that may say yes for one that is not in it
 * @words: its size
 * @word:  bits
 */
struct ks_filter {
	unsigned int words;
	unsigned long word[];
};

struct ks_filter *ks_filter_alloc(unsigned int words);
void ks_filter_add(struct ks_filter *f, u32 sum);
bool ks_filter_has(const struct ks_filter *f, u32 sum);
void ks_filter_clear(struct ks_filter *f);

/* wanted.c */
int ks_wanted_init(void);
void ks_wanted_exit(void);
void ks_want(u32 sum);
bool ks_wants_any(void);
bool ks_wants(u32 sum);
void ks_wanted_end_pass(void);

/* sums.c */
/**
 * struct ks_nap_part - what of a block naps, where a mapping has not all of it
 * @first: its first slot, counted in the block
 * @last:  the slot after its last one
 */
struct ks_nap_part {
	u8 first;
	u8 last;
};

/**
 * struct ks_sums - what is known of the pages of one batch
 * @lock:  of all this
 * @seed:  of the domain met last
 * @used:  blocks met in this pass
 * @met:   this pass met it
 * @nap:   passes in which a block is left out, see nap.c
 * @alone: pages of it that are left out
 * @block: sums and ages, NULL: none yet
 */
struct ks_sums {
	struct mutex lock;
	u64 seed;
	u8 used;
	bool met;
	u8 nap[KS_BLOCKS];
	u8 alone[KS_BLOCKS];
	struct ks_block *block[KS_BLOCKS];
};

int ks_sums_init(void);
void ks_sums_exit(void);
struct ks_sums *ks_sums_get(struct ks_mm *km, const struct ks_batch *b);
void ks_sums_put(struct ks_sums *s);
bool ks_sums_have(struct ks_mm *km, struct ks_sums *s, unsigned int slot);
u32 ks_sum_get(const struct ks_sums *s, unsigned int slot);
void ks_sum_set(struct ks_sums *s, unsigned int slot, u32 sum);
u8 *ks_sum_age(struct ks_sums *s, unsigned int slot);
struct ks_nap_part *ks_sums_nap_part(const struct ks_sums *s, unsigned int block);
void ks_sums_sweep(struct ks_mm *km);
void ks_sums_free(struct ks_mm *km);
unsigned long ks_sums_bytes(void);
unsigned long ks_mm_metadata_bytes(const struct ks_mm *km);

/* nap.c */
u8 ks_naps(struct ks_mm *km, const struct ks_batch *b);
void ks_nap_go_on(struct ks_batch *b, struct ks_sums *s);
bool ks_nap_together(const struct ks_batch *b, struct ks_sums *s, unsigned int block);
void ks_nap_begin(struct ks_batch *b, struct ks_sums *s, unsigned int block);

/* candidates.c */
void ks_candidates_init(void);
void ks_candidates_exit(void);
/* Of a page's sum: what candidates.c knows of other pages. */
#define KS_SEEN		BIT(0)	/* one has it, in this pass, the one before, or when last read */
#define KS_SEEN_NOW	BIT(1)	/* and this page is the first to find out in this pass */
#define KS_SEEN_UNREAD	BIT(2)	/* and that one may not be read in this pass, unless wanted */
unsigned int ks_candidate_seen(u32 sum, struct page *page, unsigned int skips);
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

#define KS_PAGE_SHARING_DEFAULT	256U

extern struct ks_limits ks_limits;
extern struct mutex ks_merge_lock;

/* Of a page that is neither anonymous nor in a file: is it a kpage of ours? */
static inline bool ks_page_is_ours(struct page *page)
{
	return page_private(page);
}

int ks_kpages_init(void);
void ks_kpages_exit(void);
int ks_kpages_reserve(unsigned int nr, int nid, const struct ks_scope *scope);
bool ks_kpages_allowed(void);
unsigned long ks_kpages_unreserve(void);
unsigned long ks_kpages_shrinkable(void);
unsigned long ks_kpages_shrink(unsigned long nr);
struct ks_kpage *ks_kpage_guess(u32 sample, const struct ks_scope *scope, bool *any);
struct ks_kpage *ks_kpage_find(u64 hash, const struct ks_scope *scope);
unsigned int ks_kpage_room(const struct ks_kpage *kp);
struct ks_kpage *ks_kpage_create(u64 hash, const struct ks_scope *scope,
				 struct page *content);
bool ks_kpage_take_over(struct ks_batch *b, unsigned int slot, struct mm_struct *mm);
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
bool ks_pages_equal(struct page *a, struct page *b);
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
 * @scan_threads: threads that share a scan, 1 to KS_THREADS_MAX
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
	unsigned int scan_threads;
};

extern struct ks_policy ks_policy;
extern const struct attribute_group ks_policy_attr_group;
int ks_policy_init(void);
void ks_policy_start(void);

/* scan_all.c */
bool ks_scan_all_takes(struct vm_area_struct *vma);
void ks_scan_all_update(void);
void ks_scan_all_set(bool all);

/* exclude.c */
bool ks_uid_excluded(kuid_t uid);
extern const struct attribute_group ks_exclude_attr_group;

/* age.c */
void ks_age_renew(struct ks_sums *s, unsigned int slot);
void ks_age_unshared(struct ks_sums *s, unsigned int slot);
bool ks_age_known(struct ks_sums *s, unsigned int slot);
bool ks_age_skip(struct ks_sums *s, unsigned int slot);
bool ks_age_is_old(struct ks_sums *s, unsigned int slot);
unsigned int ks_age_skips(struct ks_sums *s, unsigned int slot);
unsigned int ks_age_skips_next(struct ks_sums *s, unsigned int slot);
void ks_age_pass(struct ks_sums *s, unsigned int slot, unsigned int passes);

/* huge.c */
/* Passes in which a page of a huge page may go unread. */
#define KS_HUGE_SKIPS	15U
bool ks_huge_may_split(unsigned int worth, unsigned int nr);
void ks_huge_judge(struct ks_batch *b, struct ks_sums *s);

/* judge.c */
unsigned int ks_judge(struct ks_mm *km, struct ks_batch *b);
void ks_judge_mistakes(struct ks_mm *km, const struct ks_batch *b);
bool ks_read_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot);
bool ks_trust_page(struct ks_batch *b, struct ks_sums *s, unsigned int slot);

/* scan.c */
/**
 * struct ks_scan - one scan, by one thread or several
 * @pages:  pages that are left to look at
 * @merges: pages that are left to merge, protected by ks_merge_lock
 * @over:   the pass has ended, or there is nothing to scan
 * @idle:   there is nothing to scan
 * @stop:   asked with ks_lock held whether to stop before a step
 */
struct ks_scan {
	unsigned int pages;
	unsigned int merges;
	bool over;
	bool idle;
	bool (*stop)(void);
};

extern struct mutex ks_scan_turn;
struct ks_batch *ks_batch_alloc(void);
void ks_batch_free(struct ks_batch *b);
int ks_scan_init(void);
void ks_scan_exit(void);
void ks_scan_begin(struct ks_scan *scan, unsigned int pages, unsigned int max_merge,
		   bool (*stop)(void));
void ks_scan_share(struct ks_scan *scan, struct ks_batch *b);
void ks_scan_alone(struct ks_scan *scan);
void ks_scan_tidy(void);
void ks_scan_restart(void);
void ks_scan_forget(struct ks_mm *km);

/* team.c */
#define KS_THREADS_MAX	64U
#define KS_THREAD_NICE	5
bool ks_team_scan(struct ks_scan *scan);
void ks_team_resize(unsigned int threads);
u64 ks_team_runtime(void);
ssize_t ks_team_pids(char *buf, ssize_t at);

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
