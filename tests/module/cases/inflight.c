// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Others at work in memory that merges: a disk that is slow enough for the scan
 * to come by, debuggers, processes that read and write it, waiters on futexes.
 */
#include <linux/futex.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "system.h"
#include "writers.h"

#define N 64
#define IN_FLIGHT 32
#define BYTES (IN_FLIGHT * PAGE)
/* Within it the rest of the memory merges. */
#define DELAY_MS 6000

struct transfer {
	pthread_t thread;
	const char *path;
	char *p;
	bool write;
	volatile bool done;
};

static void *transfer(void *arg)
{
	struct transfer *t = arg;
	int fd = open(t->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ssize_t n;

	require(fd >= 0, "%s: %s", t->path, strerror(errno));
	n = t->write ? pwrite(fd, t->p, BYTES, 0) : pread(fd, t->p, BYTES, 0);
	require(n == (ssize_t)BYTES, "O_DIRECT: %s", n < 0 ? strerror(errno) : "not all");
	t->done = true;
	close(fd);
	return NULL;
}

static void begin(struct transfer *t)
{
	require(!pthread_create(&t->thread, NULL, transfer, t), "pthread_create failed");
	/* Until it has its pages. */
	nap_ms(500);
}

static void still_under_way(struct transfer *t)
{
	require(!t->done, "the disk was too fast for this test");
}

static void disk_fill(const char *path, uint64_t base)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	char *page = malloc(PAGE);

	require(fd >= 0, "%s: %s", path, strerror(errno));
	for (int i = 0; i < IN_FLIGHT; i++) {
		page_fill(page, base + i % 2);
		require(write(fd, page, PAGE) == (ssize_t)PAGE, "%s: %s", path, strerror(errno));
	}
	require(!fsync(fd), "fsync: %s", strerror(errno));
	close(fd);
	free(page);
}

static void disk_check(const char *path, size_t contents, uint64_t base)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *got = mem_map(IN_FLIGHT);

	require(fd >= 0, "%s: %s", path, strerror(errno));
	require(read(fd, got, BYTES) == (ssize_t)BYTES, "%s: %s", path, strerror(errno));
	mem_check(got, IN_FLIGHT, contents, base);
	close(fd);
}

/* The disk writes to the pages that were there when the read began. */
CASE(pins, direct_read_in_flight, 90)
{
	struct transfer t = { .path = slow_disk(1 << 20, DELAY_MS), .p = mem_map(N) };
	uint64_t held[IN_FLIGHT], after[IN_FLIGHT];

	disk_fill("/dev/zram0", 1900);
	mem_fill(t.p, N, 1, 1910);
	area_with(t.p, N);
	begin(&t);
	pfns_of(t.p, IN_FLIGHT, held);
	engine_merge(1, N - IN_FLIGHT - 1);
	pfns_of(t.p, IN_FLIGHT, after);
	still_under_way(&t);
	require(!memcmp(held, after, sizeof(held)), "a page was replaced that a disk writes to");
	pthread_join(t.thread, NULL);
	mem_check(t.p, IN_FLIGHT, 2, 1900);
	mem_check(t.p + BYTES, N - IN_FLIGHT, 1, 1910);
	/* Let go, they merge like others. */
	engine_merge(3, N - 3);
	mem_check(t.p, IN_FLIGHT, 2, 1900);
	slow_disk_gone();
}

/* A read into merged pages gets pages of its own first. */
CASE(pins, direct_read_of_merged, 90)
{
	struct transfer t = { .path = slow_disk(1 << 20, DELAY_MS), .p = mem_map(N) };

	disk_fill("/dev/zram0", 1900);
	mem_fill(t.p, N, 1, 1910);
	area_with(t.p, N);
	engine_merge(1, N - 1);
	begin(&t);
	engine_passes(SETTLE);
	engine_expect(1, N - IN_FLIGHT - 1);
	still_under_way(&t);
	require(distinct_pfns(t.p, IN_FLIGHT) == IN_FLIGHT, "a disk writes to a shared page");
	pthread_join(t.thread, NULL);
	mem_check(t.p, IN_FLIGHT, 2, 1900);
	mem_check(t.p + BYTES, N - IN_FLIGHT, 1, 1910);
	slow_disk_gone();
}

