// SPDX-License-Identifier: GPL-2.0-or-later
/* KSM_AREA_STATISTICS, KSM_TASK_STATISTICS and KSM_AREA_UNMERGE. */
#include "ksmtest.h"
#include "remote.h"

_Static_assert(KSM_AREA_STATISTICS == 0xab63, "number");
_Static_assert(KSM_TASK_STATISTICS == 0xab64, "number");
_Static_assert(KSM_AREA_UNMERGE == 0xab65, "number");
_Static_assert(sizeof(struct ksm_statistics) == KSM_STATISTICS_SIZE_VER0, "size");

#define N 256
#define M 4

static struct ksm_statistics ask(int fd, unsigned long cmd, int mem)
{
	struct ksm_statistics s = { .size = sizeof(s), .mem_fd = mem };
	int err = dev_ioctl(fd, cmd, &s);

	require(!err, "command %#lx: %s", cmd, strerror(-err));
	require(s.size == sizeof(s), "%u bytes are filled in", s.size);
	require(s.profit == (int64_t)(s.saved_bytes - s.metadata_bytes), "profit %lld of %llu - %llu",
		(long long)s.profit, (unsigned long long)s.saved_bytes,
		(unsigned long long)s.metadata_bytes);
	return s;
}

static struct ksm_statistics of_area(int area)
{
	return ask(area, KSM_AREA_STATISTICS, 0);
}

static struct ksm_statistics of_task(int mem)
{
	return ask(dev_fd(), KSM_TASK_STATISTICS, mem);
}

static void expect_pages(struct ksm_statistics s, uint64_t mapped, uint64_t merged,
			 uint64_t sharing, uint64_t saved)
{
	require(s.pages_mapped == mapped && s.pages_merged == merged &&
		s.pages_sharing == sharing && s.saved_bytes == saved,
		"mapped %llu, merged %llu, sharing %llu, saved %llu; expected %llu, %llu, %llu, %llu",
		(unsigned long long)s.pages_mapped, (unsigned long long)s.pages_merged,
		(unsigned long long)s.pages_sharing, (unsigned long long)s.saved_bytes,
		(unsigned long long)mapped, (unsigned long long)merged,
		(unsigned long long)sharing, (unsigned long long)saved);
}

static void unmerge(int area)
{
	int err = dev_ioctl(area, KSM_AREA_UNMERGE, NULL);

	require(!err, "KSM_AREA_UNMERGE: %s", strerror(-err));
}

CASE(stat, area, 60)
{
	char *p = mem_map(N);
	struct ksm_statistics s;
	int area = area_new();

	s = of_area(area);
	expect_pages(s, 0, 0, 0, 0);
	require(!s.regions && !s.address_spaces && !s.metadata_bytes, "an empty area has something");
	require(!region_add(area, p, N), "registering failed");
	s = of_area(area);
	expect_pages(s, 0, 0, 0, 0);
	require(s.regions == 1 && s.address_spaces == 1, "regions %llu, address spaces %llu",
		(unsigned long long)s.regions, (unsigned long long)s.address_spaces);
	mem_fill(p, N / 2, M, 1);
	expect_pages(of_area(area), N / 2, 0, 0, 0);
	engine_merge(M, N / 2 - M);
	s = of_area(area);
	/* 32 mappings of each content, which save 31 pages together. */
	expect_pages(s, N / 2, N / 2, N / 2, (uint64_t)(N / 2) * (PAGE - PAGE / 32));
	engine_stop();
	/* One content has one user left, and 31 pages are written to. */
	for (int i = 0; i < 31; i++)
		page_fill(p + i * M * PAGE, 1000 + i);
	expect_pages(of_area(area), N / 2, N / 2 - 31, N / 2 - 32, 96UL * (PAGE - PAGE / 32));
	mem_unmap(p, N);
	expect_pages(of_area(area), 0, 0, 0, 0);
}

/* Of pages that stay single the engine remembers what they were: some bytes for each. */
CASE(stat, metadata, 60)
{
	char *p = mem_map(512);
	struct ksm_statistics s;
	int area = area_with(p, 512);

	mem_fill(p, 512, 512, 1);
	engine_start();
	engine_passes(SETTLE);
	engine_stop();
	s = of_area(area);
	expect_pages(s, 512, 0, 0, 0);
	require(s.metadata_bytes >= 512 && s.metadata_bytes <= 64 * 512, "metadata of %llu bytes",
		(unsigned long long)s.metadata_bytes);
	require(s.profit < 0, "profit %lld", (long long)s.profit);
}

