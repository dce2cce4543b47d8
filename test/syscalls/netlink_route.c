//go:build ignore

/* rtnetlink(7): links, addresses, routes, neighbours, rules, and who hears of changes. */
#include "netlink.h"
#include <ifaddrs.h>

static struct nlmsghdr *link_of(int fd, int index)
{
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = index}, sizeof(struct ifinfomsg));
	TALK(fd, 0);
	CHECK_EQ(answers, 1);
	return answer[0];
}

TEST(rtnetlink_lo)
{
	fresh();
	int fd = nl(NETLINK_ROUTE);
	struct nlmsghdr *h = link_of(fd, 1);
	struct ifinfomsg *i = NLMSG_DATA(h);
	CHECK_EQ(h->nlmsg_type, RTM_NEWLINK);
	CHECK_EQ(i->ifi_type, 772); /* ARPHRD_LOOPBACK */
	CHECK_EQ(i->ifi_flags, IFF_UP | IFF_LOOPBACK | IFF_RUNNING | 0x10000);
	CHECK_STR((char *)RTA_DATA(find(h, sizeof(*i), IFLA_IFNAME)), "lo");
	CHECK_EQ(find_u32(h, sizeof(*i), IFLA_MTU), 65536);
	CHECK_EQ(RTA_PAYLOAD(find(h, sizeof(*i), IFLA_ADDRESS)), 6);
	CHECK_EQ(RTA_PAYLOAD(find(h, sizeof(*i), IFLA_STATS)), 96);
	CHECK(RTA_PAYLOAD(find(h, sizeof(*i), IFLA_STATS64)) >= 192);
	CHECK(find(h, sizeof(*i), IFLA_AF_SPEC));
	CHECK_STR((char *)RTA_DATA(find(h, sizeof(*i), IFLA_QDISC)), "noqueue");
	CHECK_EQ(*(char *)RTA_DATA(find(h, sizeof(*i), IFLA_OPERSTATE)), 0);
}

TEST(rtnetlink_link_look_up)
{
	fresh();
	int fd = nl(NETLINK_ROUTE);
	struct ifinfomsg none = {};
	request(RTM_GETLINK, 0, &none, sizeof(none));
	attr_str(IFLA_IFNAME, "lo");
	TALK(fd, 0);
	CHECK_EQ(((struct ifinfomsg *)NLMSG_DATA(answer[0]))->ifi_index, 1);
	request(RTM_GETLINK, 0, &none, sizeof(none));
	attr_str(IFLA_IFNAME, "nobody");
	TALK(fd, ENODEV);
	request(RTM_GETLINK, 0, &none, sizeof(none));
	TALK(fd, EINVAL);
	request(RTM_GETLINK, 0, &none, sizeof(none));
	attr_str(IFLA_IFNAME, "a name that is too long for one");
	TALK(fd, ERANGE);
	none.ifi_index = 12345;
	request(RTM_GETLINK, 0, &none, sizeof(none));
	TALK(fd, ENODEV);
}

TEST(rtnetlink_link_dump)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd), seen = 0;
	for (int old = 0; old < 2; old++) {
		/* struct rtgenmsg will do. */
		request(RTM_GETLINK, NLM_F_DUMP, &(struct ifinfomsg){}, old ? 1 : sizeof(struct ifinfomsg));
		TALK(fd, 0);
		CHECK_EQ(ending->nlmsg_type, NLMSG_DONE);
		for (int i = 0; i < answers; i++) {
			CHECK_EQ(answer[i]->nlmsg_type, RTM_NEWLINK);
			CHECK(answer[i]->nlmsg_flags & NLM_F_MULTI);
			int index = ((struct ifinfomsg *)NLMSG_DATA(answer[i]))->ifi_index;
			seen += index == 1 || index == two;
		}
	}
	CHECK_EQ(seen, 4);
	request(RTM_GETLINK, NLM_F_DUMP, &(struct ifinfomsg){.ifi_family = AF_BRIDGE}, sizeof(struct ifinfomsg));
	TALK(fd, 0);
	CHECK_EQ(answers, 0);
}

TEST(rtnetlink_link_changes)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	struct ifinfomsg i = {.ifi_index = two};
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	attr_u32(IFLA_MTU, 1400);
	attr(IFLA_ADDRESS, "\2\1\2\3\4\5", 6);
	TALK(fd, 0);
	struct nlmsghdr *h = link_of(fd, two);
	CHECK_EQ(find_u32(h, sizeof(i), IFLA_MTU), 1400);
	CHECK_MEM(RTA_DATA(find(h, sizeof(i), IFLA_ADDRESS)), "\2\1\2\3\4\5", 6);
	link_flags(fd, two, 0, IFF_UP);
	request(RTM_SETLINK, 0, &i, sizeof(i));
	attr_str(IFLA_IFNAME, "three");
	TALK(fd, 0);
	CHECK_EQ(if_nametoindex("three"), two);
	CHECK_EQ(((struct ifinfomsg *)NLMSG_DATA(link_of(fd, two)))->ifi_flags & (IFF_UP | IFF_RUNNING), 0);
	for (int promisc = 1; promisc >= 0; promisc--) {
		link_flags(fd, two, promisc ? IFF_PROMISC : 0, IFF_PROMISC);
		CHECK_EQ(((struct ifinfomsg *)NLMSG_DATA(link_of(fd, two)))->ifi_flags & (IFF_UP | IFF_PROMISC), promisc ? IFF_PROMISC : 0);
	}
}

