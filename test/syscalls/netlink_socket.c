//go:build ignore

/* netlink(7): the sockets themselves: ports, groups, options, acknowledgements. */
#include "netlink.h"

static struct sockaddr_nl name(unsigned port, unsigned groups)
{
	return (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups};
}

#define SA(a) (struct sockaddr *)&(a), sizeof(a)

static struct sockaddr_nl own(int fd)
{
	struct sockaddr_nl a;
	socklen_t n = sizeof(a);
	SYS(getsockname(fd, (void *)&a, &n));
	CHECK_EQ(n, sizeof(a));
	CHECK_EQ(a.nl_family, AF_NETLINK);
	return a;
}

TEST(netlink_creation)
{
	CHECK_ERRNO(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
	CHECK_ERRNO(socket(AF_NETLINK, SOCK_SEQPACKET, NETLINK_ROUTE), ESOCKTNOSUPPORT);
	CHECK_ERRNO(socket(AF_NETLINK, SOCK_RAW, -1), EPROTONOSUPPORT);
	CHECK_ERRNO(socket(AF_NETLINK, SOCK_RAW, 32), EPROTONOSUPPORT);
	int s[2];
	CHECK_ERRNO(socketpair(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, s), EOPNOTSUPP);
	int fd = SYS(socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_ROUTE));
	int v;
	socklen_t n = sizeof(v);
	SYS(getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &n));
	CHECK_EQ(v, SOCK_DGRAM);
	SYS(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &v, &n));
	CHECK_EQ(v, NETLINK_ROUTE);
	CHECK_ERRNO(listen(fd, 1), EOPNOTSUPP);
	CHECK_ERRNO(accept(fd, NULL, NULL), EOPNOTSUPP);
	CHECK_ERRNO(shutdown(fd, SHUT_RD), EOPNOTSUPP);
}

TEST(netlink_bind)
{
	int a = nl(NETLINK_ROUTE), b = nl(NETLINK_ROUTE), c = nl(NETLINK_ROUTE);
	CHECK_EQ(own(a).nl_pid, 0);
	struct sockaddr_nl at = name(0, 0);
	SYS(bind(a, SA(at)));
	CHECK_EQ(own(a).nl_pid, getpid());
	SYS(bind(b, SA(at)));
	CHECK(own(b).nl_pid != 0 && own(b).nl_pid != own(a).nl_pid);
	at = own(a);
	CHECK_ERRNO(bind(c, SA(at)), EADDRINUSE);
	at = name(4711, 0);
	SYS(bind(c, SA(at)));
	CHECK_EQ(own(c).nl_pid, 4711);
	at = name(4712, 0);
	CHECK_ERRNO(bind(c, SA(at)), EINVAL);
	CHECK_ERRNO(bind(c, (void *)&at, sizeof(at) - 1), EINVAL);
	at.nl_family = AF_INET;
	CHECK_ERRNO(bind(c, SA(at)), EINVAL);
	/* Ports are of a protocol. */
	int d = nl(NETLINK_SOCK_DIAG);
	at = name(4711, 0);
	SYS(bind(d, SA(at)));
	SYS(close(c));
	SYS(bind(nl(NETLINK_ROUTE), SA(at)));
}

TEST(netlink_groups_by_bind)
{
	int fd = nl(NETLINK_ROUTE);
	struct sockaddr_nl at = name(0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
	SYS(bind(fd, SA(at)));
	CHECK_EQ(own(fd).nl_groups, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
	int group = RTNLGRP_IPV6_ROUTE;
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	CHECK_EQ(own(fd).nl_groups, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_ROUTE);
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &group, sizeof(group)));
	CHECK_ERRNO(bind(fd, SA(at)), EINVAL); /* not its port any more */
	at = name(own(fd).nl_pid, RTMGRP_LINK);
	SYS(bind(fd, SA(at)));
	CHECK_EQ(own(fd).nl_groups, RTMGRP_LINK);
}

