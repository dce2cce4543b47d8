//go:build ignore

/* Signals: delivery, masks, queues, flags, alternate stacks, restarts, faults, stopping. */
#include "test.h"
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/select.h>
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static volatile sig_atomic_t count, last;
static volatile siginfo_t info;
static sigjmp_buf jump;
static char buf[256];

static void counter(int sig) { count++, last = sig; }
static void recorder(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	count++, last = sig;
	info = *si;
}

static void record(int sig, int flags)
{
	struct sigaction sa = {.sa_sigaction = recorder, .sa_flags = SA_SIGINFO | flags};
	SYS(sigaction(sig, &sa, NULL));
}

static sigset_t set_of(int sig)
{
	sigset_t s;
	sigemptyset(&s);
	if (sig)
		sigaddset(&s, sig);
	return s;
}

static void block(int sig)
{
	sigset_t s = set_of(sig);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
}

static void unblock(int sig)
{
	sigset_t s = set_of(sig);
	SYS(sigprocmask(SIG_UNBLOCK, &s, NULL));
}

TEST(signal_handler_runs)
{
	on_signal(SIGUSR1, counter, 0);
	SYS(raise(SIGUSR1));
	SYS(kill(getpid(), SIGUSR1));
	CHECK_EQ(count, 2);
	CHECK_EQ(last, SIGUSR1);
}

TEST(signal_default_actions)
{
	static const struct { int sig, dies; } t[] = {{SIGTERM, 1}, {SIGHUP, 1}, {SIGINT, 1}, {SIGPIPE, 1}, {SIGALRM, 1}, {SIGUSR1, 1}, {SIGCHLD, 0}, {SIGWINCH, 0}, {SIGURG, 0}, {SIGCONT, 0}, {SIGPWR, 1}, {SIGSTKFLT, 1}, {SIGQUIT, 1}, {SIGSYS, 1}, {SIGXCPU, 1}};
	for (size_t i = 0; i < LEN(t); i++) {
		CHILD(c) raise(t[i].sig);
		if (t[i].dies)
			CHECK_KILLED(c, t[i].sig);
		else
			CHECK_EXIT(c, 0);
	}
	CHILD(d) raise(SIGRTMIN + 3);
	CHECK_KILLED(d, SIGRTMIN + 3);
}

TEST(sigaction_errors_and_old)
{
	struct sigaction sa = {.sa_handler = counter, .sa_flags = SA_RESTART}, old;
	CHECK_ERRNO(sigaction(SIGKILL, &sa, NULL), EINVAL);
	CHECK_ERRNO(sigaction(SIGSTOP, &sa, NULL), EINVAL);
	CHECK_ERRNO(sigaction(65, &sa, NULL), EINVAL);
	CHECK_ERRNO(sigaction(0, &sa, NULL), EINVAL);
	CHECK_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, &sa, NULL, 4), EINVAL);
	CHECK_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, bad_ptr(), NULL, 8), EFAULT);
	SYS(sigaction(SIGUSR1, &sa, NULL));
	SYS(sigaction(SIGUSR1, NULL, &old));
	CHECK(old.sa_handler == counter);
	CHECK_EQ(old.sa_flags & SA_RESTART, SA_RESTART);
}

TEST(signal_mask_defers)
{
	sigset_t pend;
	on_signal(SIGUSR1, counter, 0);
	block(SIGUSR1);
	raise(SIGUSR1);
	raise(SIGUSR1);
	CHECK_EQ(count, 0);
	SYS(sigpending(&pend));
	CHECK(sigismember(&pend, SIGUSR1));
	unblock(SIGUSR1);
	CHECK_EQ(count, 1); /* standard signals do not queue */
	CHECK_ERRNO(syscall(SYS_rt_sigprocmask, 9, &pend, NULL, 8), EINVAL);
	CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &pend, NULL, 4), EINVAL);
	CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad_ptr(), NULL, 8), EFAULT);
	/* KILL and STOP cannot be blocked. */
	sigset_t all, now;
	sigfillset(&all);
	SYS(sigprocmask(SIG_SETMASK, &all, NULL));
	SYS(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(!sigismember(&now, SIGKILL) && !sigismember(&now, SIGSTOP));
}

