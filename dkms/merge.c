// SPDX-License-Identifier: GPL-2.0-only
/*
 * The merge of a page: the second of the two inner loops.
 *
 * migrate_vma_setup() freezes a run of pages: it puts a migration entry into
 * every page table entry that maps one of them, flushes TLBs and secondary
 * MMUs, locks the page, and gives up on a page that has a reference which its
 * mappings do not explain (O_DIRECT, vmsplice, RDMA, VFIO). While the entry
 * stands nobody can read or write the page; who tries waits for its lock.
 *
 * With a run of pages A B C frozen, of which only A and C still are what they
 * were when hashed:
 *
 *   A  equals its kpage   its entry becomes a read-only mapping of the kpage
 *   B  has changed        left as it is
 *   C  has no kpage yet   one is made as a copy; then as A
 *
 * migrate_vma_finalize() with no destination pages puts B back where it was. A
 * and C have no entry left to be put back into, and to search for one takes a
 * while: so where the entry says that the page was exclusive, that is mapped
 * nowhere else, it is freed at once, and finalize does not get to see it. What
 * fork() had mapped elsewhere too is put back there.
 *
 * The entry was not present, so writing it needs no flush and no notifier.
 */
#include <linux/highmem.h>
#include <linux/migrate.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "compat.h"
#include "engine.h"

/*
 * Pages that are frozen at once: enough for what a freeze costs by itself, and
 * few enough for who waits to write to one of them.
 */
#define KS_RUN_MAX	64U

struct ks_replacement {
	struct vm_area_struct *vma;
	struct page *old;
	struct page *new;		/* NULL: the kernel's zero page */
	bool differs;			/* out: from the merged page of its hash */
	bool last;			/* out: nothing else maps the old one */
};

static bool ks_replace_pte(pte_t *ptep, unsigned long addr, void *arg)
{
	struct ks_replacement *r = arg;
	struct mm_struct *mm = r->vma->vm_mm;
	pte_t old = READ_ONCE(*ptep);
	pte_t new;

	/* MADV_DONTNEED or the OOM reaper may have been faster. */
	if (!ks_pte_is_migration_of(old, r->old))
		return false;

	if (r->new)
		new = mk_pte(r->new, r->vma->vm_page_prot);
	else
		new = pte_mkspecial(mk_pte(ZERO_PAGE(addr), r->vma->vm_page_prot));
	new = pte_mkold(pte_mkclean(pte_wrprotect(new)));
	r->last = ks_migration_is_exclusive(old);
	/* Who tracks writes must still learn of those before the merge. */
	if (pte_swp_soft_dirty(old))
		new = pte_mksoft_dirty(new);

	if (r->new) {
		get_page(r->new);
		atomic_inc(&r->new->_mapcount);
		ks_rss_anon_to_file(mm);
	} else {
		ks_rss_anon_to_zero(mm);
	}
	ks_set_pte_at(mm, addr, ptep, new);
	return true;
}

/* A cache line at a time. memcmp() has to find out the order, word by word. */
static bool ks_equal(const u64 *x, const u64 *y)
{
	const u64 *end = x + PAGE_SIZE / sizeof(*x);

	for (; x < end; x += 8, y += 8)
		if ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) |
		    (x[4] ^ y[4]) | (x[5] ^ y[5]) | (x[6] ^ y[6]) | (x[7] ^ y[7]))
			return false;
	return true;
}

/* Compare two pages that nobody can write to. */
bool ks_pages_equal(struct page *a, struct page *b)
{
	void *x = kmap_local_page(a);
	void *y = kmap_local_page(b);
	bool equal = ks_equal(x, y);

	kunmap_local(y);
	kunmap_local(x);
	return equal;
}

static bool ks_is_copy(const struct ks_kpage *kp, struct ks_replacement *r)
{
	if (ks_page_node(kp->page) != ks_page_node(r->old))
		return false;
	r->differs = !ks_pages_equal(kp->page, r->old);
	return !r->differs;
}

static bool ks_merge_frozen(struct ks_replacement *r, unsigned long addr, u64 hash,
			    const struct ks_scope *scope)
{
	struct page *page = r->old;
	struct ks_kpage *kp = ks_kpage_find(hash, scope);

	if (kp && PageHWPoison(kp->page)) {
		ks_kpage_retire(kp);
		kp = ks_kpage_find(hash, scope);
	}
	if (kp && PageHWPoison(kp->page))
		return false;
	if (!kp) {
		/* Under its hash the table must find what the kpage is a copy of. */
		if (ks_page_hash(page, scope) == hash)
			kp = ks_kpage_create(hash, scope, page);
	} else if (!ks_kpage_room(kp)) {
		if (!ks_is_copy(kp, r))
			return false;
		kp = ks_kpage_successor(kp) ?: ks_kpage_create(hash, scope, page);
	}
	if (!kp || PageHWPoison(kp->page) || !ks_is_copy(kp, r))
		return false;
	r->new = kp->page;
	return ks_walk_pte(r->vma->vm_mm, addr, ks_replace_pte, r);
}

