//go:build ignore

/* Multicast: memberships, sources, and what is sent to groups, on lo. */
#include "inet.h"

static char buf[4096];

static const char *group_text(int af) { return af == AF_INET ? "239.1.2.3" : "ff02::1234"; }
static struct addr group(int af, int port)
{
	struct addr a = address(af, group_text(af), port);
	if (af == AF_INET6)
		((struct sockaddr_in6 *)&a.ss)->sin6_scope_id = 1;
	return a;
}

static struct ip_mreqn mreqn(const char *g)
{
	struct ip_mreqn m = {.imr_ifindex = 1};
	m.imr_multiaddr.s_addr = inet_addr(g);
	return m;
}

static struct ipv6_mreq mreq6(const char *g)
{
	struct ipv6_mreq m = {.ipv6mr_interface = 1};
	inet_pton(AF_INET6, g, &m.ipv6mr_multiaddr);
	return m;
}

static int change(int s, int af, int join)
{
	if (af == AF_INET) {
		struct ip_mreqn m = mreqn(group_text(af));
		return setsockopt(s, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &m, sizeof(m));
	}
	struct ipv6_mreq m = mreq6(group_text(af));
	return setsockopt(s, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &m, sizeof(m));
}

/* A receiver bound to any address, and a sender by lo. */
static int receiver(int af)
{
	int s = SYS(socket(af, SOCK_DGRAM, 0));
	struct addr a = any(af, 0);
	set_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
	SYS(bind(s, ADDR(a)));
	return s;
}

static int sender(int af)
{
	int s = SYS(socket(af, SOCK_DGRAM, 0));
	if (af == AF_INET) {
		struct ip_mreqn m = {.imr_ifindex = 1};
		SYS(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)));
	} else {
		set_int(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1);
	}
	return s;
}

static int port(int fd)
{
	struct addr a = local(fd);
	return port_of(&a);
}

/* Sends text to the group; got says whether r receives it. Linux's lo carries no multicast of IPv6. */
static void deliver(int af, int s, int r, const char *text, int got)
{
	if (af == AF_INET6)
		return;
	struct addr to = group(af, port(r));
	CHECK_EQ(sendto(s, text, strlen(text), 0, ADDR(to)), strlen(text));
	if (got) {
		await(r, POLLIN);
		CHECK_EQ(recv(r, buf, sizeof(buf), 0), strlen(text));
	} else {
		struct pollfd p = {.fd = r, .events = POLLIN};
		CHECK_EQ(poll(&p, 1, 30), 0);
	}
}

BOTH(mcast_join)
{
	int r = receiver(af), s = sender(af);
	SYS(change(r, af, 1));
	CHECK_ERRNO(change(r, af, 1), EADDRINUSE);
	deliver(af, s, r, "hello", 1);
	SYS(change(r, af, 0));
	CHECK_ERRNO(change(r, af, 0), EADDRNOTAVAIL);
	deliver(af, s, r, "hello", 0);
}

TEST(mcast_all_members)
{
	/* Everyone who is bound to the port and a member gets a copy. */
	int a = receiver(AF_INET), b = SYS(socket(AF_INET, SOCK_DGRAM, 0)), s = sender(AF_INET);
	struct addr wide = any(AF_INET, port(a));
	set_int(b, SOL_SOCKET, SO_REUSEADDR, 1);
	SYS(bind(b, ADDR(wide)));
	SYS(change(a, AF_INET, 1));
	SYS(change(b, AF_INET, 1));
	deliver(AF_INET, s, a, "hello", 1);
	await(b, POLLIN);
	CHECK_EQ(recv(b, buf, 100, 0), 5);
}

BOTH(mcast_bind_group)
{
	/* A socket bound to the group gets only that. */
	int r = SYS(socket(af, SOCK_DGRAM, 0)), s = sender(af), u = udp(af);
	struct addr g = group(af, 0);
	SYS(bind(r, ADDR(g)));
	struct addr l = local(r);
	CHECK_STR(text_of(&l), group_text(af));
	SYS(change(r, af, 1));
	deliver(af, s, r, "hello", 1);
	struct addr uni = loop(af, port(r));
	CHECK_EQ(sendto(u, "x", 1, 0, ADDR(uni)), 1);
	struct pollfd p = {.fd = r, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 30), 0);
}

