// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The attack that domains are there against. A process finds out what another
 * has in memory by timing its own writes: it makes pages up, waits until they
 * have merged with equal ones, and writes to each. A write to a merged page must
 * copy it first, which takes many times as long.
 *
 *   victim      c0    c2    c5 ...        half of the contents, drawn by lot
 *   attacker    c0 c1 c2 c3 c4 c5 ...     all of them, each once: its guesses
 *               k0 k0 k1 k1 ...           pairs, which do merge: what slow is
 *               u0 u1 ...                 pages that nobody has: what fast is
 *
 * The attacker knows nothing of the lot. It takes the least time of several
 * rounds for each content, since whatever disturbs it only adds to a time, and
 * says that a page is there where that is nearer to its own slow pages than to
 * its own fast ones. No time is compared with any but those of the same rounds,
 * and a round in which the known pages cannot be told apart proves nothing, so
 * it fails.
 *
 * Who guesses by chance is right in n / 2 of n cases, and off by more than
 * 4 sigma = 2 * sqrt(n) once in 15000 runs. As the threshold might be a bad one,
 * the order of the times must be a matter of chance as well (Mann-Whitney's U,
 * the same bound). All else is an attack that works; ours work nearly always.
 */
#include <math.h>
#include <sys/prctl.h>
#include <time.h>

#include "ksmtest.h"

#define CONTENTS 128
/* Rounds with a single empty page, of which there can be no two different ones. */
#define EMPTY_CONTENTS 48
#define ROUNDS 3
#define BUILTIN "/sys/kernel/mm/ksm/"

struct party {
	uid_t uid;
	struct ksm_domain domain;	/* of which size 0: none is set */
	bool builtin;			/* MADV_MERGEABLE instead of a region */
};

/* Shared by all: what the next round is about, and what the attacker measured. */
struct lab {
	struct party attacker, victim;
	bool empty;			/* the content is: zeros */
	size_t first, n;		/* contents of the round */
	bool there[CONTENTS];		/* nothing for the attacker's eyes */
	/* Least times of a write, in ns. */
	double guess[CONTENTS], slow[CONTENTS], fast[CONTENTS];
};

static uint64_t lot_state;

static size_t lot(size_t sides)
{
	lot_state ^= lot_state << 13;
	lot_state ^= lot_state >> 7;
	lot_state ^= lot_state << 17;
	return (lot_state >> 11) % sides;
}

/* Opened before it becomes a user, as somebody of the group may who is one. */
static int device;

static void become(uid_t uid)
{
	device = dev_fd();
	require(!setresgid(uid, uid, uid) && !setresuid(uid, uid, uid), "setresuid: %s",
		strerror(errno));
	require(!prctl(PR_SET_DUMPABLE, 1), "PR_SET_DUMPABLE: %s", strerror(errno));
}

