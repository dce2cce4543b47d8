//go:build ignore

/* Options of IP sockets: defaults, what can be set, lengths, errors (socket(7), ip(7), ipv6(7), tcp(7), udp(7)). */
#include "inet.h"
#include <netinet/icmp6.h>
#include <linux/icmp.h>
#include <linux/ipv6.h>

static char buf[4096];

enum { TCP, UDP, PING, RAW };

/* net.core.NAME. */
static int core(const char *name)
{
	char path[64], text[32];
	snprintf(path, sizeof(path), "/proc/sys/net/core/%s", name);
	SYS(get_file(path, text, sizeof(text)));
	return atoi(text);
}

static int make(int af, int kind)
{
	switch (kind) {
	case TCP:
		return SYS(socket(af, SOCK_STREAM, 0));
	case UDP:
		return SYS(socket(af, SOCK_DGRAM, 0));
	case RAW:
		return SYS(socket(af, SOCK_RAW, af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6));
	}
	FAIL("no such kind");
}

/* One value that is set, with the errno, or 0 and the value that is read then. */
struct attempt {
	int value, error, got;
};

static void ints(int fd, const char *label, int lvl, int name, int initial, const struct attempt *a, int n)
{
	int got = get_int(fd, lvl, name);
	if (got != initial)
		FAIL("%s is %d at first, want %d", label, got, initial);
	for (int i = 0; i < n; i++) {
		errno = 0;
		int r = try_int(fd, lvl, name, a[i].value), e = errno;
		if (a[i].error) {
			if (r != -1 || e != a[i].error)
				FAIL("%s = %d: %d, %s, want %s", label, a[i].value, r, strerror(e), strerror(a[i].error));
			continue;
		}
		if (r != 0)
			FAIL("%s = %d: %s", label, a[i].value, strerror(e));
		got = get_int(fd, lvl, name);
		if (got != a[i].got)
			FAIL("%s = %d: is then %d, want %d", label, a[i].value, got, a[i].got);
	}
}

#define INTS(fd, lvl, name, initial, ...)                                            \
	do {                                                                         \
		struct attempt in_a_[] = {__VA_ARGS__};                              \
		ints(fd, #name, lvl, name, initial, in_a_, LEN(in_a_));              \
	} while (0)

#define SWITCH {1, 0, 1}, {0, 0, 0}, {7, 0, 1}, {-1, 0, 1}, {0, 0, 0}

BOTH(opt_socket_switches)
{
	for (int k = TCP; k <= RAW; k++) {
		if (k == PING)
			continue;
		int s = make(af, k);
		INTS(s, SOL_SOCKET, SO_REUSEADDR, k == RAW, SWITCH);
		INTS(s, SOL_SOCKET, SO_KEEPALIVE, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_BROADCAST, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_OOBINLINE, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_DONTROUTE, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_NO_CHECK, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_RXQ_OVFL, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_DEBUG, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_TIMESTAMP, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_TIMESTAMPNS, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_SELECT_ERR_QUEUE, 0, SWITCH);
		INTS(s, SOL_SOCKET, SO_NOFCS, 0, SWITCH);
		if (k != RAW)
			INTS(s, SOL_SOCKET, SO_REUSEPORT, 0, SWITCH);
		close(s);
	}
}

BOTH(opt_socket_identity)
{
	struct {
		int kind, type, protocol;
	} t[] = {{TCP, SOCK_STREAM, IPPROTO_TCP}, {UDP, SOCK_DGRAM, IPPROTO_UDP}, {RAW, SOCK_RAW, af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6}};
	for (size_t i = 0; i < LEN(t); i++) {
		int s = make(af, t[i].kind);
		CHECK_EQ(get_int(s, SOL_SOCKET, SO_TYPE), t[i].type);
		CHECK_EQ(get_int(s, SOL_SOCKET, SO_DOMAIN), af);
		CHECK_EQ(get_int(s, SOL_SOCKET, SO_PROTOCOL), t[i].protocol);
		CHECK_EQ(get_int(s, SOL_SOCKET, SO_ERROR), 0);
		CHECK_EQ(get_int(s, SOL_SOCKET, SO_ACCEPTCONN), 0);
		CHECK_EQ(get_int(s, SOL_SOCKET, SO_SNDLOWAT), 1);
		int only[] = {SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ERROR, SO_ACCEPTCONN, SO_SNDLOWAT};
		for (size_t j = 0; j < LEN(only); j++)
			CHECK_ERRNO(try_int(s, SOL_SOCKET, only[j], 1), ENOPROTOOPT);
		close(s);
	}
}

BOTH(opt_socket_lengths)
{
	int s = make(af, UDP), v = 0x01020304;
	socklen_t n = 2;
	set_int(s, SOL_SOCKET, SO_PRIORITY, 6);
	SYS(getsockopt(s, SOL_SOCKET, SO_PRIORITY, &v, &n)); /* cut off */
	CHECK_EQ(n, 2);
	CHECK_EQ(v, 0x01020006);
	n = 0;
	SYS(getsockopt(s, SOL_SOCKET, SO_PRIORITY, &v, &n));
	CHECK_EQ(n, 0);
	n = 100;
	SYS(getsockopt(s, SOL_SOCKET, SO_TYPE, buf, &n));
	CHECK_EQ(n, 4);
	n = -1;
	CHECK_ERRNO(getsockopt(s, SOL_SOCKET, SO_TYPE, buf, &n), EINVAL);
	CHECK_ERRNO(getsockopt(s, SOL_SOCKET, SO_TYPE, buf, bad_ptr()), EFAULT);
	n = 4;
	CHECK_ERRNO(getsockopt(s, SOL_SOCKET, SO_TYPE, bad_ptr(), &n), EFAULT);
	CHECK_ERRNO(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 3), EINVAL);
	CHECK_ERRNO(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 0), EINVAL);
	CHECK_ERRNO(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, -1), EINVAL);
	CHECK_ERRNO(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, bad_ptr(), 4), EFAULT);
	char longer[8] = {1};
	SYS(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, longer, sizeof(longer)));
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_REUSEADDR), 1);
	CHECK_ERRNO(try_int(s, SOL_SOCKET, 9999, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(s, SOL_SOCKET, 9999), ENOPROTOOPT);
	CHECK_ERRNO(try_int(-1, SOL_SOCKET, SO_TYPE, 1), EBADF);
	CHECK_ERRNO(try_int(0, SOL_SOCKET, SO_TYPE, 1), ENOTSOCK);
}

