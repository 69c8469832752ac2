// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Nonsense by the hundred thousand: commands and attributes with arguments that
 * know their layouts, while the engine works on memory that is verified. How
 * many calls and from which seed is said to the runner.
 */
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "ksmtest.h"

#define AREAS 8
#define PAGES 256

static uint64_t state;

static uint64_t roll(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

#define ONE_OF(array) ((array)[roll() % (sizeof(array) / sizeof(*(array)))])

/* Attributes that may be written, whichever this engine has. */
struct attribute {
	char name[64];
	char was[256];
	int fd;
};

static struct attribute attribute[64];
static int attributes;

static void find_attributes(void)
{
	DIR *dir = opendir(ENGINE);
	struct dirent *e;

	require(dir, ENGINE ": %s", strerror(errno));
	while ((e = readdir(dir)) && attributes < 64) {
		struct attribute *a = &attribute[attributes];
		struct stat st;
		char path[512];

		snprintf(path, sizeof(path), ENGINE "%s", e->d_name);
		if (lstat(path, &st) || !S_ISREG(st.st_mode) || !(st.st_mode & 0200) ||
		    !strcmp(e->d_name, "uevent"))
			continue;
		snprintf(a->name, sizeof(a->name), "%.63s", e->d_name);
		require(file_read(path, a->was, sizeof(a->was)) > 0, "reading %s", path);
		a->fd = open(path, O_RDWR | O_CLOEXEC);
		require(a->fd >= 0, "%s: %s", path, strerror(errno));
		attributes++;
	}
	closedir(dir);
	require(attributes >= 4, "%d attributes can be written", attributes);
}

/* Of "[none] scan-time" the choice in force. */
static const char *chosen(const char *was)
{
	static char word[256];
	const char *from = strchr(was, '[');

	if (!from)
		return was;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(from + 1, "]"), from + 1);
	return word;
}

/* Twice: one may be refused as long as another is not what it was. */
static void restore_attributes(void)
{
	engine_set("run", 2);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < attributes; i++)
			if (strcmp(attribute[i].name, "run"))
				engine_write(attribute[i].name, chosen(attribute[i].was));
	for (int i = 0; i < attributes; i++) {
		char is[256], path[512];

		if (!strcmp(attribute[i].name, "run"))
			continue;
		snprintf(path, sizeof(path), ENGINE "%.63s", attribute[i].name);
		file_read(path, is, sizeof(is));
		require(!strcmp(is, attribute[i].was), "%s was %s, and is %s", attribute[i].name,
			attribute[i].was, is);
	}
	engine_set("run", 0);
}

static void reset_pace(void)
{
	struct ksm_kthread_info info = { .sleep = 5000, .pages_to_scan = 20000 };
	int err = dev_ioctl(dev_fd(), KSM_START_STOP_KTHREAD, &info);

	require(!err, "KSM_START_STOP_KTHREAD: %s", strerror(-err));
}

/* One process that talks nonsense. */
static struct {
	char *p;			/* PAGES that are verified in the end */
	uint64_t base;
	char *hole, *read_only, *scratch, *edge;	/* edge: ends where memory ends */
	int dev, area[AREAS];
	int mem, sibling_mem, other[4];
} me;

static uint64_t number(void)
{
	static const uint64_t numbers[] = {
		0, 1, 2, 3, 7, 8, 100, 255, 256, 4095, 4096, 4097, 65535, 65536, 0x7fffffff,
		0x80000000, 0xffffffff, 0x100000000, 1ULL << 47, (1ULL << 47) - 4096, 1ULL << 56,
		0x7fffffffffffffff, 1ULL << 63, ~0ULL, ~0ULL - 4095,
	};

	return roll() % 4 ? ONE_OF(numbers) : roll() >> roll() % 64;
}

static uint64_t address(void)
{
	static const uint64_t odd[] = {
		0, 1, 4096, (1ULL << 47) - 4096, (1ULL << 47) - 8192, 1ULL << 47, 1ULL << 63,
		0xffff888000000000, 0xffffffff81000000, ~0ULL - 4095, ~0ULL,
	};
	uint64_t at = (uintptr_t)me.p + roll() % PAGES * PAGE;

	switch (roll() % 8) {
	case 0: return ONE_OF(odd);
	case 1: return at + roll() % PAGE;
	case 2: return (uintptr_t)me.hole;
	case 3: return number();
	default: return at;
	}
}

