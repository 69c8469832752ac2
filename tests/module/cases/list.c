// SPDX-License-Identifier: GPL-2.0-or-later
/* KSM_LIST_REGIONS: detached regions told, in parts, and handed over to another module. */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "ksmtest.h"
#include "remote.h"

#define N 64
#define M 4
#define MANY 600		/* more than one call tells */
#define WHOLE (KSM_TASK_WHOLE | KSM_TASK_DETACHED)
#define FAMILY (WHOLE | KSM_TASK_CHILDREN)
#define UID 5151

static struct ksm_region_info told[2 * MANY];

static struct ksm_region_list list_of(struct ksm_region_info *entries, unsigned int nr)
{
	struct ksm_region_list list = {
		.size = sizeof(list),
		.entries = (uintptr_t)entries,
		.entry_size = sizeof(*entries),
		.nr = nr,
	};

	return list;
}

/* The next of a listing: how many. */
static unsigned int next(int dev, struct ksm_region_list *list, struct ksm_region_info *entries,
			 unsigned int nr)
{
	int err;

	list->entries = (uintptr_t)entries;
	list->nr = nr;
	err = dev_ioctl(dev, KSM_LIST_REGIONS, list);
	require(!err, "KSM_LIST_REGIONS: %s", strerror(-err));
	require(list->nr <= nr, "told %u where there was room for %u", list->nr, nr);
	return list->nr;
}

/* All of it, into told, at most so many at a time. */
static unsigned int list_all(unsigned int step)
{
	struct ksm_region_list list = list_of(told, 0);
	unsigned int nr = 0, some;
	int dev = dev_fd();

	while ((some = next(dev, &list, told + nr, step))) {
		nr += some;
		require(nr + step <= 2 * MANY, "%u regions, and no end", nr);
	}
	close(dev);
	for (unsigned int i = 0; i < nr; i++) {
		require(!i || told[i].id > told[i - 1].id, "%llu told after %llu",
			(unsigned long long)told[i].id, (unsigned long long)told[i - 1].id);
		require(!told[i].reserved, "reserved is %u", told[i].reserved);
	}
	return nr;
}

static unsigned int expect_told(unsigned int want)
{
	unsigned int nr = list_all(64);

	require(nr == want, "%u regions are told, and not %u", nr, want);
	return nr;
}

static const struct ksm_region_info *of_pid(unsigned int nr, pid_t pid)
{
	for (unsigned int i = 0; i < nr; i++)
		if (told[i].pid == pid)
			return &told[i];
	fail("no region of process %d is told", pid);
}

static void add(int area, int mem, const void *p, size_t npages, unsigned int flags)
{
	int err = task_add(area, mem, p, npages, flags);

	require(!err, "KSM_REGISTER_TASK: %s", strerror(-err));
}

