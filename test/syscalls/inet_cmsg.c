//go:build ignore

/* Ancillary data of IP sockets: what is received, and what a send asks for. */
#include "inet.h"
#include <linux/net_tstamp.h>

static char buf[4096];

/* What a control message of an int is, or a failure. */
static int int_control(struct message *m, int lvl, int type)
{
	int *v = control(&m->h, lvl, type, sizeof(int));
	if (!v)
		FAIL("no control message %d/%d", lvl, type);
	return *v;
}

BOTH(cmsg_none)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(m.h.msg_controllen, 0);
	CHECK_EQ(m.h.msg_flags, 0);
	CHECK_SAME(m.from, local(s[0]));
}

TEST(cmsg_pktinfo_v4)
{
	int s = SYS(socket(AF_INET, SOCK_DGRAM, 0)), c = udp(AF_INET);
	struct addr a = any(AF_INET, 0);
	SYS(bind(s, ADDR(a)));
	a = local(s);
	set_int(s, IPPROTO_IP, IP_PKTINFO, 1);
	struct addr to = address(AF_INET, "127.0.0.5", port_of(&a));
	CHECK_EQ(sendto(c, "x", 1, 0, ADDR(to)), 1);
	struct message m;
	CHECK_EQ(receive(s, &m, 0), 1);
	struct in_pktinfo *p = control(&m.h, IPPROTO_IP, IP_PKTINFO, sizeof(*p));
	CHECK(p);
	CHECK_EQ(p->ipi_ifindex, 1);
	CHECK_EQ(p->ipi_addr.s_addr, inet_addr("127.0.0.5"));
	CHECK_EQ(p->ipi_spec_dst.s_addr, inet_addr("127.0.0.5"));
	/* The answer from the address that was asked. */
	struct in_pktinfo from = {.ipi_spec_dst.s_addr = inet_addr("127.0.0.5")};
	struct addr back = local(c);
	CHECK_EQ(send_control(s, &back, "yy", IPPROTO_IP, IP_PKTINFO, &from, sizeof(from)), 2);
	CHECK_EQ(receive(c, &m, 0), 2);
	CHECK_STR(text_of(&m.from), "127.0.0.5");
	from.ipi_ifindex = 1;
	CHECK_EQ(send_control(s, &back, "yy", IPPROTO_IP, IP_PKTINFO, &from, sizeof(from)), 2);
	CHECK_ERRNO(send_control(s, &back, "yy", IPPROTO_IP, IP_PKTINFO, &from, 8), EINVAL);
	from.ipi_ifindex = 99;
	CHECK_ERRNO(send_control(s, &back, "yy", IPPROTO_IP, IP_PKTINFO, &from, sizeof(from)), ENODEV);
}

TEST(cmsg_pktinfo_v6)
{
	int s = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), c = udp(AF_INET6);
	struct addr a = any(AF_INET6, 0);
	SYS(bind(s, ADDR(a)));
	a = local(s);
	set_int(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	struct addr to = loop(AF_INET6, port_of(&a));
	CHECK_EQ(sendto(c, "x", 1, 0, ADDR(to)), 1);
	struct message m;
	CHECK_EQ(receive(s, &m, 0), 1);
	struct in6_pktinfo *p = control(&m.h, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(*p));
	CHECK(p);
	CHECK_EQ(p->ipi6_ifindex, 1);
	CHECK(IN6_IS_ADDR_LOOPBACK(&p->ipi6_addr));
	struct in6_pktinfo from = {.ipi6_addr = IN6ADDR_LOOPBACK_INIT, .ipi6_ifindex = 1};
	struct addr back = local(c);
	CHECK_EQ(send_control(s, &back, "yy", IPPROTO_IPV6, IPV6_PKTINFO, &from, sizeof(from)), 2);
	CHECK_EQ(receive(c, &m, 0), 2);
	CHECK_STR(text_of(&m.from), "::1");
	CHECK_ERRNO(send_control(s, &back, "yy", IPPROTO_IPV6, IPV6_PKTINFO, &from, 8), EINVAL);
	from.ipi6_ifindex = 99;
	CHECK_ERRNO(send_control(s, &back, "yy", IPPROTO_IPV6, IPV6_PKTINFO, &from, sizeof(from)), ENODEV);
	from.ipi6_ifindex = 0;
	inet_pton(AF_INET6, "2001:db8::1", &from.ipi6_addr);
	CHECK_ERRNO(send_control(s, &back, "yy", IPPROTO_IPV6, IPV6_PKTINFO, &from, sizeof(from)), EINVAL);
}

