// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page table walks: the first of the two inner loops.
 *
 * The scan goes one page table at a time. Under the table's lock it takes a
 * reference to every page that could be merged and remembers it by its slot;
 * the pages are read only after the lock is gone:
 *
 *   slot   0   1   2   3   4   5 ...
 *   PTE    A   -   Z   B   s   K        A, B anonymous pages; - nothing there;
 *   taken  A           B                Z the zero page; s swapped out; K merged
 *                                       (taken where an unloaded module did it)
 *
 * A page found under the lock is mapped, so it cannot be freed, and is tested
 * for being anonymous only then. What is read of it later may already be torn
 * by a writer. That is harmless: a hash only proposes, and the comparison of
 * the frozen page decides.
 *
 * mmap_lock (read) keeps mappings, but since 6.6 not every page table: it may
 * be retracted under us. So a table is entered within RCU, by a copy of its PMD
 * that is looked at again under the table's lock.
 */
#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "engine.h"

/* A batch is of one page table. */
static_assert(PTRS_PER_PTE % KS_BATCH == 0);

/* Empty page tables that one call passes before it lets others run. */
#define KS_WALK_TABLES	256U

/* The PMD that covers @addr; NULL where there is none up to *@next. */
static pmd_t *ks_walk_pmd(struct mm_struct *mm, unsigned long addr,
			  unsigned long end, unsigned long *next)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	*next = pgd_addr_end(addr, end);
	if (pgd_none(*pgd) || unlikely(pgd_bad(*pgd)))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	*next = p4d_addr_end(addr, end);
	if (p4d_none(*p4d) || unlikely(p4d_bad(*p4d)))
		return NULL;
	pud = pud_offset(p4d, addr);
	*next = pud_addr_end(addr, end);
	if (pud_none(*pud) || unlikely(pud_bad(*pud)))
		return NULL;
	*next = pmd_addr_end(addr, end);
	return pmd_offset(pud, addr);
}

static bool ks_pmd_is_table(pmd_t pmd)
{
	return !pmd_none(pmd) && pmd_present(pmd) && !pmd_trans_huge(pmd) &&
	       !pmd_bad(pmd);
}

/*
 * Call @fn with the entry of @addr in the page table that @pmd points to, under
 * the table's lock. False, without a call, where there is no table.
 */
static bool ks_walk_table(struct mm_struct *mm, pmd_t *pmd, unsigned long addr,
			  ks_pte_fn fn, void *arg)
{
	bool ret = false;
	spinlock_t *ptl;
	pmd_t val;

	rcu_read_lock();
	val = READ_ONCE(*pmd);
	if (ks_pmd_is_table(val)) {
		/* By our copy: *pmd may be cleared before the lock is ours. */
		ptl = pte_lockptr(mm, &val);
		spin_lock(ptl);
		if (likely(pmd_val(val) == pmd_val(READ_ONCE(*pmd))))
			ret = fn(pte_offset_kernel(&val, addr), addr, arg);
		spin_unlock(ptl);
	}
	rcu_read_unlock();
	return ret;
}

/**
 * ks_walk_pte - do something with one page table entry
 * @mm:   the address space, mmap_lock held
 * @addr: the address
 * @fn:   called with the entry under its lock; must not sleep
 * @arg:  passed to @fn
 *
 * Return: what @fn returned, false where there is no page table
 */
bool ks_walk_pte(struct mm_struct *mm, unsigned long addr, ks_pte_fn fn, void *arg)
{
	unsigned long next;
	pmd_t *pmd = ks_walk_pmd(mm, addr, addr + PAGE_SIZE, &next);

	return pmd && ks_walk_table(mm, pmd, addr, fn, arg);
}

/* The page that a present entry maps, NULL where core mm would see none. */
static struct page *ks_pte_page(pte_t pte)
{
	if (!pte_present(pte) || pte_special(pte) || !pfn_valid(pte_pfn(pte)))
		return NULL;
	return pte_page(pte);
}