TEST(netlink_membership_list)
{
	int fd = nl(NETLINK_ROUTE);
	uint32_t words[8];
	socklen_t n = sizeof(words);
	memset(words, 0xff, sizeof(words));
	SYS(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, words, &n));
	CHECK_EQ(n, 0); /* none ever was */
	for (int g = 1; g <= 33; g += 32)
		SYS(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &g, sizeof(g)));
	n = sizeof(words);
	SYS(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, words, &n));
	CHECK_EQ(n, 8);
	CHECK_EQ(words[0], 1);
	CHECK_EQ(words[1], 1);
	int bad = 0;
	CHECK_ERRNO(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &bad, sizeof(bad)), EINVAL);
	bad = 10000;
	CHECK_ERRNO(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &bad, sizeof(bad)), EINVAL);
	n = 4;
	CHECK_ERRNO(getsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, words, &n), ENOPROTOOPT);
}

TEST(netlink_options)
{
	int fd = nl(NETLINK_ROUTE);
	static const int names[] = {NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK};
	for (size_t i = 0; i < LEN(names); i++) {
		for (int on = 2; on >= 0; on--) {
			int v = -1;
			socklen_t n = sizeof(v);
			SYS(setsockopt(fd, SOL_NETLINK, names[i], &on, sizeof(on)));
			SYS(getsockopt(fd, SOL_NETLINK, names[i], &v, &n));
			CHECK_EQ(v, on != 0);
			CHECK_EQ(n, 4);
		}
	}
	int v = 1;
	socklen_t n = 3;
	CHECK_ERRNO(getsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &v, &n), EINVAL);
	n = 4;
	CHECK_ERRNO(getsockopt(fd, SOL_NETLINK, 77, &v, &n), ENOPROTOOPT);
	CHECK_ERRNO(setsockopt(fd, SOL_NETLINK, 77, &v, 4), ENOPROTOOPT);
	CHECK_ERRNO(setsockopt(fd, 5000, 1, &v, 4), ENOPROTOOPT);
	CHECK_ERRNO(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, bad_ptr(), 4), EFAULT);
	become(1000);
	CHECK_ERRNO(setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &v, 4), EPERM);
}

TEST(netlink_connect)
{
	int fd = nl(NETLINK_ROUTE);
	struct sockaddr_nl at = name(0, 0), peer;
	SYS(connect(fd, SA(at)));
	CHECK(own(fd).nl_pid != 0);
	socklen_t n = sizeof(peer);
	SYS(getpeername(fd, (void *)&peer, &n));
	CHECK_EQ(peer.nl_family, AF_NETLINK);
	CHECK_EQ(peer.nl_pid, 0);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	SYS(connect(fd, SA(none)));
	CHECK_ERRNO(connect(fd, (void *)&at, 4), EINVAL);
	CHECK_ERRNO(connect(fd, (void *)&at, 1), EINVAL);
	at.nl_family = AF_INET;
	CHECK_ERRNO(connect(fd, SA(at)), EINVAL);
	become(1000);
	at = name(4711, 0);
	CHECK_ERRNO(connect(fd, SA(at)), EPERM);
}

TEST(netlink_send_errors)
{
	int fd = nl(NETLINK_ROUTE);
	static char big[1 << 20];
	CHECK_ERRNO(send(fd, big, 0, 0), ENODATA);
	CHECK_ERRNO(send(fd, big, sizeof(big), 0), EMSGSIZE);
	CHECK_ERRNO(send(fd, big, 1, MSG_OOB), EOPNOTSUPP);
	CHECK_ERRNO(send(fd, bad_ptr(), 16, 0), EFAULT);
	struct sockaddr_nl at = name(0, 0);
	at.nl_family = AF_INET;
	CHECK_ERRNO(sendto(fd, big, 16, 0, SA(at)), EINVAL);
	at = name(4711, 0);
	CHECK_ERRNO(sendto(fd, big, 16, 0, SA(at)), ECONNREFUSED);
	CHECK_ERRNO(recv(fd, big, 16, MSG_OOB), EOPNOTSUPP);
	become(1000);
	CHECK_ERRNO(sendto(fd, big, 16, 0, SA(at)), EPERM);
}

