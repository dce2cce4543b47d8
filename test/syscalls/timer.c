//go:build ignore

/* Clocks and timers. */
#include "test.h"
#include <pthread.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/times.h>

static volatile sig_atomic_t count;
static volatile siginfo_t info;
static void tick(int sig) { (void)sig, count++; }
static void tick_info(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)uc;
	count++;
	info = *si;
}

static void busy(long ms)
{
	for (long long end = now_ms() + ms; now_ms() < end;)
		;
}

TEST(clocks_tick_and_agree)
{
	static const clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
	struct timespec a, b, res;
	for (size_t i = 0; i < LEN(ids); i++) {
		SYS(clock_gettime(ids[i], &a));
		busy(12);
		SYS(clock_gettime(ids[i], &b));
		CHECK((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec > 0);
		SYS(clock_getres(ids[i], &res));
		CHECK(res.tv_sec == 0 && res.tv_nsec > 0);
	}
	struct timeval tv;
	SYS(gettimeofday(&tv, NULL));
	SYS(clock_gettime(CLOCK_REALTIME, &a));
	CHECK(labs(tv.tv_sec - a.tv_sec) <= 1);
	CHECK(labs(time(NULL) - a.tv_sec) <= 1);
	CHECK_ERRNO(syscall(SYS_clock_gettime, 99, &a), EINVAL);
	CHECK_ERRNO(syscall(SYS_clock_gettime, CLOCK_REALTIME, bad_ptr()), EFAULT);
	/* The system call and the vDSO say the same. */
	SYS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b));
	SYS(clock_gettime(CLOCK_MONOTONIC, &a));
	CHECK((a.tv_sec - b.tv_sec) * 1000000000 + a.tv_nsec - b.tv_nsec >= 0);
}

static void *busy_for(void *ms)
{
	busy((long)ms);
	return NULL;
}

static long long clock_ns(clockid_t id)
{
	struct timespec t;
	SYS(clock_gettime(id, &t));
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

TEST(threads_share_the_processors_time)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int n = cpus < 8 ? 4 * cpus : 32;
	pthread_t t[32];
	long long wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < n; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, busy_for, (void *)100), 0);
	for (int i = 0; i < n; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = clock_ns(CLOCK_MONOTONIC) - wall;
	CHECK(cpu > 0 && cpu <= wall * cpus * 11 / 10);
}

TEST(clock_monotonic_never_goes_back)
{
	struct timespec a, b;
	SYS(clock_gettime(CLOCK_MONOTONIC, &a));
	for (int i = 0; i < 200000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec))
			FAIL("went back");
		a = b;
	}
}

TEST(clock_of_another_process)
{
	clockid_t id;
	struct timespec ts;
	CHILD(c) busy(20000);
	CHECK_EQ(clock_getcpuclockid(c, &id), 0);
	sleep_ms(60);
	SYS(clock_gettime(id, &ts));
	CHECK(ts.tv_sec > 0 || ts.tv_nsec > 0);
	kill(c, SIGKILL);
	CHECK_KILLED(c, SIGKILL);
}

TEST(nanosleep_and_clock_nanosleep)
{
	struct timespec ts = {0, 30000000};
	long long t = now_ms();
	SYS(nanosleep(&ts, NULL));
	CHECK(now_ms() - t >= 29);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += 30000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	t = now_ms();
	CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0);
	CHECK(now_ms() - t >= 25);
	ts = (struct timespec){1, 0}; /* long ago */
	CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL), 0);
	ts.tv_nsec = 1000000000;
	CHECK_ERRNO(nanosleep(&ts, NULL), EINVAL);
	CHECK_ERRNO(syscall(SYS_nanosleep, bad_ptr(), NULL), EFAULT);
	ts = (struct timespec){-1, 0};
	CHECK_ERRNO(nanosleep(&ts, NULL), EINVAL);
	CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL), EINVAL);
}

TEST(alarm_and_setitimer_real)
{
	on_signal(SIGALRM, tick, 0);
	CHECK_EQ(alarm(100), 0);
	unsigned left = alarm(0);
	CHECK(left >= 99 && left <= 100);
	struct itimerval it = {{0, 10000}, {0, 10000}}, old;
	SYS(setitimer(ITIMER_REAL, &it, NULL));
	while (count < 5)
		pause();
	SYS(getitimer(ITIMER_REAL, &old));
	CHECK_EQ(old.it_interval.tv_usec, 10000);
	CHECK(old.it_value.tv_usec > 0 && old.it_value.tv_usec <= 10000);
	it = (struct itimerval){{0, 0}, {0, 0}};
	SYS(setitimer(ITIMER_REAL, &it, &old));
	it.it_value.tv_usec = 1000000;
	CHECK_ERRNO(setitimer(ITIMER_REAL, &it, NULL), EINVAL);
	CHECK_ERRNO(setitimer(9, &it, NULL), EINVAL);
	CHECK_ERRNO(getitimer(ITIMER_REAL, bad_ptr()), EFAULT);
}

