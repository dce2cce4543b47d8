//go:build ignore

/* sock_diag(7): the sockets of a namespace, as ss(8) asks for them. */
#include "netlink.h"
#include <linux/inet_diag.h>
#include <linux/netlink_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/un.h>

static int diag(int fd, int family, int protocol, unsigned states, int ext)
{
	struct inet_diag_req_v2 r = {.sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = states, .idiag_ext = ext};
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	return talk(fd);
}

static struct inet_diag_msg *by_port(int port)
{
	for (int i = 0; i < answers; i++) {
		struct inet_diag_msg *m = NLMSG_DATA(answer[i]);
		if (m->id.idiag_sport == htons(port))
			return m;
	}
	return NULL;
}

static struct nlmsghdr *header_of(struct inet_diag_msg *m) { return (void *)((char *)m - NLMSG_HDRLEN); }

static int listener(int family, int type, int *port)
{
	int fd = SYS(socket(family, type, 0));
	struct sockaddr_storage ss = {.ss_family = family};
	socklen_t n = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	if (family == AF_INET)
		((struct sockaddr_in *)&ss)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&ss)->sin6_addr = in6addr_loopback;
	SYS(bind(fd, (void *)&ss, n));
	SYS(getsockname(fd, (void *)&ss, &n));
	*port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	if (type == SOCK_STREAM)
		SYS(listen(fd, 9));
	return fd;
}

static int dial(int family, int port)
{
	int fd = SYS(socket(family, SOCK_STREAM, 0));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
	if (family == AF_INET)
		SYS(connect(fd, (void *)&a, sizeof(a)));
	else
		SYS(connect(fd, (void *)&a6, sizeof(a6)));
	return fd;
}

static unsigned inode(int fd)
{
	struct stat st;
	SYS(fstat(fd, &st));
	return st.st_ino;
}

#define ALL (~0u)

static void tcp_diag(int family)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), port;
	int l = listener(family, SOCK_STREAM, &port);
	CHECK_EQ(diag(fd, family, IPPROTO_TCP, 1 << 10, 0xff), 0);
	struct inet_diag_msg *m = by_port(port);
	CHECK(m);
	CHECK_EQ(m->idiag_family, family);
	CHECK_EQ(m->idiag_state, 10);
	CHECK_EQ(m->idiag_rqueue, 0);
	CHECK_EQ(m->idiag_wqueue, 9);
	CHECK_EQ(m->idiag_inode, inode(l));
	CHECK_EQ(m->idiag_uid, 0);
	CHECK_EQ(m->id.idiag_dport, 0);
	struct nlmsghdr *h = header_of(m);
	CHECK_EQ(h->nlmsg_type, SOCK_DIAG_BY_FAMILY);
	CHECK(RTA_PAYLOAD(find(h, sizeof(*m), INET_DIAG_INFO)) >= 232);
	CHECK_EQ(RTA_PAYLOAD(find(h, sizeof(*m), INET_DIAG_SKMEMINFO)), 36);
	CHECK(find(h, sizeof(*m), INET_DIAG_CONG));
	int c = dial(family, port);
	CHECK_EQ(diag(fd, family, IPPROTO_TCP, 1 << 10, 0), 0);
	CHECK_EQ(by_port(port)->idiag_rqueue, 1); /* waits to be accepted */
	int s = SYS(accept(l, NULL, NULL));
	SYS(write(c, "unread", 6));
	CHECK_EQ(diag(fd, family, IPPROTO_TCP, 1 << 1, 0xff), 0);
	CHECK_EQ(answers, 2);
	m = by_port(port);
	CHECK_EQ(m->idiag_state, 1);
	CHECK_EQ(m->idiag_inode, inode(s));
	CHECK_EQ(m->idiag_rqueue, 6);
	struct inet_diag_msg *other = NLMSG_DATA(answer[m == NLMSG_DATA(answer[0])]);
	CHECK_EQ(other->idiag_inode, inode(c));
	CHECK_EQ(other->id.idiag_dport, htons(port));
	CHECK_EQ(other->id.idiag_sport, m->id.idiag_dport);
	struct tcp_info *info = RTA_DATA(find(header_of(other), sizeof(*m), INET_DIAG_INFO));
	CHECK_EQ(info->tcpi_state, 1);
	/* Other states, other families: nothing. */
	CHECK_EQ(diag(fd, family, IPPROTO_TCP, 1 << 8, 0), 0);
	CHECK_EQ(answers, 0);
	CHECK_EQ(diag(fd, family == AF_INET ? AF_INET6 : AF_INET, IPPROTO_TCP, ALL, 0), 0);
	CHECK_EQ(answers, 0);
}

