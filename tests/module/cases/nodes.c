// SPDX-License-Identifier: GPL-2.0-or-later
/* merge_across_nodes, in a VM with two NUMA nodes. */
#include <linux/mempolicy.h>
#include <sys/syscall.h>

#include "ksmtest.h"

#define N 64

static int node_of(const char *p)
{
	int node = -1;

	if (syscall(SYS_get_mempolicy, &node, NULL, 0UL, p, MPOL_F_NODE | MPOL_F_ADDR))
		fail("get_mempolicy: %s", strerror(errno));
	return node;
}

static char *pages_of_node(int node, size_t npages, size_t contents, uint64_t base)
{
	unsigned long nodes = 1UL << node;
	char *p = mem_map(npages);

	if (access("/sys/devices/system/node/node1", F_OK))
		fail("this VM has one node");
	if (syscall(SYS_mbind, p, npages * PAGE, MPOL_BIND, &nodes, 8UL, 0UL))
		fail("mbind: %s", strerror(errno));
	mem_fill(p, npages, contents, base);
	for (size_t i = 0; i < npages; i++)
		require(node_of(p + i * PAGE) == node, "page %zu is on node %d", i,
			node_of(p + i * PAGE));
	area_with(p, npages);
	return p;
}

CASE(nodes, across, 60)
{
	char *p = pages_of_node(0, N, N, 100), *q = pages_of_node(1, N, N, 100);

	engine_merge(N, N);
	for (int i = 0; i < N; i++)
		require(pfn_of(p + i * PAGE) == pfn_of(q + i * PAGE), "page %d is not shared", i);
}

CASE(nodes, within, 60)
{
	char *p = pages_of_node(0, 2 * N, N, 100), *q = pages_of_node(1, 2 * N, N, 100);

	engine_set("merge_across_nodes", 0);
	engine_merge(2 * N, 2 * N);
	for (int i = 0; i < 2 * N; i++)
		require(node_of(p + i * PAGE) == 0 && node_of(q + i * PAGE) == 1,
			"a merged page %d is on nodes %d and %d, not on those of its users", i,
			node_of(p + i * PAGE), node_of(q + i * PAGE));
	mem_check(p, 2 * N, N, 100);
	mem_check(q, 2 * N, N, 100);
}

/* Nobody in the same node has it. */
CASE(nodes, no_partner, 60)
{
	char *p = pages_of_node(0, N, N, 100), *q = pages_of_node(1, N, N, 100);

	engine_set("merge_across_nodes", 0);
	engine_merge(0, 0);
	expect_errno(engine_write("merge_across_nodes", "2"), EINVAL, "a value out of range");
	engine_set("merge_across_nodes", 1);
	engine_merge(N, N);
	expect_errno(engine_write("merge_across_nodes", "0"), EBUSY, "a change with merged pages");
	engine_set("run", 2);
	engine_set("merge_across_nodes", 0);
	engine_merge(0, 0);
	mem_check(p, N, N, 100);
	mem_check(q, N, N, 100);
}

/* Page by page on another node: nothing merges with the page beside it. */
CASE(nodes, interleaved, 60)
{
	unsigned long nodes = 3;
	char *p = mem_map(4 * N);

	if (syscall(SYS_mbind, p, 4 * N * PAGE, MPOL_INTERLEAVE, &nodes, 8UL, 0UL))
		fail("mbind: %s", strerror(errno));
	mem_fill(p, 4 * N, 1, 100);
	area_with(p, 4 * N);
	engine_set("merge_across_nodes", 0);
	engine_merge(2, 4 * N - 2);
	mem_check(p, 4 * N, 1, 100);
}
