// SPDX-License-Identifier: GPL-2.0-only
/*
 * Merged pages ("kpages") and the stable table that finds them by content hash.
 *
 * A kpage is an ordinary page of the kernel's, in no file and on no LRU list,
 * mapped read-only into private anonymous memory. Core mm needs no help with
 * it: a write fault finds a page that is not anonymous in a private mapping and
 * copies it; fork(), munmap() and the rest count it as any mapped page.
 *
 * Counts of a kpage that n page table entries map:
 *
 *   _refcount  n + 1   one of ours, for the table
 *   _mapcount  n       core mm counts from -1, and one is ours
 *
 * Thanks to the mapping of our own core mm never sees a last unmapping, which
 * would take away from NR_FILE_MAPPED what nobody added. Nor can anybody get
 * hold of a kpage with a count of one: it is in no page table, and what looks
 * pages up by number (compaction, hot-unplug) takes no more than a passing
 * reference. So then it is ours to free.
 */
#include <linux/highmem.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/rhashtable.h>
#include <linux/slab.h>
#include <linux/vmstat.h>
#include <linux/xxhash.h>

#include "engine.h"

/* Users of one kpage: well away from where the page's counts would overflow. */
#define KS_KPAGE_USERS_MAX	0x40000000

/*
 * Counting walks all kpages, so a reader in a loop gets what was counted. After
 * a pass, whose end many wait for, it is done anew: a pass costs more than that.
 */
#define KS_COUNT_INTERVAL	(HZ / 5)

static const struct rhashtable_params ks_stable_params = {
	.key_len = sizeof(u64),
	.key_offset = offsetof(struct ks_kpage, hash),
	.head_offset = offsetof(struct ks_kpage, node),
	.automatic_shrinking = true,
};

static struct rhashtable ks_stable;
static LIST_HEAD(ks_kpages);
static LIST_HEAD(ks_reserve);
static unsigned int ks_nr_reserve;
static unsigned long ks_nr_kpages;
static bool ks_counted;

/* So that nobody can make contents up that collide. */
static u64 ks_seed;

/**
 * ks_page_hash - hash the content of a page
 * @page: the page, with a reference or frozen
 */
u64 ks_page_hash(struct page *page)
{
	void *data = kmap_local_page(page);
	u64 hash = xxh64(data, PAGE_SIZE, ks_seed);

	kunmap_local(data);
	return hash;
}

static int ks_kpage_users(const struct ks_kpage *kp)
{
	return atomic_read(&kp->page->_mapcount);
}

int ks_kpages_init(void)
{
	ks_seed = get_random_u64();
	return rhashtable_init(&ks_stable, &ks_stable_params);
}

static struct ks_kpage *ks_kpage_alloc(void)
{
	struct ks_kpage *kp = kmalloc(sizeof(*kp), KS_GFP);

	if (!kp)
		return NULL;
	kp->page = alloc_page(GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOWARN);
	if (!kp->page) {
		kfree(kp);
		return NULL;
	}
	return kp;
}

/**
 * ks_kpages_reserve - have pages ready, for making kpages of frozen pages
 * @nr: how many
 *
 * While pages are frozen tasks wait for them: no time to reclaim memory.
 *
 * Context: ks_lock held. May sleep.
 * Return: 0 or -ENOMEM
 */
int ks_kpages_reserve(unsigned int nr)
{
	while (ks_nr_reserve < nr) {
		struct ks_kpage *kp = ks_kpage_alloc();

		if (!kp)
			return -ENOMEM;
		list_add(&kp->link, &ks_reserve);
		ks_nr_reserve++;
	}
	return 0;
}

/* Give back what the reserve holds. Context: ks_lock held. */
void ks_kpages_unreserve(void)
{
	struct ks_kpage *kp, *next;

	list_for_each_entry_safe(kp, next, &ks_reserve, link) {
		list_del(&kp->link);
		put_page(kp->page);
		kfree(kp);
	}
	ks_nr_reserve = 0;
}

/**
 * ks_kpage_find - look a merged page up
 * @hash: content hash
 *
 * Context: ks_lock held.
 * Return: the kpage, of equal hash and perhaps of another content; or NULL
 */
struct ks_kpage *ks_kpage_find(u64 hash)
{
	return rhashtable_lookup_fast(&ks_stable, &hash, ks_stable_params);
}

/* Can one more page table entry map it? */
bool ks_kpage_has_room(const struct ks_kpage *kp)
{
	return page_count(kp->page) < KS_KPAGE_USERS_MAX;
}