TEST(netlink_between_sockets)
{
	int a = nl(NETLINK_ROUTE), b = nl(NETLINK_ROUTE);
	struct sockaddr_nl at = name(4711, 0), from;
	SYS(bind(a, SA(at)));
	CHECK_EQ(sendto(b, "hello", 5, 0, SA(at)), 5);
	char buf[16];
	socklen_t n = sizeof(from);
	CHECK_EQ(recvfrom(a, buf, sizeof(buf), 0, (void *)&from, &n), 5);
	CHECK_MEM(buf, "hello", 5);
	CHECK_EQ(from.nl_pid, own(b).nl_pid);
	CHECK_EQ(from.nl_groups, 0);
	/* By connect, too. */
	SYS(connect(b, SA(at)));
	CHECK_EQ(send(b, "again", 5, 0), 5);
	CHECK_EQ(recv(a, buf, sizeof(buf), 0), 5);
	CHECK_MEM(buf, "again", 5);
}

TEST(netlink_receive)
{
	int fd = nl(NETLINK_ROUTE);
	char buf[8192];
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
	struct timeval tv = {.tv_usec = 10000};
	SYS(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), 0), EAGAIN);
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	SYS(send(fd, &req, req.h.nlmsg_len, 0));
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(p.revents, POLLIN | POLLOUT);
	long whole = SYS(recv(fd, buf, 10, MSG_PEEK | MSG_TRUNC));
	CHECK(whole > 100);
	struct sockaddr_nl from;
	struct iovec iov = {buf, 10};
	struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
	CHECK_EQ(recvmsg(fd, &m, 0), 10);
	CHECK(m.msg_flags & MSG_TRUNC);
	CHECK_EQ(m.msg_namelen, sizeof(from));
	CHECK_EQ(from.nl_family, AF_NETLINK);
	CHECK_EQ(from.nl_pid, 0);
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN); /* the rest is gone */
}

TEST(netlink_control_data)
{
	int fd = nl(NETLINK_ROUTE), on = 1;
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_PKTINFO, &on, sizeof(on)));
	SYS(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	SYS(send(fd, &req, req.h.nlmsg_len, 0));
	char buf[8192], control[256];
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	SYS(recvmsg(fd, &m, 0));
	int creds = 0, info = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred *u = (void *)CMSG_DATA(c);
			creds = u->pid == 0 && u->uid == 0 && u->gid == 0;
		}
		if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_PKTINFO)
			info = ((struct nl_pktinfo *)CMSG_DATA(c))->group == 0;
	}
	CHECK(creds);
	CHECK(info);
}

TEST(netlink_acknowledgement)
{
	int fd = nl(NETLINK_ROUTE);
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	TALK(fd, 0);
	CHECK_EQ(answers, 1);
	CHECK_EQ(ending->nlmsg_len, NLMSG_LENGTH(sizeof(struct nlmsgerr)));
	CHECK_EQ(ending->nlmsg_flags, NLM_F_CAPPED);
	struct nlmsgerr *e = NLMSG_DATA(ending);
	CHECK_EQ(e->msg.nlmsg_type, RTM_GETLINK);
	CHECK_EQ(e->msg.nlmsg_seq, req.h.nlmsg_seq);
	/* An error comes without being asked for, with the request. */
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 9999}, sizeof(struct ifinfomsg));
	SYS(send(fd, &req, req.h.nlmsg_len, 0));
	CHECK_EQ(receive(fd), ENODEV);
	CHECK_EQ(ending->nlmsg_len, NLMSG_LENGTH(sizeof(struct nlmsgerr)) + req.h.nlmsg_len - NLMSG_HDRLEN);
	CHECK_EQ(ending->nlmsg_flags & NLM_F_CAPPED, 0);
	int on = 1;
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)));
	TALK(fd, ENODEV);
	CHECK_EQ(ending->nlmsg_len, NLMSG_LENGTH(sizeof(struct nlmsgerr)));
	CHECK_EQ(ending->nlmsg_flags, NLM_F_CAPPED);
}