TEST(cmsg_pktinfo_mapped)
{
	int s = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), c = udp(AF_INET);
	struct addr a = any(AF_INET6, 0);
	SYS(bind(s, ADDR(a)));
	a = local(s);
	set_int(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	set_int(s, IPPROTO_IP, IP_PKTINFO, 1);
	set_int(s, IPPROTO_IP, IP_RECVTTL, 1);
	struct addr to = loop(AF_INET, port_of(&a));
	CHECK_EQ(sendto(c, "x", 1, 0, ADDR(to)), 1);
	struct message m;
	CHECK_EQ(receive(s, &m, 0), 1);
	struct in6_pktinfo *p = control(&m.h, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(*p));
	CHECK(p);
	char text[64];
	CHECK_STR(inet_ntop(AF_INET6, &p->ipi6_addr, text, sizeof(text)), "::ffff:127.0.0.1");
	struct in_pktinfo *p4 = control(&m.h, IPPROTO_IP, IP_PKTINFO, sizeof(*p4));
	CHECK(p4);
	CHECK_EQ(p4->ipi_addr.s_addr, htonl(INADDR_LOOPBACK));
	CHECK_EQ(int_control(&m, IPPROTO_IP, IP_TTL), 64);
	/* Sent from a mapped address, with IPv4's TTL. */
	int ttl = 9;
	set_int(c, IPPROTO_IP, IP_RECVTTL, 1);
	struct in6_pktinfo from = {};
	inet_pton(AF_INET6, "::ffff:127.0.0.9", &from.ipi6_addr);
	struct addr back = m.from;
	CHECK_EQ(send_control(s, &back, "yy", IPPROTO_IPV6, IPV6_PKTINFO, &from, sizeof(from)), 2);
	CHECK_EQ(receive(c, &m, 0), 2);
	CHECK_STR(text_of(&m.from), "127.0.0.9");
	CHECK_EQ(send_control(s, &back, "yy", IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)), 2);
	CHECK_EQ(receive(c, &m, 0), 2);
	CHECK_EQ(int_control(&m, IPPROTO_IP, IP_TTL), 9);
}

TEST(cmsg_ttl)
{
	int s[2];
	udp_pair(AF_INET, s);
	set_int(s[1], IPPROTO_IP, IP_RECVTTL, 1);
	struct message m;
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IP, IP_TTL), 64);
	set_int(s[0], IPPROTO_IP, IP_TTL, 7);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IP, IP_TTL), 7);
	int ttl = 33;
	CHECK_EQ(send_control(s[0], NULL, "x", IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IP, IP_TTL), 33);
	ttl = 0;
	CHECK_ERRNO(send_control(s[0], NULL, "x", IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)), EINVAL);
	ttl = 256;
	CHECK_ERRNO(send_control(s[0], NULL, "x", IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)), EINVAL);
	ttl = 5;
	CHECK_ERRNO(send_control(s[0], NULL, "x", IPPROTO_IP, IP_TTL, &ttl, 1), EINVAL);
}

TEST(cmsg_tos)
{
	int s[2];
	udp_pair(AF_INET, s);
	set_int(s[1], IPPROTO_IP, IP_RECVTOS, 1);
	struct message m;
	set_int(s[0], IPPROTO_IP, IP_TOS, 0x10);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	unsigned char *tos = control(&m.h, IPPROTO_IP, IP_TOS, 1);
	CHECK(tos);
	CHECK_EQ(*tos, 0x10);
	int v = 0xb8;
	CHECK_EQ(send_control(s[0], NULL, "x", IPPROTO_IP, IP_TOS, &v, sizeof(v)), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(*(unsigned char *)control(&m.h, IPPROTO_IP, IP_TOS, 1), 0xb8);
	unsigned char b = 0x20;
	CHECK_EQ(send_control(s[0], NULL, "x", IPPROTO_IP, IP_TOS, &b, sizeof(b)), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(*(unsigned char *)control(&m.h, IPPROTO_IP, IP_TOS, 1), 0x20);
	v = 256;
	CHECK_ERRNO(send_control(s[0], NULL, "x", IPPROTO_IP, IP_TOS, &v, sizeof(v)), EINVAL);
}

TEST(cmsg_hoplimit)
{
	int s[2];
	udp_pair(AF_INET6, s);
	set_int(s[1], IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	struct message m;
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IPV6, IPV6_HOPLIMIT), 64);
	set_int(s[0], IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IPV6, IPV6_HOPLIMIT), 7);
	int hops = 33;
	CHECK_EQ(send_control(s[0], NULL, "x", IPPROTO_IPV6, IPV6_HOPLIMIT, &hops, sizeof(hops)), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IPV6, IPV6_HOPLIMIT), 33);
	hops = 256;
	CHECK_ERRNO(send_control(s[0], NULL, "x", IPPROTO_IPV6, IPV6_HOPLIMIT, &hops, sizeof(hops)), EINVAL);
	hops = -1;
	CHECK_EQ(send_control(s[0], NULL, "x", IPPROTO_IPV6, IPV6_HOPLIMIT, &hops, sizeof(hops)), 1);
}

