// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every allocation fails once: of each command, each attribute, the scan, the
 * thread, of loading and unloading. For N = 1, 2, 3, ... the Nth allocation of
 * a call fails, until a call is through before its Nth. Each time the call
 * answers ENOMEM or did without the memory, nothing of it is left half done,
 * and the same call succeeds when nothing fails.
 */
#include <sys/prctl.h>

#include "faults.h"

#define N 64
#define M 8
/* Pages of a huge page. */
#define H 512
/* More allocations than any call here has. */
#define MANY 4000

/* So that no page of its own is missing in the midst of a call. Unmerges what is merged. */
static void touch_everything(void)
{
	require(!mlockall(MCL_CURRENT), "mlockall: %s", strerror(errno));
}

/*
 * Calls fn(arg) with every allocation failing in its turn. Answers how many
 * there were; after each try check() is asked what became of it.
 */
static int each(const char *what, long (*fn)(void *arg), void (*check)(long ret, void *arg),
		void *arg)
{
	for (int nth = 1; nth < MANY; nth++) {
		bool met;
		long ret;

		fault_arm(nth);
		ret = fn(arg);
		met = fault_disarm();
		if (ret < 0 && (ret != -ENOMEM || !met))
			fail("%s, allocation %d fails%s: %s", what, nth, met ? "" : " not",
			     strerror(-ret));
		check(ret, arg);
		if (!met) {
			note("%s: %d allocations", what, nth - 1);
			return nth - 1;
		}
	}
	fail("%s: no end of allocations", what);
}

/* Those that make a descriptor. */

struct command {
	int fd;
	unsigned long cmd;
	const void *arg;
};

static long command(void *arg)
{
	struct command *c = arg;

	return dev_ioctl(c->fd, c->cmd, c->arg);
}

static int descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int descriptors_before;
static long users_before;

static void check_descriptor(long ret, void *arg)
{
	(void)arg;
	if (ret >= 0)
		close(ret);
	require(descriptors() == descriptors_before, "%d descriptors, not %d", descriptors(),
		descriptors_before);
	require(module_refcnt() == users_before, "%ld users of the module, not %ld",
		module_refcnt(), users_before);
}

CASE(inject, descriptors, 60)
{
	struct command area = { dev_fd(), KSM_CREATE_SHARED_MEMORY_AREA, NULL };
	struct command scan = { area.fd, KSM_CREATE_SCAN, NULL };

	faults_of_module();
	touch_everything();
	fault_arm(0);
	descriptors_before = descriptors();
	users_before = module_refcnt();
	/* What it stands for, and its file with all that belongs to that. */
	require(each("KSM_CREATE_SHARED_MEMORY_AREA", command, check_descriptor, &area) >= 2,
		"no allocation failed");
	require(each("KSM_CREATE_SCAN", command, check_descriptor, &scan) >= 1,
		"no allocation failed");
}

/* Those of an area. */

static unsigned long long regions_of(int area)
{
	struct ksm_statistics s = { .size = sizeof(s) };
	int err = dev_ioctl(area, KSM_AREA_STATISTICS, &s);

	require(!err, "KSM_AREA_STATISTICS: %s", strerror(-err));
	return s.regions;
}

struct registering {
	int area;
	char *p;
	struct ksm_task_region task;
	bool by_task;
};

static long register_it(void *arg)
{
	struct registering *r = arg;

	return r->by_task ? dev_ioctl(r->area, KSM_REGISTER_TASK, &r->task) :
			    region_add(r->area, r->p, N);
}

static long remove_it(struct registering *r)
{
	return r->by_task ?
		task_remove(r->area, r->task.mem_fd, NULL, KSM_TASK_WHOLE) :
		region_remove(r->area, r->p);
}

/* A region, or no trace of one: so that the next is the first again, which takes most. */
static void check_registered(long ret, void *arg)
{
	struct registering *r = arg;
	long err;

	require(regions_of(r->area) == !ret, "%llu regions after answer %ld",
		regions_of(r->area), ret);
	err = remove_it(r);
	if (!ret)
		require(!err, "removing the region: %s", strerror(-err));
	else
		expect_errno(err, ENOENT, "removing what was refused");
}

