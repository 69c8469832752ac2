// SPDX-License-Identifier: GPL-2.0-only
/*
 * Empty pages: those of zeros only, which may become the kernel's zero page.
 *
 * It is there anyway, so no merged page has to be made, and a guest that boots
 * from zeroed memory has many. Its entries in page tables are special: core mm
 * keeps no count of them, and nothing tells of one that is written or unmapped.
 * (The built-in KSM marks its own dirty, and counts them in core mm. That mark
 * would have core mm take ours from the built-in's count.)
 *
 * So we note where we put them, a bit for each page, and look at each noted
 * entry again when the scan passes by. Of a table with pages at slots 0 to 5:
 *
 *   merged in pass 1       Z Z . Z . .    noted 0 1 3    ksm_zero_pages 3
 *   slot 1 is written      Z A . Z . .    noted 0 1 3    3, until looked at
 *   the next pass          Z A . Z . .    noted 0 3      2
 *
 * The notes also say which zero pages to unmerge: those of memory that was only
 * ever read look the same, and to fill them in would cost memory nobody saved.
 * What the notes do not follow stays the zero page: a child's copies, memory
 * that mremap() moved, and that of an address space no longer registered.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/xarray.h>

#include "engine.h"

/* Of one batch. */
struct ks_zeros {
	bool used;		/* in this pass */
	unsigned int nr;
	DECLARE_BITMAP(slots, KS_BATCH);
};

static unsigned long ks_nr_zero_pages;
static unsigned long ks_nr_zeros;

/**
 * ks_page_is_empty - is the page all zeros?
 * @page: the page, with a reference or frozen
 */
bool ks_page_is_empty(struct page *page)
{
	void *data = kmap_local_page(page);
	bool empty = !memchr_inv(data, 0, PAGE_SIZE);

	kunmap_local(data);
	return empty;
}

static bool ks_pte_is_zero_page(pte_t *ptep, unsigned long addr, void *arg)
{
	pte_t pte = READ_ONCE(*ptep);

	return pte_present(pte) && is_zero_pfn(pte_pfn(pte));
}

/* Is the zero page mapped there? Context: mmap_lock held. */
bool ks_zero_page_at(struct mm_struct *mm, unsigned long addr)
{
	return ks_walk_pte(mm, addr, ks_pte_is_zero_page, NULL);
}

/**
 * ks_zeros_get - where to note the zero pages of a batch
 * @km:   the address space
 * @addr: address of the batch
 *
 * Context: a step, ks_merge_lock held. May sleep.
 * Return: the notes, NULL without memory
 */
struct ks_zeros *ks_zeros_get(struct ks_mm *km, unsigned long addr)
{
	unsigned long index = addr / KS_BATCH_BYTES;
	struct ks_zeros *z = xa_load(&km->zeros, index);

	if (!z) {
		z = kzalloc(sizeof(*z), KS_GFP);
		if (!z)
			return NULL;
		if (xa_is_err(xa_store(&km->zeros, index, z, KS_GFP))) {
			kfree(z);
			return NULL;
		}
		ks_nr_zeros++;
	}
	z->used = true;
	return z;
}

/* Context: ks_merge_lock held, pages frozen. */
void ks_zeros_note(struct ks_zeros *z, unsigned int slot)
{
	if (__test_and_set_bit(slot, z->slots))
		return;
	z->nr++;
	ks_nr_zero_pages++;
}

static void ks_zeros_forget(struct ks_zeros *z, unsigned int slot)
{
	if (!__test_and_clear_bit(slot, z->slots))
		return;
	z->nr--;
	ks_nr_zero_pages--;
}

static void ks_zeros_drop(struct ks_mm *km, unsigned long index, struct ks_zeros *z)
{
	xa_erase(&km->zeros, index);
	ks_nr_zero_pages -= z->nr;
	ks_nr_zeros--;
	kfree(z);
}

struct ks_zeros_look {
	struct ks_zeros *z;
	unsigned int first;
	unsigned int last;
};

static bool ks_zeros_look(pte_t *ptep, unsigned long addr, void *arg)
{
	struct ks_zeros_look *look = arg;
	unsigned int slot;

	for (slot = look->first; slot < look->last; slot++, ptep++) {
		if (!ks_pte_is_zero_page(ptep, addr, NULL))
			ks_zeros_forget(look->z, slot);
	}
	return true;
}

