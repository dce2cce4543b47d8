//go:build ignore

/* Processes: fork, vfork, clone, clone3, exit, wait4, waitid, sessions, prctl, pidfd, sched. */
#include "test.h"
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/user.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static char stack[1 << 16] __attribute__((aligned(64)));
static char buf[4096];
static void nothing(int sig) { (void)sig; }

TEST(fork_gives_pids)
{
	pid_t me = getpid();
	CHILD(c)
	{
		CHECK_EQ(getppid(), me);
		CHECK(getpid() != me);
		CHECK_EQ(gettid_(), getpid());
	}
	CHECK_EXIT(c, 0);
}

TEST(fork_exit_codes)
{
	for (int i = 0; i < 256; i += 51) {
		CHILD(c) _exit(i);
		CHECK_EXIT(c, i);
	}
	CHILD(d) _exit(0x1234);
	CHECK_EXIT(d, 0x34);
	CHILD(e) raise(SIGKILL);
	CHECK_KILLED(e, SIGKILL);
	CHILD(f) abort();
	CHECK_KILLED(f, SIGABRT);
}

TEST(fork_shares_open_files)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	CHILD(c)
	{
		SYS(write(fd, "12345", 5));
		SYS(close(fd));
	}
	CHECK_EXIT(c, 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
}

TEST(fork_many_and_reap)
{
	pid_t p[60];
	for (int i = 0; i < 60; i++) {
		CHILD(c) _exit(i);
		p[i] = c;
	}
	for (int i = 59; i >= 0; i--)
		CHECK_EXIT(p[i], i);
	CHECK_ERRNO(wait(NULL), ECHILD);
}

TEST(fork_deep_chain)
{
	int n = 0;
	for (; n < 20; n++) {
		pid_t c = SYS(fork());
		if (c) {
			int st = wait_status(c);
			CHECK(WIFEXITED(st));
			_exit(n == 0 ? (WEXITSTATUS(st) == 20 ? 0 : 1) : WEXITSTATUS(st));
		}
	}
	_exit(n);
}

TEST(vfork_parent_waits_and_shares_memory)
{
	static volatile int x;
	x = 1;
	pid_t c = vfork();
	if (c == 0) {
		x = 2;
		sleep_ms(30);
		x = 3;
		_exit(4);
	}
	CHECK_EQ(x, 3);
	CHECK_EXIT(c, 4);
}

TEST(vfork_ends_at_exec)
{
	pid_t c = vfork();
	if (c == 0) {
		execl(test_program, test_program, "--helper", "sleeper", NULL);
		_exit(1);
	}
	SYS(c);
	CHECK_EQ(waitpid(c, NULL, WNOHANG), 0);
	SYS(kill(c, SIGKILL));
	CHECK_KILLED(c, SIGKILL);
}

HELPER(sleeper)
{
	sleep_ms(20000);
	return 0;
}

static int child_fn(void *arg)
{
	*(volatile int *)arg += 1;
	return 7;
}

TEST(clone_vm_and_exit_signal)
{
	static volatile int x;
	x = 1;
	pid_t c = SYS(clone(child_fn, stack + sizeof(stack), CLONE_VM | SIGCHLD, (void *)&x));
	CHECK_EXIT(c, 7);
	CHECK_EQ(x, 2);
	x = 1;
	c = SYS(clone(child_fn, stack + sizeof(stack), SIGCHLD, (void *)&x));
	CHECK_EXIT(c, 7);
	CHECK_EQ(x, 1);
	/* Without SIGCHLD the child is seen only with __WCLONE or __WALL. */
	c = SYS(clone(child_fn, stack + sizeof(stack), SIGUSR1 * 0, (void *)&x));
	sleep_ms(20);
	CHECK_ERRNO(waitpid(c, NULL, 0), ECHILD);
	CHECK_EQ(waitpid(c, NULL, __WCLONE), c);
	c = SYS(clone(child_fn, stack + sizeof(stack), 0, (void *)&x));
	CHECK_EQ(waitpid(c, NULL, __WALL), c);
}

