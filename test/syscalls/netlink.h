/*
 * What tests of netlink(7) share: requests, and their answers taken apart.
 *
 *   int fd = nl(NETLINK_ROUTE);
 *   request(RTM_GETLINK, NLM_F_DUMP, &(struct ifinfomsg){}, sizeof(struct ifinfomsg));
 *   CHECK_EQ(talk(fd), 0);                 // the errno at the end of the answer
 *   for (int i = 0; i < answers; i++) … answer[i] …
 */
#ifndef NETLINK_TEST_H
#define NETLINK_TEST_H

#include "test.h"
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#ifndef NETLINK_EXT_ACK
#define NETLINK_EXT_ACK 11
#endif
#ifndef NETLINK_GET_STRICT_CHK
#define NETLINK_GET_STRICT_CHK 12
#endif
#define UNUSED __attribute__((unused))

static union {
	struct nlmsghdr h;
	char b[8192];
} req;
static char answer_memory[1 << 18];
static struct nlmsghdr *answer[2048];
static int answers;
static struct nlmsghdr *ending; /* the acknowledgement, or the end of a dump */
static unsigned sequence;

UNUSED static int nl(int protocol) { return SYS(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)); }

/* A network namespace of the case's own, with lo up. */
static void link_flags(int fd, int index, unsigned flags, unsigned change);
UNUSED static void fresh(void)
{
	SYS(unshare(CLONE_NEWNET));
	int fd = nl(NETLINK_ROUTE);
	link_flags(fd, 1, IFF_UP, IFF_UP);
	SYS(close(fd));
}

UNUSED static void request(int type, int flags, const void *head, size_t n)
{
	memset(&req, 0, sizeof(req));
	req.h.nlmsg_len = NLMSG_LENGTH(n);
	req.h.nlmsg_type = type;
	req.h.nlmsg_flags = NLM_F_REQUEST | flags;
	req.h.nlmsg_seq = ++sequence;
	memcpy(NLMSG_DATA(&req.h), head, n);
}

UNUSED static void attr(int type, const void *value, size_t n)
{
	struct rtattr *a = (void *)(req.b + NLMSG_ALIGN(req.h.nlmsg_len));
	a->rta_type = type;
	a->rta_len = RTA_LENGTH(n);
	memcpy(RTA_DATA(a), value, n);
	req.h.nlmsg_len = NLMSG_ALIGN(req.h.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

UNUSED static void attr_u32(int type, uint32_t v) { attr(type, &v, 4); }
UNUSED static void attr_str(int type, const char *s) { attr(type, s, strlen(s) + 1); }
UNUSED static void attr_ip(int type, const char *text)
{
	unsigned char b[16];
	if (inet_pton(AF_INET, text, b) == 1)
		attr(type, b, 4);
	else if (inet_pton(AF_INET6, text, b) == 1)
		attr(type, b, 16);
	else
		FAIL("%s is no address", text);
}

/* Opens an attribute of attributes; close_nest gets what it returns. */
UNUSED static struct rtattr *nest(int type)
{
	struct rtattr *a = (void *)(req.b + NLMSG_ALIGN(req.h.nlmsg_len));
	attr(type, "", 0);
	return a;
}
UNUSED static void close_nest(struct rtattr *a) { a->rta_len = req.b + req.h.nlmsg_len - (char *)a; }

/* Receives up to the acknowledgement or the end of a dump; its error is the result. */
UNUSED static int receive(int fd)
{
	size_t used = 0;
	answers = 0;
	ending = NULL;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (SYS(poll(&p, 1, 5000)) == 0)
			FAIL("no answer to request %d", req.h.nlmsg_type);
		ssize_t n = SYS(recv(fd, answer_memory + used, sizeof(answer_memory) - used, 0));
		struct nlmsghdr *h = (void *)(answer_memory + used);
		used += NLMSG_ALIGN(n);
		for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			CHECK_EQ(h->nlmsg_seq, req.h.nlmsg_seq);
			if (h->nlmsg_type == NLMSG_ERROR) {
				ending = h;
				return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
			}
			if (h->nlmsg_type == NLMSG_DONE) {
				ending = h;
				return -*(int *)NLMSG_DATA(h);
			}
			CHECK(answers < (int)LEN(answer));
			answer[answers++] = h;
		}
	}
}

