//go:build ignore

/* tcp(7) on loopback: connections, data, flags, endings, readiness. */
#include "inet.h"
#include <pthread.h>

static char buf[1 << 20];

static void ignore_pipe(void) { on_signal(SIGPIPE, SIG_IGN, 0); }

/* A listener whose queue is full, so that further connections wait for an answer. */
static struct addr full_listener(int af)
{
	int l = listener(af, 0);
	struct addr a = local(l);
	for (int i = 0; i < 10; i++) {
		int c = SYS(socket(af, SOCK_STREAM | SOCK_NONBLOCK, 0));
		CHECK_ERRNO(connect(c, ADDR(a)), EINPROGRESS);
		struct pollfd p = {.fd = c, .events = POLLOUT};
		if (SYS(poll(&p, 1, 300)) == 0)
			return a;
	}
	FAIL("the queue does not fill");
}

BOTH(tcp_connect_accept)
{
	int l = listener(af, 5), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l), from = {.len = sizeof(from.ss)};
	SYS(connect(c, ADDR(a)));
	int s = SYS(accept(l, SA(from), &from.len));
	CHECK_SAME(from, local(c));
	CHECK_SAME(peer(s), local(c));
	CHECK_SAME(local(s), a);
	CHECK_SAME(peer(c), a);
	CHECK_EQ(write(c, "hello", 5), 5);
	CHECK_EQ(read(s, buf, 100), 5);
	CHECK_MEM(buf, "hello", 5);
	CHECK_EQ(send(s, "world!", 6, 0), 6);
	CHECK_EQ(recv(c, buf, 3, 0), 3);
	CHECK_EQ(recv(c, buf + 3, 100, 0), 3);
	CHECK_MEM(buf, "world!", 6);
}

