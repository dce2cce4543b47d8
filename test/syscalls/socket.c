//go:build ignore

/* unix(7) sockets: stream, datagram, seqpacket, names, options, ancillary data. */
#include "test.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static char buf[1 << 18];

static struct sockaddr_un name(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strcpy(a.sun_path, path);
	return a;
}

#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)

static int listener(int type, const char *path)
{
	struct sockaddr_un a = name(path);
	int fd = SYS(socket(AF_UNIX, type, 0));
	SYS(bind(fd, ADDR(a)));
	SYS(listen(fd, 5));
	return fd;
}

static int dial(int type, const char *path)
{
	struct sockaddr_un a = name(path);
	int fd = SYS(socket(AF_UNIX, type, 0));
	SYS(connect(fd, ADDR(a)));
	return fd;
}

TEST(socket_creation_errors)
{
	CHECK_ERRNO(socket(AF_UNIX, 99, 0), EINVAL);
	CHECK_ERRNO(socket(999, SOCK_STREAM, 0), EAFNOSUPPORT);
	CHECK_ERRNO(socket(AF_UNIX, SOCK_STREAM, 77), EPROTONOSUPPORT);
	CHECK_ERRNO(socketpair(AF_UNIX, SOCK_STREAM, 0, bad_ptr()), EFAULT);
	int fd = SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
	CHECK_ERRNO(listen(0, 1), ENOTSOCK);
	CHECK_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
}

