/*
 * What tests of IP sockets share. A case is written once for both versions of IP:
 *
 *   BOTH(udp_echo)          // makes the cases udp_echo_v4 and udp_echo_v6
 *   {
 *           int s = udp(af);
 *           …
 *   }
 *
 * Everything goes over lo, which is up in the network namespace that the runner makes.
 */
#ifndef INET_H
#define INET_H

#include "test.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#define BOTH_LIMIT(id, limit)                                                        \
	static void id##_af(int af);                                                 \
	TEST_LIMIT(id##_v4, limit) { id##_af(AF_INET); }                             \
	TEST_LIMIT(id##_v6, limit) { id##_af(AF_INET6); }                            \
	static void id##_af(int af)
#define BOTH(id) BOTH_LIMIT(id, 0)

struct addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

#define SA(a) ((struct sockaddr *)&(a).ss)
#define ADDR(a) SA(a), (a).len

#define UNUSED __attribute__((unused))

UNUSED static int level(int af) { return af == AF_INET ? IPPROTO_IP : IPPROTO_IPV6; }

/* The address in the form of af; text may be an IPv4 one for AF_INET6, which is mapped. */
UNUSED static struct addr address(int af, const char *text, int port)
{
	struct addr a = {};
	if (af == AF_INET) {
		struct sockaddr_in *in = (void *)&a.ss;
		a.len = sizeof(*in);
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		if (inet_pton(AF_INET, text, &in->sin_addr) != 1)
			FAIL("%s is no address", text);
	} else {
		struct sockaddr_in6 *in = (void *)&a.ss;
		char mapped[64];
		a.len = sizeof(*in);
		in->sin6_family = AF_INET6;
		in->sin6_port = htons(port);
		snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
		if (inet_pton(AF_INET6, strchr(text, ':') ? text : mapped, &in->sin6_addr) != 1)
			FAIL("%s is no address", text);
	}
	return a;
}

UNUSED static struct addr loop(int af, int port) { return address(af, af == AF_INET ? "127.0.0.1" : "::1", port); }
UNUSED static struct addr any(int af, int port) { return address(af, af == AF_INET ? "0.0.0.0" : "::", port); }

UNUSED static int port_of(const struct addr *a) { return ntohs(((struct sockaddr_in *)&a->ss)->sin_port); }

UNUSED static const char *text_of(const struct addr *a)
{
	static char buf[INET6_ADDRSTRLEN];
	if (a->ss.ss_family == AF_INET)
		return inet_ntop(AF_INET, &((struct sockaddr_in *)&a->ss)->sin_addr, buf, sizeof(buf));
	return inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&a->ss)->sin6_addr, buf, sizeof(buf));
}

UNUSED static struct addr local(int fd)
{
	struct addr a = {.len = sizeof(a.ss)};
	SYS(getsockname(fd, SA(a), &a.len));
	return a;
}

UNUSED static struct addr peer(int fd)
{
	struct addr a = {.len = sizeof(a.ss)};
	SYS(getpeername(fd, SA(a), &a.len));
	return a;
}

#define CHECK_SAME(a, b)                                                             \
	do {                                                                         \
		struct addr cs_a_ = (a), cs_b_ = (b);                                \
		CHECK_EQ(cs_a_.len, cs_b_.len);                                      \
		CHECK_MEM(&cs_a_.ss, &cs_b_.ss, cs_a_.len);                          \
	} while (0)

/* A UDP socket bound to the loopback address. */
UNUSED static int udp(int af)
{
	int s = SYS(socket(af, SOCK_DGRAM, 0));
	struct addr a = loop(af, 0);
	SYS(bind(s, ADDR(a)));
	return s;
}

/* Two UDP sockets that are connected with each other. */
UNUSED static void udp_pair(int af, int s[2])
{
	s[0] = udp(af);
	s[1] = udp(af);
	struct addr a = local(s[0]), b = local(s[1]);
	SYS(connect(s[0], ADDR(b)));
	SYS(connect(s[1], ADDR(a)));
}