BOTH(tcp_creation)
{
	CHECK_ERRNO(socket(af, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
	CHECK_ERRNO(socket(af, SOCK_STREAM, 300), EINVAL);
	CHECK_ERRNO(socket(af, SOCK_STREAM, -1), EINVAL);
	CHECK_ERRNO(socket(af, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
	CHECK_ERRNO(socket(af, SOCK_RDM, 0), ESOCKTNOSUPPORT);
	CHECK_ERRNO(socket(af, 77, 0), EINVAL);
	CHECK_ERRNO(socket(af, SOCK_RAW, 0), EPROTONOSUPPORT);
	CHECK_ERRNO(socketpair(af, SOCK_STREAM, 0, (int[2]){0, 0}), EOPNOTSUPP);
	int s = SYS(socket(af, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
	CHECK_EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	struct stat st;
	SYS(fstat(s, &st));
	CHECK(S_ISSOCK(st.st_mode));
	CHECK_SAME(local(s), any(af, 0));
}

BOTH_LIMIT(tcp_stream, 30)
{
	/* 8 MB there, with a checksum back. */
	int s[2];
	tcp_pair(af, s);
	CHILD(c)
	{
		close(s[0]);
		uint32_t sum = 0;
		ssize_t n;
		while ((n = SYS(read(s[1], buf, 100000))) > 0)
			for (ssize_t i = 0; i < n; i++)
				sum = sum * 31 + (unsigned char)buf[i];
		CHECK_EQ(write(s[1], &sum, 4), 4);
	}
	close(s[1]);
	uint32_t want = 0, got, x = 1;
	for (int i = 0; i < 8; i++) {
		for (size_t j = 0; j < sizeof(buf); j++) {
			x = x * 1103515245 + 12345;
			buf[j] = x >> 16;
			want = want * 31 + (unsigned char)buf[j];
		}
		CHECK_EQ(write(s[0], buf, sizeof(buf)), sizeof(buf));
	}
	SYS(shutdown(s[0], SHUT_WR));
	CHECK_EQ(recv(s[0], &got, 4, MSG_WAITALL), 4);
	CHECK_EQ(got, want);
	CHECK_EXIT(c, 0);
}

BOTH(tcp_refused)
{
	int l = listener(af, 1), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l);
	SYS(close(l));
	CHECK_ERRNO(connect(c, ADDR(a)), ECONNREFUSED);
	CHECK_EQ(get_int(c, SOL_SOCKET, SO_ERROR), 0); /* told already */
	CHECK_ERRNO(connect(c, ADDR(a)), ECONNREFUSED); /* and it can try again */
}

BOTH(tcp_connect_errors)
{
	int s = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = loop(af, 9);
	CHECK_ERRNO(connect(s, SA(a), 1), EINVAL);
	CHECK_ERRNO(connect(s, SA(a), af == AF_INET ? 15 : 23), EINVAL);
	CHECK_ERRNO(connect(s, bad_ptr(), a.len), EFAULT);
	a.ss.ss_family = AF_UNIX;
	CHECK_ERRNO(connect(s, ADDR(a)), EAFNOSUPPORT);
	struct addr out = address(af, af == AF_INET ? "192.0.2.1" : "2001:db8::1", 9);
	CHECK_ERRNO(connect(s, ADDR(out)), ENETUNREACH);
	struct addr multi = address(af, af == AF_INET ? "224.0.0.1" : "ff02::1", 9);
	CHECK_ERRNO(connect(s, ADDR(multi)), ENETUNREACH);
	int p[2];
	tcp_pair(af, p);
	a = peer(p[0]);
	CHECK_ERRNO(connect(p[0], ADDR(a)), EISCONN);
	int l = listener(af, 1);
	CHECK_ERRNO(connect(l, ADDR(a)), EISCONN);
}

BOTH(tcp_connect_nonblocking)
{
	int l = listener(af, 5), c = SYS(socket(af, SOCK_STREAM | SOCK_NONBLOCK, 0));
	struct addr a = local(l);
	CHECK_ERRNO(connect(c, ADDR(a)), EINPROGRESS);
	await(c, POLLOUT);
	CHECK_EQ(get_int(c, SOL_SOCKET, SO_ERROR), 0);
	CHECK_SAME(peer(c), a);
	SYS(connect(c, ADDR(a))); /* the first one afterwards says how it went */
	CHECK_ERRNO(connect(c, ADDR(a)), EISCONN);
}

BOTH(tcp_connect_nonblocking_refused)
{
	int l = listener(af, 1), c = SYS(socket(af, SOCK_STREAM | SOCK_NONBLOCK, 0));
	struct addr a = local(l);
	SYS(close(l));
	CHECK_ERRNO(connect(c, ADDR(a)), EINPROGRESS);
	CHECK_EQ(await(c, POLLOUT | POLLIN), POLLOUT | POLLIN | POLLERR | POLLHUP);
	CHECK_EQ(get_int(c, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	CHECK_EQ(get_int(c, SOL_SOCKET, SO_ERROR), 0);
	CHECK_ERRNO(connect(c, ADDR(a)), ECONNABORTED); /* somebody was told why */
	CHECK_ERRNO(connect(c, ADDR(a)), EINPROGRESS);
	await(c, POLLOUT);
	CHECK_ERRNO(connect(c, ADDR(a)), ECONNREFUSED);
}

BOTH(tcp_connect_pending)
{
	struct addr a = full_listener(af);
	int c = SYS(socket(af, SOCK_STREAM | SOCK_NONBLOCK, 0));
	CHECK_ERRNO(connect(c, ADDR(a)), EINPROGRESS);
	CHECK_ERRNO(connect(c, ADDR(a)), EALREADY);
	CHECK_EQ(ready(c, POLLOUT | POLLIN), 0);
	CHECK_ERRNO(send(c, "x", 1, MSG_NOSIGNAL), EAGAIN);
	CHECK_ERRNO(recv(c, buf, 1, 0), EAGAIN);
	CHECK_ERRNO(getpeername(c, SA(a), &a.len), ENOTCONN);
	struct tcp_info info;
	socklen_t n = sizeof(info);
	SYS(getsockopt(c, IPPROTO_TCP, TCP_INFO, &info, &n));
	CHECK_EQ(info.tcpi_state, TCP_SYN_SENT);
}

BOTH(tcp_connect_timeout)
{
	struct addr a = full_listener(af);
	int c = SYS(socket(af, SOCK_STREAM, 0));
	timeout(c, SO_SNDTIMEO, 50);
	long long start = now_ms();
	CHECK_ERRNO(connect(c, ADDR(a)), EINPROGRESS);
	CHECK(now_ms() - start >= 45);
	CHECK_ERRNO(connect(c, ADDR(a)), EALREADY);
}

BOTH(tcp_connect_interrupted)
{
	struct addr a = full_listener(af);
	on_signal(SIGUSR1, no_op, 0);
	CHILD(c)
	{
		int s = SYS(socket(af, SOCK_STREAM, 0));
		CHECK_ERRNO(connect(s, ADDR(a)), EINTR);
		SYS(fcntl(s, F_SETFL, O_NONBLOCK));
		CHECK_ERRNO(connect(s, ADDR(a)), EALREADY); /* it goes on */
	}
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EXIT(c, 0);
}

BOTH(tcp_disconnect)
{
	ignore_pipe();
	int s[2];
	tcp_pair(af, s);
	struct addr none = {.ss.ss_family = AF_UNSPEC, .len = sizeof(struct sockaddr)}, a;
	SYS(connect(s[0], ADDR(none)));
	CHECK_ERRNO(getpeername(s[0], SA(a), &(socklen_t){100}), ENOTCONN);
	CHECK_ERRNO(read(s[1], buf, 1), ECONNRESET);
	CHECK_ERRNO(write(s[0], "x", 1), ECONNRESET);
	CHECK_ERRNO(write(s[0], "x", 1), EPIPE);
	/* It can be used for another connection. */
	int l = listener(af, 1);
	a = local(l);
	SYS(connect(s[0], ADDR(a)));
	int t = SYS(accept(l, NULL, NULL));
	CHECK_EQ(write(s[0], "x", 1), 1);
	CHECK_EQ(read(t, buf, 10), 1);
}

BOTH(tcp_not_connected)
{
	ignore_pipe();
	int s = SYS(socket(af, SOCK_STREAM, 0)), n;
	struct addr a;
	CHECK_ERRNO(read(s, buf, 1), ENOTCONN);
	CHECK_ERRNO(recv(s, buf, 1, MSG_DONTWAIT), ENOTCONN);
	CHECK_ERRNO(write(s, "x", 1), EPIPE);
	CHECK_ERRNO(send(s, "x", 1, MSG_DONTWAIT), EPIPE);
	CHECK_ERRNO(getpeername(s, SA(a), &(socklen_t){100}), ENOTCONN);
	CHECK_ERRNO(accept(s, NULL, NULL), EINVAL);
	CHECK_EQ(ready(s, POLLIN | POLLOUT), POLLOUT | POLLHUP);
	CHECK_ERRNO(shutdown(s, SHUT_RDWR), ENOTCONN);
	CHECK_EQ(ready(s, POLLIN | POLLOUT), POLLIN | POLLOUT | POLLHUP);
	SYS(ioctl(s, FIONREAD, &n));
	CHECK_EQ(n, 0);
	SYS(ioctl(s, TIOCOUTQ, &n));
	CHECK_EQ(n, 0);
	on_signal(SIGPIPE, SIG_DFL, 0);
	CHILD(c) write(s, "x", 1);
	CHECK_KILLED(c, SIGPIPE);
	CHECK_ERRNO(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
}

BOTH(tcp_listen)
{
	int s = SYS(socket(af, SOCK_STREAM, 0));
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ACCEPTCONN), 0);
	SYS(listen(s, 5)); /* takes a port by itself */
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ACCEPTCONN), 1);
	struct addr a = local(s);
	CHECK(port_of(&a) != 0);
	SYS(listen(s, -1)); /* again is fine */
	CHECK_EQ(ready(s, POLLIN | POLLOUT), 0);
	CHECK_ERRNO(read(s, buf, 1), ENOTCONN);
	CHECK_ERRNO(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
	int n;
	CHECK_ERRNO(ioctl(s, FIONREAD, &n), EINVAL);
	CHECK_ERRNO(ioctl(s, TIOCOUTQ, &n), EINVAL);
	int p[2];
	tcp_pair(af, p);
	CHECK_ERRNO(listen(p[0], 1), EINVAL);
	CHECK_ERRNO(listen(-1, 1), EBADF);
	CHECK_ERRNO(getpeername(s, SA(a), &(socklen_t){100}), ENOTCONN);
	/* Shut down, it listens no more, and may again. */
	SYS(shutdown(s, SHUT_RD));
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ACCEPTCONN), 0);
	CHECK_ERRNO(accept(s, NULL, NULL), EINVAL);
	SYS(listen(s, 5));
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ACCEPTCONN), 1);
}

BOTH(tcp_accept)
{
	int l = listener(af, 5);
	struct addr a = local(l);
	SYS(fcntl(l, F_SETFL, O_NONBLOCK));
	CHECK_ERRNO(accept(l, NULL, NULL), EAGAIN);
	CHECK_ERRNO(accept4(l, NULL, NULL, 0x1234), EINVAL);
	SYS(fcntl(l, F_SETFL, 0));
	timeout(l, SO_RCVTIMEO, 30);
	CHECK_ERRNO(accept(l, NULL, NULL), EAGAIN);
	timeout(l, SO_RCVTIMEO, 0);
	int c = SYS(socket(af, SOCK_STREAM, 0)), d = SYS(socket(af, SOCK_STREAM, 0)), e = SYS(socket(af, SOCK_STREAM, 0));
	SYS(connect(c, ADDR(a)));
	SYS(connect(d, ADDR(a)));
	SYS(connect(e, ADDR(a)));
	await(l, POLLIN);
	int s = SYS(accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
	CHECK_EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	CHECK_SAME(peer(s), local(c)); /* in order */
	char shorter[4];
	socklen_t n = sizeof(shorter);
	s = SYS(accept(l, (void *)shorter, &n));
	CHECK_EQ(n, a.len);
	CHECK_EQ(fcntl(s, F_GETFL), O_RDWR);
	CHECK_ERRNO(accept(l, bad_ptr(), &n), EFAULT);
}

BOTH(tcp_accept_waits)
{
	int l = listener(af, 5);
	struct addr a = local(l);
	CHILD(c)
	{
		int s = SYS(accept(l, NULL, NULL));
		CHECK_EQ(read(s, buf, 10), 2);
	}
	until_blocked(c);
	int s = SYS(socket(af, SOCK_STREAM, 0));
	SYS(connect(s, ADDR(a)));
	CHECK_EQ(write(s, "hi", 2), 2);
	CHECK_EXIT(c, 0);
}

BOTH(tcp_accept_interrupted)
{
	int l = listener(af, 5);
	on_signal(SIGUSR1, no_op, 0);
	CHILD(c) CHECK_ERRNO(accept(l, NULL, NULL), EINTR);
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EXIT(c, 0);
}

BOTH(tcp_accept_inherits)
{
	int l = SYS(socket(af, SOCK_STREAM, 0)), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = loop(af, 0);
	set_int(l, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(l, SOL_SOCKET, SO_RCVBUF, 20000);
	set_int(l, SOL_SOCKET, SO_OOBINLINE, 1);
	set_int(l, SOL_SOCKET, SO_REUSEADDR, 1);
	set_int(l, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(l, IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set_int(l, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	struct linger lin = {1, 3};
	SYS(setsockopt(l, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)));
	if (af == AF_INET)
		set_int(l, IPPROTO_IP, IP_TTL, 33);
	else
		set_int(l, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33);
	SYS(bind(l, ADDR(a)));
	SYS(listen(l, 1));
	a = local(l);
	SYS(connect(c, ADDR(a)));
	int s = SYS(accept(l, NULL, NULL));
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_KEEPALIVE), 1);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_RCVBUF), 40000);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_OOBINLINE), 1);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_REUSEADDR), 1);
	CHECK_EQ(get_int(s, IPPROTO_TCP, TCP_NODELAY), 1);
	CHECK_EQ(get_int(s, IPPROTO_TCP, TCP_KEEPIDLE), 77);
	CHECK_EQ(get_int(s, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
	socklen_t n = sizeof(lin);
	SYS(getsockopt(s, SOL_SOCKET, SO_LINGER, &lin, &n));
	CHECK(lin.l_onoff == 1 && lin.l_linger == 3);
	if (af == AF_INET)
		CHECK_EQ(get_int(s, IPPROTO_IP, IP_TTL), 33);
	else
		CHECK_EQ(get_int(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 33);
	CHECK_EQ(get_int(c, IPPROTO_TCP, TCP_NODELAY), 0);
}

BOTH(tcp_bind_conflicts)
{
	int l = listener(af, 1), s = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l), wide = any(af, port_of(&a));
	CHECK_ERRNO(bind(s, ADDR(a)), EADDRINUSE);
	CHECK_ERRNO(bind(s, ADDR(wide)), EADDRINUSE);
	set_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK_ERRNO(bind(s, ADDR(a)), EADDRINUSE);
	set_int(l, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK_ERRNO(bind(s, ADDR(a)), EADDRINUSE); /* one listens */
	/* Two that do not may have the same; only one can listen. */
	int t = SYS(socket(af, SOCK_STREAM, 0)), u = SYS(socket(af, SOCK_STREAM, 0));
	set_int(t, SOL_SOCKET, SO_REUSEADDR, 1);
	set_int(u, SOL_SOCKET, SO_REUSEADDR, 1);
	a = loop(af, 0);
	SYS(bind(t, ADDR(a)));
	a = local(t);
	SYS(bind(u, ADDR(a)));
	SYS(listen(t, 1));
	CHECK_ERRNO(listen(u, 1), EADDRINUSE);
	CHECK_ERRNO(bind(u, ADDR(a)), EINVAL);
}

BOTH(tcp_time_wait)
{
	/* The side that closes first keeps the port for a while. */
	int l = listener(af, 1), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l);
	set_int(l, SOL_SOCKET, SO_REUSEADDR, 1);
	SYS(connect(c, ADDR(a)));
	int s = SYS(accept(l, NULL, NULL));
	SYS(close(s));
	CHECK_EQ(read(c, buf, 1), 0);
	SYS(close(c));
	SYS(close(l));
	int t = SYS(socket(af, SOCK_STREAM, 0));
	CHECK_ERRNO(bind(t, ADDR(a)), EADDRINUSE);
	set_int(t, SOL_SOCKET, SO_REUSEADDR, 1);
	SYS(bind(t, ADDR(a)));
	SYS(listen(t, 1));
}

BOTH(tcp_reuseport)
{
	int l[3];
	struct addr a = loop(af, 0);
	for (int i = 0; i < 3; i++) {
		l[i] = SYS(socket(af, SOCK_STREAM, 0));
		set_int(l[i], SOL_SOCKET, SO_REUSEPORT, 1);
		SYS(bind(l[i], ADDR(a)));
		SYS(listen(l[i], 100));
		SYS(fcntl(l[i], F_SETFL, O_NONBLOCK));
		a = local(l[0]);
	}
	int total = 0, used = 0;
	for (int i = 0; i < 48; i++) {
		int c = SYS(socket(af, SOCK_STREAM, 0));
		SYS(connect(c, ADDR(a)));
	}
	for (int i = 0; i < 3; i++) {
		int n = 0, s;
		while ((s = accept(l[i], NULL, NULL)) >= 0) {
			n++;
			close(s);
		}
		total += n;
		used += n > 0;
	}
	CHECK_EQ(total, 48);
	CHECK(used > 1);
}

BOTH(tcp_privileged_port)
{
	CHILD(c)
	{
		become(1000);
		struct addr a = loop(af, 80);
		int s = SYS(socket(af, SOCK_STREAM, 0));
		CHECK_ERRNO(bind(s, ADDR(a)), EACCES);
	}
	CHECK_EXIT(c, 0);
}

BOTH(tcp_half_close)
{
	ignore_pipe();
	int s[2];
	tcp_pair(af, s);
	CHECK_EQ(write(s[0], "last words", 10), 10);
	SYS(shutdown(s[0], SHUT_WR));
	CHECK_ERRNO(write(s[0], "x", 1), EPIPE);
	CHECK_EQ(read(s[1], buf, 100), 10);
	CHECK_EQ(read(s[1], buf, 100), 0);
	CHECK_EQ(read(s[1], buf, 100), 0);
	CHECK_EQ(ready(s[1], POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
	CHECK_EQ(write(s[1], "answer", 6), 6);
	CHECK_EQ(read(s[0], buf, 100), 6);
	SYS(shutdown(s[1], SHUT_WR));
	CHECK_EQ(read(s[0], buf, 100), 0);
	CHECK(ready(s[0], POLLIN) & POLLHUP);
	CHECK(ready(s[1], POLLIN) & POLLHUP);
	CHECK_ERRNO(shutdown(s[0], 5), EINVAL);
}

BOTH(tcp_shutdown_read)
{
	int s[2];
	tcp_pair(af, s);
	SYS(shutdown(s[0], SHUT_RD));
	CHECK_EQ(read(s[0], buf, 10), 0);
	CHECK_EQ(ready(s[0], POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
	CHECK_EQ(write(s[1], "abc", 3), 3); /* the peer does not know */
	await(s[0], POLLIN);
	CHECK_EQ(recv(s[0], buf, 10, MSG_DONTWAIT), 3); /* what comes can be read */
	CHECK_EQ(recv(s[0], buf, 10, MSG_DONTWAIT), 0);
}

BOTH(tcp_shutdown_wakes)
{
	int s[2];
	tcp_pair(af, s);
	CHILD(c) CHECK_EQ(read(s[0], buf, 1), 0);
	until_blocked(c);
	SYS(shutdown(s[0], SHUT_RDWR));
	CHECK_EXIT(c, 0);
}

BOTH(tcp_reset_by_unread)
{
	ignore_pipe();
	int s[2];
	tcp_pair(af, s);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	await(s[1], POLLIN);
	SYS(close(s[1])); /* without reading: a reset */
	CHECK(await(s[0], POLLIN) & POLLERR);
	CHECK_ERRNO(read(s[0], buf, 1), ECONNRESET);
	CHECK_EQ(read(s[0], buf, 1), 0);
	CHECK_ERRNO(write(s[0], "x", 1), EPIPE);
}

BOTH(tcp_reset_by_linger)
{
	int s[2];
	tcp_pair(af, s);
	struct linger l = {1, 0};
	SYS(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	SYS(close(s[1]));
	CHECK_EQ(await(s[0], POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	CHECK_EQ(get_int(s[0], SOL_SOCKET, SO_ERROR), ECONNRESET);
}

BOTH(tcp_write_to_closed)
{
	int s[2];
	tcp_pair(af, s);
	SYS(close(s[1]));
	await(s[0], POLLIN);
	CHECK_EQ(write(s[0], "x", 1), 1); /* answered with a reset */
	CHECK(await(s[0], 0) & POLLHUP);
	on_signal(SIGPIPE, SIG_IGN, 0);
	CHECK_ERRNO(write(s[0], "x", 1), EPIPE);
}

BOTH(tcp_linger_waits)
{
	/* close(2) with SO_LINGER waits until the peer has everything. */
	int s[2];
	tcp_pair(af, s);
	struct linger l = {1, 10};
	SYS(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	CHECK_EQ(write(s[0], "data", 4), 4);
	long long start = now_ms();
	SYS(close(s[0]));
	CHECK(now_ms() - start < 5000);
	CHECK_EQ(read(s[1], buf, 10), 4);
	CHECK_EQ(read(s[1], buf, 10), 0);
}

BOTH(tcp_peek)
{
	int s[2];
	tcp_pair(af, s);
	CHECK_EQ(write(s[0], "abcdef", 6), 6);
	CHECK_EQ(recv(s[1], buf, 3, MSG_PEEK), 3);
	CHECK_EQ(recv(s[1], buf, 100, MSG_PEEK), 6);
	CHECK_MEM(buf, "abcdef", 6);
	CHECK_EQ(recv(s[1], buf, 2, MSG_TRUNC), 2); /* thrown away */
	CHECK_EQ(recv(s[1], buf, 2, MSG_PEEK), 2);
	CHECK_MEM(buf, "cd", 2);
	CHECK_EQ(recv(s[1], NULL, 3, MSG_TRUNC), 3);
	CHECK_EQ(recv(s[1], buf, 100, 0), 1);
	CHECK_EQ(buf[0], 'f');
}

BOTH(tcp_peek_offset)
{
	int s[2];
	tcp_pair(af, s);
	CHECK_EQ(write(s[0], "abcdef", 6), 6);
	set_int(s[1], SOL_SOCKET, SO_PEEK_OFF, 2);
	CHECK_EQ(recv(s[1], buf, 2, MSG_PEEK), 2);
	CHECK_MEM(buf, "cd", 2);
	CHECK_EQ(recv(s[1], buf, 2, MSG_PEEK), 2);
	CHECK_MEM(buf, "ef", 2);
	CHECK_EQ(recv(s[1], buf, 3, 0), 3);
	CHECK_MEM(buf, "abc", 3);
	CHECK_EQ(get_int(s[1], SOL_SOCKET, SO_PEEK_OFF), 3);
}

BOTH(tcp_waitall)
{
	int s[2];
	tcp_pair(af, s);
	CHILD(c)
	{
		close(s[0]);
		CHECK_EQ(recv(s[1], buf, 6, MSG_WAITALL), 6);
		CHECK_MEM(buf, "abcdef", 6);
		CHECK_EQ(recv(s[1], buf, 4, MSG_WAITALL | MSG_PEEK), 4);
		CHECK_EQ(recv(s[1], buf, 100, MSG_WAITALL), 4); /* the end comes before */
	}
	close(s[1]);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	until_blocked(c);
	CHECK_EQ(write(s[0], "def", 3), 3);
	CHECK_EQ(write(s[0], "gh", 2), 2);
	until_blocked(c);
	CHECK_EQ(write(s[0], "ij", 2), 2);
	until_blocked(c);
	SYS(close(s[0]));
	CHECK_EXIT(c, 0);
}

BOTH(tcp_waitall_timeout)
{
	int s[2];
	tcp_pair(af, s);
	timeout(s[1], SO_RCVTIMEO, 50);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	CHECK_EQ(recv(s[1], buf, 10, MSG_WAITALL), 3);
	CHECK_ERRNO(recv(s[1], buf, 10, MSG_WAITALL), EAGAIN);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	CHECK_EQ(recv(s[1], buf, 10, MSG_WAITALL | MSG_DONTWAIT), 3);
}

BOTH(tcp_rcvlowat)
{
	int s[2];
	tcp_pair(af, s);
	set_int(s[1], SOL_SOCKET, SO_RCVLOWAT, 5);
	CHILD(c) CHECK_EQ(read(s[1], buf, 100), 6);
	until_blocked(c);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	until_blocked(c);
	CHECK_EQ(write(s[0], "def", 3), 3);
	CHECK_EXIT(c, 0);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	CHECK_EQ(ready(s[1], POLLIN), 0);
	CHECK_EQ(recv(s[1], buf, 1, 0), 1); /* fewer wanted than that */
	CHECK_EQ(recv(s[1], buf, 2, 0), 2);
	CHECK_EQ(write(s[0], "xy", 2), 2);
	CHECK_EQ(recv(s[1], buf, 100, MSG_DONTWAIT), 2);
}

BOTH(tcp_nonblocking)
{
	int s[2];
	tcp_pair(af, s);
	SYS(fcntl(s[0], F_SETFL, O_NONBLOCK));
	CHECK_ERRNO(read(s[0], buf, 1), EAGAIN);
	/* Until the buffers are full. */
	size_t sent = 0;
	ssize_t n;
	while ((n = write(s[0], buf, sizeof(buf))) > 0)
		sent += n;
	CHECK_ERRNO(write(s[0], "x", 1), EAGAIN);
	CHECK(sent > 10000);
	CHECK_EQ(ready(s[0], POLLOUT), 0);
	CHECK_ERRNO(send(s[0], "x", 1, 0), EAGAIN);
	/* What was sent arrives, and makes room. */
	size_t got = 0;
	while (got < sent)
		got += SYS(read(s[1], buf, sizeof(buf)));
	CHECK_EQ(got, sent);
	await(s[0], POLLOUT);
	CHECK_EQ(write(s[0], "x", 1), 1);
}

BOTH(tcp_send_timeout)
{
	int s[2];
	tcp_pair(af, s);
	set_int(s[0], SOL_SOCKET, SO_SNDBUF, 10000);
	set_int(s[1], SOL_SOCKET, SO_RCVBUF, 10000);
	timeout(s[0], SO_SNDTIMEO, 50);
	ssize_t n = write(s[0], buf, sizeof(buf));
	CHECK(n > 0 && n < (ssize_t)sizeof(buf)); /* as much as went */
	CHECK_ERRNO(write(s[0], buf, sizeof(buf)), EAGAIN);
}

BOTH(tcp_send_interrupted)
{
	int s[2];
	tcp_pair(af, s);
	set_int(s[0], SOL_SOCKET, SO_SNDBUF, 10000);
	set_int(s[1], SOL_SOCKET, SO_RCVBUF, 10000);
	on_signal(SIGUSR1, no_op, 0);
	CHILD(c)
	{
		ssize_t n = SYS(write(s[0], buf, sizeof(buf)));
		CHECK(n > 0 && n < (ssize_t)sizeof(buf));
		CHECK_ERRNO(write(s[0], buf, 1000), EINTR);
	}
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	sleep_ms(20);
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EXIT(c, 0);
}

BOTH(tcp_recv_interrupted)
{
	int s[2];
	tcp_pair(af, s);
	on_signal(SIGUSR1, no_op, SA_RESTART);
	CHILD(c)
	{
		CHECK_EQ(read(s[1], buf, 10), 3); /* starts anew */
		timeout(s[1], SO_RCVTIMEO, 5000);
		CHECK_ERRNO(read(s[1], buf, 10), EINTR); /* not with a time-out */
	}
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	until_blocked(c);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	sleep_ms(20);
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EXIT(c, 0);
}

BOTH(tcp_vectors)
{
	int s[2];
	tcp_pair(af, s);
	struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
	CHECK_EQ(writev(s[0], out, 3), 5);
	char x[2], y[2], z[2];
	struct iovec in[3] = {{x, 2}, {y, 2}, {z, 2}};
	CHECK_EQ(readv(s[1], in, 3), 5);
	CHECK(x[1] == 'b' && y[1] == 'd' && z[0] == 'e');
	CHECK_EQ(write(s[0], "", 0), 0);
	CHECK_EQ(send(s[0], "", 0, 0), 0);
	CHECK_EQ(read(s[1], x, 0), 0);
	CHECK_ERRNO(recv(s[1], x, 1, MSG_DONTWAIT), EAGAIN);
	CHECK_ERRNO(recv(s[1], x, 0, MSG_DONTWAIT), EAGAIN); /* wants data all the same */
	CHECK_EQ(write(s[0], "z", 1), 1);
	CHECK_EQ(recv(s[1], x, 0, 0), 0);
	CHECK_EQ(recv(s[1], x, 2, 0), 1);
}

BOTH(tcp_fault)
{
	int s[2];
	tcp_pair(af, s);
	char *edge = map_pages(2 * PAGE);
	SYS(munmap(edge + PAGE, PAGE));
	CHECK_ERRNO(write(s[0], bad_ptr(), 5), EFAULT);
	CHECK_EQ(write(s[0], "abcdef", 6), 6);
	CHECK_ERRNO(read(s[1], bad_ptr(), 5), EFAULT);
	CHECK_EQ(read(s[1], buf, 100), 6); /* nothing is lost */
}

BOTH(tcp_recvmsg_name)
{
	int s[2];
	tcp_pair(af, s);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 3);
	CHECK_EQ(m.h.msg_namelen, 0);
	CHECK_EQ(m.h.msg_controllen, 0);
	CHECK_EQ(m.h.msg_flags, 0);
	CHECK_EQ(write(s[0], "abc", 3), 3);
	struct addr from = {.len = sizeof(from.ss)};
	CHECK_EQ(recvfrom(s[1], buf, 10, 0, SA(from), &from.len), 3);
	CHECK_EQ(from.len, 0);
	/* An address is ignored. */
	struct addr a = loop(af, 9);
	CHECK_EQ(sendto(s[0], "x", 1, 0, ADDR(a)), 1);
	CHECK_EQ(read(s[1], buf, 10), 1);
}

BOTH(tcp_mmsg)
{
	int s[2];
	tcp_pair(af, s);
	struct iovec iov[2] = {{"ab", 2}, {"cde", 3}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &iov[0], .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = &iov[1], .msg_iovlen = 1}}};
	CHECK_EQ(sendmmsg(s[0], m, 2, 0), 2);
	CHECK(m[0].msg_len == 2 && m[1].msg_len == 3);
	char x[4], y[4];
	iov[0] = (struct iovec){x, 4};
	iov[1] = (struct iovec){y, 4};
	CHECK_EQ(recvmmsg(s[1], m, 2, MSG_DONTWAIT, NULL), 2);
	CHECK(m[0].msg_len == 4 && m[1].msg_len == 1);
}

BOTH(tcp_queue_ioctls)
{
	int s[2], n;
	tcp_pair(af, s);
	CHECK_EQ(write(s[0], "abcdef", 6), 6);
	await(s[1], POLLIN);
	SYS(ioctl(s[1], FIONREAD, &n));
	CHECK_EQ(n, 6);
	CHECK_EQ(read(s[1], buf, 4), 4);
	SYS(ioctl(s[1], FIONREAD, &n));
	CHECK_EQ(n, 2);
	SYS(ioctl(s[1], SIOCATMARK, &n));
	CHECK_EQ(n, 0);
	SYS(ioctl(s[0], 0x894b /* SIOCOUTQNSD */, &n));
	CHECK_EQ(n, 0);
	/* Once it is acknowledged nothing is left. */
	for (long long end = now_ms() + 3000;;) {
		SYS(ioctl(s[0], TIOCOUTQ, &n));
		if (n == 0)
			break;
		CHECK(now_ms() < end);
		sleep_ms(5);
	}
	/* At the end of the stream there is one byte less than the window says. */
	SYS(shutdown(s[0], SHUT_WR));
	await(s[1], POLLRDHUP);
	SYS(ioctl(s[1], FIONREAD, &n));
	CHECK_EQ(n, 2);
}

BOTH(tcp_urgent)
{
	int s[2], n;
	tcp_pair(af, s);
	CHECK_ERRNO(recv(s[1], buf, 1, MSG_OOB), EINVAL);
	CHECK_EQ(write(s[0], "ab", 2), 2);
	CHECK_EQ(send(s[0], "X", 1, MSG_OOB), 1);
	CHECK_EQ(write(s[0], "cd", 2), 2);
	CHECK_EQ(await(s[1], POLLPRI), POLLPRI);
	CHECK_EQ(recv(s[1], buf, 100, 0), 2); /* not over the mark */
	CHECK_MEM(buf, "ab", 2);
	SYS(ioctl(s[1], SIOCATMARK, &n));
	CHECK_EQ(n, 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, MSG_OOB), 1);
	CHECK_EQ(m.data[0], 'X');
	CHECK_EQ(m.h.msg_flags, MSG_OOB);
	CHECK_ERRNO(recv(s[1], buf, 1, MSG_OOB), EINVAL); /* taken */
	CHECK_EQ(recv(s[1], buf, 100, 0), 2);
	CHECK_MEM(buf, "cd", 2);
	CHECK_EQ(ready(s[1], POLLPRI), 0);
}

BOTH(tcp_urgent_inline)
{
	int s[2], n;
	tcp_pair(af, s);
	set_int(s[1], SOL_SOCKET, SO_OOBINLINE, 1);
	CHECK_EQ(write(s[0], "ab", 2), 2);
	CHECK_EQ(send(s[0], "X", 1, MSG_OOB), 1);
	CHECK_EQ(write(s[0], "cd", 2), 2);
	await(s[1], POLLPRI);
	CHECK_ERRNO(recv(s[1], buf, 1, MSG_OOB), EINVAL);
	CHECK_EQ(recv(s[1], buf, 100, 0), 2);
	SYS(ioctl(s[1], SIOCATMARK, &n));
	CHECK_EQ(n, 1);
	CHECK_EQ(recv(s[1], buf, 100, 0), 3);
	CHECK_MEM(buf, "Xcd", 3);
}

static volatile sig_atomic_t urgent;
static void on_urgent(int sig) { urgent += sig == SIGURG; }

BOTH(tcp_sigurg)
{
	int s[2];
	tcp_pair(af, s);
	on_signal(SIGURG, on_urgent, 0);
	SYS(fcntl(s[1], F_SETOWN, getpid()));
	CHECK_EQ(send(s[0], "X", 1, MSG_OOB), 1);
	for (long long end = now_ms() + 3000; !urgent && now_ms() < end;)
		sleep_ms(1);
	CHECK_EQ(urgent, 1);
}

static volatile sig_atomic_t io_signals;
static void on_io(int sig) { io_signals += sig == SIGIO; }

BOTH(tcp_sigio)
{
	int s[2];
	tcp_pair(af, s);
	on_signal(SIGIO, on_io, 0);
	SYS(fcntl(s[1], F_SETOWN, getpid()));
	SYS(fcntl(s[1], F_SETFL, O_ASYNC));
	CHECK_EQ(write(s[0], "x", 1), 1);
	for (long long end = now_ms() + 3000; !io_signals && now_ms() < end;)
		sleep_ms(1);
	CHECK(io_signals >= 1);
	int owner = 0;
	SYS(ioctl(s[1], FIOGETOWN, &owner));
	CHECK_EQ(owner, getpid());
	owner = 0;
	SYS(ioctl(s[1], SIOCGPGRP, &owner));
	CHECK_EQ(owner, getpid());
	owner = -getpgrp();
	SYS(ioctl(s[1], FIOSETOWN, &owner));
	CHECK_EQ(fcntl(s[1], F_GETOWN), owner);
}

BOTH(tcp_poll)
{
	int s[2], l = listener(af, 1);
	tcp_pair(af, s);
	CHECK_EQ(ready(s[0], POLLIN | POLLOUT | POLLRDHUP | POLLPRI | POLLWRNORM), POLLOUT | POLLWRNORM);
	CHECK_EQ(write(s[1], "x", 1), 1);
	CHECK_EQ(await(s[0], POLLIN | POLLRDNORM), POLLIN | POLLRDNORM);
	struct addr a = local(l);
	int c = SYS(socket(af, SOCK_STREAM, 0));
	SYS(connect(c, ADDR(a)));
	CHECK_EQ(await(l, POLLIN | POLLOUT | POLLRDNORM), POLLIN | POLLRDNORM);
	SYS(shutdown(l, SHUT_RD));
	CHECK_EQ(ready(l, POLLIN | POLLOUT), POLLOUT | POLLHUP);
}

BOTH(tcp_epoll_edge)
{
	int s[2], ep = SYS(epoll_create1(0));
	tcp_pair(af, s);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET}, got;
	SYS(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev));
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 1);
	CHECK_EQ(got.events, EPOLLOUT);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
	CHECK_EQ(write(s[1], "a", 1), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
	CHECK_EQ(got.events, EPOLLIN | EPOLLOUT);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
	CHECK_EQ(write(s[1], "b", 1), 1); /* more data is news again */
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
	CHECK_EQ(read(s[0], buf, 1), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
	SYS(close(s[1]));
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
	CHECK(got.events & EPOLLRDHUP);
}

BOTH(tcp_epoll_oneshot)
{
	int s[2], ep = SYS(epoll_create1(0));
	tcp_pair(af, s);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT}, got;
	SYS(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev));
	CHECK_EQ(write(s[1], "a", 1), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
	CHECK_EQ(write(s[1], "a", 1), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
	SYS(epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &ev));
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
}

BOTH(tcp_epoll_room)
{
	/* The edge for writing comes when there is room again. */
	int s[2], ep = SYS(epoll_create1(0));
	tcp_pair(af, s);
	SYS(fcntl(s[0], F_SETFL, O_NONBLOCK));
	struct epoll_event ev = {.events = EPOLLOUT | EPOLLET}, got;
	SYS(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev));
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 1);
	size_t sent = 0, read_ = 0;
	ssize_t n;
	while ((n = write(s[0], buf, sizeof(buf))) > 0)
		sent += n;
	while (read_ < sent)
		read_ += SYS(read(s[1], buf, sizeof(buf)));
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
	CHECK_EQ(got.events, EPOLLOUT);
}

BOTH(tcp_cork)
{
	int s[2];
	tcp_pair(af, s);
	set_int(s[0], IPPROTO_TCP, TCP_CORK, 1);
	CHECK_EQ(write(s[0], "ab", 2), 2);
	CHECK_EQ(write(s[0], "cd", 2), 2);
	CHECK_ERRNO(recv(s[1], buf, 10, MSG_DONTWAIT), EAGAIN);
	set_int(s[0], IPPROTO_TCP, TCP_CORK, 0);
	await(s[1], POLLIN);
	CHECK_EQ(recv(s[1], buf, 10, 0), 4);
	CHECK_EQ(send(s[0], "ab", 2, MSG_MORE), 2);
	CHECK_ERRNO(recv(s[1], buf, 10, MSG_DONTWAIT), EAGAIN);
	CHECK_EQ(send(s[0], "c", 1, 0), 1);
	await(s[1], POLLIN);
	CHECK_EQ(recv(s[1], buf, 10, 0), 3);
}

BOTH(tcp_info)
{
	int s[2];
	tcp_pair(af, s);
	CHECK_EQ(write(s[0], "abcdef", 6), 6);
	CHECK_EQ(recv(s[1], buf, 6, MSG_WAITALL), 6);
	struct tcp_info i;
	socklen_t n = sizeof(i);
	memset(&i, 0xff, sizeof(i));
	SYS(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &i, &n));
	CHECK_EQ(n, sizeof(i));
	CHECK_EQ(i.tcpi_state, TCP_ESTABLISHED);
	CHECK_EQ(i.tcpi_ca_state, 0);
	CHECK_EQ(i.tcpi_retransmits, 0);
	CHECK(i.tcpi_options & TCPI_OPT_TIMESTAMPS);
	CHECK(i.tcpi_options & TCPI_OPT_SACK);
	CHECK(i.tcpi_options & TCPI_OPT_WSCALE);
	CHECK(i.tcpi_rto >= 200000);
	CHECK(i.tcpi_snd_mss > 1000);
	CHECK(i.tcpi_snd_cwnd >= 10);
	CHECK_EQ(i.tcpi_pmtu, af == AF_INET ? 65535 : 65536);
	CHECK_EQ(i.tcpi_total_retrans, 0);
	n = 1;
	SYS(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &i, &n));
	CHECK_EQ(n, 1);
	int l = listener(af, 7);
	n = sizeof(i);
	SYS(getsockopt(l, IPPROTO_TCP, TCP_INFO, &i, &n));
	CHECK_EQ(i.tcpi_state, TCP_LISTEN);
	CHECK_EQ(i.tcpi_sacked, 7); /* the backlog */
	CHECK_EQ(i.tcpi_unacked, 0);
	SYS(shutdown(s[0], SHUT_WR));
	await(s[1], POLLRDHUP);
	SYS(getsockopt(s[1], IPPROTO_TCP, TCP_INFO, &i, &n));
	CHECK_EQ(i.tcpi_state, TCP_CLOSE_WAIT);
	CHECK_EQ(get_int(s[0], IPPROTO_TCP, TCP_MAXSEG) > 1000, 1);
}