static int close_and_chdir(void *fd)
{
	close(*(int *)fd);
	chdir("/");
	umask(077);
	return 0;
}

TEST(clone_files_and_fs)
{
	int fd = SYS(dup(0));
	pid_t c = SYS(clone(close_and_chdir, stack + sizeof(stack), CLONE_FILES | CLONE_FS | SIGCHLD, &fd));
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
	CHECK_STR(getcwd(buf, sizeof(buf)), "/");
	CHECK_EQ(umask(022), 077);
	fd = SYS(dup(0));
	c = SYS(clone(close_and_chdir, stack + sizeof(stack), SIGCHLD, &fd));
	CHECK_EXIT(c, 0);
	SYS(fcntl(fd, F_GETFD));
}

TEST(clone_parent_flag)
{
	pid_t grandparent = getpid();
	int p[2];
	SYS(pipe(p));
	CHILD(c)
	{
		pid_t g = SYS(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0));
		if (g == 0) {
			_exit(getppid() == grandparent ? 9 : 1);
		}
		SYS(write(p[1], &g, sizeof(g)));
	}
	CHECK_EXIT(c, 0);
	pid_t g;
	SYS(read(p[0], &g, sizeof(g)));
	CHECK_EXIT(g, 9);
}

TEST(clone_tid_words)
{
	static volatile pid_t ptid, ctid;
	ptid = ctid = 0;
	pid_t c = SYS(syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &ptid, &ctid, 0));
	if (c == 0)
		_exit(ctid == getpid() ? 0 : 1);
	CHECK_EQ(ptid, c);
	CHECK_EQ(ctid, 0);
	CHECK_EXIT(c, 0);
}

TEST(clone_errors)
{
	CHECK_ERRNO(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0), EINVAL);
	CHECK_ERRNO(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), EINVAL);
	CHECK_ERRNO(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0), EINVAL);
	struct clone_args a = {.exit_signal = 200};
	CHECK_ERRNO(syscall(SYS_clone3, &a, sizeof(a)), EINVAL);
	CHECK_ERRNO(syscall(SYS_clone3, &a, 8), EINVAL);
	CHECK_ERRNO(syscall(SYS_clone3, bad_ptr(), sizeof(a)), EFAULT);
	a = (struct clone_args){.flags = 1UL << 60};
	CHECK_ERRNO(syscall(SYS_clone3, &a, sizeof(a)), EINVAL);
}

TEST(clone3_with_pidfd)
{
	int pidfd = -1;
	struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	pid_t c = SYS(syscall(SYS_clone3, &a, sizeof(a)));
	if (c == 0)
		_exit(3);
	CHECK(pidfd >= 0);
	CHECK_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	struct pollfd pf = {.fd = pidfd, .events = POLLIN};
	CHECK_EQ(poll(&pf, 1, 5000), 1);
	siginfo_t si;
	SYS(waitid(P_PIDFD, pidfd, &si, WEXITED));
	CHECK_EQ(si.si_status, 3);
	CHECK_EQ(si.si_pid, c);
}

TEST(wait4_options)
{
	CHECK_ERRNO(waitpid(-1, NULL, 0), ECHILD);
	CHECK_ERRNO(waitpid(-1, NULL, 0x4000), EINVAL);
	CHECK_ERRNO(syscall(SYS_wait4, INT_MIN, 0, 0, 0), ESRCH);
	int p[2];
	SYS(pipe(p));
	CHILD(c)
	{
		raise(SIGSTOP);
		SYS(read(p[0], buf, 1));
		_exit(5);
	}
	int st;
	CHECK_EQ(waitpid(c, &st, WUNTRACED), c);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	CHECK_EQ(waitpid(c, &st, WUNTRACED | WNOHANG), 0); /* told once */
	SYS(kill(c, SIGCONT));
	CHECK_EQ(waitpid(c, &st, WCONTINUED), c);
	CHECK(WIFCONTINUED(st));
	SYS(write(p[1], "x", 1));
	struct rusage ru;
	CHECK_EQ(wait4(c, &st, 0, &ru), c);
	CHECK_EQ(WEXITSTATUS(st), 5);
	CHECK_ERRNO(waitpid(c, &st, 0), ECHILD);
}

