//go:build ignore

/* Identities, capabilities, limits, namespaces. */
#include "test.h"
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static char buf[8192];

static void ids(uid_t r, uid_t e, uid_t s)
{
	uid_t a, b, c;
	SYS(getresuid(&a, &b, &c));
	CHECK_EQ(a, r);
	CHECK_EQ(b, e);
	CHECK_EQ(c, s);
}

TEST(setuid_family_as_root)
{
	CHILD(a)
	{
		SYS(setuid(1000));
		ids(1000, 1000, 1000);
		CHECK_ERRNO(setuid(0), EPERM);
		CHECK_ERRNO(seteuid(0), EPERM);
		CHECK_ERRNO(setresuid(0, -1, -1), EPERM);
		SYS(setuid(1000));
	}
	CHECK_EXIT(a, 0);
	CHILD(b)
	{
		SYS(seteuid(1000));
		ids(0, 1000, 0);
		SYS(seteuid(0));
		SYS(setreuid(1000, 2000));
		ids(1000, 2000, 2000);
		SYS(setreuid(-1, 1000));
		ids(1000, 1000, 2000);
		SYS(setresuid(-1, 2000, -1));
		ids(1000, 2000, 2000);
		CHECK_ERRNO(setresuid(3000, -1, -1), EPERM);
	}
	CHECK_EXIT(b, 0);
}

TEST(setgid_family_and_groups)
{
	gid_t g[4] = {10, 20, 30}, h[10];
	SYS(setgroups(3, g));
	CHECK_EQ(getgroups(10, h), 3);
	CHECK_EQ(h[0] + h[1] + h[2], 60);
	CHECK_EQ(getgroups(0, NULL), 3);
	CHECK_ERRNO(getgroups(2, h), EINVAL);
	SYS(setresgid(1, 2, 3));
	gid_t a, b, c;
	SYS(getresgid(&a, &b, &c));
	CHECK_EQ(a * 100 + b * 10 + c, 123);
	SYS(setresuid(1000, 1000, 1000));
	CHECK_ERRNO(setgroups(0, NULL), EPERM);
	SYS(setgid(3));
	CHECK_ERRNO(setgid(99), EPERM);
	CHECK_ERRNO(getgroups(10, bad_ptr()), EFAULT);
}

TEST(fsuid_is_used_for_files)
{
	SYS(put_file("f", ""));
	SYS(chmod("f", 0600));
	CHECK_EQ(syscall(SYS_setfsuid, 1000), 0);
	CHECK_ERRNO(open("f", O_RDONLY), EACCES);
	CHECK_EQ(syscall(SYS_setfsuid, 0), 1000);
	SYS(open("f", O_RDONLY));
}

static struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
static struct __user_cap_data_struct caps[2];

TEST(capabilities_get_and_drop)
{
	SYS(syscall(SYS_capget, &hdr, caps));
	CHECK(caps[0].effective & 1 << CAP_CHOWN);
	caps[0].effective &= ~(1U << CAP_CHOWN);
	SYS(syscall(SYS_capset, &hdr, caps));
	SYS(put_file("f", ""));
	CHECK_ERRNO(chown("f", 1, 1), EPERM);
	caps[0].effective |= 1 << CAP_CHOWN;
	SYS(syscall(SYS_capset, &hdr, caps));
	SYS(chown("f", 1, 1));
	caps[0].effective &= ~(1U << CAP_CHOWN);
	caps[0].permitted &= ~(1U << CAP_CHOWN);
	SYS(syscall(SYS_capset, &hdr, caps));
	caps[0].permitted |= 1 << CAP_CHOWN;
	CHECK_ERRNO(syscall(SYS_capset, &hdr, caps), EPERM);
	struct __user_cap_header_struct bad = {0x1234, 0};
	CHECK_ERRNO(syscall(SYS_capget, &bad, caps), EINVAL);
	CHECK_EQ(bad.version, _LINUX_CAPABILITY_VERSION_3);
	hdr.pid = 99999;
	CHECK_ERRNO(syscall(SYS_capget, &hdr, caps), ESRCH);
}

TEST(capabilities_go_with_uid_0)
{
	SYS(setresuid(1000, 1000, 0));
	SYS(syscall(SYS_capget, &hdr, caps));
	CHECK_EQ(caps[0].effective, 0);
	CHECK(caps[0].permitted != 0);
	SYS(seteuid(0));
	SYS(syscall(SYS_capget, &hdr, caps));
	CHECK(caps[0].effective != 0);
	SYS(prctl(PR_SET_KEEPCAPS, 1));
	SYS(setresuid(1000, 1000, 1000));
	SYS(syscall(SYS_capget, &hdr, caps));
	CHECK(caps[0].effective == 0 && caps[0].permitted != 0);
}