/*
 * In memory of the kind that we merge only our pages are neither anonymous nor
 * in a file: those of this module and those that an unloaded one left behind.
 */
static bool ks_page_is_merged(struct page *page)
{
	struct folio *folio = page_folio(page);

	return !folio_test_anon(folio) && !folio_test_large(folio) &&
	       !folio->mapping && !folio_test_reserved(folio);
}

/* Is a merged page one that an unloaded module left? */
static bool ks_page_is_orphan(struct page *page, pte_t pte)
{
	return !ks_page_is_ours(page) && !pte_write(pte) && PageUptodate(page) &&
	       !PageHWPoison(page);
}

struct ks_collect {
	struct ks_batch *b;
	unsigned int limit;
};

static void ks_collect_page(struct ks_batch *b, unsigned int slot, struct page *page)
{
	struct folio *folio = page_folio(page);

	folio_get(folio);
	b->page[slot] = page;
	b->off_lru[slot] = !folio_test_lru(folio);
	b->nr++;
}

static bool ks_collect_ptes(pte_t *ptep, unsigned long addr, void *arg)
{
	struct ks_collect *c = arg;
	struct ks_batch *b = c->b;
	unsigned int slot;

	for (slot = b->first; slot < b->last; slot++, ptep++) {
		struct folio *folio;
		struct page *page;
		bool orphan;
		pte_t pte;

		if (b->napping & BIT(slot / KS_BLOCK)) {
			unsigned int first, last = ks_block_slots(b, slot / KS_BLOCK, &first);

			ptep += last - 1 - slot;
			slot = last - 1;
			continue;
		}
		pte = READ_ONCE(*ptep);
		if (!pte_present(pte)) {
			b->absent++;
			continue;
		}
		if (pte_special(pte)) {
			b->at_rest++;
			if (is_zero_pfn(pte_pfn(pte)))
				__set_bit(slot, b->settled);
			continue;
		}
		/* There is one: mappings of what has none are not scanned (span.c). */
		page = pte_page(pte);
		folio = page_folio(page);
		orphan = false;
		if (!folio_test_anon(folio)) {
			if (!ks_page_is_merged(page))
				continue;
			orphan = ks_page_is_orphan(page, pte);
			if (!orphan) {
				b->at_rest++;
				__set_bit(slot, b->settled);
				continue;
			}
		} else if (folio_test_ksm(folio)) {
			continue;
		}
		if (folio_test_large(folio) && b->keep_huge) {
			b->kept_huge++;
			continue;
		}
		/*
		 * What is in the swap cache would leave its copy there; what
		 * the hardware lost must not be read; tags would get lost; of
		 * what is shared ksmd may make a page of its own (builtin.c).
		 */
		if (folio_test_swapcache(folio) || PageHWPoison(page) ||
		    ks_page_has_tags(page) ||
		    (!orphan && b->only_exclusive && !PageAnonExclusive(page)) ||
		    (folio_test_large(folio) && !KS_SPLITS_LARGE_FOLIOS)) {
			b->passed_over++;
			continue;
		}
		if (b->nr == c->limit) {
			b->cut_behind = true;
			break;
		}
		ks_collect_page(b, slot, page);
		if (orphan)
			__set_bit(slot, b->orphans);
	}
	b->last = slot;
	/* Those beyond will be met in the next step. */
	b->napping &= BIT(DIV_ROUND_UP(slot, KS_BLOCK)) - 1;
	return true;
}

static bool ks_pages_have_tags(struct page *page, unsigned int nr)
{
	for (; nr; nr--, page++)
		if (ks_page_has_tags(page))
			return true;
	return false;
}