/**
 * ks_kpage_create - make a merged page
 * @hash:    content hash
 * @content: the frozen page to copy
 *
 * Context: ks_lock held, a kpage reserved.
 * Return: the kpage, or NULL: the table could not take it
 */
struct ks_kpage *ks_kpage_create(u64 hash, struct page *content)
{
	struct ks_kpage *kp;

	kp = list_first_entry_or_null(&ks_reserve, struct ks_kpage, link);
	if (!kp)
		return NULL;
	kp->hash = hash;
	copy_highpage(kp->page, content);
	/* Its barrier lets nobody see the mapping before the content. */
	__folio_mark_uptodate(page_folio(kp->page));
	if (rhashtable_insert_fast(&ks_stable, &kp->node, ks_stable_params))
		return NULL;
	ks_nr_reserve--;
	atomic_inc(&kp->page->_mapcount);
	list_move(&kp->link, &ks_kpages);
	ks_nr_kpages++;
	return kp;
}

/**
 * ks_kpage_retire - let a merged page get no more users
 * @kp: the merged page; another one may be made of its content
 *
 * Context: ks_lock held.
 */
void ks_kpage_retire(struct ks_kpage *kp)
{
	rhashtable_remove_fast(&ks_stable, &kp->node, ks_stable_params);
}

static void ks_kpage_free(struct ks_kpage *kp)
{
	/* Finds nothing where it was retired. */
	rhashtable_remove_fast(&ks_stable, &kp->node, ks_stable_params);
	list_del(&kp->link);
	ks_nr_kpages--;
	atomic_dec(&kp->page->_mapcount);
	/* Not __free_page(): mlock() may have left a mark that only this clears. */
	put_page(kp->page);
	kfree_rcu(kp, rcu);
}

/**
 * ks_kpages_reap - free the kpages that nobody uses any more
 *
 * Context: ks_lock held.
 */
void ks_kpages_reap(void)
{
	struct ks_kpage *kp, *next;

	ks_counted = false;
	list_for_each_entry_safe(kp, next, &ks_kpages, link) {
		if (page_count(kp->page) == 1)
			ks_kpage_free(kp);
		cond_resched();
	}
}

/**
 * ks_kpages_count - count the merged pages that are in use
 * @shared:  out: merged pages that something maps
 * @sharing: out: mappings of them beyond the first, which is the pages saved
 *
 * Context: ks_lock held.
 */
void ks_kpages_count(unsigned long *shared, unsigned long *sharing)
{
	static unsigned long last_shared, last_sharing, last_time;
	struct ks_kpage *kp;

	if (!ks_counted || time_after(jiffies, last_time + KS_COUNT_INTERVAL)) {
		last_shared = 0;
		last_sharing = 0;
		list_for_each_entry(kp, &ks_kpages, link) {
			int users = ks_kpage_users(kp);

			if (users > 0) {
				last_shared++;
				last_sharing += users - 1;
			}
			cond_resched();
		}
		last_time = jiffies;
		ks_counted = true;
	}
	*shared = last_shared;
	*sharing = last_sharing;
}

unsigned long ks_kpages_bytes(void)
{
	return ks_nr_kpages * sizeof(struct ks_kpage);
}

/*
 * Hand a kpage that is still mapped over to core mm: without our mapping the
 * last unmapping will be seen, and must find itself counted.
 */
static void ks_kpage_disown(struct ks_kpage *kp)
{
	struct pglist_data *node = page_pgdat(kp->page);

	mod_node_page_state(node, NR_FILE_MAPPED, 1);
	if (atomic_add_negative(-1, &kp->page->_mapcount))
		mod_node_page_state(node, NR_FILE_MAPPED, -1);
	put_page(kp->page);
}

/*
 * Context: module unload, nothing else runs.
 */
void ks_kpages_exit(void)
{
	unsigned long left = 0;
	struct ks_kpage *kp, *next;

	ks_kpages_unreserve();
	ks_kpages_reap();
	list_for_each_entry_safe(kp, next, &ks_kpages, link) {
		rhashtable_remove_fast(&ks_stable, &kp->node, ks_stable_params);
		list_del(&kp->link);
		ks_kpage_disown(kp);
		kfree_rcu(kp, rcu);
		left++;
		cond_resched();
	}
	rhashtable_destroy(&ks_stable);
	if (left)
		pr_info("%lu merged pages stay in use without the module\n", left);
}
