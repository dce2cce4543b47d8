//go:build ignore

/*
 * Registers are the program's own: whatever it had in them is there after a system call, a
 * signal, a fork, a fault, a stop, at random moments and in several threads at once.
 */
#include "test.h"
#include <pthread.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/time.h>

#ifndef ROUNDS
#define ROUNDS 4000
#endif
enum { THREADS = 4, STATUS_FLAGS = 0xcd5 /* CF PF AF ZF SF DF OF */ };

/* What probe loads, and finds after the system call rax. */
struct state {
	uint64_t rax, rbx, rbp, r12, r13, r14, r15, rdi, rsi, rdx, r8, r9, r10, flags;
	uint64_t xmm[16][2];
};

#define ALL_XMM(insn) ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15; " insn "; .endr\n"
#define LOAD_STATE                                                                                      \
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"                  \
	"mov %rdi, %rcx\n" ALL_XMM("movdqu 112+16*\\n(%rcx), %xmm\\n")                                  \
	"mov (%rcx), %rax; mov 8(%rcx), %rbx; mov 16(%rcx), %rbp; mov 24(%rcx), %r12; mov 32(%rcx), %r13\n" \
	"mov 40(%rcx), %r14; mov 48(%rcx), %r15; mov 56(%rcx), %rdi; mov 64(%rcx), %rsi\n"                \
	"mov 72(%rcx), %rdx; mov 80(%rcx), %r8; mov 88(%rcx), %r9; mov 96(%rcx), %r10\n"
/* rcx is the out of probe. */
#define STORE_STATE                                                                                     \
	"mov %rax, (%rcx); mov %rbx, 8(%rcx); mov %rbp, 16(%rcx); mov %r12, 24(%rcx); mov %r13, 32(%rcx)\n" \
	"mov %r14, 40(%rcx); mov %r15, 48(%rcx); mov %rdi, 56(%rcx); mov %rsi, 64(%rcx)\n"                \
	"mov %rdx, 72(%rcx); mov %r8, 80(%rcx); mov %r9, 88(%rcx); mov %r10, 96(%rcx)\n"                  \
	ALL_XMM("movdqu %xmm\\n, 112+16*\\n(%rcx)")                                                      \
	"pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"

/* With flags, and with no instruction behind the call that can be patched together with it. */
void probe(const struct state *in, struct state *out);
__asm__("probe:\n" LOAD_STATE "push 104(%rcx); popfq\n"
        "syscall\n"
        "cmovnz %rax, %rax\n"
        "mov (%rsp), %rcx; pushfq; popq 104(%rcx); cld\n" STORE_STATE);

/* The way libc has it. */
void probe_like_libc(const struct state *in, struct state *out);
__asm__("probe_like_libc:\n" LOAD_STATE
        "syscall\n"
        "cmp $-4096, %rax\n"
        "mov (%rsp), %rcx\n" STORE_STATE);

static uint64_t random64(unsigned *seed) { return (uint64_t)rand_r(seed) << 42 ^ (uint64_t)rand_r(seed) << 21 ^ rand_r(seed); }

/* A handler that leaves nothing as it was. */
static void clobber(int sig)
{
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0; movdqa %%xmm0, %%xmm7; movdqa %%xmm0, %%xmm15\n\tmov $-1, %%r8\n\tmov $-1, %%r10"
	                 ::: "xmm0", "xmm7", "xmm15", "r8", "r10");
}

enum { GETPPID, YIELD, SLEEP, MADVISE, WRITE, RAISE, PROTECT, FORK, CALLS };
static const char *const names[] = {"getppid", "sched_yield", "nanosleep", "madvise", "write", "tgkill", "mprotect", "fork"};

struct place { /* of a thread */
	unsigned seed;
	char *page;
	int null;
	pid_t tid;
};

static void set_up(struct place *p, unsigned seed)
{
	p->seed = seed;
	p->page = map_pages(16);
	p->null = SYS(open("/dev/null", O_WRONLY));
	p->tid = gettid_();
}

static void compare(struct place *p, const struct state *in, const struct state *out, int call, int round, int with_flags)
{
	const uint64_t *a = &in->rbx, *b = &out->rbx;
	for (unsigned i = 0; i < (sizeof *in - 8) / 8; i++)
		if (a[i] != b[i] && (&a[i] != &in->flags || (with_flags && (a[i] ^ b[i]) & STATUS_FLAGS)))
			FAIL("after %s, thread %d round %d: word %u of struct state is %#lx, was %#lx",
			     names[call], p->tid, round, i + 1, b[i], a[i]);
}

