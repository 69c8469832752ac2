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
 * A second table finds one by the sum of its sample, where only one content has
 * that sample: so most pages need not be hashed before they are tried.
 *
 * Shelved ones with room are searched for at the end of a pass, and put where
 * a full one's successor is looked for: next to it in the ring.
 *
 * At unload those still mapped are handed over to core mm, which then counts
 * them as what they look like: mapped pages of files. The module that is loaded
 * next takes them over when its scan meets them in memory that may be merged;
 * then they are kpages of the domain that it met them in. They tell nobody of
 * another domain's memory, even where fork() had carried them from there: who
 * merges with one of them learns that its own domain has that content.
 */
#include <linux/highmem.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/rhashtable.h>
#include <linux/slab.h>
#include <linux/threads.h>
#include <linux/vmstat.h>

#include "engine.h"

/*
 * Users of one kpage: well away from where the page's counts would overflow. But
 * fork() copies mappings without asking: every process there can be may come to
 * have max_page_sharing of them.
 */
#define KS_KPAGE_USERS_MAX	0x40000000
static_assert((u64)KS_PAGE_SHARING_DEFAULT * PID_MAX_LIMIT <= KS_KPAGE_USERS_MAX);

/*
 * Counting walks all kpages, so a reader in a loop gets what was counted: for a
 * while, and for so many times as long as it took. After a pass, whose end many
 * wait for, it is done anew: a pass costs more than that.
 */
#define KS_COUNT_INTERVAL	(HZ / 5)
#define KS_COUNT_SHARE		10U

/* Shelved kpages that are looked at for the successor of a full one. */
#define KS_SUCCESSOR_LOOKS	8U

static const struct rhashtable_params ks_stable_params = {
	.key_len = sizeof(u64),
	.key_offset = offsetof(struct ks_kpage, hash),
	.head_offset = offsetof(struct ks_kpage, node),
	.automatic_shrinking = true,
};

static const struct rhashtable_params ks_sample_params = {
	.key_len = sizeof(u32),
	.key_offset = offsetof(struct ks_kpage, sample),
	.head_offset = offsetof(struct ks_kpage, by_sample),
	.automatic_shrinking = true,
};

struct ks_limits ks_limits = {
	.max_page_sharing = KS_PAGE_SHARING_DEFAULT,
	.merge_across_nodes = true,
	.prune_millisecs = 2000,
};

/* Of one NUMA node; the first is of any. */
struct ks_reserve {
	struct list_head kpages;
	unsigned int nr;
};

/* All of this; see engine.h. */
DEFINE_MUTEX(ks_merge_lock);

static struct rhashtable ks_stable;
static struct rhashtable ks_samples;
static LIST_HEAD(ks_kpages);
static struct ks_reserve *ks_reserves;
static unsigned long ks_nr_kpages;
static unsigned long ks_nr_chains;
static unsigned long ks_nr_dups;
/* What was counted last, if it was, and how long that will do. */
static bool ks_counted;
static struct {
	unsigned long shared;
	unsigned long sharing;
	unsigned long until;		/* jiffies */
} ks_count;
/* Some that are not in ks_samples should be. */
static bool ks_samples_missing;

static bool ks_kpage_is_of(const struct ks_kpage *kp, const struct ks_scope *scope)
{
	return ks_domain_equal(&kp->domain->domain, &scope->domain);
}

static struct ks_kpage *ks_kpage_of(const struct page *page)
{
	return (struct ks_kpage *)page_private(page);
}

/**
 * ks_page_node - the NUMA node that a page may merge in
 * @page: the page
 *
 * Context: ks_lock held, a step's will do.
 * Return: the node, or NUMA_NO_NODE: any
 */
int ks_page_node(struct page *page)
{
	return ks_limits.merge_across_nodes ? NUMA_NO_NODE : page_to_nid(page);
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

	ks_reserves = kcalloc(nr_node_ids + 1, sizeof(*ks_reserves), GFP_KERNEL);
	if (!ks_reserves)
		return -ENOMEM;
	for (i = 0; i <= nr_node_ids; i++)
		INIT_LIST_HEAD(&ks_reserves[i].kpages);
	err = rhashtable_init(&ks_stable, &ks_stable_params);
	if (err)
		goto fail_stable;
	err = rhashtable_init(&ks_samples, &ks_sample_params);
	if (err)
		goto fail_samples;
	return 0;

fail_samples:
	rhashtable_destroy(&ks_stable);
fail_stable:
	kfree(ks_reserves);
	return err;
}

