//go:build ignore

/* Floating-point control words, and FP state that sigreturn is given. */
#include "attack.h"
#include <cpuid.h>

static uint32_t get_mxcsr(void)
{
	uint32_t v;
	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}
static void set_mxcsr(uint32_t v) { __asm__ volatile("ldmxcsr %0" : : "m"(v)); }
static uint16_t get_cw(void)
{
	uint16_t v;
	__asm__ volatile("fnstcw %0" : "=m"(v));
	return v;
}
static void set_cw(uint16_t v) { __asm__ volatile("fldcw %0" : : "m"(v)); }

/* Exceptions unmasked, rounding changed, denormals flushed. */
static const uint32_t mxcsrs[] = {0x1f80, 0x0000, 0x0040, 0x6000, 0x9fc0, 0xffc0, 0xffff & ~0x3f, 0x1f80 | 0x3f};
static const uint16_t cws[] = {0x037f, 0x0340, 0x0f40, 0x0c40, 0x007f, 0x027f}; /* bit 6 is always set */

TEST(control_words_survive_system_calls)
{
	char *p = map_pages(64);
	for (unsigned i = 0; i < LEN(mxcsrs); i++)
		for (unsigned j = 0; j < LEN(cws); j++) {
			set_mxcsr(mxcsrs[i]);
			set_cw(cws[j]);
			CALL0(SYS_getpid);
			CALL0(SYS_sched_yield);
			p[(i * 8 + j) % 64 * PAGE] = 1; /* a fault */
			uint32_t m = get_mxcsr();
			uint16_t c = get_cw();
			set_mxcsr(0x1f80);
			set_cw(0x37f);
			CHECK_EQ(m, mxcsrs[i]);
			CHECK_EQ(c, cws[j]);
		}
}

static volatile uint32_t in_mxcsr;
static volatile uint16_t in_cw;

static void look(int sig)
{
	(void)sig;
	in_mxcsr = get_mxcsr();
	in_cw = get_cw();
	set_mxcsr(0x1f80 | 0x2000);
	set_cw(0x37f);
	CALL0(SYS_getpid);
}

/* A handler begins with the state it interrupted, and that comes back. */
TEST(control_words_survive_signals)
{
	on_signal(SIGUSR1, look, 0);
	pid_t pid = getpid();
	for (unsigned i = 0; i < LEN(mxcsrs); i++)
		for (unsigned j = 0; j < LEN(cws); j++) {
			set_mxcsr(mxcsrs[i]);
			set_cw(cws[j]);
			long r = CALL2(SYS_kill, pid, SIGUSR1);
			uint32_t m = get_mxcsr();
			uint16_t c = get_cw();
			set_mxcsr(0x1f80);
			set_cw(0x37f);
			CHECK_EQ(r, 0);
			CHECK_EQ(m, mxcsrs[i]);
			CHECK_EQ(c, cws[j]);
		}
}

TEST(control_words_survive_fork)
{
	set_mxcsr(0x9fc0);
	set_cw(0x0f7f);
	long pid = CALL0(SYS_fork);
	if (pid == 0) {
		if (get_mxcsr() != 0x9fc0 || get_cw() != 0x0f7f)
			_exit(1);
		_exit(0);
	}
	uint32_t m = get_mxcsr();
	set_mxcsr(0x1f80);
	set_cw(0x37f);
	CHECK_EQ(m, 0x9fc0);
	CHECK_EXIT(pid, 0);
}

/* Unmasked exceptions arrive as SIGFPE with their code. */
TEST(unmasked_exceptions)
{
	try_init();
	static const struct {
		uint32_t mask;
		double a, b;
		int code;
	} t[] = {{0x1f80 & ~0x200, 1, 0, FPE_FLTDIV}, {0x1f80 & ~0x80, 0, 0, FPE_FLTINV}, {0x1f80 & ~0x1000, 1, 3, FPE_FLTRES}, {0x1f80 & ~0x400, 1e308, 1e-308, FPE_FLTOVF}};
	for (unsigned i = 0; i < LEN(t); i++) {
		double a = t[i].a, b = t[i].b;
		int sig = TRY(set_mxcsr(t[i].mask); __asm__ volatile("divsd %1, %0" : "+x"(a) : "x"(b)));
		set_mxcsr(0x1f80);
		CHECK_EQ(sig, SIGFPE);
		CHECK_EQ(tried.si_code, t[i].code);
		/* x87 tells with the next instruction that waits, which may be behind a system call. */
		sig = TRY({
			set_cw(0x37f & ~0x4);
			__asm__ volatile("fldz; fld1; fdivp");
			CALL0(SYS_getpid);
			__asm__ volatile("fwait");
		});
		__asm__ volatile("fninit");
		CHECK_EQ(sig, SIGFPE);
		CHECK_EQ(tried.si_code, FPE_FLTDIV);
	}
	check_alive();
}