BOTH(opt_socket_unknown_levels)
{
	int t = make(af, TCP), u = make(af, UDP);
	int gets = af == AF_INET ? EOPNOTSUPP : ENOPROTOOPT;
	CHECK_ERRNO(try_int(u, IPPROTO_TCP, TCP_NODELAY, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(u, IPPROTO_TCP, TCP_NODELAY), gets);
	CHECK_ERRNO(try_int(t, IPPROTO_UDP, UDP_CORK, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(t, IPPROTO_UDP, UDP_CORK), gets);
	CHECK_ERRNO(try_int(t, 12345, 1, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(t, 12345, 1), gets);
	CHECK_ERRNO(try_int(t, IPPROTO_TCP, 9999, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(t, IPPROTO_TCP, 9999), ENOPROTOOPT);
	CHECK_ERRNO(try_int(u, IPPROTO_UDP, 9999, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(u, IPPROTO_UDP, 9999), ENOPROTOOPT);
	CHECK_ERRNO(try_int(u, level(af), 9999, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(u, level(af), 9999), ENOPROTOOPT);
	if (af == AF_INET) {
		CHECK_ERRNO(try_int(t, IPPROTO_IPV6, IPV6_V6ONLY, 1), ENOPROTOOPT);
		CHECK_ERRNO(try_get(t, IPPROTO_IPV6, IPV6_V6ONLY), EOPNOTSUPP);
	} else {
		set_int(t, IPPROTO_IP, IP_TTL, 7); /* IPv6 sockets have IPv4's too */
		CHECK_EQ(get_int(t, IPPROTO_IP, IP_TTL), 7);
		int r = make(af, RAW);
		CHECK_ERRNO(try_int(r, IPPROTO_IP, IP_TTL, 7), ENOPROTOOPT);
	}
}

BOTH(opt_buffers)
{
	for (int k = UDP; k <= RAW; k += RAW - UDP) {
		int s = make(af, k);
		struct {
			int name, force, least, most;
		} b[] = {{SO_SNDBUF, SO_SNDBUFFORCE, 4608, core("wmem_max")}, {SO_RCVBUF, SO_RCVBUFFORCE, 2304, core("rmem_max")}};
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(get_int(s, SOL_SOCKET, b[i].name), 212992);
			set_int(s, SOL_SOCKET, b[i].name, 10000);
			CHECK_EQ(get_int(s, SOL_SOCKET, b[i].name), 20000);
			set_int(s, SOL_SOCKET, b[i].name, 0);
			CHECK_EQ(get_int(s, SOL_SOCKET, b[i].name), b[i].least);
			set_int(s, SOL_SOCKET, b[i].name, 1 << 30);
			CHECK_EQ(get_int(s, SOL_SOCKET, b[i].name), 2 * b[i].most);
			set_int(s, SOL_SOCKET, b[i].name, -1);
			CHECK_EQ(get_int(s, SOL_SOCKET, b[i].name), 2 * b[i].most);
			set_int(s, SOL_SOCKET, b[i].force, 1 << 20);
			CHECK_EQ(get_int(s, SOL_SOCKET, b[i].name), 2 << 20);
		}
		CHECK_EQ(get_int(s, SOL_SOCKET, SO_BUF_LOCK), 3);
		close(s);
	}
	int t = make(af, TCP);
	CHECK_EQ(get_int(t, SOL_SOCKET, SO_SNDBUF), 16384);
	CHECK_EQ(get_int(t, SOL_SOCKET, SO_RCVBUF), 131072);
	CHECK_EQ(get_int(t, SOL_SOCKET, SO_BUF_LOCK), 0);
	set_int(t, SOL_SOCKET, SO_RCVBUF, 4096);
	CHECK_EQ(get_int(t, SOL_SOCKET, SO_BUF_LOCK), 2);
	CHECK_ERRNO(try_int(t, SOL_SOCKET, SO_BUF_LOCK, 4), EINVAL);
	CHILD(c)
	{
		int u = make(af, UDP);
		become(1000);
		CHECK_ERRNO(try_int(u, SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20), EPERM);
		CHECK_ERRNO(try_int(u, SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20), EPERM);
	}
	CHECK_EXIT(c, 0);
}

BOTH(opt_rcvlowat)
{
	int u = make(af, UDP), t = make(af, TCP);
	INTS(u, SOL_SOCKET, SO_RCVLOWAT, 1, {100, 0, 100}, {0, 0, 1}, {-1, 0, INT_MAX});
	INTS(t, SOL_SOCKET, SO_RCVLOWAT, 1, {100, 0, 100}, {0, 0, 1});
}

BOTH(opt_linger)
{
	int s = make(af, TCP);
	struct linger l = {1, 2};
	socklen_t n = sizeof(l);
	SYS(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n));
	CHECK(n == sizeof(l) && l.l_onoff == 0 && l.l_linger == 0);
	l = (struct linger){5, 7};
	SYS(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	SYS(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n));
	CHECK(l.l_onoff == 1 && l.l_linger == 7);
	CHECK_ERRNO(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, 4), EINVAL);
	n = 4;
	SYS(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n));
	CHECK_EQ(n, 4);
}

BOTH(opt_timeouts)
{
	int s = make(af, UDP);
	int names[] = {SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW};
	for (size_t i = 0; i < LEN(names); i++) {
		struct timeval tv = {1, 1};
		socklen_t n = sizeof(tv);
		SYS(getsockopt(s, SOL_SOCKET, names[i], &tv, &n));
		CHECK(n == sizeof(tv) && tv.tv_sec == 0 && tv.tv_usec == 0);
		tv = (struct timeval){3, 500000};
		SYS(setsockopt(s, SOL_SOCKET, names[i], &tv, sizeof(tv)));
		SYS(getsockopt(s, SOL_SOCKET, names[i], &tv, &n));
		CHECK(tv.tv_sec == 3 && tv.tv_usec == 500000);
		tv.tv_usec = 1000000;
		CHECK_ERRNO(setsockopt(s, SOL_SOCKET, names[i], &tv, sizeof(tv)), EDOM);
		tv.tv_usec = -1;
		CHECK_ERRNO(setsockopt(s, SOL_SOCKET, names[i], &tv, sizeof(tv)), EDOM);
		CHECK_ERRNO(setsockopt(s, SOL_SOCKET, names[i], &tv, 8), EINVAL);
		tv = (struct timeval){0, 0};
		SYS(setsockopt(s, SOL_SOCKET, names[i], &tv, sizeof(tv)));
	}
}

BOTH(opt_priority_and_mark)
{
	int s = make(af, UDP);
	INTS(s, SOL_SOCKET, SO_PRIORITY, 0, {6, 0, 6}, {7, 0, 7}, {0, 0, 0});
	INTS(s, SOL_SOCKET, SO_MARK, 0, {5, 0, 5}, {-1, 0, -1}, {0, 0, 0});
	CHILD(c)
	{
		become(1000);
		int u = make(af, UDP);
		INTS(u, SOL_SOCKET, SO_PRIORITY, 0, {6, 0, 6}, {7, EPERM, 0}, {-1, EPERM, 0});
		CHECK_ERRNO(try_int(u, SOL_SOCKET, SO_MARK, 1), EPERM);
		CHECK_ERRNO(try_int(u, SOL_SOCKET, SO_DEBUG, 1), EACCES);
	}
	CHECK_EXIT(c, 0);
}

BOTH(opt_bindtodevice)
{
	int s = make(af, UDP);
	char name[IFNAMSIZ];
	socklen_t n = sizeof(name);
	SYS(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	CHECK_EQ(n, 0);
	SYS(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	n = sizeof(name);
	SYS(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	CHECK_EQ(n, 3);
	CHECK_STR(name, "lo");
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_BINDTOIFINDEX), 1);
	n = 3;
	CHECK_ERRNO(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n), EINVAL);
	CHECK_ERRNO(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "nope", 5), ENODEV);
	SYS(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2)); /* without the NUL */
	struct addr a = loop(af, 0);
	SYS(bind(s, ADDR(a)));
	a = local(s);
	int c = udp(af);
	CHECK_EQ(sendto(c, "x", 1, 0, ADDR(a)), 1);
	CHECK_EQ(recv(s, buf, 1, 0), 1);
	SYS(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_BINDTOIFINDEX), 0);
	INTS(s, SOL_SOCKET, SO_BINDTOIFINDEX, 0, {1, 0, 1}, {-1, EINVAL, 0}, {0, 0, 0});
	CHILD(ch)
	{
		become(1000);
		int u = make(af, UDP);
		SYS(setsockopt(u, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3)); /* once is free */
		CHECK_ERRNO(setsockopt(u, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), EPERM);
	}
	CHECK_EXIT(ch, 0);
}