TEST(wait_by_group)
{
	CHILD(a) _exit(1);
	CHILD(b)
	{
		setpgid(0, 0);
		_exit(2);
	}
	setpgid(b, b);
	int st;
	CHECK_EQ(waitpid(-b, &st, 0), b);
	CHECK_EQ(WEXITSTATUS(st), 2);
	CHECK_EQ(waitpid(0, &st, 0), a);
	CHECK_ERRNO(waitpid(-b, &st, 0), ECHILD);
}

TEST(waitid_everything)
{
	siginfo_t si;
	CHILD(c)
	{
		raise(SIGSTOP);
		raise(SIGTERM);
	}
	SYS(waitid(P_PID, c, &si, WSTOPPED));
	CHECK_EQ(si.si_code, CLD_STOPPED);
	CHECK_EQ(si.si_status, SIGSTOP);
	SYS(kill(c, SIGCONT));
	SYS(waitid(P_PID, c, &si, WEXITED | WNOWAIT));
	CHECK_EQ(si.si_code, CLD_KILLED);
	CHECK_EQ(si.si_status, SIGTERM);
	CHECK_EQ(si.si_pid, c);
	CHECK_EQ(si.si_uid, 0);
	CHECK_EQ(si.si_signo, SIGCHLD);
	SYS(waitid(P_ALL, 0, &si, WEXITED));
	CHECK_ERRNO(waitid(P_ALL, 0, &si, WEXITED), ECHILD);
	CHILD(d) sleep_ms(20000);
	si.si_pid = 99;
	SYS(waitid(P_PGID, getpgrp(), &si, WEXITED | WNOHANG));
	CHECK_EQ(si.si_pid, 0);
	CHECK_ERRNO(waitid(P_PID, d, &si, 0), EINVAL);
	CHECK_ERRNO(waitid(9, d, &si, WEXITED), EINVAL);
	CHECK_ERRNO(waitid(P_PIDFD, 0, &si, WEXITED), EBADF);
	kill(d, SIGKILL);
	SYS(waitid(P_PID, d, NULL, WEXITED));
}

TEST(wait_is_interrupted)
{
	CHILD(c) sleep_ms(20000);
	pid_t me = getpid();
	on_signal(SIGUSR1, nothing, 0);
	CHILD(k)
	{
		until_blocked(me);
		kill(me, SIGUSR1);
	}
	CHECK_ERRNO(waitpid(c, NULL, 0), EINTR);
	kill(c, SIGKILL);
	CHECK_KILLED(c, SIGKILL);
	CHECK_EXIT(k, 0);
}

TEST(sigchld_ignored_reaps)
{
	on_signal(SIGCHLD, SIG_IGN, 0);
	CHILD(c) _exit(0);
	(void)c;
	CHECK_ERRNO(waitpid(-1, NULL, 0), ECHILD); /* waits, then finds none */
	on_signal(SIGCHLD, nothing, SA_NOCLDWAIT);
	CHILD(d) _exit(0);
	(void)d;
	while (waitpid(-1, NULL, 0) == -1 && errno == EINTR)
		;
	CHECK_ERRNO(waitpid(-1, NULL, 0), ECHILD);
}

TEST(orphans_go_to_the_subreaper)
{
	int v = 0;
	SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
	SYS(prctl(PR_GET_CHILD_SUBREAPER, &v));
	CHECK_EQ(v, 1);
	pid_t me = getpid();
	int p[2];
	SYS(pipe(p));
	CHILD(c)
	{
		CHILD(g)
		{
			for (int i = 0; getppid() != me && i < 1000; i++)
				sleep_ms(2);
			_exit(getppid() == me ? 11 : 12);
		}
		SYS(write(p[1], &g, sizeof(g)));
	}
	CHECK_EXIT(c, 0);
	pid_t g;
	SYS(read(p[0], &g, sizeof(g)));
	CHECK_EXIT(g, 11);
}

