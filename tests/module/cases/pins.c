// SPDX-License-Identifier: GPL-2.0-or-later
/* Pages that a device or a pipe holds must not be replaced behind its back. */
#include <sys/syscall.h>
#include <sys/uio.h>

#include "ksmtest.h"

#define N 64

/* A pipe that holds the page frames of these pages. */
static void splice_to(int pipe_in, char *p, size_t npages)
{
	struct iovec iov = { p, npages * PAGE };
	ssize_t n = vmsplice(pipe_in, &iov, 1, 0);

	require(n == (ssize_t)(npages * PAGE), "vmsplice took %zd of %zu pages: %s",
		n < 0 ? n : n / (ssize_t)PAGE, npages, strerror(errno));
}

static void read_page(int pipe_out, char *page)
{
	size_t done = 0;

	while (done < PAGE) {
		ssize_t n = read(pipe_out, page + done, PAGE - done);

		require(n > 0, "reading the pipe: %s", strerror(errno));
		done += n;
	}
}

CASE(pins, held_pages_left_alone, 60)
{
	char *p = mem_map(N), *got = malloc(PAGE);
	uint64_t held[8], after[8];
	int pipefd[2];

	require(!pipe2(pipefd, O_CLOEXEC), "pipe2: %s", strerror(errno));
	mem_fill(p, N, 1, 1000);
	splice_to(pipefd[1], p, 8);
	pfns_of(p, 8, held);
	area_with(p, N);
	engine_merge(1, N - 8 - 1);
	/* While they are frozen, to be refused, the pages are not present. */
	engine_stop();
	pfns_of(p, 8, after);
	require(!memcmp(held, after, sizeof(held)), "a page was replaced that a pipe holds");
	/* What is written now is what the reader of the pipe gets. */
	for (int i = 0; i < 8; i++)
		page_fill(p + i * PAGE, 1100 + i);
	for (int i = 0; i < 8; i++) {
		read_page(pipefd[0], got);
		require(page_is(got, 1100 + i), "page %d in the pipe is not the one written to", i);
	}
	/* Let go, they merge like others. */
	mem_fill(p, 8, 1, 1000);
	engine_merge(1, N - 1);
	mem_check(p, N, 1, 1000);
}

/* A merged page that a pipe holds outlives its mappings. */
CASE(pins, merged_page_held, 60)
{
	char *p = mem_map(N), *got = malloc(PAGE);
	int pipefd[2];

	require(!pipe2(pipefd, O_CLOEXEC), "pipe2: %s", strerror(errno));
	mem_fill(p, N, 4, 1200);
	area_with(p, N);
	engine_merge(4, N - 4);
	splice_to(pipefd[1], p, 4);
	mem_check(p, N, 4, 1200);
	mem_fill(p, N / 2, 1, 1300);	/* copies, while the pipe has the old ones */
	mem_unmap(p, N);
	engine_passes(SETTLE);
	/* New merged pages, so that a page freed too early would be used again. */
	p = mem_map(2048);
	mem_fill(p, 2048, 1024, 1400);
	area_with(p, 2048);
	engine_start();
	engine_passes(SETTLE);
	mem_check(p, 2048, 1024, 1400);
	for (int i = 0; i < 4; i++) {
		read_page(pipefd[0], got);
		require(page_is(got, 1200 + i), "page %d in the pipe has other contents", i);
	}
	close(pipefd[0]);
	close(pipefd[1]);
	engine_expect(1024, 1024);
}

/* The kernel lets a device write: pages must be private to the process. */
static int pin(char *p, size_t npages)
{
	struct { uint32_t word[30]; } params = { 0 };
	struct iovec iov = { p, npages * PAGE };
	int ring = syscall(425 /* io_uring_setup */, 4, &params);

	if (ring < 0)
		skip("no io_uring: %s", strerror(errno));
	require(!syscall(427 /* io_uring_register */, ring, 0 /* buffers */, &iov, 1),
		"registering buffers: %s", strerror(errno));
	return ring;
}

CASE(pins, registered_buffers_left_alone, 60)
{
	char *p = mem_map(N);
	uint64_t held[16], after[16];
	int ring;

	mem_fill(p, N, 1, 1500);
	ring = pin(p, 16);
	pfns_of(p, 16, held);
	area_with(p, N);
	engine_merge(1, N - 16 - 1);
	pfns_of(p, 16, after);
	require(!memcmp(held, after, sizeof(held)), "a page was replaced that is pinned for I/O");
	close(ring);
	nap_ms(200);	/* the ring is freed by a worker */
	engine_merge(1, N - 1);
}

CASE(pins, merged_memory_pinned, 60)
{
	char *p = mem_map(N);
	uint64_t held[16], after[16];
	int ring;

	mem_fill(p, N, 1, 1500);
	area_with(p, N);
	engine_merge(1, N - 1);
	ring = pin(p, 16);
	pfns_of(p, 16, held);
	require(distinct_pfns(p, 16) == 16, "a merged page was pinned for writing");
	engine_merge(1, N - 16 - 1);
	pfns_of(p, 16, after);
	require(!memcmp(held, after, sizeof(held)), "a page was replaced that is pinned for I/O");
	mem_check(p, N, 1, 1500);
	close(ring);
	nap_ms(200);
	engine_merge(1, N - 1);
}