/* Reserved bits of MXCSR are a fault of the instruction that loads them. */
TEST(bad_mxcsr)
{
	try_init();
	CHECK_EQ(TRY(set_mxcsr(0x80000000)), SIGSEGV);
	CHECK_EQ(tried.si_code, SI_KERNEL);
	check_alive();
}

/* What a handler does to the FP state that sigreturn will load. */
static void (*change)(char *fp, mcontext_t *mc);
static void changer(int sig, siginfo_t *info, void *uc)
{
	(void)sig, (void)info;
	mcontext_t *mc = &((ucontext_t *)uc)->uc_mcontext;
	change((char *)mc->fpregs, mc);
}

static void change_mxcsr(char *fp, mcontext_t *mc) { (void)mc; *(uint32_t *)(fp + 24) = 0xffffffff; }
static void change_features(char *fp, mcontext_t *mc) { (void)mc; *(uint64_t *)(fp + 512) = ~0ULL; }
static void change_compaction(char *fp, mcontext_t *mc) { (void)mc; *(uint64_t *)(fp + 520) = ~0ULL; }
static void change_reserved(char *fp, mcontext_t *mc) { (void)mc; memset(fp + 528, 0xff, 48); }
static void change_all(char *fp, mcontext_t *mc) { (void)mc; memset(fp, 0xff, 576); }
static void change_noise(char *fp, mcontext_t *mc)
{
	(void)mc;
	for (int i = 0; i < 576; i++)
		fp[i] = i * 37 + 11;
}
static void change_magic1(char *fp, mcontext_t *mc) { (void)mc; *(uint32_t *)(fp + 464) = 0; }
static void change_size(char *fp, mcontext_t *mc) { (void)mc; *(uint32_t *)(fp + 480) = 0xffffffff, *(uint32_t *)(fp + 468) = 0xffffffff; }
static void change_small(char *fp, mcontext_t *mc) { (void)mc; *(uint32_t *)(fp + 480) = 1, *(uint32_t *)(fp + 468) = 1; }
static void change_unaligned(char *fp, mcontext_t *mc) { (void)fp; mc->fpregs = (void *)((char *)mc->fpregs + 8); }
static void change_null(char *fp, mcontext_t *mc) { (void)fp; mc->fpregs = NULL; }
static void change_unmapped(char *fp, mcontext_t *mc) { (void)fp; mc->fpregs = bad_ptr(); }
static void change_kernel(char *fp, mcontext_t *mc) { (void)fp; mc->fpregs = (void *)0xffff888000000000; }
static void change_top(char *fp, mcontext_t *mc) { (void)fp; mc->fpregs = (void *)-64L; }
static void change_stub(char *fp, mcontext_t *mc) { (void)fp; mc->fpregs = (void *)CODE; }
static void change_slot(char *fp, mcontext_t *mc) { (void)fp; mc->fpregs = (void *)(SLOTS + 0x1000); }

/* How a child fares that returns from a handler with the change: 0, or a signal. */
static int after(void (*f)(char *, mcontext_t *))
{
	CHILD(pid)
	{
		change = f;
		struct sigaction sa = {.sa_sigaction = changer, .sa_flags = SA_SIGINFO};
		SYS(sigaction(SIGUSR1, &sa, NULL));
		CALL2(SYS_kill, CALL0(SYS_getpid), SIGUSR1);
		for (int i = 0; i < 3; i++)
			CALL0(SYS_sched_yield);
		__asm__ volatile("fninit");
		set_mxcsr(0x1f80);
	}
	int status = wait_status(pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(sigreturn_with_bad_fp_state)
{
	CHECK_EQ(after(change_mxcsr), SIGSEGV);
	CHECK_EQ(after(change_unmapped), SIGSEGV);
	CHECK_EQ(after(change_kernel), SIGSEGV);
	CHECK_EQ(after(change_top), SIGSEGV);
	CHECK_EQ(after(change_null), 0);
	if (platform()) {
		CHECK_EQ(after(change_stub), SIGSEGV);
		CHECK_EQ(after(change_slot), SIGSEGV);
	}
	check_alive();
}

/* Kernels differ in what they refuse here; the process lives or gets SIGSEGV. */
TEST(sigreturn_with_strange_fp_state)
{
	static void (*const strange[])(char *, mcontext_t *) = {change_features, change_compaction, change_reserved, change_all, change_noise, change_magic1, change_size, change_small, change_unaligned};
	for (unsigned i = 0; i < LEN(strange); i++) {
		int r = after(strange[i]);
		if (r != 0 && r != SIGSEGV && r != SIGFPE)
			FAIL("change %u: %d", i, r);
		check_alive();
	}
}