TEST(pdeathsig)
{
	int p[2];
	char b;
	SYS(pipe(p));
	SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHILD(c)
	{
		CHILD(g)
		{
			SYS(prctl(PR_SET_PDEATHSIG, SIGUSR2));
			int sig;
			SYS(prctl(PR_GET_PDEATHSIG, &sig));
			CHECK_EQ(sig, SIGUSR2);
			SYS(write(p[1], "r", 1));
			sleep_ms(20000);
		}
		(void)g;
		SYS(read(p[0], &b, 1));
	}
	CHECK_EXIT(c, 0);
	int st;
	CHECK(wait(&st) > 0);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGUSR2);
	CHECK_ERRNO(prctl(PR_SET_PDEATHSIG, 100), EINVAL);
}

TEST(sessions_and_groups)
{
	CHECK_EQ(getsid(0), getpid()); /* the harness made one */
	CHECK_EQ(getpgrp(), getpid());
	CHECK_ERRNO(setsid(), EPERM);
	CHECK_ERRNO(setpgid(0, -1), EINVAL);
	CHECK_ERRNO(setpgid(99999, 0), ESRCH);
	CHECK_ERRNO(getpgid(99999), ESRCH);
	CHECK_ERRNO(getsid(99999), ESRCH);
	CHECK_ERRNO(setpgid(0, 0), EPERM); /* a session leader */
	int p[2];
	char b;
	SYS(pipe(p));
	CHILD(c)
	{
		SYS(read(p[0], &b, 1));
		CHECK_EQ(getpgrp(), getpid());
		CHECK_EQ(setsid() == -1 && errno == EPERM, 1); /* it leads a group */
	}
	SYS(setpgid(c, c));
	CHECK_EQ(getpgid(c), c);
	CHECK_ERRNO(setpgid(c, 99999), EPERM);
	SYS(write(p[1], "x", 1));
	CHECK_EXIT(c, 0);
	CHILD(d)
	{
		CHECK_EQ(SYS(setsid()), getpid());
		CHECK_EQ(getpgrp(), getpid());
	}
	CHECK_EXIT(d, 0);
}

TEST(kill_targets)
{
	CHECK_ERRNO(kill(99999, 0), ESRCH);
	CHECK_ERRNO(kill(getpid(), 65), EINVAL);
	SYS(kill(getpid(), 0));
	CHILD(a)
	{
		setpgid(0, 0);
		sleep_ms(20000);
	}
	setpgid(a, a);
	CHILD(b)
	{
		setpgid(0, a);
		sleep_ms(20000);
	}
	setpgid(b, a);
	SYS(kill(-a, SIGTERM));
	CHECK_KILLED(a, SIGTERM);
	CHECK_KILLED(b, SIGTERM);
	CHECK_ERRNO(kill(-a, SIGTERM), ESRCH);
	CHILD(c)
	{
		become(1000);
		CHECK_ERRNO(kill(getppid(), SIGTERM), EPERM);
		CHECK_ERRNO(kill(getppid(), 0), EPERM);
	}
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(syscall(SYS_tgkill, getpid(), -1, 0), EINVAL);
	CHECK_ERRNO(syscall(SYS_tgkill, getpid(), 99999, 0), ESRCH);
	SYS(syscall(SYS_tkill, gettid_(), 0));
}

TEST(zombie_can_be_signalled)
{
	CHILD(c) _exit(0);
	until_blocked(c);
	CHECK_EQ(task_state(c), 'Z');
	SYS(kill(c, SIGKILL));
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(kill(c, 0), ESRCH);
}