BOTH(tcp_inq)
{
	int s[2];
	tcp_pair(af, s);
	set_int(s[1], IPPROTO_TCP, TCP_INQ, 1);
	CHECK_EQ(write(s[0], "abcdef", 6), 6);
	await(s[1], POLLIN);
	struct message m;
	message_init(&m);
	m.iov.iov_len = 2;
	CHECK_EQ(recvmsg(s[1], &m.h, 0), 2);
	int *left = control(&m.h, IPPROTO_TCP, TCP_CM_INQ, sizeof(int));
	CHECK(left);
	CHECK_EQ(*left, 4);
}

BOTH(tcp_splice)
{
	int s[2], p[2], q[2];
	tcp_pair(af, s);
	SYS(pipe(p));
	SYS(pipe(q));
	CHECK_EQ(write(p[1], "spliced", 7), 7);
	CHECK_EQ(splice(p[0], NULL, s[0], NULL, 100, 0), 7);
	await(s[1], POLLIN);
	CHECK_EQ(splice(s[1], NULL, q[1], NULL, 4, 0), 4);
	CHECK_EQ(splice(s[1], NULL, q[1], NULL, 100, 0), 3);
	CHECK_EQ(read(q[0], buf, 100), 7);
	CHECK_MEM(buf, "spliced", 7);
	SYS(fcntl(s[1], F_SETFL, O_NONBLOCK));
	CHECK_ERRNO(splice(s[1], NULL, q[1], NULL, 100, 0), EAGAIN);
	SYS(fcntl(s[1], F_SETFL, 0));
	CHILD(c) CHECK_EQ(splice(s[1], NULL, q[1], NULL, 100, SPLICE_F_NONBLOCK), 1); /* which is about the pipe */
	until_blocked(c);
	CHECK_EQ(write(s[0], "x", 1), 1);
	CHECK_EXIT(c, 0);
	CHECK_EQ(read(q[0], buf, 100), 1);
	SYS(shutdown(s[0], SHUT_WR));
	CHECK_EQ(splice(s[1], NULL, q[1], NULL, 100, 0), 0);
}