TEST(sock_diag_tcp_v4) { tcp_diag(AF_INET); }
TEST(sock_diag_tcp_v6) { tcp_diag(AF_INET6); }

TEST(sock_diag_time_wait)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), port, l = listener(AF_INET, SOCK_STREAM, &port);
	int c = dial(AF_INET, port), s = SYS(accept(l, NULL, NULL));
	char b;
	SYS(close(c));
	CHECK_EQ(read(s, &b, 1), 0);
	SYS(close(s));
	CHECK_EQ(diag(fd, AF_INET, IPPROTO_TCP, 1 << 6, 0), 0);
	CHECK_EQ(answers, 1);
	struct inet_diag_msg *m = NLMSG_DATA(answer[0]);
	CHECK_EQ(m->idiag_state, 6);
	CHECK_EQ(m->idiag_inode, 0);
	CHECK_EQ(m->idiag_timer, 3);
	CHECK(m->idiag_expires > 1000 && m->idiag_expires <= 60000);
}

TEST(sock_diag_udp)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), port, u = listener(AF_INET, SOCK_DGRAM, &port);
	SYS(socket(AF_INET, SOCK_DGRAM, 0)); /* not bound, not shown */
	CHECK_EQ(diag(fd, AF_INET, IPPROTO_UDP, ALL, 0), 0);
	CHECK_EQ(answers, 1);
	struct inet_diag_msg *m = by_port(port);
	CHECK(m);
	CHECK_EQ(m->idiag_state, 7);
	CHECK_EQ(m->idiag_inode, inode(u));
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	SYS(connect(u, (void *)&to, sizeof(to)));
	CHECK_EQ(diag(fd, AF_INET, IPPROTO_UDP, 1 << 1, 0), 0);
	CHECK_EQ(answers, 1);
	CHECK_EQ(by_port(port)->id.idiag_dport, htons(9));
}

TEST(sock_diag_one_socket)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), port, l = listener(AF_INET, SOCK_STREAM, &port);
	struct inet_diag_req_v2 r = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ALL};
	r.id.idiag_sport = htons(port);
	r.id.idiag_src[0] = htonl(INADDR_LOOPBACK);
	r.id.idiag_cookie[0] = r.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	request(SOCK_DIAG_BY_FAMILY, 0, &r, sizeof(r));
	TALK(fd, 0);
	CHECK_EQ(answers, 1);
	struct inet_diag_msg *m = NLMSG_DATA(answer[0]);
	CHECK_EQ(m->idiag_inode, inode(l));
	memcpy(r.id.idiag_cookie, m->id.idiag_cookie, sizeof(r.id.idiag_cookie));
	request(SOCK_DIAG_BY_FAMILY, 0, &r, sizeof(r));
	TALK(fd, 0);
	r.id.idiag_cookie[0] += 7;
	request(SOCK_DIAG_BY_FAMILY, 0, &r, sizeof(r));
	TALK(fd, ENOENT);
	r.id.idiag_sport = htons(1);
	request(SOCK_DIAG_BY_FAMILY, 0, &r, sizeof(r));
	TALK(fd, ENOENT);
}

TEST(sock_diag_errors)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG);
	request(99, 0, "1234", 4);
	TALK(fd, EINVAL);
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, "\2", 1);
	TALK(fd, EINVAL);
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, "\2\6\0\0", 4);
	TALK(fd, EINVAL);
	struct sock_diag_req r = {.sdiag_family = 200};
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	TALK(fd, EINVAL);
	r.sdiag_family = AF_UNSPEC;
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	TALK(fd, ENOENT);
}

