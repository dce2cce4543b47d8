//go:build ignore

/* ioctl(2) of sockets about interfaces, addresses, routes and neighbours (netdevice(7), route(8), arp(7)). */
#include "inet.h"
#include <linux/if_arp.h>
#include <linux/ipv6_route.h>
#include <linux/route.h>
#include <linux/sockios.h>
#include <sched.h>

struct in6_ifreq_ {
	struct in6_addr addr;
	uint32_t prefixlen;
	int ifindex;
};

static char buf[4096];

static struct ifreq named(const char *name)
{
	struct ifreq r;
	memset(&r, 0, sizeof(r));
	strcpy(r.ifr_name, name);
	return r;
}

static int sock(void) { return SYS(socket(AF_INET, SOCK_DGRAM, 0)); }

/* A network namespace of its own, in which things can be changed. */
static void own(int up)
{
	SYS(unshare(CLONE_NEWNET));
	if (!up)
		return;
	int s = sock();
	struct ifreq r = named("lo");
	r.ifr_flags = IFF_UP;
	SYS(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

static in_addr_t addr_of(struct ifreq *r) { return ((struct sockaddr_in *)&r->ifr_addr)->sin_addr.s_addr; }

static void set_addr(struct ifreq *r, const char *text)
{
	struct sockaddr_in *in = (void *)&r->ifr_addr;
	memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = inet_addr(text);
}

TEST(ioctl_lo)
{
	int kinds[] = {SOCK_DGRAM, SOCK_STREAM}, families[] = {AF_INET, AF_INET6, AF_UNIX};
	for (size_t i = 0; i < LEN(families); i++)
		for (size_t j = 0; j < LEN(kinds); j++) {
			int s = SYS(socket(families[i], kinds[j], 0));
			struct ifreq r = named("lo");
			SYS(ioctl(s, SIOCGIFINDEX, &r));
			CHECK_EQ(r.ifr_ifindex, 1);
			SYS(ioctl(s, SIOCGIFFLAGS, &r));
			CHECK_EQ(r.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST), IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
			SYS(ioctl(s, SIOCGIFMTU, &r));
			CHECK_EQ(r.ifr_mtu, 65536);
			SYS(ioctl(s, SIOCGIFHWADDR, &r));
			CHECK_EQ(r.ifr_hwaddr.sa_family, ARPHRD_LOOPBACK);
			CHECK_MEM(r.ifr_hwaddr.sa_data, "\0\0\0\0\0\0", 6);
			SYS(ioctl(s, SIOCGIFMETRIC, &r));
			CHECK_EQ(r.ifr_metric, 0);
			SYS(ioctl(s, SIOCGIFTXQLEN, &r));
			CHECK_EQ(r.ifr_qlen, 1000);
			memset(&r, 0, sizeof(r));
			r.ifr_ifindex = 1;
			SYS(ioctl(s, SIOCGIFNAME, &r));
			CHECK_STR(r.ifr_name, "lo");
			r.ifr_ifindex = 99;
			CHECK_ERRNO(ioctl(s, SIOCGIFNAME, &r), ENODEV);
			r = named("nope");
			CHECK_ERRNO(ioctl(s, SIOCGIFINDEX, &r), ENODEV);
			CHECK_ERRNO(ioctl(s, SIOCGIFFLAGS, bad_ptr()), EFAULT);
			close(s);
		}
}

TEST(ioctl_lo_address)
{
	int s = sock();
	struct ifreq r = named("lo");
	SYS(ioctl(s, SIOCGIFADDR, &r));
	CHECK_EQ(r.ifr_addr.sa_family, AF_INET);
	CHECK_EQ(addr_of(&r), htonl(INADDR_LOOPBACK));
	SYS(ioctl(s, SIOCGIFNETMASK, &r));
	CHECK_EQ(addr_of(&r), inet_addr("255.0.0.0"));
	SYS(ioctl(s, SIOCGIFBRDADDR, &r));
	CHECK_EQ(addr_of(&r), 0);
	SYS(ioctl(s, SIOCGIFDSTADDR, &r));
	CHECK_EQ(addr_of(&r), htonl(INADDR_LOOPBACK));
	r = named("lo:7");
	CHECK_ERRNO(ioctl(s, SIOCGIFADDR, &r), EADDRNOTAVAIL);
	r = named("nope");
	CHECK_ERRNO(ioctl(s, SIOCGIFADDR, &r), ENODEV);
}

TEST(ioctl_ifconf)
{
	int s = sock();
	struct ifconf c = {.ifc_len = sizeof(buf), .ifc_buf = NULL};
	SYS(ioctl(s, SIOCGIFCONF, &c)); /* only how much it is */
	CHECK_EQ(c.ifc_len, sizeof(struct ifreq));
	c = (struct ifconf){.ifc_len = sizeof(buf), .ifc_buf = buf};
	SYS(ioctl(s, SIOCGIFCONF, &c));
	CHECK_EQ(c.ifc_len, sizeof(struct ifreq));
	CHECK_STR(c.ifc_req[0].ifr_name, "lo");
	CHECK_EQ(addr_of(&c.ifc_req[0]), htonl(INADDR_LOOPBACK));
	c.ifc_len = 10; /* no room */
	SYS(ioctl(s, SIOCGIFCONF, &c));
	CHECK_EQ(c.ifc_len, 0);
	CHECK_ERRNO(ioctl(s, SIOCGIFCONF, bad_ptr()), EFAULT);
}

TEST(ioctl_new_namespace)
{
	/* It has lo, which is down and has no address. */
	own(0);
	int s = sock();
	struct ifreq r = named("lo");
	SYS(ioctl(s, SIOCGIFFLAGS, &r));
	CHECK_EQ(r.ifr_flags & (IFF_UP | IFF_RUNNING | IFF_LOOPBACK), IFF_LOOPBACK);
	CHECK_ERRNO(ioctl(s, SIOCGIFADDR, &r), EADDRNOTAVAIL);
	struct ifconf c = {.ifc_len = sizeof(buf), .ifc_buf = buf};
	SYS(ioctl(s, SIOCGIFCONF, &c));
	CHECK_EQ(c.ifc_len, 0);
	int t = SYS(socket(AF_INET6, SOCK_DGRAM, 0));
	struct addr a = loop(AF_INET, 0), b = loop(AF_INET6, 0);
	CHECK_ERRNO(bind(t, ADDR(b)), EADDRNOTAVAIL);
	a = loop(AF_INET, 9);
	CHECK_ERRNO(sendto(s, "x", 1, 0, ADDR(a)), ENETUNREACH);
	/* Up, it has its addresses. */
	r = named("lo");
	r.ifr_flags = IFF_UP;
	SYS(ioctl(s, SIOCSIFFLAGS, &r));
	SYS(ioctl(s, SIOCGIFADDR, &r));
	CHECK_EQ(addr_of(&r), htonl(INADDR_LOOPBACK));
	int p[2];
	udp_pair(AF_INET, p);
	CHECK_EQ(send(p[0], "x", 1, 0), 1);
	CHECK_EQ(recv(p[1], buf, 9, 0), 1);
	udp_pair(AF_INET6, p);
	CHECK_EQ(send(p[0], "x", 1, 0), 1);
	CHECK_EQ(recv(p[1], buf, 9, 0), 1);
	/* Down again, IPv4's stays. */
	r = named("lo");
	SYS(ioctl(s, SIOCSIFFLAGS, &r));
	SYS(ioctl(s, SIOCGIFADDR, &r));
	CHECK_EQ(addr_of(&r), htonl(INADDR_LOOPBACK));
	CHECK_ERRNO(bind(t, ADDR(b)), EADDRNOTAVAIL);
}

TEST(ioctl_namespaces_apart)
{
	int s = udp(AF_INET);
	struct addr a = local(s);
	CHILD(c)
	{
		own(1);
		int t = SYS(socket(AF_INET, SOCK_DGRAM, 0));
		SYS(bind(t, ADDR(a))); /* the same address and port */
		CHECK_EQ(sendto(t, "x", 1, 0, ADDR(a)), 1);
		CHECK_EQ(recv(t, buf, 9, 0), 1);
		/* A socket stays in the namespace that it was made in. */
		CHECK_EQ(sendto(s, "outside", 7, 0, ADDR(a)), 7);
		CHECK_ERRNO(recv(t, buf, 9, MSG_DONTWAIT), EAGAIN);
	}
	CHECK_EXIT(c, 0);
	CHECK_EQ(recv(s, buf, 9, 0), 7);
}

TEST(ioctl_needs_admin)
{
	own(1);
	CHILD(c)
	{
		become(1000);
		int s = sock();
		struct ifreq r = named("lo");
		r.ifr_flags = 0;
		CHECK_ERRNO(ioctl(s, SIOCSIFFLAGS, &r), EPERM);
		set_addr(&r, "127.0.0.2");
		CHECK_ERRNO(ioctl(s, SIOCSIFADDR, &r), EPERM);
		r.ifr_mtu = 1500;
		CHECK_ERRNO(ioctl(s, SIOCSIFMTU, &r), EPERM);
		struct rtentry rt = {};
		CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), EPERM);
		struct arpreq arp = {};
		CHECK_ERRNO(ioctl(s, SIOCSARP, &arp), EPERM);
		/* Reading is for all. */
		SYS(ioctl(s, SIOCGIFFLAGS, &r));
	}
	CHECK_EXIT(c, 0);
}