CASE(inject, regions, 60)
{
	struct registering r = { .area = area_new(), .p = mem_map(N) };

	mem_fill(r.p, N, M, 100);
	r.task = (struct ksm_task_region){
		.size = sizeof(r.task), .mem_fd = mem_open(getpid()), .flags = KSM_TASK_WHOLE,
	};
	faults_of_module();
	touch_everything();
	/* The region, its user and its address space. */
	require(each("KSM_REGISTER_MEMORY_REGION", register_it, check_registered, &r) >= 3,
		"fewer allocations than a region has parts");
	r.by_task = true;
	require(each("KSM_REGISTER_TASK", register_it, check_registered, &r) >= 3,
		"fewer allocations than a region has parts");
	r.task.flags |= KSM_TASK_CHILDREN;
	require(each("KSM_REGISTER_TASK, children", register_it, check_registered, &r) >= 3,
		"fewer allocations than a region has parts");
	r.by_task = false;
	require(!register_it(&r), "registering at last");
	engine_merge(M, N - M);
	mem_check(r.p, N, M, 100);
}

static void check_statistics(long ret, void *arg)
{
	const struct ksm_statistics *s = ((struct command *)arg)->arg;

	if (!ret)
		require(s->regions == 1 && s->pages_merged == N, "%llu regions, %llu pages merged",
			(unsigned long long)s->regions, (unsigned long long)s->pages_merged);
}

static void check_nothing(long ret, void *arg)
{
	(void)ret;
	(void)arg;
}

/* Counting, and what changes an area or ends: none of these may do harm. */
CASE(inject, areas, 60)
{
	char *p = mem_map(N);
	int area = area_with(p, N), mem = mem_open(getpid());
	struct ksm_statistics s = { .size = sizeof(s) };
	struct ksm_statistics t = { .size = sizeof(t), .mem_fd = mem };
	struct ksm_domain domain = { .size = sizeof(domain), .domain = 1 };
	struct command of_area = { area, KSM_AREA_STATISTICS, &s };
	struct command of_task = { dev_fd(), KSM_TASK_STATISTICS, &t };
	struct command set_domain = { area_new(), KSM_SET_DOMAIN, &domain };
	struct command remove = { area, KSM_REMOVE_MEMORY_REGION, NULL };

	mem_fill(p, N, M, 200);
	faults_of_module();
	touch_everything();
	engine_merge_in(SETTLE, M, N - M);
	require(each("KSM_AREA_STATISTICS", command, check_statistics, &of_area) >= 1,
		"no allocation failed");
	require(each("KSM_TASK_STATISTICS", command, check_statistics, &of_task) >= 1,
		"no allocation failed");
	each("KSM_SET_DOMAIN", command, check_nothing, &set_domain);
	each("KSM_REMOVE_MEMORY_REGION", command, check_nothing, &remove);
	mem_check(p, N, M, 200);
}

/* Unmerging: what was copied stays so, the rest merged; the next call does it all. */

struct unmerging {
	int area, device;
	char *p;
	bool by_run;
};

static void merge_again(struct unmerging *u)
{
	engine_merge_in(SETTLE, M, N - M);
	require(distinct_pfns(u->p, N) == M, "%zu page frames", distinct_pfns(u->p, N));
}

static long unmerge(void *arg)
{
	struct unmerging *u = arg;

	return u->by_run ? engine_write("run", "2") : dev_ioctl(u->area, KSM_AREA_UNMERGE, NULL);
}

static void check_unmerged(long ret, void *arg)
{
	struct unmerging *u = arg;

	mem_check(u->p, N, M, 300);
	if (u->by_run)
		require(engine_read("run") == (ret ? 0 : 2), "run is %lld after answer %ld",
			engine_read("run"), ret);
	if (ret) {
		ret = unmerge(u);
		require(!ret, "unmerging with memory: %s", strerror(-ret));
		mem_check(u->p, N, M, 300);
	}
	/* Not by page frames: the last user of a merged page has it for itself. */
	engine_expect(0, 0);
	engine_set("run", 0);
	merge_again(u);
}