/* Sends the request and receives its answer. */
UNUSED static int talk(int fd)
{
	req.h.nlmsg_flags |= NLM_F_ACK;
	CHECK_EQ(send(fd, &req, req.h.nlmsg_len, 0), (long)req.h.nlmsg_len);
	return receive(fd);
}

#define TALK(fd, want)                                                               \
	do {                                                                         \
		int ta_e_ = talk(fd);                                                \
		if (ta_e_ != (want))                                                 \
			FAIL("request %d: %s, want %s", req.h.nlmsg_type, strerror(ta_e_), strerror(want)); \
	} while (0)

/* The attribute of type behind a header of size bytes, or NULL. */
UNUSED static struct rtattr *find(struct nlmsghdr *h, size_t size, int type)
{
	struct rtattr *a = (void *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(size));
	int n = h->nlmsg_len - NLMSG_LENGTH(size) - (NLMSG_ALIGN(size) - size);
	for (; RTA_OK(a, n); a = RTA_NEXT(a, n))
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
	return NULL;
}

UNUSED static uint32_t find_u32(struct nlmsghdr *h, size_t size, int type)
{
	struct rtattr *a = find(h, size, type);
	if (!a || RTA_PAYLOAD(a) < 4)
		FAIL("attribute %d is missing", type);
	return *(uint32_t *)RTA_DATA(a);
}

UNUSED static int is_ip(struct rtattr *a, const char *text)
{
	unsigned char b[16];
	size_t n = inet_pton(AF_INET, text, b) == 1 ? 4 : inet_pton(AF_INET6, text, b) == 1 ? 16 : 0;
	return a && n && RTA_PAYLOAD(a) == n && memcmp(RTA_DATA(a), b, n) == 0;
}

static void link_flags(int fd, int index, unsigned flags, unsigned change)
{
	struct ifinfomsg i = {.ifi_index = index, .ifi_flags = flags, .ifi_change = change};
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	TALK(fd, 0);
}

/* An interface beside lo, up: a dummy, or where the kernel has none, one end of a veth. */
UNUSED static int second(int fd)
{
	for (int veth = 0; veth < 2; veth++) {
		request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &(struct ifinfomsg){}, sizeof(struct ifinfomsg));
		attr_str(IFLA_IFNAME, "two");
		struct rtattr *info = nest(IFLA_LINKINFO);
		attr_str(IFLA_INFO_KIND, veth ? "veth" : "dummy");
		close_nest(info);
		int e = talk(fd);
		if (e == 0) {
			int index = if_nametoindex("two");
			CHECK(index > 1);
			if (veth)
				link_flags(fd, if_nametoindex("veth0"), IFF_UP, IFF_UP);
			link_flags(fd, index, IFF_UP, IFF_UP);
			return index;
		}
		CHECK_EQ(e, EOPNOTSUPP);
	}
	SKIP("no interface can be made");
}

UNUSED static void address(int fd, int type, int flags, const char *ip, int bits, int index, int want)
{
	struct ifaddrmsg i = {.ifa_family = strchr(ip, ':') ? AF_INET6 : AF_INET, .ifa_prefixlen = bits, .ifa_index = index};
	request(type, flags, &i, sizeof(i));
	attr_ip(IFA_LOCAL, ip);
	attr_ip(IFA_ADDRESS, ip);
	if (i.ifa_family == AF_INET6)
		attr_u32(IFA_FLAGS, IFA_F_NODAD);
	TALK(fd, want);
}

/* A route: gateway and device may be NULL and 0. */
UNUSED static void route(int fd, int type, int flags, const char *dst, int bits, const char *via, int oif, int metric, int want)
{
	int v6 = strchr(dst, ':') != NULL;
	struct rtmsg r = {
		.rtm_family = v6 ? AF_INET6 : AF_INET, .rtm_dst_len = bits, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
		.rtm_scope = type == RTM_DELROUTE ? RT_SCOPE_NOWHERE : via || v6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK, .rtm_type = RTN_UNICAST,
	};
	request(type, flags, &r, sizeof(r));
	if (bits)
		attr_ip(RTA_DST, dst);
	if (via)
		attr_ip(RTA_GATEWAY, via);
	if (oif)
		attr_u32(RTA_OIF, oif);
	if (metric)
		attr_u32(RTA_PRIORITY, metric);
	TALK(fd, want);
}

#endif
