//go:build ignore

/* /proc/sys/net: of each network namespace, and with effect. */
#include "inet.h"
#include <dirent.h>
#include <sched.h>

static char buf[4096];

static char *get(const char *name)
{
	static char text[256];
	char path[128];
	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	SYS(get_file(path, text, sizeof(text)));
	text[strcspn(text, "\n")] = 0;
	return text;
}

static int set(const char *name, const char *value)
{
	char path[128];
	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	int fd = SYS(open(path, O_WRONLY)), r = write(fd, value, strlen(value)), e = errno;
	close(fd);
	errno = e;
	return r < 0 ? -1 : 0;
}

/* A network namespace of its own with lo up. */
static void own(void)
{
	SYS(unshare(CLONE_NEWNET));
	int s = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	SYS(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

TEST(sysctl_defaults)
{
	own();
	struct {
		const char *name, *value;
	} t[] = {
		{"ipv4/ip_forward", "0"}, {"ipv4/ip_default_ttl", "64"}, {"ipv4/ip_nonlocal_bind", "0"},
		{"ipv4/ip_local_port_range", "32768\t60999"}, {"ipv4/ip_unprivileged_port_start", "1024"},
		{"ipv4/ping_group_range", "1\t0"}, {"ipv4/icmp_echo_ignore_broadcasts", "1"},
		{"ipv4/tcp_sack", "1"}, {"ipv4/tcp_timestamps", "1"}, {"ipv4/tcp_window_scaling", "1"},
		{"ipv4/tcp_moderate_rcvbuf", "1"}, {"ipv4/tcp_syncookies", "1"}, {"ipv4/tcp_ecn", "2"},
		{"ipv4/tcp_syn_retries", "6"}, {"ipv4/tcp_synack_retries", "5"}, {"ipv4/tcp_retries2", "15"},
		{"ipv4/tcp_fin_timeout", "60"}, {"ipv4/tcp_keepalive_time", "7200"}, {"ipv4/tcp_keepalive_intvl", "75"},
		{"ipv4/tcp_keepalive_probes", "9"}, {"ipv4/tcp_tw_reuse", "2"}, {"ipv4/tcp_slow_start_after_idle", "1"},
		{"ipv6/bindv6only", "0"}, {"ipv6/conf/all/disable_ipv6", "0"}, {"ipv6/conf/all/forwarding", "0"},
		{"core/somaxconn", "4096"},
	};
	for (size_t i = 0; i < LEN(t); i++)
		if (strcmp(get(t[i].name), t[i].value) != 0)
			FAIL("%s = \"%s\", want \"%s\"", t[i].name, get(t[i].name), t[i].value);
}

TEST(sysctl_namespaces)
{
	own();
	SYS(set("ipv4/ip_default_ttl", "77\n"));
	CHECK_STR(get("ipv4/ip_default_ttl"), "77");
	CHILD(c)
	{
		own();
		CHECK_STR(get("ipv4/ip_default_ttl"), "64");
	}
	CHECK_EXIT(c, 0);
	CHECK_STR(get("ipv4/ip_default_ttl"), "77");
}

TEST(sysctl_errors)
{
	own();
	CHECK_ERRNO(set("ipv4/ip_default_ttl", "0"), EINVAL);
	CHECK_ERRNO(set("ipv4/ip_default_ttl", "256"), EINVAL);
	CHECK_ERRNO(set("ipv4/ip_default_ttl", "x"), EINVAL);
	CHECK_ERRNO(set("ipv4/ip_local_port_range", "50000 40000"), EINVAL);
	CHECK_ERRNO(set("ipv4/tcp_congestion_control", "nonesuch"), ENOENT);
	CHECK_STR(get("ipv4/ip_default_ttl"), "64");
	CHILD(c)
	{
		become(1000);
		CHECK_ERRNO(open("/proc/sys/net/ipv4/ip_forward", O_WRONLY), EACCES);
	}
	CHECK_EXIT(c, 0);
}

TEST(sysctl_ttl)
{
	own();
	int s[2];
	udp_pair(AF_INET, s);
	SYS(set("ipv4/ip_default_ttl", "9"));
	set_int(s[1], IPPROTO_IP, IP_RECVTTL, 1);
	CHECK_EQ(get_int(s[0], IPPROTO_IP, IP_TTL), 9);
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 1);
	CHECK_EQ(*(int *)control(&m.h, IPPROTO_IP, IP_TTL, 4), 9);
}

TEST(sysctl_port_range)
{
	own();
	SYS(set("ipv4/ip_local_port_range", "40000 40003"));
	CHECK_STR(get("ipv4/ip_local_port_range"), "40000\t40003");
	int s[4];
	for (int i = 0; i < 4; i++) {
		s[i] = udp(AF_INET);
		struct addr a = local(s[i]);
		CHECK(port_of(&a) >= 40000 && port_of(&a) <= 40003);
	}
	int t = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	struct addr a = loop(AF_INET, 0);
	CHECK_ERRNO(bind(t, ADDR(a)), EADDRINUSE); /* no port is left */
}

TEST(sysctl_unprivileged_port)
{
	own();
	SYS(set("ipv4/ip_unprivileged_port_start", "80"));
	CHILD(c)
	{
		become(1000);
		struct addr a = loop(AF_INET, 79), b = loop(AF_INET, 80);
		int s = SYS(socket(AF_INET, SOCK_STREAM, 0));
		CHECK_ERRNO(bind(s, ADDR(a)), EACCES);
		SYS(bind(s, ADDR(b)));
	}
	CHECK_EXIT(c, 0);
}

TEST(sysctl_bindv6only)
{
	own();
	SYS(set("ipv6/bindv6only", "1"));
	int s = SYS(socket(AF_INET6, SOCK_STREAM, 0));
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	SYS(set("ipv6/bindv6only", "0"));
	CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_V6ONLY), 1);
}