BOTH(opt_cookie)
{
	int s = make(af, UDP), t = make(af, TCP);
	uint64_t a = 0, b = 0, again = 0;
	socklen_t n = sizeof(a);
	SYS(getsockopt(s, SOL_SOCKET, SO_COOKIE, &a, &n));
	CHECK_EQ(n, 8);
	SYS(getsockopt(t, SOL_SOCKET, SO_COOKIE, &b, &n));
	SYS(getsockopt(s, SOL_SOCKET, SO_COOKIE, &again, &n));
	CHECK(a != 0 && b != 0 && a != b && a == again);
	n = 4;
	CHECK_ERRNO(getsockopt(s, SOL_SOCKET, SO_COOKIE, &a, &n), EINVAL);
}

BOTH(opt_peer)
{
	int s[2], lone = make(af, UDP);
	udp_pair(af, s);
	struct addr p = peer(s[0]), got = {.len = sizeof(got.ss)};
	got.len = p.len;
	SYS(getsockopt(s[0], SOL_SOCKET, SO_PEERNAME, &got.ss, &got.len));
	CHECK_SAME(got, p);
	CHECK_ERRNO(getsockopt(lone, SOL_SOCKET, SO_PEERNAME, &got.ss, &got.len), ENOTCONN);
	struct {
		int pid;
		unsigned uid, gid;
	} cred;
	socklen_t n = sizeof(cred);
	SYS(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &cred, &n));
	CHECK_EQ(n, sizeof(cred));
	CHECK(cred.pid == 0 && cred.uid == (unsigned)-1 && cred.gid == (unsigned)-1);
	CHECK_ERRNO(try_get(s[0], SOL_SOCKET, SO_PEERGROUPS), ENODATA);
	CHECK_ERRNO(try_get(s[0], SOL_SOCKET, SO_PEERSEC), ENOPROTOOPT);
	CHECK_ERRNO(try_int(s[0], SOL_SOCKET, SO_PEERCRED, 1), ENOPROTOOPT);
}