static int order[64], norder;
static void order_handler(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	order[norder++] = sig * 100 + si->si_value.sival_int;
}

TEST(signal_realtime_queue_in_order)
{
	struct sigaction sa = {.sa_sigaction = order_handler, .sa_flags = SA_SIGINFO};
	sigfillset(&sa.sa_mask);
	int a = SIGRTMIN + 1, b = SIGRTMIN + 2;
	SYS(sigaction(a, &sa, NULL));
	SYS(sigaction(b, &sa, NULL));
	block(a);
	block(b);
	for (int i = 0; i < 3; i++) {
		SYS(sigqueue(getpid(), b, (union sigval){.sival_int = i}));
		SYS(sigqueue(getpid(), a, (union sigval){.sival_int = i}));
	}
	sigset_t s = set_of(a);
	sigaddset(&s, b);
	SYS(sigprocmask(SIG_UNBLOCK, &s, NULL));
	CHECK_EQ(norder, 6);
	for (int i = 0; i < 3; i++) {
		/* With every signal masked in the handler, each runs to its end: lowest first. */
		CHECK_EQ(order[i], a * 100 + i);
		CHECK_EQ(order[3 + i], b * 100 + i);
	}
}

TEST(signal_queue_limit)
{
	struct rlimit rl = {5, 5};
	SYS(setrlimit(RLIMIT_SIGPENDING, &rl));
	CHILD(c)
	{
		become(4321);
		block(SIGRTMIN);
		int n = 0;
		while (n < 100 && sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0)
			n++;
		CHECK_ERRNO(sigqueue(getpid(), SIGRTMIN, (union sigval){0}), EAGAIN);
		CHECK(n <= 5 && n >= 3);
	}
	CHECK_EXIT(c, 0);
}

TEST(siginfo_of_kill_sigqueue_tgkill)
{
	record(SIGUSR1, 0);
	SYS(kill(getpid(), SIGUSR1));
	CHECK_EQ(info.si_code, SI_USER);
	CHECK_EQ(info.si_pid, getpid());
	CHECK_EQ(info.si_uid, 0);
	SYS(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 77}));
	CHECK_EQ(info.si_code, SI_QUEUE);
	CHECK_EQ(info.si_value.sival_int, 77);
	SYS(syscall(SYS_tgkill, getpid(), gettid_(), SIGUSR1));
	CHECK_EQ(info.si_code, SI_TKILL);
	siginfo_t si = {.si_signo = SIGUSR1, .si_code = SI_USER};
	CHILD(c) CHECK_ERRNO(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &si), EPERM);
	CHECK_EXIT(c, 0);
}

TEST(siginfo_of_sigchld)
{
	record(SIGCHLD, 0);
	block(SIGCHLD);
	CHILD(c) _exit(33);
	until_blocked(c);
	unblock(SIGCHLD);
	CHECK_EQ(count, 1);
	CHECK_EQ(info.si_code, CLD_EXITED);
	CHECK_EQ(info.si_status, 33);
	CHECK_EQ(info.si_pid, c);
}

TEST(sa_nodefer_and_resethand)
{
	struct sigaction sa = {.sa_handler = counter, .sa_flags = SA_RESETHAND}, now;
	SYS(sigaction(SIGUSR1, &sa, NULL));
	raise(SIGUSR1);
	SYS(sigaction(SIGUSR1, NULL, &now));
	CHECK(now.sa_handler == SIG_DFL);
	CHILD(c)
	{
		SYS(sigaction(SIGUSR1, &sa, NULL));
		raise(SIGUSR1);
		raise(SIGUSR1);
	}
	CHECK_KILLED(c, SIGUSR1);
}

static volatile int depth, deepest;
static void nested(int sig)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (count++ < 3)
		raise(sig);
	depth--;
}