TEST(sysctl_tcp)
{
	own();
	CHECK(strstr(get("ipv4/tcp_available_congestion_control"), "cubic"));
	CHECK(strstr(get("ipv4/tcp_available_congestion_control"), "reno"));
	SYS(set("ipv4/tcp_congestion_control", "reno"));
	SYS(set("ipv4/tcp_rmem", "4096 50000 100000"));
	SYS(set("ipv4/tcp_wmem", "4096 30000 100000"));
	CHECK_STR(get("ipv4/tcp_rmem"), "4096\t50000\t100000");
	SYS(set("ipv4/tcp_keepalive_time", "100"));
	int s = SYS(socket(AF_INET, SOCK_STREAM, 0));
	char name[16];
	socklen_t n = sizeof(name);
	SYS(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	CHECK_STR(name, "reno");
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_RCVBUF), 50000);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_SNDBUF), 30000);
	CHECK_EQ(get_int(s, IPPROTO_TCP, TCP_KEEPIDLE), 100);
}

TEST(sysctl_tcp_features)
{
	own();
	SYS(set("ipv4/tcp_timestamps", "0"));
	SYS(set("ipv4/tcp_sack", "0"));
	SYS(set("ipv4/tcp_window_scaling", "0"));
	int s[2];
	tcp_pair(AF_INET, s);
	struct tcp_info i;
	socklen_t n = sizeof(i);
	SYS(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &i, &n));
	CHECK_EQ(i.tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE), 0);
}

TEST(sysctl_somaxconn)
{
	own();
	SYS(set("core/somaxconn", "3"));
	int l = listener(AF_INET, 100);
	struct tcp_info i;
	socklen_t n = sizeof(i);
	SYS(getsockopt(l, IPPROTO_TCP, TCP_INFO, &i, &n));
	CHECK_EQ(i.tcpi_sacked, 3);
}

TEST(sysctl_conf)
{
	/* A directory for each interface. */
	own();
	const char *dirs[] = {"/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"};
	for (int i = 0; i < 2; i++) {
		DIR *d = opendir(dirs[i]);
		CHECK(d);
		int all = 0, def = 0, lo = 0;
		for (struct dirent *e; (e = readdir(d));) {
			all += !strcmp(e->d_name, "all");
			def += !strcmp(e->d_name, "default");
			lo += !strcmp(e->d_name, "lo");
		}
		CHECK(all == 1 && def == 1 && lo == 1);
		closedir(d);
	}
	CHECK_STR(get("ipv6/conf/lo/mtu"), "65536");
	SYS(set("ipv4/conf/all/rp_filter", "2"));
	CHECK_STR(get("ipv4/conf/all/rp_filter"), "2");
	CHECK_ERRNO(open("/proc/sys/net/ipv4/conf/nope/rp_filter", O_RDONLY), ENOENT);
	SYS(set("ipv4/conf/all/forwarding", "1"));
	CHECK_STR(get("ipv4/ip_forward"), "1");
}

TEST(sysctl_disable_ipv6)
{
	own();
	struct addr a = loop(AF_INET6, 0);
	int s = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), t = SYS(socket(AF_INET6, SOCK_DGRAM, 0));
	SYS(bind(s, ADDR(a)));
	SYS(set("ipv6/conf/all/disable_ipv6", "1"));
	CHECK_STR(get("ipv6/conf/lo/disable_ipv6"), "1");
	CHECK_ERRNO(bind(t, ADDR(a)), EADDRNOTAVAIL);
	SYS(set("ipv6/conf/all/disable_ipv6", "0"));
	for (long long end = now_ms() + 3000; bind(t, ADDR(a)) != 0; sleep_ms(2))
		CHECK(now_ms() < end);
}

TEST(sysctl_nonlocal_bind)
{
	own();
	struct addr a = address(AF_INET, "192.0.2.1", 0);
	int s = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	CHECK_ERRNO(bind(s, ADDR(a)), EADDRNOTAVAIL);
	SYS(set("ipv4/ip_nonlocal_bind", "1"));
	SYS(bind(s, ADDR(a)));
	(void)buf;
}