/* Makes one random system call with random registers. fork_too: it may be fork. */
static void one_call(struct place *p, int round, int fork_too)
{
	struct state in, out;
	for (unsigned i = 0; i < sizeof in / 8; i++)
		((uint64_t *)&in)[i] = random64(&p->seed);
	in.flags = (in.flags & STATUS_FLAGS) | 0x202;
	static const struct timespec moment = {0, 20000};
	int call = rand_r(&p->seed) % (fork_too ? CALLS : FORK);
	switch (call) {
	case GETPPID: in.rax = SYS_getppid; break;
	case YIELD: in.rax = SYS_sched_yield; break;
	case SLEEP: in.rax = SYS_nanosleep, in.rdi = (uintptr_t)&moment, in.rsi = 0; break;
	case MADVISE: in.rax = SYS_madvise, in.rdi = (uintptr_t)p->page, in.rsi = 16 * PAGE, in.rdx = MADV_DONTNEED; break;
	case WRITE: in.rax = SYS_write, in.rdi = p->null, in.rsi = (uintptr_t)p->page, in.rdx = 1; break;
	case RAISE: in.rax = SYS_tgkill, in.rdi = getpid(), in.rsi = p->tid, in.rdx = SIGUSR1; break;
	case PROTECT: in.rax = SYS_mprotect, in.rdi = (uintptr_t)p->page, in.rsi = PAGE, in.rdx = rand_r(&p->seed) % 2 ? PROT_READ : PROT_READ | PROT_WRITE; break;
	case FORK: in.rax = SYS_fork; break;
	}
	int with_flags = rand_r(&p->seed) % 2;
	(with_flags ? probe : probe_like_libc)(&in, &out);
	compare(p, &in, &out, call, round, with_flags);
	if (call == FORK) {
		if (out.rax == 0)
			_exit(0);
		CHECK((int64_t)out.rax > 0);
		CHECK_EXIT(out.rax, 0);
	}
	p->page[15 * PAGE] = 1; /* a fault, after madvise */
}

struct work { unsigned seed; int fork_too; };
static void *worker(void *arg)
{
	struct work *w = arg;
	struct place p;
	set_up(&p, w->seed);
	for (int i = 0; i < ROUNDS / THREADS; i++)
		one_call(&p, i, w->fork_too && i % 2 == 0);
	return NULL;
}

static void in_threads(int threads, int fork_too)
{
	pthread_t t[THREADS];
	struct work w[THREADS];
	struct itimerval often = {{0, 700}, {0, 700}}, never = {};
	on_signal(SIGUSR1, clobber, SA_RESTART);
	on_signal(SIGALRM, clobber, SA_RESTART);
	SYS(setitimer(ITIMER_REAL, &often, NULL));
	for (int i = 0; i < threads; i++) {
		w[i] = (struct work){i * 77 + fork_too + 1, fork_too};
		CHECK_EQ(pthread_create(&t[i], NULL, worker, &w[i]), 0);
	}
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	SYS(setitimer(ITIMER_REAL, &never, NULL));
}

TEST_LIMIT(random_registers_of_one_thread, 60) { in_threads(1, 0); }
TEST_LIMIT(random_registers_of_threads, 60) { in_threads(THREADS, 0); }
TEST_LIMIT(random_registers_when_forking, 60) { in_threads(1, 1); }
TEST_LIMIT(random_registers_of_threads_that_fork, 60) { in_threads(THREADS, 1); }

/* The same while another process stops and continues the threads, and looks at them. */
TEST_LIMIT(random_registers_when_stopped, 60)
{
	CHILD(c) in_threads(THREADS, 0);
	int s;
	for (int i = 0; i < 50; i++) {
		usleep(1500);
		kill(c, SIGSTOP);
		CHECK_EQ(waitpid(c, &s, WUNTRACED), c);
		if (!WIFSTOPPED(s)) {
			CHECK_EQ(s, 0);
			return;
		}
		kill(c, SIGCONT);
	}
	CHECK_EXIT(c, 0);
}

TEST_LIMIT(random_registers_when_traced, 60)
{
	CHILD(c) in_threads(1, 0);
	for (int i = 0; i < 20; i++) {
		int s;
		usleep(1500);
		if (ptrace(PTRACE_ATTACH, c, 0, 0) < 0)
			break;
		CHECK_EQ(waitpid(c, &s, 0), c);
		if (!WIFSTOPPED(s)) {
			CHECK_EQ(s, 0);
			return;
		}
		int sig = WSTOPSIG(s) == SIGSTOP ? 0 : WSTOPSIG(s);
		while (sig != 0) { /* a signal came first */
			SYS(ptrace(PTRACE_CONT, c, 0, sig));
			CHECK_EQ(waitpid(c, &s, 0), c);
			if (!WIFSTOPPED(s)) {
				CHECK_EQ(s, 0);
				return;
			}
			sig = WSTOPSIG(s) == SIGSTOP ? 0 : WSTOPSIG(s);
		}
		SYS(ptrace(PTRACE_DETACH, c, 0, 0));
	}
	CHECK_EXIT(c, 0);
}
