// SPDX-License-Identifier: GPL-2.0-or-later
/* What the kernel tells about memory. */
#include <sys/stat.h>

#include "ksmtest.h"

int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n, length = strlen(text);
	int err = 0;

	if (fd < 0)
		return -errno;
	n = write(fd, text, length);
	if (n < 0)
		err = -errno;
	else if (n != length)
		err = -EIO;
	close(fd);
	return err;
}

int file_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = -errno;
	else
		buf[n] = '\0';
	close(fd);
	return n;
}

static void pagemap_read(const void *addr, size_t npages, uint64_t *entry)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t length = npages * sizeof(*entry), done = 0;
	off_t at = (uintptr_t)addr / PAGE * sizeof(*entry);

	if (fd < 0)
		fail("/proc/self/pagemap: %s", strerror(errno));
	while (done < length) {
		ssize_t n = pread(fd, (char *)entry + done, length - done, at + done);

		if (n <= 0)
			fail("reading /proc/self/pagemap: %s", strerror(errno));
		done += n;
	}
	close(fd);
}

uint64_t pagemap(const void *addr)
{
	uint64_t entry;

	pagemap_read(addr, 1, &entry);
	return entry;
}

/* 0 for a page that is not present */
void pfns_of(const char *p, size_t npages, uint64_t *pfn)
{
	pagemap_read(p, npages, pfn);
	for (size_t i = 0; i < npages; i++)
		pfn[i] = pfn[i] & PM_PRESENT ? pfn[i] & ((1ULL << 55) - 1) : 0;
}

uint64_t pfn_of(const void *addr)
{
	uint64_t pfn;

	pfns_of(addr, 1, &pfn);
	return pfn;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

size_t distinct_pfns(const char *p, size_t npages)
{
	uint64_t *pfn = malloc(npages * sizeof(*pfn));
	size_t n = 0;

	pfns_of(p, npages, pfn);
	qsort(pfn, npages, sizeof(*pfn), compare);
	for (size_t i = 0; i < npages; i++)
		n += pfn[i] && (!i || pfn[i] != pfn[i - 1]);
	free(pfn);
	return n;
}

long smaps_pages(const char *p, size_t npages, const char *field)
{
	FILE *in = fopen("/proc/self/smaps", "re");
	uintptr_t from = (uintptr_t)p, to = from + npages * PAGE;
	size_t length = strlen(field);
	bool inside = false;
	char line[512];
	long sum = -1;

	if (!in)
		fail("/proc/self/smaps: %s", strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		unsigned long start, end;
		long kb;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start < to && end > from;
		else if (inside && !strncmp(line, field, length) && line[length] == ':' &&
			 sscanf(line + length + 1, "%ld kB", &kb) == 1)
			sum = (sum < 0 ? 0 : sum) + kb / 4;
	}
	fclose(in);
	if (sum < 0)
		fail("no %s for %p in /proc/self/smaps", field, p);
	return sum;
}

static long field_of(const char *path, const char *field, char after)
{
	FILE *in = fopen(path, "re");
	size_t length = strlen(field);
	char line[256];
	long value = -1;

	if (!in)
		fail("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), in))
		if (!strncmp(line, field, length) && line[length] == after)
			value = atol(line + length + 1);
	fclose(in);
	if (value == -1)
		fail("no %s in %s", field, path);
	return value;
}

long meminfo_kb(const char *field)
{
	file_write("/proc/sys/vm/stat_refresh", "1");
	return field_of("/proc/meminfo", field, ':');
}

void frees_at_once(void)
{
	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		skip("freed memory may stay in KASAN's quarantine");
}

long free_kb(void)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	long pages, listed = 0;
	char line[256];

	require(f, "/proc/zoneinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %ld", &pages) == 1)
			listed += pages;
	fclose(f);
	return meminfo_kb("MemFree") + listed * (long)(PAGE / 1024);
}

long vmstat(const char *field)
{
	file_write("/proc/sys/vm/stat_refresh", "1");
	return field_of("/proc/vmstat", field, ' ');
}

void program_copy(const char *path, mode_t mode)
{
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	char buffer[65536];
	ssize_t n;

	require(in >= 0 && out >= 0, "copying the program: %s", strerror(errno));
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		require(write(out, buffer, n) == n, "copying the program: %s", strerror(errno));
	close(in);
	close(out);
	require(!chmod(path, mode), "chmod: %s", strerror(errno));
}
