//go:build ignore

/* Segment selectors and bases. Without FS the C library does not work: what is tried with it
 * is a child's, by system call instructions alone. */
#include "attack.h"
#include <asm/prctl.h>
#include <sys/auxv.h>

static unsigned long base_of(int get)
{
	unsigned long v = 1;
	CHECK_EQ(CALL2(SYS_arch_prctl, get, &v), 0);
	return v;
}

static const uintptr_t bases[] = {0, 1, 0x1000, SLOTS, SLOTS + 1, SLOTS + SLOT_SIZE, SLOTS + SLOT_FRAMES, CODE, ORDERS, RESULTS, PTRACE_CODE, TASK_END - PAGE};
static const uintptr_t not_bases[] = {TASK_END + PAGE, 1UL << 47, 1UL << 63, 0xffff800000000000UL, 0xffffffffff600000UL, -1UL, 0x8000000000000000UL - 1};

TEST(gs_base)
{
	on_signal(SIGUSR1, SIG_IGN, 0);
	for (unsigned i = 0; i < LEN(bases); i++) {
		CHECK_EQ(CALL2(SYS_arch_prctl, ARCH_SET_GS, bases[i]), 0);
		CHECK_EQ(base_of(ARCH_GET_GS), bases[i]);
		check_alive();
		raise(SIGUSR1);
		CHECK_EQ(base_of(ARCH_GET_GS), bases[i]);
	}
	CALL2(SYS_arch_prctl, ARCH_SET_GS, 0x123000);
	for (unsigned i = 0; i < LEN(not_bases); i++) {
		CHECK_EQ(CALL2(SYS_arch_prctl, ARCH_SET_GS, not_bases[i]), -EPERM);
		CHECK_EQ(base_of(ARCH_GET_GS), 0x123000);
	}
	CHECK_EQ(CALL2(SYS_arch_prctl, ARCH_GET_GS, 1UL << 47), -EFAULT);
	CHECK_EQ(CALL2(SYS_arch_prctl, ARCH_GET_FS, CODE), platform() ? -EFAULT : CALL2(SYS_arch_prctl, ARCH_GET_FS, CODE));
}

/* What is read by GS is the application's. */
TEST(gs_base_is_used)
{
	static uint64_t a[2] = {111, 222};
	for (int i = 0; i < 20; i++) {
		uint64_t v;
		CHECK_EQ(CALL2(SYS_arch_prctl, ARCH_SET_GS, &a[i % 2]), 0);
		if (i % 3 == 0)
			check_alive();
		__asm__ volatile("mov %%gs:0, %0" : "=r"(v));
		CHECK_EQ(v, i % 2 ? 222 : 111);
	}
	CHECK_EQ(CALL2(SYS_arch_prctl, ARCH_SET_GS, 0), 0);
}

/* Raw code for children without FS. */
static void exit_raw(int code)
{
	for (;;)
		CALL1(SYS_exit_group, code);
}

TEST(fs_base)
{
	for (unsigned i = 0; i < LEN(bases); i++) {
		CHILD(pid)
		{
			unsigned long got = 1;
			if (CALL2(SYS_arch_prctl, ARCH_SET_FS, bases[i]) != 0)
				exit_raw(1);
			for (int j = 0; j < 5; j++)
				CALL0(SYS_sched_yield);
			if (CALL2(SYS_arch_prctl, ARCH_GET_FS, &got) != 0 || got != bases[i])
				exit_raw(2);
			exit_raw(0);
		}
		CHECK_EXIT(pid, 0);
	}
	for (unsigned i = 0; i < LEN(not_bases); i++)
		CHECK_EQ(CALL2(SYS_arch_prctl, ARCH_SET_FS, not_bases[i]), -EPERM);
	check_alive();
}

static const int selectors[] = {0, 1, 2, 3, 4, 7, 0x10, 0x18, 0x23, 0x28, 0x2b, 0x30, 0x33, 0x38, 0x40, 0x43, 0x50, 0x5b, 0x60, 0x63, 0x6b, 0x73, 0x78, 0x7b, 0x80, 0xff, 0x1000, 0xffff};

/* Loads a selector in a child: the load faults or not, and system calls, faults and signals go
 * on afterwards, or the child ends by SIGSEGV. */
