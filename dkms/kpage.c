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
 *
 * One that max_page_sharing mappings share is full, and gets a duplicate. The
 * table holds one kpage of each content, for newcomers; the others are shelved,
 * and all of one content are linked in a ring. With at most 3 mappings:
 *
 *   seven pages merge       table: K3 (1)   shelved: K1 (3), K2 (3)
 *   two users of K1 write   table: K3 (1)   shelved: K1 (1), K2 (3)
 *   three more pages merge  table: K1 (2)   shelved: K2 (3), K3 (3)
 *
 * Shelved ones with room are searched for at the end of a pass, and put where
 * a full one's successor is looked for: next to it in the ring.
 */
#include <linux/hash.h>
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

/* Shelved kpages that are looked at for the successor of a full one. */
#define KS_SUCCESSOR_LOOKS	8U

static const struct rhashtable_params ks_stable_params = {
	.key_len = sizeof(u64),
	.key_offset = offsetof(struct ks_kpage, hash),
	.head_offset = offsetof(struct ks_kpage, node),
	.automatic_shrinking = true,
};

struct ks_limits ks_limits = {
	.max_page_sharing = INT_MAX,
	.merge_across_nodes = true,
	.prune_millisecs = 2000,
};

/* Of one NUMA node; the first is of any. */
struct ks_reserve {
	struct list_head kpages;
	unsigned int nr;
};

static struct rhashtable ks_stable;
static LIST_HEAD(ks_kpages);
static struct ks_reserve *ks_reserves;
static unsigned long ks_nr_kpages;
static unsigned long ks_nr_chains;
static unsigned long ks_nr_dups;
static bool ks_counted;

/* So that nobody can make contents up that collide. */
u64 ks_seed;

/**
 * ks_page_node - the NUMA node that a page may merge in
 * @page: the page
 *
 * Context: ks_lock held.
 * Return: the node, or NUMA_NO_NODE: any
 */
int ks_page_node(struct page *page)
{
	return ks_limits.merge_across_nodes ? NUMA_NO_NODE : page_to_nid(page);
}

/**
 * ks_page_hash - hash the content of a page
 * @page:  the page, with a reference or frozen
 * @scope: what it may merge with: equal pages of different ones hash differently
 */
u64 ks_page_hash(struct page *page, const struct ks_scope *scope)
{
	void *data = kmap_local_page(page);
	/* Another seed for each node; the common one is node -1's. */
	u64 node = (u64)(ks_page_node(page) + 1) * GOLDEN_RATIO_64;
	u64 hash = xxh64(data, PAGE_SIZE, scope->seed + node);

	kunmap_local(data);
	return hash;
}

static int ks_kpage_users(const struct ks_kpage *kp)
{
	return atomic_read(&kp->page->_mapcount);
}

/**
 * ks_page_users - how many page table entries map a merged page
 * @page: the page
 *
 * Context: page table lock of one of them. One too few, 0 at least, for a page
 * that an unloaded module left behind.
 */
unsigned int ks_page_users(const struct page *page)
{
	return max(atomic_read(&page->_mapcount), 0);
}

int ks_kpages_init(void)
{
	unsigned int i;
	int err;

	ks_seed = get_random_u64();
	ks_reserves = kcalloc(nr_node_ids + 1, sizeof(*ks_reserves), GFP_KERNEL);
	if (!ks_reserves)
		return -ENOMEM;
	for (i = 0; i <= nr_node_ids; i++)
		INIT_LIST_HEAD(&ks_reserves[i].kpages);
	err = rhashtable_init(&ks_stable, &ks_stable_params);
	if (err)
		kfree(ks_reserves);
	return err;
}

static struct ks_reserve *ks_reserve_of(int nid)
{
	return &ks_reserves[nid + 1];
}

static struct ks_kpage *ks_kpage_alloc(int nid)
{
	gfp_t gfp = GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOWARN;
	struct ks_kpage *kp = kmalloc(sizeof(*kp), KS_GFP);

	if (!kp)
		return NULL;
	if (nid != NUMA_NO_NODE)
		gfp |= __GFP_THISNODE;
	kp->page = alloc_pages_node(nid, gfp, 0);
	if (!kp->page) {
		kfree(kp);
		return NULL;
	}
	return kp;
}

/**
 * ks_kpages_reserve - have pages ready, for making kpages of frozen pages
 * @nr:  how many
 * @nid: of which node, as ks_page_node() says
 *
 * While pages are frozen tasks wait for them: no time to reclaim memory.
 *
 * Context: ks_lock held. May sleep.
 * Return: 0 or -ENOMEM
 */