TEST(prctl_name)
{
	char name[16];
	SYS(prctl(PR_SET_NAME, "a-very-long-name-here"));
	SYS(prctl(PR_GET_NAME, name));
	CHECK_STR(name, "a-very-long-nam");
	get_file("/proc/self/comm", buf, sizeof(buf));
	CHECK_STR(buf, "a-very-long-nam\n");
	SYS(put_file("/proc/self/comm", "other"));
	SYS(prctl(PR_GET_NAME, name));
	CHECK_STR(name, "other");
	CHECK_ERRNO(prctl(PR_SET_NAME, bad_ptr()), EFAULT);
	CHECK_ERRNO(prctl(12345), EINVAL);
}

TEST(prctl_dumpable_and_no_new_privs)
{
	CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
	SYS(prctl(PR_SET_DUMPABLE, 0));
	CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
	CHECK_ERRNO(prctl(PR_SET_DUMPABLE, 2), EINVAL);
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	CHECK_ERRNO(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHILD(c) CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK_EXIT(c, 0);
}

TEST(prctl_timerslack_and_keepcaps)
{
	SYS(prctl(PR_SET_TIMERSLACK, 12345));
	CHECK_EQ(prctl(PR_GET_TIMERSLACK), 12345);
	SYS(prctl(PR_SET_KEEPCAPS, 1));
	CHECK_EQ(prctl(PR_GET_KEEPCAPS), 1);
	CHECK_ERRNO(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
}

TEST(pidfd_open_signal_poll)
{
	CHILD(c) sleep_ms(20000);
	int fd = SYS(syscall(SYS_pidfd_open, c, 0));
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 0), 0);
	SYS(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	SYS(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_KILLED(c, SIGTERM);
	CHECK_ERRNO(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0), ESRCH);
	CHECK_ERRNO(syscall(SYS_pidfd_open, c, 0), ESRCH);
	CHECK_ERRNO(syscall(SYS_pidfd_open, -1, 0), EINVAL);
	CHECK_ERRNO(syscall(SYS_pidfd_open, getpid(), 1 << 20), EINVAL);
	CHECK_ERRNO(syscall(SYS_pidfd_send_signal, 0, SIGTERM, NULL, 0), EBADF);
}

TEST(pidfd_send_signal_takes_a_directory_of_proc)
{
	char path[40];
	CHILD(c) pause();
	snprintf(path, sizeof path, "/proc/%d", c);
	int dir = SYS(open(path, O_DIRECTORY | O_RDONLY)), name = SYS(open(path, O_PATH));
	snprintf(path, sizeof path, "/proc/%d/task/%d", c, c);
	int thread = SYS(open(path, O_DIRECTORY | O_RDONLY)), fd = SYS(open("/proc", O_DIRECTORY | O_RDONLY));
	CHECK_ERRNO(syscall(SYS_pidfd_send_signal, name, 0, NULL, 0), EBADF);
	CHECK_ERRNO(syscall(SYS_pidfd_send_signal, thread, 0, NULL, 0), EBADF);
	CHECK_ERRNO(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), EBADF);
	SYS(syscall(SYS_pidfd_send_signal, dir, SIGTERM, NULL, 0));
	CHECK_KILLED(c, SIGTERM);
	CHECK_ERRNO(syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0), ESRCH);
}

TEST(pidfd_getfd_copies)
{
	SYS(put_file("f", "child's"));
	int p[2], q[2];
	SYS(pipe(p));
	SYS(pipe(q));
	CHILD(c)
	{
		int fd = SYS(open("f", O_RDONLY));
		SYS(write(p[1], &fd, sizeof(fd)));
		SYS(read(q[0], buf, 1));
	}
	int theirs;
	SYS(read(p[0], &theirs, sizeof(theirs)));
	int pidfd = SYS(syscall(SYS_pidfd_open, c, 0));
	int mine = SYS(syscall(SYS_pidfd_getfd, pidfd, theirs, 0));
	CHECK_EQ(read(mine, buf, 100), 7);
	CHECK_ERRNO(syscall(SYS_pidfd_getfd, pidfd, 500, 0), EBADF);
	SYS(write(q[1], "x", 1));
	CHECK_EXIT(c, 0);
}