TEST(rtnetlink_link_change_errors)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	struct ifinfomsg i = {.ifi_index = two};
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	attr_u32(IFLA_MTU, 1);
	TALK(fd, EINVAL);
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	attr_u32(IFLA_MTU, 100000);
	TALK(fd, EINVAL);
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	attr(IFLA_ADDRESS, "\2\1", 2);
	TALK(fd, EINVAL);
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	attr(IFLA_ADDRESS, "\3\1\2\3\4\5", 6); /* a group */
	TALK(fd, EADDRNOTAVAIL);
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	attr_str(IFLA_IFNAME, "a/b");
	TALK(fd, EINVAL);
	request(RTM_NEWLINK, 0, &i, sizeof(i));
	attr_str(IFLA_IFNAME, "lo");
	TALK(fd, EEXIST);
	request(RTM_NEWLINK, NLM_F_EXCL, &i, sizeof(i));
	TALK(fd, EEXIST);
	i.ifi_index = 12345;
	request(RTM_SETLINK, 0, &i, sizeof(i));
	TALK(fd, ENODEV);
	request(RTM_DELLINK, 0, &i, sizeof(i));
	TALK(fd, ENODEV);
	i.ifi_index = 1;
	request(RTM_DELLINK, 0, &i, sizeof(i));
	TALK(fd, EOPNOTSUPP);
	i.ifi_index = 0;
	request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &i, sizeof(i));
	attr_str(IFLA_IFNAME, "x0");
	struct rtattr *info = nest(IFLA_LINKINFO);
	attr_str(IFLA_INFO_KIND, "nonsense");
	close_nest(info);
	TALK(fd, EOPNOTSUPP);
}

TEST(rtnetlink_link_deleted)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	request(RTM_DELLINK, 0, &(struct ifinfomsg){.ifi_index = two}, sizeof(struct ifinfomsg));
	TALK(fd, 0);
	CHECK_EQ(if_nametoindex("two"), 0);
	request(RTM_GETADDR, NLM_F_DUMP, &(struct ifaddrmsg){.ifa_family = AF_INET}, sizeof(struct ifaddrmsg));
	TALK(fd, 0);
	CHECK_EQ(answers, 1);
}

static struct nlmsghdr *shown(int fd, const char *ip)
{
	request(RTM_GETADDR, NLM_F_DUMP, &(struct ifaddrmsg){}, sizeof(struct ifaddrmsg));
	TALK(fd, 0);
	for (int i = 0; i < answers; i++)
		if (is_ip(find(answer[i], sizeof(struct ifaddrmsg), IFA_LOCAL), ip) ||
		    is_ip(find(answer[i], sizeof(struct ifaddrmsg), IFA_ADDRESS), ip))
			return answer[i];
	return NULL;
}

TEST(rtnetlink_addresses_of_lo)
{
	fresh();
	int fd = nl(NETLINK_ROUTE);
	struct nlmsghdr *h = shown(fd, "127.0.0.1");
	CHECK(h);
	struct ifaddrmsg *i = NLMSG_DATA(h);
	CHECK_EQ(i->ifa_prefixlen, 8);
	CHECK_EQ(i->ifa_scope, RT_SCOPE_HOST);
	CHECK_EQ(i->ifa_index, 1);
	CHECK(i->ifa_flags & IFA_F_PERMANENT);
	CHECK_STR((char *)RTA_DATA(find(h, sizeof(*i), IFA_LABEL)), "lo");
	CHECK(!find(h, sizeof(*i), IFA_BROADCAST));
	struct ifa_cacheinfo *c = RTA_DATA(find(h, sizeof(*i), IFA_CACHEINFO));
	CHECK_EQ(c->ifa_valid, 0xffffffff);
	h = shown(fd, "::1");
	CHECK(h);
	i = NLMSG_DATA(h);
	CHECK_EQ(i->ifa_prefixlen, 128);
	CHECK_EQ(i->ifa_scope, RT_SCOPE_HOST);
	CHECK(!find(h, sizeof(*i), IFA_LABEL));
}

TEST(rtnetlink_address_changes)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.1", 24, two, 0);
	address(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.2", 24, two, 0);
	address(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.1", 24, two, EEXIST);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, EEXIST);
	address(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, "10.1.0.1", 24, two, 0);
	CHECK_EQ(((struct ifaddrmsg *)NLMSG_DATA(shown(fd, "10.1.0.1")))->ifa_flags & IFA_F_SECONDARY, 0);
	CHECK(((struct ifaddrmsg *)NLMSG_DATA(shown(fd, "10.1.0.2")))->ifa_flags & IFA_F_SECONDARY);
	address(fd, RTM_DELADDR, 0, "10.1.0.3", 24, two, EADDRNOTAVAIL);
	address(fd, RTM_DELADDR, 0, "10.1.0.2", 16, two, EADDRNOTAVAIL);
	address(fd, RTM_DELADDR, 0, "10.1.0.2", 24, two, 0);
	CHECK(!shown(fd, "10.1.0.2"));
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "fd01::1", 64, two, 0);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "fd01::1", 64, two, EEXIST);
	struct ifaddrmsg *i = NLMSG_DATA(shown(fd, "fd01::1"));
	CHECK_EQ(i->ifa_flags, IFA_F_PERMANENT | IFA_F_NODAD);
	CHECK_EQ(i->ifa_scope, RT_SCOPE_UNIVERSE);
	address(fd, RTM_DELADDR, 0, "fd01::2", 64, two, EADDRNOTAVAIL);
	address(fd, RTM_DELADDR, 0, "fd01::1", 64, two, 0);
	CHECK(!shown(fd, "fd01::1"));
	/* The address can be used, too. */
	struct sockaddr_in at = {.sin_family = AF_INET};
	inet_pton(AF_INET, "10.1.0.1", &at.sin_addr);
	SYS(bind(SYS(socket(AF_INET, SOCK_DGRAM, 0)), (void *)&at, sizeof(at)));
}

