// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs cases one after the other, each in a session of its own with a time
 * limit, and prints one line for each. Whatever a case did, the next one finds
 * a quiet engine: what a case left behind is its failure, and makes the module
 * be loaded anew.
 */
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "ksmtest.h"

static struct testcase *cases;
static int kmsg_fd = -1;

void case_add(struct testcase *tc)
{
	struct testcase **at = &cases;

	while (*at && strcmp((*at)->name, tc->name) < 0)
		at = &(*at)->next;
	tc->next = *at;
	*at = tc;
}

/* The kernel's complaints since the last call, or NULL. */
static const char *splat(void)
{
	static const char *const signs[] = {
		"WARNING:", "BUG:", "kernel BUG at", "ODEBUG:", "Bad page", "Bad rss-counter", "KASAN",
		"possible circular", "possible recursive", "possible deadlock",
		"suspicious RCU", "INFO: task", "INFO: rcu", "Oops", "UBSAN",
		"refcount_t:", "general protection fault", "vmstat_refresh:",
		"scheduling while atomic", "sleeping function", "bad_page",
	};
	static char found[512];
	char line[8192];
	ssize_t n;

	found[0] = '\0';
	while ((n = read(kmsg_fd, line, sizeof(line) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		char *text;

		if (n < 0)
			continue;
		line[n] = '\0';
		text = strchr(line, ';');
		for (size_t i = 0; text && i < sizeof(signs) / sizeof(*signs); i++)
			if (!found[0] && strstr(text, signs[i]))
				snprintf(found, sizeof(found), "%.*s",
					 (int)strcspn(text + 1, "\n"), text + 1);
	}
	return found[0] ? found : NULL;
}

static bool quiet(void)
{
	return engine_read("pages_shared") == 0 &&
	       engine_read("pages_sharing") == 0 && module_refcnt() == 0;
}

/* Tunables of sharing: back to what they are at load. NULL or the one that refused. */
static const char *reset_sharing(void)
{
	static const char *const sharing[][2] = {
		{ "domain_mode", "global" },
		{ "use_zero_pages", "0" },
		{ "max_kernel_pages", "0" },
		{ "max_page_sharing", "256" },
		{ "merge_across_nodes", "1" },
		{ "stable_node_chains_prune_millisecs", "2000" },
	};

	for (size_t i = 0; i < sizeof(sharing) / sizeof(*sharing); i++)
		if (engine_write(sharing[i][0], sharing[i][1]))
			return sharing[i][0];
	return NULL;
}

/* What a case may have changed; "two passes merge all" holds with smart_scan=0. */
static const char *const initial[][2] = {
	{ "run", "0" },
	{ "adopt_mergeable", "0" },
	{ "advisor_mode", "none" },
	{ "advisor_target_scan_time", "200" },
	{ "advisor_max_cpu", "70" },
	{ "advisor_min_pages_to_scan", "500" },
	{ "advisor_max_pages_to_scan", "30000" },
	{ "scan_all", "0" },
	{ "scan_all_min_uid", "0" },
	{ "scan_all_exclude_uids", "\n" },
	{ "scan_all_protected", "0" },
	{ "smart_scan", "0" },
	{ "thp_mode", "share" },
	{ "thp_split_share", "12" },
};

/* Brings the engine back to its initial state; NULL or what was in the way. */
static const char *settle_engine(bool anew)
{
	static char text[1200];
	double end = now() + 5 * patience;
	int err;

	if (anew && module_there()) {
		err = module_unload();
		if (err) {
			snprintf(text, sizeof(text), "rmmod: %s, refcnt %ld",
				 strerror(-err), module_refcnt());
			return text;
		}
	}
	if (!module_there()) {
		err = module_load("");
		if (err) {
			snprintf(text, sizeof(text), "insmod %s: %s",
				 module_path, strerror(-err));
			return text;
		}
	}
	/* Where there is one; a case that failed may have left it running. */
	file_write("/sys/kernel/mm/ksm/run", "0");
	for (size_t i = 0; i < sizeof(initial) / sizeof(*initial); i++) {
		err = engine_write(initial[i][0], initial[i][1]);
		if (err) {
			snprintf(text, sizeof(text), "%s=%s was refused: %s", initial[i][0],
				 initial[i][1], strerror(-err));
			return text;
		}
	}
	engine_set("scan_threads", scan_threads);
	while (!quiet()) {
		if (now() > end) {
			snprintf(text, sizeof(text),
				 "no process is left, but: refcnt %ld, %s",
				 module_refcnt(), engine_state());
			return text;
		}
		nap_ms(50);
	}
	return reset_sharing();
}

/* Kills and reaps everything the case started; false when something stays. */
static bool bury(pid_t session, int *status)
{
	double end = now() + 20 * patience;
	bool gone = false;

	while (now() < end) {
		int s;
		pid_t pid;

		kill(-session, SIGKILL);
		pid = waitpid(-1, &s, WNOHANG | __WALL);
		if (pid < 0)
			return true;
		if (pid == session && !gone) {
			gone = true;
			if (status)
				*status = s;
		}
		if (pid == 0)
			nap_ms(10);
	}
	return false;
}

/* Takes the verdicts of a case until it ends or is out of time. */
static bool listen(int fd, double end, char *reason, size_t size, bool *skipped)
{
	FILE *in = fdopen(fd, "r");
	char line[1100];
	bool in_time = true;

	setvbuf(in, NULL, _IONBF, 0);
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		double left = end - now();

		if (left <= 0 || poll(&p, 1, left * 1000 + 1) == 0) {
			in_time = now() < end;
			if (!in_time)
				break;
			continue;
		}
		if (!fgets(line, sizeof(line), in))
			break;
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == 'N') {
			printf("# %s\n", line + 1);
		} else if (line[0] == 'E') {
			break;	/* the case's own process has returned */
		} else if (!reason[0]) {
			*skipped = line[0] == 'S';
			snprintf(reason, size, "%s", line + 1);
			/* A process that the failure left waiting keeps the pipe open. */
			if (end > now() + 2)
				end = now() + 2;
		}
	}
	fclose(in);
	return in_time;
}

