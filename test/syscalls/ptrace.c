//go:build ignore

/* ptrace(2): what strace and gdb rest on. */
#include "test.h"
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

static volatile long value = 0x1111;

/* A child that asked to be traced and stopped itself. */
#define TRACED(pid, options)                                                         \
	pid_t pid = (pid_t)SYS(fork());                                              \
	if (pid == 0) {                                                              \
		SYS(ptrace(PTRACE_TRACEME, 0, 0, 0));                                \
		raise(SIGSTOP);                                                      \
	}                                                                            \
	if (pid != 0) {                                                              \
		int st_ = stop_of(pid);                                              \
		CHECK_EQ(st_, SIGSTOP);                                              \
		SYS(ptrace(PTRACE_SETOPTIONS, pid, 0, (options)));                   \
	}                                                                            \
	if (pid == 0)                                                                \
		for (;; _exit(0))

static int stop_of(pid_t pid)
{
	int st;
	CHECK_EQ(waitpid(pid, &st, __WALL), pid);
	if (!WIFSTOPPED(st))
		FAIL("status %#x, want a stop", st);
	return st >> 8;
}

TEST(ptrace_traceme_peek_poke)
{
	TRACED(c, 0) _exit(value == 0x2222 ? 0 : 1);
	errno = 0;
	CHECK_EQ(ptrace(PTRACE_PEEKDATA, c, &value, 0), 0x1111);
	SYS(ptrace(PTRACE_POKEDATA, c, &value, 0x2222L));
	CHECK_ERRNO(ptrace(PTRACE_PEEKDATA, c, bad_ptr(), 0), EFAULT == errno ? EFAULT : EIO);
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	CHECK_EXIT(c, 0);
	CHECK_EQ(value, 0x1111);
}

TEST(ptrace_syscall_stops)
{
	TRACED(c, PTRACE_O_TRACESYSGOOD) syscall(SYS_getppid);
	struct user_regs_struct r;
	SYS(ptrace(PTRACE_SYSCALL, c, 0, 0));
	for (;;) { /* raise's own calls may come first */
		CHECK_EQ(stop_of(c), SIGTRAP | 0x80);
		SYS(ptrace(PTRACE_GETREGS, c, 0, &r));
		CHECK_EQ((long)r.rax, -ENOSYS);
		if (r.orig_rax == SYS_getppid)
			break;
		SYS(ptrace(PTRACE_SYSCALL, c, 0, 0));
		CHECK_EQ(stop_of(c), SIGTRAP | 0x80);
		SYS(ptrace(PTRACE_SYSCALL, c, 0, 0));
	}
	SYS(ptrace(PTRACE_SYSCALL, c, 0, 0));
	CHECK_EQ(stop_of(c), SIGTRAP | 0x80);
	SYS(ptrace(PTRACE_GETREGS, c, 0, &r));
	CHECK_EQ(r.rax, getpid());
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	CHECK_EXIT(c, 0);
}

TEST(ptrace_changes_a_syscall)
{
	TRACED(c, PTRACE_O_TRACESYSGOOD) _exit(syscall(SYS_getppid) == 77 ? 0 : 1);
	struct user_regs_struct r;
	for (int in = 1;; in = !in) {
		SYS(ptrace(PTRACE_SYSCALL, c, 0, 0));
		CHECK_EQ(stop_of(c), SIGTRAP | 0x80);
		SYS(ptrace(PTRACE_GETREGS, c, 0, &r));
		if (!in && r.orig_rax == SYS_getppid)
			break;
	}
	r.rax = 77;
	SYS(ptrace(PTRACE_SETREGS, c, 0, &r));
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	CHECK_EXIT(c, 0);
}

TEST(ptrace_signal_delivery_stop)
{
	TRACED(c, 0)
	{
		on_signal(SIGUSR1, SIG_DFL, 0);
		raise(SIGUSR1); /* suppressed */
		raise(SIGUSR1); /* delivered */
	}
	siginfo_t si;
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	CHECK_EQ(stop_of(c), SIGUSR1);
	SYS(ptrace(PTRACE_GETSIGINFO, c, 0, &si));
	CHECK_EQ(si.si_signo, SIGUSR1);
	CHECK_EQ(si.si_pid, c);
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	CHECK_EQ(stop_of(c), SIGUSR1);
	SYS(ptrace(PTRACE_CONT, c, 0, SIGUSR1));
	CHECK_KILLED(c, SIGUSR1);
}

TEST(ptrace_single_step)
{
	TRACED(c, 0) __asm__ volatile("nop; nop; nop; nop");
	struct user_regs_struct a, b;
	int moved = 0;
	SYS(ptrace(PTRACE_GETREGS, c, 0, &a));
	for (int i = 0; i < 20; i++) {
		SYS(ptrace(PTRACE_SINGLESTEP, c, 0, 0));
		CHECK_EQ(stop_of(c), SIGTRAP);
		SYS(ptrace(PTRACE_GETREGS, c, 0, &b));
		moved += a.rip != b.rip;
		a = b;
	}
	CHECK(moved >= 15);
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	CHECK_EXIT(c, 0);
}