TEST(rtnetlink_address_errors)
{
	fresh();
	int fd = nl(NETLINK_ROUTE);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 33, 1, EINVAL);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, 12345, ENODEV);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "ff02::7", 64, 1, EADDRNOTAVAIL);
	struct ifaddrmsg i = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = 1};
	request(RTM_NEWADDR, NLM_F_CREATE, &i, sizeof(i));
	TALK(fd, EINVAL); /* no address */
	request(RTM_NEWADDR, NLM_F_CREATE, &i, sizeof(i));
	attr_ip(IFA_LOCAL, "10.1.0.1");
	struct ifa_cacheinfo c = {.ifa_prefered = 20, .ifa_valid = 10};
	attr(IFA_CACHEINFO, &c, sizeof(c));
	TALK(fd, EINVAL);
	become(1000);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, 1, EPERM);
	CHECK(shown(fd, "127.0.0.1")); /* looking is free */
}

TEST(rtnetlink_address_lifetime)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	struct ifaddrmsg i = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = two};
	request(RTM_NEWADDR, NLM_F_CREATE, &i, sizeof(i));
	attr_ip(IFA_LOCAL, "10.1.0.1");
	struct ifa_cacheinfo c = {.ifa_prefered = 100, .ifa_valid = 200};
	attr(IFA_CACHEINFO, &c, sizeof(c));
	TALK(fd, 0);
	struct nlmsghdr *h = shown(fd, "10.1.0.1");
	struct ifa_cacheinfo *got = RTA_DATA(find(h, sizeof(i), IFA_CACHEINFO));
	CHECK(got->ifa_prefered > 90 && got->ifa_prefered <= 100);
	CHECK(got->ifa_valid > 190 && got->ifa_valid <= 200);
	CHECK_EQ(find_u32(h, sizeof(i), IFA_FLAGS) & IFA_F_PERMANENT, 0);
}

TEST(rtnetlink_getifaddrs)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	struct ifaddrs *list;
	SYS(getifaddrs(&list));
	int lo = 0, mine = 0;
	for (struct ifaddrs *a = list; a; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET)
			continue;
		uint32_t ip = ntohl(((struct sockaddr_in *)a->ifa_addr)->sin_addr.s_addr);
		uint32_t mask = ntohl(((struct sockaddr_in *)a->ifa_netmask)->sin_addr.s_addr);
		lo += ip == 0x7f000001 && mask == 0xff000000 && strcmp(a->ifa_name, "lo") == 0;
		mine += ip == 0x0a010001 && mask == 0xffffff00 && strcmp(a->ifa_name, "two") == 0;
	}
	CHECK_EQ(lo, 1);
	CHECK_EQ(mine, 1);
	freeifaddrs(list);
}

/* How many routes to dst/bits a dump of a table shows; the last one is in answer[found]. */
static int found;
static int count_routes(int fd, int family, int table, const char *dst, int bits)
{
	request(RTM_GETROUTE, NLM_F_DUMP, &(struct rtmsg){.rtm_family = family}, sizeof(struct rtmsg));
	TALK(fd, 0);
	int n = 0;
	for (int i = 0; i < answers; i++) {
		struct rtmsg *r = NLMSG_DATA(answer[i]);
		struct rtattr *a = find(answer[i], sizeof(*r), RTA_DST);
		if (r->rtm_table == table && r->rtm_dst_len == bits && (bits == 0 ? !a : is_ip(a, dst))) {
			found = i;
			n++;
		}
	}
	return n;
}

TEST(rtnetlink_routes_of_addresses)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_LOCAL, "127.0.0.0", 8), 1);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_LOCAL, "10.1.0.1", 32), 1);
	struct rtmsg *r = NLMSG_DATA(answer[found]);
	CHECK_EQ(r->rtm_type, RTN_LOCAL);
	CHECK_EQ(r->rtm_scope, RT_SCOPE_HOST);
	CHECK_EQ(r->rtm_protocol, RTPROT_KERNEL);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_LOCAL, "10.1.0.255", 32), 1);
	CHECK_EQ(((struct rtmsg *)NLMSG_DATA(answer[found]))->rtm_type, RTN_BROADCAST);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, "10.1.0.0", 24), 1);
	r = NLMSG_DATA(answer[found]);
	CHECK_EQ(r->rtm_scope, RT_SCOPE_LINK);
	CHECK_EQ(find_u32(answer[found], sizeof(*r), RTA_OIF), two);
	CHECK(is_ip(find(answer[found], sizeof(*r), RTA_PREFSRC), "10.1.0.1"));
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "fd01::1", 64, two, 0);
	for (long long end = now_ms() + 3000; count_routes(fd, AF_INET6, RT_TABLE_LOCAL, "fd01::1", 128) == 0 && now_ms() < end;)
		sleep_ms(10); /* Linux takes its time */
	CHECK_EQ(count_routes(fd, AF_INET6, RT_TABLE_LOCAL, "fd01::1", 128), 1);
	CHECK_EQ(count_routes(fd, AF_INET6, RT_TABLE_MAIN, "fd01::", 64), 1);
	CHECK_EQ(find_u32(answer[found], sizeof(*r), RTA_PRIORITY), 256);
	address(fd, RTM_DELADDR, 0, "10.1.0.1", 24, two, 0);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, "10.1.0.0", 24), 0);
}

