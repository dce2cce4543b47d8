//go:build ignore

/* /proc, and what else tells of the machine: sysinfo, getrandom, membarrier, rseq, personality. */
#include "test.h"
#include <dirent.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/sysinfo.h>

static char buf[1 << 16];

static const char *field(const char *file, const char *key)
{
	static char value[256];
	CHECK(get_file(file, buf, sizeof(buf)) > 0);
	for (char *l = strtok(buf, "\n"); l; l = strtok(NULL, "\n"))
		if (strncmp(l, key, strlen(key)) == 0 && l[strlen(key)] == ':') {
			l += strlen(key) + 1;
			l += strspn(l, " \t");
			snprintf(value, sizeof(value), "%s", l);
			return value;
		}
	FAIL("no %s in %s", key, file);
}

TEST(proc_self_links)
{
	char path[64];
	long n = SYS(readlink("/proc/self", buf, 100));
	buf[n] = 0;
	CHECK_EQ(atoi(buf), getpid());
	n = SYS(readlink("/proc/thread-self", buf, 100));
	buf[n] = 0;
	snprintf(path, sizeof(path), "%d/task/%d", getpid(), gettid_());
	CHECK_STR(buf, path);
	n = SYS(readlink("/proc/self/root", buf, 100));
	CHECK_EQ(n, 1);
	snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
	SYS(access(path, R_OK));
	CHECK_ERRNO(open("/proc/99999/stat", O_RDONLY), ENOENT);
	CHECK_ERRNO(open("/proc/nonsense", O_RDONLY), ENOENT);
	CHECK_ERRNO(mkdir("/proc/x", 0700) == -1 && (errno == ENOENT || errno == EACCES || errno == EPERM) ? (errno = ENOENT, -1) : 0, ENOENT);
}

TEST(proc_status_fields)
{
	CHECK_EQ(atoi(field("/proc/self/status", "Pid")), getpid());
	CHECK_EQ(atoi(field("/proc/self/status", "Tgid")), getpid());
	CHECK_EQ(atoi(field("/proc/self/status", "PPid")), getppid());
	CHECK_EQ(atoi(field("/proc/self/status", "Threads")), 1);
	CHECK_STR(field("/proc/self/status", "Name"), "proc");
	CHECK_STR(field("/proc/self/status", "Uid"), "0\t0\t0\t0");
	CHECK_EQ(field("/proc/self/status", "State")[0], 'R');
	CHECK(atoi(field("/proc/self/status", "VmSize")) > 0);
	CHECK(atoi(field("/proc/self/status", "VmRSS")) > 0);
	CHECK_EQ(atoi(field("/proc/self/status", "NoNewPrivs")), 0);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	raise(SIGUSR1);
	on_signal(SIGUSR2, SIG_IGN, 0);
	CHECK_STR(field("/proc/self/status", "SigBlk"), "0000000000000200");
	CHECK_STR(field("/proc/self/status", "SigPnd"), "0000000000000200");
	CHECK_STR(field("/proc/self/status", "SigIgn"), "0000000000000800");
	field("/proc/self/status", "CapEff");
	field("/proc/self/status", "Seccomp");
	field("/proc/self/status", "Cpus_allowed_list");
}

TEST(proc_stat_and_statm)
{
	CHECK(get_file("/proc/self/stat", buf, sizeof(buf)) > 0);
	int pid, ppid, pgrp, sid;
	char st, comm[32];
	CHECK_EQ(sscanf(buf, "%d (%31[^)]) %c %d %d %d", &pid, comm, &st, &ppid, &pgrp, &sid), 6);
	CHECK_EQ(pid, getpid());
	CHECK_EQ(ppid, getppid());
	CHECK_EQ(sid, getsid(0));
	CHECK_EQ(st, 'R');
	int fields = 1;
	for (char *p = buf; *p; p++)
		fields += *p == ' ';
	CHECK_EQ(fields, 52);
	long size, rss;
	get_file("/proc/self/statm", buf, sizeof(buf));
	CHECK_EQ(sscanf(buf, "%ld %ld", &size, &rss), 2);
	CHECK(size >= rss && rss > 0);
}

