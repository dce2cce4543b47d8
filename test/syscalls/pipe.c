//go:build ignore

/* Pipes and FIFOs: pipe(2), pipe(7), fifo(7). */
#include "test.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static char buf[1 << 20];

TEST(pipe_transfers_bytes)
{
	int p[2];
	SYS(pipe(p));
	CHECK_EQ(write(p[1], "hello", 5), 5);
	CHECK_EQ(write(p[1], "world", 5), 5);
	CHECK_EQ(read(p[0], buf, 7), 7);
	CHECK_MEM(buf, "hellowo", 7);
	CHECK_EQ(read(p[0], buf, 100), 3);
}

TEST(pipe_errors)
{
	int p[2];
	CHECK_ERRNO(syscall(SYS_pipe, bad_ptr()), EFAULT);
	CHECK_ERRNO(pipe2(p, O_APPEND), EINVAL);
	SYS(pipe(p));
	CHECK_ERRNO(read(p[1], buf, 1), EBADF);
	CHECK_ERRNO(write(p[0], buf, 1), EBADF);
	CHECK_ERRNO(lseek(p[0], 0, SEEK_SET), ESPIPE);
	CHECK_ERRNO(pread(p[0], buf, 1, 0), ESPIPE);
	CHECK_ERRNO(pwrite(p[1], buf, 1, 0), ESPIPE);
	CHECK_EQ(write(p[1], "x", 1), 1);
	CHECK_ERRNO(read(p[0], bad_ptr(), 1), EFAULT);
	CHECK_ERRNO(write(p[1], bad_ptr(), 1), EFAULT);
	CHECK_ERRNO(ftruncate(p[1], 0), EINVAL);
	CHECK_ERRNO(fsync(p[0]), EINVAL);
}

TEST(pipe_flags)
{
	int p[2];
	SYS(pipe2(p, O_CLOEXEC | O_NONBLOCK));
	CHECK_EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(p[1], F_GETFL), O_WRONLY | O_NONBLOCK);
	CHECK_EQ(fcntl(p[0], F_GETFL), O_RDONLY | O_NONBLOCK);
	CHECK_ERRNO(read(p[0], buf, 1), EAGAIN);
}

TEST(pipe_eof_and_epipe)
{
	int p[2];
	SYS(pipe(p));
	SYS(write(p[1], "a", 1));
	SYS(close(p[1]));
	CHECK_EQ(read(p[0], buf, 10), 1);
	CHECK_EQ(read(p[0], buf, 10), 0);
	SYS(close(p[0]));
	SYS(pipe(p));
	SYS(close(p[0]));
	CHILD(c) { write(p[1], "a", 1); }
	CHECK_KILLED(c, SIGPIPE);
	on_signal(SIGPIPE, SIG_IGN, 0);
	CHECK_ERRNO(write(p[1], "a", 1), EPIPE);
	CHECK_EQ(write(p[1], "a", 0), 0);
}

TEST(pipe_capacity)
{
	int p[2];
	SYS(pipe2(p, O_NONBLOCK));
	CHECK_EQ(fcntl(p[1], F_GETPIPE_SZ), 65536);
	CHECK_EQ(write(p[1], buf, 100000), 65536);
	CHECK_ERRNO(write(p[1], buf, 1), EAGAIN);
	CHECK_EQ(fcntl(p[1], F_SETPIPE_SZ, 128 * 1024), 128 * 1024);
	CHECK_EQ(write(p[1], buf, 100000), 65536);
	CHECK_ERRNO(fcntl(p[1], F_SETPIPE_SZ, 4096), EBUSY);
	int n;
	SYS(ioctl(p[0], FIONREAD, &n));
	CHECK_EQ(n, 131072);
	CHECK_EQ(read(p[0], buf, 131072), 131072);
	CHECK_EQ(fcntl(p[1], F_SETPIPE_SZ, 5000), 8192);
	CHECK_EQ(fcntl(p[1], F_SETPIPE_SZ, 1), 4096);
	CHECK_ERRNO(fcntl(p[1], F_SETPIPE_SZ, -1), EINVAL);
}