TEST(ioctl_mtu)
{
	own(1);
	int s = sock();
	struct ifreq r = named("lo");
	r.ifr_mtu = 1500;
	SYS(ioctl(s, SIOCSIFMTU, &r));
	r.ifr_mtu = 0;
	SYS(ioctl(s, SIOCGIFMTU, &r));
	CHECK_EQ(r.ifr_mtu, 1500);
	r.ifr_mtu = -1;
	CHECK_ERRNO(ioctl(s, SIOCSIFMTU, &r), EINVAL);
	/* Longer datagrams are cut up and put together. */
	int p[2];
	udp_pair(AF_INET, p);
	CHECK_EQ(send(p[0], buf, 4000, 0), 4000);
	CHECK_EQ(recv(p[1], buf, sizeof(buf), 0), 4000);
	set_int(p[0], IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	CHECK_ERRNO(send(p[0], buf, 4000, 0), EMSGSIZE);
	CHECK_EQ(get_int(p[0], IPPROTO_IP, IP_MTU), 1500);
	udp_pair(AF_INET6, p);
	CHECK_EQ(send(p[0], buf, 4000, 0), 4000);
	CHECK_EQ(recv(p[1], buf, sizeof(buf), 0), 4000);
	set_int(p[0], IPPROTO_IPV6, IPV6_DONTFRAG, 1);
	CHECK_ERRNO(send(p[0], buf, 4000, 0), EMSGSIZE);
}

TEST(ioctl_set_address)
{
	own(1);
	int s = sock();
	struct ifreq r = named("lo");
	set_addr(&r, "10.1.2.3");
	SYS(ioctl(s, SIOCSIFADDR, &r)); /* instead of 127.0.0.1 */
	SYS(ioctl(s, SIOCGIFADDR, &r));
	CHECK_EQ(addr_of(&r), inet_addr("10.1.2.3"));
	SYS(ioctl(s, SIOCGIFNETMASK, &r)); /* that of its class */
	CHECK_EQ(addr_of(&r), inet_addr("255.0.0.0"));
	set_addr(&r, "255.255.255.0");
	SYS(ioctl(s, SIOCSIFNETMASK, &r));
	SYS(ioctl(s, SIOCGIFNETMASK, &r));
	CHECK_EQ(addr_of(&r), inet_addr("255.255.255.0"));
	set_addr(&r, "255.0.255.0");
	CHECK_ERRNO(ioctl(s, SIOCSIFNETMASK, &r), EINVAL);
	struct addr a = address(AF_INET, "10.1.2.3", 0);
	SYS(bind(s, ADDR(a)));
	/* An alias is another address. */
	int t = sock();
	r = named("lo:1");
	set_addr(&r, "10.9.9.9");
	SYS(ioctl(t, SIOCSIFADDR, &r));
	SYS(ioctl(t, SIOCGIFADDR, &r));
	CHECK_EQ(addr_of(&r), inet_addr("10.9.9.9"));
	struct ifconf c = {.ifc_len = sizeof(buf), .ifc_buf = buf};
	SYS(ioctl(t, SIOCGIFCONF, &c));
	CHECK_EQ(c.ifc_len, 2 * sizeof(struct ifreq));
	CHECK_STR(c.ifc_req[1].ifr_name, "lo:1");
	r = named("lo:1");
	r.ifr_flags = 0;
	SYS(ioctl(t, SIOCSIFFLAGS, &r)); /* down: it is gone */
	r = named("lo:1");
	CHECK_ERRNO(ioctl(t, SIOCGIFADDR, &r), EADDRNOTAVAIL);
	r = named("lo");
	r.ifr_addr.sa_family = AF_INET6;
	CHECK_ERRNO(ioctl(t, SIOCSIFADDR, &r), EINVAL);
	set_addr(&r, "0.0.0.0");
	SYS(ioctl(t, SIOCSIFADDR, &r)); /* no address */
	CHECK_ERRNO(ioctl(t, SIOCGIFADDR, &r), EADDRNOTAVAIL);
}

TEST(ioctl_address_v6)
{
	own(1);
	int s = SYS(socket(AF_INET6, SOCK_DGRAM, 0));
	struct in6_ifreq_ r = {.prefixlen = 64, .ifindex = 1};
	inet_pton(AF_INET6, "2001:db8::7", &r.addr);
	SYS(ioctl(s, SIOCSIFADDR, &r));
	CHECK_ERRNO(ioctl(s, SIOCSIFADDR, &r), EEXIST);
	struct addr a = address(AF_INET6, "2001:db8::7", 0);
	int t = SYS(socket(AF_INET6, SOCK_DGRAM, 0));
	/* Linux takes a moment to see that nobody else has it. */
	for (long long end = now_ms() + 3000; bind(t, ADDR(a)) != 0; sleep_ms(2))
		CHECK(now_ms() < end);
	SYS(ioctl(s, SIOCDIFADDR, &r));
	CHECK_ERRNO(ioctl(s, SIOCDIFADDR, &r), EADDRNOTAVAIL);
	int u = SYS(socket(AF_INET6, SOCK_DGRAM, 0));
	CHECK_ERRNO(bind(u, ADDR(a)), EADDRNOTAVAIL);
	r.ifindex = 99;
	CHECK_ERRNO(ioctl(s, SIOCSIFADDR, &r), ENODEV);
	r.ifindex = 1;
	r.prefixlen = 129;
	CHECK_ERRNO(ioctl(s, SIOCSIFADDR, &r), EINVAL);
}

static struct rtentry route4(const char *dst, const char *mask, const char *gateway)
{
	struct rtentry rt;
	memset(&rt, 0, sizeof(rt));
	struct sockaddr_in *d = (void *)&rt.rt_dst, *m = (void *)&rt.rt_genmask, *g = (void *)&rt.rt_gateway;
	d->sin_family = m->sin_family = AF_INET;
	d->sin_addr.s_addr = inet_addr(dst);
	m->sin_addr.s_addr = inet_addr(mask);
	rt.rt_flags = RTF_UP;
	if (gateway) {
		g->sin_family = AF_INET;
		g->sin_addr.s_addr = inet_addr(gateway);
		rt.rt_flags |= RTF_GATEWAY;
	}
	return rt;
}

TEST(ioctl_route)
{
	own(1);
	int s = sock();
	struct addr to = address(AF_INET, "192.0.2.9", 9);
	CHECK_ERRNO(connect(s, ADDR(to)), ENETUNREACH);
	struct rtentry rt = route4("192.0.2.0", "255.255.255.0", NULL);
	rt.rt_dev = "lo";
	SYS(ioctl(s, SIOCADDRT, &rt));
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), EEXIST);
	SYS(connect(s, ADDR(to)));
	SYS(ioctl(s, SIOCDELRT, &rt));
	CHECK_ERRNO(ioctl(s, SIOCDELRT, &rt), ESRCH);
	int t = sock();
	CHECK_ERRNO(connect(t, ADDR(to)), ENETUNREACH);
	rt = route4("192.0.2.7", "255.255.255.0", NULL); /* bits beyond the mask */
	rt.rt_dev = "lo";
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), EINVAL);
	rt = route4("192.0.2.0", "255.0.255.0", NULL);
	rt.rt_dev = "lo";
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), EINVAL);
	rt = route4("192.0.2.0", "255.255.255.0", NULL);
	rt.rt_dev = "nope";
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), ENODEV);
	rt = route4("192.0.2.0", "255.255.255.0", "198.51.100.1"); /* which no route leads to */
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), ENETUNREACH);
	rt.rt_dst.sa_family = AF_INET6;
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), EAFNOSUPPORT);
	CHECK_ERRNO(ioctl(s, SIOCADDRT, bad_ptr()), EFAULT);
	rt = route4("192.0.2.0", "255.255.255.0", NULL);
	rt.rt_flags |= RTF_REJECT;
	SYS(ioctl(s, SIOCADDRT, &rt));
	CHECK_ERRNO(connect(t, ADDR(to)), EHOSTUNREACH);
}