static bool ks_collect_huge(struct mm_struct *mm, pmd_t *pmd, struct ks_batch *b)
{
	struct folio *folio;
	struct page *page;
	unsigned int slot;
	spinlock_t *ptl;
	bool taken = false;

	ptl = pmd_lock(mm, pmd);
	if (!pmd_present(*pmd) || !pmd_trans_huge(*pmd))
		goto out;
	taken = true;
	b->napping = 0;
	page = pmd_page(*pmd);
	folio = page_folio(page);
	if (!folio_test_anon(folio) || folio_test_ksm(folio))
		goto out;
	if (b->keep_huge) {
		b->kept_huge += b->last - b->first;
		goto out;
	}
	page += (ks_slot_addr(b, b->first) & ~PMD_MASK) >> PAGE_SHIFT;
	if (folio_test_swapcache(folio) || folio_test_has_hwpoisoned(folio) ||
	    (b->only_exclusive && !PageAnonExclusive(pmd_page(*pmd))) ||
	    ks_pages_have_tags(page, b->last - b->first)) {
		b->passed_over += b->last - b->first;
		goto out;
	}
	for (slot = b->first; slot < b->last; slot++, page++) {
		ks_collect_page(b, slot, page);
		b->off_lru[slot] = false;
	}
	b->huge = true;
out:
	spin_unlock(ptl);
	return taken;
}

/**
 * ks_walk_collect - find the next pages to scan
 * @km:    the address space
 * @start: where to begin
 * @end:   where to end, in the same mapping
 * @limit: most pages to take; a huge page is taken whole all the same
 * @b:     in: keep_huge, only_exclusive, scope, cut_before; out: the pages, each with a reference
 *
 * Context: mmap_lock held. May sleep.
 * Return: the address to go on from
 */
unsigned long ks_walk_collect(struct ks_mm *km, unsigned long start,
			      unsigned long end, unsigned int limit, struct ks_batch *b)
{
	struct mm_struct *mm = km->mm;
	unsigned int tables = KS_WALK_TABLES;
	unsigned long addr = start, next;
	pmd_t *pmd;

	bitmap_zero(b->orphans, KS_BATCH);
	bitmap_zero(b->settled, KS_BATCH);
	b->napping = 0;
	b->napped = 0;
	b->at_rest = 0;
	b->absent = 0;
	b->nr = 0;
	b->reserved = 0;
	b->passed_over = 0;
	b->kept_huge = 0;
	b->read = 0;
	b->trusted = 0;
	b->unshared = 0;
	b->changed = 0;
	b->skipped = 0;
	b->unmergeable = 0;
	b->mistaken = false;
	b->huge = false;
	b->cut_behind = false;

	for (; addr < end && tables--; addr = next) {
		pmd = ks_walk_pmd(mm, addr, end, &next);
		if (!pmd || pmd_none(READ_ONCE(*pmd)))
			continue;
		b->addr = ALIGN_DOWN(addr, KS_BATCH_BYTES);
		next = min(next, b->addr + KS_BATCH_BYTES);
		b->first = (addr - b->addr) >> PAGE_SHIFT;
		b->last = (next - b->addr) >> PAGE_SHIFT;
		/* All of them, in a step for each small mapping, would cost more than the rest. */
		memset(b->page + b->first, 0, (b->last - b->first) * sizeof(b->page[0]));
		b->napping = ks_naps(km, b);

		if (!pmd_trans_huge(READ_ONCE(*pmd)) || !ks_collect_huge(mm, pmd, b)) {
			struct ks_collect c = { .b = b, .limit = limit };

			ks_walk_table(mm, pmd, addr, ks_collect_ptes, &c);
			next = ks_slot_addr(b, b->last);
		}
		if (b->nr || b->napping || b->passed_over || b->kept_huge)
			return next;
	}
	return addr;
}

struct ks_find {
	unsigned long end;
	unsigned long *found;
	unsigned int nr;
};

static bool ks_find_ptes(pte_t *ptep, unsigned long addr, void *arg)
{
	struct ks_find *f = arg;

	for (; addr < f->end; addr += PAGE_SIZE, ptep++) {
		struct page *page = ks_pte_page(READ_ONCE(*ptep));

		if (page && ks_page_is_merged(page))
			f->found[f->nr++] = addr;
	}
	return true;
}