int ks_kpages_reserve(unsigned int nr, int nid)
{
	struct ks_reserve *reserve = ks_reserve_of(nid);

	if (!ks_kpages_allowed())
		return 0;
	if (ks_limits.max_kernel_pages)
		nr = min_t(unsigned long, nr, ks_limits.max_kernel_pages - ks_nr_kpages);
	while (reserve->nr < nr) {
		struct ks_kpage *kp = ks_kpage_alloc(nid);

		if (!kp)
			return -ENOMEM;
		list_add(&kp->link, &reserve->kpages);
		reserve->nr++;
	}
	return 0;
}

/* Give back what the reserves hold: how many pages. Context: ks_lock held. */
unsigned long ks_kpages_unreserve(void)
{
	struct ks_kpage *kp, *next;
	unsigned long freed = 0;
	unsigned int i;

	for (i = 0; i <= nr_node_ids; i++) {
		list_for_each_entry_safe(kp, next, &ks_reserves[i].kpages, link) {
			list_del(&kp->link);
			put_page(kp->page);
			kfree(kp);
		}
		freed += ks_reserves[i].nr;
		ks_reserves[i].nr = 0;
	}
	return freed;
}

/* May one more kpage be made? Context: ks_lock held. */
bool ks_kpages_allowed(void)
{
	return !ks_limits.max_kernel_pages || ks_nr_kpages < ks_limits.max_kernel_pages;
}

/**
 * ks_kpage_find - look a merged page up
 * @hash:  content hash
 * @scope: what the page may merge with
 *
 * Context: ks_lock held.
 * Return: the kpage, of equal hash and perhaps of another content; or NULL
 */
struct ks_kpage *ks_kpage_find(u64 hash, const struct ks_scope *scope)
{
	struct ks_kpage *kp = rhashtable_lookup_fast(&ks_stable, &hash, ks_stable_params);

	/* Equal hashes must never be enough to cross domains. */
	if (kp && !ks_domain_equal(&kp->domain, &scope->domain))
		return NULL;
	return kp;
}

/* How many more page table entries may map it? Context: ks_lock held. */
unsigned int ks_kpage_room(const struct ks_kpage *kp)
{
	unsigned int users = ks_kpage_users(kp);

	if (page_count(kp->page) >= KS_KPAGE_USERS_MAX ||
	    users >= ks_limits.max_page_sharing)
		return 0;
	return ks_limits.max_page_sharing - users;
}

/* Let @kp be found instead of @old, of the same content. */
static bool ks_kpage_unshelve(struct ks_kpage *kp, struct ks_kpage *old)
{
	if (rhashtable_replace_fast(&ks_stable, &old->node, &kp->node, ks_stable_params))
		return false;
	old->shelved = true;
	kp->shelved = false;
	return true;
}

/**
 * ks_kpage_create - make a merged page
 * @hash:    content hash
 * @scope:   what it may merge with
 * @content: the frozen page to copy
 *
 * Context: ks_lock held, a kpage reserved. What the table has of this hash is
 * full and of equal content.
 * Return: the kpage; NULL: there are as many as may be, or the table could not
 * take it
 */
struct ks_kpage *ks_kpage_create(u64 hash, const struct ks_scope *scope,
				 struct page *content)
{
	struct ks_kpage *full = ks_kpage_find(hash, scope);
	struct ks_reserve *reserve = ks_reserve_of(ks_page_node(content));
	struct ks_kpage *kp;

	kp = list_first_entry_or_null(&reserve->kpages, struct ks_kpage, link);
	if (!kp || !ks_kpages_allowed())
		return NULL;
	kp->hash = hash;
	kp->domain = scope->domain;
	copy_highpage(kp->page, content);
	/* Its barrier lets nobody see the mapping before the content. */
	__folio_mark_uptodate(page_folio(kp->page));
	INIT_LIST_HEAD(&kp->dups);
	kp->shelved = false;
	if (full) {
		if (!ks_kpage_unshelve(kp, full))
			return NULL;
		if (list_empty(&full->dups)) {
			ks_nr_chains++;
			ks_nr_dups++;
		}
		list_add(&kp->dups, &full->dups);
		ks_nr_dups++;
	} else if (rhashtable_lookup_insert_fast(&ks_stable, &kp->node,
						 ks_stable_params)) {
		/* Also where another domain's has the same hash by chance. */
		return NULL;
	}
	reserve->nr--;
	atomic_inc(&kp->page->_mapcount);
	list_move(&kp->link, &ks_kpages);
	ks_nr_kpages++;
	return kp;
}