TEST(rtnetlink_route_changes)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	const int add = NLM_F_CREATE | NLM_F_EXCL;
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	route(fd, RTM_NEWROUTE, add, "0.0.0.0", 0, "10.1.0.2", 0, 0, 0);
	route(fd, RTM_NEWROUTE, add, "0.0.0.0", 0, "10.1.0.3", 0, 0, EEXIST);
	route(fd, RTM_NEWROUTE, add, "0.0.0.0", 0, "10.1.0.3", 0, 9, 0);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, "", 0), 2);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "0.0.0.0", 0, "10.1.0.4", 0, 0, 0);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, "", 0), 2);
	route(fd, RTM_NEWROUTE, NLM_F_REPLACE, "11.0.0.0", 8, "10.1.0.4", 0, 0, ENOENT);
	route(fd, RTM_NEWROUTE, 0, "11.0.0.0", 8, "10.1.0.4", 0, 0, ENOENT);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, "11.0.0.0", 8, "10.1.0.4", 0, 0, 0);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, "11.0.0.0", 8, "10.1.0.5", 0, 0, 0);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, "11.0.0.0", 8, "10.1.0.5", 0, 0, EEXIST);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, "11.0.0.0", 8), 2);
	route(fd, RTM_DELROUTE, 0, "11.0.0.0", 8, "10.1.0.9", 0, 0, ESRCH);
	route(fd, RTM_DELROUTE, 0, "11.0.0.0", 8, "10.1.0.5", 0, 0, 0);
	route(fd, RTM_DELROUTE, 0, "11.0.0.0", 8, NULL, 0, 0, 0);
	route(fd, RTM_DELROUTE, 0, "11.0.0.0", 8, NULL, 0, 0, ESRCH);
	route(fd, RTM_DELROUTE, 0, "0.0.0.0", 0, NULL, 0, 9, 0);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, "", 0), 1);
	CHECK(is_ip(find(answer[found], sizeof(struct rtmsg), RTA_GATEWAY), "10.1.0.4"));
	/* A link that goes down takes its routes along. */
	link_flags(fd, two, 0, IFF_UP);
	CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, "", 0), 0);
}

TEST(rtnetlink_route_changes_v6)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	const int add = NLM_F_CREATE | NLM_F_EXCL;
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "fd01::1", 64, two, 0);
	route(fd, RTM_NEWROUTE, add, "::", 0, "fd01::2", two, 0, 0);
	CHECK_EQ(count_routes(fd, AF_INET6, RT_TABLE_MAIN, "", 0), 1);
	CHECK_EQ(find_u32(answer[found], sizeof(struct rtmsg), RTA_PRIORITY), 1024);
	CHECK_EQ(*(char *)RTA_DATA(find(answer[found], sizeof(struct rtmsg), RTA_PREF)), 0);
	route(fd, RTM_NEWROUTE, add, "::", 0, "fd01::3", two, 0, EEXIST);
	route(fd, RTM_NEWROUTE, add, "::", 0, "fd01::3", two, 77, 0);
	route(fd, RTM_NEWROUTE, NLM_F_REPLACE, "fd02::", 64, "fd01::3", two, 0, ENOENT);
	route(fd, RTM_DELROUTE, 0, "::", 0, NULL, 0, 77, 0);
	route(fd, RTM_DELROUTE, 0, "fd02::", 64, NULL, 0, 0, ESRCH);
	CHECK_EQ(count_routes(fd, AF_INET6, RT_TABLE_MAIN, "", 0), 1);
}

TEST(rtnetlink_route_errors)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.0", 8, "10.9.0.1", 0, 0, ENETUNREACH);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.0", 8, NULL, 12345, 0, ENODEV);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.0", 8, NULL, 0, 0, ENODEV);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.1", 8, "10.1.0.2", 0, 0, EINVAL);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.0", 33, "10.1.0.2", 0, 0, EINVAL);
	struct rtmsg r = {.rtm_family = AF_INET, .rtm_dst_len = 8, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST};
	request(RTM_NEWROUTE, NLM_F_CREATE, &r, sizeof(r));
	attr_ip(RTA_DST, "11.0.0.0");
	attr_ip(RTA_GATEWAY, "10.1.0.2");
	attr_ip(RTA_PREFSRC, "10.7.0.1");
	TALK(fd, EINVAL);
	link_flags(fd, two, 0, IFF_UP);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.0", 8, NULL, two, 0, ENETDOWN);
	become(1000);
	route(fd, RTM_DELROUTE, 0, "10.1.0.0", 24, NULL, 0, 0, EPERM);
}