/* The disk gets what was there when the write began, though all mappings are gone. */
CASE(pins, direct_write_of_merged, 90)
{
	struct transfer t = { .path = slow_disk(1 << 20, DELAY_MS), .p = mem_map(N), .write = true };
	char *p;

	mem_fill(t.p, N, 4, 1920);
	area_with(t.p, N);
	engine_merge(4, N - 4);
	begin(&t);
	mem_unmap(t.p, N);
	engine_passes(SETTLE);
	/* New merged pages, so that a page freed too early would be used again. */
	p = mem_map(1024);
	mem_fill(p, 1024, 512, 1940);
	area_with(p, 1024);
	engine_start();
	engine_passes(SETTLE);
	still_under_way(&t);
	pthread_join(t.thread, NULL);
	mem_check(p, 1024, 512, 1940);
	engine_expect(512, 512);
	disk_check("/dev/zram0", 4, 1920);
	slow_disk_gone();
}

/* A debugger writes a word to every page of a stopped task. */
static void poke_all(pid_t pid, char *p, long value)
{
	for (int i = 0; i < N; i++) {
		char *at = p + i * PAGE + i * 8;

		require(!ptrace(PTRACE_POKEDATA, pid, at, value + i), "POKEDATA, page %d: %s", i,
			strerror(errno));
	}
	for (int i = 0; i < N; i++) {
		long got;

		errno = 0;
		got = ptrace(PTRACE_PEEKDATA, pid, p + i * PAGE + i * 8, NULL);
		require(!errno && got == value + i, "page %d: %#lx was poked, %#lx is there", i,
			value + i, got);
	}
}

static void debugged(struct peer *self, void *arg)
{
	char *p = arg;
	uint64_t *want = malloc(PAGE);

	mem_fill(p, 2 * N, 1, 1950);
	require(!mprotect(p + N * PAGE, N * PAGE, PROT_READ), "mprotect: %s", strerror(errno));
	area_with(p, 2 * N);
	peer_tell(self);
	peer_wait(self);
	for (int i = 0; i < 2 * N; i++) {
		page_fill(want, 1950);
		want[i % N] = 0x1000 * (1 + i / N) + i % N;
		require(!memcmp(p + i * PAGE, want, PAGE), "page %d is not what was poked", i);
	}
}

CASE(pins, debugger, 60)
{
	char *p = mem_map(2 * N);
	struct peer peer = peer_start(debugged, p);
	int status;

	peer_wait(&peer);
	engine_merge(1, 2 * N - 1);
	require(!ptrace(PTRACE_ATTACH, peer.pid, NULL, NULL), "PTRACE_ATTACH: %s", strerror(errno));
	require(waitpid(peer.pid, &status, 0) == peer.pid && WIFSTOPPED(status),
		"the task did not stop");
	poke_all(peer.pid, p, 0x1000);
	/* Past the protection. */
	poke_all(peer.pid, p + N * PAGE, 0x2000);
	engine_passes(SETTLE);
	engine_expect(0, 0);
	/* Merged again while the debugger has it stopped. */
	for (int i = 0; i < 2 * N; i++)
		require(!ptrace(PTRACE_POKEDATA, peer.pid, p + i * PAGE + i % N * 8, 0L),
			"POKEDATA: %s", strerror(errno));
	engine_passes(SETTLE);
	engine_expect(N, N);
	poke_all(peer.pid, p, 0x1000);
	poke_all(peer.pid, p + N * PAGE, 0x2000);
	require(!ptrace(PTRACE_DETACH, peer.pid, NULL, NULL), "PTRACE_DETACH: %s", strerror(errno));
	peer_end(&peer);
}

static long futex(uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	long ret = syscall(SYS_futex, word, op, value, timeout, NULL, 0);

	return ret < 0 ? -errno : ret;
}