TEST(ioctl_route_v6)
{
	own(1);
	int s = SYS(socket(AF_INET6, SOCK_DGRAM, 0));
	struct addr to = address(AF_INET6, "2001:db8::9", 9);
	CHECK_ERRNO(connect(s, ADDR(to)), ENETUNREACH);
	struct in6_rtmsg rt;
	memset(&rt, 0, sizeof(rt));
	inet_pton(AF_INET6, "2001:db8::", &rt.rtmsg_dst);
	rt.rtmsg_dst_len = 32;
	rt.rtmsg_ifindex = 1;
	rt.rtmsg_flags = RTF_UP;
	rt.rtmsg_metric = 7;
	SYS(ioctl(s, SIOCADDRT, &rt));
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), EEXIST);
	SYS(connect(s, ADDR(to)));
	SYS(ioctl(s, SIOCDELRT, &rt));
	CHECK_ERRNO(ioctl(s, SIOCDELRT, &rt), ESRCH);
	rt.rtmsg_dst_len = 200;
	CHECK_ERRNO(ioctl(s, SIOCADDRT, &rt), EINVAL);
}

TEST(ioctl_arp)
{
	own(1);
	int s = sock();
	struct arpreq a;
	memset(&a, 0, sizeof(a));
	a.arp_pa.sa_family = AF_INET;
	((struct sockaddr_in *)&a.arp_pa)->sin_addr.s_addr = inet_addr("10.0.0.1");
	strcpy(a.arp_dev, "lo");
	CHECK_ERRNO(ioctl(s, SIOCGARP, &a), ENXIO);
	strcpy(a.arp_dev, "nope");
	CHECK_ERRNO(ioctl(s, SIOCGARP, &a), ENODEV);
	a.arp_pa.sa_family = AF_INET6;
	CHECK_ERRNO(ioctl(s, SIOCGARP, &a), EPFNOSUPPORT);
	CHECK_ERRNO(ioctl(s, SIOCGARP, bad_ptr()), EFAULT);
}