TEST(rtnetlink_routes_to_nowhere)
{
	fresh();
	int fd = nl(NETLINK_ROUTE);
	static const struct {
		int type, errno_;
	} kinds[] = {{RTN_UNREACHABLE, EHOSTUNREACH}, {RTN_PROHIBIT, EACCES}, {RTN_BLACKHOLE, EINVAL}};
	for (size_t i = 0; i < LEN(kinds); i++) {
		struct rtmsg r = {.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_table = RT_TABLE_MAIN, .rtm_type = kinds[i].type};
		char ip[20];
		snprintf(ip, sizeof(ip), "11.0.0.%zu", i);
		request(RTM_NEWROUTE, NLM_F_CREATE, &r, sizeof(r));
		attr_ip(RTA_DST, ip);
		TALK(fd, 0);
		CHECK_EQ(count_routes(fd, AF_INET, RT_TABLE_MAIN, ip, 32), 1);
		CHECK_EQ(((struct rtmsg *)NLMSG_DATA(answer[found]))->rtm_type, kinds[i].type);
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(1)};
		inet_pton(AF_INET, ip, &to.sin_addr);
		CHECK_ERRNO(connect(SYS(socket(AF_INET, SOCK_DGRAM, 0)), (void *)&to, sizeof(to)), kinds[i].errno_);
	}
}

static int look_up(int fd, const char *ip, unsigned flags)
{
	int v6 = strchr(ip, ':') != NULL;
	struct rtmsg r = {.rtm_family = v6 ? AF_INET6 : AF_INET, .rtm_dst_len = v6 ? 128 : 32, .rtm_flags = flags};
	request(RTM_GETROUTE, 0, &r, sizeof(r));
	attr_ip(RTA_DST, ip);
	return talk(fd);
}

TEST(rtnetlink_route_look_up)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.0", 8, "10.1.0.2", 0, 0, 0);
	CHECK_EQ(look_up(fd, "11.1.2.3", 0), 0);
	CHECK_EQ(answers, 1);
	struct rtmsg *r = NLMSG_DATA(answer[0]);
	CHECK_EQ(answer[0]->nlmsg_type, RTM_NEWROUTE);
	CHECK_EQ(r->rtm_dst_len, 32);
	CHECK_EQ(r->rtm_type, RTN_UNICAST);
	CHECK(r->rtm_flags & RTM_F_CLONED);
	CHECK(is_ip(find(answer[0], sizeof(*r), RTA_DST), "11.1.2.3"));
	CHECK(is_ip(find(answer[0], sizeof(*r), RTA_GATEWAY), "10.1.0.2"));
	CHECK(is_ip(find(answer[0], sizeof(*r), RTA_PREFSRC), "10.1.0.1"));
	CHECK_EQ(find_u32(answer[0], sizeof(*r), RTA_OIF), two);
	CHECK_EQ(find_u32(answer[0], sizeof(*r), RTA_TABLE), RT_TABLE_MAIN);
	CHECK_EQ(look_up(fd, "11.1.2.3", RTM_F_FIB_MATCH), 0);
	r = NLMSG_DATA(answer[0]);
	CHECK_EQ(r->rtm_dst_len, 8);
	CHECK(is_ip(find(answer[0], sizeof(*r), RTA_DST), "11.0.0.0"));
	CHECK_EQ(look_up(fd, "10.1.0.1", RTM_F_LOOKUP_TABLE), 0);
	r = NLMSG_DATA(answer[0]);
	CHECK_EQ(r->rtm_type, RTN_LOCAL);
	CHECK_EQ(find_u32(answer[0], sizeof(*r), RTA_OIF), 1);
	CHECK_EQ(look_up(fd, "10.1.0.255", 0), 0);
	CHECK_EQ(((struct rtmsg *)NLMSG_DATA(answer[0]))->rtm_type, RTN_BROADCAST);
	CHECK_EQ(look_up(fd, "99.1.2.3", 0), ENETUNREACH);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "fd01::1", 64, two, 0);
	CHECK_EQ(look_up(fd, "fd01::7", 0), 0);
	r = NLMSG_DATA(answer[0]);
	CHECK_EQ(r->rtm_dst_len, 128);
	CHECK(is_ip(find(answer[0], sizeof(*r), RTA_PREFSRC), "fd01::1"));
	CHECK_EQ(look_up(fd, "fd77::7", 0), ENETUNREACH);
}

TEST(rtnetlink_route_look_up_errors)
{
	fresh();
	int fd = nl(NETLINK_ROUTE);
	struct rtmsg r = {.rtm_family = AF_INET, .rtm_dst_len = 32};
	request(RTM_GETROUTE, 0, &r, sizeof(r));
	attr_ip(RTA_DST, "127.0.0.1");
	attr_u32(RTA_OIF, 12345);
	TALK(fd, ENODEV);
	request(RTM_GETROUTE, 0, &r, sizeof(r));
	attr_ip(RTA_DST, "127.0.0.1");
	attr_ip(RTA_SRC, "10.7.7.7");
	TALK(fd, ENETUNREACH);
	request(RTM_GETROUTE, 0, &r, sizeof(r));
	attr(RTA_DST, "x", 1);
	TALK(fd, ERANGE);
}