CASE(list, arguments, 30)
{
	unsigned char large[PAGE] __attribute__((aligned(8))) = {};
	struct ksm_region_list list = list_of(told, 8), *grown = (void *)large;
	int dev = dev_fd(), area = area_new();

#define LIST(change) ({								\
		list = list_of(told, 8);					\
		change;								\
		(long)dev_ioctl(dev, KSM_LIST_REGIONS, &list);			\
	})
	require(!LIST(), "none");
	require(list.nr == 0 && list.cursor == 0 && list.end == 0 && list.size == sizeof(list),
		"of none: nr %u, cursor %llu, end %llu, size %u", list.nr,
		(unsigned long long)list.cursor, (unsigned long long)list.end, list.size);
	add(area, mem_open(getpid()), NULL, 0, WHOLE);
	expect_errno(LIST(list.size = 39), EINVAL, "size 39");
	expect_errno(LIST(list.size = PAGE + 1), E2BIG, "size of more than a page");
	expect_errno(LIST(list.flags = 1), EINVAL, "a flag");
	expect_errno(LIST(list.nr = 0), EINVAL, "no room");
	expect_errno(LIST(list.entry_size = 63), EINVAL, "entries of 63 bytes");
	expect_errno(LIST(list.entry_size = PAGE + 1), E2BIG, "entries of more than a page");
	expect_errno(LIST(list.entries = 0), EFAULT, "no entries");
	expect_errno(LIST(list.entries = ~0ULL), EFAULT, "entries at the end of all");
	expect_errno(dev_ioctl(dev, KSM_LIST_REGIONS, NULL), EFAULT, "no struct");
	expect_errno(dev_ioctl(area, KSM_LIST_REGIONS, &list), ENOTTY, "of an area");
	/* Far more room than there are, and a cursor past all. */
	require(!LIST(list.nr = ~0u), "room for very many");
	require(list.nr == 1 && list.cursor == told[0].id && list.end == told[0].id,
		"nr %u, cursor %llu", list.nr, (unsigned long long)list.cursor);
	require(!LIST(list.cursor = ~0ULL; list.end = ~0ULL), "a cursor past all");
	require(list.nr == 0, "%u told past the end", list.nr);
	require(!LIST(list.cursor = 1; list.end = 0), "an end before the cursor");
	require(list.nr == 0, "%u told past the end", list.nr);

	/* A struct that has grown, with what this driver does not know. */
	*grown = list_of(told, 8);
	grown->size = sizeof(*grown) + 8;
	require(!dev_ioctl(dev, KSM_LIST_REGIONS, grown), "a larger struct");
	require(grown->nr == 1 && grown->size == sizeof(*grown), "nr %u, size %u", grown->nr,
		grown->size);
	*grown = list_of(told, 8);
	grown->size = sizeof(*grown) + 8;
	large[sizeof(*grown) + 7] = 1;
	expect_errno(dev_ioctl(dev, KSM_LIST_REGIONS, grown), E2BIG, "what it does not know set");
}

/* Entries of a later header are further apart; the rest of each is zeroed. */
CASE(list, larger_entries, 30)
{
	unsigned char entries[3][96];
	struct ksm_region_list list = list_of((void *)entries, 3);
	int area = area_new(), mem = mem_open(getpid()), dev = dev_fd(), err;
	char *p = mem_map(3);

	for (int i = 0; i < 2; i++)
		add(area, mem, p + 2 * i * PAGE, 1, KSM_TASK_DETACHED);
	memset(entries, 0xee, sizeof(entries));
	list.entry_size = sizeof(entries[0]);
	err = dev_ioctl(dev, KSM_LIST_REGIONS, &list);
	require(!err && list.nr == 2, "KSM_LIST_REGIONS: %d, %u told", err, list.nr);
	for (int i = 0; i < 2; i++) {
		struct ksm_region_info *info = (void *)entries[i];

		require(info->addr == (uintptr_t)p + 2 * i * PAGE && info->length == PAGE,
			"entry %d is of %llx", i, (unsigned long long)info->addr);
		for (size_t at = sizeof(*info); at < sizeof(entries[0]); at++)
			require(!entries[i][at], "byte %zu of entry %d is %#x", at, i, entries[i][at]);
	}
	for (size_t at = 0; at < sizeof(entries[0]); at++)
		require(entries[2][at] == 0xee, "an entry past the last was written");
}

static void asks_without_right(struct peer *self, void *arg)
{
	struct ksm_region_list list = list_of(told, 8);
	int dev = dev_fd();

	(void)arg;
	require(!setgid(UID) && !setuid(UID), "setuid: %s", strerror(errno));
	expect_errno(dev_ioctl(dev, KSM_LIST_REGIONS, &list), EPERM, "without CAP_SYS_ADMIN");
	peer_wait(self);
}

CASE(list, rights, 30)
{
	struct peer peer = peer_start(asks_without_right, NULL);

	peer_end(&peer);
}

/* Registers its own memory as a user, in a domain of the user's, detached. */
static void registers(struct peer *self, void *arg)
{
	struct ksm_domain domain = { .size = sizeof(domain), .domain = 77 };
	int area = area_new();

	(void)arg;
	require(!setgid(UID) && !setuid(UID) && !prctl(PR_SET_DUMPABLE, 1), "setuid: %s",
		strerror(errno));
	require(!dev_ioctl(area, KSM_SET_DOMAIN, &domain), "KSM_SET_DOMAIN failed");
	add(area, mem_open(getpid()), NULL, 0, WHOLE);
	/* What ends with its area is not told. */
	close(area);
	peer_tell(self);
	pause();
}