TEST(ioctl_flags)
{
	own(1);
	int s = sock();
	struct ifreq r = named("lo");
	r.ifr_flags = IFF_UP | IFF_PROMISC | IFF_ALLMULTI;
	SYS(ioctl(s, SIOCSIFFLAGS, &r));
	SYS(ioctl(s, SIOCGIFFLAGS, &r));
	CHECK_EQ(r.ifr_flags & (IFF_PROMISC | IFF_ALLMULTI), IFF_PROMISC | IFF_ALLMULTI);
	r.ifr_flags = IFF_UP;
	SYS(ioctl(s, SIOCSIFFLAGS, &r));
	SYS(ioctl(s, SIOCGIFFLAGS, &r));
	CHECK_EQ(r.ifr_flags & (IFF_PROMISC | IFF_ALLMULTI), 0);
}

TEST(ioctl_ethtool)
{
	int s = sock();
	struct ifreq r = named("lo");
	uint32_t cmd = 1; /* ETHTOOL_GSET, which lo does not have */
	r.ifr_data = (void *)&cmd;
	CHECK_ERRNO(ioctl(s, SIOCETHTOOL, &r), EOPNOTSUPP);
	r = named("nope");
	r.ifr_data = (void *)&cmd;
	CHECK_ERRNO(ioctl(s, SIOCETHTOOL, &r), ENODEV);
}

