//go:build ignore

/*
 * Private futexes of threads, used often and shortly: what a kernel may do in a shorter way than
 * futex.c's single calls, with all that can happen to a thread that waits.
 */
#include "test.h"
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/time.h>

enum { OFTEN = 3000, THREADS = 8 };

static long futex(void *uaddr, int op, uint32_t val, const void *timeout, void *uaddr2, uint32_t val3)
{
	return syscall(SYS_futex, uaddr, op, val, timeout, uaddr2, val3);
}

static uint32_t load(uint32_t *w) { return __atomic_load_n(w, __ATOMIC_SEQ_CST); }
static void store(uint32_t *w, uint32_t v) { __atomic_store_n(w, v, __ATOMIC_SEQ_CST); }

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, fn, arg), 0);
	return t;
}
static void join(pthread_t t) { CHECK_EQ(pthread_join(t, NULL), 0); }

/* Call sites that are used often are the ones that this file is about. */
static void warm_up(void)
{
	uint32_t w = 0;
	for (int i = 0; i < 100; i++) {
		CHECK_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EAGAIN);
		CHECK_EQ(futex(&w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
	}
}

/* One wait, which may find another value or a signal. */
static void wait_once(uint32_t *w, uint32_t val, int op)
{
	long r = futex(w, op, val, NULL, NULL, ~0U);
	int e = errno;
	if (r != 0 && e != EAGAIN && e != EINTR)
		FAIL("futex = %ld, %s", r, strerror(e));
}

/* Waits until *w is not val any more, by op, which may wake for nothing. */
static void wait_while(uint32_t *w, uint32_t val, int op)
{
	while (load(w) == val)
		wait_once(w, val, op);
}

TEST(futex_threads_errors_at_hot_call_sites)
{
	warm_up();
	uint32_t w[2] = {1, 1};
	char *none = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *fresh = map_pages(1);
	CHECK_ERRNO(futex((char *)w + 1, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EINVAL);
	CHECK_ERRNO(futex((char *)w + 1, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
	CHECK_ERRNO(futex(bad_ptr(), FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EFAULT);
	CHECK_ERRNO(futex(none, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EFAULT);
	CHECK_ERRNO(futex((void *)-4096L, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EFAULT);
	CHECK_ERRNO(futex((void *)(1UL << 63), FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EFAULT);
	CHECK_ERRNO(futex(fresh, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EAGAIN);
	CHECK_ERRNO(futex(w, FUTEX_WAIT_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
	CHECK_ERRNO(futex(w, FUTEX_WAIT_BITSET_PRIVATE, 2, NULL, NULL, 1), EAGAIN);
	CHECK_ERRNO(futex(w, FUTEX_WAKE_PRIVATE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
	CHECK_EQ(futex(w, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0), 0);
	CHECK_EQ(futex(w, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 0);
	struct timespec ts = {0, 3000000};
	long long t = now_ms();
	CHECK_ERRNO(futex(w, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0), ETIMEDOUT);
	CHECK(now_ms() - t >= 2);
}

static uint32_t ball;
static int wait_op = FUTEX_WAIT_PRIVATE;
static void hit(uint32_t to)
{
	store(&ball, to);
	SYS(futex(&ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
}
static void *partner(void *arg)
{
	for (int i = 0; i < OFTEN; i++) {
		wait_while(&ball, 0, wait_op);
		hit(0);
	}
	return arg;
}
static void play(void)
{
	pthread_t p = start(partner, NULL);
	for (int i = 0; i < OFTEN; i++) {
		hit(1);
		wait_while(&ball, 1, wait_op);
	}
	join(p);
}
TEST(futex_threads_take_turns) { play(); }
TEST(futex_threads_take_turns_by_bitset)
{
	wait_op = FUTEX_WAIT_BITSET_PRIVATE;
	play();
	wait_op = FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME;
	play();
}

/* Waits that are short and long by turns: the latter are in another place of the kernel. */
static void *slow_partner(void *arg)
{
	for (int i = 0; i < 300; i++) {
		wait_while(&ball, 0, FUTEX_WAIT_PRIVATE);
		if (i % 3 == 0)
			usleep(i % 2 ? 900 : 1500);
		hit(0);
	}
	return arg;
}
TEST(futex_threads_wait_shortly_and_long)
{
	warm_up();
	pthread_t p = start(slow_partner, NULL);
	for (int i = 0; i < 300; i++) {
		hit(1);
		wait_while(&ball, 1, FUTEX_WAIT_PRIVATE);
		if (i % 5 == 0)
			usleep(i % 2 ? 1100 : 2500);
	}
	join(p);
}

static uint32_t gate, tids[THREADS], passed;
static void *at_gate(void *arg)
{
	warm_up();
	tids[(long)arg] = gettid_();
	CHECK_EQ(futex(&gate, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), 0);
	__atomic_add_fetch(&passed, 1, __ATOMIC_SEQ_CST);
	return NULL;
}
static void until_passed(uint32_t n)
{
	while (load(&passed) != n)
		sleep_ms(1);
}
/* Nobody wakes for nothing when all are known to sleep, and the word need not change. */
TEST(futex_threads_are_woken_in_the_numbers_asked_for)
{
	warm_up();
	pthread_t t[THREADS];
	for (long i = 0; i < THREADS; i++) {
		t[i] = start(at_gate, (void *)i);
		while (load(&tids[i]) == 0)
			sleep_ms(1);
		sleep_ms(5);
		until_blocked(tids[i]);
	}
	CHECK_EQ(futex(&gate, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
	until_passed(1);
	CHECK_EQ(futex(&gate, FUTEX_WAKE_PRIVATE, 3, NULL, NULL, 0), 3);
	until_passed(4);
	sleep_ms(20);
	CHECK_EQ(load(&passed), 4);
	CHECK_EQ(futex(&gate, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), THREADS - 4);
	for (int i = 0; i < THREADS; i++)
		join(t[i]);
	CHECK_EQ(futex(&gate, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 0);
}

/* A barrier of all threads, whose last one wakes the others, whether they have just begun to wait
   or have waited for long. */
static uint32_t arrived, round_no;
static void *in_rounds(void *arg)
{
	unsigned seed = (long)arg;
	for (int i = 0; i < 500; i++) {
		uint32_t r = load(&round_no);
		if (rand_r(&seed) % 50 == 0)
			usleep(rand_r(&seed) % 2500);
		if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == THREADS) {
			store(&arrived, 0);
			store(&round_no, r + 1);
			SYS(futex(&round_no, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
		} else
			wait_while(&round_no, r, FUTEX_WAIT_PRIVATE);
	}
	return NULL;
}
TEST_LIMIT(futex_threads_meet, 60)
{
	pthread_t t[THREADS];
	for (long i = 0; i < THREADS; i++)
		t[i] = start(in_rounds, (void *)i);
	for (int i = 0; i < THREADS; i++)
		join(t[i]);
	CHECK_EQ(round_no, 500);
}

/* A lock by the book: 0 free, 1 held, 2 held and waited for. */
static uint32_t lock_word;
static long guarded;
static void lock(void)
{
	uint32_t c = 0;
	if (__atomic_compare_exchange_n(&lock_word, &c, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	while (__atomic_exchange_n(&lock_word, 2, __ATOMIC_SEQ_CST) != 0)
		wait_once(&lock_word, 2, FUTEX_WAIT_PRIVATE);
}
static void unlock(void)
{
	if (__atomic_exchange_n(&lock_word, 0, __ATOMIC_SEQ_CST) == 2)
		SYS(futex(&lock_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
}
static void *locker(void *arg)
{
	for (int i = 0; i < OFTEN; i++) {
		lock();
		guarded++;
		if (i % 16 == 0)
			sched_yield();
		unlock();
	}
	return arg;
}
static void lock_in_turns(void)
{
	pthread_t t[THREADS];
	guarded = 0;
	for (int i = 0; i < THREADS; i++)
		t[i] = start(locker, NULL);
	for (int i = 0; i < THREADS; i++)
		join(t[i]);
	CHECK_EQ(guarded, THREADS * OFTEN);
}
TEST_LIMIT(futex_threads_lock, 60) { lock_in_turns(); }

static int alarms;
static void on_alarm(int sig) { alarms++; }
/* Signals land before, in and behind waits; none is lost, and no wake either. */
TEST_LIMIT(futex_threads_lock_among_signals, 60)
{
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {};
	for (int restart = 0; restart < 2; restart++) {
		alarms = 0;
		on_signal(SIGALRM, on_alarm, restart ? SA_RESTART : 0);
		SYS(setitimer(ITIMER_REAL, &often, NULL));
		lock_in_turns();
		play();
		SYS(setitimer(ITIMER_REAL, &never, NULL));
		CHECK(alarms > 0);
	}
}

static pthread_t main_thread;
static uint32_t enough;
static void *disturber(void *arg)
{
	for (int i = 0; !load(&enough); i++) {
		usleep(100 + i * 37 % 1900);
		pthread_kill(main_thread, SIGUSR1);
	}
	return arg;
}
/* A signal ends the wait that it finds, however long that has been. */
TEST(futex_threads_are_interrupted)
{
	warm_up();
	uint32_t w = 0;
	main_thread = pthread_self();
	on_signal(SIGUSR1, on_alarm, 0);
	pthread_t t = start(disturber, NULL);
	for (int i = 0; i < 300; i++)
		CHECK_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINTR);
	CHECK(alarms >= 300);
	store(&enough, 1);
	join(t);
}

static void stop_at(int sig) { pthread_exit(NULL); }
static void *forever(void *arg)
{
	warm_up();
	store(&tids[(long)arg], gettid_());
	for (;;)
		futex(&gate, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return NULL;
}
/* Starts threads that are about to wait. */
static void start_waiters(void)
{
	for (long i = 0; i < THREADS; i++)
		start(forever, (void *)i);
	for (int i = 0; i < THREADS; i++)
		while (load(&tids[i]) == 0)
			sched_yield();
}

/* A thread that waits without a timeout is interrupted by a signal, just begun or not. */
TEST(futex_threads_without_timeout_are_interrupted)
{
	on_signal(SIGUSR1, stop_at, 0);
	for (int i = 0; i < 40; i++) {
		store(&tids[0], 0);
		pthread_t t = start(forever, NULL);
		while (load(&tids[0]) == 0)
			sched_yield();
		usleep(i * 50);
		CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
		join(t);
	}
}

/* Ends of all kinds while threads wait. */
TEST(futex_threads_die_waiting)
{
	for (int i = 0; i < 12; i++) {
		CHILD(c)
		{
			start_waiters();
			usleep(i % 3 * 400);
			if (i % 4 == 0)
				_exit(7);
			if (i % 4 == 1)
				raise(SIGKILL);
			if (i % 4 == 2)
				execl("/proc/self/exe", "exe", "--helper", "futex_threads_seven", NULL);
			CHILD(d) _exit(7);
			CHECK_EXIT(d, 7);
			_exit(7);
		}
		if (i % 4 == 1)
			CHECK_KILLED(c, SIGKILL);
		else
			CHECK_EXIT(c, 7);
	}
}
HELPER(futex_threads_seven) { return 7; }

/* Stopped and continued, the game goes on. */
TEST_LIMIT(futex_threads_are_stopped, 30)
{
	CHILD(c) play();
	for (int i = 0; i < 20; i++) {
		int s;
		kill(c, SIGSTOP);
		pid_t p = SYS(waitpid(c, &s, WUNTRACED));
		CHECK_EQ(p, c);
		if (!WIFSTOPPED(s)) {
			CHECK_EQ(s, 0);
			return;
		}
		kill(c, SIGCONT);
		usleep(700);
	}
	CHECK_EXIT(c, 0);
}

/* A tracer sees each call from its arrival on. */
TEST_LIMIT(futex_threads_are_traced, 30)
{
	CHILD(c)
	{
		uint32_t w = 0;
		warm_up();
		SYS(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		for (int i = 0; i < 50; i++)
			futex(&w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		syscall(SYS_exit_group, 0);
	}
	int s, stops = 0;
	CHECK_EQ(waitpid(c, &s, 0), c);
	CHECK(WIFSTOPPED(s));
	SYS(ptrace(PTRACE_SETOPTIONS, c, 0, PTRACE_O_TRACESYSGOOD));
	for (;;) {
		SYS(ptrace(PTRACE_SYSCALL, c, 0, 0));
		CHECK_EQ(waitpid(c, &s, 0), c);
		if (!WIFSTOPPED(s))
			break;
		stops += WSTOPSIG(s) == (SIGTRAP | 0x80);
	}
	CHECK(stops >= 100);
}

/* A filter sees each call, too. */
TEST(futex_threads_are_filtered)
{
	uint32_t w = 0;
	warm_up();
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {LEN(code), code};
	SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0));
	for (int i = 0; i < 50; i++) {
		CHECK_ERRNO(futex(&w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EXDEV);
		CHECK_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EXDEV);
	}
}

/* Waiters that have just begun to wait are requeued, or wake. */
static uint32_t cond_word, cond_lock, woken;
static void *cond_waiter(void *arg)
{
	for (int i = 0; i < 200; i++) {
		uint32_t v = load(&cond_word);
		if (v >= 400)
			break;
		wait_while(&cond_word, v, FUTEX_WAIT_PRIVATE);
		__atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
	}
	return arg;
}
TEST_LIMIT(futex_threads_are_requeued, 60)
{
	warm_up();
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		t[i] = start(cond_waiter, NULL);
	for (int i = 1; i <= 400; i++) {
		store(&cond_word, i);
		switch (i % 3) {
		case 0:
			SYS(futex(&cond_word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)(long)INT_MAX, &cond_lock, i));
			break;
		case 1:
			SYS(futex(&cond_word, FUTEX_REQUEUE_PRIVATE, 1, (void *)(long)INT_MAX, &cond_lock, 0));
			break;
		case 2:
			SYS(futex(&cond_word, FUTEX_WAKE_OP_PRIVATE, INT_MAX, (void *)1L, &cond_lock,
			          FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_GE, 0)));
		}
		if (i % 20 == 0)
			usleep(1500);
		SYS(futex(&cond_lock, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
	}
	for (int i = 0; i < 4; i++)
		join(t[i]);
	CHECK(load(&woken) > 0);
}

/* Processes that share memory share its private futexes. */
static char stack[65536] __attribute__((aligned(16)));
static int in_clone(void *arg)
{
	partner(arg);
	return 0;
}
TEST(futex_threads_of_two_processes)
{
	warm_up();
	pid_t c = SYS(clone(in_clone, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
	for (int i = 0; i < OFTEN; i++) {
		hit(1);
		wait_while(&ball, 1, FUTEX_WAIT_PRIVATE);
	}
	CHECK_EXIT(c, 0);
}

/* Who waits uses no processor. */
TEST(futex_threads_wait_without_a_processor)
{
	start_waiters();
	sleep_ms(50);
	for (int i = 0; i < THREADS; i++)
		until_blocked(tids[i]);
	struct timespec a, b;
	SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a));
	sleep_ms(100);
	SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b));
	CHECK((b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec < 50000000);
}
