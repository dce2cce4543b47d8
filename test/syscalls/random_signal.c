//go:build ignore

/*
 * Queued signals arrive once each and, from one sender, in order, however they are taken: by a
 * handler, sigtimedwait(2), signalfd(2), by one thread or several; and no waiting call sleeps on.
 */
#include "test.h"
#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>

#ifndef ROUNDS
#define ROUNDS 1500
#endif
enum { SENDERS = 3, TAKERS = 3 };

/* A value is the sender's number and its count. */
static int value_of(int sender, int count) { return sender << 20 | count; }

static volatile int next[SENDERS]; /* what is expected of each sender */
static volatile int wrong;         /* a value that was not */

static void take(int value)
{
	int sender = value >> 20, count = value & 0xfffff;
	if (sender < 0 || sender >= SENDERS || count != next[sender]) {
		if (!wrong)
			wrong = value + 1;
		return;
	}
	next[sender]++;
}
static void on_queued(int sig, siginfo_t *si, void *uc) { take(si->si_value.sival_int); }

static int taken(void)
{
	int n = 0;
	for (int i = 0; i < SENDERS; i++)
		n += __atomic_load_n(&next[i], __ATOMIC_SEQ_CST);
	return n;
}

static void send_all(pid_t to, int sender)
{
	unsigned seed = sender + 1;
	for (int i = 0; i < ROUNDS; i++) {
		while (sigqueue(to, SIGRTMIN, (union sigval){.sival_int = value_of(sender, i)}) < 0) {
			if (errno != EAGAIN)
				FAIL("sigqueue %d of sender %d: %s", i, sender, strerror(errno));
			usleep(100);
		}
		if (rand_r(&seed) % 40 == 0)
			usleep(rand_r(&seed) % 300);
	}
}

static pid_t senders[SENDERS];
static void start_senders(void)
{
	pid_t to = getpid();
	for (int i = 0; i < SENDERS; i++) {
		CHILD(c) send_all(to, i);
		senders[i] = c;
	}
}
static void check_all(void)
{
	for (int i = 0; i < SENDERS; i++)
		CHECK_EXIT(senders[i], 0);
	if (wrong)
		FAIL("sender %d: %d came, %d was expected", (wrong - 1) >> 20, (wrong - 1) & 0xfffff, next[(wrong - 1) >> 20]);
	CHECK_EQ(taken(), SENDERS * ROUNDS);
}
static sigset_t queued_only(int how)
{
	sigset_t s, old;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN);
	SYS(sigprocmask(how, &s, &old));
	return how == SIG_BLOCK ? s : old;
}
static void handle_queued(int flags)
{
	struct sigaction sa = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | flags};
	SYS(sigaction(SIGRTMIN, &sa, NULL));
}

TEST_LIMIT(random_signal_handler, 60)
{
	sigset_t s = queued_only(SIG_BLOCK), none;
	sigemptyset(&none);
	handle_queued(0);
	start_senders();
	while (taken() < SENDERS * ROUNDS && !wrong)
		CHECK_ERRNO(sigsuspend(&none), EINTR);
	SYS(sigprocmask(SIG_UNBLOCK, &s, NULL));
	check_all();
}

/* Handlers that interrupt what the program does, and calls that are restarted or not. */
TEST_LIMIT(random_signal_handler_of_a_busy_program, 60)
{
	handle_queued(SA_RESTART);
	int p[2];
	char buf[4000];
	SYS(pipe(p));
	start_senders();
	CHILD(w)
	{
		for (int i = 0; i < 300; i++) {
			CHECK_EQ(write(p[1], buf, sizeof buf), sizeof buf);
			usleep(i % 7 * 50);
		}
	}
	SYS(close(p[1]));
	long n, total = 0;
	while ((n = SYS(read(p[0], buf, sizeof buf))) > 0) /* never EINTR */
		total += n;
	CHECK_EXIT(w, 0);
	CHECK_EQ(total, 300 * 4000);
	while (taken() < SENDERS * ROUNDS && !wrong)
		getppid();
	check_all();
}