#define LOAD_SELECTOR(reg)                                                           \
	for (unsigned i = 0; i < LEN(selectors); i++) {                              \
		char *m = map_pages(2);                                              \
		CHILD(pid)                                                           \
		{                                                                    \
			/* No libc from here on: it may have no FS. */               \
			__asm__ volatile("mov %0, %%" #reg : : "r"(selectors[i]));   \
			for (int j = 0; j < 3; j++)                                  \
				CALL0(SYS_sched_yield);                              \
			m[PAGE] = 1;                                                 \
			if (CALL0(-512) != -ENOSYS)                                  \
				exit_raw(2);                                         \
			exit_raw(0);                                                 \
		}                                                                    \
		int status = wait_status(pid);                                       \
		int fine = selectors[i] < 4 || selectors[i] == 0x2b;                 \
		if (status != 0 && (fine || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)) \
			FAIL("selector %#x: status %#x", selectors[i], status);      \
		munmap(m, 2 * PAGE);                                                 \
	}                                                                            \
	check_alive()

TEST(selector_ds) { LOAD_SELECTOR(ds); }
TEST(selector_es) { LOAD_SELECTOR(es); }
TEST(selector_fs) { LOAD_SELECTOR(fs); }
TEST(selector_gs) { LOAD_SELECTOR(gs); }
TEST(selector_ss)
{
	for (unsigned i = 0; i < LEN(selectors); i++) {
		CHILD(pid)
		{
			__asm__ volatile("mov %0, %%ss" : : "r"(selectors[i]));
			CALL0(SYS_sched_yield);
			exit_raw(0);
		}
		int status = wait_status(pid);
		if (status != 0 && (selectors[i] == 0x2b || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV))
			FAIL("selector %#x: status %#x", selectors[i], status);
	}
	check_alive();
}

/* Far jumps into 32-bit code: what happens there is no 64-bit system call. */
TEST(compatibility_mode)
{
	unsigned char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(code != MAP_FAILED);
	static const unsigned char progs[][16] = {
	    {0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0x0f, 0x0b},                   /* mov $20,%eax; int $0x80; ud2 */
	    {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x0b},                   /* syscall */
	    {0xb8, 20, 0, 0, 0, 0x0f, 0x34, 0x0f, 0x0b},                   /* sysenter */
	    {0xa1, 0, 0, 0, 0, 0x0f, 0x0b},                                /* mov 0,%eax */
	};
	for (unsigned i = 0; i < LEN(progs); i++) {
		memcpy(code, progs[i], sizeof(progs[i]));
		struct {
			uint32_t ip;
			uint16_t cs;
		} __attribute__((packed)) to = {(uint32_t)(uintptr_t)code, 0x23};
		CHILD(pid)
		{
			CALL1(SYS_alarm, 2);
			__asm__ volatile("ljmpl *%0" : : "m"(to) : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
		}
		int status = wait_status(pid);
		CHECK(WIFSIGNALED(status));
		check_alive();
	}
}

/* wrfsbase and wrgsbase, where the processor has them; kernels that do not offer them may
 * forget what they set. */
TEST(base_instructions)
{
	int kept = getauxval(AT_HWCAP2) & 2;
	try_init();
	if (TRY(__asm__ volatile("wrgsbase %0" : : "r"(0x1000L))) == SIGILL) {
		CHECK(!kept);
		return;
	}
	static const uintptr_t all[] = {0, SLOTS, SLOTS + SLOT_SIZE, CODE, ORDERS, TASK_END, 0xffff800000000000UL, 0xffffffffff600000UL, -1UL};
	for (unsigned i = 0; i < LEN(all); i++) {
		unsigned long got;
		__asm__ volatile("wrgsbase %0" : : "r"(all[i]));
		check_alive();
		__asm__ volatile("rdgsbase %0" : "=r"(got));
		if (kept)
			CHECK_EQ(got, all[i]);
		CHILD(pid)
		{
			__asm__ volatile("wrfsbase %0" : : "r"(all[i]));
			for (int j = 0; j < 5; j++)
				CALL0(SYS_sched_yield);
			__asm__ volatile("rdfsbase %0" : "=r"(got));
			exit_raw(kept && got != all[i]);
		}
		CHECK_EXIT(pid, 0);
		/* With threads and what they share. */
		CHILD(threads)
		{
			__asm__ volatile("wrgsbase %0" : : "r"(all[i]));
			pthread_t th;
			CHECK_EQ(pthread_create(&th, NULL, (void *(*)(void *))getenv, "X"), 0);
			CHECK_EQ(pthread_join(th, NULL), 0);
		}
		CHECK_EXIT(threads, 0);
	}
	__asm__ volatile("wrgsbase %0" : : "r"(0UL));
}