static int descriptor(void)
{
	switch (roll() % 8) {
	case 0: return number();
	case 1: return ONE_OF(me.area);
	case 2: return ONE_OF(me.other);
	case 3: return me.sibling_mem;
	default: return me.mem;
	}
}

/* The words that a command's struct has, or whatever. */
static void fill(unsigned char *to, unsigned int cmd)
{
	for (size_t i = 0; i < 128; i += 8) {
		uint64_t x = roll() % 2 ? 0 : number();

		memcpy(to + i, &x, 8);
	}
	if (roll() % 8 == 0)
		return;
	if (_IOC_NR(cmd) == 0x20) {
		struct ksm_memory_region_mar09 region = {
			.npages = roll() % 4 ? roll() % 8 : number(),
			.pad = number(),
			.addr = address(),
			.reserved_bits = roll() % 4 ? 0 : number(),
		};

		memcpy(to, &region, sizeof(region));
	} else if (_IOC_NR(cmd) == 0x60 || _IOC_NR(cmd) == 0x61) {
		static const uint32_t size[] = {
			32, 32, 32, 32, 0, 8, 31, 33, 40, 64, 128, 4095, 4096, 4097, 0x7fffffff, ~0u,
		};
		struct ksm_task_region region = {
			.size = ONE_OF(size),
			.flags = roll() % 8 ? roll() % 16 : number(),
			.mem_fd = descriptor(),
			.reserved = roll() % 8 ? 0 : number(),
			.addr = roll() % 4 ? address() : 0,
			.length = roll() % 2 ? roll() % 8 * PAGE : roll() % 2 ? 0 : number(),
		};

		memcpy(to, &region, sizeof(region));
	} else if (_IOC_NR(cmd) == 0x62) {
		static const uint32_t size[] = { 24, 24, 24, 24, 0, 23, 32, 4096, 4097, ~0u };
		struct ksm_domain domain = {
			.size = ONE_OF(size),
			.flags = roll() % 8 ? roll() % 4 : number(),
			.domain = roll() % 4,
			.reserved = roll() % 8 ? 0 : number(),
		};

		memcpy(to, &domain, sizeof(domain));
	} else if (_IOC_NR(cmd) == 0x63 || _IOC_NR(cmd) == 0x64) {
		static const uint32_t size[] = { 88, 88, 88, 88, 0, 87, 96, 4096, 4097, ~0u };
		struct ksm_statistics statistics = {
			.size = ONE_OF(size),
			.flags = roll() % 8 ? 0 : number(),
			.mem_fd = _IOC_NR(cmd) == 0x64 || roll() % 8 == 0 ? descriptor() : 0,
			.reserved = roll() % 8 ? 0 : number(),
		};

		memcpy(to, &statistics, sizeof(statistics));
	} else if (_IOC_NR(cmd) == 0x66) {
		static const uint32_t size[] = { 40, 40, 40, 40, 0, 39, 48, 4096, 4097, ~0u };
		static const uint32_t entry_size[] = { 64, 64, 64, 0, 63, 65, 4096, 4097, ~0u };
		struct ksm_region_list list = {
			.size = ONE_OF(size),
			.flags = roll() % 8 ? 0 : number(),
			.cursor = roll() % 2 ? 0 : number(),
			.end = number(),
			.entries = roll() % 4 ? (uintptr_t)me.scratch + roll() % PAGE :
				   roll() % 2 ? (uintptr_t)me.hole : number(),
			.entry_size = ONE_OF(entry_size),
			.nr = roll() % 4 ? roll() % 8 : number(),
		};

		memcpy(to, &list, sizeof(list));
	} else if (_IOC_NR(cmd) <= 4) {
		struct ksm_kthread_info info = {
			.sleep = roll() % 2 ? roll() % 1000 : number(),
			.pages_to_scan = roll() % 2 ? roll() % 5000 : number(),
			.max_pages_to_merge = roll() % 3,
			.running = roll() % 3,
		};

		memcpy(to, &info, sizeof(info));
	}
}

static unsigned long argument(unsigned int cmd)
{
	static unsigned char buffer[PAGE] __attribute__((aligned(8)));
	unsigned long at;

	if (cmd == KSM_REMOVE_MEMORY_REGION)
		return address();
	fill(buffer, cmd);
	switch (roll() % 12) {
	case 0:
		/* Not into the memory that is verified: some commands answer there. */
		return (unsigned long)me.scratch + roll() % PAGE;
	case 1:
		return number();
	case 2:
		return (unsigned long)me.hole;
	case 3:
		return (unsigned long)me.read_only;
	case 4:
		at = (unsigned long)me.edge + PAGE - 4 * (1 + roll() % 12);
		memcpy((void *)at, buffer, (unsigned long)me.edge + PAGE - at);
		return at;
	default:
		return (unsigned long)buffer;
	}
}