TEST(proc_fd_directory)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT | O_APPEND, 0600)), n = 0, found = 0;
	char path[64];
	SYS(write(fd, "12345", 5));
	DIR *d = opendir("/proc/self/fd");
	CHECK(d);
	for (struct dirent *e; (e = readdir(d));) {
		n++;
		found |= atoi(e->d_name) == fd;
	}
	CHECK(found);
	CHECK(n >= 5);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	CHECK_STR(field(path, "pos"), "5");
	CHECK_EQ(strtol(field(path, "flags"), NULL, 8), O_RDWR | O_APPEND | 0100000);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct stat a, b;
	SYS(stat(path, &a));
	SYS(fstat(fd, &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	SYS(lstat(path, &a));
	CHECK(S_ISLNK(a.st_mode));
}

static void *park(void *arg)
{
	prctl(PR_SET_NAME, "parked");
	*(volatile pid_t *)arg = gettid_();
	sleep_ms(20000);
	return NULL;
}

TEST(proc_task_directory)
{
	static volatile pid_t tid;
	pthread_t t;
	char path[64];
	pthread_create(&t, NULL, park, (void *)&tid);
	while (!tid)
		sleep_ms(1);
	CHECK_EQ(atoi(field("/proc/self/status", "Threads")), 2);
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
	get_file(path, buf, sizeof(buf));
	CHECK_STR(buf, "parked\n");
	snprintf(path, sizeof(path), "/proc/%d", tid); /* not listed, but there */
	SYS(access(path, F_OK));
	DIR *d = opendir("/proc/self/task");
	int n = 0;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	CHECK_EQ(n, 2);
}

TEST(proc_environ_cmdline_limits)
{
	CHECK(get_file("/proc/self/cmdline", buf, sizeof(buf)) > 0);
	CHECK(strstr(buf, "proc"));
	CHECK(get_file("/proc/self/limits", buf, sizeof(buf)) > 0);
	CHECK(strstr(buf, "Max open files"));
	CHECK(get_file("/proc/self/io", buf, sizeof(buf)) > 0);
	CHECK(strstr(buf, "read_bytes"));
	CHECK(get_file("/proc/self/cgroup", buf, sizeof(buf)) >= 0);
	CHECK(get_file("/proc/self/oom_score_adj", buf, sizeof(buf)) > 0);
	SYS(put_file("/proc/self/oom_score_adj", "500"));
	get_file("/proc/self/oom_score_adj", buf, sizeof(buf));
	CHECK_STR(buf, "500\n");
	CHECK(get_file("/proc/self/wchan", buf, sizeof(buf)) >= 0);
	CHECK(get_file("/proc/self/uid_map", buf, sizeof(buf)) > 0);
	CHECK(get_file("/proc/self/smaps", buf, sizeof(buf)) > 0);
	CHECK(strstr(buf, "Rss:") && strstr(buf, "VmFlags:"));
}

TEST(proc_system_files)
{
	static const struct { const char *file, *has; } f[] = {
	    {"/proc/version", "Linux version "}, {"/proc/cpuinfo", "processor"}, {"/proc/meminfo", "MemTotal:"},
	    {"/proc/stat", "cpu "}, {"/proc/loadavg", "."}, {"/proc/uptime", "."}, {"/proc/filesystems", "tmpfs"},
	    {"/proc/mounts", " / "}, {"/proc/cmdline", ""}, {"/proc/sys/kernel/ostype", "Linux"},
	    {"/proc/sys/kernel/pid_max", ""}, {"/proc/sys/vm/overcommit_memory", ""}, {"/proc/sys/fs/file-max", ""},
	    {"/proc/sys/kernel/random/uuid", "-"}, {"/proc/sys/kernel/random/boot_id", "-"}, {"/proc/sys/net/core/somaxconn", ""},
	    {"/proc/sys/kernel/cap_last_cap", ""}, {"/proc/sys/kernel/ngroups_max", "65536"}, {"/proc/net/unix", "Num"},
	    {"/sys/devices/system/cpu/online", "0"}};
	for (size_t i = 0; i < LEN(f); i++) {
		if (get_file(f[i].file, buf, sizeof(buf)) <= 0)
			FAIL("%s: %s", f[i].file, strerror(errno));
		if (!strstr(buf, f[i].has))
			FAIL("%s has no \"%s\": %.60s", f[i].file, f[i].has, buf);
	}
}

TEST(proc_partial_reads_fit)
{
	char whole[4096];
	ssize_t n = get_file("/proc/self/limits", whole, sizeof(whole));
	int fd = SYS(open("/proc/self/limits", O_RDONLY));
	for (ssize_t i = 0; i < n; i += 7) {
		char b[8] = "";
		SYS(pread(fd, b, 7, i));
		CHECK(memcmp(b, whole + i, n - i < 7 ? n - i : 7) == 0);
	}
	CHECK_EQ(pread(fd, buf, 10, n), 0);
}

TEST(proc_lists_processes)
{
	CHILD(c) sleep_ms(20000);
	DIR *d = opendir("/proc");
	int found = 0;
	for (struct dirent *e; (e = readdir(d));)
		found += atoi(e->d_name) == c || atoi(e->d_name) == getpid();
	CHECK_EQ(found, 2);
	kill(c, SIGKILL);
	CHECK_KILLED(c, SIGKILL);
}

TEST(sysinfo_is_sane)
{
	struct sysinfo si;
	SYS(sysinfo(&si));
	CHECK(si.totalram > 0 && si.freeram <= si.totalram && si.uptime >= 0 && si.mem_unit > 0);
	CHECK_ERRNO(sysinfo(bad_ptr()), EFAULT);
	CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
}

TEST(getrandom_flags)
{
	unsigned char a[64] = {0}, b[64] = {0};
	CHECK_EQ(getrandom(a, 64, 0), 64);
	CHECK_EQ(getrandom(b, 64, GRND_NONBLOCK | GRND_RANDOM), 64);
	CHECK(memcmp(a, b, 64) != 0);
	CHECK_ERRNO(getrandom(a, 1, 0x100), EINVAL);
	CHECK_ERRNO(getrandom(bad_ptr(), 1, 0), EFAULT);
	CHECK_EQ(getrandom(a, 0, 0), 0);
}

TEST(membarrier_commands)
{
	long q = SYS(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
	CHECK(q & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	CHECK_ERRNO(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), EPERM);
	SYS(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	SYS(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	CHECK_ERRNO(syscall(SYS_membarrier, 0x4000, 0, 0), EINVAL);
}

TEST(rseq_cpu_is_right)
{
	/* glibc registers one for each thread; its cpu_id field is kept up to date. */
	static struct { uint32_t start, cpu, a[6]; } mine __attribute__((aligned(32)));
	CHILD(c)
	{
		extern const ptrdiff_t __rseq_offset __attribute__((weak));
		extern const unsigned int __rseq_size __attribute__((weak));
		if (!&__rseq_size || __rseq_size == 0)
			SKIP("this libc registers no rseq");
		uint32_t *p = (uint32_t *)((char *)__builtin_thread_pointer() + __rseq_offset);
		for (int i = 0; i < 20; i++) {
			unsigned cpu, again;
			syscall(SYS_getcpu, &cpu, NULL, NULL);
			uint32_t said = *(volatile uint32_t *)(p + 1);
			syscall(SYS_getcpu, &again, NULL, NULL);
			if (cpu == again)
				CHECK_EQ(said, cpu);
		}
		CHECK_ERRNO(syscall(SYS_rseq, &mine, 32, 0, 0x53053053), EINVAL); /* one a thread */
	}
	CHECK_EXIT(c, 0);
}

TEST(personality_reads)
{
	CHECK_EQ(personality(0xffffffff), PER_LINUX);
	SYS(personality(ADDR_NO_RANDOMIZE));
	CHECK_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE);
}

TEST(seccomp_filter_inside)
{
	struct bpf { uint16_t code; uint8_t jt, jf; uint32_t k; } f[] = {
	    {0x20, 0, 0, 0}, {0x15, 0, 1, SYS_getppid}, {0x06, 0, 0, 0x00050000 | 42}, {0x15, 0, 1, SYS_getpgrp}, {0x06, 0, 0, 0x80000000}, {0x06, 0, 0, 0x7fff0000}};
	struct { uint16_t len; struct bpf *f; } prog = {LEN(f), f};
	CHILD(c)
	{
		SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		SYS(syscall(SYS_seccomp, 1, 0, &prog));
		CHECK_ERRNO(syscall(SYS_getppid), 42);
		CHECK(getpid() > 0);
		CHECK_EQ(atoi(field("/proc/self/status", "Seccomp")), 2);
		syscall(SYS_getpgrp);
	}
	CHECK_KILLED(c, SIGSYS);
	CHECK_ERRNO(syscall(SYS_seccomp, 99, 0, NULL), EINVAL);
	CHECK_ERRNO(syscall(SYS_seccomp, 1, 0, bad_ptr()), EFAULT);
	CHILD(d)
	{
		SYS(prctl(PR_SET_SECCOMP, 1)); /* strict */
		syscall(SYS_getpid);
		syscall(SYS_exit, 0);
	}
	CHECK_KILLED(d, SIGKILL);
}

TEST(aio_reads_and_writes)
{
	struct iocb { uint64_t data; uint32_t key, rwf; uint16_t op; int16_t prio; uint32_t fd; uint64_t buf, nbytes; int64_t off; uint64_t r2; uint32_t flags, resfd; } cb = {0}, *list[1] = {&cb};
	struct { uint64_t data, obj; int64_t res, res2; } ev[4];
	unsigned long ctx = 0;
	char b[16] = "";
	SYS(syscall(SYS_io_setup, 8, &ctx));
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	cb.op = 1, cb.fd = fd, cb.buf = (uintptr_t) "async", cb.nbytes = 5, cb.data = 77;
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 1, 4, ev, NULL), 1);
	CHECK_EQ(ev[0].res, 5);
	CHECK_EQ(ev[0].data, 77);
	cb.op = 0, cb.buf = (uintptr_t)b, cb.nbytes = 16;
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 1, 4, ev, NULL), 1);
	CHECK_STR(b, "async");
	SYS(syscall(SYS_io_destroy, ctx));
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL);
	CHECK_ERRNO(syscall(SYS_io_setup, 0, &ctx), EINVAL);
}