/* Lets memory merge; answers what to close afterwards. */
static int expose(const struct party *who, char *p, size_t npages)
{
	int area, err;

	if (who->builtin) {
		require(!madvise(p, npages * PAGE, MADV_MERGEABLE), "MADV_MERGEABLE: %s",
			strerror(errno));
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	area = dev_ioctl(device, KSM_CREATE_SHARED_MEMORY_AREA, NULL);
	require(area >= 0, "KSM_CREATE_SHARED_MEMORY_AREA: %s", strerror(-area));
	err = who->domain.size ? dev_ioctl(area, KSM_SET_DOMAIN, &who->domain) : 0;
	require(!err, "KSM_SET_DOMAIN: %s", strerror(-err));
	err = region_add(area, p, npages);
	require(!err, "registering: %s", strerror(-err));
	return area;
}

static void content(const struct lab *lab, char *page, size_t i)
{
	if (lab->empty)
		memset(page, 0, PAGE);
	else
		page_fill(page, 4000 + i);
}

/* New memory in every round: what a page was before must not matter. */
static void victim(struct peer *self, void *arg)
{
	struct lab *lab = arg;

	become(lab->victim.uid);
	for (;;) {
		char *p = mem_map(CONTENTS);
		size_t used = 0;
		int area;

		peer_wait(self);
		for (size_t i = lab->first; i < lab->first + lab->n; i++)
			if (lab->there[i])
				content(lab, p + used++ * PAGE, i);
		area = expose(&lab->victim, p, CONTENTS);
		peer_tell(self);
		peer_wait(self);
		close(area);
		mem_unmap(p, CONTENTS);
		peer_tell(self);
	}
}

static double time_of_write(volatile char *page)
{
	struct timespec a, b;

	(void)*page;
	clock_gettime(CLOCK_MONOTONIC, &a);
	*page ^= 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
}

static void least(double *of, double time)
{
	if (!*of || time < *of)
		*of = time;
}

/* Its memory: n guesses, n slow pages, their partners, n fast pages. */
static void attack(struct lab *lab, char *p)
{
	size_t n = lab->n, order[3 * CONTENTS];

	for (size_t i = 0; i < 3 * n; i++) {
		size_t other = lot(i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	for (size_t i = 0; i < 3 * n; i++) {
		size_t at = lab->first + order[i] % n;

		if (order[i] < n)
			least(&lab->guess[at], time_of_write(p + order[i] * PAGE));
		else if (order[i] < 2 * n)
			least(&lab->slow[at], time_of_write(p + order[i] * PAGE));
		else
			least(&lab->fast[at], time_of_write(p + (order[i] + n) * PAGE));
	}
}

static void attacker(struct peer *self, void *arg)
{
	struct lab *lab = arg;

	become(lab->attacker.uid);
	for (;;) {
		char *p = mem_map(4 * CONTENTS);
		size_t n;
		int area;

		peer_wait(self);
		n = lab->n;
		for (size_t i = 0; i < n; i++) {
			content(lab, p + i * PAGE, lab->first + i);
			page_fill(p + (n + i) * PAGE, 5000 + i);
			page_fill(p + (2 * n + i) * PAGE, 5000 + i);
			page_fill(p + (3 * n + i) * PAGE, 6000 + i);
		}
		area = expose(&lab->attacker, p, 4 * CONTENTS);
		peer_tell(self);
		peer_wait(self);
		attack(lab, p);
		close(area);
		mem_unmap(p, 4 * CONTENTS);
		peer_tell(self);
	}
}

static void builtin(const char *name, const char *value)
{
	char path[64];
	int err;

	snprintf(path, sizeof(path), BUILTIN "%s", name);
	err = file_write(path, value);
	require(!err, "%s: %s", path, strerror(-err));
}

static void builtin_passes(long n)
{
	double end = now() + 60;
	long from = -1, seen = 0;
	char text[32];

	while (from < 0 || seen < from + n) {
		require(file_read(BUILTIN "full_scans", text, sizeof(text)) > 0, "no full_scans");
		seen = atol(text);
		if (from < 0)
			from = seen;
		require(now() < end, "no %ld passes of the built-in KSM", n);
		nap_ms(5);
	}
}

static void round_of(struct lab *lab, struct peer *attacks, struct peer *suffers)
{
	peer_tell(suffers);
	peer_wait(suffers);
	peer_tell(attacks);
	peer_wait(attacks);
	if (lab->attacker.builtin)
		builtin_passes(SETTLE + 2);
	else
		engine_passes(SETTLE + 2);
	peer_tell(attacks);
	peer_wait(attacks);
	peer_tell(suffers);
	peer_wait(suffers);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *of, size_t n)
{
	double sorted[CONTENTS];

	memcpy(sorted, of, n * sizeof(*of));
	qsort(sorted, n, sizeof(*sorted), compare);
	return sorted[n / 2];
}

/* How far the order of the times is from chance, in sigma. */
static double order_of(const struct lab *lab, size_t n)
{
	double u = 0, half = n / 2.0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++)
			if (lab->there[i] && !lab->there[k])
				u += lab->guess[i] > lab->guess[k] ? 1 :
				     lab->guess[i] == lab->guess[k] ? 0.5 : 0;
	return (u - half * half / 2) / sqrt(half * half * (n + 1) / 12);
}

static void judge(const struct lab *lab, size_t n, bool succeeds)
{
	double slow = median(lab->slow, n), fast = median(lab->fast, n);
	double threshold = sqrt(slow * fast), chance = 2 * sqrt(n), order = order_of(lab, n);
	size_t known = 0, right = 0;

	for (size_t i = 0; i < n; i++) {
		known += (lab->slow[i] > threshold) + (lab->fast[i] <= threshold);
		right += (lab->guess[i] > threshold) == lab->there[i];
	}
	note("%zu of %zu guesses are right, their order is off by %.1f sigma; a write takes "
	     "%.1f us where pages are merged, else %.1f us", right, n, order, slow / 1e3, fast / 1e3);
	require(known >= 0.95 * 2 * n, "only %zu of %zu known pages can be told apart, by %.1f and "
		"%.1f us: %s", known, 2 * n, slow / 1e3, fast / 1e3, engine_state());
	if (succeeds)
		require(right >= 0.95 * n, "the attack has %zu of %zu guesses right: it should work",
			right, n);
	else
		require(fabs(right - n / 2.0) <= chance && fabs(order) <= 4,
			"the attack works: %zu of %zu guesses are right, and chance explains %.0f; "
			"their order is off by %.1f sigma", right, n, n / 2.0 + chance, order);
}

static struct lab *lab_new(void)
{
	struct lab *lab = mmap(NULL, sizeof(*lab), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	require(lab != MAP_FAILED, "mmap: %s", strerror(errno));
	lab->attacker.uid = 1001;
	lab->victim.uid = 1002;
	return lab;
}

static void run(struct lab *lab, bool succeeds)
{
	size_t n = lab->empty ? EMPTY_CONTENTS : CONTENTS;
	struct peer attacks, suffers;

	lot_state = run_seed * 0x9e3779b97f4a7c15ULL;
	for (size_t i = 0; i < n; i++) {
		size_t other = lot(i + 1);

		lab->there[i] = lab->there[other];
		lab->there[other] = i % 2;
	}
	attacks = peer_start(attacker, lab);
	suffers = peer_start(victim, lab);
	lab->n = lab->empty ? 1 : n;
	for (lab->first = 0; lab->first < n; lab->first += lab->n)
		for (int i = 0; i < ROUNDS; i++)
			round_of(lab, &attacks, &suffers);
	peer_kill(&attacks);
	peer_kill(&suffers);
	judge(lab, n, succeeds);
}

static struct ksm_domain domain(uint64_t number, unsigned int flags)
{
	return (struct ksm_domain){ .size = sizeof(struct ksm_domain), .domain = number,
		.flags = flags };
}

static void mode(const char *name)
{
	int err = engine_write("domain_mode", name);

	require(!err, "domain_mode=%s: %s", name, strerror(-err));
}

CASE(attack, timing_builtin, 120)
{
	struct lab *lab = lab_new();

	if (access(BUILTIN "run", F_OK))
		skip("this kernel has no KSM of its own");
	builtin("pages_to_scan", "20000");
	builtin("sleep_millisecs", "5");
	builtin("run", "1");
	lab->attacker.builtin = true;
	lab->victim.builtin = true;
	run(lab, true);
	builtin("run", "2");
	builtin("run", "0");
	builtin("pages_to_scan", "100");
	builtin("sleep_millisecs", "20");
}

CASE(attack, timing_common, 120)
{
	engine_start();
	run(lab_new(), true);
}

/* Who shares a domain on purpose is no safer than in the common one. */
CASE(attack, timing_within_number, 120)
{
	struct lab *lab = lab_new();

	lab->victim.uid = lab->attacker.uid;
	lab->attacker.domain = domain(1, 0);
	lab->victim.domain = domain(1, 0);
	engine_start();
	run(lab, true);
}

CASE(attack, timing_across_numbers, 120)
{
	struct lab *lab = lab_new();

	lab->victim.uid = lab->attacker.uid;
	lab->attacker.domain = domain(1, 0);
	lab->victim.domain = domain(2, 0);
	engine_start();
	run(lab, false);
}

/* The numbers of two users are not the same. */
CASE(attack, timing_across_owners, 120)
{
	struct lab *lab = lab_new();

	lab->attacker.domain = domain(1, 0);
	lab->victim.domain = domain(1, 0);
	engine_start();
	run(lab, false);
}

CASE(attack, timing_across_users, 120)
{
	mode("user");
	engine_start();
	run(lab_new(), false);
}

CASE(attack, timing_across_processes, 120)
{
	struct lab *lab = lab_new();

	lab->victim.uid = lab->attacker.uid;
	mode("process");
	engine_start();
	run(lab, false);
}

static void run_empty(struct lab *lab, bool use_zero_pages, bool succeeds)
{
	lab->empty = true;
	engine_set("use_zero_pages", use_zero_pages);
	engine_start();
	run(lab, succeeds);
}

/* An empty page is content like any other. */
CASE(attack, timing_empty_common, 180) { run_empty(lab_new(), false, true); }
/* It becomes the zero page, whoever else has one. */
CASE(attack, timing_empty_zero, 180) { run_empty(lab_new(), true, false); }

/* In domains that do not ask for the zero page it merges as other pages do. */
CASE(attack, timing_empty_across_processes, 180)
{
	mode("process");
	run_empty(lab_new(), true, false);
}

/* In a domain that does it says nothing of one that does not. */
CASE(attack, timing_empty_asking, 180)
{
	struct lab *lab = lab_new();

	lab->attacker.domain = domain(1, KSM_DOMAIN_ZERO_PAGES);
	lab->victim.domain = domain(2, 0);
	run_empty(lab, true, false);
}

/* Nor does one that does not of the common one, where there are zero pages. */
CASE(attack, timing_empty_on_common, 180)
{
	struct lab *lab = lab_new();

	lab->attacker.domain = domain(1, 0);
	run_empty(lab, true, false);
}