TEST(netlink_extended_acknowledgement)
{
	int fd = nl(NETLINK_ROUTE), on = 1;
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)));
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)));
	/* An attribute that is too short: where it is, is told. */
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	attr(IFLA_EXT_MASK, "x", 1);
	TALK(fd, ERANGE);
	CHECK(ending->nlmsg_flags & NLM_F_ACK_TLVS);
	CHECK_EQ(find_u32(ending, sizeof(struct nlmsgerr), NLMSGERR_ATTR_OFFS), NLMSG_LENGTH(sizeof(struct ifinfomsg)));
	struct rtattr *words = find(ending, sizeof(struct nlmsgerr), NLMSGERR_ATTR_MSG);
	CHECK(words && RTA_PAYLOAD(words) > 1);
	/* Success has nothing to add. */
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	TALK(fd, 0);
	CHECK_EQ(ending->nlmsg_flags, NLM_F_CAPPED);
}

TEST(netlink_unknown_requests)
{
	int fd = nl(NETLINK_ROUTE);
	request(RTM_MAX + 1, 0, &(struct ifinfomsg){}, sizeof(struct ifinfomsg));
	TALK(fd, EOPNOTSUPP);
	/* What is no request, or a control message, is only acknowledged. */
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 9999}, sizeof(struct ifinfomsg));
	req.h.nlmsg_flags = 0;
	TALK(fd, 0);
	request(NLMSG_NOOP, 0, "", 0);
	TALK(fd, 0);
	/* A request without a family is none. */
	request(RTM_GETLINK, 0, "", 0);
	TALK(fd, 0);
	CHECK_EQ(answers, 0);
	request(RTM_GETLINK, 0, "\0\0\0\0", 4);
	TALK(fd, EINVAL);
}

TEST(netlink_broken_messages)
{
	int fd = nl(NETLINK_ROUTE);
	char buf[64];
	struct nlmsghdr h = {.nlmsg_len = 100, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
	CHECK_EQ(send(fd, &h, sizeof(h), 0), (long)sizeof(h)); /* longer than it is */
	h.nlmsg_len = 8;
	CHECK_EQ(send(fd, &h, sizeof(h), 0), (long)sizeof(h)); /* shorter than its header */
	CHECK_EQ(send(fd, &h, 5, 0), 5);
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
}

TEST(netlink_two_requests_at_once)
{
	int fd = nl(NETLINK_ROUTE);
	char buf[256] = {};
	request(RTM_GETLINK, NLM_F_ACK, &(struct ifinfomsg){.ifi_index = 9999}, sizeof(struct ifinfomsg));
	size_t n = req.h.nlmsg_len;
	memcpy(buf, &req, n);
	memcpy(buf + n, &req, n);
	CHECK_EQ(send(fd, buf, 2 * n, 0), (long)(2 * n));
	CHECK_EQ(receive(fd), ENODEV);
	CHECK_EQ(receive(fd), ENODEV);
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
}

TEST(netlink_overrun)
{
	int fd = nl(NETLINK_ROUTE), small = 1;
	SYS(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	request(RTM_GETLINK, NLM_F_ACK, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	for (int i = 0; i < 50; i++)
		SYS(send(fd, &req, req.h.nlmsg_len, 0));
	char buf[8192];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLERR);
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), ENOBUFS); /* once */
	int more = 0;
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		more++;
	CHECK(more > 0 && more < 100);
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
}

TEST(netlink_uevent_is_silent)
{
	int fd = nl(NETLINK_KOBJECT_UEVENT);
	struct sockaddr_nl at = name(0, 1);
	SYS(bind(fd, SA(at)));
	char buf[64];
	CHECK_ERRNO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
	CHECK_EQ(own(fd).nl_groups, 1);
}

TEST(netlink_group_of_sockets)
{
	int a = nl(NETLINK_KOBJECT_UEVENT), b = nl(NETLINK_KOBJECT_UEVENT);
	struct sockaddr_nl at = name(0, 2), from;
	SYS(bind(a, SA(at)));
	CHECK_EQ(sendto(b, "told", 4, 0, SA(at)), 4);
	char buf[16];
	socklen_t n = sizeof(from);
	CHECK_EQ(recvfrom(a, buf, sizeof(buf), 0, (void *)&from, &n), 4);
	CHECK_EQ(from.nl_groups, 2);
	CHECK_EQ(from.nl_pid, own(b).nl_pid);
	CHECK_ERRNO(recv(b, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
}
