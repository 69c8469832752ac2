// SPDX-License-Identifier: GPL-2.0-or-later
/* Processes that go step by step with the case. */
#include <signal.h>

#include "ksmtest.h"

struct peer peer_start(void (*fn)(struct peer *self, void *arg), void *arg)
{
	struct peer peer, self;
	int there[2], back[2];

	if (pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
		fail("pipe2: %s", strerror(errno));
	peer.pid = fork();
	if (peer.pid < 0)
		fail("fork: %s", strerror(errno));
	if (!peer.pid) {
		close(there[1]);
		close(back[0]);
		self = (struct peer){ .pid = getpid(), .in = there[0], .out = back[1] };
		fn(&self, arg);
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
	peer.in = back[0];
	peer.out = there[1];
	return peer;
}

void peer_tell(struct peer *peer)
{
	if (write(peer->out, "", 1) != 1)
		fail("process %d is gone: %s", peer->pid, strerror(errno));
}

void peer_wait(struct peer *peer)
{
	char byte;

	if (read(peer->in, &byte, 1) != 1)
		fail("process %d ended before its step", peer->pid);
}

void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid: %s", strerror(errno));
	if (status)
		fail("child ended with wait status %#x", status);
}

void peer_end(struct peer *peer)
{
	peer_tell(peer);
	reap(peer->pid);
	close(peer->in);
	close(peer->out);
}

void peer_kill(struct peer *peer)
{
	kill(peer->pid, SIGKILL);
	if (waitpid(peer->pid, NULL, 0) != peer->pid)
		fail("waitpid: %s", strerror(errno));
	close(peer->in);
	close(peer->out);
}