TEST(setitimer_cpu_clocks)
{
	on_signal(SIGVTALRM, tick, 0);
	struct itimerval it = {{0, 0}, {0, 20000}};
	SYS(setitimer(ITIMER_VIRTUAL, &it, NULL));
	for (volatile long i = 0; i < 4000000000L && !count; i++)
		;
	CHECK_EQ(count, 1);
	on_signal(SIGPROF, tick, 0);
	SYS(setitimer(ITIMER_PROF, &it, NULL));
	for (volatile long i = 0; i < 4000000000L && count < 2; i++)
		;
	CHECK_EQ(count, 2);
}

TEST(timers_are_not_inherited)
{
	struct itimerval it = {{0, 0}, {50, 0}}, now;
	SYS(setitimer(ITIMER_REAL, &it, NULL));
	CHILD(c)
	{
		SYS(getitimer(ITIMER_REAL, &now));
		CHECK_EQ(now.it_value.tv_sec, 0);
	}
	CHECK_EXIT(c, 0);
}

TEST(posix_timer_signal_and_value)
{
	timer_t id;
	struct sigaction sa = {.sa_sigaction = tick_info, .sa_flags = SA_SIGINFO};
	SYS(sigaction(SIGRTMIN, &sa, NULL));
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 99};
	SYS(timer_create(CLOCK_MONOTONIC, &ev, &id));
	struct itimerspec it = {{0, 10000000}, {0, 10000000}}, cur;
	SYS(timer_settime(id, 0, &it, NULL));
	while (count < 3)
		pause();
	CHECK_EQ(info.si_code, SI_TIMER);
	CHECK_EQ(info.si_value.sival_int, 99);
	SYS(timer_gettime(id, &cur));
	CHECK_EQ(cur.it_interval.tv_nsec, 10000000);
	SYS(timer_delete(id));
	CHECK_ERRNO(syscall(SYS_timer_gettime, 12345, &cur), EINVAL);
	CHECK_ERRNO(syscall(SYS_timer_delete, 12345), EINVAL);
	CHECK_ERRNO(timer_create(99, &ev, &id), EINVAL);
	ev.sigev_signo = 99;
	CHECK_ERRNO(timer_create(CLOCK_MONOTONIC, &ev, &id), EINVAL);
}

TEST(posix_timer_overrun)
{
	timer_t id;
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	SYS(timer_create(CLOCK_MONOTONIC, &ev, &id));
	struct itimerspec it = {{0, 5000000}, {0, 5000000}};
	SYS(timer_settime(id, 0, &it, NULL));
	sleep_ms(60);
	siginfo_t si;
	CHECK_EQ(sigwaitinfo(&s, &si), SIGUSR1);
	CHECK(si.si_overrun >= 5);
	CHECK(timer_getoverrun(id) >= 5);
}

TEST(posix_timer_to_thread_and_absolute)
{
	timer_t id;
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
	ev._sigev_un._tid = gettid_();
	on_signal(SIGUSR1, tick, 0);
	SYS(timer_create(CLOCK_REALTIME, &ev, &id));
	struct itimerspec it = {0};
	clock_gettime(CLOCK_REALTIME, &it.it_value);
	SYS(timer_settime(id, TIMER_ABSTIME, &it, NULL));
	for (int i = 0; i < 1000 && !count; i++)
		sleep_ms(1);
	CHECK_EQ(count, 1);
	ev.sigev_notify = SIGEV_NONE;
	SYS(timer_create(CLOCK_MONOTONIC, &ev, &id));
	it.it_value = (struct timespec){100, 0};
	SYS(timer_settime(id, 0, &it, NULL));
	SYS(timer_gettime(id, &it));
	CHECK(it.it_value.tv_sec >= 98);
}

TEST(clock_settime_is_refused)
{
	struct timespec ts = {1, 0};
	CHILD(c)
	{
		become(1000);
		CHECK_ERRNO(clock_settime(CLOCK_REALTIME, &ts), EPERM);
		CHECK_ERRNO(settimeofday(&(struct timeval){1, 0}, NULL), EPERM);
	}
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(clock_settime(CLOCK_MONOTONIC, &ts), EINVAL);
}