TEST_LIMIT(random_signal_sigtimedwait, 60)
{
	sigset_t s = queued_only(SIG_BLOCK);
	start_senders();
	siginfo_t si;
	struct timespec ts = {20, 0};
	while (taken() < SENDERS * ROUNDS && !wrong) {
		CHECK_EQ(sigtimedwait(&s, &si, &ts), SIGRTMIN);
		CHECK_EQ(si.si_code, SI_QUEUE);
		take(si.si_value.sival_int);
	}
	check_all();
}

TEST_LIMIT(random_signal_signalfd, 60)
{
	sigset_t s = queued_only(SIG_BLOCK);
	int fd = SYS(signalfd(-1, &s, SFD_NONBLOCK));
	start_senders();
	struct signalfd_siginfo si[7];
	struct pollfd pf = {fd, POLLIN, 0};
	while (taken() < SENDERS * ROUNDS && !wrong) {
		CHECK_EQ(poll(&pf, 1, 20000), 1);
		long n = SYS(read(fd, si, sizeof si));
		CHECK(n > 0 && n % sizeof si[0] == 0);
		for (unsigned i = 0; i < n / sizeof si[0]; i++)
			take(si[i].ssi_int);
	}
	CHECK_ERRNO(read(fd, si, sizeof si), EAGAIN);
	check_all();
}

/* Several threads take: each signal goes to one of them. */
static uint32_t got[SENDERS][ROUNDS];
static int gotten;
static void *taker(void *arg)
{
	sigset_t *s = arg;
	siginfo_t si;
	struct timespec ts = {0, 100000000};
	while (__atomic_load_n(&gotten, __ATOMIC_SEQ_CST) < SENDERS * ROUNDS) {
		if (sigtimedwait(s, &si, &ts) < 0)
			continue;
		int v = si.si_value.sival_int;
		__atomic_add_fetch(&got[v >> 20][v & 0xfffff], 1, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&gotten, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}
TEST_LIMIT(random_signal_threads_take, 60)
{
	sigset_t s = queued_only(SIG_BLOCK);
	pthread_t t[TAKERS];
	for (int i = 0; i < TAKERS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, taker, &s), 0);
	start_senders();
	for (int i = 0; i < TAKERS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < SENDERS; i++)
		for (int j = 0; j < ROUNDS; j++)
			if (got[i][j] != 1)
				FAIL("signal %d of sender %d came %u times", j, i, got[i][j]);
	for (int i = 0; i < SENDERS; i++)
		CHECK_EXIT(senders[i], 0);
}

/* What a periodic timer's signals and their overruns count is what the clock says. */
static volatile long long expirations;
static void on_tick(int sig, siginfo_t *si, void *uc) { expirations += 1 + si->si_overrun; }
TEST_LIMIT(random_signal_timer_overruns, 30)
{
	struct sigaction sa = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO};
	SYS(sigaction(SIGRTMIN + 1, &sa, NULL));
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
	timer_t timer;
	struct itimerspec every = {{0, 500000}, {0, 500000}}, never = {};
	sigset_t s, old;
	SYS(timer_create(CLOCK_MONOTONIC, &ev, &timer));
	long long begin = now_ms();
	SYS(timer_settime(timer, 0, &every, NULL));
	unsigned seed = 1;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN + 1);
	while (now_ms() - begin < 300) {
		SYS(sigprocmask(SIG_BLOCK, &s, &old));
		usleep(rand_r(&seed) % 4000);
		SYS(sigprocmask(SIG_SETMASK, &old, NULL));
	}
	long long end = now_ms();
	SYS(timer_settime(timer, 0, &never, NULL));
	sleep_ms(5);
	long long want = (end - begin) * 2;
	if (expirations < want - 20 || expirations > want + 2 * (now_ms() - end) + 4)
		FAIL("%lld expirations, the clock says %lld", expirations, want);
}