static unsigned int command(void)
{
	static const unsigned int known[] = {
		KSM_GET_API_VERSION, KSM_CREATE_SHARED_MEMORY_AREA, KSM_START_STOP_KTHREAD,
		KSM_START_STOP_KTHREAD_RHEL5, KSM_START_STOP_KTHREAD_MAR09, KSM_GET_INFO_KTHREAD,
		KSM_GET_INFO_KTHREAD_RHEL5, KSM_GET_INFO_KTHREAD_MAR09, KSM_REGISTER_MEMORY_REGION,
		KSM_REGISTER_MEMORY_REGION_MAR09, KSM_REMOVE_MEMORY_REGION, KSM_REGISTER_TASK,
		KSM_REMOVE_TASK, KSM_REGISTER_MEMORY_REGION, KSM_REGISTER_TASK,
		KSM_SET_DOMAIN, KSM_CREATE_SCAN, KSM_SCAN, KSM_AREA_STATISTICS,
		KSM_TASK_STATISTICS, KSM_AREA_UNMERGE, KSM_LIST_REGIONS,
	};
	static const unsigned int size[] = {
		0, 1, 4, 8, 12, 15, 16, 17, 20, 24, 32, 40, 64, 128, 4096, 16383,
	};

	if (roll() % 8 < 5)
		return ONE_OF(known);
	return _IOC(roll() % 4, roll() % 16 ? KSMIO : roll() % 256, roll() % 256, ONE_OF(size));
}

/* A scan of a size that the case has time for. */
static void a_scan(int fd)
{
	struct ksm_user_scan scan = {
		.pages_to_scan = roll() % 1000,
		.max_pages_to_merge = roll() % 100,
	};

	if (ioctl(fd, KSM_SCAN, roll() % 8 ? &scan : (void *)number()) < 0)
		require(errno == EINVAL || errno == EAGAIN || errno == EBUSY || errno == EFAULT,
			"KSM_SCAN: %s", strerror(errno));
	close(fd);
}

static void an_ioctl(void)
{
	unsigned int cmd = command();
	unsigned long arg = argument(cmd);
	int slot = roll() % AREAS, kind = roll() % 16, fd, ret;

	fd = kind < 4 ? me.dev : kind < 15 ? me.area[slot] : descriptor();
	if (_IOC_TYPE(cmd) != KSMIO && kind == 15)
		return;		/* other drivers' commands may mean something */
	ret = ioctl(fd, cmd, arg);
	if (ret < 0) {
		switch (errno) {
		case ENOTTY: case EFAULT: case EINVAL: case EEXIST: case ENOENT: case ENOSPC:
		case ESRCH: case EBADF: case E2BIG: case EPERM: case EMFILE: case ENOMEM:
		case EBUSY:
			return;
		}
		fail("command %#x, argument %#lx: %s", cmd, arg, strerror(errno));
	}
	if (cmd == KSM_CREATE_SHARED_MEMORY_AREA) {
		if (me.area[slot] >= 0)
			close(me.area[slot]);
		me.area[slot] = ret;
		return;
	}
	if (cmd == KSM_CREATE_SCAN) {
		a_scan(ret);
		return;
	}
	require(ret == (cmd == KSM_GET_API_VERSION ? KSM_API_VERSION : 0),
		"command %#x answered %d", cmd, ret);
}

static void a_write(void)
{
	static const char *const texts[] = {
		"", "\n", " ", "0", "1", "2", "3", "1\n", "1\n\n", " 1", "1 ", "+1", "-1", "-0", "0x1",
		"01", "1.0", "1e3", "1,2", "1 2", "1-2,5", "2-1", "7-", ",", "run", "none", "scan-time", "global", "\xff\xfe",
		"18446744073709551615", "18446744073709551616", "-9223372036854775809",
		"4294967295", "4294967296", "2147483648", "999999999999999999999999999",
	};
	static char text[5000];
	struct attribute *a = &attribute[roll() % attributes];
	size_t length;
	ssize_t n;

	switch (roll() % 4) {
	case 0:
		strcpy(text, ONE_OF(texts));
		length = strlen(text);
		break;
	case 1:
		length = roll() % sizeof(text);
		memset(text, '0' + roll() % 10, length);
		break;
	case 2:
		length = roll() % 32;
		for (size_t i = 0; i < length; i++)
			text[i] = roll();
		break;
	default:
		length = sprintf(text, "%llu", (unsigned long long)number());
	}
	if (roll() % 8 == 0) {
		n = pread(a->fd, text, sizeof(text), 0);
		require(n > 0 && text[n - 1] == '\n', "%s cannot be read: %zd", a->name, n);
		return;
	}
	n = pwrite(a->fd, text, length, 0);
	if (n < 0)
		require(errno == EINVAL || errno == EPERM || errno == ERANGE || errno == EBUSY ||
			errno == ENOMEM || errno == EOPNOTSUPP,
			"writing %.40s to %s: %s", text, a->name, strerror(errno));
	else
		/* sysfs takes no more than a page. */
		require(n == (ssize_t)(length < PAGE ? length : PAGE), "%zd bytes of %zu written to %s", n, length, a->name);
}