/**
 * ks_zeros_revisit - forget the zero pages that are there no more
 * @km:    the address space
 * @start: where to look
 * @end:   where to stop
 *
 * Context: a step, mmap_lock held. May sleep.
 */
void ks_zeros_revisit(struct ks_mm *km, unsigned long start, unsigned long end)
{
	unsigned long index;
	struct ks_zeros *z;

	if (xa_empty(&km->zeros) || start == end)
		return;
	mutex_lock(&ks_merge_lock);
	xa_for_each_range(&km->zeros, index, z, start / KS_BATCH_BYTES,
			  (end - 1) / KS_BATCH_BYTES) {
		unsigned long addr = index * KS_BATCH_BYTES;
		unsigned long from = max(start, addr);
		struct ks_zeros_look look = {
			.z = z,
			.first = (from - addr) >> PAGE_SHIFT,
			.last = min((end - addr) >> PAGE_SHIFT, (unsigned long)KS_BATCH),
		};
		unsigned int slot;

		z->used = true;
		if (!ks_walk_pte(km->mm, from, ks_zeros_look, &look))
			for (slot = look.first; slot < look.last; slot++)
				ks_zeros_forget(z, slot);
		if (!z->nr)
			ks_zeros_drop(km, index, z);
	}
	mutex_unlock(&ks_merge_lock);
}

/**
 * ks_zeros_sweep - forget those of memory that this pass did not meet
 * @km: the address space, which the pass went through
 *
 * Context: ks_lock held for writing.
 */
void ks_zeros_sweep(struct ks_mm *km)
{
	unsigned long index;
	struct ks_zeros *z;

	xa_for_each(&km->zeros, index, z) {
		if (!z->used)
			ks_zeros_drop(km, index, z);
		else
			z->used = false;
	}
}

void ks_zeros_free(struct ks_mm *km)
{
	unsigned long index;
	struct ks_zeros *z;

	xa_for_each(&km->zeros, index, z)
		ks_zeros_drop(km, index, z);
	xa_destroy(&km->zeros);
}

/**
 * ks_zeros_find - find zero pages to unmerge
 * @mm:    the address space
 * @index: in: where to look from; out: the batch that they are in
 * @found: out: the addresses of at most KS_BATCH of them
 *
 * Context: process context, takes ks_lock.
 * Return: how many, 0: there are no more
 */
unsigned int ks_zeros_find(struct mm_struct *mm, unsigned long *index,
			   unsigned long *found)
{
	struct ks_zeros *z = NULL;
	unsigned int slot, nr = 0;
	struct ks_mm *km;

	down_write(&ks_lock);
	km = ks_mm_find(mm);
	if (km)
		z = xa_find(&km->zeros, index, ULONG_MAX, XA_PRESENT);
	while (z && !z->nr)
		z = xa_find_after(&km->zeros, index, ULONG_MAX, XA_PRESENT);
	if (z)
		for_each_set_bit(slot, z->slots, KS_BATCH)
			found[nr++] = *index * KS_BATCH_BYTES +
				      ((unsigned long)slot << PAGE_SHIFT);
	up_write(&ks_lock);
	return nr;
}

/**
 * ks_zeros_unmerged - forget zero pages that are unmerged
 * @mm:    the address space
 * @index: the batch that they are in
 * @found: their addresses
 * @nr:    how many
 *
 * Others of the batch may have been merged meanwhile.
 *
 * Context: process context, takes ks_lock.
 */
void ks_zeros_unmerged(struct mm_struct *mm, unsigned long index, const unsigned long *found,
		       unsigned int nr)
{
	struct ks_zeros *z;
	struct ks_mm *km;
	unsigned int i;

	down_write(&ks_lock);
	km = ks_mm_find(mm);
	z = km ? xa_load(&km->zeros, index) : NULL;
	for (i = 0; z && i < nr; i++)
		ks_zeros_forget(z, found[i] / PAGE_SIZE % KS_BATCH);
	if (z && !z->nr)
		ks_zeros_drop(km, index, z);
	up_write(&ks_lock);
}

/* Context: ks_lock held, or for a value of the moment. */
unsigned long ks_zeros_count(void)
{
	return READ_ONCE(ks_nr_zero_pages);
}

unsigned long ks_zeros_bytes(void)
{
	return READ_ONCE(ks_nr_zeros) * sizeof(struct ks_zeros);
}