/* What a page saves is shared by those that map it. */
CASE(stat, shared_fairly, 60)
{
	char *p = mem_map(2), *q = mem_map(1), *r = mem_map(1);
	int a = area_with(p, 2), b = area_with(q, 1), c = area_with(r, 1);

	mem_fill(p, 2, 1, 1);
	mem_fill(q, 1, 1, 1);
	mem_fill(r, 1, 1, 2);
	engine_merge(1, 2);
	expect_pages(of_area(a), 2, 2, 2, 2 * (PAGE - PAGE / 3));
	expect_pages(of_area(b), 1, 1, 1, PAGE - PAGE / 3);
	expect_pages(of_area(c), 1, 0, 0, 0);
}

/* Regions are what counts, holes and other memory are not. */
CASE(stat, only_regions, 60)
{
	char *p = mem_map(N), *z = mem_map(N), sum = 0;
	char *shared = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct ksm_statistics s;
	int area = area_with(p + 8 * PAGE, 16);

	mem_fill(p, N, 1, 1);
	mem_fill(shared, N, 1, 1);
	require(!region_add(area, z, N) && !region_add(area, shared, N), "registering failed");
	for (int i = 0; i < 5; i++)
		sum += z[i * 3 * PAGE];
	require(!sum, "memory that is not zero");
	s = of_area(area);
	expect_pages(s, 16, 0, 0, 0);
	require(s.zero_pages == 5 && s.regions == 3 && s.address_spaces == 1,
		"zero pages %llu, regions %llu, address spaces %llu",
		(unsigned long long)s.zero_pages, (unsigned long long)s.regions,
		(unsigned long long)s.address_spaces);
}

CASE(stat, huge_page, 60)
{
	char *p = mem_map_huge(512);
	int area = area_with(p + 3 * PAGE, 500);

	mem_fill(p, 512, 512, 1);
	expect_pages(of_area(area), 500, 0, 0, 0);
}

CASE(stat, task, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N);
	int area = area_new(), mem = mem_open(r.peer.pid);
	struct ksm_statistics s, t;

	remote_fill(&r, p, N, M, 1);
	s = of_task(mem);
	require(!s.pages_merged && s.pages_mapped > N && !s.regions && s.address_spaces == 1,
		"merged %llu, mapped %llu, regions %llu", (unsigned long long)s.pages_merged,
		(unsigned long long)s.pages_mapped, (unsigned long long)s.regions);
	require(!task_add(area, mem, p, N / 2, 0) && !task_add(area, mem, p + N / 2 * PAGE, N / 2,
		KSM_TASK_DETACHED), "registering failed");
	engine_merge(M, N - M);
	t = of_task(mem);
	require(t.regions == 2, "regions %llu", (unsigned long long)t.regions);
	expect_pages(t, s.pages_mapped, N, N, (uint64_t)N * (PAGE - PAGE / 64));
	s = of_area(area);
	expect_pages(s, N / 2, N / 2, N / 2, (uint64_t)(N / 2) * (PAGE - PAGE / 64));
	require(s.regions == 1 && s.address_spaces == 1, "regions %llu",
		(unsigned long long)s.regions);
	peer_kill(&r.peer);
	s = of_area(area);
	expect_pages(s, 0, 0, 0, 0);
	require(!s.regions, "a dead task has regions");
}

