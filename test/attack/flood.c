//go:build ignore

/* Floods of events by many threads. Another process of the same sandbox goes on meanwhile. */
#include "attack.h"
#include <sched.h>

#define THREADS 100

static volatile int go, stop, to_process = 1;

static void handled(int sig) { (void)sig; }

static void *storm(void *arg)
{
	long which = (long)arg;
	stack_t st = {.ss_sp = map_pages(16), .ss_size = 16 * PAGE};
	SYS(sigaltstack(&st, NULL));
	char *p = map_pages(1);
	while (!go)
		sleep_ms(5);
	while (!stop)
		switch (which % 6) {
		case 0:
			CALL0(SYS_getpid);
			break;
		case 1:
			TRY(*(volatile char *)8 = 1);
			break;
		case 2:
			CALL3(SYS_tgkill, getpid(), gettid_(), SIGUSR1);
			break;
		case 3:
			TRY(__asm__ volatile("ud2"));
			break;
		case 4:
			*(volatile char *)p = 1;
			madvise(p, PAGE, MADV_DONTNEED);
			break;
		case 5:
			if (to_process)
				kill(getpid(), SIGUSR2); /* for any thread */
			break;
		}
	return NULL;
}

static void flood(void)
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 32 * PAGE);
	try_init();
	on_signal(SIGUSR1, handled, SA_RESTART | SA_ONSTACK);
	on_signal(SIGUSR2, handled, SA_RESTART | SA_ONSTACK);
	for (long i = 0; i < THREADS; i++) {
		pthread_t th;
		int e = pthread_create(&th, &small, storm, (void *)i);
		if (e)
			FAIL("thread %ld: %s", i, strerror(e));
	}
	go = 1;
}

TEST_LIMIT(others_answer_during_a_flood, 20)
{
	CHILD(pid)
	{
		flood();
		pause();
		for (;;)
			sleep_ms(1000);
	}
	long long longest = 0;
	for (long long end = now_ms() + 700; now_ms() < end;) {
		long long t0 = now_ms();
		check_alive();
		long long took = now_ms() - t0;
		longest = took > longest ? took : longest;
	}
	if (longest > 5000)
		FAIL("a pipe and a fork took %lld ms", longest);
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	must_die(pid);
	check_alive();
}

TEST_LIMIT(flood_ends_by_itself, 20)
{
	CHILD(pid)
	{
		to_process = 0;
		flood();
		sleep_ms(300);
		stop = 1;
	}
	CHECK_EXIT(pid, 0);
}

/* Timers and signals that come faster than they can be taken. */
TEST(flood_of_timers)
{
	CHILD(pid)
	{
		on_signal(SIGALRM, handled, SA_RESTART);
		struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
		struct itimerspec it = {{0, 1}, {0, 1}};
		for (int i = 0; i < 20; i++) {
			timer_t t;
			if (timer_create(CLOCK_MONOTONIC, &ev, &t) == 0)
				timer_settime(t, 0, &it, NULL);
		}
		for (;;)
			CALL0(SYS_sched_yield);
	}
	for (long long end = now_ms() + 300; now_ms() < end;)
		check_alive();
	must_die(pid);
}

/* Children that die by the platform's own signals and come again. */
TEST(flood_of_deaths)
{
	for (long long end = now_ms() + 400; now_ms() < end;) {
		CHILD(segv)
		{
			*(volatile char *)8 = 1;
		}
		CHILD(ill)
		{
			__asm__ volatile("ud2");
		}
		CHILD(sys)
		{
			raise(SIGSYS);
		}
		CHILD(usr)
		{
			raise(SIGUSR1);
		}
		CHECK_KILLED(segv, SIGSEGV);
		CHECK_KILLED(ill, SIGILL);
		CHECK_KILLED(sys, SIGSYS);
		CHECK_KILLED(usr, SIGUSR1);
	}
}