TEST(sa_nodefer_nests)
{
	on_signal(SIGUSR1, nested, 0);
	raise(SIGUSR1);
	CHECK_EQ(deepest, 1);
	CHECK_EQ(count, 4);
	count = deepest = 0;
	on_signal(SIGUSR1, nested, SA_NODEFER);
	raise(SIGUSR1);
	CHECK_EQ(deepest, 4);
}

static void mask_checker(int sig)
{
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	count = sigismember(&now, sig) + 2 * sigismember(&now, SIGUSR2) + 4 * sigismember(&now, SIGHUP);
}

TEST(sa_mask_applies_during_the_handler)
{
	struct sigaction sa = {.sa_handler = mask_checker};
	sigset_t now;
	sigaddset(&sa.sa_mask, SIGUSR2);
	SYS(sigaction(SIGUSR1, &sa, NULL));
	raise(SIGUSR1);
	CHECK_EQ(count, 3);
	SYS(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(!sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2));
}

static char altstack[65536];
static volatile char *handler_sp;
static void stack_checker(int sig)
{
	(void)sig;
	char local;
	stack_t ss;
	handler_sp = &local;
	sigaltstack(NULL, &ss);
	count = ss.ss_flags;
	if (handler_sp >= altstack && handler_sp < altstack + sizeof(altstack) && !(ss.ss_flags & SS_AUTODISARM)) {
		stack_t none = {.ss_flags = SS_DISABLE};
		if (sigaltstack(&none, NULL) != -1 || errno != EPERM)
			count = -1;
	}
}

TEST(sigaltstack_is_used)
{
	stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)}, old;
	SYS(sigaltstack(NULL, &old));
	CHECK_EQ(old.ss_flags, SS_DISABLE);
	SYS(sigaltstack(&ss, NULL));
	on_signal(SIGUSR1, stack_checker, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK(handler_sp >= altstack && handler_sp < altstack + sizeof(altstack));
	CHECK_EQ(count, SS_ONSTACK);
	on_signal(SIGUSR1, stack_checker, 0);
	raise(SIGUSR1);
	CHECK(handler_sp < altstack || handler_sp >= altstack + sizeof(altstack));
	CHECK_EQ(count, 0);
	ss.ss_size = 100;
	CHECK_ERRNO(sigaltstack(&ss, NULL), ENOMEM);
	ss.ss_flags = 64;
	CHECK_ERRNO(sigaltstack(&ss, NULL), EINVAL);
	CHECK_ERRNO(sigaltstack(bad_ptr(), NULL), EFAULT);
}

static void overflow_handler(int sig)
{
	(void)sig;
	siglongjmp(jump, 1);
}

#pragma GCC diagnostic ignored "-Winfinite-recursion"
static int recurse(volatile int n)
{
	volatile char pad[1024];
	pad[0] = n;
	return recurse(n + 1) + pad[0];
}

TEST(sigaltstack_catches_stack_overflow)
{
	struct rlimit rl = {1 << 20, RLIM_INFINITY};
	getrlimit(RLIMIT_STACK, &rl);
	rl.rlim_cur = 1 << 20;
	SYS(setrlimit(RLIMIT_STACK, &rl));
	stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)};
	SYS(sigaltstack(&ss, NULL));
	on_signal(SIGSEGV, overflow_handler, SA_ONSTACK);
	if (sigsetjmp(jump, 1) == 0) {
		recurse(0);
		FAIL("no overflow");
	}
}

static void edit_context(int sig, siginfo_t *si, void *ucp)
{
	(void)sig, (void)si;
	ucontext_t *uc = ucp;
	uc->uc_mcontext.gregs[REG_RIP] += 2; /* over the ud2 */
	uc->uc_mcontext.gregs[REG_RAX] = 123;
}

TEST(signal_handler_edits_registers)
{
	struct sigaction sa = {.sa_sigaction = edit_context, .sa_flags = SA_SIGINFO};
	long rax = 0;
	SYS(sigaction(SIGILL, &sa, NULL));
	__asm__ volatile("xor %%eax, %%eax; ud2" : "=a"(rax));
	CHECK_EQ(rax, 123);
}

