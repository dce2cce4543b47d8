//go:build ignore

/* epoll, poll, select, eventfd, timerfd, signalfd, memfd. */
#include "test.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static char buf[65536];
static struct epoll_event ev[16];

static void add(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};
	SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

TEST(epoll_level_triggered)
{
	int ep = SYS(epoll_create1(EPOLL_CLOEXEC)), p[2];
	CHECK_EQ(fcntl(ep, F_GETFD), FD_CLOEXEC);
	SYS(pipe(p));
	add(ep, p[0], EPOLLIN, 0x1122334455667788);
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 0);
	SYS(write(p[1], "ab", 2));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(epoll_wait(ep, ev, 16, 1000), 1);
		CHECK_EQ(ev[0].events, EPOLLIN);
		CHECK_EQ(ev[0].data.u64, 0x1122334455667788);
	}
	SYS(read(p[0], buf, 2));
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 0);
	SYS(close(p[1]));
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 1);
	CHECK_EQ(ev[0].events, EPOLLHUP);
}

TEST(epoll_edge_triggered)
{
	int ep = SYS(epoll_create1(0)), p[2];
	SYS(pipe(p));
	add(ep, p[0], EPOLLIN | EPOLLET, 1);
	SYS(write(p[1], "a", 1));
	CHECK_EQ(epoll_wait(ep, ev, 16, 1000), 1);
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 0);
	SYS(write(p[1], "b", 1)); /* a new edge though data was left */
	CHECK_EQ(epoll_wait(ep, ev, 16, 1000), 1);
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 0);
	struct epoll_event e = {.events = EPOLLIN | EPOLLET};
	SYS(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e)); /* re-arms */
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 1);
}

TEST(epoll_oneshot)
{
	int ep = SYS(epoll_create1(0)), p[2];
	SYS(pipe(p));
	add(ep, p[0], EPOLLIN | EPOLLONESHOT, 1);
	SYS(write(p[1], "a", 1));
	CHECK_EQ(epoll_wait(ep, ev, 16, 1000), 1);
	SYS(write(p[1], "b", 1));
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 0);
	struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT};
	SYS(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	CHECK_EQ(epoll_wait(ep, ev, 16, 0), 1);
}

TEST(epoll_errors)
{
	int ep = SYS(epoll_create1(0)), p[2];
	struct epoll_event e = {.events = EPOLLIN};
	SYS(pipe(p));
	CHECK_ERRNO(epoll_create1(1), EINVAL);
	CHECK_ERRNO(epoll_create(0), EINVAL);
	SYS(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e), EEXIST);
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_MOD, p[1], &e), ENOENT);
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], &e), ENOENT);
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e), EINVAL);
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, 99999, &e), EBADF);
	CHECK_ERRNO(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &e), EINVAL);
	CHECK_ERRNO(epoll_ctl(ep, 9, p[0], &e), EINVAL);
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], bad_ptr()), EFAULT);
	int f = SYS(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, f, &e), EPERM);
	CHECK_ERRNO(epoll_wait(ep, ev, 0, 0), EINVAL);
	CHECK_ERRNO(epoll_wait(p[0], ev, 1, 0), EINVAL);
	SYS(write(p[1], "x", 1));
	CHECK_ERRNO(epoll_wait(ep, bad_ptr(), 1, 0), EFAULT);
	SYS(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	CHECK_EQ(epoll_wait(ep, ev, 1, 0), 0);
}

TEST(epoll_closed_file_leaves_the_set)
{
	int ep = SYS(epoll_create1(0)), p[2];
	SYS(pipe(p));
	add(ep, p[0], EPOLLIN, 1);
	SYS(write(p[1], "x", 1));
	int d = SYS(dup(p[0]));
	SYS(close(p[0]));
	CHECK_EQ(epoll_wait(ep, ev, 1, 0), 1); /* the description is still open */
	SYS(close(d));
	CHECK_EQ(epoll_wait(ep, ev, 1, 0), 0);
}