TEST(cmsg_tclass)
{
	int s[2];
	udp_pair(AF_INET6, s);
	set_int(s[1], IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
	struct message m;
	set_int(s[0], IPPROTO_IPV6, IPV6_TCLASS, 0x28);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IPV6, IPV6_TCLASS), 0x28);
	int v = 0xb8;
	CHECK_EQ(send_control(s[0], NULL, "x", IPPROTO_IPV6, IPV6_TCLASS, &v, sizeof(v)), 1);
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(int_control(&m, IPPROTO_IPV6, IPV6_TCLASS), 0xb8);
	v = 256;
	CHECK_ERRNO(send_control(s[0], NULL, "x", IPPROTO_IPV6, IPV6_TCLASS, &v, sizeof(v)), EINVAL);
}

BOTH(cmsg_original_destination)
{
	int s[2];
	udp_pair(af, s);
	set_int(s[1], level(af), af == AF_INET ? IP_RECVORIGDSTADDR : IPV6_RECVORIGDSTADDR, 1);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 1);
	struct addr me = local(s[1]);
	void *p = control(&m.h, level(af), af == AF_INET ? IP_ORIGDSTADDR : IPV6_ORIGDSTADDR, me.len);
	CHECK(p);
	CHECK_MEM(p, &me.ss, me.len);
}

BOTH(cmsg_timestamp)
{
	int s[2];
	udp_pair(af, s);
	struct message m;
	struct timespec now;
	struct {
		int option, type, nano;
	} t[] = {{SO_TIMESTAMP, SCM_TIMESTAMP, 0}, {SO_TIMESTAMPNS, SCM_TIMESTAMPNS, 1}, {SO_TIMESTAMP_NEW, SO_TIMESTAMP_NEW, 0}, {SO_TIMESTAMPNS_NEW, SO_TIMESTAMPNS_NEW, 1}};
	for (size_t i = 0; i < LEN(t); i++) {
		set_int(s[1], SOL_SOCKET, t[i].option, 1);
		clock_gettime(CLOCK_REALTIME, &now);
		CHECK_EQ(send(s[0], "x", 1, 0), 1);
		CHECK_EQ(receive(s[1], &m, 0), 1);
		int64_t *v = control(&m.h, SOL_SOCKET, t[i].type, 16);
		CHECK(v);
		CHECK(v[0] >= now.tv_sec && v[0] <= now.tv_sec + 10);
		CHECK(v[1] >= 0 && v[1] < (t[i].nano ? 1000000000 : 1000000));
		set_int(s[1], SOL_SOCKET, t[i].option, 0);
		CHECK_EQ(send(s[0], "x", 1, 0), 1);
		CHECK_EQ(receive(s[1], &m, 0), 1);
		CHECK_EQ(m.h.msg_controllen, 0);
	}
	set_int(s[1], SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE);
	/* Linux begins to stamp packets a moment after the first socket asked for it. */
	struct timespec *ts = NULL;
	for (int i = 0; i < 100 && !ts; i++) {
		usleep(i * 100);
		CHECK_EQ(send(s[0], "x", 1, 0), 1);
		CHECK_EQ(receive(s[1], &m, 0), 1);
		ts = control(&m.h, SOL_SOCKET, SCM_TIMESTAMPING, 48);
	}
	CHECK(ts);
	CHECK(ts[0].tv_sec >= now.tv_sec);
	CHECK(ts[2].tv_sec == 0 && ts[2].tv_nsec == 0);
}

BOTH(cmsg_siocgstamp)
{
	int s[2];
	udp_pair(af, s);
	struct timeval tv;
	struct timespec ts;
	CHECK_ERRNO(ioctl(s[1], 0x8906 /* SIOCGSTAMP */, &tv), ENOENT);
	time_t now = time(NULL);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	CHECK_EQ(recv(s[1], buf, 1, 0), 1);
	SYS(ioctl(s[1], 0x8906, &tv));
	CHECK(tv.tv_sec >= now && tv.tv_usec < 1000000);
	SYS(ioctl(s[1], 0x8907 /* SIOCGSTAMPNS */, &ts));
	CHECK_EQ(ts.tv_sec, tv.tv_sec);
}

BOTH(cmsg_truncated)
{
	/* What has no room is cut off, and said to be. */
	int s[2];
	udp_pair(af, s);
	set_int(s[1], SOL_SOCKET, SO_TIMESTAMP, 1);
	struct message m;
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	message_init(&m);
	m.h.msg_controllen = CMSG_LEN(4);
	CHECK_EQ(recvmsg(s[1], &m.h, 0), 1);
	CHECK(m.h.msg_flags & MSG_CTRUNC);
	CHECK_EQ(CMSG_FIRSTHDR(&m.h)->cmsg_len, CMSG_LEN(4));
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	message_init(&m);
	m.h.msg_controllen = 0;
	CHECK_EQ(recvmsg(s[1], &m.h, 0), 1);
	CHECK_EQ(m.h.msg_flags, MSG_CTRUNC);
	CHECK_EQ(m.h.msg_controllen, 0);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	message_init(&m);
	m.h.msg_controllen = 8; /* less than a header */
	CHECK_EQ(recvmsg(s[1], &m.h, 0), 1);
	CHECK_EQ(m.h.msg_flags, MSG_CTRUNC);
}