/*
 * One that is not empty any more is left alone: next time it is another page.
 * Of a huge page split by the freeze core mm may have made it the zero page
 * itself, since 6.12; then there is no @page.
 */
static bool ks_merge_empty(struct ks_replacement *r, struct ks_batch *b, unsigned int slot)
{
	struct mm_struct *mm = r->vma->vm_mm;
	unsigned long addr = ks_slot_addr(b, slot);

	if (!b->zeros)
		return false;
	if (!r->old && !ks_zero_page_at(mm, addr))
		return false;
	if (r->old && !(ks_page_is_empty(r->old) && ks_walk_pte(mm, addr, ks_replace_pte, r)))
		return false;
	ks_zeros_note(b->zeros, slot);
	return true;
}

/*
 * It is locked and isolated, and the last reference is the isolation's. What
 * isolation leaves of an LRU list's marks nobody may see on a free page.
 *
 * Not one that got into the swap cache since it was collected: the cache's
 * reference keeps it, and reclaim must find it on a list.
 */
static void ks_free_frozen(struct page *page, unsigned long *src)
{
	struct folio *folio = page_folio(page);

	if (folio_test_swapcache(folio))
		return;
	*src = 0;
	folio_clear_active(folio);
	folio_clear_unevictable(folio);
	folio_unlock(folio);
	folio_put(folio);
}

static unsigned int ks_merge_run(struct vm_area_struct *vma, struct ks_batch *b,
				 unsigned int first, unsigned int last)
{
	struct migrate_vma migrate = {
		.vma = vma,
		.src = b->src,
		.dst = b->dst,
		.start = ks_slot_addr(b, first),
		.end = ks_slot_addr(b, last),
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	unsigned int slot, new = 0, tight = 0, merged = 0;

	for (slot = first; slot < last; slot++) {
		struct ks_kpage *kp;
		unsigned int room;

		if (b->empty[slot])
			continue;
		kp = ks_kpage_find(b->hash[slot], &b->scope);
		room = kp ? ks_kpage_room(kp) : 0;
		if (!room)
			new++;
		else if (room < last - first)
			tight++;
	}
	/*
	 * One with a little room fills up with two pages of the run at the
	 * earliest. With less than that some pages wait for the next pass.
	 */
	ks_kpages_reserve(new + (tight + 1) / 2, b->nid[first], &b->scope);

	if (migrate_vma_setup(&migrate))
		return 0;
	for (slot = first; slot < last; slot++) {
		unsigned long *src = &b->src[slot - first];
		struct ks_replacement r = { .vma = vma, .old = migrate_pfn_to_page(*src) };

		if (!(*src & MIGRATE_PFN_MIGRATE))
			continue;
		/* What the hardware lost must not be read; who maps it keeps it. */
		if (r.old && (PageHWPoison(r.old) || ks_page_has_tags(r.old)))
			continue;
		if (b->empty[slot])
			merged += ks_merge_empty(&r, b, slot);
		else if (r.old)
			merged += ks_merge_frozen(&r, ks_slot_addr(b, slot), b->hash[slot],
						  &b->scope);
		if (r.last)
			ks_free_frozen(r.old, src);
		if (r.differs) {
			b->action[slot] = KS_MISTAKEN;
			b->mistaken = true;
		}
	}
	migrate_vma_pages(&migrate);
	migrate_vma_finalize(&migrate);
	return merged;
}

/**
 * ks_merge_batch - merge the pages that were found worth it
 * @vma:   the mapping that they are in
 * @b:     the batch; its pages' references are dropped
 * @limit: most pages to merge
 *
 * Context: a step, ks_merge_lock and mmap_lock held. May sleep.
 * Return: how many were merged
 */
unsigned int ks_merge_batch(struct vm_area_struct *vma, struct ks_batch *b,
			    unsigned int limit)
{
	unsigned int slot, end, merged = 0;

	for (slot = b->first; slot < b->last && merged < limit; slot = end) {
		end = slot + 1;
		if (b->action[slot] != KS_MERGE)
			continue;
		while (end < b->last && b->action[end] == KS_MERGE &&
		       b->nid[end] == b->nid[slot] &&
		       end - slot < min(KS_RUN_MAX, limit - merged))
			end++;
		merged += ks_merge_run(vma, b, slot, end);
	}
	return merged;
}