/* Let a kpage be found by its sample, or where another one is, let that say so. */
static void ks_sample_enter(struct ks_kpage *kp)
{
	struct ks_kpage *first;

	first = rhashtable_lookup_get_insert_fast(&ks_samples, &kp->by_sample, ks_sample_params);
	kp->first = !first;
	kp->ambiguous = false;
	if (IS_ERR(first))
		ks_samples_missing = true;
	else if (first && first->hash != kp->hash)
		first->ambiguous = true;
}

static void ks_sample_leave(struct ks_kpage *kp)
{
	if (!kp->first)
		return;
	rhashtable_remove_fast(&ks_samples, &kp->by_sample, ks_sample_params);
	kp->first = false;
	/* Of which another one may be the first now. */
	if (kp->ambiguous || !list_empty(&kp->dups))
		ks_samples_missing = true;
}

/* Context: ks_lock held for writing. */
static void ks_samples_complete(void)
{
	struct page *page;

	if (!ks_samples_missing)
		return;
	ks_samples_missing = false;
	list_for_each_entry(page, &ks_kpages, lru) {
		struct ks_kpage *kp = ks_kpage_of(page);

		if (!kp->first && !kp->retired)
			ks_sample_enter(kp);
		cond_resched();
	}
}

/**
 * ks_kpage_guess - which merged page could a page be like?
 * @sample: the sum of its sample
 * @scope:  what it may merge with
 * @any:    out: there are several
 *
 * Context: a step, which is how long the kpage stays.
 * Return: the only kpage of this sample; NULL: there is none, or there are several
 */
struct ks_kpage *ks_kpage_guess(u32 sample, const struct ks_scope *scope, bool *any)
{
	struct ks_kpage *kp = rhashtable_lookup_fast(&ks_samples, &sample, ks_sample_params);

	*any = kp;
	if (!kp || READ_ONCE(kp->ambiguous) || !ks_kpage_is_of(kp, scope))
		return NULL;
	return kp;
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
	set_page_private(kp->page, (unsigned long)kp);
	return kp;
}

/**
 * ks_kpages_reserve - have pages ready, for making kpages of frozen pages
 * @nr:    how many
 * @nid:   of which node, as ks_page_node() says
 * @scope: what they will merge with
 *
 * While pages are frozen tasks wait for them: no time to reclaim memory.
 *
 * Context: ks_merge_lock held. May sleep.
 * Return: 0 or -ENOMEM
 */
int ks_kpages_reserve(unsigned int nr, int nid, const struct ks_scope *scope)
{
	struct ks_reserve *reserve = ks_reserve_of(nid);

	if (!nr || !ks_kpages_allowed())
		return 0;
	if (!ks_domain_keep(scope))
		return -ENOMEM;
	if (ks_limits.max_kernel_pages)
		nr = min_t(unsigned long, nr, ks_limits.max_kernel_pages - ks_nr_kpages);
	while (reserve->nr < nr) {
		struct ks_kpage *kp = ks_kpage_alloc(nid);

		if (!kp)
			return -ENOMEM;
		list_add(&kp->page->lru, &reserve->kpages);
		reserve->nr++;
	}
	return 0;
}

/* Give back what the reserves hold: how many pages. Context: ks_lock held. */
unsigned long ks_kpages_unreserve(void)
{
	struct page *page, *next;
	unsigned long freed = 0;
	unsigned int i;

	for (i = 0; i <= nr_node_ids; i++) {
		list_for_each_entry_safe(page, next, &ks_reserves[i].kpages, lru) {
			list_del(&page->lru);
			kfree(ks_kpage_of(page));
			set_page_private(page, 0);
			put_page(page);
		}
		freed += ks_reserves[i].nr;
		ks_reserves[i].nr = 0;
	}
	return freed;
}

/* May one more kpage be made? Context: a step; sure only with ks_merge_lock held. */
bool ks_kpages_allowed(void)
{
	return !ks_limits.max_kernel_pages ||
	       READ_ONCE(ks_nr_kpages) < ks_limits.max_kernel_pages;
}

/**
 * ks_kpage_find - look a merged page up
 * @hash:  content hash
 * @scope: what the page may merge with
 *
 * Context: a step, which is how long the kpage stays; it may be retired.
 * Return: the kpage, of equal hash and perhaps of another content; or NULL
 */
struct ks_kpage *ks_kpage_find(u64 hash, const struct ks_scope *scope)
{
	struct ks_kpage *kp = rhashtable_lookup_fast(&ks_stable, &hash, ks_stable_params);

	/* Equal hashes must never be enough to cross domains. */
	if (kp && !ks_kpage_is_of(kp, scope))
		return NULL;
	return kp;
}

