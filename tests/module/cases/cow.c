// SPDX-License-Identifier: GPL-2.0-or-later
/* A write to a merged page is seen by its writer only, whoever writes. */
#include <sys/uio.h>

#include "ksmtest.h"

#define N 256

static char *merged(size_t contents)
{
	char *p = mem_map(N);

	mem_fill(p, N, contents, 200);
	area_with(p, N);
	engine_merge(contents, N - contents);
	engine_stop();
	return p;
}

CASE(cow, others_unaffected, 60)
{
	char *p = merged(4);

	for (size_t i = 0; i < N; i += 16) {
		p[i * PAGE + i * 8] ^= 1;
		for (size_t k = 0; k < N; k++) {
			if (k <= i && k % 16 == 0) {
				p[k * PAGE + k * 8] ^= 1;
				require(page_is(p + k * PAGE, 200 + k % 4),
					"page %zu is damaged beside what was written", k);
				p[k * PAGE + k * 8] ^= 1;
			} else {
				require(page_is(p + k * PAGE, 200 + k % 4),
					"a write to page %zu changed page %zu", i, k);
			}
		}
		engine_expect(4, N - 4 - (i / 16 + 1));
	}
}

/* When the last mapping goes the merged page is not in use any more. */
CASE(cow, counters_to_zero, 60)
{
	char *p = merged(2);

	for (size_t i = 0; i < N; i += 2)
		page_fill(p + i * PAGE, 5000 + i);
	engine_expect(1, N / 2 - 1);
	for (size_t i = 1; i < N; i += 2)
		page_fill(p + i * PAGE, 5000 + i);
	engine_expect(0, 0);
	require(smaps_pages(p, N, "Anonymous") == N, "%ld of %d pages are anonymous again",
		smaps_pages(p, N, "Anonymous"), N);
	for (size_t i = 0; i < N; i++)
		require(page_is(p + i * PAGE, 5000 + i), "page %zu lost what was written", i);
}

CASE(cow, merges_again, 60)
{
	char *p = merged(4);

	for (int round = 1; round <= 4; round++) {
		mem_fill(p, N, 4, 200 + round % 2 * 1000);
		engine_merge(4, N - 4);
		mem_check(p, N, 4, 200 + round % 2 * 1000);
	}
}

/* Writes that come from the kernel: read(2), /proc/self/mem, process_vm_writev. */
CASE(cow, kernel_writes, 60)
{
	char *p = merged(1), *want = malloc(PAGE);
	struct iovec from = { want, PAGE }, to = { p + 20 * PAGE, PAGE };
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	require(zero >= 0 && mem >= 0, "open: %s", strerror(errno));
	require(read(zero, p, PAGE) == (ssize_t)PAGE, "read: %s", strerror(errno));
	page_fill(want, 7777);
	require(pwrite(mem, want, PAGE, (uintptr_t)p + 10 * PAGE) == (ssize_t)PAGE,
		"writing /proc/self/mem: %s", strerror(errno));
	if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != (ssize_t)PAGE) {
		require(errno == ENOSYS, "process_vm_writev: %s", strerror(errno));
		page_fill(p + 20 * PAGE, 7777);
	}
	require(page_is_zero(p), "read(2) into a merged page was lost");
	require(page_is(p + 10 * PAGE, 7777), "a write by /proc/self/mem was lost");
	require(page_is(p + 20 * PAGE, 7777), "process_vm_writev was lost");
	for (size_t i = 1; i < N; i++)
		require(i == 10 || i == 20 || page_is(p + i * PAGE, 200),
			"page %zu changed with another", i);
	engine_expect(1, N - 4);
}

/* A debugger writes to memory that its owner may only read. */
CASE(cow, forced_write, 60)
{
	char *p = merged(1), byte = 0x55;
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	require(!mprotect(p, N * PAGE, PROT_READ), "mprotect failed");
	if (pwrite(mem, &byte, 1, (uintptr_t)p) != 1)
		skip("this kernel refuses forced writes: %s", strerror(errno));
	require(p[0] == 0x55, "the forced write was lost");
	mem_check(p + PAGE, N - 1, 1, 200);
	engine_expect(1, N - 2);
}