TEST(sock_diag_destroy)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), port, l = listener(AF_INET, SOCK_STREAM, &port), c = dial(AF_INET, port);
	SYS(accept(l, NULL, NULL));
	struct sockaddr_in own;
	socklen_t n = sizeof(own);
	SYS(getsockname(c, (void *)&own, &n));
	struct inet_diag_req_v2 r = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ALL};
	r.id.idiag_sport = own.sin_port;
	r.id.idiag_dport = htons(port);
	r.id.idiag_src[0] = r.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
	r.id.idiag_cookie[0] = r.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	CHILD(child)
	{
		become(1000);
		request(SOCK_DESTROY, 0, &r, sizeof(r));
		int e = talk(fd);
		if (e != EPERM && e != EOPNOTSUPP) /* the latter: a kernel without */
			FAIL("destroyed by a user: %s", strerror(e));
	}
	CHECK_EXIT(child, 0);
	request(SOCK_DESTROY, 0, &r, sizeof(r));
	if (talk(fd) == EOPNOTSUPP)
		SKIP("this kernel destroys no sockets");
	char b;
	CHECK_ERRNO(read(c, &b, 1), ECONNABORTED);
	request(SOCK_DESTROY, 0, &r, sizeof(r));
	TALK(fd, ENOENT);
}

static int filtered(int fd, const void *code, size_t n)
{
	struct inet_diag_req_v2 r = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ALL};
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	attr(INET_DIAG_REQ_BYTECODE, code, n);
	return talk(fd);
}

TEST(sock_diag_filter)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), one, two;
	listener(AF_INET, SOCK_STREAM, &one);
	listener(AF_INET, SOCK_STREAM, &two);
	struct inet_diag_bc_op equal[2] = {{INET_DIAG_BC_S_EQ, 8, 12}, {.no = one}};
	CHECK_EQ(filtered(fd, equal, sizeof(equal)), 0);
	CHECK_EQ(answers, 1);
	CHECK(by_port(one));
	struct inet_diag_bc_op least[2] = {{INET_DIAG_BC_S_GE, 8, 12}, {.no = one < two ? two : one}};
	CHECK_EQ(filtered(fd, least, sizeof(least)), 0);
	CHECK_EQ(answers, 1);
	CHECK(by_port(one < two ? two : one));
	struct {
		struct inet_diag_bc_op op;
		struct inet_diag_hostcond cond;
		uint32_t addr;
	} host = {{INET_DIAG_BC_S_COND, sizeof(host), sizeof(host) + 4}, {.family = AF_INET, .prefix_len = 8, .port = -1}, htonl(INADDR_LOOPBACK)};
	CHECK_EQ(filtered(fd, &host, sizeof(host)), 0);
	CHECK_EQ(answers, 2);
	host.addr = htonl(0x0a000001);
	CHECK_EQ(filtered(fd, &host, sizeof(host)), 0);
	CHECK_EQ(answers, 0);
	/* Programs that would run away. */
	struct inet_diag_bc_op bad[2] = {{INET_DIAG_BC_S_EQ, 0, 12}, {}};
	CHECK_EQ(filtered(fd, bad, sizeof(bad)), EINVAL);
	bad[0].yes = 16;
	CHECK_EQ(filtered(fd, bad, sizeof(bad)), EINVAL);
	bad[0] = (struct inet_diag_bc_op){99, 8, 12};
	CHECK_EQ(filtered(fd, bad, sizeof(bad)), EINVAL);
	bad[0] = (struct inet_diag_bc_op){INET_DIAG_BC_S_EQ, 8, 10};
	CHECK_EQ(filtered(fd, bad, sizeof(bad)), EINVAL);
}

static struct unix_diag_msg *by_inode(unsigned ino)
{
	for (int i = 0; i < answers; i++) {
		struct unix_diag_msg *m = NLMSG_DATA(answer[i]);
		if (m->udiag_ino == ino)
			return m;
	}
	return NULL;
}