BOTH(tcp_sendfile)
{
	int s[2];
	tcp_pair(af, s);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = i * 13 >> 3;
	int f = SYS(open("file", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(write(f, buf, sizeof(buf)), sizeof(buf));
	SYS(lseek(f, 0, SEEK_SET));
	CHILD(c)
	{
		size_t done = 0;
		while (done < sizeof(buf))
			done += SYS(sendfile(s[0], f, NULL, sizeof(buf) - done));
		CHECK_EQ(lseek(f, 0, SEEK_CUR), sizeof(buf));
		CHECK_EQ(sendfile(s[0], f, NULL, 10), 0);
	}
	static char got[sizeof(buf)];
	CHECK_EQ(recv(s[1], got, sizeof(got), MSG_WAITALL), sizeof(got));
	CHECK_MEM(got, buf, sizeof(buf));
	CHECK_EXIT(c, 0);
	off_t off = 5;
	CHECK_EQ(sendfile(s[0], f, &off, 3), 3);
	CHECK_EQ(off, 8);
	CHECK_ERRNO(sendfile(f, s[0], NULL, 3), EINVAL);
}

BOTH(tcp_self_connect)
{
	/* A simultaneous open with itself. */
	int s = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = loop(af, 0);
	SYS(bind(s, ADDR(a)));
	a = local(s);
	SYS(connect(s, ADDR(a)));
	CHECK_SAME(peer(s), a);
	CHECK_EQ(write(s, "me", 2), 2);
	CHECK_EQ(read(s, buf, 10), 2);
}

BOTH(tcp_close_listener)
{
	int l = listener(af, 5), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l);
	SYS(connect(c, ADDR(a)));
	SYS(close(l)); /* nobody will accept it */
	await(c, POLLIN);
	CHECK_ERRNO(read(c, buf, 1), ECONNRESET);
}

BOTH(tcp_data_before_accept)
{
	int l = listener(af, 5), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l);
	SYS(connect(c, ADDR(a)));
	CHECK_EQ(write(c, "early", 5), 5);
	SYS(close(c));
	int s = SYS(accept(l, NULL, NULL));
	CHECK_EQ(read(s, buf, 10), 5);
	CHECK_EQ(read(s, buf, 10), 0);
}