TEST(sched_affinity)
{
	cpu_set_t set, one;
	CPU_ZERO(&set);
	SYS(sched_getaffinity(0, sizeof(set), &set));
	CHECK(CPU_COUNT(&set) >= 1);
	int cpu = 0;
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	SYS(sched_setaffinity(0, sizeof(one), &one));
	CPU_ZERO(&set);
	SYS(sched_getaffinity(0, sizeof(set), &set));
	CHECK_EQ(CPU_COUNT(&set), 1);
	CHECK(CPU_ISSET(cpu, &set));
	CPU_ZERO(&one);
	CHECK_ERRNO(sched_setaffinity(0, sizeof(one), &one), EINVAL);
	CHECK_ERRNO(sched_getaffinity(0, 1, &set), EINVAL);
	CHECK_ERRNO(sched_getaffinity(99999, sizeof(set), &set), ESRCH);
	unsigned c = 99, n = 99;
	SYS(syscall(SYS_getcpu, &c, &n, NULL));
	CHECK_EQ(c, cpu);
}

TEST(sched_policies)
{
	struct sched_param sp = {0};
	CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
	SYS(sched_setscheduler(0, SCHED_BATCH, &sp));
	CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
	SYS(sched_getparam(0, &sp));
	CHECK_EQ(sp.sched_priority, 0);
	sp.sched_priority = 5;
	CHECK_ERRNO(sched_setscheduler(0, SCHED_OTHER, &sp), EINVAL);
	CHECK_ERRNO(sched_setscheduler(0, 77, &sp), EINVAL);
	CHECK_ERRNO(sched_setscheduler(99999, SCHED_OTHER, &sp), ESRCH);
	CHECK_ERRNO(sched_getparam(0, NULL), EINVAL);
	CHECK_EQ(sched_get_priority_max(SCHED_FIFO), 99);
	CHECK_EQ(sched_get_priority_min(SCHED_RR), 1);
	CHECK_EQ(sched_get_priority_max(SCHED_OTHER), 0);
	struct timespec ts;
	SYS(sched_rr_get_interval(0, &ts));
	SYS(sched_yield());
}

TEST(nice_and_priority)
{
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 0);
	SYS(setpriority(PRIO_PROCESS, 0, 7));
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 7);
	CHECK_EQ(nice(5), 12);
	SYS(setpriority(PRIO_PROCESS, 0, 100));
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
	CHILD(c)
	{
		CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
		become(1000);
		CHECK_ERRNO(setpriority(PRIO_PROCESS, 0, 0), EACCES);
	}
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(setpriority(9, 0, 0), EINVAL);
	CHECK_ERRNO(setpriority(PRIO_PROCESS, 99999, 0), ESRCH);
}

static void *thread_exit_group(void *arg)
{
	(void)arg;
	syscall(SYS_exit_group, 42);
	return NULL;
}

TEST(exit_group_ends_all_threads)
{
	CHILD(c)
	{
		pthread_t t;
		pthread_create(&t, NULL, thread_exit_group, NULL);
		for (;;)
			pause();
	}
	CHECK_EXIT(c, 42);
}

static void *thread_sleep(void *arg)
{
	sleep_ms((long)arg);
	return NULL;
}

static void *thread_sleep_and_exit(void *arg)
{
	sleep_ms((long)arg);
	syscall(SYS_exit, 6);
	return NULL;
}

TEST(leader_exit_leaves_a_zombie_until_the_last_thread)
{
	CHILD(c)
	{
		pthread_t t;
		pthread_create(&t, NULL, thread_sleep_and_exit, (void *)100L);
		syscall(SYS_exit, 5);
	}
	sleep_ms(30);
	CHECK_EQ(waitpid(c, NULL, WNOHANG), 0);
	CHECK_EXIT(c, 6); /* the last one's code; before Linux 5.17 it was the leader's */
}