TEST(pipe_writes_up_to_pipe_buf_are_atomic)
{
	int p[2];
	SYS(pipe2(p, O_NONBLOCK));
	SYS(fcntl(p[1], F_SETPIPE_SZ, 8192));
	CHECK_EQ(write(p[1], buf, 4096), 4096);
	CHECK_EQ(write(p[1], buf, 1), 1);
	CHECK_ERRNO(write(p[1], buf, 4096), EAGAIN);
	CHECK_EQ(write(p[1], buf, 4095), 4095);
}

TEST(pipe_writer_blocks_until_read)
{
	int p[2];
	SYS(pipe(p));
	CHILD(c)
	{
		SYS(close(p[0]));
		CHECK_EQ(write(p[1], buf, 200000), 200000);
	}
	SYS(close(p[1]));
	until_blocked(c);
	long total = 0, n;
	while ((n = SYS(read(p[0], buf, 30000))) > 0)
		total += n;
	CHECK_EQ(total, 200000);
	CHECK_EXIT(c, 0);
}

TEST(pipe_reader_blocks_until_write)
{
	int p[2], q[2];
	SYS(pipe(p));
	SYS(pipe(q));
	CHILD(c)
	{
		char b;
		for (int i = 0; i < 200; i++) {
			CHECK_EQ(read(p[0], &b, 1), 1);
			CHECK_EQ(write(q[1], &b, 1), 1);
		}
	}
	until_blocked(c);
	for (int i = 0; i < 200; i++) {
		char b = i, d;
		SYS(write(p[1], &b, 1));
		CHECK_EQ(read(q[0], &d, 1), 1);
		CHECK_EQ(b, d);
	}
	CHECK_EXIT(c, 0);
}

TEST(pipe_poll)
{
	int p[2];
	SYS(pipe(p));
	struct pollfd f[2] = {{.fd = p[0], .events = POLLIN}, {.fd = p[1], .events = POLLOUT}};
	CHECK_EQ(poll(f, 2, 0), 1);
	CHECK_EQ(f[0].revents, 0);
	CHECK_EQ(f[1].revents, POLLOUT);
	SYS(write(p[1], "a", 1));
	CHECK_EQ(poll(f, 2, 0), 2);
	CHECK_EQ(f[0].revents, POLLIN);
	SYS(close(p[1]));
	CHECK_EQ(poll(f, 1, 0), 1);
	CHECK_EQ(f[0].revents, POLLIN | POLLHUP);
	SYS(read(p[0], buf, 1));
	CHECK_EQ(poll(f, 1, 0), 1);
	CHECK_EQ(f[0].revents, POLLHUP);
	SYS(pipe(p));
	SYS(close(p[0]));
	f[1].fd = p[1];
	CHECK_EQ(poll(&f[1], 1, 0), 1);
	CHECK_EQ(f[1].revents, POLLOUT | POLLERR);
}

TEST(pipe_packet_mode)
{
	int p[2];
	SYS(pipe2(p, O_DIRECT));
	CHECK_EQ(fcntl(p[1], F_GETFL) & O_DIRECT, O_DIRECT);
	SYS(write(p[1], "abc", 3));
	SYS(write(p[1], "de", 2));
	CHECK_EQ(read(p[0], buf, 100), 3);
	SYS(write(p[1], "fgh", 3));
	CHECK_EQ(read(p[0], buf, 1), 1);
	CHECK_EQ(read(p[0], buf, 100), 3);
	CHECK_MEM(buf, "fgh", 3);
}