static void unmerging(bool by_run, const char *what)
{
	struct unmerging u = { .p = mem_map(N), .by_run = by_run };

	mem_fill(u.p, N, M, 300);
	u.area = area_with(u.p, N);
	faults_of_module();
	touch_everything();
	merge_again(&u);
	require(each(what, unmerge, check_unmerged, &u) >= N, "fewer allocations than copies");
}

CASE(inject, unmerge_area, 300) { unmerging(false, "KSM_AREA_UNMERGE"); }
CASE(inject, unmerge_everything, 300) { unmerging(true, "run=2"); }

/* The scan, by KSM_SCAN: from no tables at all to merged pages. */

#define SCANS 4

struct scanning {
	int scan;
	int area;
	char *p;
	bool empty;	/* half of the pages are */
};

static long scan_some(void *arg)
{
	struct scanning *s = arg;
	struct ksm_user_scan order = { .pages_to_scan = UINT32_MAX };
	long ret = 0;

	for (int i = 0; i < SCANS && !ret; i++)
		ret = dev_ioctl(s->scan, KSM_SCAN, &order);
	return ret;
}

static void fill(struct scanning *s)
{
	mem_fill(s->p, N, M, 400);
	if (s->empty)
		memset(s->p + N / 2 * PAGE, 0, N / 2 * PAGE);
}

static void check_contents(struct scanning *s)
{
	mem_check(s->p, s->empty ? N / 2 : N, M, 400);
	for (int i = N / 2; s->empty && i < N; i++)
		require(page_is_zero(s->p + i * PAGE), "page %d is not empty any more", i);
}

/* KSM_SCAN itself has nothing to complain of: what could not be done is done by a later pass. */
static void check_scanned(long ret, void *arg)
{
	struct scanning *s = arg;
	size_t frames = s->empty ? M + 1 : M;

	require(!ret, "KSM_SCAN: %s", strerror(-ret));
	check_contents(s);
	scan_some(s);
	require(distinct_pfns(s->p, N) == frames, "%zu page frames, not %zu: %s",
		distinct_pfns(s->p, N), frames, engine_state());
	check_contents(s);
	/* Everything anew: nothing merged, no kpages, no sums, no candidates. */
	close(s->area);
	fill(s);
	require(dev_ioctl(s->scan, KSM_SCAN, &(struct ksm_user_scan){ 1, 0 }) == -EAGAIN,
		"something is still registered");
	engine_expect(0, 0);
	s->area = area_with(s->p, N);
}

static void scanning(bool empty, const char *what)
{
	struct scanning s = { .p = mem_map(N), .empty = empty };

	s.scan = dev_ioctl(dev_fd(), KSM_CREATE_SCAN, NULL);
	require(s.scan >= 0, "KSM_CREATE_SCAN: %s", strerror(-s.scan));
	while (!dev_ioctl(s.scan, KSM_SCAN, &(struct ksm_user_scan){ UINT32_MAX, 0 }))
		;
	engine_set("use_zero_pages", empty);
	fill(&s);
	s.area = area_with(s.p, N);
	faults_of_module();
	touch_everything();
	/* Two for each kpage, and a table for most contents. */
	require(each(what, scan_some, check_scanned, &s) >= 3 * M, "hardly an allocation failed");
}

CASE(inject, scan, 300) { scanning(false, "KSM_SCAN"); }
CASE(inject, scan_zero_pages, 300) { scanning(true, "KSM_SCAN, zero pages"); }

/* What brings in the memory of others: it comes with a later pass. */

#define UID 1000

static void newcomer(struct peer *self, void *arg)
{
	char *p = mem_map(N);

	require(!setgid(UID) && !setuid(UID) && !prctl(PR_SET_DUMPABLE, 1), "setuid");
	mem_fill(p, N, M, 500);
	madvise(p, N * PAGE, MADV_MERGEABLE);
	*(char **)arg = p;
	peer_tell(self);
	peer_wait(self);
	mem_check(p, N, M, 500);
}