TEST(epoll_nested)
{
	int a = SYS(epoll_create1(0)), b = SYS(epoll_create1(0)), p[2];
	SYS(pipe(p));
	add(a, b, EPOLLIN, 7);
	add(b, p[0], EPOLLIN, 8);
	CHECK_EQ(epoll_wait(a, ev, 16, 0), 0);
	SYS(write(p[1], "x", 1));
	CHECK_EQ(epoll_wait(a, ev, 16, 1000), 1);
	CHECK_EQ(ev[0].data.u64, 7);
	CHECK_EQ(epoll_wait(b, ev, 16, 0), 1);
	struct pollfd pf = {.fd = a, .events = POLLIN};
	CHECK_EQ(poll(&pf, 1, 0), 1);
	struct epoll_event e = {.events = EPOLLIN};
	CHECK_ERRNO(epoll_ctl(b, EPOLL_CTL_ADD, a, &e), ELOOP);
}

TEST(epoll_blocks_and_wakes)
{
	int ep = SYS(epoll_create1(0)), p[2];
	SYS(pipe(p));
	add(ep, p[0], EPOLLIN, 1);
	long long t = now_ms();
	CHECK_EQ(epoll_wait(ep, ev, 1, 40), 0);
	CHECK(now_ms() - t >= 39);
	pid_t me = getpid();
	CHILD(c)
	{
		until_blocked(me);
		SYS(write(p[1], "x", 1));
	}
	CHECK_EQ(epoll_wait(ep, ev, 1, -1), 1);
	CHECK_EXIT(c, 0);
}

TEST(epoll_exclusive_wakes_one)
{
	int p[2], q[2];
	SYS(pipe(p));
	SYS(pipe(q));
	for (int i = 0; i < 2; i++) {
		CHILD(c)
		{
			int ep = SYS(epoll_create1(0));
			add(ep, p[0], EPOLLIN | EPOLLEXCLUSIVE, 1);
			if (epoll_wait(ep, ev, 1, 300) == 1)
				SYS(write(q[1], "w", 1));
		}
		until_blocked(c);
	}
	SYS(write(p[1], "x", 1));
	while (wait(NULL) > 0)
		;
	long n = SYS(read(q[0], buf, 10));
	CHECK(n >= 1 && n <= 2);
	int ep = SYS(epoll_create1(0));
	struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT};
	CHECK_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e), EINVAL);
}

TEST(epoll_pwait_unmasks)
{
	int ep = SYS(epoll_create1(0));
	sigset_t s, none;
	sigemptyset(&none);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	on_signal(SIGUSR1, (void (*)(int))now_ms, 0);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	raise(SIGUSR1);
	CHECK_ERRNO(epoll_pwait(ep, ev, 1, 5000, &none), EINTR);
	struct timespec ts = {0, 1000000};
	CHECK_EQ(syscall(441, ep, ev, 1, &ts, NULL, 8), 0); /* epoll_pwait2 */
}

TEST(epoll_many_fds_are_fair)
{
	int ep = SYS(epoll_create1(0)), p[20][2];
	char seen[20] = {0};
	for (int i = 0; i < 20; i++) {
		SYS(pipe(p[i]));
		add(ep, p[i][0], EPOLLIN, i);
		SYS(write(p[i][1], "x", 1));
	}
	for (int n = 0; n < 20;) {
		int k = SYS(epoll_wait(ep, ev, 7, 0));
		CHECK(k > 0);
		for (int i = 0; i < k; i++)
			n += !seen[ev[i].data.u64], seen[ev[i].data.u64] = 1;
	}
}

TEST(epoll_returns_all_that_is_ready)
{
	enum { MANY = 900 };
	static struct epoll_event all[2 * MANY];
	static char seen[MANY];
	int ep = SYS(epoll_create1(0));
	for (int i = 0; i < MANY; i++)
		add(ep, SYS(eventfd(1, 0)), EPOLLIN, i);
	CHECK_EQ(epoll_wait(ep, all, 600, 0), 600);
	CHECK_EQ(epoll_wait(ep, all, 2 * MANY, 0), MANY);
	for (int i = 0; i < MANY; i++)
		seen[all[i].data.u64]++;
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(seen[i], 1);
}

