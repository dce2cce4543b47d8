//go:build ignore

/* Flags that change how the processor goes on, set when the kernel is entered. */
#include "attack.h"

#define TF (1UL << 8)
#define DF (1UL << 10)
#define NT (1UL << 14)
#define RF (1UL << 16)
#define AC (1UL << 18)
#define ID (1UL << 21)
#define ARITHMETIC 0x8d5UL /* OF SF ZF AF PF CF */
/* What must come back. Nobody cares for RF, and some processors lose NT on the way. */
#define KEPT(flags) ((flags) & ~(RF | NT))

/* Sets flags, makes a system call and reads the flags; RFLAGS are put back. */
static long call_with_flags(long nr, long a, long b, unsigned long flags, unsigned long *after)
{
	long ret;
	unsigned long old, got;
	__asm__ volatile("pushfq; pop %[old]\n"
			 "mov %[old], %[got]; or %[flags], %[got]; push %[got]; popfq\n"
			 "syscall\n"
			 "pushfq; pop %[got]\n"
			 "push %[old]; popfq\n"
			 : "=a"(ret), [old] "=&r"(old), [got] "=&r"(got)
			 : "a"(nr), "D"(a), "S"(b), [flags] "r"(flags)
			 : "rcx", "r11", "memory", "cc", "rdx");
	*after = got;
	return ret;
}

static const unsigned long all[] = {DF, NT, AC, ID, ARITHMETIC, DF | NT | AC | ID | ARITHMETIC, RF, NT | AC};

TEST(flags_survive_a_system_call)
{
	long pid = getpid();
	for (unsigned i = 0; i < LEN(all); i++)
		for (int again = 0; again < 3; again++) {
			unsigned long got = 0, want = KEPT(all[i]);
			CHECK_EQ(call_with_flags(SYS_getpid, 0, 0, all[i], &got), pid);
			if ((got & want) != want)
				FAIL("flags %#lx, set were %#lx", got, all[i]);
			CHECK_EQ(call_with_flags(-512, 0, 0, all[i], &got), -ENOSYS);
			CHECK_EQ(call_with_flags(SYS_sched_yield, 0, 0, all[i], &got), 0);
			if ((got & want) != want)
				FAIL("flags %#lx, set were %#lx", got, all[i]);
		}
}

/* R11 is RFLAGS afterwards, RCX the return address. */
TEST(r11_and_rcx_after_a_system_call)
{
	for (unsigned i = 0; i < LEN(all); i++) {
		unsigned long r11, rcx, here, old;
		__asm__ volatile("pushfq; pop %[old]\n"
				 "mov %[old], %%r11; or %[flags], %%r11; push %%r11; popfq\n"
				 "mov $39, %%eax; syscall\n"
				 "1: mov %%r11, %[r11]; mov %%rcx, %[rcx]; lea 1b(%%rip), %[here]\n"
				 "push %[old]; popfq\n"
				 : [r11] "=&r"(r11), [rcx] "=&r"(rcx), [here] "=&r"(here), [old] "=&r"(old)
				 : [flags] "r"(all[i])
				 : "rax", "rcx", "r11", "memory", "cc");
		CHECK_EQ(rcx, here);
		CHECK_EQ(r11 & KEPT(all[i]), KEPT(all[i]));
	}
}

static volatile sig_atomic_t caught;
static volatile unsigned long seen, interrupted;

static void handler(int sig, siginfo_t *info, void *uc)
{
	(void)sig, (void)info;
	unsigned long f;
	__asm__ volatile("pushfq; pop %0" : "=r"(f));
	seen = f;
	interrupted = ((ucontext_t *)uc)->uc_mcontext.gregs[REG_EFL];
	caught++;
}

/* A handler begins with DF, TF and RF clear; the frame has what was. */
TEST(flags_and_signals)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
	SYS(sigaction(SIGUSR1, &sa, NULL));
	pid_t pid = getpid();
	for (unsigned i = 0; i < LEN(all); i++) {
		unsigned long got = 0, want = KEPT(all[i]);
		caught = 0;
		CHECK_EQ(call_with_flags(SYS_kill, pid, SIGUSR1, all[i], &got), 0);
		CHECK_EQ(caught, 1);
		CHECK_EQ(interrupted & want, want);
		CHECK_EQ(seen & DF, 0);
		CHECK_EQ(got & want, want);
	}
}