static bool run_case(struct testcase *tc)
{
	char reason[2400] = "", *at = reason;
	const char *left, *oops;
	bool skipped = false, in_time;
	double start = now();
	double limit = patience * (tc->seconds * (soak_factor > 1 ? soak_factor : 1) + 4 * soak_least);
	int pipefd[2], status = -1;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC)) {
		perror("pipe2");
		exit(2);
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setsid();
		close(pipefd[0]);
		report_fd = pipefd[1];
		engine_pace(20000, 5);
		case_began = now();
		tc->fn();
		if (write(report_fd, "E\n", 2) != 2)
			_exit(3);
		_exit(0);
	}
	close(pipefd[1]);
	in_time = listen(pipefd[0], start + limit, reason, sizeof(reason), &skipped);
	/* The case has said its last word; its process may still be exiting. */
	if (in_time && waitpid(pid, &status, 0) != pid)
		status = -1;
	if (!bury(pid, in_time ? NULL : &status)) {
		printf("not ok %s: its processes cannot be killed\n", tc->name);
		printf("Bail out! %s\n", engine_state());
		exit(2);
	}
	if (!in_time && !reason[0])
		snprintf(reason, sizeof(reason), "no end after %.0f s", limit);
	else if (!reason[0] && WIFSIGNALED(status))
		snprintf(reason, sizeof(reason), "died of signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (!reason[0] && status)
		snprintf(reason, sizeof(reason), "wait status %#x", status);
	if (skipped && status == 0)
		at = reason + strlen(reason);

	/* Folds the statistics and makes the kernel name the negative ones. */
	file_write("/proc/sys/vm/stat_refresh", "1");
	left = settle_engine(at[0]);
	if (left)
		snprintf(at + strlen(at), 1300, "%s%s", at[0] ? "; then " : "", left);
	oops = splat();
	if (oops)
		snprintf(at + strlen(at), 600, "%skernel: %s", at[0] ? "; " : "", oops);

	if (at[0])
		printf("not ok %s: %s\n", tc->name, at);
	else if (skipped)
		printf("ok %s # SKIP %s\n", tc->name, reason);
	else
		printf("ok %s # %.1f s\n", tc->name, now() - start);
	fflush(stdout);
	if (left && (left = settle_engine(true)))
		printf("# the engine cannot be reset: %s\n", left);
	return !at[0];
}