TEST(epoll_socket_rdhup_and_out)
{
	int ep = SYS(epoll_create1(0)), s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	add(ep, s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 1);
	CHECK_EQ(epoll_wait(ep, ev, 1, 0), 1);
	CHECK_EQ(ev[0].events, EPOLLOUT);
	SYS(shutdown(s[1], SHUT_WR));
	CHECK_EQ(epoll_wait(ep, ev, 1, 0), 1);
	CHECK_EQ(ev[0].events, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	SYS(close(s[1]));
	CHECK_EQ(epoll_wait(ep, ev, 1, 0), 1);
	CHECK_EQ(ev[0].events, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
}

TEST(poll_basics)
{
	struct pollfd f[3] = {{.fd = -1, .events = POLLIN}, {.fd = 99999, .events = POLLIN}};
	CHECK_EQ(poll(f, 2, 0), 1);
	CHECK_EQ(f[0].revents, 0);
	CHECK_EQ(f[1].revents, POLLNVAL);
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	f[0] = (struct pollfd){.fd = fd, .events = POLLIN | POLLOUT};
	CHECK_EQ(poll(f, 1, 0), 1);
	CHECK_EQ(f[0].revents, POLLIN | POLLOUT);
	CHECK_ERRNO(poll(bad_ptr(), 1, 0), EFAULT);
	CHECK_ERRNO(poll(f, 1 << 30, 0), EINVAL);
	long long t = now_ms();
	CHECK_EQ(poll(NULL, 0, 30), 0);
	CHECK(now_ms() - t >= 29);
	struct timespec ts = {0, -1};
	CHECK_ERRNO(ppoll(f, 1, &ts, NULL), EINVAL);
}

TEST(ppoll_swaps_the_mask)
{
	sigset_t s, none;
	sigemptyset(&none);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	on_signal(SIGUSR1, (void (*)(int))now_ms, 0);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	raise(SIGUSR1);
	struct timespec ts = {5, 0};
	CHECK_ERRNO(ppoll(NULL, 0, &ts, &none), EINTR);
	sigset_t now;
	SYS(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1));
}

TEST(select_basics)
{
	int p[2];
	fd_set r, w, x;
	SYS(pipe(p));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	CHECK_EQ(select(p[1] + 1, &r, &w, &x, NULL), 1);
	CHECK(!FD_ISSET(p[0], &r) && FD_ISSET(p[1], &w));
	SYS(write(p[1], "x", 1));
	FD_SET(p[0], &r);
	CHECK_EQ(select(p[1] + 1, &r, &w, NULL, NULL), 2);
	struct timeval tv = {0, 30000};
	long long t = now_ms();
	CHECK_EQ(select(0, NULL, NULL, NULL, &tv), 0);
	CHECK(now_ms() - t >= 29);
	CHECK_EQ(tv.tv_usec, 0);
	FD_ZERO(&r);
	FD_SET(98, &r);
	CHECK_ERRNO(select(99, &r, NULL, NULL, NULL), EBADF);
	CHECK_ERRNO(select(-1, &r, NULL, NULL, NULL), EINVAL);
	tv.tv_sec = -1;
	CHECK_ERRNO(select(0, NULL, NULL, NULL, &tv), EINVAL);
}

TEST(eventfd_counts)
{
	uint64_t v = 0;
	int fd = SYS(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
	CHECK_EQ(read(fd, &v, 8), 8);
	CHECK_EQ(v, 3);
	CHECK_ERRNO(read(fd, &v, 8), EAGAIN);
	v = 5;
	SYS(write(fd, &v, 8));
	SYS(write(fd, &v, 8));
	CHECK_EQ(read(fd, &v, 100), 8);
	CHECK_EQ(v, 10);
	v = ~0ULL;
	CHECK_ERRNO(write(fd, &v, 8), EINVAL);
	v = ~0ULL - 1;
	SYS(write(fd, &v, 8));
	v = 1;
	CHECK_ERRNO(write(fd, &v, 8), EAGAIN);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN);
	CHECK_ERRNO(read(fd, &v, 4), EINVAL);
	CHECK_ERRNO(write(fd, &v, 4), EINVAL);
	CHECK_ERRNO(eventfd(0, 0x100), EINVAL);
}

TEST(event_files_ignore_lseek)
{
	sigset_t none;
	sigemptyset(&none);
	int p[2], fds[] = {SYS(eventfd(1, 0)), SYS(epoll_create1(0)), SYS(timerfd_create(CLOCK_MONOTONIC, 0)),
	                   SYS(signalfd(-1, &none, 0)), SYS(inotify_init())};
	for (size_t i = 0; i < LEN(fds); i++) {
		CHECK_EQ(lseek(fds[i], 5, SEEK_SET), 0);
		CHECK_EQ(lseek(fds[i], 0, SEEK_END), 0);
		CHECK_ERRNO(lseek(fds[i], 0, 99), EINVAL);
		CHECK_ERRNO(pread(fds[i], p, 8, 0), ESPIPE);
	}
	SYS(pipe(p));
	CHECK_ERRNO(lseek(p[0], 0, SEEK_SET), ESPIPE);
	CHECK_ERRNO(lseek(p[0], 0, 99), EINVAL);
}

TEST(only_streams_raise_sigpipe)
{
	int type[] = {SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
	for (size_t i = 0; i < LEN(type); i++) {
		CHILD(c)
		{
			int s[2];
			SYS(socketpair(AF_UNIX, type[i], 0, s));
			SYS(shutdown(s[0], SHUT_WR));
			CHECK_ERRNO(write(s[0], "x", 1), EPIPE);
			CHECK_ERRNO(send(s[0], "x", 1, 0), EPIPE);
		}
		if (type[i] == SOCK_STREAM)
			CHECK_KILLED(c, SIGPIPE);
		else
			CHECK_EXIT(c, 0);
	}
}

TEST(eventfd_semaphore_and_blocking)
{
	uint64_t v;
	int fd = SYS(eventfd(2, EFD_SEMAPHORE));
	SYS(read(fd, &v, 8));
	CHECK_EQ(v, 1);
	SYS(read(fd, &v, 8));
	CHILD(c)
	{
		SYS(read(fd, &v, 8));
		CHECK_EQ(v, 1);
	}
	until_blocked(c);
	v = 1;
	SYS(write(fd, &v, 8));
	CHECK_EXIT(c, 0);
}

TEST(timerfd_fires)
{
	uint64_t n;
	int fd = SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
	CHECK_ERRNO(read(fd, &n, 8), EAGAIN);
	struct itimerspec it = {{0, 10000000}, {0, 10000000}}, cur;
	SYS(timerfd_settime(fd, 0, &it, NULL));
	SYS(timerfd_gettime(fd, &cur));
	CHECK_EQ(cur.it_interval.tv_nsec, 10000000);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 2000), 1);
	sleep_ms(45);
	CHECK_EQ(read(fd, &n, 8), 8);
	CHECK(n >= 4);
	CHECK_ERRNO(read(fd, &n, 4), EINVAL);
	it = (struct itimerspec){{0, 0}, {0, 0}};
	SYS(timerfd_settime(fd, 0, &it, &cur));
	CHECK(cur.it_value.tv_nsec > 0);
	CHECK_ERRNO(timerfd_create(99, 0), EINVAL);
	CHECK_ERRNO(timerfd_create(CLOCK_MONOTONIC, 0x10), EINVAL);
	it.it_value.tv_nsec = 1000000000;
	CHECK_ERRNO(timerfd_settime(fd, 0, &it, NULL), EINVAL);
	CHECK_ERRNO(timerfd_settime(0, 0, &it, NULL), EINVAL);
}