BOTH(opt_timestamp_kinds)
{
	int s = make(af, UDP);
	set_int(s, SOL_SOCKET, SO_TIMESTAMP, 1);
	set_int(s, SOL_SOCKET, SO_TIMESTAMPNS, 1); /* one replaces the other */
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_TIMESTAMP), 0);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_TIMESTAMPNS), 1);
	set_int(s, SOL_SOCKET, SO_TIMESTAMP_NEW, 1);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_TIMESTAMPNS), 0);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_TIMESTAMP_NEW), 1);
	set_int(s, SOL_SOCKET, SO_TIMESTAMPNS_NEW, 1);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_TIMESTAMPNS_NEW), 1);
	set_int(s, SOL_SOCKET, SO_TIMESTAMPNS_NEW, 0);
	int v[2] = {1, 1};
	socklen_t n = sizeof(v);
	SYS(getsockopt(s, SOL_SOCKET, SO_TIMESTAMPING, v, &n));
	CHECK_EQ(n, 8);
	CHECK_EQ(v[0], 0);
	set_int(s, SOL_SOCKET, SO_TIMESTAMPING, 8 | 16);
	SYS(getsockopt(s, SOL_SOCKET, SO_TIMESTAMPING, v, &n));
	CHECK_EQ(v[0], 24);
	CHECK_ERRNO(try_int(s, SOL_SOCKET, SO_TIMESTAMPING, 1 << 30), EINVAL);
}

BOTH(opt_socket_misc)
{
	int s = make(af, UDP);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_BPF_EXTENSIONS), 64);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_INCOMING_NAPI_ID), 0);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_INCOMING_CPU), -1);
	set_int(s, SOL_SOCKET, SO_INCOMING_CPU, 0);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_INCOMING_CPU), 0);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_LOCK_FILTER), 0);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ZEROCOPY), 0);
	CHECK_ERRNO(try_int(s, SOL_SOCKET, SO_ZEROCOPY, 2), EINVAL);
	CHECK_ERRNO(try_int(s, SOL_SOCKET, SO_PASSCRED, 1), EOPNOTSUPP);
	CHECK_ERRNO(try_int(s, SOL_SOCKET, SO_PASSSEC, 1), EOPNOTSUPP);
	uint64_t rate = 0;
	socklen_t n = sizeof(rate);
	SYS(getsockopt(s, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &n));
	CHECK(n == 8 && rate == ~0ULL);
	set_int(s, SOL_SOCKET, SO_MAX_PACING_RATE, 1000000);
	SYS(getsockopt(s, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &n));
	CHECK_EQ(rate, 1000000);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_MAX_PACING_RATE), 1000000);
	uint32_t mem[9];
	n = sizeof(mem);
	SYS(getsockopt(s, SOL_SOCKET, SO_MEMINFO, mem, &n));
	CHECK_EQ(n, sizeof(mem));
	CHECK(mem[0] == 0 && mem[1] == 212992 && mem[2] == 0 && mem[3] == 212992);
}