struct aio_request { uint64_t data; uint32_t key, rwf; uint16_t op; int16_t prio; uint32_t fd; uint64_t buf, nbytes; int64_t off; uint64_t r2; uint32_t flags, resfd; };
struct aio_event { uint64_t data, obj; int64_t res, res2; };

TEST(aio_polls_and_cancels)
{
	struct aio_request cb = {.op = 5, .buf = POLLIN, .data = 7}, *list[1] = {&cb};
	struct aio_event ev[4];
	struct timespec none = {0}, brief = {0, 20000000};
	unsigned long ctx = 0;
	int p[2];
	SYS(syscall(SYS_io_setup, 8, &ctx));
	SYS(pipe(p));
	cb.fd = p[0], cb.key = 9;
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	CHECK_EQ(cb.key, 0);
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 0, 4, ev, &none), 0);
	CHECK_EQ(syscall(SYS_io_pgetevents, ctx, 1, 4, ev, &brief, NULL), 0);
	CHILD(c)
	{
		sleep_ms(30);
		SYS(write(p[1], "x", 1));
	}
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 1, 4, ev, NULL), 1);
	CHECK(ev[0].res & POLLIN); /* Linux may tell POLLRDNORM too */
	CHECK_EQ(ev[0].data, 7);
	CHECK_EQ(ev[0].obj, (uintptr_t)&cb);
	CHECK_EXIT(c, 0);
	/* Ready at once; then one that is cancelled. */
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 1, 4, ev, NULL), 1);
	char b;
	SYS(read(p[0], &b, 1));
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	CHECK_ERRNO(syscall(SYS_io_cancel, ctx, &cb, ev), EINPROGRESS);
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 1, 4, ev, NULL), 1);
	CHECK_EQ(ev[0].res, 0);
	CHECK_ERRNO(syscall(SYS_io_cancel, ctx, &cb, ev), EINVAL);
	cb.off = 1;
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL);
	/* A poll holds its file as long as it is under way. */
	cb.off = 0;
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	SYS(close(p[0]));
	SYS(write(p[1], "x", 1));
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 1, 4, ev, NULL), 1);
	CHECK(ev[0].res & POLLIN); /* Linux may tell POLLRDNORM too */
	SYS(syscall(SYS_io_destroy, ctx));
	CHECK_ERRNO(syscall(SYS_io_getevents, ctx, 0, 4, ev, &none), EINVAL);
}