UNUSED static int listener(int af, int backlog)
{
	int l = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = loop(af, 0);
	SYS(bind(l, ADDR(a)));
	SYS(listen(l, backlog));
	return l;
}

/* A connection: s[0] is the client. */
UNUSED static void tcp_pair(int af, int s[2])
{
	int l = listener(af, 1);
	struct addr a = local(l);
	s[0] = SYS(socket(af, SOCK_STREAM, 0));
	SYS(connect(s[0], ADDR(a)));
	s[1] = SYS(accept(l, NULL, NULL));
	SYS(close(l));
}

UNUSED static void set_int(int fd, int lvl, int name, int v) { SYS(setsockopt(fd, lvl, name, &v, sizeof(v))); }

UNUSED static int get_int(int fd, int lvl, int name)
{
	int v = -12345;
	socklen_t n = sizeof(v);
	SYS(getsockopt(fd, lvl, name, &v, &n));
	if (n != sizeof(v))
		FAIL("getsockopt(%d, %d): length %u", lvl, name, n);
	return v;
}

/* setsockopt of an int; the result is the call's, and errno. */
UNUSED static int try_int(int fd, int lvl, int name, int v) { return setsockopt(fd, lvl, name, &v, sizeof(v)); }

UNUSED static int try_get(int fd, int lvl, int name)
{
	int v;
	socklen_t n = sizeof(v);
	return getsockopt(fd, lvl, name, &v, &n);
}

UNUSED static int ready(int fd, int events)
{
	struct pollfd p = {.fd = fd, .events = events};
	SYS(poll(&p, 1, 0));
	return p.revents;
}

/* Waits until one of events is there. */
UNUSED static int await(int fd, int events)
{
	struct pollfd p = {.fd = fd, .events = events};
	if (SYS(poll(&p, 1, 5000)) != 1)
		FAIL("no event of %#x within 5 s", events);
	return p.revents;
}

/* The control message of that kind in m, or NULL. */
UNUSED static void *control(struct msghdr *m, int lvl, int type, size_t size)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == lvl && c->cmsg_type == type) {
			if (c->cmsg_len != CMSG_LEN(size))
				FAIL("control message %d/%d has %zu bytes, want %zu", lvl, type, c->cmsg_len - CMSG_LEN(0), size);
			return CMSG_DATA(c);
		}
	return NULL;
}

/* A message with room for everything; data and control are static. */
struct message {
	struct msghdr h;
	struct iovec iov;
	struct addr from;
	char data[2048];
	union {
		char control[512];
		struct cmsghdr align;
	};
};

UNUSED static void message_init(struct message *m)
{
	memset(m, 0, sizeof(*m));
	m->iov.iov_base = m->data;
	m->iov.iov_len = sizeof(m->data);
	m->h.msg_name = &m->from.ss;
	m->h.msg_namelen = sizeof(m->from.ss);
	m->h.msg_iov = &m->iov;
	m->h.msg_iovlen = 1;
	m->h.msg_control = m->control;
	m->h.msg_controllen = sizeof(m->control);
}

UNUSED static ssize_t receive(int fd, struct message *m, int flags)
{
	message_init(m);
	ssize_t n = recvmsg(fd, &m->h, flags);
	m->from.len = m->h.msg_namelen;
	return n;
}

/* Sends text with one control message. */
UNUSED static ssize_t send_control(int fd, const struct addr *to, const char *text, int lvl, int type, const void *data, size_t size)
{
	struct message m;
	message_init(&m);
	m.h.msg_name = to ? (void *)&to->ss : NULL;
	m.h.msg_namelen = to ? to->len : 0;
	m.iov.iov_base = (void *)text;
	m.iov.iov_len = strlen(text);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m.h);
	c->cmsg_level = lvl;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), data, size);
	m.h.msg_controllen = CMSG_SPACE(size);
	return sendmsg(fd, &m.h, 0);
}

UNUSED static void timeout(int fd, int option, int ms)
{
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	SYS(setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)));
}

UNUSED static void no_op(int sig) { (void)sig; }

#endif
