//go:build ignore

/* Jumps into the platform's code with registers of the application's choice. The process may break
 * itself; its parent and others go on, and nothing reaches the host. */
#include "attack.h"
#include <sys/time.h>

#define BUDGET 2000 /* milliseconds; a hang costs more than a fault, so that not all is always tried */

struct registers {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rsp;
};

static void jump(uintptr_t to, const struct registers *r) __attribute__((noreturn));
static void jump(uintptr_t to, const struct registers *r)
{
	__asm__ volatile("mov %1, %%rax\n"
			 "pushq $0; pushfq; \n"
			 "popfq\n"
			 "mov 8(%%rax), %%rbx; mov 16(%%rax), %%rcx; mov 24(%%rax), %%rdx; mov 32(%%rax), %%rsi\n"
			 "mov 48(%%rax), %%rbp; mov 56(%%rax), %%r8; mov 64(%%rax), %%r9; mov 72(%%rax), %%r10\n"
			 "mov 80(%%rax), %%r11; mov 88(%%rax), %%r12; mov 96(%%rax), %%r13; mov 104(%%rax), %%r14; mov 112(%%rax), %%r15\n"
			 "mov 120(%%rax), %%rsp\n"
			 "push %0\n"
			 "mov 40(%%rax), %%rdi\n"
			 "mov (%%rax), %%rax\n"
			 "ret\n"
			 :
			 : "D"(to), "S"(r)
			 : "memory");
	__builtin_unreachable();
}

/* What the registers point to: a page that looks like a slot, a window, a list of calls. */
static char *page;

static void fill(int how)
{
	uint64_t *w = (uint64_t *)page;
	for (unsigned i = 0; i < 4 * PAGE / 8; i++)
		switch (how % 4) {
		case 0:
			w[i] = 0;
			break;
		case 1:
			w[i] = ~0UL;
			break;
		case 2: /* calls: write(2, …), and their like */
			w[i] = i % 8 == 0 ? SYS_write : i % 8 == 1 ? 2 : (uint64_t)page;
			break;
		default:
			w[i] = i * 0x9e3779b97f4a7c15UL >> (i % 60);
		}
}

static void set(struct registers *r, int how)
{
	static const long numbers[] = {SYS_exit_group, SYS_write, SYS_mmap, SYS_munmap, SYS_clone, SYS_kill, SYS_prctl, SYS_seccomp, SYS_futex, SYS_arch_prctl, SYS_pwrite64, SYS_execve, SYS_fork, SYS_rt_sigreturn, SYS_exit, SYS_ptrace};
	uint64_t *w = (uint64_t *)r;
	for (unsigned i = 0; i < sizeof(*r) / 8; i++)
		w[i] = how % 3 == 0 ? (uint64_t)page + PAGE : how % 3 == 1 ? i : SLOTS;
	r->rax = numbers[how % LEN(numbers)];
	r->rsp = (uint64_t)page + 3 * PAGE;
}

static uintptr_t code_at(size_t *size)
{
	*size = on("ptrace") ? PAGE : CODE_SIZE;
	return on("ptrace") ? PTRACE_CODE : CODE;
}

/* Tries every WORKERS-th offset from *progress on, until the process is killed. */
#define WORKERS 6
static void try_offsets(volatile unsigned *progress, long long end)
{
	size_t size;
	uintptr_t code = code_at(&size);
	struct registers r;
	try_init();
	while (now_ms() < end && *progress < size) {
		unsigned n = *progress;
		*progress += WORKERS;
		/* An order that spreads over all of the code from the beginning, and comes last to the
		 * first parts: those of them that loop end by being killed, which takes a while. */
		unsigned off = n * 2731 % size;
		off = n < size / 2 ? off | size / 2 : off & ~(size / 2);
		const unsigned char *p = (const unsigned char *)code + off;
		if (platform() && off > 0 && p[0] == 0xcc && p[-1] == 0xcc)
			continue; /* filler */
		fill(n / 7);
		set(&r, n);
		struct itimerval it = {{0, 20000}, {0, 3000}}, none = {{0, 0}, {0, 0}};
		setitimer(ITIMER_REAL, &it, NULL);
		TRY(jump(code + off, &r));
		setitimer(ITIMER_REAL, &none, NULL);
	}
}

