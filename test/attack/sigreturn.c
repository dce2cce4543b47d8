//go:build ignore

/* rt_sigreturn with frames of our own. */
#include "attack.h"

/* Lets a child return from a handler with one thing changed; the value is its status. */
static void (*change)(mcontext_t *mc, ucontext_t *uc);
static void changer(int sig, siginfo_t *info, void *uc)
{
	(void)sig, (void)info;
	change(&((ucontext_t *)uc)->uc_mcontext, uc);
}

static int after(void (*f)(mcontext_t *, ucontext_t *))
{
	CHILD(pid)
	{
		change = f;
		struct sigaction sa = {.sa_sigaction = changer, .sa_flags = SA_SIGINFO};
		SYS(sigaction(SIGUSR1, &sa, NULL));
		CALL1(SYS_alarm, 3);
		CALL2(SYS_kill, CALL0(SYS_getpid), SIGUSR1);
		CALL0(SYS_sched_yield);
		__asm__ volatile("pushfq; andl $~0x44500, (%%rsp); popfq" : : : "memory", "cc");
		CALL0(SYS_getpid);
	}
	return wait_status(pid);
}

static unsigned long value; /* of the register that is changed */
static void set_rip(mcontext_t *mc, ucontext_t *uc) { (void)uc; mc->gregs[REG_RIP] = value; }
static void set_rsp(mcontext_t *mc, ucontext_t *uc) { (void)uc; mc->gregs[REG_RSP] = value; }
static void set_flags(mcontext_t *mc, ucontext_t *uc) { (void)uc; mc->gregs[REG_EFL] = value; }
static void set_cs(mcontext_t *mc, ucontext_t *uc)
{
	(void)uc;
	mc->gregs[REG_CSGSFS] = (mc->gregs[REG_CSGSFS] & ~0xffffL) | value;
}
static void set_ss(mcontext_t *mc, ucontext_t *uc)
{
	(void)uc;
	mc->gregs[REG_CSGSFS] = (mc->gregs[REG_CSGSFS] & ~(0xffffL << 48)) | (long)value << 48;
}
static void set_gs_fs(mcontext_t *mc, ucontext_t *uc)
{
	(void)uc;
	mc->gregs[REG_CSGSFS] = (mc->gregs[REG_CSGSFS] & ~(0xffffffffL << 16)) | (long)(value & 0xffffffff) << 16;
}
static void set_uc_flags(mcontext_t *mc, ucontext_t *uc) { (void)mc; uc->uc_flags = value; }
static void set_all(mcontext_t *mc, ucontext_t *uc)
{
	(void)uc;
	for (int i = 0; i < 23; i++)
		mc->gregs[i] = value;
}
static void set_stack(mcontext_t *mc, ucontext_t *uc)
{
	(void)mc;
	uc->uc_stack.ss_sp = (void *)value;
	uc->uc_stack.ss_size = value;
	uc->uc_stack.ss_flags = value;
}

static const unsigned long addresses[] = {0, 1, TASK_END, 1UL << 47, 1UL << 63, 0xffff800000000000UL, 0xffffffff80000000UL, 0xffffffff81000000UL, -1UL, 0x0000800000000001UL};

TEST(forged_rip)
{
	for (unsigned i = 0; i < LEN(addresses); i++) {
		value = addresses[i];
		int status = after(set_rip);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
			FAIL("rip %#lx: status %#x", value, status);
	}
	check_alive();
}

TEST(forged_rsp)
{
	for (unsigned i = 0; i < LEN(addresses); i++) {
		value = addresses[i];
		int status = after(set_rsp);
		if (!WIFSIGNALED(status) || (WTERMSIG(status) != SIGSEGV && WTERMSIG(status) != SIGBUS))
			FAIL("rsp %#lx: status %#x", value, status);
	}
	check_alive();
}

static const unsigned long selectors[] = {0, 1, 3, 8, 0x10, 0x13, 0x18, 0x1b, 0x20, 0x2b, 0x30, 0x38, 0x3b, 0x40, 0x43, 0x50, 0x73, 0x7b, 0x80, 0xfff8, 0xffff};