/* The same where a fault stops the application and a page comes, without a signal. */
TEST(flags_and_page_faults)
{
	for (unsigned i = 0; i < LEN(all); i++) {
		if (all[i] & AC)
			continue; /* the stack may be used without alignment */
		volatile char *p = map_pages(4);
		unsigned long old, got;
		__asm__ volatile("pushfq; pop %[old]\n"
				 "mov %[old], %[got]; or %[flags], %[got]; push %[got]; popfq\n"
				 "movb $1, (%[p]); movb $1, 4096(%[p])\n"
				 "pushfq; pop %[got]\n"
				 "push %[old]; popfq\n"
				 : [old] "=&r"(old), [got] "=&r"(got)
				 : [flags] "r"(all[i]), [p] "r"(p)
				 : "memory", "cc");
		CHECK_EQ(got & KEPT(all[i]), KEPT(all[i]));
		SYS(munmap((void *)p, 4 * PAGE));
	}
}

/* With AC set, a load without alignment is SIGBUS; a system call with a pointer without alignment is not. */
TEST(alignment_check)
{
	try_init();
	static char buf[64] __attribute__((aligned(64)));
	unsigned long got;
	CHECK_EQ(call_with_flags(SYS_clock_gettime, CLOCK_REALTIME, (long)buf + 1, AC, &got), 0);
	CHECK_EQ(got & AC, AC);
	int sig = TRY({
		__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; movl 1(%0), %%eax; pushfq; andl $~0x40000, (%%rsp); popfq" : : "r"(buf) : "rax", "memory", "cc");
	});
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "memory", "cc");
	CHECK_EQ(sig, SIGBUS);
	CHECK_EQ(tried.si_code, BUS_ADRALN);
	check_alive();
}

static volatile uintptr_t steps[64];
static volatile int nsteps;

static void step_handler(int sig, siginfo_t *info, void *uc)
{
	(void)sig;
	if (info->si_code != TRAP_TRACE)
		return;
	if (nsteps < (int)LEN(steps))
		steps[nsteps] = ((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
	nsteps++;
}

/* An application that steps itself stops after each instruction, but not between a system
 * call and the next. */
TEST(trap_flag_and_system_calls)
{
	struct sigaction sa = {.sa_sigaction = step_handler, .sa_flags = SA_SIGINFO};
	SYS(sigaction(SIGTRAP, &sa, NULL));
	for (int round = 0; round < 3; round++) {
		long ret;
		uintptr_t a, b;
		nsteps = 0;
		__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq\n"
				 "nop\n"
				 "2: mov $39, %%eax\n"
				 "syscall\n"
				 "3: nop\n"
				 "mov $39, %%eax\n"
				 "syscall\n"
				 "pushfq; andl $~0x100, (%%rsp); popfq\n"
				 "lea 2b(%%rip), %1; lea 3b(%%rip), %2\n"
				 : "=&a"(ret), "=&r"(a), "=&r"(b)
				 :
				 : "rcx", "r11", "memory", "cc");
		CHECK_EQ(ret, getpid());
		CHECK_EQ(nsteps, 7);
		CHECK_EQ(steps[0], a);
		CHECK_EQ(steps[2], b + 1);
	}
	/* Through the C library: any number of steps, the right result. */
	nsteps = 0;
	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq" : : : "memory", "cc");
	long pid = getpid(), ppid = syscall(SYS_getppid);
	__asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" : : : "memory", "cc");
	CHECK_EQ(pid, getpid());
	CHECK_EQ(ppid, getppid());
	CHECK(nsteps > 4);
}

/* The same without a handler. */
TEST(trap_flag_kills)
{
	CHILD(pid)
	{
		__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; mov $39, %%eax; syscall" : : : "rax", "rcx", "r11", "memory", "cc");
		pause();
	}
	CHECK_KILLED(pid, SIGTRAP);
	check_alive();
}

/* Under all flags, over fork and threads. */
static void *child_thread(void *arg) { return arg; }

TEST(flags_and_new_tasks)
{
	for (unsigned i = 0; i < LEN(all); i++) {
		unsigned long got = 0;
		long pid = call_with_flags(SYS_fork, 0, 0, all[i], &got);
		if ((got & KEPT(all[i])) != KEPT(all[i]))
			FAIL("flags %#lx after fork with %#lx, pid %ld", got, all[i], pid);
		if (pid == 0)
			_exit(3);
		CHECK_EXIT(pid, 3);
	}
	pthread_t th;
	CHECK_EQ(pthread_create(&th, NULL, child_thread, NULL), 0);
	CHECK_EQ(pthread_join(th, NULL), 0);
}