TEST(opt_ip_tos)
{
	int u = make(AF_INET, UDP), t = make(AF_INET, TCP);
	INTS(u, IPPROTO_IP, IP_TOS, 0, {0x10, 0, 0x10}, {0xff, 0, 0xff}, {0x1b8, 0, 0xb8}, {0, 0, 0});
	INTS(t, IPPROTO_IP, IP_TOS, 0, {0x10, 0, 0x10}, {0x13, 0, 0x10}, {0xb8, 0, 0xb8}); /* ECN is TCP's */
	/* The precedence bits set the priority. */
	set_int(u, IPPROTO_IP, IP_TOS, 0x10);
	CHECK_EQ(get_int(u, SOL_SOCKET, SO_PRIORITY), 6);
	set_int(u, IPPROTO_IP, IP_TOS, 0x08);
	CHECK_EQ(get_int(u, SOL_SOCKET, SO_PRIORITY), 2);
}

TEST(opt_ip_byte_sized)
{
	int u = make(AF_INET, UDP);
	unsigned char c = 77;
	SYS(setsockopt(u, IPPROTO_IP, IP_TTL, &c, 1));
	CHECK_EQ(get_int(u, IPPROTO_IP, IP_TTL), 77);
	char b[4] = {1, 2, 3, 4};
	socklen_t n = 1;
	SYS(getsockopt(u, IPPROTO_IP, IP_TTL, b, &n));
	CHECK(n == 1 && b[0] == 77 && b[1] == 2);
	n = 3;
	SYS(getsockopt(u, IPPROTO_IP, IP_TTL, b, &n)); /* a value that fits is one byte */
	CHECK(n == 1 && b[0] == 77 && b[1] == 2);
	n = 0;
	SYS(getsockopt(u, IPPROTO_IP, IP_TTL, b, &n));
	CHECK_EQ(n, 0);
	CHECK_ERRNO(setsockopt(u, IPPROTO_IP, IP_TTL, &c, 0), EINVAL);
	CHECK_ERRNO(setsockopt(u, IPPROTO_IP, IP_MULTICAST_TTL, &c, 0), EINVAL);
	CHECK_ERRNO(setsockopt(u, IPPROTO_IP, IP_MULTICAST_LOOP, &c, 0), EINVAL);
	SYS(setsockopt(u, IPPROTO_IP, IP_RECVTTL, &c, 1));
	CHECK_EQ(get_int(u, IPPROTO_IP, IP_RECVTTL), 1);
	SYS(setsockopt(u, IPPROTO_IP, IP_TOS, &c, 1));
	CHECK_EQ(get_int(u, IPPROTO_IP, IP_TOS), 77);
}

TEST(opt_ip_ttl)
{
	for (int k = TCP; k <= RAW; k++) {
		if (k == PING)
			continue;
		int s = make(AF_INET, k);
		INTS(s, IPPROTO_IP, IP_TTL, 64, {1, 0, 1}, {255, 0, 255}, {0, EINVAL, 0}, {256, EINVAL, 0}, {-2, EINVAL, 0}, {-1, 0, 64});
		close(s);
	}
}