BOTH(tcp_defer_accept)
{
	int l = listener(af, 5), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l);
	set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5);
	SYS(connect(c, ADDR(a)));
	struct pollfd p = {.fd = l, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 50), 0); /* not before there is data */
	CHECK_EQ(write(c, "x", 1), 1);
	await(l, POLLIN);
	int s = SYS(accept(l, NULL, NULL));
	CHECK_EQ(recv(s, buf, 1, MSG_DONTWAIT), 1);
}

BOTH(tcp_fastopen_flag)
{
	/* Without a cookie it is a connect and a send. */
	int l = listener(af, 5), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l), none = {.ss.ss_family = AF_UNSPEC, .len = sizeof(struct sockaddr)};
	CHECK_EQ(sendto(c, "hello", 5, MSG_FASTOPEN, ADDR(a)), 5);
	int s = SYS(accept(l, NULL, NULL));
	CHECK_EQ(recv(s, buf, 5, MSG_WAITALL), 5);
	int d = SYS(socket(af, SOCK_STREAM, 0));
	CHECK_ERRNO(sendto(d, "hello", 5, MSG_FASTOPEN, ADDR(none)), EOPNOTSUPP);
	CHECK_ERRNO(sendto(c, "hello", 5, MSG_FASTOPEN, ADDR(a)), EISCONN);
}

