//go:build ignore

/* The ways into the kernel that are not the usual one, and numbers that no system call has. */
#include "attack.h"
#include <sys/auxv.h>

TEST(numbers_that_do_not_exist)
{
	static const int numbers[] = {-1, -2, -38, -511, -512, -513, -514, -515, -516, -517, -530, -4095, -4096, INT_MIN, INT_MAX, 511, 512, 513, 547, 548, 1000, 4095, 4096, 65535, 1 << 20};
	for (unsigned i = 0; i < LEN(numbers); i++) {
		CHECK_EQ(CALL0(numbers[i]), -ENOSYS);
		CHECK_EQ(CALL0((uint32_t)numbers[i]), -ENOSYS);
		CHECK_ERRNO(syscall(numbers[i]), ENOSYS);
	}
}

/* The x32 interface: bit 30. Kernels without it have no such calls; with it they are
 * the same process's. */
TEST(x32_numbers)
{
	long r = CALL0(0x40000000 | SYS_getpid);
	CHECK(r == -ENOSYS || r == getpid());
	r = CALL0(0x40000000 | 512);
	CHECK(r < 0 && r >= -4095);
	CHECK_EQ(CALL0(SYS_getpid), getpid());
}

/* The kernel looks at the lower half of the number and of int arguments only. */
TEST(upper_halves_are_ignored)
{
	long pid = getpid();
	for (int bit = 32; bit < 64; bit++)
		CHECK_EQ(CALL0(1L << bit | SYS_getpid), pid);
	CHECK_EQ(CALL0(~0xffffffffL | SYS_getpid), pid);
	CHECK_EQ(CALL0(0x7fffffff00000000L | (uint32_t)-1), -ENOSYS);
	int p[2];
	SYS(pipe(p));
	CHECK_EQ(CALL3(SYS_write, 0xdeadbeef00000000L | p[1], "x", 1), 1);
	CHECK_EQ(CALL1(SYS_close, 0x100000000L | p[0]), 0);
}