TEST(opt_ip_switches)
{
	int u = make(AF_INET, UDP), t = make(AF_INET, TCP);
	int both[] = {u, t};
	for (int i = 0; i < 2; i++) {
		INTS(both[i], IPPROTO_IP, IP_RECVERR, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_PKTINFO, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_RECVTTL, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_RECVTOS, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_RECVOPTS, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_RETOPTS, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_FREEBIND, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_TRANSPARENT, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_RECVORIGDSTADDR, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_PASSSEC, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, SWITCH);
		INTS(both[i], IPPROTO_IP, IP_MINTTL, 0, {7, 0, 7}, {255, 0, 255}, {256, EINVAL, 0}, {-1, EINVAL, 0}, {0, 0, 0});
		INTS(both[i], IPPROTO_IP, IP_RECVERR_RFC4884, 0, {1, 0, 1}, {2, EINVAL, 0}, {0, 0, 0});
		INTS(both[i], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT, {0, 0, 0}, {2, 0, 2}, {3, 0, 3}, {5, 0, 5}, {6, EINVAL, 0}, {-1, EINVAL, 0});
	}
	INTS(u, IPPROTO_IP, IP_RECVFRAGSIZE, 0, SWITCH);
	CHECK_ERRNO(try_int(u, IPPROTO_IP, IP_HDRINCL, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_int(u, IPPROTO_IP, IP_NODEFRAG, 1), ENOPROTOOPT);
	int r = make(AF_INET, RAW);
	INTS(r, IPPROTO_IP, IP_HDRINCL, 0, SWITCH);
	INTS(r, IPPROTO_IP, IP_NODEFRAG, 0, SWITCH);
	CHECK_EQ(get_int(r, IPPROTO_IP, 52 /* IP_PROTOCOL */), IPPROTO_ICMP);
	CHILD(c)
	{
		become(1000);
		CHECK_ERRNO(try_int(u, IPPROTO_IP, IP_TRANSPARENT, 1), EPERM);
		SYS(try_int(u, IPPROTO_IP, IP_FREEBIND, 1));
	}
	CHECK_EXIT(c, 0);
}

TEST(opt_ip_mtu)
{
	int s = make(AF_INET, UDP);
	CHECK_ERRNO(try_get(s, IPPROTO_IP, IP_MTU), ENOTCONN);
	struct addr a = loop(AF_INET, 9);
	SYS(connect(s, ADDR(a)));
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MTU), 65535); /* no packet is longer */
	CHECK_ERRNO(try_int(s, IPPROTO_IP, IP_MTU, 1500), ENOPROTOOPT);
}

TEST(opt_ip_options)
{
	int s = make(AF_INET, UDP);
	socklen_t n = 40;
	SYS(getsockopt(s, IPPROTO_IP, IP_OPTIONS, buf, &n));
	CHECK_EQ(n, 0);
	unsigned char rr[] = {7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0};
	SYS(setsockopt(s, IPPROTO_IP, IP_OPTIONS, rr, sizeof(rr)));
	n = 40;
	SYS(getsockopt(s, IPPROTO_IP, IP_OPTIONS, buf, &n));
	CHECK_EQ(n, 12);
	CHECK_EQ(buf[0], 7);
	CHECK_ERRNO(setsockopt(s, IPPROTO_IP, IP_OPTIONS, buf, 44), EINVAL);
	unsigned char bad[] = {7, 99, 4, 0};
	CHECK_ERRNO(setsockopt(s, IPPROTO_IP, IP_OPTIONS, bad, 4), EINVAL);
	SYS(setsockopt(s, IPPROTO_IP, IP_OPTIONS, NULL, 0));
	SYS(getsockopt(s, IPPROTO_IP, IP_OPTIONS, buf, &n));
	CHECK_EQ(n, 0);
}

TEST(opt_ip_freebind)
{
	int s = make(AF_INET, UDP);
	set_int(s, IPPROTO_IP, IP_FREEBIND, 1);
	struct addr a = address(AF_INET, "192.0.2.1", 0);
	SYS(bind(s, ADDR(a)));
	struct addr l = local(s);
	CHECK_STR(text_of(&l), "192.0.2.1");
}

TEST(opt_ip_unicast_if)
{
	int s = make(AF_INET, UDP);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_UNICAST_IF), 0);
	set_int(s, IPPROTO_IP, IP_UNICAST_IF, htonl(1));
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_UNICAST_IF), htonl(1));
	CHECK_ERRNO(try_int(s, IPPROTO_IP, IP_UNICAST_IF, htonl(99)), EADDRNOTAVAIL);
	set_int(s, IPPROTO_IP, IP_UNICAST_IF, 0);
}

TEST(opt_ipv6_switches)
{
	int u = make(AF_INET6, UDP), t = make(AF_INET6, TCP);
	int both[] = {u, t};
	for (int i = 0; i < 2; i++) {
		INTS(both[i], IPPROTO_IPV6, IPV6_V6ONLY, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_RECVERR, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_RECVTCLASS, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_DONTFRAG, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, 11 /* IPV6_FLOWINFO */, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, 33 /* IPV6_FLOWINFO_SEND */, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_FREEBIND, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_TRANSPARENT, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_RECVPATHMTU, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 0, SWITCH);
		INTS(both[i], IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, {1, 0, 1}, {255, 0, 255}, {256, EINVAL, 0}, {-2, EINVAL, 0}, {-1, 0, 64});
		INTS(both[i], IPPROTO_IPV6, IPV6_TCLASS, 0, {8, 0, 8}, {0xb8, 0, 0xb8}, {256, EINVAL, 0}, {-2, EINVAL, 0}, {-1, 0, 0});
		INTS(both[i], IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT, {0, 0, 0}, {2, 0, 2}, {5, 0, 5}, {6, EINVAL, 0}, {-1, EINVAL, 0});
		INTS(both[i], IPPROTO_IPV6, IPV6_MINHOPCOUNT, 0, {7, 0, 7}, {256, EINVAL, 0}, {-1, EINVAL, 0}, {0, 0, 0});
	}
	int v = 1;
	CHECK_ERRNO(setsockopt(u, IPPROTO_IPV6, IPV6_RECVERR, &v, 1), EINVAL);
	CHECK_ERRNO(setsockopt(u, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &v, 3), EINVAL);
	socklen_t n = 2;
	SYS(getsockopt(u, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &v, &n));
	CHECK_EQ(n, 2);
}