struct waiter {
	pthread_t thread;
	uint32_t *word;
	int private;
	volatile bool waits;
};

static void *wait_for_wake(void *arg)
{
	struct waiter *w = arg;
	struct timespec timeout = { 30, 0 };
	long ret;

	w->waits = true;
	ret = futex(w->word, FUTEX_WAIT | w->private, 0, &timeout);
	require(ret == 0 || (ret == -EAGAIN && *(volatile uint32_t *)w->word),
		"waiting on a futex: %s", ret == -ETIMEDOUT ? "no wake came" : strerror(-ret));
	return NULL;
}

static void wait_on_all(struct waiter *w, char *p, int private)
{
	for (int i = 0; i < N; i++) {
		w[i] = (struct waiter){ .word = (uint32_t *)(p + i * PAGE) + 11,
			.private = private };
		require(!pthread_create(&w[i].thread, NULL, wait_for_wake, &w[i]),
			"pthread_create failed");
	}
	for (int i = 0; i < N; i++)
		while (!w[i].waits)
			nap_ms(1);
	nap_ms(300);
}

static void wake_all(struct waiter *w)
{
	for (int i = 0; i < N; i++) {
		long woken;

		/* First, of merged memory, wakes although nothing was written. */
		if (i % 2 == 0)
			*w[i].word = 1;
		woken = futex(w[i].word, FUTEX_WAKE | w[i].private, 10, NULL);
		require(woken == 1, "page %d: %ld were woken, of 1", i, woken);
		pthread_join(w[i].thread, NULL);
		*w[i].word = 0;
	}
}

/* Waiters of merged pages, of pages that merge under them, and of both kinds of futex. */
static void futexes(int private)
{
	struct waiter w[N];
	char *p = mem_map(N);

	mem_fill(p, N, 1, 1960);
	for (int i = 0; i < N; i++)
		((uint32_t *)(p + i * PAGE))[11] = 0;
	area_with(p, N);
	wait_on_all(w, p, private);
	engine_merge(1, N - 1);
	wake_all(w);
	engine_merge(1, N - 1);
	wait_on_all(w, p, private);
	engine_passes(SETTLE);
	wake_all(w);
}

CASE(pins, futex_private, 90) { futexes(FUTEX_PRIVATE_FLAG); }
CASE(pins, futex_shared, 90) { futexes(0); }

/* The kernel itself writes the owner's number to a merged page, and takes it back. */
CASE(pins, futex_pi, 60)
{
	char *p = mem_map(N);
	uint32_t me = syscall(SYS_gettid);

	mem_fill(p, N, 1, 1960);
	for (int i = 0; i < N; i++)
		((uint32_t *)(p + i * PAGE))[11] = 0;
	area_with(p, N);
	engine_merge(1, N - 1);
	for (int i = 0; i < N; i++) {
		uint32_t *word = (uint32_t *)(p + i * PAGE) + 11;
		int private = i % 2 ? FUTEX_PRIVATE_FLAG : 0;
		long ret = futex(word, FUTEX_LOCK_PI | private, 0, NULL);

		require(!ret, "FUTEX_LOCK_PI: %s", strerror(-ret));
		require(*(volatile uint32_t *)word == me, "page %d: the owner is %#x, not %#x", i,
			*word, me);
		ret = futex(word, FUTEX_UNLOCK_PI | private, 0, NULL);
		require(!ret && !*(volatile uint32_t *)word, "FUTEX_UNLOCK_PI: %s", strerror(-ret));
	}
	engine_merge(1, N - 1);
}

/* Two threads hand a word to and fro; both sleep in the kernel until it is theirs. */
struct table {
	uint32_t *word;
	uint32_t mine;
	int private;
	unsigned long turns;
};