TEST(capability_bounding_and_ambient)
{
	CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
	SYS(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
	CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
	CHECK_ERRNO(prctl(PR_CAPBSET_READ, 100), EINVAL);
	SYS(syscall(SYS_capget, &hdr, caps));
	caps[0].inheritable |= 1 << CAP_KILL;
	SYS(syscall(SYS_capset, &hdr, caps));
	SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 1);
	SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 0);
	caps[0].inheritable &= ~(1U << CAP_KILL | 1U << CAP_CHOWN);
	SYS(syscall(SYS_capset, &hdr, caps));
	CHECK_ERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0), EPERM);
	/* A program executed by root gets the bounding set only. */
	CHILD(c) helper_exec("no_chown", NULL);
	CHECK_EXIT(c, 0);
}

HELPER(no_chown)
{
	syscall(SYS_capget, &hdr, caps);
	return caps[0].effective & 1 << CAP_CHOWN ? 1 : 0;
}

TEST(dac_override_and_read_search)
{
	SYS(put_file("f", ""));
	SYS(chown("f", 1000, 1000));
	SYS(chmod("f", 0));
	SYS(open("f", O_RDWR));
	SYS(syscall(SYS_capget, &hdr, caps));
	caps[0].effective &= ~(1U << CAP_DAC_OVERRIDE);
	SYS(syscall(SYS_capset, &hdr, caps));
	SYS(open("f", O_RDONLY));
	CHECK_ERRNO(open("f", O_WRONLY), EACCES);
	caps[0].effective &= ~(1U << CAP_DAC_READ_SEARCH);
	SYS(syscall(SYS_capset, &hdr, caps));
	CHECK_ERRNO(open("f", O_RDONLY), EACCES);
}

TEST(rlimit_get_and_set)
{
	struct rlimit a, b;
	for (int i = 0; i < 16; i++)
		SYS(getrlimit(i, &a));
	CHECK_ERRNO(getrlimit(99, &a), EINVAL);
	CHECK_ERRNO(getrlimit(RLIMIT_NOFILE, bad_ptr()), EFAULT);
	a = (struct rlimit){100, 200};
	SYS(prlimit(0, RLIMIT_NOFILE, &a, &b));
	SYS(getrlimit(RLIMIT_NOFILE, &b));
	CHECK_EQ(b.rlim_cur, 100);
	CHECK_EQ(b.rlim_max, 200);
	a.rlim_cur = 300;
	CHECK_ERRNO(setrlimit(RLIMIT_NOFILE, &a), EINVAL);
	CHILD(c)
	{
		SYS(getrlimit(RLIMIT_NOFILE, &b));
		CHECK_EQ(b.rlim_cur, 100);
		become(1000);
		a = (struct rlimit){100, 300};
		CHECK_ERRNO(setrlimit(RLIMIT_NOFILE, &a), EPERM);
	}
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(prlimit(99999, RLIMIT_NOFILE, NULL, &a), ESRCH);
}

TEST(rlimit_nproc)
{
	CHILD(c)
	{
		struct rlimit rl = {3, 3};
		SYS(setrlimit(RLIMIT_NPROC, &rl));
		become(54321);
		int n = 0;
		pid_t p;
		while (n < 10 && (p = fork()) >= 0) {
			if (p == 0) {
				sleep_ms(1000);
				_exit(0);
			}
			n++;
		}
		CHECK_EQ(n, 2);
		CHECK_ERRNO(fork(), EAGAIN);
	}
	CHECK_EXIT(c, 0);
}

TEST(rlimit_cpu_kills)
{
	CHILD(c)
	{
		struct rlimit rl = {1, 2};
		SYS(setrlimit(RLIMIT_CPU, &rl));
		for (;;)
			;
	}
	CHECK_KILLED(c, SIGXCPU);
}

TEST(uts_names_and_namespace)
{
	struct utsname u;
	SYS(uname(&u));
	CHECK_STR(u.sysname, "Linux");
	CHECK_STR(u.machine, "x86_64");
	CHECK(atoi(u.release) >= 4);
	CHECK_ERRNO(uname(bad_ptr()), EFAULT);
	CHILD(c)
	{
		SYS(unshare(CLONE_NEWUTS));
		SYS(sethostname("other", 5));
		SYS(setdomainname("dom", 3));
		SYS(uname(&u));
		CHECK_STR(u.nodename, "other");
		SYS(gethostname(buf, sizeof(buf)));
		CHECK_STR(buf, "other");
		get_file("/proc/sys/kernel/hostname", buf, sizeof(buf));
		CHECK_STR(buf, "other\n");
		CHECK_ERRNO(sethostname("x", 65), EINVAL);
		CHECK_ERRNO(sethostname(bad_ptr(), 5), EFAULT);
		become(1000);
		CHECK_ERRNO(sethostname("x", 1), EPERM);
	}
	CHECK_EXIT(c, 0);
	struct utsname v;
	SYS(uname(&v));
	CHECK(strcmp(v.nodename, "other") != 0);
}