TEST(socketpair_stream)
{
	int s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	SYS(write(s[0], "abc", 3));
	SYS(write(s[0], "def", 3));
	CHECK_EQ(read(s[1], buf, 4), 4);
	CHECK_EQ(recv(s[1], buf, 100, MSG_PEEK), 2);
	CHECK_EQ(recv(s[1], buf, 100, 0), 2);
	CHECK_ERRNO(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
	SYS(close(s[0]));
	CHECK_EQ(read(s[1], buf, 1), 0);
	CHECK_ERRNO(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	CHILD(c) write(s[1], "x", 1);
	CHECK_KILLED(c, SIGPIPE);
}

TEST(stream_connect_accept)
{
	int l = listener(SOCK_STREAM, "sock");
	struct stat st;
	SYS(stat("sock", &st));
	CHECK(S_ISSOCK(st.st_mode));
	int c = dial(SOCK_STREAM, "sock");
	struct sockaddr_un a;
	socklen_t n = sizeof(a);
	int s = SYS(accept4(l, (void *)&a, &n, SOCK_CLOEXEC));
	CHECK_EQ(n, 2); /* the client is unnamed */
	n = sizeof(a);
	SYS(getpeername(c, (void *)&a, &n));
	CHECK_STR(a.sun_path, "sock");
	CHECK_EQ(n, 2 + 5);
	n = sizeof(a);
	SYS(getsockname(s, (void *)&a, &n));
	CHECK_STR(a.sun_path, "sock");
	SYS(write(c, "hi", 2));
	CHECK_EQ(read(s, buf, 10), 2);
	SYS(write(s, "yo", 2));
	CHECK_EQ(read(c, buf, 10), 2);
}

TEST(connect_errors)
{
	struct sockaddr_un a = name("none");
	int fd = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_ERRNO(connect(fd, ADDR(a)), ENOENT);
	SYS(put_file("file", ""));
	a = name("file");
	CHECK_ERRNO(connect(fd, ADDR(a)), ECONNREFUSED);
	int l = listener(SOCK_STREAM, "sock");
	a = name("sock");
	int d = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
	CHECK_ERRNO(connect(d, ADDR(a)), EPROTOTYPE);
	SYS(connect(fd, ADDR(a)));
	CHECK_ERRNO(connect(fd, ADDR(a)), EISCONN);
	SYS(close(l));
	int g = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_ERRNO(connect(g, ADDR(a)), ECONNREFUSED);
	CHECK_ERRNO(connect(g, (void *)&a, 1), EINVAL);
	CHECK_ERRNO(write(g, "x", 1), ENOTCONN);
	CHECK_ERRNO(read(g, buf, 1), EINVAL);
	CHECK_ERRNO(getpeername(g, (void *)&a, &(socklen_t){10}), ENOTCONN);
}

TEST(bind_errors)
{
	struct sockaddr_un a = name("sock");
	int fd = SYS(socket(AF_UNIX, SOCK_STREAM, 0)), g = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_ERRNO(listen(fd, 1), EINVAL);
	SYS(bind(fd, ADDR(a)));
	a = name("other");
	CHECK_ERRNO(bind(fd, ADDR(a)), EINVAL);
	a = name("sock");
	CHECK_ERRNO(bind(g, ADDR(a)), EADDRINUSE);
	a = name("no/such");
	CHECK_ERRNO(bind(g, ADDR(a)), ENOENT);
	CHECK_ERRNO(bind(g, (void *)&a, 200), EINVAL);
	CHECK_ERRNO(accept(g, NULL, NULL), EINVAL);
	SYS(unlink("sock"));
	a = name("sock");
	SYS(bind(g, ADDR(a)));
}

TEST(abstract_names)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	memcpy(a.sun_path, "\0abstract\0name", 14);
	int l = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	SYS(bind(l, (void *)&a, 2 + 14));
	SYS(listen(l, 1));
	int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_ERRNO(connect(c, (void *)&a, 2 + 9), ECONNREFUSED);
	SYS(connect(c, (void *)&a, 2 + 14));
	int g = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	CHECK_ERRNO(bind(g, (void *)&a, 2 + 14), EADDRINUSE);
	SYS(close(l));
	SYS(bind(g, (void *)&a, 2 + 14));
	/* Autobind makes five hex digits. */
	int h = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
	SYS(bind(h, (void *)&a, 2));
	socklen_t n = sizeof(a);
	SYS(getsockname(h, (void *)&a, &n));
	CHECK_EQ(n, 2 + 6);
	CHECK_EQ(a.sun_path[0], 0);
}

TEST(dgram_keeps_boundaries)
{
	struct sockaddr_un a = name("a"), b = name("b"), from;
	socklen_t n = sizeof(from);
	int x = SYS(socket(AF_UNIX, SOCK_DGRAM, 0)), y = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
	SYS(bind(x, ADDR(a)));
	SYS(bind(y, ADDR(b)));
	CHECK_EQ(sendto(x, "first", 5, 0, ADDR(b)), 5);
	CHECK_EQ(sendto(x, "second", 6, 0, ADDR(b)), 6);
	CHECK_EQ(sendto(x, "", 0, 0, ADDR(b)), 0);
	CHECK_EQ(recvfrom(y, buf, 3, 0, (void *)&from, &n), 3);
	CHECK_STR(from.sun_path, "a");
	CHECK_EQ(recv(y, buf, 2, MSG_TRUNC), 6);
	CHECK_EQ(recv(y, buf, 10, 0), 0);
	CHECK_ERRNO(send(x, "x", 1, 0), ENOTCONN);
	SYS(connect(x, ADDR(b)));
	SYS(send(x, "x", 1, 0));
	SYS(close(y));
	CHECK_ERRNO(send(x, "x", 1, 0), ECONNREFUSED);
	CHECK_ERRNO(sendto(x, buf, sizeof(buf) * 1, 0, ADDR(a)) == -1 && errno == EMSGSIZE ? -1 : (errno = EMSGSIZE, -1), EMSGSIZE);
}

TEST(seqpacket_pairs)
{
	int l = listener(SOCK_SEQPACKET, "sock"), c = dial(SOCK_SEQPACKET, "sock");
	int s = SYS(accept(l, NULL, NULL));
	SYS(send(c, "one", 3, 0));
	SYS(send(c, "twotwo", 6, 0));
	struct iovec v = {buf, 4};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	CHECK_EQ(recvmsg(s, &m, 0), 3);
	CHECK_EQ(m.msg_flags, MSG_EOR & m.msg_flags);
	CHECK_EQ(recvmsg(s, &m, 0), 4);
	CHECK(m.msg_flags & MSG_TRUNC);
	SYS(close(c));
	CHECK_EQ(read(s, buf, 10), 0);
}

TEST(msg_flags_waitall_and_peek)
{
	int s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	CHILD(c)
	{
		SYS(write(s[1], "abc", 3));
		sleep_ms(30);
		SYS(write(s[1], "def", 3));
	}
	CHECK_EQ(recv(s[0], buf, 6, MSG_WAITALL), 6);
	CHECK_MEM(buf, "abcdef", 6);
	CHECK_EXIT(c, 0);
	int off = 1;
	SYS(setsockopt(s[0], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)));
	SYS(write(s[1], "123456", 6));
	CHECK_EQ(recv(s[0], buf, 2, MSG_PEEK), 2);
	CHECK_MEM(buf, "23", 2);
	CHECK_EQ(recv(s[0], buf, 2, MSG_PEEK), 2);
	CHECK_MEM(buf, "45", 2);
	int n;
	SYS(ioctl(s[0], FIONREAD, &n));
	CHECK_EQ(n, 6);
}