static void fpu_trasher(int sig)
{
	(void)sig;
	double z[16];
	for (int i = 0; i < 16; i++)
		z[i] = i * 3.3;
	__asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
	count += z[1] > 0;
}

TEST(signal_keeps_fpu_state)
{
	on_signal(SIGUSR1, fpu_trasher, 0);
	long in[2] = {0x1122334455667788, 0x99aabbccddeeff00}, out[2] = {0, 0}, ret;
	__asm__ volatile(
	    "movdqu (%1), %%xmm7\n\tmov %3, %%rdi\n\tmov %4, %%rsi\n\tmov $62, %%eax\n\tsyscall\n\tmovdqu %%xmm7, (%2)\n\tmov %%rax, %0"
	    : "=&r"(ret)
	    : "r"(in), "r"(out), "r"((long)getpid()), "r"((long)SIGUSR1)
	    : "rax", "rcx", "r11", "rdi", "rsi", "xmm7", "memory");
	CHECK_EQ(ret, 0);
	CHECK_EQ(count, 1);
	CHECK_MEM(in, out, 16);
}

/* Runs the call in a child that gets SIGUSR1 while it blocks. */
#define INTERRUPTED(flags, ...)                                                      \
	do {                                                                         \
		CHILD(in_)                                                           \
		{                                                                    \
			on_signal(SIGUSR1, counter, flags);                          \
			__VA_ARGS__;                                                 \
			CHECK_EQ(count, 1);                                          \
		}                                                                    \
		until_blocked(in_);                                                  \
		SYS(kill(in_, SIGUSR1));                                             \
		CHECK_EXIT(in_, 0);                                                  \
	} while (0)

TEST(eintr_without_restart)
{
	int p[2];
	SYS(pipe(p));
	INTERRUPTED(0, CHECK_ERRNO(read(p[0], buf, 1), EINTR));
	INTERRUPTED(0, CHECK_ERRNO(pause(), EINTR));
	INTERRUPTED(0, struct timespec ts = {20, 0}; CHECK_ERRNO(nanosleep(&ts, &ts), EINTR); CHECK(ts.tv_sec >= 15));
}

TEST(eintr_never_restarted_calls)
{
	INTERRUPTED(SA_RESTART, CHECK_ERRNO(pause(), EINTR));
	INTERRUPTED(SA_RESTART, CHECK_ERRNO(poll(NULL, 0, 20000), EINTR));
	INTERRUPTED(SA_RESTART, CHECK_ERRNO(select(0, NULL, NULL, NULL, NULL), EINTR));
	INTERRUPTED(SA_RESTART, struct timespec ts = {20, 0}; CHECK_ERRNO(nanosleep(&ts, NULL), EINTR));
	INTERRUPTED(SA_RESTART, sigset_t s = set_of(0); CHECK_ERRNO(sigsuspend(&s), EINTR));
	INTERRUPTED(SA_RESTART, sigset_t s = set_of(SIGUSR2); struct timespec ts = {20, 0}; CHECK_ERRNO(sigtimedwait(&s, NULL, &ts), EINTR));
}

TEST(sa_restart_restarts_read_and_wait)
{
	int p[2];
	SYS(pipe(p));
	CHILD(c)
	{
		on_signal(SIGUSR1, counter, SA_RESTART);
		CHECK_EQ(read(p[0], buf, 1), 1);
		CHECK_EQ(count, 1);
		CHILD(g) sleep_ms(200);
		CHECK_EXIT(g, 0);
	}
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	sleep_ms(20);
	SYS(write(p[1], "x", 1));
	CHECK_EXIT(c, 0);
}