/* All registers but RCX, R11 and RAX survive, whatever the call gave. */
TEST(system_calls_keep_registers)
{
	static const long numbers[] = {SYS_getpid, SYS_sched_yield, 10000, -512, SYS_close};
	for (unsigned i = 0; i < LEN(numbers); i++) {
		long bad;
		__asm__ volatile("push %%rbp; push %%rbx\n"
				 "mov $-1, %%rdi; mov $0x1122334455667788, %%rsi; mov $3, %%rdx; mov $4, %%r10; mov $5, %%r8\n"
				 "mov $6, %%r9; mov $7, %%r12; mov $8, %%r13; mov $9, %%r14; mov $10, %%r15; mov $11, %%rbx; mov $12, %%rbp\n"
				 "syscall\n"
				 "xor %%eax, %%eax\n"
				 "cmp $-1, %%rdi; setne %%al; shl $1, %%eax\n"
				 "mov $0x1122334455667788, %%rcx; cmp %%rcx, %%rsi; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $3, %%rdx; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $4, %%r10; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $5, %%r8; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $6, %%r9; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $7, %%r12; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $8, %%r13; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $9, %%r14; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $10, %%r15; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $11, %%rbx; setne %%cl; or %%cl, %%al; shl $1, %%eax\n"
				 "cmp $12, %%rbp; setne %%cl; or %%cl, %%al\n"
				 "pop %%rbx; pop %%rbp\n"
				 : "=a"(bad)
				 : "a"(numbers[i])
				 : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
		if (bad)
			FAIL("after call %ld registers differ: mask %#lx", numbers[i], bad);
	}
}

/* The 32-bit interface may exist or fault; it may not do a 64-bit kernel's call by its
 * number. exit is 1 there and write here, fork 2 and open. */
TEST(int80)
{
	try_init();
	for (int i = 0; i < 3; i++) {
		long r = 20; /* getpid */
		int sig = TRY(__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11"));
		if (sig == 0)
			CHECK_EQ(r, getpid());
		else
			CHECK_EQ(sig, SIGSEGV);
	}
	CHECK_EQ(CALL0(SYS_getpid), getpid());
	/* Numbers and stops at odd values: */
	static const long numbers[] = {0, -1, 162, 119 /* sigreturn */, 173 /* rt_sigreturn */, 0x40000014, 1L << 40};
	for (unsigned i = 0; i < LEN(numbers); i++) {
		CHILD(pid)
		{
			try_init();
			long r = numbers[i];
			TRY(__asm__ volatile("int $0x80" : "+a"(r) : "b"(-1L), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11"));
			_exit(0);
		}
		wait_status(pid);
	}
	check_alive();
}

TEST(sysenter)
{
	/* Returns, if at all, to a 32-bit address. */
	static const long numbers[] = {20, 1, -1, 39};
	for (unsigned i = 0; i < LEN(numbers); i++) {
		CHILD(pid)
		{
			try_init();
			alarm(2);
			TRY(__asm__ volatile("mov %%rsp, %%rbp; sysenter" : : "a"(numbers[i]) : "memory", "rcx", "rdx"));
			_exit(0);
		}
		wait_status(pid);
	}
	check_alive();
}

/* Software interrupts and privileged instructions. */
TEST(privileged_instructions)
{
	try_init();
#define FAULTS(code)                                                                 \
	do {                                                                         \
		CHECK_EQ(TRY(__asm__ volatile(code : : : "rax", "rbx", "rcx", "rdx", "memory")), SIGSEGV); \
		CHECK_EQ(tried.si_code, SI_KERNEL);                                  \
		CHECK_EQ((long)tried.si_addr, 0);                                    \
	} while (0)
	FAULTS("hlt");
	FAULTS("cli");
	FAULTS("sti");
	FAULTS("mov %%cr0, %%rax");
	FAULTS("mov %%cr3, %%rax");
	FAULTS("mov %%rax, %%cr4");
	FAULTS("mov %%dr7, %%rax");
	FAULTS("wrmsr");
	FAULTS("rdmsr");
	FAULTS("invd");
	FAULTS("wbinvd");
	FAULTS("clts");
	FAULTS("swapgs");
	FAULTS("lidt 0(%%rsp)");
	FAULTS("lgdt 0(%%rsp)");
	FAULTS("inb $0x80, %%al");
	FAULTS("outb %%al, $0x80");
	FAULTS("int $0x20");
	FAULTS("int $2");
	FAULTS("int $0xff");
	FAULTS("sysretq");
	FAULTS("xor %%ecx, %%ecx; mov $-1, %%eax; xor %%edx, %%edx; xsetbv");
	CHECK_EQ(TRY(__asm__ volatile("ud2")), SIGILL);
	CHECK_EQ(TRY(__asm__ volatile("int3")), SIGTRAP);
	check_alive();
}

TEST(time_stamp_counter)
{
	uint64_t last = 0;
	for (int i = 0; i < 1000; i++) {
		uint32_t lo, hi, aux;
		__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
		uint64_t a = (uint64_t)hi << 32 | lo;
		CHECK(a >= last || last - a < 1u << 30);
		__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
		last = (uint64_t)hi << 32 | lo;
		CALL0(SYS_getpid);
	}
}

/* The page of the first x86-64 vsyscalls: calls that work, or a fault, but no way to
 * anything else. */
TEST(vsyscall_page)
{
	try_init();
	uintptr_t page = 0xffffffffff600000UL;
	struct timeval tv = {0, 0};
	volatile long t = 0;
	int sig = TRY(t = ((long (*)(void *))(page + 0x400))(NULL));
	if (sig == 0)
		CHECK(labs(t - time(NULL)) < 100);
	else
		CHECK_EQ(sig, SIGSEGV);
	sig = TRY(((long (*)(void *, void *))page)(&tv, NULL));
	if (sig == 0)
		CHECK(labs(tv.tv_sec - time(NULL)) < 100);
	else
		CHECK_EQ(sig, SIGSEGV);
	/* Pointers that the kernel must not follow. */
	sig = TRY(t = ((long (*)(void *))(page + 0x400))(bad_ptr()));
	CHECK(sig == SIGSEGV || t == -EFAULT);
	sig = TRY(t = ((long (*)(void *))(page + 0x400))((void *)CODE));
	CHECK(sig == SIGSEGV || t == -EFAULT);
	/* Not the beginning of a call. */
	for (int off = 1; off < 0x1000; off += 37) {
		if (off % 0x400 == 0)
			continue;
		CHECK(TRY(((void (*)(void))(page + off))()) != 0);
	}
	CHECK_EQ(TRY(*(volatile char *)page = 1), SIGSEGV);
	CHECK_EQ((long)tried.si_addr, page);
	check_alive();
}
