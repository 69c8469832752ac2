// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory to merge, and contents that can be told apart. */
#include "ksmtest.h"

/* Guards around it keep the kernel from joining it to another VMA. */
static char *map(size_t npages, size_t align)
{
	size_t length = npages * PAGE + 2 * align;
	char *p = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail("mapping %zu pages: %s", npages, strerror(errno));
	p = (char *)(((uintptr_t)p + align) & ~(align - 1));
	if (mprotect(p, npages * PAGE, PROT_READ | PROT_WRITE))
		fail("mprotect: %s", strerror(errno));
	return p;
}

char *mem_map(size_t npages)
{
	char *p = map(npages, PAGE);

	madvise(p, npages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

char *mem_map_huge(size_t npages)
{
	char *p = map(npages, HUGE);

	if (madvise(p, npages * PAGE, MADV_HUGEPAGE))
		skip("no huge pages in this kernel: %s", strerror(errno));
	return p;
}

void mem_unmap(char *p, size_t npages)
{
	if (munmap(p, npages * PAGE))
		fail("munmap: %s", strerror(errno));
}

/* A full page of xorshift numbers; no two seeds give an equal page. */
static uint64_t first_word(uint64_t seed)
{
	return (seed + 1) * 0x9e3779b97f4a7c15ULL;
}

static uint64_t next_word(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

void page_fill(void *page, uint64_t seed)
{
	uint64_t *word = page, x = first_word(seed);

	for (size_t i = 0; i < PAGE / 8; i++, x = next_word(x))
		word[i] = x;
}

bool page_is(const void *page, uint64_t seed)
{
	const uint64_t *word = page;
	uint64_t x = first_word(seed);

	for (size_t i = 0; i < PAGE / 8; i++, x = next_word(x))
		if (word[i] != x)
			return false;
	return true;
}

void mem_fill(char *p, size_t npages, size_t contents, uint64_t base)
{
	for (size_t i = 0; i < npages; i++)
		page_fill(p + i * PAGE, base + i % contents);
}

void mem_check(const char *p, size_t npages, size_t contents, uint64_t base)
{
	for (size_t i = 0; i < npages; i++)
		if (!page_is(p + i * PAGE, base + i % contents))
			fail("page %zu of %zu lost its contents (first word %#llx)", i, npages,
			     *(const unsigned long long *)(p + i * PAGE));
}

bool page_is_zero(const void *page)
{
	static const char zero[PAGE];

	return !memcmp(page, zero, PAGE);
}