BOTH(tcp_bound_client)
{
	int l = listener(af, 5), c = SYS(socket(af, SOCK_STREAM, 0));
	struct addr a = local(l), me = loop(af, 0);
	SYS(bind(c, ADDR(me)));
	me = local(c);
	CHECK(port_of(&me) != 0);
	SYS(connect(c, ADDR(a)));
	CHECK_SAME(local(c), me);
	/* The same four numbers cannot be twice. */
	int d = SYS(socket(af, SOCK_STREAM, 0));
	set_int(d, SOL_SOCKET, SO_REUSEADDR, 1);
	set_int(c, SOL_SOCKET, SO_REUSEADDR, 1);
	SYS(bind(d, ADDR(me)));
	CHECK_ERRNO(connect(d, ADDR(a)), EADDRNOTAVAIL);
}

BOTH_LIMIT(tcp_many, 30)
{
	/* Connections by the hundred, one after the other and at a time. */
	int l = listener(af, 128), c[100], s[100];
	struct addr a = local(l);
	for (int i = 0; i < 100; i++) {
		c[i] = SYS(socket(af, SOCK_STREAM, 0));
		SYS(connect(c[i], ADDR(a)));
	}
	for (int i = 0; i < 100; i++)
		s[i] = SYS(accept(l, NULL, NULL));
	for (int i = 0; i < 100; i++)
		CHECK_EQ(write(c[i], &i, sizeof(i)), sizeof(i));
	for (int i = 0; i < 100; i++) {
		int v;
		CHECK_EQ(read(s[i], &v, sizeof(v)), sizeof(v));
		CHECK_SAME(peer(s[i]), local(c[v]));
	}
	for (int i = 0; i < 100; i++) {
		SYS(close(c[i]));
		CHECK_EQ(read(s[i], buf, 1), 0);
		SYS(close(s[i]));
	}
	for (int i = 0; i < 300; i++) {
		int x = SYS(socket(af, SOCK_STREAM, 0));
		SYS(connect(x, ADDR(a)));
		int y = SYS(accept(l, NULL, NULL));
		SYS(close(x));
		SYS(close(y));
	}
}

