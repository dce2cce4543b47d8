//go:build ignore

/* Locks: fcntl(2) POSIX and open-file-description locks, flock(2), leases' absence. */
#include "test.h"
#include <sys/file.h>

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static int lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = range(type, start, len);
	return fcntl(fd, cmd, &l);
}

TEST(posix_lock_conflicts)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_WRLCK, 10, 10));
	CHILD(c)
	{
		int g = SYS(open("f", O_RDWR));
		CHECK_ERRNO(lock(g, F_SETLK, F_WRLCK, 15, 1), EAGAIN);
		CHECK_ERRNO(lock(g, F_SETLK, F_RDLCK, 19, 1), EAGAIN);
		SYS(lock(g, F_SETLK, F_WRLCK, 20, 10));
		SYS(lock(g, F_SETLK, F_WRLCK, 0, 10));
		struct flock l = range(F_WRLCK, 0, 0);
		SYS(fcntl(g, F_GETLK, &l));
		CHECK_EQ(l.l_type, F_WRLCK);
		CHECK_EQ(l.l_start, 10);
		CHECK_EQ(l.l_len, 10);
		CHECK_EQ(l.l_pid, getppid());
	}
	CHECK_EXIT(c, 0);
	struct flock l = range(F_WRLCK, 0, 0);
	SYS(fcntl(fd, F_GETLK, &l)); /* the child's are gone, own ones do not count */
	CHECK_EQ(l.l_type, F_UNLCK);
}

TEST(posix_lock_shared_and_upgrade)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_RDLCK, 0, 0));
	CHILD(c)
	{
		SYS(lock(fd, F_SETLK, F_RDLCK, 0, 100));
		CHECK_ERRNO(lock(fd, F_SETLK, F_WRLCK, 0, 100), EAGAIN);
	}
	CHECK_EXIT(c, 0);
	SYS(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	CHILD(d) CHECK_ERRNO(lock(fd, F_SETLK, F_RDLCK, 5, 1), EAGAIN);
	CHECK_EXIT(d, 0);
}

TEST(posix_lock_split_and_merge)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_WRLCK, 0, 30));
	SYS(lock(fd, F_SETLK, F_UNLCK, 10, 10));
	CHILD(c)
	{
		SYS(lock(fd, F_SETLK, F_WRLCK, 10, 10));
		struct flock l = range(F_WRLCK, 0, 0);
		SYS(fcntl(fd, F_GETLK, &l));
		CHECK_EQ(l.l_start, 0);
		CHECK_EQ(l.l_len, 10);
		l = range(F_WRLCK, 12, 0);
		SYS(fcntl(fd, F_GETLK, &l));
		CHECK_EQ(l.l_start, 20);
		CHECK_EQ(l.l_len, 10);
	}
	CHECK_EXIT(c, 0);
}

TEST(posix_lock_dies_with_any_close)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	int other = SYS(open("f", O_RDONLY));
	SYS(close(other));
	CHILD(c) SYS(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	CHECK_EXIT(c, 0);
}

TEST(posix_lock_waits)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	CHILD(c)
	{
		long long t = now_ms();
		SYS(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
		CHECK(now_ms() - t >= 20);
	}
	until_blocked(c);
	sleep_ms(50);
	SYS(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	CHECK_EXIT(c, 0);
}

TEST(posix_lock_wait_is_interrupted)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	CHILD(c)
	{
		on_signal(SIGUSR1, (void (*)(int))now_ms, 0);
		CHECK_ERRNO(lock(fd, F_SETLKW, F_WRLCK, 0, 1), EINTR);
	}
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EXIT(c, 0);
}