TEST_LIMIT(jumps_into_stub_code, 20)
{
	volatile unsigned *progress = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(progress != MAP_FAILED);
	page = map_pages(4);
	size_t size;
	code_at(&size);
	pid_t pids[WORKERS] = {0};
	for (unsigned i = 0; i < WORKERS; i++)
		progress[i] = i;
	long long end = now_ms() + BUDGET;
	for (int busy = 1; busy && now_ms() < end; sleep_ms(2)) {
		busy = 0;
		for (unsigned i = 0; i < WORKERS; i++) {
			if (pids[i] && waitpid(pids[i], NULL, WNOHANG) == pids[i])
				pids[i] = 0;
			if (!pids[i] && progress[i] < size) {
				CHILD(pid)
				{
					test_mute();
					try_offsets(progress + i, end);
				}
				pids[i] = pid;
			}
			busy |= pids[i] != 0;
		}
		check_alive();
	}
	for (unsigned i = 0; i < WORKERS; i++)
		if (pids[i])
			must_die(pids[i]);
	check_alive();
	unsigned done = 0;
	for (unsigned i = 0; i < WORKERS; i++)
		done += progress[i] / WORKERS;
	fprintf(stderr, "jumps: %u of %zu offsets\n", done, size);
}

/* System calls by the stub's own instructions: futex and arch_prctl are the host's there, and do
 * no harm; everything else is the application's call as ever. */
TEST_LIMIT(calls_by_the_stubs_instructions, 20)
{
	static const unsigned char call[] = {0x0f, 0x05};
	static const long calls[][4] = {
	    {SYS_arch_prctl, 0x1001, CODE}, {SYS_arch_prctl, 0x1002, 0}, {SYS_arch_prctl, 0x3001, 0}, {SYS_arch_prctl, 0x4001, 0}, {SYS_futex, 0, 1, 1}, {SYS_futex, 0, 0x81, 1},
	    {SYS_futex, ORDERS, 1, 1 << 30}, {SYS_prctl, 4, 1}, {SYS_exit, 0, 0}, {SYS_gettid, 0, 0}, {SYS_kill, 1, 9}, {SYS_tgkill, 1, 1}, {SYS_munmap, 0, TASK_END},
	    {SYS_rt_sigprocmask, 0, 0}, {SYS_seccomp, 1, 0}, {SYS_pwrite64, 5, CODE, 4}, {SYS_clone, 0x11}};
	if (!on("systrap"))
		return;
	pid_t pids[512];
	unsigned n = 0;
	for (uintptr_t at = CODE; at < CODE + CODE_SIZE - 1; at++) {
		if (memcmp((void *)at, call, 2) != 0)
			continue;
		for (unsigned i = 0; i < LEN(calls) && n < LEN(pids); i++) {
			CHILD(pid)
			{
				test_mute();
				try_init();
				struct registers r = {.rax = calls[i][0], .rdi = calls[i][1], .rsi = calls[i][2], .rdx = calls[i][3]};
				r.rsp = (uint64_t)map_pages(4) + 2 * PAGE;
				r.r8 = r.r12 = r.r15 = r.rsp + PAGE;
				struct itimerval it = {{0, 20000}, {0, 50000}};
				setitimer(ITIMER_REAL, &it, NULL);
				TRY(jump(at, &r));
				CALL0(SYS_getpid);
				for (;;)
					CALL1(SYS_exit_group, 0);
			}
			pids[n++] = pid;
		}
		check_alive();
	}
	CHECK(n > 3 * LEN(calls));
	/* The sandbox's first process is not killed, nobody has run away, all end. */
	unsigned left = n;
	for (long long end = now_ms() + 500; left && now_ms() < end; sleep_ms(1))
		for (unsigned i = 0; i < n; i++)
			if (pids[i] && waitpid(pids[i], NULL, WNOHANG) == pids[i])
				pids[i] = 0, left--;
	for (unsigned i = 0; i < n; i++)
		if (pids[i])
			must_die(pids[i]);
	check_alive();
}
