//go:build ignore

/* raw(7), icmp(7) and packet(7) sockets. */
#include "inet.h"
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

static unsigned char buf[4096];

static int raw(int af, int protocol) { return SYS(socket(af, SOCK_RAW, protocol)); }

static uint16_t sum(const void *data, size_t n)
{
	const unsigned char *p = data;
	uint32_t s = 0;
	for (size_t i = 0; i + 1 < n; i += 2)
		s += p[i] << 8 | p[i + 1];
	if (n & 1)
		s += p[n - 1] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return htons(~s);
}

/* An echo request of 8+4 bytes. */
static void echo(unsigned char *b, int af, int id, int seq)
{
	struct icmphdr *h = (void *)b;
	memset(b, 0, 12);
	h->type = af == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	h->un.echo.id = htons(id);
	h->un.echo.sequence = htons(seq);
	memcpy(b + 8, "data", 4);
	if (af == AF_INET)
		h->checksum = sum(b, 12);
}

BOTH(raw_echo)
{
	/* The request that is sent and the answer both come in. */
	int s = raw(af, af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	struct addr a = loop(af, 0), from = {.len = sizeof(from.ss)};
	echo(buf, af, 77, 1);
	CHECK_EQ(sendto(s, buf, 12, 0, ADDR(a)), 12);
	int seen = 0, skip = af == AF_INET ? 20 : 0;
	for (int i = 0; i < 2; i++) {
		CHECK(await(s, POLLIN) & POLLIN);
		CHECK_EQ(recvfrom(s, buf, sizeof(buf), 0, SA(from), &from.len), skip + 12);
		CHECK_SAME(from, a);
		CHECK_MEM(buf + skip + 8, "data", 4);
		if (af == AF_INET) {
			struct iphdr *ip = (void *)buf;
			CHECK(ip->version == 4 && ip->ihl == 5 && ip->protocol == IPPROTO_ICMP);
			CHECK_EQ(ntohs(ip->tot_len), 32);
			CHECK_EQ(sum(buf, 20), 0);
		}
		seen |= buf[skip] == (af == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST) ? 1 : buf[skip] == (af == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) ? 2 : 4;
	}
	CHECK_EQ(seen, 3);
}

BOTH(raw_icmp_filter)
{
	int s = raw(af, af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (af == AF_INET) {
		uint32_t f = ~(1u << ICMP_ECHOREPLY);
		SYS(setsockopt(s, SOL_RAW, 1, &f, sizeof(f)));
	} else {
		struct icmp6_filter f;
		ICMP6_FILTER_SETBLOCKALL(&f);
		ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &f);
		SYS(setsockopt(s, IPPROTO_ICMPV6, ICMP6_FILTER, &f, sizeof(f)));
	}
	struct addr a = loop(af, 0);
	echo(buf, af, 77, 1);
	CHECK_EQ(sendto(s, buf, 12, 0, ADDR(a)), 12);
	await(s, POLLIN);
	CHECK_EQ(recv(s, buf, sizeof(buf), 0), af == AF_INET ? 32 : 12);
	CHECK_EQ(buf[af == AF_INET ? 20 : 0], af == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
	CHECK_ERRNO(recv(s, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
}

BOTH(raw_needs_capability)
{
	CHILD(c)
	{
		become(1000);
		CHECK_ERRNO(socket(af, SOCK_RAW, IPPROTO_ICMP), EPERM);
		CHECK_ERRNO(socket(af, SOCK_RAW, IPPROTO_RAW), EPERM);
		CHECK_ERRNO(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), EPERM);
	}
	CHECK_EXIT(c, 0);
}

BOTH(raw_names)
{
	int s = raw(af, 200);
	struct addr a = loop(af, 0), zero = any(af, af == AF_INET ? 200 : 200);
	struct addr l = local(s);
	CHECK_EQ(port_of(&l), port_of(&zero)); /* the protocol */
	CHECK_ERRNO(getpeername(s, SA(a), &(socklen_t){100}), ENOTCONN);
	SYS(bind(s, ADDR(a)));
	l = local(s);
	CHECK_STR(text_of(&l), af == AF_INET ? "127.0.0.1" : "::1");
	SYS(connect(s, ADDR(a)));
	struct addr foreign = address(af, af == AF_INET ? "192.0.2.1" : "2001:db8::1", 0);
	int t = raw(af, 200);
	CHECK_ERRNO(bind(t, ADDR(foreign)), EADDRNOTAVAIL);
	CHECK_ERRNO(bind(t, SA(a), 5), EINVAL);
	CHECK_ERRNO(listen(t, 1), EOPNOTSUPP);
	CHECK_ERRNO(accept(t, NULL, NULL), EOPNOTSUPP);
}

BOTH(raw_own_protocol)
{
	int r = raw(af, 200), s = raw(af, 200), other = raw(af, 201);
	struct addr a = loop(af, 0);
	SYS(bind(r, ADDR(a)));
	SYS(connect(s, ADDR(a)));
	CHECK_EQ(send(s, "payload", 7, 0), 7);
	ssize_t n = af == AF_INET ? 27 : 7;
	CHECK_EQ(recv(r, buf, sizeof(buf), 0), n);
	CHECK_MEM(buf + n - 7, "payload", 7);
	CHECK_EQ(recv(s, buf, sizeof(buf), MSG_DONTWAIT), n); /* the sender's matches too */
	CHECK_ERRNO(recv(other, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
	CHECK_ERRNO(send(s, "x", 1, MSG_OOB), EOPNOTSUPP);
	CHECK_ERRNO(recv(s, buf, 1, MSG_OOB), EOPNOTSUPP);
	CHECK_ERRNO(send(r, "x", 1, 0), EDESTADDRREQ);
}

TEST(raw_header_included)
{
	int s = raw(AF_INET, IPPROTO_RAW), r = raw(AF_INET, 200);
	CHECK_EQ(get_int(s, IPPROTO_IP, IP_HDRINCL), 1);
	struct {
		struct iphdr ip;
		char data[4];
	} p = {.ip = {.version = 4, .ihl = 5, .ttl = 9, .protocol = 200, .saddr = 0, .daddr = htonl(INADDR_LOOPBACK)}, .data = "abc"};
	struct addr a = loop(AF_INET, 0);
	CHECK_EQ(sendto(s, &p, sizeof(p), 0, ADDR(a)), sizeof(p));
	CHECK_EQ(recv(r, buf, sizeof(buf), 0), sizeof(p));
	struct iphdr *ip = (void *)buf;
	CHECK_EQ(ntohs(ip->tot_len), sizeof(p)); /* filled in, like the checksum, id and source */
	CHECK_EQ(ip->ttl, 9);
	CHECK_EQ(ip->saddr, htonl(INADDR_LOOPBACK));
	CHECK_EQ(sum(buf, 20), 0);
	CHECK_MEM(buf + 20, "abc", 4);
	CHECK_ERRNO(sendto(s, &p, 10, 0, ADDR(a)), EINVAL);
	CHECK_ERRNO(recv(s, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN); /* of IPPROTO_RAW nothing comes */
}

TEST(raw_checksum_v6)
{
	int s = raw(AF_INET6, 200), r = raw(AF_INET6, 200);
	struct addr a = loop(AF_INET6, 0);
	set_int(s, IPPROTO_IPV6, IPV6_CHECKSUM, 2);
	unsigned char m[8] = {1, 2, 0, 0, 5, 6, 7, 8};
	CHECK_EQ(sendto(s, m, 8, 0, ADDR(a)), 8);
	CHECK_EQ(recv(r, buf, sizeof(buf), 0), 8);
	unsigned char pseudo[48] = {};
	pseudo[15] = pseudo[31] = 1;
	pseudo[35] = 8;
	pseudo[39] = 200;
	memcpy(pseudo + 40, buf, 8);
	CHECK_EQ(sum(pseudo, 48), 0);
	CHECK_EQ(recv(s, buf, sizeof(buf), MSG_DONTWAIT), 8); /* and it is checked */
}

BOTH(raw_sees_udp)
{
	int r = raw(af, IPPROTO_UDP), s[2];
	udp_pair(af, s);
	CHECK_EQ(send(s[0], "hello", 5, 0), 5);
	ssize_t n = (af == AF_INET ? 20 : 0) + 8 + 5;
	CHECK_EQ(recv(r, buf, sizeof(buf), 0), n);
	CHECK_MEM(buf + n - 5, "hello", 5);
	CHECK_EQ(recv(s[1], buf, sizeof(buf), 0), 5); /* whose it is gets it too */
}

static int ping(int af)
{
	/* Group 0 may have ping sockets here. */
	int fd = SYS(open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY));
	CHECK_EQ(write(fd, "0\t0\n", 4), 4);
	close(fd);
	return SYS(socket(af, SOCK_DGRAM, af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6));
}

BOTH(ping_forbidden)
{
	int fd = SYS(open("/proc/sys/net/ipv4/ping_group_range", O_RDWR));
	CHECK_EQ(write(fd, "1\t0\n", 4), 4);
	CHECK_ERRNO(socket(af, SOCK_DGRAM, af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6), EACCES);
	CHECK_ERRNO(socket(af, SOCK_DGRAM, af == AF_INET ? IPPROTO_ICMPV6 : IPPROTO_ICMP), EPROTONOSUPPORT);
}

BOTH(ping_echo)
{
	int s = ping(af);
	struct addr a = loop(af, 0), from = {.len = sizeof(from.ss)};
	echo(buf, af, 99, 5);
	CHECK_EQ(sendto(s, buf, 12, 0, ADDR(a)), 12);
	struct addr me = local(s);
	CHECK(port_of(&me) != 0); /* the identifier, which the kernel chose */
	await(s, POLLIN);
	CHECK_EQ(recvfrom(s, buf, sizeof(buf), 0, SA(from), &from.len), 12);
	struct icmphdr *h = (void *)buf;
	CHECK_EQ(h->type, af == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
	CHECK_EQ(ntohs(h->un.echo.id), port_of(&me));
	CHECK_EQ(ntohs(h->un.echo.sequence), 5);
	CHECK_MEM(buf + 8, "data", 4);
	CHECK_SAME(from, a);
}

BOTH(ping_bind)
{
	int s = ping(af), t = ping(af);
	struct addr a = loop(af, 1234);
	SYS(bind(s, ADDR(a)));
	CHECK_SAME(local(s), a);
	struct addr foreign = address(af, af == AF_INET ? "192.0.2.1" : "2001:db8::1", 0);
	CHECK_ERRNO(bind(t, ADDR(foreign)), EADDRNOTAVAIL);
	SYS(connect(s, ADDR(a)));
	echo(buf, af, 1, 1);
	CHECK_EQ(send(s, buf, 12, 0), 12);
	CHECK_EQ(recv(s, buf, sizeof(buf), 0), 12);
}

BOTH(ping_errors)
{
	int s = ping(af);
	struct addr a = loop(af, 0);
	echo(buf, af, 1, 1);
	CHECK_ERRNO(sendto(s, buf, 4, 0, ADDR(a)), EINVAL); /* too short */
	buf[0] = 13;
	CHECK_ERRNO(sendto(s, buf, 12, 0, ADDR(a)), EINVAL); /* no echo request */
	echo(buf, af, 1, 1);
	CHECK_ERRNO(send(s, buf, 12, 0), EDESTADDRREQ);
	CHECK_ERRNO(sendto(s, buf, 12, MSG_OOB, ADDR(a)), EOPNOTSUPP);
	CHECK_ERRNO(recv(s, buf, 12, MSG_DONTWAIT), EAGAIN);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_PROTOCOL), af == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static int packet(int type, int protocol)
{
	int s = SYS(socket(AF_PACKET, type, htons(protocol)));
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = 1};
	SYS(bind(s, (void *)&a, sizeof(a)));
	return s;
}

TEST(packet_raw)
{
	int p = packet(SOCK_RAW, ETH_P_IP), s[2];
	udp_pair(AF_INET, s);
	CHECK_EQ(send(s[0], "hello", 5, 0), 5);
	struct sockaddr_ll from;
	socklen_t n = sizeof(from);
	CHECK_EQ(recvfrom(p, buf, sizeof(buf), 0, (void *)&from, &n), 14 + 20 + 8 + 5);
	CHECK_EQ(n, sizeof(from));
	CHECK_EQ(from.sll_family, AF_PACKET);
	CHECK_EQ(from.sll_protocol, htons(ETH_P_IP));
	CHECK_EQ(from.sll_ifindex, 1);
	CHECK_EQ(from.sll_hatype, 772);
	CHECK_EQ(from.sll_pkttype, PACKET_HOST);
	CHECK_EQ(from.sll_halen, 6);
	CHECK_MEM(buf, "\0\0\0\0\0\0\0\0\0\0\0\0\x08\0", 14);
	CHECK_MEM(buf + 14 + 28, "hello", 5);
	CHECK_ERRNO(recv(p, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
}

TEST(packet_cooked)
{
	int p = packet(SOCK_DGRAM, ETH_P_ALL), s[2];
	udp_pair(AF_INET6, s);
	CHECK_EQ(send(s[0], "hello", 5, 0), 5);
	/* Out and in. */
	int types = 0;
	for (int i = 0; i < 2; i++) {
		struct sockaddr_ll from;
		socklen_t n = sizeof(from);
		CHECK_EQ(recvfrom(p, buf, sizeof(buf), 0, (void *)&from, &n), 40 + 8 + 5);
		CHECK_EQ(from.sll_protocol, htons(ETH_P_IPV6));
		types |= 1 << from.sll_pkttype;
		CHECK_EQ(buf[0] >> 4, 6);
	}
	CHECK_EQ(types, 1 << PACKET_HOST | 1 << PACKET_OUTGOING);
	/* Cut off, with the length told. */
	set_int(p, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
	CHECK_EQ(send(s[0], "hello", 5, 0), 5);
	CHECK_EQ(recv(p, buf, 10, MSG_TRUNC), 53);
	CHECK_ERRNO(recv(p, buf, 10, MSG_DONTWAIT), EAGAIN);
}

TEST(packet_send)
{
	int p = packet(SOCK_DGRAM, ETH_P_IPV6), r = raw(AF_INET6, 200);
	struct {
		struct ip6_hdr ip;
		char data[4];
	} m = {.ip = {.ip6_src = IN6ADDR_LOOPBACK_INIT, .ip6_dst = IN6ADDR_LOOPBACK_INIT}, .data = "abc"};
	m.ip.ip6_vfc = 0x60;
	m.ip.ip6_plen = htons(4);
	m.ip.ip6_nxt = 200;
	m.ip.ip6_hops = 9;
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IPV6), .sll_ifindex = 1, .sll_halen = 6};
	CHECK_EQ(sendto(p, &m, sizeof(m), 0, (void *)&to, sizeof(to)), sizeof(m));
	CHECK_EQ(recv(r, buf, sizeof(buf), 0), 4);
	CHECK_MEM(buf, "abc", 4);
	CHECK_ERRNO(sendto(p, &m, sizeof(m), 0, (void *)&to, 10), EINVAL);
	to.sll_ifindex = 99;
	CHECK_ERRNO(sendto(p, &m, sizeof(m), 0, (void *)&to, sizeof(to)), ENXIO);
}

TEST(packet_names)
{
	int p = SYS(socket(AF_PACKET, SOCK_RAW, 0));
	struct sockaddr_ll a;
	socklen_t n = sizeof(a);
	SYS(getsockname(p, (void *)&a, &n));
	CHECK_EQ(n, 12);
	CHECK(a.sll_family == AF_PACKET && a.sll_ifindex == 0 && a.sll_protocol == 0);
	a = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = 1};
	SYS(bind(p, (void *)&a, sizeof(a)));
	n = sizeof(a);
	SYS(getsockname(p, (void *)&a, &n));
	CHECK_EQ(n, 18);
	CHECK_EQ(a.sll_ifindex, 1);
	CHECK_EQ(a.sll_protocol, htons(ETH_P_ALL));
	CHECK_EQ(a.sll_hatype, 772);
	CHECK_EQ(a.sll_halen, 6);
	CHECK_ERRNO(bind(p, (void *)&a, 10), EINVAL);
	a.sll_ifindex = 99;
	CHECK_ERRNO(bind(p, (void *)&a, sizeof(a)), ENODEV);
	a.sll_family = AF_INET;
	CHECK_ERRNO(bind(p, (void *)&a, sizeof(a)), EINVAL);
	CHECK_ERRNO(getpeername(p, (void *)&a, &n), EOPNOTSUPP);
	CHECK_ERRNO(connect(p, (void *)&a, n), EOPNOTSUPP);
	CHECK_ERRNO(listen(p, 1), EOPNOTSUPP);
	CHECK_ERRNO(shutdown(p, SHUT_RD), EOPNOTSUPP);
	CHECK_ERRNO(socket(AF_PACKET, SOCK_STREAM, 0), ESOCKTNOSUPPORT);
}

TEST(packet_options)
{
	int p = packet(SOCK_RAW, ETH_P_IP), s[2];
	struct packet_mreq m = {.mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC};
	SYS(setsockopt(p, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)));
	SYS(setsockopt(p, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof(m)));
	m.mr_ifindex = 99;
	CHECK_ERRNO(setsockopt(p, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)), ENODEV);
	CHECK_ERRNO(setsockopt(p, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, 8), EINVAL);
	udp_pair(AF_INET, s);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(send(s[0], "hello", 5, 0), 5);
	struct tpacket_stats st;
	socklen_t n = sizeof(st);
	SYS(getsockopt(p, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	CHECK_EQ(n, sizeof(st));
	CHECK(st.tp_packets == 3 && st.tp_drops == 0);
	SYS(getsockopt(p, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	CHECK_EQ(st.tp_packets, 0); /* counted from the last look */
	CHECK_EQ(get_int(p, SOL_PACKET, PACKET_AUXDATA), 0);
	set_int(p, SOL_PACKET, PACKET_AUXDATA, 1);
	CHECK_EQ(get_int(p, SOL_PACKET, PACKET_AUXDATA), 1);
	struct message msg;
	CHECK_EQ(receive(p, &msg, 0), 47);
	struct tpacket_auxdata *x = control(&msg.h, SOL_PACKET, PACKET_AUXDATA, sizeof(*x));
	CHECK(x);
	CHECK_EQ(x->tp_len, 47);
	CHECK_EQ(x->tp_snaplen, 47);
	CHECK_EQ(x->tp_mac, 0);
	CHECK_EQ(x->tp_net, 14);
	CHECK_EQ(get_int(p, SOL_PACKET, PACKET_IGNORE_OUTGOING), 0);
	CHECK_ERRNO(try_int(p, SOL_PACKET, PACKET_IGNORE_OUTGOING, 2), EINVAL);
	CHECK_EQ(get_int(p, SOL_PACKET, PACKET_VERSION), 0);
	set_int(p, SOL_PACKET, PACKET_VERSION, 2);
	CHECK_EQ(get_int(p, SOL_PACKET, PACKET_VERSION), 2);
	CHECK_ERRNO(try_int(p, SOL_PACKET, PACKET_VERSION, 3), EINVAL);
	int v = TPACKET_V3;
	n = sizeof(v);
	SYS(getsockopt(p, SOL_PACKET, PACKET_HDRLEN, &v, &n));
	CHECK_EQ(v, sizeof(struct tpacket3_hdr));
	v = 77;
	CHECK_ERRNO(getsockopt(p, SOL_PACKET, PACKET_HDRLEN, &v, &n), EINVAL);
	CHECK_ERRNO(try_int(p, SOL_PACKET, 9999, 1), ENOPROTOOPT);
	CHECK_ERRNO(try_get(p, SOL_PACKET, 9999), ENOPROTOOPT);
	CHECK_ERRNO(try_int(p, IPPROTO_IP, IP_TTL, 1), ENOPROTOOPT);
}

TEST(packet_filter)
{
	/* Frames whose UDP payload begins with 'y'. */
	int p = packet(SOCK_RAW, ETH_P_IP), s[2];
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 42), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 44), BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = {LEN(f), f};
	SYS(setsockopt(p, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
	udp_pair(AF_INET, s);
	CHECK_EQ(send(s[0], "no", 2, 0), 2);
	CHECK_EQ(send(s[0], "yes", 3, 0), 3);
	CHECK_EQ(recv(p, buf, sizeof(buf), MSG_TRUNC), 44);
	CHECK_MEM(buf + 42, "ye", 2);
	CHECK_ERRNO(recv(p, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
}