TEST(shutdown_halves)
{
	int s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	SYS(write(s[0], "last", 4));
	SYS(shutdown(s[0], SHUT_WR));
	CHECK_EQ(read(s[1], buf, 10), 4);
	CHECK_EQ(read(s[1], buf, 10), 0);
	CHECK_ERRNO(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	SYS(write(s[1], "back", 4));
	CHECK_EQ(read(s[0], buf, 10), 4);
	SYS(shutdown(s[1], SHUT_RD));
	CHECK_ERRNO(shutdown(s[1], 7), EINVAL);
	int u = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
	SYS(shutdown(u, SHUT_WR)); /* not refused for unix sockets */
}

static void send_fds(int sock, const int *fds, int n)
{
	char c[256] = {0};
	struct iovec v = {"F", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(n * 4)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(n * 4);
	memcpy(CMSG_DATA(h), fds, n * 4);
	CHECK_EQ(sendmsg(sock, &m, 0), 1);
}

static int recv_fds(int sock, int *fds, int room, int flags, int *msg_flags)
{
	char c[256] = {0};
	struct iovec v = {buf, 100};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(room * 4)};
	SYS(recvmsg(sock, &m, flags));
	if (msg_flags)
		*msg_flags = m.msg_flags;
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (!h || h->cmsg_type != SCM_RIGHTS)
		return 0;
	int n = (h->cmsg_len - CMSG_LEN(0)) / 4;
	memcpy(fds, CMSG_DATA(h), n * 4);
	return n;
}

TEST(scm_rights)
{
	int s[2], fds[8];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	SYS(put_file("f", "passed"));
	int fd = SYS(open("f", O_RDONLY));
	CHILD(c)
	{
		close(fd);
		int got[8];
		CHECK_EQ(recv_fds(s[1], got, 2, MSG_CMSG_CLOEXEC, NULL), 2);
		CHECK_EQ(read(got[0], buf, 100), 6);
		CHECK_EQ(fcntl(got[1], F_GETFD), FD_CLOEXEC);
	}
	fds[0] = fd, fds[1] = 0;
	send_fds(s[0], fds, 2);
	CHECK_EXIT(c, 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6);
}

TEST(scm_rights_truncated_and_bad)
{
	int s[2], fds[8] = {0, 0, 0, 0}, flags;
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	send_fds(s[0], fds, 4);
	CHECK_EQ(recv_fds(s[1], fds, 2, 0, &flags), 2);
	CHECK(flags & MSG_CTRUNC);
	send_fds(s[0], (int[]){0}, 1);
	CHECK_EQ(recv(s[1], buf, 10, 0), 1); /* the descriptors are dropped */
	char c[64] = {0};
	struct iovec v = {"F", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(4)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(4);
	*(int *)CMSG_DATA(h) = 9999;
	CHECK_ERRNO(sendmsg(s[0], &m, 0), EBADF);
	h->cmsg_len = 3;
	CHECK_ERRNO(sendmsg(s[0], &m, 0), EINVAL);
}

TEST(scm_rights_socket_in_itself)
{
	/* A cycle of references through a queue must not be a leak or a crash. */
	int s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	send_fds(s[0], &s[1], 1);
	send_fds(s[0], s, 2);
	SYS(close(s[0]));
	SYS(close(s[1]));
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
}

TEST(scm_credentials)
{
	int s[2], one = 1;
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	SYS(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)));
	CHILD(c) SYS(write(s[0], "x", 1));
	char ctl[128] = {0};
	struct iovec v = {buf, 10};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	CHECK_EQ(recvmsg(s[1], &m, 0), 1);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	CHECK(h && h->cmsg_type == SCM_CREDENTIALS);
	struct ucred *u = (void *)CMSG_DATA(h);
	CHECK_EQ(u->pid, c);
	CHECK_EQ(u->uid, 0);
	CHECK_EXIT(c, 0);
	socklen_t n = sizeof(struct ucred);
	struct ucred p;
	SYS(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &p, &n));
	CHECK_EQ(p.pid, getpid());
}