/* "group" or "group.*" or the whole name */
static bool wanted(const char *name, char **argv)
{
	if (!argv[0])
		return true;
	for (; *argv; argv++) {
		size_t n = strlen(*argv);

		if (!strcmp(name, *argv) || (!strncmp(name, *argv, n) && name[n] == '.'))
			return true;
	}
	return false;
}

static void mounts(void)
{
	static const char *const table[][2] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" },
		{ "tmpfs", "/tmp" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (i < 2 ? !access(i ? "/sys/kernel" : "/proc/self", F_OK) :
			    !access(i == 2 ? "/dev/kmsg" : "/tmp", F_OK))
			continue;
		mkdir(table[i][1], 0755);
		mount(table[i][0], table[i][1], table[i][0], 0, NULL);
	}
}

/* What execve() cases become. */
static int helper(char **argv)
{
	if (!strcmp(argv[0], "sleep")) {
		nap_ms(atol(argv[1]));
		return 0;
	}
	if (!strcmp(argv[0], "equal")) {
		/* Has equal pages, says so, and stays. */
		mem_fill(mem_map(atol(argv[1])), atol(argv[1]), 1, 0xe91a1);
		if (write(STDOUT_FILENO, "", 1) == 1)
			pause();
		return 1;
	}
	return 2;
}

/* How many words at the start are options and their values. */
static int options(char **argv)
{
	int n = 0;

	for (; argv[n] && argv[n + 1]; n += 2) {
		const char *value = argv[n + 1];

		if (!strcmp(argv[n], "--module"))
			module_path = value;
		else if (!strcmp(argv[n], "--soak"))
			soak_factor = atof(value);
		else if (!strcmp(argv[n], "--least"))
			soak_least = atof(value);
		else if (!strcmp(argv[n], "--threads"))
			scan_threads = atoi(value);
		else if (!strcmp(argv[n], "--patience"))
			patience = atof(value);
		else if (!strcmp(argv[n], "--calls"))
			fuzz_calls = strtoul(value, NULL, 0);
		else if (!strcmp(argv[n], "--seed"))
			run_seed = strtoull(value, NULL, 0);
		else
			break;
	}
	return n;
}

int main(int argc, char **argv)
{
	int failed = 0, total = 0;
	const char *problem;

	if (argc > 2 && !strcmp(argv[1], "--helper"))
		return helper(argv + 2);
	if (argc > 1 && !strcmp(argv[1], "--list")) {
		for (struct testcase *tc = cases; tc; tc = tc->next)
			puts(tc->name);
		return 0;
	}
	argv += options(argv + 1);
	if (geteuid()) {
		fprintf(stderr, "root is needed; run this inside a module VM only\n");
		return 2;
	}
	mounts();
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	report_fd = STDERR_FILENO;
	kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg_fd < 0) {
		perror("/dev/kmsg");
		return 2;
	}
	lseek(kmsg_fd, 0, SEEK_END);
	problem = settle_engine(false);
	if (problem) {
		printf("Bail out! %s\n", problem);
		return 2;
	}
	for (struct testcase *tc = cases; tc; tc = tc->next) {
		if (!wanted(tc->name, argv + 1))
			continue;
		total++;
		failed += !run_case(tc);
	}
	printf("1..%d\n", total);
	if (!total)
		fprintf(stderr, "no case has such a name; try --list\n");
	return failed || !total;
}