/* In how many page frames its memory is. */
static size_t frames_of(pid_t pid, const char *p)
{
	uint64_t pfn[N];
	size_t distinct = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	require(fd >= 0, "%s: %s", path, strerror(errno));
	require(pread(fd, pfn, sizeof(pfn), (uintptr_t)p / PAGE * 8) == sizeof(pfn), "%s: %s", path,
		strerror(errno));
	close(fd);
	for (int i = 0; i < N; i++) {
		int j = 0;

		while (j < i && pfn[j] != pfn[i])
			j++;
		distinct += j == i;
	}
	return distinct;
}

/* attribute: what takes it in; NULL: being a child of this process */
static void joining(const char *attribute)
{
	char **where = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct scanning s = { .scan = dev_ioctl(dev_fd(), KSM_CREATE_SCAN, NULL) };
	int area = area_new(), mem = mem_open(getpid()), failed = 0, err;
	const unsigned int family = KSM_TASK_WHOLE | KSM_TASK_CHILDREN;
	bool met = true;

	faults_of_module();
	touch_everything();
	engine_set("scan_all_min_uid", UID);
	for (int nth = 1; met; nth++) {
		struct peer peer = peer_start(newcomer, where);

		require(nth < MANY, "no end of allocations");
		peer_wait(&peer);
		err = attribute ? engine_write(attribute, "1") :
				  task_add(area, mem, NULL, 0, family);
		require(!err, "taking in: %s", strerror(-err));
		fault_arm(nth);
		err = scan_some(&s);
		met = fault_disarm();
		failed += met;
		require(!err || (err == -EAGAIN && met), "KSM_SCAN: %s", strerror(-err));
		scan_some(&s);
		require(frames_of(peer.pid, *where) == M, "%zu page frames: %s",
			frames_of(peer.pid, *where), engine_state());
		peer_end(&peer);
		err = attribute ? engine_write(attribute, "0") :
				  task_remove(area, mem, NULL, family);
		require(!err, "letting go: %s", strerror(-err));
		scan_some(&s);
	}
	note("%s: %d allocations", attribute ?: "children", failed);
	require(failed > 3 * M, "%d allocations only", failed);
}

CASE(inject, adopt, 300) { joining("adopt_mergeable"); }
CASE(inject, scan_all, 300) { joining("scan_all"); }
CASE(inject, children, 300) { joining(NULL); }

/* Attributes that are written: refused, or in force. */

struct attribute {
	const char *name, *value, *other;
};

static long write_attribute(void *arg)
{
	struct attribute *a = arg;

	return engine_write(a->name, a->value);
}

static void check_attribute(long ret, void *arg)
{
	struct attribute *a = arg;
	char path[128], text[128];

	snprintf(path, sizeof(path), ENGINE "%s", a->name);
	require(file_read(path, text, sizeof(text)) > 0, "%s cannot be read", a->name);
	require(strstr(text, ret ? a->other : a->value), "%s=%s answered %ld, and is now %s", a->name,
		a->value, ret, text);
	require(!engine_write(a->name, a->other), "%s=%s", a->name, a->other);
}

CASE(inject, attributes, 60)
{
	static struct attribute all[] = {
		{ "run", "1", "0" },
		{ "run", "2", "0" },
		{ "pages_to_scan", "77", "100" },
		{ "sleep_millisecs", "33", "20" },
		{ "adopt_mergeable", "1", "0" },
		{ "scan_all", "1", "0" },
		{ "scan_all_min_uid", "5", "0" },
		{ "scan_all_protected", "1", "0" },
		{ "smart_scan", "1", "0" },
		{ "thp_split_share", "20", "12" },
		{ "domain_mode", "user", "global" },
		{ "use_zero_pages", "1", "0" },
		{ "max_kernel_pages", "9", "0" },
		{ "max_page_sharing", "9", "256" },
		{ "merge_across_nodes", "0", "1" },
		{ "advisor_target_scan_time", "9", "200" },
	};

	faults_of_module();
	touch_everything();
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		each(all[i].name, write_attribute, check_attribute, &all[i]);
	sentinel();
	engine_merge(1, 1);
}