BOTH(mcast_loop_off)
{
	int s = sender(af), name = af == AF_INET ? IP_MULTICAST_LOOP : IPV6_MULTICAST_LOOP;
	set_int(s, level(af), name, 0);
	CHECK_EQ(get_int(s, level(af), name), 0);
	if (af == AF_INET) {
		int r = receiver(af);
		struct addr to = group(af, port(r));
		SYS(change(r, af, 1));
		CHECK_EQ(sendto(s, "hello", 5, 0, ADDR(to)), 5);
	}
}

BOTH(mcast_errors)
{
	int r = receiver(af), t = SYS(socket(af, SOCK_STREAM, 0));
	CHECK_ERRNO(change(t, af, 1), EPROTO);
	if (af == AF_INET) {
		struct ip_mreqn m = mreqn("10.0.0.1");
		CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), EINVAL);
		m = mreqn("239.0.0.1");
		m.imr_ifindex = 99;
		CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), ENODEV);
		CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 7), EINVAL);
		struct ip_mreq old = {.imr_multiaddr.s_addr = inet_addr("239.0.0.1"), .imr_interface.s_addr = htonl(INADDR_LOOPBACK)};
		SYS(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &old, sizeof(old))); /* by the interface's address */
		SYS(setsockopt(r, IPPROTO_IP, IP_DROP_MEMBERSHIP, &old, sizeof(old)));
		CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_DROP_MEMBERSHIP, &old, sizeof(old)), EADDRNOTAVAIL);
	} else {
		struct ipv6_mreq m = mreq6("2001:db8::1");
		CHECK_ERRNO(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)), EINVAL);
		m = mreq6("ff02::1234");
		m.ipv6mr_interface = 99;
		CHECK_ERRNO(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)), ENODEV);
		CHECK_ERRNO(setsockopt(r, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, 16), EINVAL);
	}
}

BOTH(mcast_group_req)
{
	int r = receiver(af), s = sender(af);
	struct group_req g = {.gr_interface = 1};
	struct addr a = group(af, 0);
	memcpy(&g.gr_group, &a.ss, a.len);
	SYS(setsockopt(r, level(af), MCAST_JOIN_GROUP, &g, sizeof(g)));
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_JOIN_GROUP, &g, sizeof(g)), EADDRINUSE);
	deliver(af, s, r, "hello", 1);
	SYS(setsockopt(r, level(af), MCAST_LEAVE_GROUP, &g, sizeof(g)));
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_LEAVE_GROUP, &g, sizeof(g)), EADDRNOTAVAIL);
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_JOIN_GROUP, &g, 100), EINVAL);
	g.gr_group.ss_family = AF_UNIX;
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_JOIN_GROUP, &g, sizeof(g)), af == AF_INET ? EINVAL : EADDRNOTAVAIL);
}

BOTH(mcast_source)
{
	/* Only what comes from one sender. */
	int r = receiver(af), s = sender(af);
	struct group_source_req g = {.gsr_interface = 1};
	struct addr a = group(af, 0), good = loop(af, 0);
	struct addr bad = address(af, af == AF_INET ? "127.0.0.99" : "2001:db8::99", 0);
	memcpy(&g.gsr_group, &a.ss, a.len);
	memcpy(&g.gsr_source, &bad.ss, bad.len);
	SYS(bind(s, ADDR(good)));
	SYS(setsockopt(r, level(af), MCAST_JOIN_SOURCE_GROUP, &g, sizeof(g)));
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_JOIN_SOURCE_GROUP, &g, sizeof(g)), EADDRNOTAVAIL);
	deliver(af, s, r, "no", 0);
	memcpy(&g.gsr_source, &good.ss, good.len);
	SYS(setsockopt(r, level(af), MCAST_JOIN_SOURCE_GROUP, &g, sizeof(g)));
	deliver(af, s, r, "yes", 1);
	SYS(setsockopt(r, level(af), MCAST_LEAVE_SOURCE_GROUP, &g, sizeof(g)));
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_LEAVE_SOURCE_GROUP, &g, sizeof(g)), EADDRNOTAVAIL);
}