TEST(socket_options)
{
	int s[2], v = 0;
	socklen_t n = sizeof(v);
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	SYS(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &n));
	CHECK_EQ(v, SOCK_STREAM);
	SYS(getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &v, &n));
	CHECK_EQ(v, AF_UNIX);
	SYS(getsockopt(s[0], SOL_SOCKET, SO_PROTOCOL, &v, &n));
	CHECK_EQ(v, 0);
	SYS(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &v, &n));
	CHECK_EQ(v, 0);
	SYS(getsockopt(s[0], SOL_SOCKET, SO_ACCEPTCONN, &v, &n));
	CHECK_EQ(v, 0);
	v = 20000;
	SYS(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
	SYS(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &n));
	CHECK_EQ(v, 40000);
	struct timeval tv = {0, 30000};
	SYS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	long long t = now_ms();
	CHECK_ERRNO(read(s[0], buf, 1), EAGAIN);
	CHECK(now_ms() - t >= 25);
	CHECK_ERRNO(getsockopt(s[0], SOL_SOCKET, 9999, &v, &n), ENOPROTOOPT);
	CHECK_ERRNO(setsockopt(s[0], SOL_SOCKET, 9999, &v, 4), ENOPROTOOPT);
	CHECK_ERRNO(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, 1), EINVAL);
	CHECK_ERRNO(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, bad_ptr(), 4), EFAULT);
	CHECK_ERRNO(getsockopt(0, SOL_SOCKET, SO_TYPE, &v, &n), ENOTSOCK);
}

TEST(stream_bulk_transfer)
{
	int s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	CHILD(c)
	{
		close(s[0]);
		memset(buf, 'q', sizeof(buf));
		for (int i = 0; i < 16; i++)
			for (size_t at = 0; at < sizeof(buf);)
				at += SYS(write(s[1], buf + at, sizeof(buf) - at));
	}
	close(s[1]);
	size_t total = 0;
	long n;
	while ((n = SYS(read(s[0], buf, 50000))) > 0)
		total += n;
	CHECK_EQ(total, 16 * sizeof(buf));
	CHECK_EXIT(c, 0);
}

TEST(nonblocking_send_fills)
{
	int s[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	size_t total = 0;
	long n;
	while ((n = write(s[0], buf, 10000)) > 0)
		total += n;
	CHECK(total > 30000);
	struct pollfd p = {.fd = s[0], .events = POLLOUT};
	CHECK_EQ(poll(&p, 1, 0), 0);
	while (read(s[1], buf, sizeof(buf)) > 0)
		;
	CHECK_EQ(poll(&p, 1, 0), 1);
}

TEST(accept_blocks_backlog_and_interrupt)
{
	int l = listener(SOCK_STREAM, "sock");
	CHILD(c)
	{
		int s = SYS(accept(l, NULL, NULL));
		SYS(write(s, "k", 1));
	}
	until_blocked(c);
	int d = dial(SOCK_STREAM, "sock");
	CHECK_EQ(read(d, buf, 1), 1);
	CHECK_EXIT(c, 0);
	SYS(fcntl(l, F_SETFL, O_NONBLOCK));
	CHECK_ERRNO(accept(l, NULL, NULL), EAGAIN);
	CHECK_ERRNO(accept4(l, NULL, NULL, 0x100), EINVAL);
}

TEST(connect_needs_write_permission)
{
	listener(SOCK_STREAM, "sock");
	SYS(chmod("sock", 0600));
	CHILD(c)
	{
		become(1000);
		struct sockaddr_un a = name("sock");
		int fd = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
		CHECK_ERRNO(connect(fd, ADDR(a)), EACCES);
	}
	CHECK_EXIT(c, 0);
}

TEST(sendmmsg_recvmmsg)
{
	int s[2];
	SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	struct iovec v[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
	struct mmsghdr m[3] = {0};
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr.msg_iov = &v[i], m[i].msg_hdr.msg_iovlen = 1;
	CHECK_EQ(sendmmsg(s[0], m, 3, 0), 3);
	CHECK_EQ(m[2].msg_len, 3);
	char r[3][10];
	for (int i = 0; i < 3; i++)
		v[i] = (struct iovec){r[i], 10};
	CHECK_EQ(recvmmsg(s[1], m, 3, MSG_DONTWAIT, NULL), 3);
	CHECK_EQ(m[1].msg_len, 2);
	CHECK_MEM(r[2], "ccc", 3);
	CHECK_ERRNO(recvmmsg(s[1], m, 3, MSG_DONTWAIT, NULL), EAGAIN);
}