TEST(timerfd_absolute)
{
	uint64_t n;
	struct timespec now;
	int fd = SYS(timerfd_create(CLOCK_REALTIME, 0));
	clock_gettime(CLOCK_REALTIME, &now);
	struct itimerspec it = {.it_value = now};
	SYS(timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL));
	CHECK_EQ(read(fd, &n, 8), 8);
	CHECK_EQ(n, 1);
}

TEST(signalfd_reads_signals)
{
	sigset_t s;
	struct signalfd_siginfo si[3];
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	int fd = SYS(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
	CHECK_ERRNO(read(fd, si, sizeof(si)), EAGAIN);
	SYS(kill(getpid(), SIGUSR1));
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(read(fd, si, sizeof(si)), 128);
	CHECK_EQ(si[0].ssi_signo, SIGUSR1);
	CHECK_EQ(si[0].ssi_pid, getpid());
	CHECK_EQ(si[0].ssi_code, SI_USER);
	CHECK_ERRNO(read(fd, si, 100), EINVAL);
	sigaddset(&s, SIGRTMIN);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	CHECK_EQ(signalfd(fd, &s, 0), fd);
	for (int i = 0; i < 3; i++)
		SYS(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}));
	CHECK_EQ(read(fd, si, sizeof(si)), 3 * 128);
	CHECK_EQ(si[2].ssi_int, 2);
	CHECK_ERRNO(signalfd(0, &s, 0), EINVAL);
	CHECK_ERRNO(signalfd(-1, &s, 0x1000), EINVAL);
}

