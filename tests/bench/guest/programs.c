// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Programs that know nothing of merging: the same interpreter with the same
 * modules and data, several times, each with a part of its own. The module is
 * given each as a task; for ksmd they inherit PR_SET_MEMORY_MERGE.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "bench.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#define PYTHON "/usr/bin/python3"
#define SCRIPT "/usr/share/ksm-bench/program.py"

void program_expose(struct people *p, int number)
{
	int mem, err;

	if (!p->m->module)
		return;
	if (p->area < 0)
		p->area = area_new();
	mem = mem_open(p->peer[number].pid);
	err = task_add(p->area, mem, NULL, 0, KSM_TASK_WHOLE);
	require(!err, "KSM_REGISTER_TASK: %s", strerror(-err));
	close(mem);
}

size_t program_pages(pid_t pid)
{
	char path[64], text[4096], *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	require(file_read(path, text, sizeof(text)) > 0, "%s cannot be read", path);
	at = strstr(text, "RssAnon:");
	require(at, "no RssAnon in %s", path);
	return atol(at + strlen("RssAnon:")) * 1024 / PAGE;
}

/* It says that it is ready by a byte on standard output. */
struct peer program_start(struct people *p, int number)
{
	struct peer peer;
	char text[16], mib[32];
	int there[2], back[2];

	require(!pipe2(there, O_CLOEXEC) && !pipe2(back, O_CLOEXEC), "pipe2: %s", strerror(errno));
	snprintf(text, sizeof(text), "%d", number);
	snprintf(mib, sizeof(mib), "%zu", p->npages / MIB_PAGES);
	peer.pid = fork();
	require(peer.pid >= 0, "fork: %s", strerror(errno));
	if (!peer.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(there[0], STDIN_FILENO);
		dup2(back[1], STDOUT_FILENO);
		if (p->m->dir && !p->m->module)
			require(!prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0), "PR_SET_MEMORY_MERGE: %s",
				strerror(errno));
		execl(PYTHON, PYTHON, "-I", SCRIPT, text, mib, NULL);
		fail("%s: %s", PYTHON, strerror(errno));
	}
	close(there[0]);
	close(back[1]);
	peer.in = back[0];
	peer.out = there[1];
	return peer;
}