TEST(user_namespace_maps)
{
	CHILD(c)
	{
		become(1000);
		SYS(prctl(PR_SET_DUMPABLE, 1)); /* else /proc/self is root's */
		SYS(unshare(CLONE_NEWUSER));
		CHECK_EQ(getuid(), 65534);
		SYS(syscall(SYS_capget, &hdr, caps));
		CHECK(caps[0].effective & 1 << CAP_SYS_ADMIN);
		CHECK_ERRNO(put_file("/proc/self/gid_map", "0 1000 1"), EPERM);
		SYS(put_file("/proc/self/setgroups", "deny"));
		SYS(put_file("/proc/self/uid_map", "0 1000 1"));
		SYS(put_file("/proc/self/gid_map", "0 1000 1"));
		CHECK_EQ(getuid(), 0);
		CHECK_EQ(getgid(), 0);
		struct stat st;
		SYS(stat("/", &st));
		CHECK_EQ(st.st_uid, 65534); /* the real root is nobody here */
		CHECK_ERRNO(setuid(5), EINVAL);
		SYS(unshare(CLONE_NEWUTS));
		SYS(sethostname("inner", 5));
		CHECK_ERRNO(setgroups(0, NULL), EPERM);
		CHECK_ERRNO(put_file("/proc/self/uid_map", "0 1000 1"), EPERM);
	}
	CHECK_EXIT(c, 0);
}

static int init_of_ns(void *arg)
{
	(void)arg;
	if (getpid() != 1 || getppid() != 0)
		return 1;
	pid_t c = fork();
	if (c == 0) {
		if (getpid() != 2)
			_exit(1);
		if (fork() == 0) { /* orphan: goes to pid 1 */
			sleep_ms(20);
			_exit(getppid() == 1 ? 0 : 1);
		}
		_exit(0);
	}
	int st, n = 0;
	while (wait(&st) > 0)
		if (st == 0)
			n++;
	return n == 2 ? 7 : 2;
}

TEST(pid_namespace)
{
	static char stack[65536];
	pid_t c = SYS(clone(init_of_ns, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, NULL));
	CHECK(c > 1);
	CHECK_EXIT(c, 7);
}

static int waits_for_ever(void *arg)
{
	(void)arg;
	CHILD(x)
		for (;;)
			pause();
	kill(getpid(), SIGTERM); /* init is not killed by what it does not handle */
	write(*(int *)arg, &x, 1);
	for (;;)
		pause();
}

TEST(pid_namespace_init_dies_with_all)
{
	static char stack[65536];
	int p[2];
	SYS(pipe(p));
	pid_t c = SYS(clone(waits_for_ever, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, &p[1]));
	SYS(close(p[1]));
	CHECK_EQ(read(p[0], buf, 1), 1);
	SYS(kill(c, SIGKILL));
	CHECK_KILLED(c, SIGKILL);
	CHECK_EQ(read(p[0], buf, 1), 0); /* its child, which held the pipe, is gone too */
}

TEST(unshare_pid_for_children)
{
	SYS(unshare(CLONE_NEWPID));
	CHILD(c) CHECK_EQ(getpid(), 1);
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(fork(), ENOMEM);
}

TEST(setns_joins)
{
	int p[2], q[2];
	SYS(pipe(p));
	SYS(pipe(q));
	CHILD(c)
	{
		SYS(unshare(CLONE_NEWUTS));
		SYS(sethostname("joined", 6));
		SYS(write(p[1], "x", 1));
		SYS(read(q[0], buf, 1));
	}
	SYS(read(p[0], buf, 1));
	snprintf(buf, sizeof(buf), "/proc/%d/ns/uts", c);
	int fd = SYS(open(buf, O_RDONLY));
	CHECK_ERRNO(setns(fd, CLONE_NEWPID), EINVAL);
	SYS(setns(fd, CLONE_NEWUTS));
	SYS(gethostname(buf, sizeof(buf)));
	CHECK_STR(buf, "joined");
	SYS(write(q[1], "x", 1));
	CHECK_EXIT(c, 0);
}

TEST(ns_links_name_the_kind)
{
	static const char *const kinds[] = {"uts", "pid", "mnt", "user", "ipc", "net"};
	char link[64], want[64];
	for (size_t i = 0; i < LEN(kinds); i++) {
		snprintf(want, sizeof(want), "/proc/self/ns/%s", kinds[i]);
		long n = SYS(readlink(want, link, sizeof(link) - 1));
		link[n] = 0;
		snprintf(want, sizeof(want), "%s:[", kinds[i]);
		CHECK(strncmp(link, want, strlen(want)) == 0);
	}
}