static void *echo(void *arg)
{
	int fd = (int)(long)arg;
	char b[4096];
	ssize_t n;
	while ((n = read(fd, b, sizeof(b))) > 0)
		if (write(fd, b, n) != n)
			break;
	return NULL;
}

BOTH_LIMIT(tcp_ping_pong, 30)
{
	int s[2];
	tcp_pair(af, s);
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, echo, (void *)(long)s[1]), 0);
	for (int i = 0; i < 2000; i++) {
		char m[64];
		int n = snprintf(m, sizeof(m), "message %d", i);
		CHECK_EQ(write(s[0], m, n), n);
		CHECK_EQ(recv(s[0], buf, n, MSG_WAITALL), n);
		CHECK_MEM(buf, m, n);
	}
	SYS(shutdown(s[0], SHUT_WR));
	pthread_join(t, NULL);
}

TEST(tcp_mapped)
{
	/* An AF_INET6 listener serves both versions. */
	int l = SYS(socket(AF_INET6, SOCK_STREAM, 0)), c = SYS(socket(AF_INET, SOCK_STREAM, 0));
	struct addr zero = any(AF_INET6, 0);
	SYS(bind(l, ADDR(zero)));
	SYS(listen(l, 5));
	struct addr a = local(l), four = loop(AF_INET, port_of(&a)), from = {.len = sizeof(from.ss)};
	SYS(connect(c, ADDR(four)));
	struct addr me = local(c);
	int s = SYS(accept(l, SA(from), &from.len));
	CHECK_SAME(from, address(AF_INET6, "127.0.0.1", port_of(&me)));
	CHECK_SAME(local(s), address(AF_INET6, "127.0.0.1", port_of(&a)));
	int d = SYS(socket(AF_INET6, SOCK_STREAM, 0));
	struct addr mapped = address(AF_INET6, "127.0.0.1", port_of(&a));
	SYS(connect(d, ADDR(mapped)));
	CHECK_SAME(peer(d), mapped);
	int only = SYS(socket(AF_INET6, SOCK_STREAM, 0));
	set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	CHECK_ERRNO(connect(only, ADDR(mapped)), ENETUNREACH);
	CHECK_ERRNO(connect(only, ADDR(four)), EINVAL); /* shorter than the family's */
}

TEST(tcp_dual_stack_conflict)
{
	int six = SYS(socket(AF_INET6, SOCK_STREAM, 0)), four = SYS(socket(AF_INET, SOCK_STREAM, 0));
	struct addr zero = any(AF_INET6, 0);
	SYS(bind(six, ADDR(zero)));
	SYS(listen(six, 1));
	struct addr a = local(six), zero4 = any(AF_INET, port_of(&a));
	CHECK_ERRNO(bind(four, ADDR(zero4)), EADDRINUSE);
	int only = SYS(socket(AF_INET6, SOCK_STREAM, 0));
	set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	zero4 = any(AF_INET, 0);
	SYS(bind(four, ADDR(zero4)));
	SYS(listen(four, 1));
	a = local(four);
	zero = any(AF_INET6, port_of(&a));
	SYS(bind(only, ADDR(zero))); /* the other version's */
	SYS(listen(only, 1));
}