TEST(stop_and_continue_restart_transparently)
{
	/* A stop without a handler restarts sleeps with the time that is left. */
	CHILD(c)
	{
		struct timespec ts = {0, 300000000};
		long long t = now_ms();
		SYS(nanosleep(&ts, NULL));
		long long d = now_ms() - t;
		CHECK(d >= 290 && d < 5000);
		struct pollfd f = {.fd = -1};
		CHECK_EQ(poll(&f, 1, 200), 0);
	}
	for (int i = 0; i < 6; i++) {
		sleep_ms(50);
		kill(c, SIGSTOP);
		sleep_ms(10);
		kill(c, SIGCONT);
	}
	CHECK_EXIT(c, 0);
}

TEST(partial_transfer_beats_eintr)
{
	int p[2];
	SYS(pipe(p));
	static char big[100000];
	INTERRUPTED(0, CHECK_EQ(write(p[1], big, sizeof(big)), 65536));
}

TEST(sigsuspend_swaps_masks)
{
	on_signal(SIGUSR1, counter, 0);
	block(SIGUSR1);
	raise(SIGUSR1);
	sigset_t none = set_of(0), now;
	CHECK_ERRNO(sigsuspend(&none), EINTR);
	CHECK_EQ(count, 1);
	SYS(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1));
}

TEST(sigtimedwait_takes_pending)
{
	siginfo_t si;
	sigset_t s = set_of(SIGUSR1);
	struct timespec ts = {0, 30000000};
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	long long t = now_ms();
	CHECK_ERRNO(sigtimedwait(&s, &si, &ts), EAGAIN);
	CHECK(now_ms() - t >= 29);
	raise(SIGUSR1);
	CHECK_EQ(sigtimedwait(&s, &si, &ts), SIGUSR1);
	CHECK_EQ(si.si_pid, getpid());
	pid_t me = getpid();
	CHILD(c)
	{
		until_blocked(me);
		kill(me, SIGUSR1);
	}
	CHECK_EQ(sigwaitinfo(&s, &si), SIGUSR1);
	CHECK_EQ(si.si_pid, c);
	CHECK_EXIT(c, 0);
	ts.tv_nsec = -1;
	CHECK_ERRNO(sigtimedwait(&s, NULL, &ts), EINVAL);
}

static void fault_handler(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	last = sig;
	info = *si;
	siglongjmp(jump, 1);
}

#define FAULTS(stmt, sig, code)                                                      \
	do {                                                                         \
		struct sigaction fsa_ = {.sa_sigaction = fault_handler, .sa_flags = SA_SIGINFO}; \
		SYS(sigaction(sig, &fsa_, NULL));                                    \
		if (sigsetjmp(jump, 1) == 0) {                                       \
			stmt;                                                        \
			FAIL("%s: no fault", #stmt);                                 \
		}                                                                    \
		CHECK_EQ(last, sig);                                                 \
		CHECK_EQ(info.si_code, code);                                        \
	} while (0)

TEST(faults_have_right_codes)
{
	FAULTS(*(volatile int *)8 = 1, SIGSEGV, SEGV_MAPERR);
	CHECK_EQ((long)info.si_addr, 8);
	FAULTS(*(volatile char *)0xffffffff80000000UL = 1, SIGSEGV, SEGV_MAPERR);
	FAULTS((void)*(volatile char *)0x8000000000000000UL, SIGSEGV, SI_KERNEL); /* not canonical */
	CHECK_EQ((long)info.si_addr, 0);
	volatile int zero = 0;
	FAULTS(last = 100 / zero, SIGFPE, FPE_INTDIV);
	FAULTS(__asm__ volatile("ud2"), SIGILL, ILL_ILLOPN);
	FAULTS(__asm__ volatile("int3"), SIGTRAP, SI_KERNEL);
	FAULTS(__asm__ volatile("hlt"), SIGSEGV, SI_KERNEL);
	FAULTS(((void (*)(void))0x10)(), SIGSEGV, SEGV_MAPERR);
	CHECK_EQ((long)info.si_addr, 0x10);
}

TEST(faults_kill_even_when_blocked_or_ignored)
{
	CHILD(c)
	{
		block(SIGSEGV);
		*(volatile int *)8 = 1;
	}
	CHECK_KILLED(c, SIGSEGV);
	CHILD(d)
	{
		on_signal(SIGSEGV, SIG_IGN, 0);
		*(volatile int *)8 = 1;
	}
	CHECK_KILLED(d, SIGSEGV);
}

TEST(core_dump_bit)
{
	CHILD(c)
	{
		struct rlimit rl = {0, 0};
		setrlimit(RLIMIT_CORE, &rl);
		abort();
	}
	int st = wait_status(c);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGABRT);
	CHECK(!WCOREDUMP(st));
}