TEST(posix_lock_deadlock_is_found)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	CHILD(c)
	{
		SYS(lock(fd, F_SETLK, F_WRLCK, 1, 1));
		SYS(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
	}
	until_blocked(c);
	CHECK_ERRNO(lock(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
	SYS(lock(fd, F_SETLK, F_UNLCK, 0, 1));
	CHECK_EXIT(c, 0);
}

TEST(posix_lock_errors)
{
	int r = SYS(open("f", O_RDONLY | O_CREAT, 0600)), w = SYS(open("f", O_WRONLY));
	CHECK_ERRNO(lock(r, F_SETLK, F_WRLCK, 0, 1), EBADF);
	CHECK_ERRNO(lock(w, F_SETLK, F_RDLCK, 0, 1), EBADF);
	CHECK_ERRNO(lock(w, F_SETLK, 99, 0, 1), EINVAL);
	CHECK_ERRNO(lock(w, F_SETLK, F_WRLCK, -1, 1), EINVAL);
	CHECK_ERRNO(fcntl(w, F_SETLK, bad_ptr()), EFAULT);
	struct flock l = range(F_WRLCK, 0, 1);
	l.l_whence = 9;
	CHECK_ERRNO(fcntl(w, F_SETLK, &l), EINVAL);
	l = range(F_WRLCK, 10, -5); /* the five bytes before */
	SYS(fcntl(w, F_SETLK, &l));
	CHILD(c)
	{
		CHECK_ERRNO(lock(w, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
		SYS(lock(w, F_SETLK, F_WRLCK, 10, 1));
	}
	CHECK_EXIT(c, 0);
}

TEST(posix_lock_not_inherited_kept_over_exec)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	CHILD(c) CHECK_ERRNO(lock(fd, F_SETLK, F_WRLCK, 0, 0), EAGAIN);
	CHECK_EXIT(c, 0);
}

TEST(ofd_locks)
{
	int a = SYS(open("f", O_RDWR | O_CREAT, 0600)), b = SYS(open("f", O_RDWR));
	SYS(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	CHECK_ERRNO(lock(b, F_OFD_SETLK, F_WRLCK, 5, 10), EAGAIN);
	CHECK_ERRNO(lock(b, F_SETLK, F_WRLCK, 5, 10), EAGAIN);
	struct flock l = range(F_WRLCK, 0, 0);
	SYS(fcntl(b, F_OFD_GETLK, &l));
	CHECK_EQ(l.l_type, F_WRLCK);
	CHECK_EQ(l.l_pid, -1);
	int d = SYS(dup(a));
	SYS(close(a)); /* the description is still open */
	CHECK_ERRNO(lock(b, F_OFD_SETLK, F_WRLCK, 0, 1), EAGAIN);
	CHILD(c) SYS(lock(d, F_OFD_SETLK, F_WRLCK, 0, 20)); /* inherited: same owner */
	CHECK_EXIT(c, 0);
	SYS(close(d));
	SYS(lock(b, F_OFD_SETLK, F_WRLCK, 0, 1));
	l = range(F_WRLCK, 0, 0);
	l.l_pid = 1;
	CHECK_ERRNO(fcntl(b, F_OFD_SETLK, &l), EINVAL);
}

TEST(flock_locks)
{
	int a = SYS(open("f", O_RDWR | O_CREAT, 0600)), b = SYS(open("f", O_RDONLY));
	SYS(flock(a, LOCK_EX));
	CHECK_ERRNO(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	CHECK_ERRNO(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	SYS(flock(a, LOCK_SH));
	SYS(flock(b, LOCK_SH | LOCK_NB));
	CHECK_ERRNO(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	SYS(flock(b, LOCK_UN));
	SYS(flock(a, LOCK_EX | LOCK_NB));
	SYS(lock(b, F_SETLK, F_RDLCK, 0, 0)); /* a world of its own */
	CHECK_ERRNO(flock(a, 0), EINVAL);
	CHECK_ERRNO(flock(-1, LOCK_SH), EBADF);
	int d = SYS(dup(a));
	SYS(close(a));
	CHECK_ERRNO(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	SYS(close(d));
	SYS(flock(b, LOCK_EX | LOCK_NB));
}

TEST(flock_waits)
{
	int a = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(flock(a, LOCK_EX));
	CHILD(c)
	{
		int b = SYS(open("f", O_RDWR));
		SYS(flock(b, LOCK_EX));
	}
	until_blocked(c);
	SYS(flock(a, LOCK_UN));
	CHECK_EXIT(c, 0);
}