TEST(rtnetlink_strict_checks)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), on = 1;
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)));
	static const struct {
		int type;
		size_t size;
	} dumps[] = {{RTM_GETLINK, sizeof(struct ifinfomsg)}, {RTM_GETADDR, sizeof(struct ifaddrmsg)},
		     {RTM_GETROUTE, sizeof(struct rtmsg)}, {RTM_GETNEIGH, sizeof(struct ndmsg)}};
	char head[16] = {};
	for (size_t i = 0; i < LEN(dumps); i++) {
		request(dumps[i].type, NLM_F_DUMP, head, dumps[i].size);
		TALK(fd, 0);
		request(dumps[i].type, NLM_F_DUMP, head, 1);
		TALK(fd, EINVAL);
		request(dumps[i].type, NLM_F_DUMP, head, dumps[i].size);
		attr_u32(100, 0);
		TALK(fd, EINVAL);
	}
	request(RTM_GETLINK, NLM_F_DUMP, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	TALK(fd, EINVAL);
	request(RTM_GETADDR, NLM_F_DUMP, &(struct ifaddrmsg){.ifa_index = 1, .ifa_family = AF_INET}, sizeof(struct ifaddrmsg));
	TALK(fd, 0);
	CHECK_EQ(answers, 1);
	request(RTM_GETADDR, NLM_F_DUMP, &(struct ifaddrmsg){.ifa_index = 12345}, sizeof(struct ifaddrmsg));
	TALK(fd, ENODEV);
	request(RTM_GETROUTE, NLM_F_DUMP, &(struct rtmsg){.rtm_family = AF_INET, .rtm_table = RT_TABLE_LOCAL}, sizeof(struct rtmsg));
	TALK(fd, 0);
	CHECK(answers > 0);
	for (int i = 0; i < answers; i++)
		CHECK_EQ(((struct rtmsg *)NLMSG_DATA(answer[i]))->rtm_table, RT_TABLE_LOCAL);
	request(RTM_GETROUTE, NLM_F_DUMP, &(struct rtmsg){.rtm_family = AF_INET, .rtm_type = RTN_BROADCAST}, sizeof(struct rtmsg));
	TALK(fd, 0);
	for (int i = 0; i < answers; i++)
		CHECK_EQ(((struct rtmsg *)NLMSG_DATA(answer[i]))->rtm_type, RTN_BROADCAST);
	request(RTM_GETROUTE, NLM_F_DUMP, &(struct rtmsg){.rtm_family = AF_INET, .rtm_table = 77}, sizeof(struct rtmsg));
	TALK(fd, ENOENT);
}

static void neighbour(int fd, int type, int flags, const char *ip, int index, int state, const char *mac, int want)
{
	struct ndmsg n = {.ndm_family = strchr(ip, ':') ? AF_INET6 : AF_INET, .ndm_ifindex = index, .ndm_state = state};
	request(type, flags, &n, sizeof(n));
	attr_ip(NDA_DST, ip);
	if (mac)
		attr(NDA_LLADDR, mac, 6);
	TALK(fd, want);
}