/* How many more page table entries may map it? Context: a step. */
unsigned int ks_kpage_room(const struct ks_kpage *kp)
{
	unsigned int users = ks_kpage_users(kp);

	if (kp->retired || page_count(kp->page) >= KS_KPAGE_USERS_MAX ||
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

/*
 * Let a kpage be found: by the table, or where the table has one of its content
 * that has room, next to that.
 */
static bool ks_kpage_enter(struct ks_kpage *kp, struct ks_kpage *other)
{
	INIT_LIST_HEAD(&kp->dups);
	kp->retired = false;
	kp->shelved = other && ks_kpage_room(other);
	if (!other) {
		/* Not where another domain's has the same hash by chance. */
		if (rhashtable_lookup_insert_fast(&ks_stable, &kp->node, ks_stable_params))
			return false;
	} else {
		if (!kp->shelved && !ks_kpage_unshelve(kp, other))
			return false;
		if (list_empty(&other->dups)) {
			ks_nr_chains++;
			ks_nr_dups++;
		}
		list_add(&kp->dups, &other->dups);
		ks_nr_dups++;
	}
	set_page_private(kp->page, (unsigned long)kp);
	list_add(&kp->page->lru, &ks_kpages);
	kp->domain->kpages++;
	WRITE_ONCE(ks_nr_kpages, ks_nr_kpages + 1);
	ks_sample_enter(kp);
	return true;
}

/**
 * ks_kpage_create - make a merged page
 * @hash:    content hash
 * @scope:   what it may merge with
 * @content: the frozen page to copy
 *
 * Context: ks_merge_lock held, a kpage reserved. What the table has of this hash
 * is full and of equal content.
 * Return: the kpage; NULL: there are as many as may be, or the table could not
 * take it
 */
struct ks_kpage *ks_kpage_create(u64 hash, const struct ks_scope *scope,
				 struct page *content)
{
	struct ks_kpage *full = ks_kpage_find(hash, scope);
	struct ks_reserve *reserve = ks_reserve_of(ks_page_node(content));
	struct ks_kept_domain *domain = ks_domain_find(scope);
	struct ks_kpage *kp;

	if (list_empty(&reserve->kpages) || !domain || !ks_kpages_allowed())
		return NULL;
	kp = ks_kpage_of(list_first_entry(&reserve->kpages, struct page, lru));
	kp->hash = hash;
	kp->sample = ks_page_sample(content, scope);
	kp->domain = domain;
	copy_highpage(kp->page, content);
	/* Its barrier lets nobody see the mapping before the content. */
	__folio_mark_uptodate(page_folio(kp->page));
	/* Ours, before anybody finds it. */
	atomic_inc(&kp->page->_mapcount);
	list_del(&kp->page->lru);
	if (!ks_kpage_enter(kp, full)) {
		atomic_dec(&kp->page->_mapcount);
		list_add(&kp->page->lru, &reserve->kpages);
		return NULL;
	}
	reserve->nr--;
	return kp;
}

/* Count a mapping of ours, while the one that was met is there to stay. */
static bool ks_take_over_pte(pte_t *ptep, unsigned long addr, void *arg)
{
	struct ks_kpage *kp = arg;
	pte_t pte = READ_ONCE(*ptep);

	if (!pte_present(pte) || pte_pfn(pte) != page_to_pfn(kp->page))
		return false;
	get_page(kp->page);
	atomic_inc(&kp->page->_mapcount);
	return true;
}

/*
 * Hand a kpage that is still mapped over to core mm: without our mapping the
 * last unmapping will be seen, and must find itself counted.
 */
static void ks_kpage_disown(struct ks_kpage *kp)
{
	struct pglist_data *node = page_pgdat(kp->page);

	set_page_private(kp->page, 0);
	mod_node_page_state(node, NR_FILE_MAPPED, 1);
	if (atomic_add_negative(-1, &kp->page->_mapcount))
		mod_node_page_state(node, NR_FILE_MAPPED, -1);
	put_page(kp->page);
}

/**
 * ks_kpage_take_over - make a kpage of what an unloaded module merged
 * @b:    a batch
 * @slot: where it has a page, with a reference, that was found to be such
 * @mm:   the address space
 *
 * Context: a step, mmap_lock held; takes ks_merge_lock. May sleep.
 * Return: whether it is a kpage now
 */
bool ks_kpage_take_over(struct ks_batch *b, unsigned int slot, struct mm_struct *mm)
{
	u64 hash = ks_page_hash(b->page[slot], &b->scope);
	struct ks_kpage *kp, *other;
	bool ours;

	b->read++;
	kp = kmalloc(sizeof(*kp), KS_GFP);
	if (!kp)
		return false;
	kp->page = b->page[slot];
	kp->hash = hash;
	kp->sample = ks_page_sample(kp->page, &b->scope);

	mutex_lock(&ks_merge_lock);
	kp->domain = ks_domain_keep(&b->scope);
	other = ks_kpage_find(hash, &b->scope);
	/* Another thread may have met it in another address space. */
	ours = ks_page_is_ours(kp->page);
	if (ours || !kp->domain ||
	    (other && (PageHWPoison(other->page) || !ks_pages_equal(other->page, kp->page))) ||
	    !ks_walk_pte(mm, ks_slot_addr(b, slot), ks_take_over_pte, kp)) {
		kfree(kp);
	} else {
		mod_node_page_state(page_pgdat(kp->page), NR_FILE_MAPPED, -1);
		ours = ks_kpage_enter(kp, other);
		if (!ours) {
			ks_kpage_disown(kp);
			kfree(kp);
		}
	}
	mutex_unlock(&ks_merge_lock);
	return ours;
}

/**
 * ks_kpage_successor - find a kpage with room for the content of a full one
 * @full: the kpage that the table has
 *
 * Context: ks_merge_lock held.
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

	ks_sample_leave(kp);
	kp->retired = true;
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
	list_del(&kp->page->lru);
	kp->domain->kpages--;
	WRITE_ONCE(ks_nr_kpages, ks_nr_kpages - 1);
	set_page_private(kp->page, 0);
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
	struct page *page, *next;

	WRITE_ONCE(ks_counted, false);
	list_for_each_entry_safe(page, next, &ks_kpages, lru) {
		if (page_count(page) == 1)
			ks_kpage_free(ks_kpage_of(page));
		cond_resched();
	}
	ks_domains_sweep();
	ks_samples_complete();
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
		struct page *page = list_first_entry(&ks_kpages, struct page, lru);

		if (page_count(page) == 1) {
			ks_kpage_free(ks_kpage_of(page));
			freed++;
		} else {
			/* The next call goes on from here. */
			list_move_tail(&page->lru, &ks_kpages);
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
	struct page *page;

	if (!ks_nr_chains ||
	    time_before(jiffies, last + msecs_to_jiffies(ks_limits.prune_millisecs)))
		return;
	last = jiffies;
	list_for_each_entry(page, &ks_kpages, lru) {
		struct ks_kpage *kp = ks_kpage_of(page), *open;

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

/* As sysfs shows them. Context: any. */
void ks_kpages_count_chains(unsigned long *chains, unsigned long *dups)
{
	*chains = READ_ONCE(ks_nr_chains);
	*dups = READ_ONCE(ks_nr_dups);
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

static bool ks_count_holds(void)
{
	return READ_ONCE(ks_counted) && time_before(jiffies, READ_ONCE(ks_count.until));
}

/* Context: ks_lock held for writing. */
static void ks_count_anew(void)
{
	unsigned long shared = 0, sharing = 0, began = jiffies;
	struct page *page;

	list_for_each_entry(page, &ks_kpages, lru) {
		int users = ks_kpage_users(ks_kpage_of(page));

		if (users > 0) {
			shared++;
			sharing += users - 1;
		}
		cond_resched();
	}
	WRITE_ONCE(ks_count.shared, shared);
	WRITE_ONCE(ks_count.sharing, sharing);
	WRITE_ONCE(ks_count.until, jiffies + KS_COUNT_INTERVAL +
				   KS_COUNT_SHARE * (jiffies - began));
	WRITE_ONCE(ks_counted, true);
}

/**
 * ks_kpages_count - count the merged pages that are in use
 * @shared:  out: merged pages that something maps
 * @sharing: out: mappings of them beyond the first, which is the pages saved
 *
 * Context: process context, takes ks_lock where it has to count anew.
 */
void ks_kpages_count(unsigned long *shared, unsigned long *sharing)
{
	if (!ks_count_holds()) {
		down_write(&ks_lock);
		if (!ks_count_holds())
			ks_count_anew();
		up_write(&ks_lock);
	}
	*shared = READ_ONCE(ks_count.shared);
	*sharing = READ_ONCE(ks_count.sharing);
}

unsigned long ks_kpages_bytes(void)
{
	return READ_ONCE(ks_nr_kpages) * sizeof(struct ks_kpage);
}

/*
 * Context: module unload, nothing else runs.
 */
void ks_kpages_exit(void)
{
	unsigned long left = 0;
	struct page *page, *next;

	ks_kpages_unreserve();
	ks_kpages_reap();
	list_for_each_entry_safe(page, next, &ks_kpages, lru) {
		struct ks_kpage *kp = ks_kpage_of(page);

		ks_kpage_retire(kp);
		list_del(&page->lru);
		kp->domain->kpages--;
		ks_kpage_disown(kp);
		kfree_rcu(kp, rcu);
		left++;
		cond_resched();
	}
	ks_domains_sweep();
	rhashtable_destroy(&ks_stable);
	rhashtable_destroy(&ks_samples);
	kfree(ks_reserves);
	if (left)
		pr_info("%lu merged pages stay in use without the module\n", left);
}
