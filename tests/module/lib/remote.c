// SPDX-License-Identifier: GPL-2.0-or-later
#include "remote.h"

struct remote_order {
	enum { MAP, FILL, CHECK, FRAMES, MADVISE, FORK, END } what;
	char *p;
	size_t npages, contents;
	uint64_t base;
	int advice;
	long answer;
	/* for FORK: what the child obeys, and its ends of the pipes */
	struct remote_order *child;
	int in, out;
};

static struct remote_order *order_new(void)
{
	struct remote_order *order = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (order == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return order;
}

static void obey(struct peer *self, void *arg)
{
	struct remote_order *o = arg;
	int status;
	pid_t pid;

	for (;;) {
		peer_wait(self);
		switch (o->what) {
		case MAP:
			o->p = mem_map(o->npages);
			break;
		case FILL:
			mem_fill(o->p, o->npages, o->contents, o->base);
			break;
		case CHECK:
			mem_check(o->p, o->npages, o->contents, o->base);
			break;
		case FRAMES:
			o->answer = distinct_pfns(o->p, o->npages);
			break;
		case MADVISE:
			o->answer = madvise(o->p, o->npages * PAGE, o->advice) ? -errno : 0;
			break;
		case FORK:
			/* The child talks to the case by the descriptors given. */
			/* The order is shared memory: only the parent may write. */
			pid = fork();
			if (!pid) {
				struct peer child = { getpid(), o->in, o->out };

				obey(&child, o->child);
				_exit(0);
			}
			o->answer = pid;
			break;
		case END:
			while (waitpid(-1, &status, 0) > 0)
				require(!status, "a child ended with wait status %#x", status);
			return;
		}
		peer_tell(self);
	}
}

static void tell(struct remote *r)
{
	peer_tell(&r->peer);
	peer_wait(&r->peer);
}

struct remote remote_start(void)
{
	struct remote r = { .order = order_new() };
	int there[2], back[2];

	/* Made before it starts: it hands them on to its child. */
	if (pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
		fail("pipe2: %s", strerror(errno));
	r.order->child = order_new();
	r.order->in = there[0];
	r.order->out = back[1];
	r.child = (struct peer){ .in = back[0], .out = there[1] };
	r.peer = peer_start(obey, r.order);
	return r;
}

char *remote_map(struct remote *r, size_t npages)
{
	r->order->what = MAP;
	r->order->npages = npages;
	tell(r);
	return r->order->p;
}

static void memory_order(struct remote *r, int what, char *p, size_t npages, size_t contents,
			 uint64_t base)
{
	r->order->what = what;
	r->order->p = p;
	r->order->npages = npages;
	r->order->contents = contents;
	r->order->base = base;
	tell(r);
}

void remote_fill(struct remote *r, char *p, size_t npages, size_t contents, uint64_t base)
{
	memory_order(r, FILL, p, npages, contents, base);
}

void remote_check(struct remote *r, char *p, size_t npages, size_t contents, uint64_t base)
{
	memory_order(r, CHECK, p, npages, contents, base);
}

size_t remote_frames(struct remote *r, char *p, size_t npages)
{
	memory_order(r, FRAMES, p, npages, 0, 0);
	return r->order->answer;
}

int remote_madvise(struct remote *r, char *p, size_t npages, int advice)
{
	r->order->advice = advice;
	memory_order(r, MADVISE, p, npages, 0, 0);
	return r->order->answer;
}

struct remote remote_fork(struct remote *r)
{
	struct remote child = { .peer = r->child, .order = r->order->child };

	r->order->what = FORK;
	tell(r);
	if (r->order->answer < 0)
		fail("the remote process cannot fork");
	child.peer.pid = r->order->answer;
	return child;
}

/* A grandchild is reaped by its parent, which then ends as well. */
void remote_end(struct remote *r)
{
	r->order->what = END;
	if (r->order->child)
		peer_end(&r->peer);
	else
		peer_tell(&r->peer);
}