/* The kernel thread: each of its next allocations, then many of them for a while. */
CASE(inject, thread, 300)
{
	char *p = mem_map(N);
	int failed = 0, area;
	pid_t thread = engine_read("thread_pid");

	faults_of_module();
	engine_set("adopt_mergeable", 1);
	madvise(p, N * PAGE, MADV_MERGEABLE);
	for (int nth = 1; nth <= 64; nth++) {
		mem_fill(p, N, M, 600 + nth);
		area = area_with(p, N);
		fault_arm_task(thread, nth);
		engine_start();
		engine_passes(SETTLE);
		failed += fault_disarm_task(thread);
		mem_check(p, N, M, 600 + nth);
		engine_merge(M, N - M);
		mem_check(p, N, M, 600 + nth);
		engine_stop();
		close(area);
	}
	note("%d allocations failed", failed);
	require(failed > 3 * M, "%d allocations failed only", failed);
}

CASE(inject, thread_often, 300)
{
	const size_t npages = 2048, contents = 512;
	char *p = mem_map(npages);
	pid_t thread = engine_read("thread_pid");

	faults_of_module();
	area_with(p, npages);
	engine_set("adopt_mergeable", 1);
	engine_set("use_zero_pages", 1);
	for (int round = 0; round < 4; round++) {
		faults_often(thread, 20 + 20 * round);
		mem_fill(p, npages, contents, 10000 * round);
		engine_start();
		engine_passes(2 * SETTLE);
		note("%u %%: %lld pages merged", 20 + 20 * round, engine_read("pages_sharing"));
		mem_check(p, npages, contents, 10000 * round);
		faults_often(thread, 0);
		engine_merge(contents, npages - contents);
		mem_check(p, npages, contents, 10000 * round);
	}
}

/* What is known of a huge page's pages has places of its own, some of which are missing. */
CASE(inject, huge, 300)
{
	pid_t thread = engine_read("thread_pid");
	int failed = 0;

	faults_of_module();
	for (int nth = 1; nth <= 48; nth++) {
		char *p = mem_map_huge(H);
		int area = area_with(p, H);

		mem_fill(p, H, H, 1000 * nth);
		require(smaps_pages(p, H, "AnonHugePages") == H,
			"the kernel gave no huge page, the case would prove nothing");
		fault_arm_task(thread, nth);
		engine_start();
		engine_passes(SETTLE);
		failed += fault_disarm_task(thread);
		engine_stop();
		mem_check(p, H, H, 1000 * nth);
		close(area);
		mem_unmap(p, H);
	}
	note("%d allocations failed", failed);
	require(failed > 8, "%d allocations failed only", failed);
}

/* Loading: it fails, or the module works; and in the end it loads. */

static long load(void *arg)
{
	(void)arg;
	return module_load("adopt_mergeable=1");
}

static void check_loaded(long ret, void *arg)
{
	char *p = arg;
	int area;

	if (ret) {
		require(!module_there() && access("/dev/ksm", F_OK) && !engine_there(),
			"insmod failed and left something");
		return;
	}
	/* What it could not do without memory must not be missing for good. */
	area = area_new();
	ret = task_add(area, mem_open(getpid()), p, 2, 0);
	require(!ret, "KSM_REGISTER_TASK after loading: %s", strerror(-ret));
	close(area);
	module_remove();
}

CASE(inject, load, 600)
{
	char *p = mem_map(2);

	faults_of_module();
	touch_everything();
	module_remove();
	require(each("insmod", load, check_loaded, p) > 50, "hardly an allocation failed");
	require(!load(NULL), "insmod");
	engine_pace(20000, 5);
	sentinel();
	engine_merge(1, 1);
}

/* Unloading cannot fail. */
CASE(inject, unload, 120)
{
	bool met = true;

	faults_of_module();
	touch_everything();
	for (int nth = 1; met; nth++) {
		char *p = mem_map(N);
		int area, err;

		require(nth < MANY, "no end of allocations");
		mem_fill(p, N, M, 800);
		area = area_with(p, N);
		engine_pace(20000, 5);
		engine_merge(M, N - M);
		close(area);
		fault_arm(nth);
		err = module_unload();
		met = fault_disarm();
		require(!err, "rmmod, allocation %d fails: %s", nth, strerror(-err));
		require(!module_there(), "rmmod left something");
		mem_check(p, N, M, 800);
		mem_unmap(p, N);
		require(!load(NULL), "insmod");
	}
	engine_pace(20000, 5);
}