BOTH(mcast_block)
{
	int r = receiver(af), s = sender(af);
	struct group_source_req g = {.gsr_interface = 1};
	struct addr a = group(af, 0), me = loop(af, 0);
	memcpy(&g.gsr_group, &a.ss, a.len);
	memcpy(&g.gsr_source, &me.ss, me.len);
	SYS(bind(s, ADDR(me)));
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_BLOCK_SOURCE, &g, sizeof(g)), EINVAL); /* not a member */
	SYS(change(r, af, 1));
	SYS(setsockopt(r, level(af), MCAST_BLOCK_SOURCE, &g, sizeof(g)));
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_BLOCK_SOURCE, &g, sizeof(g)), EADDRNOTAVAIL);
	deliver(af, s, r, "no", 0);
	SYS(setsockopt(r, level(af), MCAST_UNBLOCK_SOURCE, &g, sizeof(g)));
	CHECK_ERRNO(setsockopt(r, level(af), MCAST_UNBLOCK_SOURCE, &g, sizeof(g)), EADDRNOTAVAIL);
	deliver(af, s, r, "yes", 1);
}

TEST(mcast_ip_sources)
{
	int r = receiver(AF_INET);
	struct ip_mreq_source m = {.imr_multiaddr.s_addr = inet_addr("239.1.2.3"), .imr_interface.s_addr = htonl(INADDR_LOOPBACK), .imr_sourceaddr.s_addr = inet_addr("10.0.0.1")};
	SYS(setsockopt(r, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &m, sizeof(m)));
	CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &m, sizeof(m)), EADDRNOTAVAIL);
	CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_BLOCK_SOURCE, &m, sizeof(m)), EINVAL); /* of another mode */
	CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &m, 11), EINVAL);
	SYS(setsockopt(r, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &m, sizeof(m)));
	struct ip_mreqn j = mreqn("239.1.2.3");
	SYS(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &j, sizeof(j)));
	SYS(setsockopt(r, IPPROTO_IP, IP_BLOCK_SOURCE, &m, sizeof(m)));
	SYS(setsockopt(r, IPPROTO_IP, IP_UNBLOCK_SOURCE, &m, sizeof(m)));
}

TEST(mcast_ip_msfilter)
{
	int r = receiver(AF_INET);
	struct ip_mreqn j = mreqn("239.1.2.3");
	SYS(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &j, sizeof(j)));
	union {
		struct ip_msfilter f;
		char room[IP_MSFILTER_SIZE(4)];
	} u = {.f = {.imsf_multiaddr.s_addr = inet_addr("239.1.2.3"), .imsf_interface.s_addr = htonl(INADDR_LOOPBACK), .imsf_fmode = MCAST_INCLUDE, .imsf_numsrc = 2}};
	u.f.imsf_slist[0].s_addr = inet_addr("10.0.0.1");
	(&u.f.imsf_slist[0])[1].s_addr = inet_addr("10.0.0.2");
	SYS(setsockopt(r, IPPROTO_IP, IP_MSFILTER, &u, IP_MSFILTER_SIZE(2)));
	CHECK_ERRNO(setsockopt(r, IPPROTO_IP, IP_MSFILTER, &u, IP_MSFILTER_SIZE(1)), EINVAL);
	memset(&u.f.imsf_fmode, 0xff, 4);
	u.f.imsf_numsrc = 4;
	socklen_t n = sizeof(u);
	SYS(getsockopt(r, IPPROTO_IP, IP_MSFILTER, &u, &n));
	CHECK_EQ(u.f.imsf_fmode, MCAST_INCLUDE);
	CHECK_EQ(u.f.imsf_numsrc, 2);
	CHECK_EQ(n, IP_MSFILTER_SIZE(2));
	u.f.imsf_multiaddr.s_addr = inet_addr("239.9.9.9");
	n = sizeof(u);
	CHECK_ERRNO(getsockopt(r, IPPROTO_IP, IP_MSFILTER, &u, &n), EADDRNOTAVAIL);
}

BOTH(mcast_group_filter)
{
	int r = receiver(af);
	SYS(change(r, af, 1));
	union {
		struct group_filter f;
		char room[GROUP_FILTER_SIZE(4)];
	} u = {.f = {.gf_interface = 1, .gf_fmode = MCAST_EXCLUDE, .gf_numsrc = 1}};
	struct addr g = group(af, 0), src = loop(af, 0);
	memcpy(&u.f.gf_group, &g.ss, g.len);
	memcpy(&u.f.gf_slist[0], &src.ss, src.len);
	SYS(setsockopt(r, level(af), MCAST_MSFILTER, &u, GROUP_FILTER_SIZE(1)));
	u.f.gf_numsrc = 4;
	u.f.gf_fmode = 77;
	memset(&u.f.gf_slist[0], 0, sizeof(u.f.gf_slist[0]));
	socklen_t n = sizeof(u);
	SYS(getsockopt(r, level(af), MCAST_MSFILTER, &u, &n));
	CHECK_EQ(u.f.gf_fmode, MCAST_EXCLUDE);
	CHECK_EQ(u.f.gf_numsrc, 1);
	CHECK_EQ(n, GROUP_FILTER_SIZE(1));
	struct addr got = {.len = src.len};
	memcpy(&got.ss, &u.f.gf_slist[0], src.len);
	CHECK_STR(text_of(&got), af == AF_INET ? "127.0.0.1" : "::1");
}