CASE(list, what_is_told, 60)
{
	struct ksm_domain domain = { .size = sizeof(domain) };
	struct peer user = peer_start(registers, NULL);
	struct remote r = remote_start(), s = remote_start();
	int area = area_new(), mem = mem_open(r.peer.pid);
	char *p = remote_map(&r, N), *q = remote_map(&r, N), *t = remote_map(&r, N);
	const struct ksm_region_info *info;
	unsigned int nr;

	peer_wait(&user);
	add(area, mem, t, N, 0);
	close(area);
	area_with(mem_map(N), N);
	area = area_new();
	domain.flags = KSM_DOMAIN_SYSTEM;
	domain.domain = 9;
	require(!dev_ioctl(area, KSM_SET_DOMAIN, &domain), "KSM_SET_DOMAIN failed");
	add(area, mem, p, N, KSM_TASK_DETACHED);
	area = area_new();
	domain.flags |= KSM_DOMAIN_ZERO_PAGES;
	domain.domain = 0;
	require(!dev_ioctl(area, KSM_SET_DOMAIN, &domain), "KSM_SET_DOMAIN failed");
	add(area, mem, q, N / 2, KSM_TASK_DETACHED);
	add(area_new(), mem_open(s.peer.pid), NULL, 0, FAMILY);

	nr = expect_told(4);
	info = of_pid(nr, user.pid);
	require(info->flags == WHOLE && !info->addr && !info->length && !info->family,
		"of the whole: flags %#x, addr %llx", info->flags, (unsigned long long)info->addr);
	require(info->uid == UID && info->domain == 77 && info->domain_owner == UID &&
		!info->domain_flags, "of the user: uid %u, domain %llu of %u, flags %#x",
		info->uid, (unsigned long long)info->domain, info->domain_owner,
		info->domain_flags);
	info = of_pid(nr, r.peer.pid);
	require(info->flags == KSM_TASK_DETACHED && info->addr == (uintptr_t)p &&
		info->length == N * PAGE, "of a range: flags %#x, %llx, %llx", info->flags,
		(unsigned long long)info->addr, (unsigned long long)info->length);
	require(info->uid == 0 && info->domain == 9 && !info->domain_owner &&
		info->domain_flags == KSM_DOMAIN_SYSTEM, "of the system: domain %llu, flags %#x",
		(unsigned long long)info->domain, info->domain_flags);
	info++;
	require(info->pid == r.peer.pid && info->addr == (uintptr_t)q && !info->domain &&
		info->domain_flags == (KSM_DOMAIN_SYSTEM | KSM_DOMAIN_ZERO_PAGES),
		"of the common domain: domain %llu, flags %#x",
		(unsigned long long)info->domain, info->domain_flags);
	info = of_pid(nr, s.peer.pid);
	require(info->flags == FAMILY && info->family && !info->domain && !info->domain_flags,
		"of a family: flags %#x, family %llu", info->flags,
		(unsigned long long)info->family);
	peer_kill(&user);
	remote_end(&r);
	remote_end(&s);
}

/* Regions of one page each, with a page between them. */
static char *many(int mem, int area)
{
	char *p = mem_map(2 * MANY);

	for (int i = 0; i < MANY; i++)
		add(area, mem, p + 2 * i * PAGE, 1, KSM_TASK_DETACHED);
	return p;
}

CASE(list, in_parts, 60)
{
	static const unsigned int steps[] = { 1, 7, 64, MANY };
	char *p = many(mem_open(getpid()), area_new());

	for (int i = 0; i < 4; i++) {
		unsigned int nr = list_all(steps[i]);

		require(nr == MANY, "%u of %u told, %u at a time", nr, MANY, steps[i]);
		for (unsigned int k = 0; k < nr; k++)
			require(told[k].addr == (uintptr_t)p + 2 * k * PAGE, "region %u is at %llx", k,
				(unsigned long long)told[k].addr);
	}
}