TEST(rtnetlink_neighbours)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	neighbour(fd, RTM_NEWNEIGH, 0, "10.1.0.9", two, NUD_PERMANENT, "\2\0\0\0\0\1", ENOENT);
	neighbour(fd, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.9", two, NUD_PERMANENT, "\2\0\0\0\0\1", 0);
	neighbour(fd, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.9", two, NUD_PERMANENT, "\2\0\0\0\0\1", EEXIST);
	neighbour(fd, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, "10.1.0.9", two, NUD_PERMANENT, "\2\0\0\0\0\2", 0);
	neighbour(fd, RTM_GETNEIGH, 0, "10.1.0.9", two, 0, NULL, 0);
	CHECK_EQ(answers, 1);
	struct ndmsg *n = NLMSG_DATA(answer[0]);
	CHECK_EQ(n->ndm_state, NUD_PERMANENT);
	CHECK_EQ(n->ndm_ifindex, two);
	CHECK_EQ(n->ndm_type, RTN_UNICAST);
	CHECK_MEM(RTA_DATA(find(answer[0], sizeof(*n), NDA_LLADDR)), "\2\0\0\0\0\2", 6);
	request(RTM_GETNEIGH, NLM_F_DUMP, &(struct ndmsg){.ndm_family = AF_INET}, sizeof(struct ndmsg));
	TALK(fd, 0);
	int seen = 0;
	for (int i = 0; i < answers; i++)
		seen += is_ip(find(answer[i], sizeof(*n), NDA_DST), "10.1.0.9");
	CHECK_EQ(seen, 1);
	neighbour(fd, RTM_NEWNEIGH, NLM_F_CREATE, "10.1.0.8", 0, NUD_PERMANENT, "\2\0\0\0\0\1", EINVAL);
	neighbour(fd, RTM_NEWNEIGH, NLM_F_CREATE, "10.1.0.8", 12345, NUD_PERMANENT, "\2\0\0\0\0\1", ENODEV);
	request(RTM_NEWNEIGH, NLM_F_CREATE, &(struct ndmsg){.ndm_family = AF_INET, .ndm_ifindex = two}, sizeof(struct ndmsg));
	TALK(fd, EINVAL); /* no address */
	neighbour(fd, RTM_DELNEIGH, 0, "10.1.0.9", two, 0, NULL, 0);
	neighbour(fd, RTM_DELNEIGH, 0, "10.1.0.77", two, 0, NULL, ENOENT);
	neighbour(fd, RTM_GETNEIGH, 0, "10.1.0.77", two, 0, NULL, ENOENT);
	neighbour(fd, RTM_NEWNEIGH, NLM_F_CREATE, "fd01::9", two, NUD_PERMANENT, "\2\0\0\0\0\3", 0);
	become(1000);
	neighbour(fd, RTM_DELNEIGH, 0, "fd01::9", two, 0, NULL, EPERM);
}

static void rule(int fd, int type, int flags, const char *from, int bits, unsigned table, unsigned priority, int want)
{
	struct fib_rule_hdr r = {.family = AF_INET, .src_len = bits, .action = FR_ACT_TO_TBL};
	request(type, flags, &r, sizeof(r));
	if (from)
		attr_ip(FRA_SRC, from);
	attr_u32(FRA_TABLE, table);
	if (priority)
		attr_u32(FRA_PRIORITY, priority);
	TALK(fd, want);
}

static int priorities(int fd, int family, unsigned *list)
{
	request(RTM_GETRULE, NLM_F_DUMP, &(struct fib_rule_hdr){.family = family}, sizeof(struct fib_rule_hdr));
	TALK(fd, 0);
	for (int i = 0; i < answers && i < 16; i++) {
		struct rtattr *a = find(answer[i], sizeof(struct fib_rule_hdr), FRA_PRIORITY);
		list[i] = a ? *(unsigned *)RTA_DATA(a) : 0;
	}
	return answers;
}

TEST(rtnetlink_rules)
{
	fresh();
	int fd = nl(NETLINK_ROUTE);
	unsigned p[16];
	CHECK_EQ(priorities(fd, AF_INET, p), 3);
	CHECK(p[0] == 0 && p[1] == 32766 && p[2] == 32767);
	CHECK_EQ(priorities(fd, AF_INET6, p), 2);
	CHECK(p[0] == 0 && p[1] == 32766);
	rule(fd, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.0", 16, 1000, 0, 0);
	rule(fd, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.0", 16, 1000, 500, 0);
	rule(fd, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, "10.1.0.0", 16, 1000, 500, EEXIST);
	CHECK_EQ(priorities(fd, AF_INET, p), 5);
	CHECK(p[1] == 500 && p[2] == 32765);
	struct fib_rule_hdr *r = NLMSG_DATA(answer[1]);
	CHECK_EQ(r->src_len, 16);
	CHECK_EQ(r->table, RT_TABLE_COMPAT);
	CHECK_EQ(r->action, FR_ACT_TO_TBL);
	CHECK_EQ(find_u32(answer[1], sizeof(*r), FRA_TABLE), 1000);
	CHECK(is_ip(find(answer[1], sizeof(*r), FRA_SRC), "10.1.0.0"));
	rule(fd, RTM_DELRULE, 0, "10.2.0.0", 16, 1000, 0, ENOENT);
	rule(fd, RTM_DELRULE, 0, "10.1.0.0", 16, 1000, 500, 0);
	rule(fd, RTM_DELRULE, 0, NULL, 0, 1000, 0, 0);
	CHECK_EQ(priorities(fd, AF_INET, p), 3);
	become(1000);
	rule(fd, RTM_DELRULE, 0, NULL, 0, RT_TABLE_MAIN, 0, EPERM);
}

TEST(rtnetlink_rules_lead_to_tables)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	struct rtmsg r = {.rtm_family = AF_INET, .rtm_dst_len = 8, .rtm_table = 100, .rtm_type = RTN_UNICAST, .rtm_protocol = RTPROT_STATIC};
	request(RTM_NEWROUTE, NLM_F_CREATE, &r, sizeof(r));
	attr_ip(RTA_DST, "11.0.0.0");
	attr_ip(RTA_GATEWAY, "10.1.0.2");
	TALK(fd, 0);
	CHECK_EQ(look_up(fd, "11.1.1.1", 0), ENETUNREACH);
	rule(fd, RTM_NEWRULE, NLM_F_CREATE, NULL, 0, 100, 300, 0);
	CHECK_EQ(look_up(fd, "11.1.1.1", RTM_F_LOOKUP_TABLE), 0);
	CHECK_EQ(find_u32(answer[0], sizeof(r), RTA_TABLE), 100);
	rule(fd, RTM_DELRULE, 0, NULL, 0, 100, 300, 0);
	CHECK_EQ(look_up(fd, "11.1.1.1", 0), ENETUNREACH);
}

/* Receives one message that a group was told. */
static struct nlmsghdr *heard(int fd, struct sockaddr_nl *from)
{
	static char buf[16384];
	socklen_t n = sizeof(*from);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 5000), 1);
	SYS(recvfrom(fd, buf, sizeof(buf), 0, (void *)from, &n));
	return (void *)buf;
}