/*
 * Between nonsense the engine gets to work, and memory changes so that there is
 * always something to merge. Answers what was seen to be merged.
 */
static long long live(unsigned long i, bool root)
{
	long long sharing;

	if (root) {
		engine_write("pages_to_scan", "20000");
		engine_write("sleep_millisecs", "0");
		engine_write("run", "1");
	}
	nap_ms(roll() % 20);
	sharing = engine_read("pages_sharing");
	mem_check(me.p, PAGES, 4, me.base);
	me.base = i % 2 ? 5000 : 5002;
	mem_fill(me.p, PAGES, 4, me.base);
	return sharing;
}

static void speak(struct peer *self, void *arg)
{
	int number = *(int *)arg;
	unsigned long calls = fuzz_calls / 3;
	long long sharing, most = 0;

	state = (run_seed + number) * 0x9e3779b97f4a7c15ULL | 1;
	me.p = mem_map(PAGES);
	me.hole = mem_map(1);
	me.read_only = mem_map(1);
	me.scratch = mem_map(2);
	me.edge = mem_map(1);
	require(!mprotect(me.hole, PAGE, PROT_NONE) && !mprotect(me.read_only, PAGE, PROT_READ),
		"mprotect: %s", strerror(errno));
	me.dev = dev_fd();
	for (int i = 0; i < AREAS; i++)
		me.area[i] = area_new();
	me.mem = mem_open(getpid());
	me.sibling_mem = mem_open(getppid());
	me.other[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	me.other[1] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	me.other[2] = memfd_create("m", MFD_CLOEXEC);
	me.other[3] = self->out;
	me.base = 5000;
	mem_fill(me.p, PAGES, 4, me.base);
	if (number == 2)	/* the third has no rights, but what the descriptors give */
		require(!setgid(65534) && !setuid(65534), "setuid: %s", strerror(errno));
	for (unsigned long i = 0; i < calls; i++) {
		if (roll() % 8)
			an_ioctl();
		else
			a_write();
		if (i % 512 == 511) {
			sharing = live(i / 512, number != 2);
			most = sharing > most ? sharing : most;
		}
		if (i % 20000 == 19999 && !number)
			note("%lu of %lu calls", 3 * (i + 1), fuzz_calls);
	}
	mem_check(me.p, PAGES, 4, me.base);
	note("process %d saw at most %lld pages sharing", number, most);
	require(calls < 20000 || most > 0, "nothing merged in between");
}

/* All of it in a process that can be left behind with what it registered. */
static void speak_all(struct peer *self, void *arg)
{
	struct peer speaker[3];
	int number[3];

	(void)self;
	(void)arg;
	for (int i = 0; i < 3; i++) {
		number[i] = i;
		speaker[i] = peer_start(speak, &number[i]);
	}
	for (int i = 0; i < 3; i++)
		reap(speaker[i].pid);
}

CASE(fuzz, nonsense, 240)
{
	struct peer all;

	note("%lu calls, seed %llu", fuzz_calls, (unsigned long long)run_seed);
	find_attributes();
	engine_start();
	all = peer_start(speak_all, NULL);
	reap(all.pid);
	note("%s", engine_state());
	reset_pace();
	restore_attributes();
	/* It still does what it is for. */
	engine_pace(20000, 5);
	sentinel();
	engine_merge(1, 1);
}

/*
 * The regions of one address space against a model of them: every answer is
 * foretold, and in the end what merges is exactly what is registered.
 */
#define SLOTS 64
#define DETACHED AREAS

static int owner[SLOTS];	/* the number of its region, 0: none */
static struct region {
	int from, pages, area;
} region[SLOTS + 1];

static int foretell_add(int from, int pages, int area)
{
	for (int i = from; i < from + pages; i++)
		if (owner[i])
			return -EEXIST;
	for (int r = 1; r <= SLOTS; r++) {
		if (region[r].pages)
			continue;
		region[r] = (struct region){ from, pages, area };
		for (int i = from; i < from + pages; i++)
			owner[i] = r;
		return 0;
	}
	fail("the model is full");
}

/* from < 0: all of the area */
static int foretell_remove(int from, int area)
{
	int ret = -ENOENT;

	for (int r = 1; r <= SLOTS; r++) {
		if (!region[r].pages || region[r].area != area ||
		    (from >= 0 && region[r].from != from))
			continue;
		for (int i = region[r].from; i < region[r].from + region[r].pages; i++)
			owner[i] = 0;
		region[r].pages = 0;
		ret = 0;
	}
	return ret;
}

static void expect_same(int got, int want, const char *what, int from, int pages, int area)
{
	require(got == want, "%s, slot %d, %d pages, area %d: %d (%s), foretold was %d", what,
		from, pages, area, got, strerror(-got), want);
}

static void a_model_step(char *p)
{
	int from = roll() % SLOTS, pages = 1 + roll() % 6, number = roll() % AREAS;
	int *area = &me.area[number];
	char *at = p + from * PAGE;

	if (from + pages > SLOTS)
		pages = SLOTS - from;
	switch (roll() % 10) {
	case 0: case 1: case 2:
		expect_same(region_add(*area, at, pages), foretell_add(from, pages, number),
			    "registering", from, pages, number);
		break;
	case 3:
		expect_same(task_add(*area, me.mem, at, pages, 0),
			    foretell_add(from, pages, number), "by the task", from, pages, number);
		break;
	case 4:
		expect_same(task_add(*area, me.mem, at, pages, KSM_TASK_DETACHED),
			    foretell_add(from, pages, DETACHED), "detached", from, pages, number);
		break;
	case 5: case 6:
		expect_same(region_remove(*area, at), foretell_remove(from, number),
			    "removing", from, 0, number);
		break;
	case 7:
		expect_same(task_remove(*area, me.mem, at, 0), foretell_remove(from, number),
			    "removing by the task", from, 0, number);
		break;
	case 8:
		expect_same(task_remove(*area, me.mem, at, KSM_TASK_DETACHED),
			    foretell_remove(from, DETACHED), "removing detached", from, 0, number);
		break;
	default:
		switch (roll() % 4) {
		case 0:
			expect_same(region_remove(*area, NULL), 0, "removing all", 0, 0, number);
			foretell_remove(-1, number);
			break;
		case 1:
			expect_same(task_remove(*area, me.mem, NULL, KSM_TASK_WHOLE),
				    foretell_remove(-1, number), "removing all by the task", 0, 0,
				    number);
			break;
		case 2:
			expect_same(task_remove(*area, me.mem, NULL,
						KSM_TASK_WHOLE | KSM_TASK_DETACHED),
				    foretell_remove(-1, DETACHED), "removing all detached", 0, 0,
				    number);
			break;
		case 3:
			close(*area);
			foretell_remove(-1, number);
			*area = area_new();
		}
	}
}

CASE(fuzz, regions, 120)
{
	unsigned long steps = fuzz_calls / 4;
	char *p = mem_map(SLOTS);
	int registered = 0;

	state = run_seed * 0x9e3779b97f4a7c15ULL | 1;
	me.mem = mem_open(getpid());
	for (int i = 0; i < AREAS; i++)
		me.area[i] = area_new();
	/* Nothing there to merge: the model is about regions. */
	engine_pace(20000, 1);
	engine_start();
	for (unsigned long i = 0; i < steps; i++)
		a_model_step(p);
	engine_stop();
	mem_fill(p, SLOTS, 1, 5100);
	for (int i = 0; i < SLOTS; i++)
		registered += !!owner[i];
	note("%lu steps, %d of %d pages are registered", steps, registered, SLOTS);
	engine_merge(registered > 1, registered > 1 ? registered - 1 : 0);
	for (int i = 0; i < SLOTS; i++)
		require(registered < 2 || !!owner[i] == !!(pagemap(p + i * PAGE) & PM_FILE),
			"page %d is registered: %d, merged: %d", i, !!owner[i],
			!!(pagemap(p + i * PAGE) & PM_FILE));
	mem_check(p, SLOTS, 1, 5100);
}