static void *ping_pong(void *arg)
{
	struct table *t = arg;
	struct timespec timeout = { 20, 0 };
	unsigned int random = t->mine + 1;

	while (!writers_stop) {
		uint32_t is;

		while ((is = __atomic_load_n(t->word, __ATOMIC_SEQ_CST)) != t->mine) {
			long ret = futex(t->word, FUTEX_WAIT | t->private, is, &timeout);

			if (writers_stop)
				goto stop;
			require(ret != -ETIMEDOUT, "a wake was lost");
			require(!ret || ret == -EAGAIN || ret == -EINTR, "FUTEX_WAIT: %s",
				strerror(-ret));
		}
		nap_ms(rand_r(&random) % 25);
		__atomic_store_n(t->word, !t->mine, __ATOMIC_SEQ_CST);
		futex(t->word, FUTEX_WAKE | t->private, 1, NULL);
		t->turns++;
	}
stop:
	/* The other one may wait for a turn that never comes. */
	__atomic_store_n(t->word, !t->mine, __ATOMIC_SEQ_CST);
	futex(t->word, FUTEX_WAKE | t->private, 1, NULL);
	return NULL;
}

CASE(race, futexes, 60)
{
	enum { TABLES = 16 };
	char *p = mem_map(N);
	pthread_t thread[2 * TABLES];
	struct table table[2 * TABLES];
	struct seen seen = { .want = 10 };
	unsigned long turns = 0;

	mem_fill(p, N, 1, 1970);
	for (int i = 0; i < N; i++)
		((uint32_t *)(p + i * PAGE))[11] = i % 2;
	area_with(p, N);
	engine_pace(20000, 0);
	engine_start();
	for (int i = 0; i < 2 * TABLES; i++) {
		table[i] = (struct table){ .word = (uint32_t *)(p + i / 2 * PAGE) + 11,
			.mine = i % 2, .private = i / 2 % 2 ? FUTEX_PRIVATE_FLAG : 0 };
		require(!pthread_create(&thread[i], NULL, ping_pong, &table[i]),
			"pthread_create failed");
	}
	watch(&seen, lasting(3));
	writers_stop = true;
	for (int i = 0; i < 2 * TABLES; i++) {
		pthread_join(thread[i], NULL);
		turns += table[i].turns;
	}
	note("%lu turns", turns);
	expect_seen(&seen);
}

/* Another process writes and reads single words from outside: 0 or 1, as it pleases. */
static void from_outside(struct peer *self, void *arg)
{
	static unsigned char is[512];
	double end = now() + lasting(3);
	unsigned int random = run_seed;
	pid_t parent = getppid();
	unsigned long n = 0;

	(void)self;
	for (; now() < end; n++) {
		size_t page = rand_r(&random) % 512;
		uint64_t value = 9;
		struct iovec mine = { &value, 8 };
		struct iovec theirs = { (char *)arg + page * PAGE + 8 * 200, 8 };

		require(process_vm_readv(parent, &mine, 1, &theirs, 1, 0) == 8,
			"process_vm_readv: %s", strerror(errno));
		require(value == is[page], "page %zu: %llu, but %d was written", page,
			(unsigned long long)value, is[page]);
		is[page] ^= 1;
		value = is[page];
		require(process_vm_writev(parent, &mine, 1, &theirs, 1, 0) == 8,
			"process_vm_writev: %s", strerror(errno));
		if (n % 16 == 0)
			nap_ms(rand_r(&random) % 4);
	}
	note("%lu writes from outside", n);
}

CASE(race, process_vm, 60)
{
	char *p = flippable(512);
	struct worker w[THREADS];
	struct seen seen = { .want = 10 };
	struct peer peer;

	for (int i = 0; i < 512; i++)
		((uint64_t *)(p + i * PAGE))[200] = 0;
	area_with(p, 512);
	engine_pace(20000, 0);
	engine_start();
	peer = peer_start(from_outside, p);
	writers_start(w, THREADS, flip, p, 512);
	watch(&seen, lasting(3));
	reap(peer.pid);
	writers_join(w, THREADS);
	expect_seen(&seen);
	for (int i = 0; i < 512; i++) {
		uint64_t *word = (uint64_t *)(p + i * PAGE) + 200;

		require(*word <= 1, "page %d is damaged", i);
		page_fill(p + i * PAGE, 0);	/* equal again */
	}
	engine_merge(2, 510);
}