TEST(opt_ipv6_mtu)
{
	int s = make(AF_INET6, UDP);
	CHECK_ERRNO(try_get(s, IPPROTO_IPV6, IPV6_MTU), ENOTCONN);
	CHECK_ERRNO(try_int(s, IPPROTO_IPV6, IPV6_MTU, 1000), EINVAL);
	set_int(s, IPPROTO_IPV6, IPV6_MTU, 1400);
	struct addr a = loop(AF_INET6, 9);
	SYS(connect(s, ADDR(a)));
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_MTU), 65536);
	struct ip6_mtuinfo info;
	socklen_t n = sizeof(info);
	SYS(getsockopt(s, IPPROTO_IPV6, IPV6_PATHMTU, &info, &n));
	CHECK_EQ(n, sizeof(info));
	CHECK_EQ(info.ip6m_mtu, 65536);
}

TEST(opt_ipv6_addr_preferences)
{
	int s = make(AF_INET6, UDP);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES), 0x500);
	set_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 1);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES), 0x401);
	set_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 2);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES), 0x402);
	CHECK_ERRNO(try_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 3), EINVAL);
	set_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 4);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES), 0x104);
}

TEST(opt_ipv6_sticky_pktinfo)
{
	int s = make(AF_INET6, UDP);
	struct in6_pktinfo p = {.ipi6_ifindex = 1, .ipi6_addr = IN6ADDR_LOOPBACK_INIT};
	SYS(setsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &p, sizeof(p)));
	CHECK_ERRNO(try_get(s, IPPROTO_IPV6, IPV6_PKTINFO), ENOPROTOOPT);
	CHECK_ERRNO(setsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &p, 4), EINVAL);
	int r = udp(AF_INET6);
	struct addr to = local(r);
	CHECK_EQ(sendto(s, "x", 1, 0, ADDR(to)), 1);
	CHECK_EQ(recv(r, buf, 1, 0), 1);
}

TEST(opt_ipv6_addrform)
{
	int s = make(AF_INET6, UDP);
	CHECK_ERRNO(try_get(s, IPPROTO_IPV6, 1), ENOTCONN);
	struct addr a = loop(AF_INET6, 9);
	SYS(connect(s, ADDR(a)));
	CHECK_EQ(get_int(s, IPPROTO_IPV6, 1), AF_INET6);
}

BOTH(opt_tcp_ints)
{
	int s = make(af, TCP);
	INTS(s, IPPROTO_TCP, TCP_NODELAY, 0, SWITCH);
	INTS(s, IPPROTO_TCP, TCP_CORK, 0, SWITCH);
	INTS(s, IPPROTO_TCP, TCP_KEEPIDLE, 7200, {1, 0, 1}, {32767, 0, 32767}, {0, EINVAL, 0}, {32768, EINVAL, 0}, {-1, EINVAL, 0});
	INTS(s, IPPROTO_TCP, TCP_KEEPINTVL, 75, {1, 0, 1}, {32767, 0, 32767}, {0, EINVAL, 0}, {32768, EINVAL, 0});
	INTS(s, IPPROTO_TCP, TCP_KEEPCNT, 9, {1, 0, 1}, {127, 0, 127}, {0, EINVAL, 0}, {128, EINVAL, 0});
	INTS(s, IPPROTO_TCP, TCP_SYNCNT, 6, {1, 0, 1}, {127, 0, 127}, {0, EINVAL, 0}, {128, EINVAL, 0});
	INTS(s, IPPROTO_TCP, TCP_LINGER2, 60, {10, 0, 10}, {-5, 0, -1}, {0, 0, 60}, {1000, 0, 120});
	INTS(s, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, {1, 0, 1}, {3, 0, 3}, {4, 0, 7}, {0, 0, 0});
	INTS(s, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, {10000, 0, 10000}, {0, 0, 0}, {1, 0, 1152});
	INTS(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 0, {5000, 0, 5000}, {-1, EINVAL, 0}, {0, 0, 0});
	INTS(s, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0, {5000, 0, 5000});
	INTS(s, IPPROTO_TCP, TCP_INQ, 0, {1, 0, 1}, {2, EINVAL, 0}, {0, 0, 0});
	INTS(s, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0, {1, 0, 1}, {0, 0, 0});
	INTS(s, IPPROTO_TCP, TCP_MAXSEG, 536, {1000, 0, 1000}, {87, EINVAL, 0}, {32768, EINVAL, 0});
	int v = 1;
	CHECK_ERRNO(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, 3), EINVAL);
	CHECK_ERRNO(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, 0), EINVAL);
	CHECK_ERRNO(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, bad_ptr(), 4), EFAULT);
	socklen_t n = 2;
	SYS(getsockopt(s, IPPROTO_TCP, TCP_KEEPCNT, buf, &n));
	CHECK_EQ(n, 2);
	CHECK_EQ(get_int(s, IPPROTO_TCP, 43 /* TCP_IS_MPTCP */), 0);
}

