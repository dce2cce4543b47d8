/* What the attack programs share: where a platform keeps its own things in application
 * address spaces, and ways to survive what is tried there. */
#ifndef ATTACK_H
#define ATTACK_H

#include "test.h"
#include <pthread.h>
#include <setjmp.h>
#include <ucontext.h>

#define TASK_END 0x7ffffffff000UL /* of Linux with four-level page tables */

/* See pkg/platform/systrap/layout.go. */
#define SLOTS 0x7fff00000000UL
#define SLOT_SIZE 0x8000UL
#define SLOT_FRAMES 0x4000UL /* where a slot's alternate stack begins */
#define CODE 0x7fff30000000UL
#define CODE_SIZE 0x2000UL
#define ORDERS 0x7fff30010000UL
#define RESULTS 0x7fff30020000UL

/* See pkg/platform/ptrace/stub.go. */
#define PTRACE_CODE 0x7ffffffe0000UL

/* The platform that runs us: 0 natively. */
static inline const char *platform(void)
{
	const char *p = getenv("TEST_PLATFORM");
	return p && *p ? p : NULL;
}

static inline int on(const char *name) { return platform() && strcmp(platform(), name) == 0; }

/* Until when an attack goes on. Natively there is nothing to find. */
static inline long long attack_end(long ms) { return now_ms() + (platform() ? ms : ms / 4); }

/* The end of what can be mapped. */
static inline uintptr_t user_end(void)
{
	return on("systrap") ? SLOTS : on("ptrace") ? PTRACE_CODE : TASK_END;
}

/* TRY(block) runs it; the value is 0, or the signal that stopped it, whose info is in
 * tried. A thread has one at a time. */
static __thread sigjmp_buf try_env;
static __thread volatile sig_atomic_t trying;
static __thread siginfo_t tried;

static void try_handler(int sig, siginfo_t *info, void *uc)
{
	(void)uc;
	if (!trying) {
		if (sig == SIGALRM)
			return; /* came too late */
		signal(sig, SIG_DFL);
		raise(sig);
		return;
	}
	tried = *info;
	siglongjmp(try_env, sig);
}

#define TRY(...)                                                                     \
	({                                                                           \
		int try_sig_ = sigsetjmp(try_env, 1);                                \
		if (try_sig_ == 0) {                                                 \
			trying = 1;                                                  \
			__VA_ARGS__;                                                 \
		}                                                                    \
		trying = 0;                                                          \
		try_sig_;                                                            \
	})

/* Handlers for TRY, on a stack of this thread's own: code that is tried may have no stack. */
static void __attribute__((unused)) try_init(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS, SIGALRM};
	stack_t st = {.ss_sp = map_pages(16), .ss_size = 16 * PAGE};
	SYS(sigaltstack(&st, NULL));
	struct sigaction sa = {.sa_sigaction = try_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	for (unsigned i = 0; i < LEN(signals); i++)
		SYS(sigaction(signals[i], &sa, NULL));
}

/* System calls by their instruction, whatever the C library does. */
static inline long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}
#define CALL0(nr) call6(nr, 0, 0, 0, 0, 0, 0)
#define CALL1(nr, a) call6(nr, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(nr, a, b) call6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(nr, a, b, c) call6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)

/* Kills a child and waits for its end, which must come soon: whatever it does to itself, it
 * may not make itself immortal. */
static void __attribute__((unused)) must_die(pid_t pid)
{
	SYS(kill(pid, SIGKILL));
	for (long long end = now_ms() + 4000; now_ms() < end; sleep_ms(2)) {
		pid_t r = waitpid(pid, NULL, WNOHANG);
		if (r == pid)
			return;
		if (r == -1)
			FAIL("waitpid(%d): %s", pid, strerror(errno));
	}
	FAIL("process %d outlives SIGKILL by four seconds", pid);
}

/* Checks that this process's system calls, memory and children work. */
static void __attribute__((unused)) check_alive(void)
{
	int p[2];
	char c = 0;
	SYS(pipe(p));
	CHILD(pid)
	{
		char *m = map_pages(2);
		m[PAGE] = 'x';
		SYS(write(p[1], m + PAGE, 1));
	}
	CHECK_EQ(read(p[0], &c, 1), 1);
	CHECK_EQ(c, 'x');
	CHECK_EXIT(pid, 0);
	SYS(close(p[0]));
	SYS(close(p[1]));
}

#endif