TEST(trap_flag_single_steps)
{
	FAULTS(__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" ::: "cc", "memory"), SIGTRAP, TRAP_TRACE);
}

TEST(stop_and_continue_by_signal)
{
	record(SIGCHLD, 0);
	block(SIGCHLD);
	CHILD(c)
		for (;;)
			pause();
	SYS(kill(c, SIGSTOP));
	int st;
	CHECK_EQ(waitpid(c, &st, WUNTRACED), c);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	CHECK_EQ(task_state(c), 'T');
	SYS(kill(c, SIGUSR1)); /* waits until it continues */
	sleep_ms(20);
	CHECK_EQ(waitpid(c, &st, WNOHANG), 0);
	SYS(kill(c, SIGCONT));
	CHECK_KILLED(c, SIGUSR1);
	CHILD(d)
		for (;;)
			pause();
	SYS(kill(d, SIGSTOP));
	CHECK_EQ(waitpid(d, &st, WUNTRACED), d);
	SYS(kill(d, SIGKILL)); /* needs no SIGCONT */
	CHECK_KILLED(d, SIGKILL);
}

TEST(sa_nocldstop)
{
	on_signal(SIGCHLD, counter, SA_NOCLDSTOP);
	CHILD(c)
		for (;;)
			pause();
	int st;
	SYS(kill(c, SIGSTOP));
	while (waitpid(c, &st, WUNTRACED) == -1)
		;
	CHECK_EQ(count, 0);
	kill(c, SIGKILL);
	while (waitpid(c, &st, 0) == -1)
		;
	CHECK_EQ(count, 1);
}

TEST(sigcont_discards_stops_and_back)
{
	sigset_t pend;
	block(SIGTSTP);
	block(SIGCONT);
	raise(SIGTSTP);
	SYS(sigpending(&pend));
	CHECK(sigismember(&pend, SIGTSTP));
	raise(SIGCONT);
	SYS(sigpending(&pend));
	CHECK(!sigismember(&pend, SIGTSTP) && sigismember(&pend, SIGCONT));
	raise(SIGTSTP);
	SYS(sigpending(&pend));
	CHECK(sigismember(&pend, SIGTSTP) && !sigismember(&pend, SIGCONT));
}

TEST(orphaned_group_gets_hup_and_cont)
{
	int p[2];
	SYS(pipe(p));
	SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHILD(leader)
	{
		SYS(setsid());
		CHILD(stopped)
		{
			/* A group of its own, whose only link to the session is the leader. */
			setpgid(0, 0);
			on_signal(SIGCONT, counter, 0);
			SYS(write(p[1], "x", 1));
			for (;;)
				pause();
		}
		SYS(read(p[0], buf, 1));
		SYS(kill(stopped, SIGSTOP));
		int st;
		CHECK_EQ(waitpid(stopped, &st, WUNTRACED), stopped);
		CHECK(write(p[1], &stopped, sizeof(stopped)) == sizeof(stopped));
	}
	CHECK_EXIT(leader, 0);
	pid_t stopped;
	SYS(read(p[0], &stopped, sizeof(stopped)));
	CHECK_KILLED(stopped, SIGHUP);
}

TEST(orphaned_group_ignores_tty_stops)
{
	/* The harness's session leader has its parent outside the session: an orphaned group. */
	on_signal(SIGTSTP, SIG_DFL, 0);
	raise(SIGTSTP);
	raise(SIGTTIN);
	raise(SIGTTOU);
}

static volatile pid_t handled_by;
static void who(int sig)
{
	(void)sig;
	handled_by = gettid_();
}

static void *waiter_thread(void *arg)
{
	*(volatile pid_t *)arg = gettid_();
	for (int i = 0; i < 500 && !handled_by; i++)
		sleep_ms(5);
	return NULL;
}

TEST(signals_and_threads)
{
	static volatile pid_t tid;
	pthread_t t;
	on_signal(SIGUSR1, who, 0);
	pthread_create(&t, NULL, waiter_thread, (void *)&tid);
	while (!tid)
		sleep_ms(1);
	sigset_t s = set_of(SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	SYS(kill(getpid(), SIGUSR1)); /* goes to the thread that does not block it */
	pthread_join(t, NULL);
	CHECK_EQ(handled_by, tid);
	handled_by = 0;
	pthread_create(&t, NULL, waiter_thread, (void *)&tid);
	sleep_ms(5);
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	SYS(syscall(SYS_tgkill, getpid(), gettid_(), SIGUSR1));
	CHECK_EQ(handled_by, getpid());
	pthread_join(t, NULL);
}

TEST(fatal_signal_ends_all_threads)
{
	CHILD(c)
	{
		static volatile pid_t tid;
		pthread_t t;
		pthread_create(&t, NULL, waiter_thread, (void *)&tid);
		while (!tid)
			sleep_ms(1);
		syscall(SYS_tgkill, getpid(), tid, SIGTERM);
		for (;;)
			pause();
	}
	CHECK_KILLED(c, SIGTERM);
}

TEST(signal_ping_pong)
{
	pid_t parent = getpid();
	sigset_t s = set_of(SIGUSR1);
	siginfo_t si;
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	CHILD(c)
	{
		for (int i = 0; i < 200; i++) {
			SYS(sigwaitinfo(&s, &si));
			SYS(kill(parent, SIGUSR1));
		}
	}
	for (int i = 0; i < 200; i++) {
		SYS(kill(c, SIGUSR1));
		SYS(sigwaitinfo(&s, &si));
		CHECK_EQ(si.si_pid, c);
	}
	CHECK_EXIT(c, 0);
}

static pthread_barrier_t rounds_end;
enum { signal_waiters = 4, signal_rounds = 200 };
static void *signal_waiter(void *arg)
{
	sigset_t s = set_of(SIGRTMIN);
	for (int i = 0; i < signal_rounds; i++) {
		SYS(TEMP_FAILURE_RETRY(sigwaitinfo(&s, NULL)));
		pthread_barrier_wait(&rounds_end);
	}
	return arg;
}

TEST(signals_at_once_go_to_every_thread_that_waits)
{
	pthread_t t[signal_waiters];
	block(SIGRTMIN);
	pthread_barrier_init(&rounds_end, NULL, signal_waiters + 1);
	for (int i = 0; i < signal_waiters; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, signal_waiter, NULL), 0);
	for (int r = 0; r < signal_rounds; r++) {
		sleep_ms(1); /* most of them wait by now */
		for (int i = 0; i < signal_waiters; i++)
			SYS(sigqueue(getpid(), SIGRTMIN, (union sigval){0}));
		pthread_barrier_wait(&rounds_end);
	}
	for (int i = 0; i < signal_waiters; i++)
		pthread_join(t[i], NULL);
}

TEST(signal_storm_does_not_lose_the_loop)
{
	on_signal(SIGALRM, counter, 0);
	struct itimerval it = {{0, 1000}, {0, 1000}};
	SYS(setitimer(ITIMER_REAL, &it, NULL));
	unsigned long x = 0;
	while (count < 50)
		for (int i = 0; i < 10000; i++)
			x = x * 31 + i;
	it = (struct itimerval){{0, 0}, {0, 0}};
	SYS(setitimer(ITIMER_REAL, &it, NULL));
	CHECK(x != 1);
}