TEST(aio_requests_are_checked)
{
	struct aio_request cb = {0}, *list[2] = {&cb, bad_ptr()};
	struct aio_event ev[4];
	unsigned long ctx = 0;
	char b[16] = "";
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600)), ro = SYS(open("f", O_RDONLY)), e = SYS(eventfd(0, EFD_NONBLOCK));
	uint64_t v;
	SYS(syscall(SYS_io_setup, 8, &ctx));
	CHECK_ERRNO(syscall(SYS_io_setup, 8, &ctx), EINVAL); /* not zero */
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, &list[1]), EFAULT);
	cb = (struct aio_request){.op = 1, .fd = ro, .buf = (uintptr_t)b, .nbytes = 4};
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EBADF);
	cb.fd = -1;
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EBADF);
	cb.fd = fd, cb.r2 = 1;
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL);
	cb.r2 = 0, cb.rwf = 0x8000000;
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EOPNOTSUPP);
	cb.rwf = 0, cb.op = 6;
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL);
	cb.op = 2;
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL); /* fsync has no buffer */
	cb.op = 1, cb.flags = 1, cb.resfd = ro;
	CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL);
	/* The error of the work itself is an event's; the rest of the list stays. */
	cb.resfd = e, cb.buf = (uintptr_t)bad_ptr();
	CHECK_EQ(syscall(SYS_io_submit, ctx, 2, list), 1);
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 1, 4, ev, NULL), 1);
	CHECK_EQ(ev[0].res, -EFAULT);
	CHECK_EQ(read(e, &v, 8), 8);
	CHECK_EQ(v, 1);
	CHECK_ERRNO(syscall(SYS_io_getevents, ctx, 3, 2, ev, NULL), EINVAL);
	struct { const void *p; size_t n; } iov[2] = {{"ab", 2}, {"cde", 3}};
	cb = (struct aio_request){.op = 8, .fd = fd, .buf = (uintptr_t)iov, .nbytes = 2, .off = 3};
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	cb = (struct aio_request){.op = 3, .fd = fd};
	CHECK_EQ(syscall(SYS_io_submit, ctx, 1, list), 1);
	CHECK_EQ(syscall(SYS_io_getevents, ctx, 2, 4, ev, NULL), 2);
	CHECK_EQ(ev[0].res, 5);
	CHECK_EQ(ev[1].res, 0);
	CHECK_EQ(pread(fd, b, 16, 3), 5);
	CHECK_MEM(b, "abcde", 5);
	/* A child has no part in it. */
	CHILD(c) { CHECK_ERRNO(syscall(SYS_io_submit, ctx, 1, list), EINVAL); }
	CHECK_EXIT(c, 0);
}