/**
 * ks_walk_find_merged - find merged pages
 * @mm:    the address space
 * @start: where to begin
 * @end:   where to end, in the same mapping
 * @found: out: the addresses of at most KS_BATCH of them
 * @nr:    out: how many
 *
 * Context: mmap_lock held. May sleep.
 * Return: the address to go on from
 */
unsigned long ks_walk_find_merged(struct mm_struct *mm, unsigned long start,
				  unsigned long end, unsigned long *found,
				  unsigned int *nr)
{
	struct ks_find f = { .found = found };
	unsigned int tables = KS_WALK_TABLES;
	unsigned long addr = start, next;

	for (; addr < end && tables-- && !f.nr; addr = next) {
		pmd_t *pmd = ks_walk_pmd(mm, addr, end, &next);

		if (!pmd)
			continue;
		next = min(next, ALIGN_DOWN(addr, KS_BATCH_BYTES) + KS_BATCH_BYTES);
		f.end = next;
		ks_walk_table(mm, pmd, addr, ks_find_ptes, &f);
	}
	*nr = f.nr;
	return addr;
}

struct ks_count {
	unsigned long end;
	struct ks_page_counts *counts;
};

static bool ks_count_ptes(pte_t *ptep, unsigned long addr, void *arg)
{
	struct ks_count *f = arg;
	struct ks_page_counts *c = f->counts;

	for (; addr < f->end; addr += PAGE_SIZE, ptep++) {
		pte_t pte = READ_ONCE(*ptep);
		struct page *page = ks_pte_page(pte);
		unsigned int users;

		if (pte_present(pte) && is_zero_pfn(pte_pfn(pte))) {
			c->zero++;
		} else if (page && folio_test_anon(page_folio(page))) {
			c->mapped++;
		} else if (page && ks_page_is_merged(page)) {
			c->mapped++;
			c->merged++;
			users = ks_page_users(page);
			if (users > 1) {
				c->sharing++;
				c->saved += PAGE_SIZE - PAGE_SIZE / users;
			}
		}
	}
	return true;
}

static bool ks_count_huge(struct mm_struct *mm, pmd_t *pmd, struct ks_count *f,
			  unsigned long addr)
{
	spinlock_t *ptl = pmd_lock(mm, pmd);
	bool huge = pmd_present(*pmd) && pmd_trans_huge(*pmd);

	if (huge) {
		if (folio_test_anon(page_folio(pmd_page(*pmd))))
			f->counts->mapped += (f->end - addr) >> PAGE_SHIFT;
		else
			f->counts->zero += (f->end - addr) >> PAGE_SHIFT;
	}
	spin_unlock(ptl);
	return huge;
}

/**
 * ks_walk_count - count pages
 * @mm:    the address space
 * @start: where to begin
 * @end:   where to end, in the same mapping
 * @c:     what to add to
 *
 * Context: mmap_lock held. May sleep.
 * Return: the address to go on from, after a bounded number of page tables
 */
unsigned long ks_walk_count(struct mm_struct *mm, unsigned long start, unsigned long end,
			    struct ks_page_counts *c)
{
	struct ks_count f = { .counts = c };
	unsigned int tables = KS_WALK_TABLES;
	unsigned long addr = start, next;

	for (; addr < end && tables--; addr = next) {
		pmd_t *pmd = ks_walk_pmd(mm, addr, end, &next);

		if (!pmd)
			continue;
		next = min(next, ALIGN_DOWN(addr, KS_BATCH_BYTES) + KS_BATCH_BYTES);
		f.end = next;
		if (!pmd_trans_huge(READ_ONCE(*pmd)) || !ks_count_huge(mm, pmd, &f, addr))
			ks_walk_table(mm, pmd, addr, ks_count_ptes, &f);
		cond_resched();
	}
	return addr;
}