/* What goes in between is not told, what comes is not either, and it ends. */
CASE(list, changing, 60)
{
	int area = area_new(), mem = mem_open(getpid()), dev = dev_fd();
	struct ksm_region_list list = list_of(told, 0);
	char *p = many(mem, area), *more = mem_map(2 * MANY);
	unsigned int nr = 0, some;

	while ((some = next(dev, &list, told + nr, 50))) {
		unsigned int round = nr / 50;

		nr += some;
		/* One told, one still to come, and three new ones for each. */
		if (round < 5) {
			require(!task_remove(area, mem, p + 2 * 50 * round * PAGE, KSM_TASK_DETACHED) &&
				!task_remove(area, mem, p + 2 * (MANY - 1 - round) * PAGE,
					     KSM_TASK_DETACHED), "KSM_REMOVE_TASK failed");
		}
		for (unsigned int i = 0; i < 3; i++)
			add(area, mem, more + 2 * (3 * round + i) * PAGE, 1, KSM_TASK_DETACHED);
		require(nr <= MANY, "%u told", nr);
	}
	require(nr == MANY - 5, "%u told, and not %u", nr, MANY - 5);
	for (unsigned int k = 0; k < nr; k++)
		require(told[k].addr == (uintptr_t)p + 2 * k * PAGE, "region %u is at %llx", k,
			(unsigned long long)told[k].addr);
	/* A new listing has them: 595 less the five told and removed, and three for each call. */
	some = list_all(64);
	require(some == MANY - 10 + 3 * 12, "%u told by a new listing", some);
}

CASE(list, gone, 60)
{
	struct remote r = remote_start(), s = remote_start();
	int area = area_new(), mem = mem_open(r.peer.pid);
	char *p = remote_map(&r, N), *q = remote_map(&r, N);

	expect_told(0);
	add(area, mem, p, N, KSM_TASK_DETACHED);
	add(area, mem, q, N, KSM_TASK_DETACHED);
	add(area, mem_open(s.peer.pid), NULL, 0, WHOLE);
	expect_told(3);
	require(!task_remove(area, mem, p, KSM_TASK_DETACHED), "KSM_REMOVE_TASK failed");
	expect_told(2);
	require(told[0].addr == (uintptr_t)q, "the wrong one is left");
	/* Dead, though the descriptor is open and no pass went by. */
	peer_kill(&r.peer);
	expect_told(1);
	require(told[0].pid == s.peer.pid, "the wrong one is left");
	remote_end(&s);
	expect_told(0);
}

/* In a PID namespace of its own a caller sees its own numbers, and 0 for strangers. */
static void asks_inside(struct peer *self, void *arg)
{
	pid_t pid;

	(void)arg;
	require(!unshare(CLONE_NEWPID), "unshare: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		int area = area_new(), mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
		unsigned int nr;

		add(area, mem, mem_map(N), N, KSM_TASK_DETACHED);
		nr = list_all(64);
		require(nr == 2, "%u told", nr);
		require(told[0].pid == 0, "a stranger's pid is %d", told[0].pid);
		require(getpid() == 1 && told[1].pid == 1, "its own pid %d is told as %d", getpid(),
			told[1].pid);
		_exit(0);
	}
	reap(pid);
	peer_wait(self);
}

CASE(list, pid_namespace, 30)
{
	struct peer peer;

	add(area_new(), mem_open(getpid()), mem_map(N), N, KSM_TASK_DETACHED);
	/* /proc/self is of the namespace that /proc was mounted in: opened by a child of it, too. */
	peer = peer_start(asks_inside, NULL);
	peer_end(&peer);
}

/* Which flags go together, and what joining means. */
CASE(list, join, 60)
{
	struct remote a = remote_start(), b = remote_start(), c = remote_start();
	int area = area_new(), other = area_new(), mem = mem_open(a.peer.pid);
	unsigned int nr;
	uint64_t family;

	expect_errno(task_add(area, mem, NULL, 0, WHOLE | KSM_TASK_JOIN), EINVAL,
		     "joining without children");
	expect_errno(task_remove(area, mem, NULL, FAMILY | KSM_TASK_JOIN), EINVAL,
		     "removing with KSM_TASK_JOIN");
	add(area, mem, NULL, 0, FAMILY | KSM_TASK_JOIN);
	add(area, mem_open(b.peer.pid), NULL, 0, FAMILY | KSM_TASK_JOIN);
	add(other, mem_open(c.peer.pid), NULL, 0, FAMILY | KSM_TASK_JOIN);
	nr = expect_told(3);
	family = of_pid(nr, a.peer.pid)->family;
	require(family && of_pid(nr, b.peer.pid)->family == family, "two of one area are not one family");
	require(of_pid(nr, c.peer.pid)->family != family, "two areas are one family");
	require(!task_remove(area, mem, NULL, FAMILY), "removing the family");
	nr = expect_told(1);
	of_pid(nr, c.peer.pid);
	remote_end(&a);
	remote_end(&b);
	remote_end(&c);
}