static void *thread_fork(void *arg)
{
	(void)arg;
	CHILD(c) CHECK_EQ(gettid_(), getpid());
	CHECK_EXIT(c, 0);
	return NULL;
}

TEST(threads_share_and_fork)
{
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, thread_fork, NULL), 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;

static void *thread_count(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

TEST(threads_count_under_a_mutex)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, thread_count, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(counter, 80000);
}

TEST(threads_many)
{
	pthread_t t[100];
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 * 1024);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(pthread_create(&t[i], &a, thread_sleep, (void *)20L), 0);
	for (int i = 0; i < 100; i++)
		pthread_join(t[i], NULL);
}

static __thread int tls = 5;
static void *thread_tls(void *arg)
{
	CHECK_EQ(tls, 5);
	tls = (long)arg;
	sched_yield();
	CHECK_EQ(tls, (long)arg);
	return NULL;
}

TEST(threads_have_their_own_tls)
{
	pthread_t t[10];
	for (long i = 0; i < 10; i++)
		pthread_create(&t[i], NULL, thread_tls, (void *)i);
	for (int i = 0; i < 10; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(tls, 5);
}

TEST(arch_prctl_fs_gs)
{
	unsigned long v = 0;
	SYS(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &v));
	CHECK(v != 0);
	static unsigned long data[2] = {0x1234, 0};
	SYS(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, data));
	unsigned long got;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
	CHECK_EQ(got, 0x1234);
	SYS(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &v));
	CHECK_EQ(v, (unsigned long)data);
	CHECK_ERRNO(syscall(SYS_arch_prctl, 0x1002, 1UL << 63), EPERM);
	CHECK_ERRNO(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
}