/* The segment is no 64-bit code of the application's: SIGSEGV, or it is not loaded. */
TEST(forged_cs)
{
	for (unsigned i = 0; i < LEN(selectors); i++) {
		value = selectors[i];
		int status = after(set_cs);
		if (status != 0 && !WIFSIGNALED(status))
			FAIL("cs %#lx: status %#x", value, status);
		check_alive();
	}
	value = 0x23; /* 32-bit code */
	after(set_cs);
	check_alive();
}

TEST(forged_ss)
{
	for (unsigned i = 0; i < LEN(selectors); i++) {
		value = selectors[i];
		int status = after(set_ss);
		if (value == 0x2b ? status != 0 : status != 0 && !WIFSIGNALED(status))
			FAIL("ss %#lx: status %#x", value, status);
	}
	check_alive();
}

TEST(forged_fs_and_gs)
{
	for (unsigned i = 0; i < LEN(selectors); i++) {
		value = selectors[i] | selectors[i] << 16;
		CHECK_EQ(after(set_gs_fs), 0);
	}
}

/* Flags that belong to the kernel have no effect; TF ends a child that has no handler. */
TEST(forged_flags)
{
	for (int bit = 0; bit < 32; bit++) {
		if (bit == 8)
			continue;
		value = 1UL << bit;
		int status = after(set_flags);
		if (status != 0)
			FAIL("flag %d: status %#x", bit, status);
	}
	value = 1UL << 8;
	CHECK_EQ(WTERMSIG(after(set_flags)), SIGTRAP);
	value = ~0UL & ~(1UL << 8);
	CHECK_EQ(after(set_flags), 0);
	value = ~0UL;
	CHECK_EQ(WTERMSIG(after(set_flags)), SIGTRAP);
	check_alive();
}

TEST(forged_frame_of_noise)
{
	static const unsigned long noise[] = {0, 1, 0x7fff30000c00, 0x0101010101010101UL, ~0UL, 1UL << 63, 0xffff800000000000UL};
	for (unsigned i = 0; i < LEN(noise); i++) {
		value = noise[i];
		CHECK(WIFSIGNALED(after(set_all)));
		after(set_stack);
		after(set_uc_flags);
		check_alive();
	}
}

/* There is no frame: the stack ends, is not mapped, or is the stub's. */
TEST(sigreturn_without_a_frame)
{
	char *p = map_pages(2);
	SYS(mprotect(p + PAGE, PAGE, PROT_NONE));
	uintptr_t at[] = {(uintptr_t)p, (uintptr_t)p + PAGE - 64, (uintptr_t)p + PAGE, 0, 8, TASK_END, 1UL << 47, 0xffff800000000000UL, -8UL, SLOTS + SLOT_FRAMES, CODE, ORDERS};
	for (unsigned i = 0; i < LEN(at); i++) {
		CHILD(pid)
		{
			__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" : : "r"(at[i]));
		}
		int status = wait_status(pid);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
			FAIL("sp %#lx: status %#x", at[i], status);
	}
	check_alive();
}

/* The frame changes while sigreturn reads it. */
static void *scribbler(void *p)
{
	unsigned x = 1;
	for (;;) {
		x = x * 1664525 + 1013904223;
		((volatile uint64_t *)p)[x % (PAGE / 8)] = x % 5 == 0 ? ~0UL : x * 0x100000001UL;
	}
	return NULL;
}

TEST(frame_changes_during_sigreturn)
{
	for (int i = 0; i < 40; i++) {
		char *p = map_pages(1);
		CHILD(pid)
		{
			pthread_t th;
			CHECK_EQ(pthread_create(&th, NULL, scribbler, p), 0);
			CALL1(SYS_alarm, 1);
			sleep_ms(2 + i % 5);
			__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall; ud2" : : "r"(p + 64));
		}
		CHECK(WIFSIGNALED(wait_status(pid)));
		munmap(p, PAGE);
	}
	check_alive();
}