/* As KSM_LIST_REGIONS told it, by a process that for a while is whom it counts for. */
static void register_again(const struct ksm_region_info *info, int area, int mem)
{
	struct ksm_domain domain = {
		.size = sizeof(domain),
		.flags = info->domain_flags,
		.domain = info->domain,
	};
	struct ksm_task_region region = {
		.size = sizeof(region),
		.flags = info->flags | (info->family ? KSM_TASK_JOIN : 0),
		.mem_fd = mem,
		.addr = info->addr,
		.length = info->length,
	};
	int err;

	/* The second of a family finds the area in its domain. */
	require(!setresuid(-1, info->domain_owner, 0), "setresuid: %s", strerror(errno));
	err = dev_ioctl(area, KSM_SET_DOMAIN, &domain);
	require(!err || err == -EBUSY, "KSM_SET_DOMAIN: %s", strerror(-err));
	require(!setresuid(info->uid, 0, 0), "setresuid: %s", strerror(errno));
	err = dev_ioctl(area, KSM_REGISTER_TASK, &region);
	require(!err, "KSM_REGISTER_TASK: %s", strerror(-err));
	require(!setresuid(0, 0, 0), "setresuid: %s", strerror(errno));
}

/*
 * Everything that was registered is, by a module that was loaded anew: users,
 * domains, ranges and families, orphans among them.
 */
CASE(unload, handed_over, 90)
{
	struct peer user = peer_start(registers, NULL);
	struct remote r = remote_start(), parent = remote_start(), child;
	char *p = remote_map(&r, N), *q = remote_map(&parent, N);
	static struct ksm_region_info before[8];
	int mem[8], area = area_new(), joined;
	unsigned int nr;
	uint64_t family;

	peer_wait(&user);
	add(area, mem_open(r.peer.pid), p, N, KSM_TASK_DETACHED);
	add(area, mem_open(parent.peer.pid), NULL, 0, FAMILY);
	close(area);
	child = remote_fork(&parent);
	engine_start();
	engine_passes(SETTLE);
	peer_kill(&parent.peer);
	/* Taken before the module goes: an address space, and no number that is used anew. */
	nr = expect_told(3);
	memcpy(before, told, nr * sizeof(*told));
	for (unsigned int i = 0; i < nr; i++)
		mem[i] = mem_open(before[i].pid);
	/* The case's own sentinel goes, too: all must come from the list. */
	module_remove();
	require(!module_load(""), "insmod failed");
	engine_pace(20000, 5);

	expect_told(0);
	joined = area_new();
	for (unsigned int i = 0; i < nr; i++)
		register_again(&before[i], before[i].family ? joined : area_new(), mem[i]);
	nr = expect_told(nr);
	for (unsigned int i = 0; i < nr; i++) {
		family = told[i].family;
		require(!family == !before[i].family, "family %llu was %llu",
			(unsigned long long)family, (unsigned long long)before[i].family);
		told[i].id = before[i].id;
		told[i].family = before[i].family;
		require(!memcmp(&told[i], &before[i], sizeof(told[i])),
			"process %d: flags %#x, uid %u, domain %llu of %u, and it was process %d: "
			"flags %#x, uid %u, domain %llu of %u", told[i].pid, told[i].flags,
			told[i].uid, (unsigned long long)told[i].domain, told[i].domain_owner,
			before[i].pid, before[i].flags, before[i].uid,
			(unsigned long long)before[i].domain, before[i].domain_owner);
	}
	remote_fill(&r, p, N, M, 700);
	remote_fill(&child, q, N, M, 800);
	engine_start();
	engine_passes(SETTLE + 1);
	require(remote_frames(&r, p, N) == M && remote_frames(&child, q, N) == M,
		"the new module does not merge: %s", engine_state());
	peer_kill(&user);
	remote_end(&r);
	kill(child.peer.pid, SIGKILL);
}