TEST(pipe_readv_writev)
{
	int p[2];
	SYS(pipe(p));
	struct iovec w[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
	CHECK_EQ(writev(p[1], w, 3), 5);
	char a[3], b[10];
	struct iovec r[2] = {{a, 3}, {b, 10}};
	CHECK_EQ(readv(p[0], r, 2), 5);
	CHECK_MEM(a, "abc", 3);
	CHECK_MEM(b, "de", 2);
	CHECK_ERRNO(writev(p[1], w, -1), EINVAL);
	CHECK_ERRNO(writev(p[1], w, 1025), EINVAL);
	CHECK_ERRNO(writev(p[1], bad_ptr(), 1), EFAULT);
	CHECK_EQ(writev(p[1], w, 0), 0);
	struct iovec big[2] = {{buf, 1}, {buf, (size_t)-1}};
	CHECK_ERRNO(writev(p[1], big, 2), EINVAL);
}

TEST(fifo_open_blocks_for_the_other_end)
{
	SYS(mkfifo("f", 0600));
	CHILD(c)
	{
		int fd = SYS(open("f", O_WRONLY));
		SYS(write(fd, "hi", 2));
	}
	until_blocked(c);
	int fd = SYS(open("f", O_RDONLY));
	CHECK_EQ(read(fd, buf, 10), 2);
	CHECK_EXIT(c, 0);
	CHECK_EQ(read(fd, buf, 10), 0);
}

TEST(fifo_nonblock_open)
{
	SYS(mkfifo("f", 0600));
	CHECK_ERRNO(open("f", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = SYS(open("f", O_RDONLY | O_NONBLOCK));
	CHECK_EQ(read(r, buf, 1), 0);
	int w = SYS(open("f", O_WRONLY | O_NONBLOCK));
	CHECK_ERRNO(read(r, buf, 1), EAGAIN);
	SYS(write(w, "x", 1));
	CHECK_EQ(read(r, buf, 1), 1);
	SYS(close(w));
	CHECK_EQ(read(r, buf, 1), 0);
	int rw = SYS(open("f", O_RDWR));
	SYS(write(rw, "y", 1));
	CHECK_EQ(read(rw, buf, 10), 1);
}

TEST(fifo_open_is_interrupted)
{
	SYS(mkfifo("f", 0600));
	CHILD(c)
	{
		on_signal(SIGUSR1, (void (*)(int))now_ms, 0);
		CHECK_ERRNO(open("f", O_RDONLY), EINTR);
	}
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EXIT(c, 0);
}

TEST(fifo_stat_and_mode)
{
	umask(027);
	SYS(mkfifo("f", 0666));
	struct stat st;
	SYS(stat("f", &st));
	CHECK_EQ(st.st_mode, S_IFIFO | 0640);
	CHECK_EQ(st.st_size, 0);
	CHECK_ERRNO(mkfifo("f", 0600), EEXIST);
	CHECK_ERRNO(mkfifo("d/f", 0600), ENOENT);
}

TEST(pipe_dup_shares_and_close_order)
{
	int p[2];
	SYS(pipe(p));
	int d = SYS(dup(p[1]));
	SYS(close(p[1]));
	SYS(write(d, "z", 1));
	CHECK_EQ(read(p[0], buf, 10), 1);
	SYS(close(d));
	CHECK_EQ(read(p[0], buf, 10), 0);
}

TEST(pipe_reopen_through_proc)
{
	int p[2];
	char path[64];
	SYS(pipe(p));
	SYS(write(p[1], "abc", 3));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	int fd = SYS(open(path, O_RDONLY));
	CHECK_EQ(read(fd, buf, 10), 3);
	ssize_t n = SYS(readlink(path, buf, 100));
	buf[n] = 0;
	CHECK(strncmp(buf, "pipe:[", 6) == 0);
}

TEST(pipe_async_sigio)
{
	int p[2];
	sigset_t set;
	SYS(pipe(p));
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	SYS(sigprocmask(SIG_BLOCK, &set, NULL));
	SYS(fcntl(p[0], F_SETOWN, getpid()));
	CHECK_EQ(fcntl(p[0], F_GETOWN), getpid());
	SYS(fcntl(p[0], F_SETFL, O_ASYNC));
	SYS(write(p[1], "a", 1));
	struct timespec ts = {2, 0};
	CHECK_EQ(sigtimedwait(&set, NULL, &ts), SIGIO);
	SYS(fcntl(p[0], F_SETSIG, SIGRTMIN));
	CHECK_EQ(fcntl(p[0], F_GETSIG), SIGRTMIN);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	SYS(sigprocmask(SIG_BLOCK, &set, NULL));
	SYS(write(p[1], "b", 1));
	siginfo_t si;
	CHECK_EQ(sigtimedwait(&set, &si, &ts), SIGRTMIN);
	CHECK_EQ(si.si_fd, p[0]);
	CHECK_EQ(si.si_code, POLL_IN);
}
