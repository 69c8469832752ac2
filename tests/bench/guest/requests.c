// SPDX-License-Identifier: GPL-2.0-or-later
/* A client of the programs: HTTP on one connection, a request at a time. */
#include <arpa/inet.h>
#include <sys/socket.h>

#include "bench.h"

#define PORT 8000
#define REQUESTS 4000
/* A short pause after so many, in which the engine has the CPU. */
#define REQUESTS_AT_ONCE 20

static int dial(int port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require(fd >= 0, "socket: %s", strerror(errno));
	require(!connect(fd, (struct sockaddr *)&to, sizeof(to)), "port %d: %s", port, strerror(errno));
	return fd;
}

/* Until all of the body is there. */
static void answer(int fd)
{
	char text[8192];
	size_t got = 0, wanted = 0;

	do {
		ssize_t n = read(fd, text + got, sizeof(text) - 1 - got);
		char *body, *length;

		require(n > 0, "the program hung up after %zu bytes", got);
		got += n;
		text[got] = '\0';
		require(!strncmp(text, "HTTP/1.1 200 ", 13), "the program answered: %s", text);
		body = strstr(text, "\r\n\r\n");
		length = strstr(text, "Content-Length: ");
		if (body && length && length < body)
			wanted = body + 4 - text + atol(length + strlen("Content-Length: "));
	} while (!wanted || got < wanted);
}

void do_requests(int number, struct times *times)
{
	static uint32_t took[REQUESTS];
	int fd = dial(PORT + number);
	unsigned int seed = 1;
	double busy = 0;

	for (size_t i = 0; i < REQUESTS; i++) {
		long long start = clock_ns();

		dprintf(fd, "GET /%u HTTP/1.1\r\nHost: bench\r\n\r\n", rand_r(&seed));
		answer(fd);
		took[i] = clock_ns() - start;
		busy += took[i] / 1e9;
		if (i % REQUESTS_AT_ONCE == 0)
			nap_ms(5);
	}
	close(fd);
	times_of(took, REQUESTS, times);
	times->per_second = REQUESTS / busy;
}
