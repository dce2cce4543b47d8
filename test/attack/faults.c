//go:build ignore

/* Faults at addresses that are no application's. */
#include "attack.h"

static int at(uintptr_t addr, char how)
{
	volatile char *p = (volatile char *)addr;
	switch (how) {
	case 'r':
		return TRY((void)*p);
	case 'w':
		return TRY(*p = 1);
	default:
		return TRY(((void (*)(void))addr)());
	}
}

/* Not canonical: a general protection fault, which has no address. */
TEST(non_canonical_addresses)
{
	try_init();
	static const uintptr_t addr[] = {1UL << 47, 1UL << 63, 0x8000000000000000UL | 0x1234, 0xffff7fffffffffffUL, 0x0000800000000000UL, 0x1234567812345678UL};
	for (unsigned i = 0; i < LEN(addr); i++)
		for (const char *how = "rw"; *how; how++) {
			CHECK_EQ(at(addr[i], *how), SIGSEGV);
			CHECK_EQ(tried.si_code, SI_KERNEL);
			CHECK_EQ((long)tried.si_addr, 0);
		}
	for (unsigned i = 0; i < LEN(addr); i++)
		CHECK_EQ(at(addr[i], 'x'), SIGSEGV);
	/* The same through the stack is a stack fault. */
	int sig = TRY(__asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %%rax; mov %%rbx, %%rsp" : : "r"(1UL << 63) : "rbx", "memory"));
	CHECK(sig == SIGBUS || sig == SIGSEGV);
	check_alive();
}

TEST(kernel_addresses)
{
	try_init();
	static const uintptr_t addr[] = {0xffff800000000000UL, 0xffff888000000000UL, 0xffffffff80000000UL, 0xffffffff81000000UL, 0xfffffffffffff000UL, 0xffffffffff5ff000UL, 0xfffffe0000000000UL};
	for (unsigned i = 0; i < LEN(addr); i++)
		for (const char *how = "rwx"; *how; how++) {
			CHECK_EQ(at(addr[i] + 8, *how), SIGSEGV);
			CHECK_EQ(tried.si_code, SEGV_MAPERR);
			CHECK_EQ((uintptr_t)tried.si_addr, addr[i] + 8);
		}
	check_alive();
}

TEST(low_and_high_addresses)
{
	try_init();
	static const uintptr_t addr[] = {0, 8, 0xfff, 0x7ffffffff000UL, 0x7ffffffffff8UL};
	for (unsigned i = 0; i < LEN(addr); i++)
		for (const char *how = "rw"; *how; how++) {
			CHECK_EQ(at(addr[i], *how), SIGSEGV);
			CHECK_EQ(tried.si_code, SEGV_MAPERR);
			CHECK_EQ((uintptr_t)tried.si_addr, addr[i]);
		}
	/* An access that begins in one world and ends in another. */
	int sig = TRY((void)*(volatile long *)((1UL << 47) - 4));
	CHECK(sig == SIGSEGV || sig == SIGBUS);
	sig = TRY((void)*(volatile long *)-4UL);
	CHECK(sig == SIGSEGV || sig == SIGBUS);
	check_alive();
}

TEST(protection_faults_tell_what_and_where)
{
	try_init();
	char *p = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SYS(mprotect(p + PAGE, PAGE, PROT_NONE));
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(at((uintptr_t)p + i, 'w'), SIGSEGV);
		CHECK_EQ(tried.si_code, SEGV_ACCERR);
		CHECK_EQ(tried.si_addr == p + i, 1);
		CHECK_EQ(at((uintptr_t)p + i, 'x'), SIGSEGV);
		CHECK_EQ(tried.si_code, SEGV_ACCERR);
		CHECK_EQ(at((uintptr_t)p + PAGE + i, 'r'), SIGSEGV);
		CHECK_EQ(tried.si_code, SEGV_ACCERR);
	}
}

/* What the host wrote about a fault lies in the slot, where another thread changes it while the sentry
 * reads: addresses of others, of the kernel, of the stub. The sentry believes
 * nothing worse than a fault somewhere in this process. */
static volatile int stop;
static const uintptr_t lies[] = {0, 0x1000, 0x400000, SLOTS, SLOTS + SLOT_FRAMES, CODE, ORDERS, RESULTS, TASK_END, 1UL << 47, 1UL << 63, 0xffff800000000000UL, 0xffffffffff600000UL, -1UL, -PAGE};

static void *forger(void *arg)
{
	(void)arg;
	stack_t st = {.ss_sp = map_pages(16), .ss_size = 16 * PAGE};
	SYS(sigaltstack(&st, NULL));
	uint32_t x = 1;
	while (!stop) {
		/* The frames begin at the end of the slots of the first threads. */
		TRY({
			for (int slot = 0; slot < 3; slot++)
				for (uintptr_t at = SLOTS + slot * SLOT_SIZE + SLOT_SIZE - 0x400 * 6; at < SLOTS + (slot + 1) * SLOT_SIZE; at += 8) {
					volatile uintptr_t *w = (uintptr_t *)at;
					uintptr_t v = *w;
					/* Whatever looks like the page that the victim uses, or like numbers of signals and traps. */
					if (v >> 12 == 0x10000000 || v == 14 || (uint32_t)v == SIGSEGV || v == 6)
						*w = lies[(x = x * 1664525 + 1013904223) % LEN(lies)];
				}
		});
	}
	return NULL;
}

TEST(forged_fault_information)
{
	for (int round = 0; round < 3; round++) {
		CHILD(pid)
		{
			test_mute();
			try_init();
			pthread_t th;
			CHECK_EQ(pthread_create(&th, NULL, forger, NULL), 0);
			char *p = mmap((void *)0x10000000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
			CHECK(p != MAP_FAILED);
			for (long long end = now_ms() + 300; now_ms() < end;) {
				at((uintptr_t)p, 'w'); /* denied */
				SYS(madvise(p, PAGE, MADV_DONTNEED));
				at((uintptr_t)p, 'r'); /* repaired */
				at((uintptr_t)p + 8 * PAGE, 'r'); /* nothing there */
			}
			_exit(0);
		}
		/* It may end in any way that it brought about, but it ends. */
		for (long long end = now_ms() + 2000; now_ms() < end; sleep_ms(5)) {
			if (waitpid(pid, NULL, WNOHANG) == pid) {
				pid = 0;
				break;
			}
			check_alive();
		}
		if (pid)
			must_die(pid);
	}
	check_alive();
}

/* Runs out of stack, with and without a stack for the handler. */
static __attribute__((noinline)) int recurse(int n)
{
	volatile char big[2048];
	big[n % 2048] = n;
	return n < 0 ? 0 : recurse(n + 1) + big[n % 2048];
}

TEST(stack_overflow)
{
	CHILD(pid)
	{
		recurse(0);
	}
	CHECK_KILLED(pid, SIGSEGV);
	CHILD(handled)
	{
		try_init();
		CHECK_EQ(TRY(recurse(0)), SIGSEGV);
	}
	CHECK_EXIT(handled, 0);
	check_alive();
}

/* The handler's own frame cannot be written. */
TEST(no_room_for_a_signal_frame)
{
	CHILD(pid)
	{
		struct sigaction sa = {.sa_sigaction = try_handler, .sa_flags = SA_SIGINFO};
		SYS(sigaction(SIGSEGV, &sa, NULL));
		__asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(CODE + 8));
	}
	CHECK_KILLED(pid, SIGSEGV);
	check_alive();
}