BOTH(cmsg_send_errors)
{
	int s[2];
	udp_pair(af, s);
	int v = 1;
	CHECK_ERRNO(send_control(s[0], NULL, "x", level(af), 9999, &v, sizeof(v)), EINVAL);
	CHECK_ERRNO(send_control(s[0], NULL, "x", SOL_SOCKET, 9999, &v, sizeof(v)), EINVAL);
	CHECK_EQ(send_control(s[0], NULL, "x", 9999, 1, &v, sizeof(v)), 1); /* of another level: ignored */
	CHECK_EQ(send_control(s[0], NULL, "x", SOL_SOCKET, SO_MARK, &v, sizeof(v)), 1);
	CHECK_ERRNO(send_control(s[0], NULL, "x", SOL_SOCKET, SO_MARK, &v, 2), EINVAL);
	struct message m;
	message_init(&m);
	m.h.msg_name = NULL;
	m.iov.iov_len = 1;
	m.h.msg_controllen = sizeof(struct cmsghdr);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m.h);
	c->cmsg_len = 1000; /* longer than there is */
	CHECK_ERRNO(sendmsg(s[0], &m.h, 0), EINVAL);
	m.h.msg_control = bad_ptr();
	CHECK_ERRNO(sendmsg(s[0], &m.h, 0), EFAULT);
	m.h.msg_controllen = 1UL << 31;
	CHECK_ERRNO(sendmsg(s[0], &m.h, 0), ENOBUFS);
	CHILD(ch)
	{
		become(1000);
		CHECK_ERRNO(send_control(s[0], NULL, "x", SOL_SOCKET, SO_MARK, &v, sizeof(v)), EPERM);
	}
	CHECK_EXIT(ch, 0);
}

BOTH(cmsg_rights_are_ignored)
{
	int s[2], fd = 0;
	udp_pair(af, s);
	CHECK_EQ(send_control(s[0], NULL, "x", SOL_SOCKET, SCM_RIGHTS, &fd, sizeof(fd)), 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(m.h.msg_controllen, 0);
}

BOTH(cmsg_all_at_once)
{
	int s[2];
	udp_pair(af, s);
	set_int(s[1], SOL_SOCKET, SO_TIMESTAMP, 1);
	if (af == AF_INET) {
		set_int(s[1], IPPROTO_IP, IP_PKTINFO, 1);
		set_int(s[1], IPPROTO_IP, IP_RECVTTL, 1);
		set_int(s[1], IPPROTO_IP, IP_RECVTOS, 1);
		set_int(s[1], IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
	} else {
		set_int(s[1], IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		set_int(s[1], IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
		set_int(s[1], IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
		set_int(s[1], IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
	}
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 1);
	int want4[][2] = {{SOL_SOCKET, SCM_TIMESTAMP}, {0, IP_PKTINFO}, {0, IP_TTL}, {0, IP_TOS}, {0, IP_ORIGDSTADDR}};
	int want6[][2] = {{SOL_SOCKET, SCM_TIMESTAMP}, {41, IPV6_PKTINFO}, {41, IPV6_HOPLIMIT}, {41, IPV6_TCLASS}, {41, IPV6_ORIGDSTADDR}};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m.h);
	for (int i = 0; i < 5; i++, c = CMSG_NXTHDR(&m.h, c)) {
		CHECK(c);
		CHECK_EQ(c->cmsg_level, af == AF_INET ? want4[i][0] : want6[i][0]);
		CHECK_EQ(c->cmsg_type, af == AF_INET ? want4[i][1] : want6[i][1]);
	}
	CHECK(!c);
}

TEST(cmsg_ip_options)
{
	/* A record of the route, made and received. */
	int s[2];
	udp_pair(AF_INET, s);
	unsigned char rr[] = {7, 7, 4, 0, 0, 0, 0, 0};
	SYS(setsockopt(s[0], IPPROTO_IP, IP_OPTIONS, rr, 7));
	set_int(s[1], IPPROTO_IP, IP_RECVOPTS, 1);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 1);
	unsigned char *o = control(&m.h, IPPROTO_IP, IP_RECVOPTS, 8);
	CHECK(o);
	CHECK_EQ(o[0], 7);
	CHECK_EQ(o[1], 7);
	CHECK_EQ(o[2], 8); /* one address was recorded */
}