TEST(mcast_options_v4)
{
	int s = SYS(socket(AF_INET, SOCK_DGRAM, 0)), t = SYS(socket(AF_INET, SOCK_STREAM, 0));
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_TTL), 1);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_LOOP), 1);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_ALL), 1);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_IF), 0);
	set_int(s, IPPROTO_IP, IP_MULTICAST_TTL, 255);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_TTL), 255);
	set_int(s, IPPROTO_IP, IP_MULTICAST_TTL, 0);
	set_int(s, IPPROTO_IP, IP_MULTICAST_TTL, -1);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_TTL), 1);
	CHECK_ERRNO(try_int(s, IPPROTO_IP, IP_MULTICAST_TTL, 256), EINVAL);
	CHECK_ERRNO(try_int(t, IPPROTO_IP, IP_MULTICAST_TTL, 1), EINVAL);
	CHECK_ERRNO(try_int(s, IPPROTO_IP, IP_MULTICAST_ALL, 2), EINVAL);
	set_int(s, IPPROTO_IP, IP_MULTICAST_ALL, 0);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_ALL), 0);
	set_int(s, IPPROTO_IP, IP_MULTICAST_IF, htonl(INADDR_LOOPBACK));
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_IF), htonl(INADDR_LOOPBACK));
	CHECK_ERRNO(try_int(s, IPPROTO_IP, IP_MULTICAST_IF, inet_addr("10.9.9.9")), EADDRNOTAVAIL);
	CHECK_ERRNO(try_int(t, IPPROTO_IP, IP_MULTICAST_IF, 0), EINVAL);
	struct ip_mreqn m = {.imr_ifindex = 99};
	CHECK_ERRNO(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)), EADDRNOTAVAIL);
	char b = 7;
	SYS(setsockopt(s, IPPROTO_IP, IP_MULTICAST_TTL, &b, 1));
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_MULTICAST_TTL), 7);
}

TEST(mcast_options_v6)
{
	int s = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), t = SYS(socket(AF_INET6, SOCK_STREAM, 0));
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 1);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 1);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_MULTICAST_IF), 0);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, 29 /* IPV6_MULTICAST_ALL */), 1);
	set_int(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 255);
	set_int(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -1);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 1);
	CHECK_ERRNO(try_int(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 256), EINVAL);
	CHECK_ERRNO(try_int(t, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_int(s, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 2), EINVAL);
	set_int(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_MULTICAST_IF), 1);
	CHECK_ERRNO(try_int(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, 99), ENODEV);
	CHECK_ERRNO(try_int(t, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1), ENOPROTOOPT);
	set_int(s, IPPROTO_IPV6, 29, 0);
	CHECK_EQ(get_int(s, IPPROTO_IPV6, 29), 0);
}

TEST(mcast_pktinfo)
{
	int r = receiver(AF_INET), s = sender(AF_INET);
	struct addr to = group(AF_INET, port(r));
	SYS(change(r, AF_INET, 1));
	set_int(r, IPPROTO_IP, IP_PKTINFO, 1);
	set_int(r, IPPROTO_IP, IP_RECVTTL, 1);
	CHECK_EQ(sendto(s, "hello", 5, 0, ADDR(to)), 5);
	await(r, POLLIN);
	struct message m;
	CHECK_EQ(receive(r, &m, 0), 5);
	struct in_pktinfo *p = control(&m.h, IPPROTO_IP, IP_PKTINFO, sizeof(*p));
	CHECK(p);
	CHECK_EQ(p->ipi_ifindex, 1);
	CHECK_EQ(p->ipi_addr.s_addr, inet_addr(group_text(AF_INET)));
	CHECK_EQ(*(int *)control(&m.h, IPPROTO_IP, IP_TTL, 4), 1);
}