TEST(syscall_registers_survive)
{
	/* Only rax, rcx and r11 may change. */
	unsigned long r[6] = {1, 2, 3, 4, 5, 6}, ret;
	__asm__ volatile(
	    "mov $0x1111, %%rbx; mov $0x2222, %%r12; mov $0x3333, %%r13; mov $0x4444, %%r14; mov $0x5555, %%r15\n"
	    "mov $39, %%eax; mov $0x66, %%edi; mov $0x77, %%esi; mov $0x88, %%edx; mov $0x99, %%r10d; mov $0xaa, %%r8d; mov $0xbb, %%r9d\n"
	    "syscall\n"
	    "mov %%rax, %0; mov %%rbx, %1; mov %%r15, %2; mov %%rdi, %3; mov %%r10, %4; mov %%r9, %5; mov %%rdx, %6\n"
	    : "=m"(ret), "=m"(r[0]), "=m"(r[1]), "=m"(r[2]), "=m"(r[3]), "=m"(r[4]), "=m"(r[5])
	    :
	    : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
	CHECK_EQ(ret, getpid());
	CHECK_EQ(r[0], 0x1111);
	CHECK_EQ(r[1], 0x5555);
	CHECK_EQ(r[2], 0x66);
	CHECK_EQ(r[3], 0x99);
	CHECK_EQ(r[4], 0xbb);
	CHECK_EQ(r[5], 0x88);
}

TEST(fpu_state_survives_syscalls_and_switches)
{
	CHILD(c)
	{
		for (int i = 0; i < 2000; i++)
			sched_yield();
	}
	double x = 1.0, y = 1.0;
	for (int i = 1; i < 2000; i++) {
		x += 1.0 / i;
		sched_yield();
	}
	for (int i = 1; i < 2000; i++)
		y += 1.0 / i;
	CHECK(x == y);
	CHECK_EXIT(c, 0);
}

TEST(unknown_syscalls_are_enosys)
{
	CHECK_ERRNO(syscall(600), ENOSYS);
	CHECK_ERRNO(syscall(100000), ENOSYS);
	CHECK_ERRNO(syscall(-5), ENOSYS);
}

TEST(times_and_rusage)
{
	struct rusage ru;
	struct tms t;
	for (volatile long i = 0; i < 60000000; i++)
		;
	SYS(getrusage(RUSAGE_SELF, &ru));
	CHECK(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec > 0);
	CHECK(ru.ru_maxrss > 0);
	SYS(getrusage(RUSAGE_THREAD, &ru));
	SYS(getrusage(RUSAGE_CHILDREN, &ru));
	CHECK_ERRNO(getrusage(5, &ru), EINVAL);
	CHECK_ERRNO(getrusage(RUSAGE_SELF, bad_ptr()), EFAULT);
	CHECK(times(&t) != -1);
	CHECK_EQ(t.tms_cutime, 0);
	CHILD(c)
		for (volatile long i = 0; i < 200000000; i++)
			;
	CHECK_EXIT(c, 0);
	times(&t);
	CHECK(t.tms_cutime + t.tms_cstime > 0);
}

TEST(setns_unshare_files)
{
	SYS(unshare(CLONE_FILES));
	SYS(unshare(CLONE_FS));
	CHECK_ERRNO(unshare(0x1), EINVAL);
	CHECK_ERRNO(setns(0, 0), EINVAL);
	CHECK_ERRNO(setns(-1, 0), EBADF);
}

/* A loop over one call site, which a kernel may have made cheap. */
static void hot_getpid(pid_t want)
{
	for (int i = 0; i < 200; i++)
		CHECK_EQ(getpid(), want);
}

static void *hot_getpid_thread(void *arg)
{
	hot_getpid(*(pid_t *)arg);
	return NULL;
}

TEST(getpid_that_is_hot_follows_fork_vfork_and_threads)
{
	pid_t me = getpid();
	hot_getpid(me);
	CHILD(c)
	{
		CHECK(getpid() != me);
		hot_getpid(gettid_());
		CHILD(d) hot_getpid(gettid_());
		CHECK_EXIT(d, 0);
	}
	CHECK_EXIT(c, 0);
	pthread_t th;
	CHECK_EQ(pthread_create(&th, NULL, hot_getpid_thread, &me), 0);
	hot_getpid(me);
	CHECK_EQ(pthread_join(th, NULL), 0);
	pid_t v = vfork();
	if (v == 0) {
		pid_t mine = (pid_t)gettid_();
		for (int i = 0; i < 200; i++)
			if (getpid() != mine || mine == me)
				_exit(1);
		_exit(0);
	}
	CHECK_EXIT(v, 0);
	hot_getpid(me);
}

TEST(getpid_that_is_hot_meets_a_filter)
{
	hot_getpid(getpid());
	struct sock_filter code[] = {
		{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
		{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_getpid},
		{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EXDEV},
		{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
	};
	struct sock_fprog prog = {4, code};
	SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	for (int i = 0; i < 200; i++) /* the C library knows of no error */
		CHECK_EQ(getpid(), -EXDEV);
	CHILD(c) for (int i = 0; i < 200; i++) CHECK_EQ(getpid(), -EXDEV);
	CHECK_EXIT(c, 0);
}

TEST(getpid_that_is_hot_is_seen_by_a_tracer)
{
	CHILD(c)
	{
		hot_getpid(getpid());
		SYS(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		hot_getpid(getpid());
	}
	int status, calls = 0;
	CHECK_EQ(waitpid(c, &status, 0), c);
	CHECK(WIFSTOPPED(status));
	for (;;) {
		SYS(ptrace(PTRACE_SYSCALL, c, 0, 0));
		CHECK_EQ(waitpid(c, &status, 0), c);
		if (!WIFSTOPPED(status))
			break;
		struct user_regs_struct regs;
		SYS(ptrace(PTRACE_GETREGS, c, 0, &regs));
		if (regs.orig_rax == SYS_getpid)
			calls++;
	}
	CHECK_EQ(WEXITSTATUS(status), 0);
	CHECK_EQ(calls, 2 * 201);
}
