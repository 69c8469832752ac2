// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors that claim to be a task's memory, or are where they should not
 * be. What must be refused, and what is a right that the descriptor gives.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <linux/fuse.h>

#include "ksmtest.h"
#include "remote.h"

#define N 256
#define M 4

static struct ksm_statistics of_task(int mem)
{
	struct ksm_statistics s = { .size = sizeof(s), .mem_fd = mem };
	int err = dev_ioctl(dev_fd(), KSM_TASK_STATISTICS, &s);

	require(!err, "KSM_TASK_STATISTICS: %s", strerror(-err));
	return s;
}

/* Opened by path, in whatever is mounted there. */
static int open_mem(pid_t pid, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	return open(path, flags | O_CLOEXEC);
}

static void bind_over(const char *what, pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	require(!mount(what, path, NULL, MS_BIND, NULL), "mounting %s on %s: %s", what, path,
		strerror(errno));
}

static void touch(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	require(fd >= 0, "%s: %s", path, strerror(errno));
	close(fd);
}

static void become_nobody(void)
{
	require(!setgid(65534) && !setuid(65534), "setuid: %s", strerror(errno));
	require(!prctl(PR_SET_DUMPABLE, 1), "prctl: %s", strerror(errno));
}

/* In a user namespace of one's own one may mount what one likes. */
static void mounts_over(struct peer *self, void *arg)
{
	struct remote *r = arg;
	char name[64], map[64];
	int area = area_new(), fd, own;

	require(!unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare: %s", strerror(errno));
	snprintf(map, sizeof(map), "0 0 1\n");
	require(!file_write("/proc/self/uid_map", map), "uid_map: %s", strerror(errno));
	touch("/tmp/mem");

	/* Another file of the right name at the right place. */
	bind_over("/tmp/mem", r->peer.pid, "mem");
	fd = open_mem(r->peer.pid, O_RDWR);
	require(fd >= 0, "opening what is mounted: %s", strerror(errno));
	expect_errno(task_add(area, fd, NULL, 0, KSM_TASK_WHOLE), EINVAL, "a file mounted over mem");
	close(fd);

	/* One's own memory in the place of another's: the own is meant. */
	snprintf(name, sizeof(name), "/proc/%d/mem", getpid());
	bind_over(name, r->peer.pid, "mem");
	fd = open_mem(r->peer.pid, O_RDONLY);
	require(fd >= 0, "opening what is mounted: %s", strerror(errno));
	require(!task_add(area, fd, NULL, 0, KSM_TASK_WHOLE), "registering oneself");
	own = mem_open(getpid());
	require(of_task(own).regions == 1, "it is not the memory of who is mounted there");
	close(fd);

	/* Another file that procfs binds to an address space. */
	snprintf(name, sizeof(name), "/proc/%d/environ", getpid());
	bind_over(name, r->peer.pid, "mem");
	fd = open_mem(r->peer.pid, O_RDONLY);
	require(fd >= 0, "opening what is mounted: %s", strerror(errno));
	expect_errno(task_add(area, fd, NULL, 0, KSM_TASK_WHOLE), EINVAL, "environ mounted over mem");
	peer_tell(self);
	peer_wait(self);
}

CASE(attack, mounted_over, 60)
{
	struct remote r = remote_start();
	struct peer peer;
	int mem = mem_open(r.peer.pid);

	peer = peer_start(mounts_over, &r);
	peer_wait(&peer);
	require(!of_task(mem).regions, "the task was registered");
	peer_end(&peer);
	unlink("/tmp/mem");
	remote_end(&r);
}

static void fuse_answer(int fd, uint64_t unique, int error, void *data, size_t size)
{
	struct fuse_out_header out = { .len = sizeof(out) + size, .error = error,
		.unique = unique };
	struct iovec io[] = { { &out, sizeof(out) }, { data, size } };

	require(writev(fd, io, 2) == (ssize_t)out.len, "answering FUSE: %s", strerror(errno));
}

/* A file system whose root is one file, which everybody may open. */
static void fuse_serve(struct peer *self, void *arg)
{
	static char request[1 << 18];
	struct fuse_in_header *in = (struct fuse_in_header *)request;
	int fd = *(int *)arg;

	(void)self;
	while (read(fd, request, sizeof(request)) > 0) {
		struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION, .minor = 31,
			.max_write = 4096 };
		struct fuse_attr_out attr = { .attr_valid = 60, .attr = { .ino = 1,
			.mode = S_IFREG | 0666, .nlink = 1, .blksize = 4096 } };
		struct fuse_open_out opened = { .fh = 1 };

		switch (in->opcode) {
		case FUSE_INIT:
			fuse_answer(fd, in->unique, 0, &init, sizeof(init));
			break;
		case FUSE_GETATTR:
			fuse_answer(fd, in->unique, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			fuse_answer(fd, in->unique, 0, &opened, sizeof(opened));
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
			break;
		default:
			fuse_answer(fd, in->unique, -ENOSYS, NULL, 0);
		}
	}
}

static void opens_fuse(struct peer *self, void *arg)
{
	pid_t target = *(pid_t *)arg;
	int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC), area = area_new(), fd;
	char options[128], path[64];
	struct peer server;

	require(dev >= 0, "/dev/fuse: %s", strerror(errno));
	require(!unshare(CLONE_NEWNS), "unshare: %s", strerror(errno));
	require(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount: %s", strerror(errno));
	snprintf(options, sizeof(options), "fd=%d,rootmode=100666,user_id=0,group_id=0", dev);
	snprintf(path, sizeof(path), "/proc/%d/mem", target);
	require(!mount("fuse", path, "fuse", 0, options), "mounting FUSE on %s: %s", path,
		strerror(errno));
	server = peer_start(fuse_serve, &dev);
	fd = open_mem(target, O_RDWR);
	require(fd >= 0, "opening it: %s", strerror(errno));
	expect_errno(task_add(area, fd, NULL, 0, KSM_TASK_WHOLE), EINVAL, "a file of FUSE");
	expect_errno(task_remove(area, fd, NULL, KSM_TASK_WHOLE), EINVAL, "a file of FUSE");
	peer_tell(self);
	peer_wait(self);
	close(fd);
	require(!umount2(path, MNT_DETACH), "umount: %s", strerror(errno));
	peer_kill(&server);
}

CASE(attack, fuse, 60)
{
	struct remote r = remote_start();
	int mem = mem_open(r.peer.pid);
	struct peer peer;

	if (access("/dev/fuse", F_OK))
		skip("there is no /dev/fuse");
	peer = peer_start(opens_fuse, &r.peer.pid);
	peer_wait(&peer);
	require(!of_task(mem).regions, "the task was registered");
	peer_end(&peer);
	remote_end(&r);
}

/* The module learns what a mem is when it is loaded, from whatever is there. */
static void loads(struct peer *self, void *arg)
{
	char environ_path[64];
	char *p = mem_map(N);
	int area, err;

	(void)arg;
	require(!unshare(CLONE_NEWNS), "unshare: %s", strerror(errno));
	require(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount: %s", strerror(errno));
	snprintf(environ_path, sizeof(environ_path), "/proc/%d/environ", getpid());
	err = module_unload();
	require(!err, "rmmod: %s", strerror(-err));
	bind_over(environ_path, getpid(), "mem");
	err = module_load("");
	require(!err, "insmod: %s", strerror(-err));
	area = area_new();
	expect_errno(task_add(area, open("/proc/self/environ", O_RDONLY | O_CLOEXEC), p, N, 0),
		     EOPNOTSUPP, "environ, which was in the place of mem at load");
	/* Nothing else suffers. */
	mem_fill(p, N, M, 1);
	require(!region_add(area, p, N), "registering one's own memory");
	engine_pace(20000, 5);
	engine_merge(M, N - M);
	peer_tell(self);
	peer_wait(self);
}

CASE(attack, mounted_over_at_load, 60)
{
	struct peer peer = peer_start(loads, NULL);
	int err;

	peer_wait(&peer);
	peer_end(&peer);
	err = module_unload();
	require(!err, "rmmod: %s", strerror(-err));
	err = module_load("");
	require(!err, "insmod: %s", strerror(-err));
	engine_pace(20000, 5);
	require(!task_add(area_new(), mem_open(getpid()), NULL, 0, KSM_TASK_WHOLE),
		"registering after another load");
}

static void send_fd(int by, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	require(sendmsg(by, &msg, 0) == 1, "sendmsg: %s", strerror(errno));
}

static int receive_fd(int by)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	int fd;

	require(recvmsg(by, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg), "recvmsg: %s", strerror(errno));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

struct receiver {
	int socket;
	pid_t target;
	char *p;
};

static void receives(struct peer *self, void *arg)
{
	struct receiver *r = arg;
	int area = area_new(), mem, err;
	char byte;

	become_nobody();
	expect_errno(open_mem(r->target, O_RDONLY) < 0 ? -errno : 0, EACCES, "opening root's memory");
	peer_tell(self);
	mem = receive_fd(r->socket);
	/* It may be read by it, so it may be registered by it. */
	require(pread(mem, &byte, 1, (uintptr_t)r->p) == 1, "pread: %s", strerror(errno));
	err = task_add(area, mem, r->p, N, 0);
	require(!err, "registering by a descriptor received: %s", strerror(-err));
	expect_errno(task_add(area, mem, NULL, 0, KSM_TASK_WHOLE | KSM_TASK_CHILDREN), EPERM,
		     "the children by a descriptor received");
	peer_tell(self);
	peer_wait(self);
}

CASE(attack, handed_over, 60)
{
	struct remote r = remote_start();
	struct receiver receiver = { .target = r.peer.pid, .p = remote_map(&r, N) };
	struct peer peer;
	int pair[2];

	require(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair: %s",
		strerror(errno));
	receiver.socket = pair[1];
	remote_fill(&r, receiver.p, N, M, 1);
	peer = peer_start(receives, &receiver);
	peer_wait(&peer);
	send_fd(pair[0], mem_open(r.peer.pid));
	peer_wait(&peer);
	engine_merge(M, N - M);
	remote_check(&r, receiver.p, N, M, 1);
	peer_end(&peer);
	remote_end(&r);
}

/* However it was opened the kernel asked for the same right, but for O_PATH. */
CASE(attack, ways_to_open, 60)
{
	struct remote r = remote_start();
	char *p = remote_map(&r, N), path[64];
	int area = area_new(), fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/mem", r.peer.pid, r.peer.pid);
	fd = open_mem(r.peer.pid, O_WRONLY);
	require(!task_add(area, fd, p, N, 0), "a descriptor to write only");
	require(!task_remove(area, open(path, O_RDONLY | O_CLOEXEC), p, 0), "the mem of a thread");
	expect_errno(task_add(area, open_mem(r.peer.pid, O_PATH), p, N, 0), EBADF, "O_PATH");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	require(!task_add(area, open(path, O_RDWR | O_CLOEXEC), p, N, 0), "opened anew by its number");
	remote_end(&r);
}

static void becomes_root(struct peer *self, void *arg)
{
	(void)arg;
	become_nobody();
	peer_tell(self);
	peer_wait(self);
	dup2(self->out, STDOUT_FILENO);
	execl("/tmp/suid", "ksm-module-tests", "--helper", "equal", "256", (char *)NULL);
	_exit(1);
}

struct tracer {
	pid_t target;
	int mem;
};

static void registers_suid(struct peer *self, void *arg)
{
	struct ksm_statistics s = { .size = sizeof(s) };
	struct tracer *t = arg;
	int area = area_new(), dev = dev_fd(), mem;

	become_nobody();
	mem = open_mem(t->target, O_RDONLY);
	require(mem >= 0, "opening one's own other process: %s", strerror(errno));
	require(!task_add(area, mem, NULL, 0, KSM_TASK_WHOLE | KSM_TASK_DETACHED), "registering it");
	peer_tell(self);
	peer_wait(self);
	/* It runs as root now. */
	expect_errno(open_mem(t->target, O_RDONLY) < 0 ? -errno : 0, EACCES, "opening it anew");
	expect_errno(task_add(area, mem, NULL, 0, KSM_TASK_WHOLE), ESRCH, "the descriptor of before");
	expect_errno(task_remove(area, mem, NULL, KSM_TASK_WHOLE), ESRCH, "the descriptor of before");
	s.mem_fd = mem;
	expect_errno(dev_ioctl(dev, KSM_TASK_STATISTICS, &s), ESRCH, "the descriptor of before");
	peer_tell(self);
	peer_wait(self);
}

/* The memory of a set-user-ID program is not its caller's. */
CASE(attack, setuid_exec, 60)
{
	struct tracer tracer = { 0 };
	struct peer target, peer;
	struct ksm_statistics s;
	int mem;

	program_copy("/tmp/suid", 04755);
	sentinel();
	target = peer_start(becomes_root, NULL);
	peer_wait(&target);
	tracer.target = target.pid;
	peer = peer_start(registers_suid, &tracer);
	peer_wait(&peer);
	mem = mem_open(target.pid);
	require(of_task(mem).regions == 1, "the task is not registered");
	engine_start();
	peer_tell(&target);
	peer_wait(&target);	/* the new program has its pages */
	peer_tell(&peer);
	peer_wait(&peer);
	engine_passes(SETTLE);
	close(mem);
	mem = mem_open(target.pid);
	s = of_task(mem);
	require(!s.regions && !s.pages_merged && s.pages_mapped >= 256,
		"regions %llu, merged %llu of %llu", (unsigned long long)s.regions,
		(unsigned long long)s.pages_merged, (unsigned long long)s.pages_mapped);
	engine_expect(1, 1);
	peer_end(&peer);
	peer_kill(&target);
	unlink("/tmp/suid");
}