/**
 * ks_kpage_successor - find a kpage with room for the content of a full one
 * @full: the kpage that the table has
 *
 * Context: ks_lock held.
 * Return: a duplicate, which the table has from now on, or NULL
 */
struct ks_kpage *ks_kpage_successor(struct ks_kpage *full)
{
	unsigned int looks = KS_SUCCESSOR_LOOKS;
	struct ks_kpage *kp;

	list_for_each_entry(kp, &full->dups, dups) {
		if (ks_kpage_room(kp))
			return ks_kpage_unshelve(kp, full) ? kp : NULL;
		if (!--looks)
			break;
	}
	return NULL;
}

/**
 * ks_kpage_retire - let a merged page get no more users
 * @kp: the merged page; a duplicate takes its place in the table, or another one
 *      may be made of its content
 *
 * Context: ks_lock held.
 */
void ks_kpage_retire(struct ks_kpage *kp)
{
	struct ks_kpage *dup = NULL;

	if (!list_empty(&kp->dups))
		dup = list_first_entry(&kp->dups, struct ks_kpage, dups);
	if (!kp->shelved && !(dup && ks_kpage_unshelve(dup, kp)))
		rhashtable_remove_fast(&ks_stable, &kp->node, ks_stable_params);
	kp->shelved = true;
	if (dup) {
		list_del_init(&kp->dups);
		ks_nr_dups--;
		if (list_empty(&dup->dups)) {
			ks_nr_chains--;
			ks_nr_dups--;
		}
	}
}

static void ks_kpage_free(struct ks_kpage *kp)
{
	ks_kpage_retire(kp);
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

/* What ks_kpages_shrink() could look at. Context: any, for a value of the moment. */
unsigned long ks_kpages_shrinkable(void)
{
	return READ_ONCE(ks_nr_kpages);
}

/**
 * ks_kpages_shrink - give memory back
 * @nr: how many kpages to look at
 *
 * Context: ks_lock held, reclaim. May sleep.
 * Return: pages freed
 */
unsigned long ks_kpages_shrink(unsigned long nr)
{
	unsigned long freed = ks_kpages_unreserve();

	nr = min(nr, ks_nr_kpages);
	while (nr--) {
		struct ks_kpage *kp = list_first_entry(&ks_kpages, struct ks_kpage, link);

		if (page_count(kp->page) == 1) {
			ks_kpage_free(kp);
			freed++;
		} else {
			/* The next call goes on from here. */
			list_move_tail(&kp->link, &ks_kpages);
		}
		cond_resched();
	}
	return freed;
}

/**
 * ks_kpages_prune - put shelved kpages that have got room again to use
 *
 * Context: ks_lock held.
 */
void ks_kpages_prune(void)
{
	static unsigned long last;
	struct ks_kpage *kp;

	if (!ks_nr_chains ||
	    time_before(jiffies, last + msecs_to_jiffies(ks_limits.prune_millisecs)))
		return;
	last = jiffies;
	list_for_each_entry(kp, &ks_kpages, link) {
		struct ks_kpage *open;

		cond_resched();
		if (!kp->shelved || !ks_kpage_room(kp))
			continue;
		open = rhashtable_lookup_fast(&ks_stable, &kp->hash, ks_stable_params);
		if (!open)
			continue;
		list_move(&kp->dups, &open->dups);
		if (!ks_kpage_room(open))
			ks_kpage_unshelve(kp, open);
	}
}

/* As sysfs shows them. Context: ks_lock held. */
void ks_kpages_count_chains(unsigned long *chains, unsigned long *dups)
{
	*chains = ks_nr_chains;
	*dups = ks_nr_dups;
}

/**
 * ks_kpages_in_use - is anything merged?
 *
 * Context: ks_lock held.
 */
bool ks_kpages_in_use(void)
{
	ks_kpages_reap();
	return ks_nr_kpages;
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
		ks_kpage_retire(kp);
		list_del(&kp->link);
		ks_kpage_disown(kp);
		kfree_rcu(kp, rcu);
		left++;
		cond_resched();
	}
	rhashtable_destroy(&ks_stable);
	kfree(ks_reserves);
	if (left)
		pr_info("%lu merged pages stay in use without the module\n", left);
}