static int member(int group)
{
	int fd = nl(NETLINK_ROUTE);
	struct sockaddr_nl at = {.nl_family = AF_NETLINK};
	SYS(bind(fd, (void *)&at, sizeof(at))); /* who has no port hears nothing */
	SYS(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
	return fd;
}

TEST(rtnetlink_told_of_links)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd), m = member(RTNLGRP_LINK);
	struct sockaddr_nl from;
	link_flags(fd, two, 0, IFF_UP);
	struct nlmsghdr *h;
	do /* Linux says what became of the first one's carrier when it finds the time. */
		h = heard(m, &from);
	while (((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index != two);
	CHECK_EQ(h->nlmsg_type, RTM_NEWLINK);
	CHECK_EQ(from.nl_pid, 0);
	CHECK_EQ(from.nl_groups, RTMGRP_LINK);
	request(RTM_DELLINK, 0, &(struct ifinfomsg){.ifi_index = two}, sizeof(struct ifinfomsg));
	TALK(fd, 0);
	for (;;) {
		h = heard(m, &from);
		if (h->nlmsg_type == RTM_DELLINK && ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index == two)
			break;
	}
}

TEST(rtnetlink_told_of_addresses)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd), m = member(RTNLGRP_IPV4_IFADDR), m6 = member(RTNLGRP_IPV6_IFADDR);
	struct sockaddr_nl from, own;
	socklen_t n = sizeof(own);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	struct nlmsghdr *h = heard(m, &from);
	CHECK_EQ(h->nlmsg_type, RTM_NEWADDR);
	CHECK(is_ip(find(h, sizeof(struct ifaddrmsg), IFA_LOCAL), "10.1.0.1"));
	SYS(getsockname(fd, (void *)&own, &n));
	CHECK_EQ(h->nlmsg_pid, own.nl_pid); /* who did it */
	CHECK_EQ(h->nlmsg_seq, req.h.nlmsg_seq);
	address(fd, RTM_DELADDR, 0, "10.1.0.1", 24, two, 0);
	CHECK_EQ(heard(m, &from)->nlmsg_type, RTM_DELADDR);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "fd01::1", 64, two, 0);
	do
		h = heard(m6, &from);
	while (!is_ip(find(h, sizeof(struct ifaddrmsg), IFA_ADDRESS), "fd01::1"));
	CHECK_EQ(h->nlmsg_type, RTM_NEWADDR);
}

TEST(rtnetlink_told_of_routes_and_rules)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	int m = member(RTNLGRP_IPV4_ROUTE), mr = member(RTNLGRP_IPV4_RULE), mn = member(RTNLGRP_NEIGH);
	struct sockaddr_nl from;
	route(fd, RTM_NEWROUTE, NLM_F_CREATE, "11.0.0.0", 8, "10.1.0.2", 0, 0, 0);
	struct nlmsghdr *h = heard(m, &from);
	CHECK_EQ(h->nlmsg_type, RTM_NEWROUTE);
	CHECK(is_ip(find(h, sizeof(struct rtmsg), RTA_DST), "11.0.0.0"));
	route(fd, RTM_DELROUTE, 0, "11.0.0.0", 8, NULL, 0, 0, 0);
	CHECK_EQ(heard(m, &from)->nlmsg_type, RTM_DELROUTE);
	rule(fd, RTM_NEWRULE, NLM_F_CREATE, NULL, 0, 100, 300, 0);
	CHECK_EQ(heard(mr, &from)->nlmsg_type, RTM_NEWRULE);
	rule(fd, RTM_DELRULE, 0, NULL, 0, 100, 300, 0);
	CHECK_EQ(heard(mr, &from)->nlmsg_type, RTM_DELRULE);
	neighbour(fd, RTM_NEWNEIGH, NLM_F_CREATE, "10.1.0.9", two, NUD_PERMANENT, "\2\0\0\0\0\1", 0);
	do
		h = heard(mn, &from);
	while (!is_ip(find(h, sizeof(struct ndmsg), NDA_DST), "10.1.0.9"));
	CHECK_EQ(h->nlmsg_type, RTM_NEWNEIGH);
}

TEST(rtnetlink_echo)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	struct rtmsg r = {.rtm_family = AF_INET, .rtm_dst_len = 8, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST};
	request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_ECHO, &r, sizeof(r));
	attr_ip(RTA_DST, "11.0.0.0");
	attr_ip(RTA_GATEWAY, "10.1.0.2");
	TALK(fd, 0);
	CHECK_EQ(answers, 1);
	CHECK_EQ(answer[0]->nlmsg_type, RTM_NEWROUTE);
}

TEST(rtnetlink_dump_in_pieces)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	for (int i = 0; i < 250; i++) {
		char ip[20];
		snprintf(ip, sizeof(ip), "10.1.%d.1", i);
		address(fd, RTM_NEWADDR, NLM_F_CREATE, ip, 24, two, 0);
	}
	/* Another socket, whose buffers are small: no piece is cut off. */
	int s = nl(NETLINK_ROUTE), n = 0, pieces = 0;
	request(RTM_GETADDR, NLM_F_DUMP, &(struct ifaddrmsg){.ifa_family = AF_INET}, sizeof(struct ifaddrmsg));
	SYS(send(s, &req, req.h.nlmsg_len, 0));
	for (int done = 0; !done; pieces++) {
		char buf[8192];
		struct iovec iov = {buf, sizeof(buf)};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t len = SYS(recvmsg(s, &m, 0));
		CHECK_EQ(m.msg_flags & MSG_TRUNC, 0);
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
			if (h->nlmsg_type == NLMSG_DONE)
				done = 1;
			else
				n++;
		}
	}
	CHECK_EQ(n, 251);
	CHECK(pieces > 2);
}

TEST(rtnetlink_namespaces_are_separate)
{
	fresh();
	int fd = nl(NETLINK_ROUTE), two = second(fd);
	address(fd, RTM_NEWADDR, NLM_F_CREATE, "10.1.0.1", 24, two, 0);
	SYS(unshare(CLONE_NEWNET));
	int other = nl(NETLINK_ROUTE);
	CHECK(!shown(other, "10.1.0.1"));
	request(RTM_GETLINK, 0, &(struct ifinfomsg){.ifi_index = 1}, sizeof(struct ifinfomsg));
	TALK(other, 0);
	CHECK_EQ(((struct ifinfomsg *)NLMSG_DATA(answer[0]))->ifi_flags & IFF_UP, 0); /* lo is down at first */
	CHECK(shown(fd, "10.1.0.1")); /* a socket stays where it was made */
}