TEST(ptrace_breakpoint)
{
	TRACED(c, 0) value = 5;
	SYS(ptrace(PTRACE_KILL, c, 0, 0));
	CHECK_KILLED(c, SIGKILL);
	TRACED(d, 0) __asm__ volatile("int3");
	siginfo_t si;
	SYS(ptrace(PTRACE_CONT, d, 0, 0));
	CHECK_EQ(stop_of(d), SIGTRAP);
	SYS(ptrace(PTRACE_GETSIGINFO, d, 0, &si));
	CHECK_EQ(si.si_code, SI_KERNEL);
	SYS(ptrace(PTRACE_CONT, d, 0, 0));
	CHECK_EXIT(d, 0);
}

TEST(ptrace_fork_and_exec_events)
{
	TRACED(c, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT)
	{
		CHILD(g) _exit(4);
		CHECK_EXIT(g, 4);
		helper_exec("done", NULL);
	}
	unsigned long msg;
	int forks = 0, execs = 0, exits = 0, ended = 0;
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	while (ended < 2) {
		int st;
		pid_t p = SYS(waitpid(-1, &st, __WALL));
		if (!WIFSTOPPED(st)) {
			ended++;
			continue;
		}
		int ev = st >> 16, sig = 0;
		if (ev == PTRACE_EVENT_FORK) {
			forks++;
			SYS(ptrace(PTRACE_GETEVENTMSG, p, 0, &msg));
			CHECK(msg > 0 && p == c);
		} else if (ev == PTRACE_EVENT_EXEC) {
			execs++;
		} else if (ev == PTRACE_EVENT_EXIT) {
			exits++;
		} else if (WSTOPSIG(st) != SIGSTOP) {
			sig = WSTOPSIG(st);
		}
		SYS(ptrace(PTRACE_CONT, p, 0, sig));
	}
	CHECK_EQ(forks, 1);
	CHECK_EQ(execs, 1);
	CHECK_EQ(exits, 2);
}

HELPER(done)
{
	return 0;
}

TEST(ptrace_attach_and_detach)
{
	CHILD(c)
		for (;;)
			pause();
	until_blocked(c);
	SYS(ptrace(PTRACE_ATTACH, c, 0, 0));
	CHECK_EQ(stop_of(c), SIGSTOP);
	CHECK_EQ(task_state(c), 't');
	SYS(ptrace(PTRACE_DETACH, c, 0, 0));
	until_blocked(c);
	CHECK_EQ(task_state(c), 'S');
	CHECK_ERRNO(ptrace(PTRACE_CONT, c, 0, 0), ESRCH);
	kill(c, SIGKILL);
	CHECK_KILLED(c, SIGKILL);
}

TEST(ptrace_seize_interrupt)
{
	CHILD(c)
		for (;;)
			pause();
	until_blocked(c);
	SYS(ptrace(PTRACE_SEIZE, c, 0, 0));
	CHECK_EQ(task_state(c), 'S');
	SYS(ptrace(PTRACE_INTERRUPT, c, 0, 0));
	CHECK_EQ(stop_of(c), SIGTRAP | PTRACE_EVENT_STOP << 8);
	struct user_regs_struct r;
	struct iovec v = {&r, sizeof(r)};
	SYS(ptrace(PTRACE_GETREGSET, c, NT_PRSTATUS, &v));
	CHECK_EQ(v.iov_len, sizeof(r));
	CHECK_EQ(r.orig_rax, SYS_pause);
	SYS(ptrace(PTRACE_CONT, c, 0, 0));
	kill(c, SIGKILL);
	CHECK_KILLED(c, SIGKILL);
}

TEST(ptrace_errors)
{
	CHECK_ERRNO(ptrace(PTRACE_ATTACH, getpid(), 0, 0), EPERM);
	CHECK_ERRNO(ptrace(PTRACE_ATTACH, 99999, 0, 0), ESRCH);
	CHECK_ERRNO(ptrace(PTRACE_CONT, getppid(), 0, 0), ESRCH);
	CHILD(c)
	{
		CHILD(d)
		{
			become(1000);
			CHECK_ERRNO(ptrace(PTRACE_ATTACH, getppid(), 0, 0), EPERM);
		}
		CHECK_EXIT(d, 0);
	}
	CHECK_EXIT(c, 0);
}

TEST(ptrace_tracer_death_frees)
{
	CHILD(c)
		for (;;)
			pause();
	CHILD(tracer)
	{
		SYS(ptrace(PTRACE_SEIZE, c, 0, 0));
	}
	CHECK_EXIT(tracer, 0);
	CHECK(task_state(c) == 'S' || task_state(c) == 'R');
	CHILD(killer)
	{
		SYS(ptrace(PTRACE_SEIZE, c, 0, PTRACE_O_EXITKILL));
	}
	CHECK_EXIT(killer, 0);
	CHECK_KILLED(c, SIGKILL);
}