TEST(memfd_and_seals)
{
	int fd = SYS(memfd_create("name", MFD_ALLOW_SEALING | MFD_CLOEXEC));
	SYS(write(fd, "hello", 5));
	CHECK_EQ(fcntl(fd, F_GET_SEALS), 0);
	SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	CHECK_ERRNO(ftruncate(fd, 1), EPERM);
	SYS(ftruncate(fd, 100));
	SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	CHECK_ERRNO(ftruncate(fd, 200), EPERM);
	CHECK_ERRNO(pwrite(fd, "x", 1, 100), EPERM);
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	SYS(munmap(p, PAGE));
	SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
	CHECK_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	int g = SYS(memfd_create("", 0));
	CHECK_EQ(fcntl(g, F_GET_SEALS), F_SEAL_SEAL);
	CHECK_ERRNO(fcntl(g, F_ADD_SEALS, F_SEAL_GROW), EPERM);
	CHECK_ERRNO(memfd_create("x", 0x4000), EINVAL);
	CHECK_ERRNO(memfd_create(bad_ptr(), 0), EFAULT);
	memset(buf, 'a', 300);
	CHECK_ERRNO(memfd_create(buf, 0), EINVAL);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	long n = SYS(readlink(path, buf, sizeof(buf)));
	buf[n] = 0;
	CHECK_STR(buf, "/memfd:name (deleted)");
}

TEST(edge_epoll_with_threads)
{
	/* One waiter, many writers, nothing is lost. */
	int ep = SYS(epoll_create1(0)), s[2], got = 0;
	SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	add(ep, s[0], EPOLLIN | EPOLLET, 1);
	for (int i = 0; i < 4; i++) {
		CHILD(c)
			for (int k = 0; k < 200; k++)
				while (write(s[1], "x", 1) != 1)
					sleep_ms(1);
	}
	while (got < 800) {
		CHECK(epoll_wait(ep, ev, 1, 5000) == 1);
		long n;
		while ((n = read(s[0], buf, sizeof(buf))) > 0)
			got += n;
	}
	CHECK_EQ(got, 800);
}

TEST(eventfd_write_takes_eight_bytes)
{
	int fd = SYS(eventfd(0, EFD_NONBLOCK));
	uint64_t v[2] = {1, 1};
	CHECK_ERRNO(write(fd, v, 16), EINVAL);
	CHECK_ERRNO(write(fd, v, 4), EINVAL);
	CHECK_EQ(write(fd, v, 8), 8);
	CHECK_EQ(read(fd, v, 16), 8);
	CHECK_EQ(v[0], 1);
}