BOTH(opt_tcp_congestion)
{
	int s = make(af, TCP);
	char name[16];
	SYS(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	socklen_t n = sizeof(name);
	SYS(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	CHECK_EQ(n, 16);
	CHECK_STR(name, "reno");
	SYS(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "cubic", 6));
	SYS(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	CHECK_STR(name, "cubic");
	CHECK_ERRNO(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8), ENOENT);
	CHECK_ERRNO(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "", 0), EINVAL);
	n = 3;
	SYS(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	CHECK_EQ(n, 3);
}

BOTH(opt_udp_ints)
{
	int s = make(af, UDP);
	INTS(s, IPPROTO_UDP, UDP_CORK, 0, SWITCH);
	INTS(s, IPPROTO_UDP, 101 /* UDP_NO_CHECK6_TX */, 0, SWITCH);
	INTS(s, IPPROTO_UDP, 102 /* UDP_NO_CHECK6_RX */, 0, SWITCH);
	INTS(s, IPPROTO_UDP, UDP_SEGMENT, 0, {1000, 0, 1000}, {0, 0, 0});
	INTS(s, IPPROTO_UDP, UDP_GRO, 0, SWITCH);
	CHECK_EQ(get_int(s, IPPROTO_UDP, UDP_ENCAP), 0);
	int v = 1;
	CHECK_ERRNO(setsockopt(s, IPPROTO_UDP, UDP_CORK, &v, 2), EINVAL);
}

TEST(opt_raw_icmp_filter)
{
	int r = make(AF_INET, RAW), other = SYS(socket(AF_INET, SOCK_RAW, 200)), u = make(AF_INET, UDP);
	struct icmp_filter f = {0};
	socklen_t n = sizeof(f);
	SYS(getsockopt(r, SOL_RAW, ICMP_FILTER, &f, &n));
	CHECK(n == 4 && f.data == 0);
	f.data = 1 << 8;
	SYS(setsockopt(r, SOL_RAW, ICMP_FILTER, &f, sizeof(f)));
	f.data = 0;
	SYS(getsockopt(r, SOL_RAW, ICMP_FILTER, &f, &n));
	CHECK_EQ(f.data, 1 << 8);
	CHECK_ERRNO(setsockopt(other, SOL_RAW, ICMP_FILTER, &f, sizeof(f)), EOPNOTSUPP);
	CHECK_ERRNO(getsockopt(other, SOL_RAW, ICMP_FILTER, &f, &n), EOPNOTSUPP);
	CHECK_ERRNO(setsockopt(u, SOL_RAW, ICMP_FILTER, &f, sizeof(f)), ENOPROTOOPT);
}

TEST(opt_raw_icmp6_filter)
{
	int r = make(AF_INET6, RAW), other = SYS(socket(AF_INET6, SOCK_RAW, 200));
	struct icmp6_filter f;
	socklen_t n = sizeof(f);
	SYS(getsockopt(r, IPPROTO_ICMPV6, ICMP6_FILTER, &f, &n));
	CHECK_EQ(n, sizeof(f));
	ICMP6_FILTER_SETBLOCKALL(&f);
	SYS(setsockopt(r, IPPROTO_ICMPV6, ICMP6_FILTER, &f, sizeof(f)));
	memset(&f, 0, sizeof(f));
	SYS(getsockopt(r, IPPROTO_ICMPV6, ICMP6_FILTER, &f, &n));
	CHECK(ICMP6_FILTER_WILLBLOCK(ICMP6_ECHO_REQUEST, &f));
	CHECK_ERRNO(setsockopt(other, IPPROTO_ICMPV6, ICMP6_FILTER, &f, sizeof(f)), EOPNOTSUPP);
}

TEST(opt_raw_checksum)
{
	int r = SYS(socket(AF_INET6, SOCK_RAW, 200)), icmp = make(AF_INET6, RAW), u = make(AF_INET6, UDP);
	INTS(r, IPPROTO_IPV6, IPV6_CHECKSUM, -1, {2, 0, 2}, {3, EINVAL, 0}, {0, 0, 0}, {-1, 0, -1}, {-5, 0, -1});
	CHECK_EQ(get_int(icmp, IPPROTO_IPV6, IPV6_CHECKSUM), 2);
	CHECK_ERRNO(try_int(icmp, IPPROTO_IPV6, IPV6_CHECKSUM, 2), EINVAL);
	CHECK_ERRNO(try_int(u, IPPROTO_IPV6, IPV6_CHECKSUM, 2), ENOPROTOOPT);
}