TEST(sock_diag_unix)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	int l = SYS(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0diag"};
	SYS(bind(l, (void *)&at, 2 + 5));
	SYS(listen(l, 6));
	SYS(write(s[0], "abc", 3));
	struct unix_diag_req r = {
		.sdiag_family = AF_UNIX, .udiag_states = ALL,
		.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO | UDIAG_SHOW_ICONS,
	};
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	TALK(fd, 0);
	struct unix_diag_msg *m = by_inode(inode(s[1]));
	CHECK(m);
	struct nlmsghdr *h = (void *)((char *)m - NLMSG_HDRLEN);
	CHECK_EQ(m->udiag_type, SOCK_STREAM);
	CHECK_EQ(m->udiag_state, 1);
	CHECK_EQ(find_u32(h, sizeof(*m), UNIX_DIAG_PEER), inode(s[0]));
	CHECK_EQ(find_u32(h, sizeof(*m), UNIX_DIAG_RQLEN), 3);
	m = by_inode(inode(l));
	CHECK(m);
	h = (void *)((char *)m - NLMSG_HDRLEN);
	CHECK_EQ(m->udiag_state, 10);
	CHECK_EQ(RTA_PAYLOAD(find(h, sizeof(*m), UNIX_DIAG_NAME)), 5);
	CHECK_MEM(RTA_DATA(find(h, sizeof(*m), UNIX_DIAG_NAME)), "\0diag", 5);
	CHECK_EQ(((struct unix_diag_rqlen *)RTA_DATA(find(h, sizeof(*m), UNIX_DIAG_RQLEN)))->udiag_wqueue, 6);
	r.udiag_states = 1 << 10;
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	TALK(fd, 0);
	CHECK(by_inode(inode(l)) && !by_inode(inode(s[0])));
	r = (struct unix_diag_req){.sdiag_family = AF_UNIX, .udiag_states = ALL, .udiag_ino = inode(l), .udiag_cookie = {~0u, ~0u}};
	request(SOCK_DIAG_BY_FAMILY, 0, &r, sizeof(r));
	TALK(fd, 0);
	CHECK_EQ(answers, 1);
	r.udiag_ino = 0;
	request(SOCK_DIAG_BY_FAMILY, 0, &r, sizeof(r));
	TALK(fd, EINVAL);
	r.udiag_ino = 0x7ffffff1;
	request(SOCK_DIAG_BY_FAMILY, 0, &r, sizeof(r));
	TALK(fd, ENOENT);
}

TEST(sock_diag_netlink)
{
	fresh();
	int fd = nl(NETLINK_SOCK_DIAG), other = nl(NETLINK_ROUTE), group = RTNLGRP_LINK;
	SYS(setsockopt(other, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_pid = 4711};
	SYS(bind(other, (void *)&at, sizeof(at)));
	CHECK_EQ(group, RTNLGRP_LINK);
	struct netlink_diag_req r = {.sdiag_family = AF_NETLINK, .sdiag_protocol = NDIAG_PROTO_ALL, .ndiag_show = NDIAG_SHOW_GROUPS | NDIAG_SHOW_MEMINFO};
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	TALK(fd, 0);
	int seen = 0;
	for (int i = 0; i < answers; i++) {
		struct netlink_diag_msg *m = NLMSG_DATA(answer[i]);
		if (m->ndiag_portid == 4711) {
			CHECK_EQ(m->ndiag_protocol, NETLINK_ROUTE);
			CHECK_EQ(m->ndiag_ino, inode(other));
			seen++;
		}
	}
	CHECK_EQ(seen, 1);
	r.sdiag_protocol = NETLINK_KOBJECT_UEVENT;
	request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &r, sizeof(r));
	TALK(fd, 0);
	for (int i = 0; i < answers; i++)
		CHECK(((struct netlink_diag_msg *)NLMSG_DATA(answer[i]))->ndiag_portid != 4711);
}