CASE(stat, bad_arguments, 60)
{
	struct { struct ksm_statistics s; char more[64]; } big;
	struct ksm_statistics s = { 0 }, good = { .size = sizeof(good) };
	int area = area_new(), dev = dev_fd(), mem = mem_open(getpid());
	int scan = dev_ioctl(dev, KSM_CREATE_SCAN, NULL);
	char *edge = mem_map(1);

	for (unsigned int size = 0; size < sizeof(s); size++) {
		s.size = size;
		expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, &s), EINVAL, "a size too small");
		expect_errno(dev_ioctl(dev, KSM_TASK_STATISTICS, &s), EINVAL, "a size too small");
	}
	s = good;
	s.size = 4097;
	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, &s), E2BIG, "a size of more than a page");
	s = good;
	s.flags = 1;
	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, &s), EINVAL, "a flag");
	expect_errno(dev_ioctl(dev, KSM_TASK_STATISTICS, &s), EINVAL, "a flag");
	s = good;
	s.reserved = 1;
	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, &s), EINVAL, "the reserved field");
	s = good;
	s.mem_fd = mem;
	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, &s), EINVAL, "a descriptor for an area");
	s.mem_fd = -1;
	expect_errno(dev_ioctl(dev, KSM_TASK_STATISTICS, &s), EBADF, "the descriptor -1");
	s.mem_fd = dev;
	expect_errno(dev_ioctl(dev, KSM_TASK_STATISTICS, &s), EINVAL, "the device as a task");

	memset(&big, 0, sizeof(big));
	big.s.size = sizeof(big);
	big.more[63] = 1;
	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, &big), E2BIG, "what is not known");
	big.more[63] = 0;
	require(!dev_ioctl(area, KSM_AREA_STATISTICS, &big), "a larger struct failed");
	require(big.s.size == sizeof(s), "%u bytes are filled in", big.s.size);

	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, NULL), EFAULT, "a null pointer");
	memcpy(edge + PAGE - 32, &good, 32);
	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, edge + PAGE - 32), EFAULT,
		     "a struct that ends in a hole");
	memcpy(edge, &good, sizeof(good));
	require(!mprotect(edge, PAGE, PROT_READ), "mprotect failed");
	expect_errno(dev_ioctl(area, KSM_AREA_STATISTICS, edge), EFAULT, "read-only memory");
	expect_errno(dev_ioctl(dev, KSM_AREA_STATISTICS, &good), ENOTTY, "statistics of /dev/ksm");
	expect_errno(dev_ioctl(area, KSM_TASK_STATISTICS, &good), ENOTTY, "a task of an area");
	expect_errno(dev_ioctl(scan, KSM_AREA_STATISTICS, &good), ENOTTY, "statistics of a scan");
	expect_errno(dev_ioctl(dev, KSM_AREA_UNMERGE, NULL), ENOTTY, "unmerging /dev/ksm");
	expect_errno(dev_ioctl(area, KSM_AREA_UNMERGE, &good), EINVAL, "unmerging with an argument");
}

CASE(stat, unmerge, 60)
{
	char *p = mem_map(N), *q = mem_map(N), *ro = mem_map(N);
	int a = area_with(p, N), b = area_with(q, N);

	require(!region_add(a, ro, N), "registering failed");
	mem_fill(p, N, M, 1);
	mem_fill(q, N, M, 1);
	mem_fill(ro, N, M, 1);
	require(!mprotect(ro, N * PAGE, PROT_READ), "mprotect failed");
	engine_merge(M, 3 * N - M);
	engine_stop();
	unmerge(a);
	engine_expect(M, N - M);
	expect_pages(of_area(a), 2 * N, 0, 0, 0);
	expect_pages(of_area(b), N, N, N, (uint64_t)N * (PAGE - PAGE / 64));
	require(distinct_pfns(p, N) == N && distinct_pfns(ro, N) == N, "pages are still shared");
	mem_check(p, N, M, 1);
	mem_check(ro, N, M, 1);
	unmerge(a);
	unmerge(area_new());
	/* It is registered as before. */
	engine_merge(M, 3 * N - M);
	mem_check(p, N, M, 1);
	mem_check(q, N, M, 1);
}

/* While the thread merges the same memory again. */
CASE(race, area_unmerge, 60)
{
	char *p = mem_map(N);
	int area = area_with(p, N);

	mem_fill(p, N, M, 1);
	engine_pace(100, 0);
	engine_start();
	for (double end = now() + lasting(5); now() < end;) {
		struct ksm_statistics s = of_area(area);

		require(s.pages_mapped <= N && s.pages_merged <= s.pages_mapped, "mapped %llu, merged %llu",
			(unsigned long long)s.pages_mapped, (unsigned long long)s.pages_merged);
		unmerge(area);
		page_fill(p + 7 * PAGE, 1 + 7 % M);
		mem_check(p, N, M, 1);
	}
	engine_merge(M, N - M);
	engine_stop();
	unmerge(area);
	engine_expect(0, 0);
	mem_check(p, N, M, 1);
}