TEST(ioctl_setns)
{
	/* By /proc, into another namespace and back. */
	int home = SYS(open("/proc/self/ns/net", O_RDONLY)), p[2];
	struct stat a, b;
	SYS(fstat(home, &a));
	SYS(pipe(p));
	CHILD(c)
	{
		own(1);
		CHECK_EQ(write(p[1], "x", 1), 1);
		pause();
	}
	CHECK_EQ(read(p[0], buf, 1), 1);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/net", c);
	int away = SYS(open(path, O_RDONLY));
	SYS(fstat(away, &b));
	CHECK(a.st_ino != b.st_ino);
	SYS(setns(away, CLONE_NEWNET));
	int s = udp(AF_INET); /* with the namespace's lo */
	struct addr x = local(s);
	SYS(setns(home, 0));
	int t = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	SYS(bind(t, ADDR(x))); /* free here */
	SYS(kill(c, SIGKILL));
	CHECK_KILLED(c, SIGKILL);
	/* The socket keeps its namespace. */
	CHECK_EQ(sendto(s, "me", 2, 0, ADDR(x)), 2);
	CHECK_EQ(recv(s, buf, 9, 0), 2);
}

TEST(ioctl_user_namespace)
{
	/* Who owns a network by a user namespace may change it. */
	CHILD(c)
	{
		become(1000);
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
			SKIP("no user namespaces: %s", strerror(errno));
		int s = sock();
		struct ifreq r = named("lo");
		r.ifr_flags = IFF_UP;
		SYS(ioctl(s, SIOCSIFFLAGS, &r));
		struct addr a = loop(AF_INET, 80);
		SYS(bind(s, ADDR(a)));
		SYS(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	}
	int st = wait_status(c);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 77)
		_exit(77);
	CHECK_EQ(st, 0);
}
