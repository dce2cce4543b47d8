//go:build ignore

/* udp(7) on loopback: addresses, sizes, flags, errors, readiness. */
#include "inet.h"

static char buf[1 << 17];

BOTH(udp_sendto_recvfrom)
{
	int a = udp(af), b = udp(af);
	struct addr to = local(a), me = local(b), from = {.len = sizeof(from.ss)};
	CHECK(port_of(&to) != 0 && port_of(&to) != port_of(&me));
	CHECK_EQ(sendto(b, "hello", 5, 0, ADDR(to)), 5);
	CHECK_EQ(recvfrom(a, buf, sizeof(buf), 0, SA(from), &from.len), 5);
	CHECK_MEM(buf, "hello", 5);
	CHECK_SAME(from, me);
	/* A short address is cut off; the length is the real one. */
	char shorter[6];
	socklen_t n = sizeof(shorter);
	CHECK_EQ(sendto(b, "x", 1, 0, ADDR(to)), 1);
	CHECK_EQ(recvfrom(a, buf, 1, 0, (void *)shorter, &n), 1);
	CHECK_EQ(n, me.len);
	CHECK_MEM(shorter, &me.ss, sizeof(shorter));
}

BOTH(udp_autobind)
{
	int a = udp(af), b = SYS(socket(af, SOCK_DGRAM, 0));
	struct addr zero = any(af, 0), to = local(a);
	CHECK_SAME(local(b), zero);
	CHECK_EQ(sendto(b, "x", 1, 0, ADDR(to)), 1);
	struct addr me = local(b);
	CHECK(port_of(&me) != 0);
	CHECK_STR(text_of(&me), text_of(&zero)); /* the address stays open */
	struct addr from = {.len = sizeof(from.ss)};
	CHECK_EQ(recvfrom(a, buf, 1, 0, SA(from), &from.len), 1);
	CHECK_EQ(port_of(&from), port_of(&me));
}

BOTH(udp_connect)
{
	int a = udp(af), b = udp(af), c = udp(af);
	struct addr to = local(a), other = local(c);
	CHECK_ERRNO(getpeername(b, SA(to), &(socklen_t){100}), ENOTCONN);
	CHECK_ERRNO(send(b, "x", 1, 0), EDESTADDRREQ);
	CHECK_ERRNO(write(b, "x", 1), EDESTADDRREQ);
	SYS(connect(b, ADDR(to)));
	CHECK_SAME(peer(b), to);
	CHECK_EQ(send(b, "one", 3, 0), 3);
	CHECK_EQ(write(b, "two", 3), 3);
	CHECK_EQ(sendto(b, "three", 5, 0, ADDR(other)), 5); /* elsewhere is allowed */
	CHECK_EQ(read(a, buf, 10), 3);
	CHECK_EQ(read(a, buf, 10), 3);
	CHECK_ERRNO(recv(a, buf, 10, MSG_DONTWAIT), EAGAIN);
	CHECK_EQ(read(c, buf, 10), 5);
	/* Only the peer's datagrams come. */
	struct addr me = local(b);
	CHECK_EQ(sendto(c, "no", 2, 0, ADDR(me)), 2);
	CHECK_EQ(sendto(a, "yes", 3, 0, ADDR(me)), 3);
	CHECK_EQ(recv(b, buf, 10, 0), 3);
	CHECK_ERRNO(recv(b, buf, 10, MSG_DONTWAIT), EAGAIN);
	/* Another peer. */
	SYS(connect(b, ADDR(other)));
	CHECK_SAME(peer(b), other);
	CHECK_SAME(local(b), me);
}

BOTH(udp_disconnect)
{
	int a = udp(af), b = SYS(socket(af, SOCK_DGRAM, 0));
	struct addr to = local(a), none = {.ss.ss_family = AF_UNSPEC, .len = sizeof(struct sockaddr)}, zero = any(af, 0);
	SYS(connect(b, ADDR(to)));
	struct addr me = local(b), lo = loop(af, 0);
	CHECK_STR(text_of(&me), text_of(&lo));
	SYS(connect(b, ADDR(none)));
	CHECK_ERRNO(getpeername(b, SA(to), &(socklen_t){100}), ENOTCONN);
	CHECK_SAME(local(b), zero); /* connect(2) had chosen both */
	CHECK_ERRNO(send(b, "x", 1, 0), EDESTADDRREQ);
	CHECK_ERRNO(connect(b, SA(none), 1), EINVAL);
}

BOTH(udp_connect_errors)
{
	int s = SYS(socket(af, SOCK_DGRAM, 0));
	struct addr a = loop(af, 9);
	CHECK_ERRNO(connect(s, SA(a), 1), EINVAL);
	CHECK_ERRNO(connect(s, SA(a), af == AF_INET ? 15 : 23), EINVAL);
	CHECK_ERRNO(connect(s, SA(a), -1), EINVAL);
	CHECK_ERRNO(connect(s, SA(a), 200), EINVAL);
	CHECK_ERRNO(connect(s, bad_ptr(), a.len), EFAULT);
	a.ss.ss_family = AF_UNIX;
	CHECK_ERRNO(connect(s, ADDR(a)), EAFNOSUPPORT);
	struct addr out = address(af, af == AF_INET ? "192.0.2.1" : "2001:db8::1", 9);
	CHECK_ERRNO(connect(s, ADDR(out)), ENETUNREACH);
	CHECK_ERRNO(sendto(s, "x", 1, 0, ADDR(out)), ENETUNREACH);
}

BOTH(udp_sendto_errors)
{
	int s = SYS(socket(af, SOCK_DGRAM, 0)), r = udp(af);
	struct addr a = local(r), zero = loop(af, 0);
	CHECK_ERRNO(sendto(s, "x", 1, 0, ADDR(zero)), EINVAL);
	CHECK_ERRNO(sendto(s, "x", 1, 0, SA(a), 8), EINVAL);
	if (af == AF_INET)
		CHECK_ERRNO(sendto(s, "x", 1, MSG_OOB, ADDR(a)), EOPNOTSUPP);
	else
		CHECK_EQ(sendto(s, "x", 1, MSG_OOB, ADDR(a)), 1);
	CHECK_ERRNO(sendto(s, bad_ptr(), 1, 0, ADDR(a)), EFAULT);
	CHECK_ERRNO(sendto(s, "x", 1, 0, bad_ptr(), a.len), EFAULT);
	a.ss.ss_family = AF_UNIX;
	CHECK_ERRNO(sendto(s, "x", 1, 0, ADDR(a)), af == AF_INET ? EAFNOSUPPORT : EINVAL);
	a.ss.ss_family = AF_UNSPEC;
	if (af == AF_INET)
		CHECK_EQ(sendto(s, "x", 1, 0, ADDR(a)), 1); /* taken for AF_INET */
	else
		CHECK_ERRNO(sendto(s, "x", 1, 0, ADDR(a)), EDESTADDRREQ); /* no address */
}

BOTH(udp_bind_errors)
{
	int s = SYS(socket(af, SOCK_DGRAM, 0)), other = udp(af);
	struct addr a = loop(af, 0), taken = local(other), foreign = address(af, af == AF_INET ? "192.0.2.1" : "2001:db8::1", 0);
	CHECK_ERRNO(bind(s, SA(a), a.len - 5), EINVAL);
	CHECK_ERRNO(bind(s, bad_ptr(), a.len), EFAULT);
	CHECK_ERRNO(bind(s, ADDR(foreign)), EADDRNOTAVAIL);
	CHECK_ERRNO(bind(s, ADDR(taken)), EADDRINUSE);
	struct addr wide = any(af, port_of(&taken));
	CHECK_ERRNO(bind(s, ADDR(wide)), EADDRINUSE);
	a.ss.ss_family = AF_UNIX;
	CHECK_ERRNO(bind(s, ADDR(a)), EAFNOSUPPORT);
	a = loop(af, 0);
	SYS(bind(s, ADDR(a)));
	CHECK_ERRNO(bind(s, ADDR(a)), EINVAL); /* it is bound */
	if (af == AF_INET) {
		/* The families' old form for any address. */
		struct addr old = any(af, 0);
		old.ss.ss_family = AF_UNSPEC;
		int t = SYS(socket(af, SOCK_DGRAM, 0));
		SYS(bind(t, ADDR(old)));
		struct addr not_any = loop(af, 0);
		not_any.ss.ss_family = AF_UNSPEC;
		int u = SYS(socket(af, SOCK_DGRAM, 0));
		CHECK_ERRNO(bind(u, ADDR(not_any)), EAFNOSUPPORT);
	}
}

BOTH(udp_privileged_port)
{
	struct addr a = loop(af, 123);
	int s = SYS(socket(af, SOCK_DGRAM, 0));
	SYS(bind(s, ADDR(a)));
	CHILD(c)
	{
		become(1000);
		struct addr b = loop(af, 124), d = loop(af, 1024);
		int t = SYS(socket(af, SOCK_DGRAM, 0));
		CHECK_ERRNO(bind(t, ADDR(b)), EACCES);
		SYS(bind(t, ADDR(d)));
	}
	CHECK_EXIT(c, 0);
}

BOTH(udp_reuseaddr)
{
	int s = udp(af), t = SYS(socket(af, SOCK_DGRAM, 0));
	struct addr a = local(s);
	set_int(t, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK_ERRNO(bind(t, ADDR(a)), EADDRINUSE); /* both have to want it */
	set_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
	SYS(bind(t, ADDR(a)));
	/* The last one bound gets what comes. */
	int c = udp(af);
	CHECK_EQ(sendto(c, "x", 1, 0, ADDR(a)), 1);
	await(t, POLLIN);
	CHECK_EQ(ready(s, POLLIN), 0);
}

BOTH(udp_reuseport)
{
	int s[4];
	struct addr a = loop(af, 0);
	for (int i = 0; i < 4; i++) {
		s[i] = SYS(socket(af, SOCK_DGRAM, 0));
		set_int(s[i], SOL_SOCKET, SO_REUSEPORT, 1);
		CHECK_EQ(get_int(s[i], SOL_SOCKET, SO_REUSEPORT), 1);
		SYS(bind(s[i], ADDR(a)));
		if (i == 0)
			a = local(s[0]);
	}
	int without = SYS(socket(af, SOCK_DGRAM, 0));
	CHECK_ERRNO(bind(without, ADDR(a)), EADDRINUSE);
	/* Everything that is sent is received by exactly one, and one sender's all by one. */
	int total = 0, used = 0;
	for (int i = 0; i < 64; i++) {
		int c = SYS(socket(af, SOCK_DGRAM, 0));
		CHECK_EQ(sendto(c, "x", 1, 0, ADDR(a)), 1);
		CHECK_EQ(sendto(c, "x", 1, 0, ADDR(a)), 1);
		close(c);
	}
	for (int i = 0; i < 4; i++) {
		int n = 0;
		while (recv(s[i], buf, 1, MSG_DONTWAIT) == 1)
			n++;
		CHECK_EQ(n % 2, 0);
		total += n;
		used += n > 0;
	}
	CHECK_EQ(total, 128);
	CHECK(used > 1);
	CHILD(c)
	{
		become(1000);
		int t = SYS(socket(af, SOCK_DGRAM, 0));
		set_int(t, SOL_SOCKET, SO_REUSEPORT, 1);
		CHECK_ERRNO(bind(t, ADDR(a)), EADDRINUSE); /* another user's */
	}
	CHECK_EXIT(c, 0);
}

BOTH(udp_truncation)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(send(s[0], "0123456789", 10, 0), 10);
	CHECK_EQ(send(s[0], "0123456789", 10, 0), 10);
	CHECK_EQ(send(s[0], "0123456789", 10, 0), 10);
	CHECK_EQ(recv(s[1], buf, 4, 0), 4); /* the rest is lost */
	CHECK_EQ(recv(s[1], buf, 4, MSG_TRUNC), 10);
	struct message m;
	message_init(&m);
	m.iov.iov_len = 3;
	CHECK_EQ(recvmsg(s[1], &m.h, 0), 3);
	CHECK_EQ(m.h.msg_flags, MSG_TRUNC);
	CHECK_ERRNO(recv(s[1], buf, 4, MSG_DONTWAIT), EAGAIN);
}

BOTH(udp_peek)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(send(s[0], "abc", 3, 0), 3);
	CHECK_EQ(send(s[0], "defgh", 5, 0), 5);
	CHECK_EQ(recv(s[1], buf, 10, MSG_PEEK), 3);
	CHECK_EQ(recv(s[1], buf, 2, MSG_PEEK | MSG_TRUNC), 3);
	CHECK_EQ(recv(s[1], buf, 10, 0), 3);
	CHECK_MEM(buf, "abc", 3);
	CHECK_EQ(recv(s[1], buf, 10, 0), 5);
	CHECK_MEM(buf, "defgh", 5);
}

BOTH(udp_peek_offset)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(get_int(s[1], SOL_SOCKET, SO_PEEK_OFF), -1);
	set_int(s[1], SOL_SOCKET, SO_PEEK_OFF, 1);
	CHECK_EQ(send(s[0], "abcdef", 6, 0), 6);
	CHECK_EQ(recv(s[1], buf, 2, MSG_PEEK), 2);
	CHECK_MEM(buf, "bc", 2);
	CHECK_EQ(get_int(s[1], SOL_SOCKET, SO_PEEK_OFF), 3);
	CHECK_EQ(recv(s[1], buf, 10, 0), 6);
	CHECK_MEM(buf, "abcdef", 6);
	CHECK_EQ(get_int(s[1], SOL_SOCKET, SO_PEEK_OFF), 0);
}

BOTH(udp_zero_length)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(send(s[0], "", 0, 0), 0);
	CHECK_EQ(write(s[0], "", 0), 0);
	await(s[1], POLLIN);
	CHECK_EQ(recv(s[1], buf, 10, 0), 0);
	/* read(2) of nothing does not take a datagram. */
	CHECK_EQ(read(s[1], buf, 0), 0);
	CHECK_EQ(recv(s[1], buf, 10, MSG_DONTWAIT), 0);
	CHECK_ERRNO(recv(s[1], buf, 10, MSG_DONTWAIT), EAGAIN);
}

BOTH(udp_sizes)
{
	int s[2];
	udp_pair(af, s);
	set_int(s[1], SOL_SOCKET, SO_RCVBUF, 1 << 18);
	size_t largest = af == AF_INET ? 65507 : 65527;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = i * 7;
	size_t sizes[] = {1, 1472, 1473, 9000, 40000, 65000, largest};
	for (size_t i = 0; i < LEN(sizes); i++) {
		static char got[1 << 17];
		CHECK_EQ(send(s[0], buf, sizes[i], 0), sizes[i]);
		CHECK_EQ(recv(s[1], got, sizeof(got), 0), sizes[i]);
		CHECK_MEM(got, buf, sizes[i]);
	}
	CHECK_ERRNO(send(s[0], buf, largest + 1, 0), EMSGSIZE);
	CHECK_ERRNO(send(s[0], buf, sizeof(buf), 0), EMSGSIZE);
}

BOTH(udp_nonblocking)
{
	int s = udp(af);
	CHECK_ERRNO(recv(s, buf, 1, MSG_DONTWAIT), EAGAIN);
	SYS(fcntl(s, F_SETFL, O_NONBLOCK));
	CHECK_ERRNO(recv(s, buf, 1, 0), EAGAIN);
	CHECK_ERRNO(read(s, buf, 1), EAGAIN);
	int t = SYS(socket(af, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	CHECK_ERRNO(read(t, buf, 1), EAGAIN);
	struct mmsghdr mm = {};
	CHECK_ERRNO(recvmmsg(s, &mm, 1, 0, NULL), EAGAIN);
}

BOTH(udp_timeout)
{
	int s = udp(af);
	timeout(s, SO_RCVTIMEO, 50);
	struct timeval tv;
	socklen_t n = sizeof(tv);
	SYS(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &n));
	CHECK_EQ(n, sizeof(tv));
	CHECK(tv.tv_sec == 0 && tv.tv_usec >= 50000 && tv.tv_usec < 60000);
	long long start = now_ms();
	CHECK_ERRNO(recv(s, buf, 1, 0), EAGAIN);
	CHECK_ERRNO(read(s, buf, 1), EAGAIN);
	CHECK(now_ms() - start >= 95);
}

BOTH(udp_interrupted)
{
	int s = udp(af);
	struct addr a = local(s);
	on_signal(SIGUSR1, no_op, 0);
	CHILD(c)
	{
		CHECK_ERRNO(recv(s, buf, 1, 0), EINTR);
		on_signal(SIGUSR1, no_op, SA_RESTART);
		kill(getppid(), SIGUSR2);
		CHECK_EQ(recv(s, buf, 10, 0), 3);
		/* With a time-out it never starts anew. */
		timeout(s, SO_RCVTIMEO, 10000);
		kill(getppid(), SIGUSR2);
		CHECK_ERRNO(recv(s, buf, 1, 0), EINTR);
	}
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EQ(sigwaitinfo(&set, NULL), SIGUSR2);
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	until_blocked(c);
	int t = SYS(socket(af, SOCK_DGRAM, 0));
	CHECK_EQ(sendto(t, "abc", 3, 0, ADDR(a)), 3);
	CHECK_EQ(sigwaitinfo(&set, NULL), SIGUSR2);
	until_blocked(c);
	SYS(kill(c, SIGUSR1));
	CHECK_EXIT(c, 0);
}

BOTH(udp_refused)
{
	int a = udp(af), s = udp(af);
	struct addr gone = local(a);
	SYS(close(a));
	SYS(connect(s, ADDR(gone)));
	CHECK_EQ(send(s, "x", 1, 0), 1);
	CHECK_ERRNO(recv(s, buf, 1, 0), ECONNREFUSED);
	CHECK_ERRNO(recv(s, buf, 1, MSG_DONTWAIT), EAGAIN); /* told once */
	CHECK_EQ(send(s, "x", 1, 0), 1);
	CHECK(await(s, POLLIN) & POLLERR);
	CHECK_ERRNO(send(s, "x", 1, 0), ECONNREFUSED);
	CHECK_EQ(send(s, "x", 1, 0), 1);
	await(s, POLLIN);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ERROR), 0);
	/* Who is not connected hears nothing. */
	int u = udp(af);
	CHECK_EQ(sendto(u, "x", 1, 0, ADDR(gone)), 1);
	CHECK_ERRNO(recv(u, buf, 1, MSG_DONTWAIT), EAGAIN);
}

BOTH(udp_recverr)
{
	int a = udp(af), s = udp(af);
	struct addr gone = local(a);
	SYS(close(a));
	CHECK_EQ(get_int(s, level(af), af == AF_INET ? IP_RECVERR : IPV6_RECVERR), 0);
	set_int(s, level(af), af == AF_INET ? IP_RECVERR : IPV6_RECVERR, 1);
	struct message m;
	CHECK_ERRNO(receive(s, &m, MSG_ERRQUEUE), EAGAIN); /* never waits */
	CHECK_EQ(sendto(s, "payload", 7, 0, ADDR(gone)), 7);
	CHECK(await(s, 0) & POLLERR);
	CHECK_EQ(receive(s, &m, MSG_ERRQUEUE), 7);
	CHECK_MEM(m.data, "payload", 7);
	CHECK_EQ(m.h.msg_flags, MSG_ERRQUEUE);
	CHECK_SAME(m.from, gone);
	struct {
		struct sock_extended_err e;
		union {
			struct sockaddr_in in;
			struct sockaddr_in6 in6;
		};
	} *e;
	if (af == AF_INET) {
		e = control(&m.h, IPPROTO_IP, IP_RECVERR, sizeof(e->e) + sizeof(e->in));
		CHECK(e);
		CHECK_EQ(e->e.ee_origin, SO_EE_ORIGIN_ICMP);
		CHECK_EQ(e->e.ee_type, 3);
		CHECK_EQ(e->e.ee_code, 3);
		CHECK_EQ(e->in.sin_family, AF_INET);
		CHECK_EQ(e->in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	} else {
		e = control(&m.h, IPPROTO_IPV6, IPV6_RECVERR, sizeof(e->e) + sizeof(e->in6));
		CHECK(e);
		CHECK_EQ(e->e.ee_origin, SO_EE_ORIGIN_ICMP6);
		CHECK_EQ(e->e.ee_type, 1);
		CHECK_EQ(e->e.ee_code, 4);
		CHECK_EQ(e->in6.sin6_family, AF_INET6);
		CHECK(IN6_IS_ADDR_LOOPBACK(&e->in6.sin6_addr));
	}
	CHECK_EQ(e->e.ee_errno, ECONNREFUSED);
	CHECK_ERRNO(receive(s, &m, MSG_ERRQUEUE), EAGAIN);
	CHECK_EQ(ready(s, POLLIN), 0);
}

BOTH(udp_shutdown)
{
	int s[2];
	udp_pair(af, s);
	int lone = udp(af);
	CHECK_ERRNO(shutdown(lone, SHUT_RD), ENOTCONN);
	CHECK_ERRNO(shutdown(s[0], 3), EINVAL);
	CHECK_ERRNO(shutdown(s[0], -1), EINVAL);
	SYS(shutdown(s[0], SHUT_WR));
	CHECK_ERRNO(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	CHECK_ERRNO(send(s[0], "x", 1, 0), EPIPE); /* no signal: it is no stream */
	CHECK_EQ(send(s[1], "x", 1, 0), 1);
	CHECK_EQ(recv(s[0], buf, 1, 0), 1);
	SYS(shutdown(s[1], SHUT_RD));
	CHECK_EQ(recv(s[1], buf, 1, 0), 0);
	CHECK_ERRNO(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
	CHECK_EQ(ready(s[1], POLLIN | POLLRDHUP | POLLOUT), POLLIN | POLLRDHUP | POLLOUT);
}

BOTH(udp_shutdown_wakes)
{
	int s[2];
	udp_pair(af, s);
	CHILD(c) CHECK_EQ(recv(s[0], buf, 1, 0), 0);
	until_blocked(c);
	SYS(shutdown(s[0], SHUT_RDWR));
	CHECK_EXIT(c, 0);
	CHECK(ready(s[0], 0) & POLLHUP);
}

BOTH(udp_vectors)
{
	int s[2];
	udp_pair(af, s);
	struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
	CHECK_EQ(writev(s[0], out, 3), 5);
	char x[2], y[10];
	struct iovec in[2] = {{x, 2}, {y, 10}};
	CHECK_EQ(readv(s[1], in, 2), 5);
	CHECK_MEM(x, "ab", 2);
	CHECK_MEM(y, "cde", 3);
	CHECK_ERRNO(pwrite(s[0], "x", 1, 0), ESPIPE);
	CHECK_ERRNO(pread(s[0], x, 1, 0), ESPIPE);
	CHECK_ERRNO(lseek(s[0], 0, SEEK_SET), ESPIPE);
	CHECK_ERRNO(fsync(s[0]), EINVAL);
	struct msghdr h = {.msg_iov = out, .msg_iovlen = 1025};
	CHECK_ERRNO(sendmsg(s[0], &h, 0), EMSGSIZE);
	CHECK_ERRNO(recvmsg(s[0], &h, 0), EMSGSIZE);
}

BOTH(udp_mmsg)
{
	int s[2];
	udp_pair(af, s);
	struct iovec out[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}}, in[5];
	struct mmsghdr m[5] = {};
	char data[5][8];
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr = (struct msghdr){.msg_iov = &out[i], .msg_iovlen = 1};
	CHECK_EQ(sendmmsg(s[0], m, 3, 0), 3);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(m[i].msg_len, i + 1);
	for (int i = 0; i < 5; i++) {
		in[i] = (struct iovec){data[i], 8};
		m[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &in[i], .msg_iovlen = 1}};
	}
	CHECK_EQ(recvmmsg(s[1], m, 5, MSG_WAITFORONE, NULL), 3);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(m[i].msg_len, i + 1);
	CHECK_MEM(data[2], "ccc", 3);
	/* The time-out is looked at behind a message. */
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	struct timespec ts = {0, 1};
	CHECK_EQ(recvmmsg(s[1], m, 5, 0, &ts), 1);
	CHECK_ERRNO(recvmmsg(s[1], m, 5, MSG_DONTWAIT, NULL), EAGAIN);
	CHECK_ERRNO(sendmmsg(s[0], bad_ptr(), 1, 0), EFAULT);
	CHECK_EQ(sendmmsg(s[0], m, 0, 0), 0);
}

BOTH(udp_poll)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(ready(s[0], POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLPRI), POLLOUT | POLLWRNORM);
	CHECK_EQ(send(s[1], "x", 1, 0), 1);
	CHECK_EQ(await(s[0], POLLIN | POLLOUT | POLLRDNORM), POLLIN | POLLOUT | POLLRDNORM);
	CHECK_EQ(recv(s[0], buf, 1, 0), 1);
	CHECK_EQ(ready(s[0], POLLIN), 0);
}

BOTH(udp_epoll_edge)
{
	int s[2], ep = SYS(epoll_create1(0));
	udp_pair(af, s);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = s[0]}, got;
	SYS(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev));
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
	CHECK_EQ(send(s[1], "x", 1, 0), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
	CHECK_EQ(got.events, EPOLLIN);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0); /* no news, though there is data */
	CHECK_EQ(send(s[1], "y", 1, 0), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1); /* each datagram is an edge */
	CHECK_EQ(recv(s[0], buf, 1, 0), 1);
	CHECK_EQ(recv(s[0], buf, 1, 0), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
}

BOTH(udp_queue_ioctls)
{
	int s[2], n;
	udp_pair(af, s);
	SYS(ioctl(s[1], FIONREAD, &n));
	CHECK_EQ(n, 0);
	CHECK_EQ(send(s[0], "abc", 3, 0), 3);
	CHECK_EQ(send(s[0], "defgh", 5, 0), 5);
	SYS(ioctl(s[1], FIONREAD, &n)); /* of the next datagram */
	CHECK_EQ(n, 3);
	SYS(ioctl(s[0], TIOCOUTQ, &n));
	CHECK_EQ(recv(s[1], buf, 10, 0), 3);
	SYS(ioctl(s[1], FIONREAD, &n));
	CHECK_EQ(n, 5);
	CHECK_ERRNO(ioctl(s[1], FIONREAD, bad_ptr()), EFAULT);
	CHECK_ERRNO(ioctl(s[1], SIOCATMARK, &n), ENOTTY);
	CHECK_ERRNO(ioctl(s[1], 0x12345678, &n), ENOTTY);
	int on = 1;
	SYS(ioctl(s[1], FIONBIO, &on));
	CHECK_EQ(fcntl(s[1], F_GETFL), O_RDWR | O_NONBLOCK);
}

BOTH(udp_cork)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(send(s[0], "ab", 2, MSG_MORE), 2);
	CHECK_EQ(send(s[0], "cd", 2, MSG_MORE), 2);
	CHECK_ERRNO(recv(s[1], buf, 10, MSG_DONTWAIT), EAGAIN);
	CHECK_EQ(send(s[0], "e", 1, 0), 1);
	CHECK_EQ(recv(s[1], buf, 10, 0), 5);
	CHECK_MEM(buf, "abcde", 5);
	set_int(s[0], IPPROTO_UDP, UDP_CORK, 1);
	CHECK_EQ(get_int(s[0], IPPROTO_UDP, UDP_CORK), 1);
	CHECK_EQ(write(s[0], "xy", 2), 2);
	CHECK_EQ(write(s[0], "z", 1), 1);
	CHECK_ERRNO(recv(s[1], buf, 10, MSG_DONTWAIT), EAGAIN);
	set_int(s[0], IPPROTO_UDP, UDP_CORK, 0);
	CHECK_EQ(recv(s[1], buf, 10, 0), 3);
	CHECK_MEM(buf, "xyz", 3);
}

BOTH(udp_segment)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(get_int(s[0], IPPROTO_UDP, UDP_SEGMENT), 0);
	set_int(s[0], IPPROTO_UDP, UDP_SEGMENT, 100);
	CHECK_EQ(get_int(s[0], IPPROTO_UDP, UDP_SEGMENT), 100);
	for (int i = 0; i < 250; i++)
		buf[i] = i;
	CHECK_EQ(send(s[0], buf, 250, 0), 250);
	for (int at = 0; at < 250; at += 100) {
		char got[300];
		ssize_t n = at < 200 ? 100 : 50;
		CHECK_EQ(recv(s[1], got, sizeof(got), 0), n);
		CHECK_MEM(got, buf + at, n);
	}
	set_int(s[0], IPPROTO_UDP, UDP_SEGMENT, 0);
	uint16_t size = 10;
	struct addr to = local(s[1]);
	CHECK_EQ(send_control(s[0], &to, "0123456789abcde", IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 15);
	CHECK_EQ(recv(s[1], buf, 100, 0), 10);
	CHECK_EQ(recv(s[1], buf, 100, 0), 5);
	int wrong = 10;
	CHECK_ERRNO(send_control(s[0], &to, "x", IPPROTO_UDP, UDP_SEGMENT, &wrong, sizeof(wrong)), EINVAL);
	CHECK_ERRNO(try_int(s[0], IPPROTO_UDP, UDP_SEGMENT, -1), EINVAL);
	CHECK_ERRNO(try_int(s[0], IPPROTO_UDP, UDP_SEGMENT, 65536), EINVAL);
}

BOTH(udp_gro)
{
	int s[2];
	udp_pair(af, s);
	set_int(s[1], IPPROTO_UDP, UDP_GRO, 1);
	CHECK_EQ(get_int(s[1], IPPROTO_UDP, UDP_GRO), 1);
	set_int(s[0], IPPROTO_UDP, UDP_SEGMENT, 100);
	CHECK_EQ(send(s[0], buf, 250, 0), 250);
	struct message m;
	ssize_t n = receive(s[1], &m, 0);
	int *size = control(&m.h, IPPROTO_UDP, UDP_GRO, sizeof(int));
	CHECK_EQ(n, 250);
	CHECK(size);
	CHECK_EQ(*size, 100);
}

BOTH(udp_overflow)
{
	int s[2];
	udp_pair(af, s);
	set_int(s[1], SOL_SOCKET, SO_RCVBUF, 0);
	set_int(s[1], SOL_SOCKET, SO_RXQ_OVFL, 1);
	int sent = 0, got = 0;
	for (; sent < 100; sent++)
		CHECK_EQ(send(s[0], buf, 1000, 0), 1000);
	while (recv(s[1], buf, sizeof(buf), MSG_DONTWAIT) == 1000)
		got++;
	CHECK(got > 0 && got < 20);
	/* The next one tells how many were lost. */
	CHECK_EQ(send(s[0], "x", 1, 0), 1);
	struct message m;
	CHECK_EQ(receive(s[1], &m, 0), 1);
	uint32_t *lost = control(&m.h, SOL_SOCKET, SO_RXQ_OVFL, sizeof(uint32_t));
	CHECK(lost);
	CHECK_EQ(*lost, sent - got);
}

BOTH(udp_filter)
{
	int s[2];
	udp_pair(af, s);
	/* Datagrams whose first byte is 'y'; the filter sees the UDP header. */
	struct sock_filter yes[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 12), BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = {LEN(yes), yes};
	CHECK_ERRNO(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog) - 1), EINVAL);
	SYS(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
	CHECK_EQ(send(s[0], "no", 2, 0), 2);
	CHECK_EQ(send(s[0], "yes, please", 11, 0), 11);
	CHECK_EQ(recv(s[1], buf, 100, MSG_TRUNC), 4); /* cut to 12 bytes with the header */
	CHECK_MEM(buf, "yes,", 4);
	CHECK_ERRNO(recv(s[1], buf, 100, MSG_DONTWAIT), EAGAIN);
	struct sock_filter back[8];
	socklen_t n = LEN(back);
	SYS(getsockopt(s[1], SOL_SOCKET, SO_GET_FILTER, back, &n));
	CHECK_EQ(n, 4);
	CHECK_MEM(back, yes, sizeof(yes));
	n = 0;
	SYS(getsockopt(s[1], SOL_SOCKET, SO_GET_FILTER, back, &n));
	CHECK_EQ(n, 4);
	n = 2;
	CHECK_ERRNO(getsockopt(s[1], SOL_SOCKET, SO_GET_FILTER, back, &n), EINVAL);
	int dummy = 0;
	SYS(setsockopt(s[1], SOL_SOCKET, SO_DETACH_FILTER, &dummy, sizeof(dummy)));
	CHECK_ERRNO(setsockopt(s[1], SOL_SOCKET, SO_DETACH_FILTER, &dummy, sizeof(dummy)), ENOENT);
	CHECK_EQ(send(s[0], "no", 2, 0), 2);
	CHECK_EQ(recv(s[1], buf, 100, 0), 2);
	/* A bad program, and the lock. */
	struct sock_filter bad[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8)};
	struct sock_fprog badprog = {1, bad}, empty = {0, bad};
	CHECK_ERRNO(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &badprog, sizeof(badprog)), EINVAL);
	CHECK_ERRNO(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &empty, sizeof(empty)), EINVAL);
	SYS(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
	set_int(s[1], SOL_SOCKET, SO_LOCK_FILTER, 1);
	CHECK_EQ(get_int(s[1], SOL_SOCKET, SO_LOCK_FILTER), 1);
	CHECK_ERRNO(setsockopt(s[1], SOL_SOCKET, SO_DETACH_FILTER, &dummy, sizeof(dummy)), EPERM);
	CHECK_ERRNO(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)), EPERM);
	CHECK_ERRNO(try_int(s[1], SOL_SOCKET, SO_LOCK_FILTER, 0), EPERM);
}

BOTH(udp_not_listening)
{
	int s = udp(af);
	CHECK_ERRNO(listen(s, 1), EOPNOTSUPP);
	CHECK_ERRNO(accept(s, NULL, NULL), EOPNOTSUPP);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_ACCEPTCONN), 0);
}

BOTH(udp_any_is_loopback)
{
	/* A destination of no address is this host. */
	int a = SYS(socket(af, SOCK_DGRAM, 0)), b = udp(af);
	struct addr zero = any(af, 0), lo = loop(af, 0);
	SYS(bind(a, ADDR(zero)));
	struct addr to = local(a);
	CHECK_EQ(sendto(b, "x", 1, 0, ADDR(to)), 1);
	CHECK_EQ(recv(a, buf, 1, 0), 1);
	SYS(connect(b, ADDR(to)));
	struct addr p = peer(b);
	CHECK_STR(text_of(&p), text_of(&lo));
}

BOTH(udp_fault)
{
	int s[2];
	udp_pair(af, s);
	CHECK_EQ(send(s[0], "abc", 3, 0), 3);
	CHECK_ERRNO(recv(s[1], bad_ptr(), 3, 0), EFAULT);
	CHECK_ERRNO(send(s[0], bad_ptr(), 3, 0), EFAULT);
	char *edge = map_pages(2 * PAGE);
	SYS(munmap(edge + PAGE, PAGE));
	CHECK_ERRNO(send(s[0], edge + PAGE - 2, 4, 0), EFAULT);
	CHECK_ERRNO(recv(s[1], buf, 10, MSG_DONTWAIT), EAGAIN);
	CHECK_ERRNO(recvmsg(s[1], bad_ptr(), 0), EFAULT);
	CHECK_ERRNO(sendmsg(s[1], bad_ptr(), 0), EFAULT);
	CHECK_ERRNO(getsockname(s[0], bad_ptr(), &(socklen_t){16}), EFAULT);
	CHECK_ERRNO(getsockname(s[0], (void *)buf, bad_ptr()), EFAULT);
	CHECK_ERRNO(getsockname(s[0], (void *)buf, &(socklen_t){-1}), EINVAL);
}

TEST(udp_mapped)
{
	/* An AF_INET6 socket for both. */
	int six = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), four = udp(AF_INET);
	struct addr zero = any(AF_INET6, 0);
	SYS(bind(six, ADDR(zero)));
	struct addr to = local(six), four_to = loop(AF_INET, port_of(&to)), me = local(four);
	CHECK_EQ(sendto(four, "x", 1, 0, ADDR(four_to)), 1);
	struct addr from = {.len = sizeof(from.ss)};
	CHECK_EQ(recvfrom(six, buf, 1, 0, SA(from), &from.len), 1);
	CHECK_SAME(from, address(AF_INET6, "127.0.0.1", port_of(&me)));
	CHECK_EQ(sendto(six, "yy", 2, 0, ADDR(from)), 2);
	struct addr from4 = {.len = sizeof(from4.ss)};
	CHECK_EQ(recvfrom(four, buf, 9, 0, SA(from4), &from4.len), 2);
	CHECK_SAME(from4, four_to);
	SYS(connect(six, ADDR(from)));
	CHECK_SAME(peer(six), from);
	struct addr l = local(six);
	CHECK_STR(text_of(&l), "::ffff:127.0.0.1");
	/* IPv4's own form is taken too. */
	CHECK_EQ(sendto(six, "zzz", 3, 0, ADDR(me)), 3);
	CHECK_EQ(recv(four, buf, 9, 0), 3);
}

TEST(udp_mapped_bind)
{
	int six = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), four = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	struct addr a = address(AF_INET6, "127.0.0.1", 0);
	SYS(bind(six, ADDR(a)));
	struct addr to = local(six), same = loop(AF_INET, port_of(&to));
	CHECK_STR(text_of(&to), "::ffff:127.0.0.1");
	CHECK_ERRNO(bind(four, ADDR(same)), EADDRINUSE);
	struct addr one = loop(AF_INET6, 9);
	CHECK_ERRNO(connect(six, ADDR(one)), EAFNOSUPPORT);
}

TEST(udp_v6only)
{
	int six = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), four = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	CHECK_EQ(get_int(six, IPPROTO_IPV6, IPV6_V6ONLY), 0);
	set_int(six, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	struct addr zero = any(AF_INET6, 0);
	SYS(bind(six, ADDR(zero)));
	CHECK_ERRNO(try_int(six, IPPROTO_IPV6, IPV6_V6ONLY, 0), EINVAL); /* too late */
	struct addr l = local(six), zero4 = any(AF_INET, port_of(&l)), mapped = address(AF_INET6, "127.0.0.1", 9), four_form = loop(AF_INET, 9);
	SYS(bind(four, ADDR(zero4))); /* the same port of the other version */
	CHECK_ERRNO(sendto(six, "x", 1, 0, ADDR(mapped)), ENETUNREACH);
	CHECK_ERRNO(sendto(six, "x", 1, 0, ADDR(four_form)), ENETUNREACH);
	CHECK_ERRNO(connect(six, ADDR(four_form)), EAFNOSUPPORT);
	int other = SYS(socket(AF_INET6, SOCK_DGRAM, 0));
	set_int(other, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	mapped = address(AF_INET6, "127.0.0.1", 0);
	CHECK_ERRNO(bind(other, ADDR(mapped)), EINVAL);
}

TEST(udp_dual_stack_conflict)
{
	int six = SYS(socket(AF_INET6, SOCK_DGRAM, 0)), four = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	struct addr zero = any(AF_INET6, 0);
	SYS(bind(six, ADDR(zero)));
	struct addr l = local(six), zero4 = any(AF_INET, port_of(&l)), lo4 = loop(AF_INET, port_of(&l));
	CHECK_ERRNO(bind(four, ADDR(zero4)), EADDRINUSE);
	CHECK_ERRNO(bind(four, ADDR(lo4)), EADDRINUSE);
}

TEST(udp_broadcast)
{
	int s = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	struct addr b = address(AF_INET, "127.255.255.255", 9);
	CHECK_EQ(get_int(s, SOL_SOCKET, SO_BROADCAST), 0);
	CHECK_ERRNO(sendto(s, "x", 1, 0, ADDR(b)), EACCES);
	CHECK_ERRNO(connect(s, ADDR(b)), EACCES);
	set_int(s, SOL_SOCKET, SO_BROADCAST, 1);
	int r = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	struct addr zero = any(AF_INET, 0);
	SYS(bind(r, ADDR(zero)));
	struct addr to = local(r);
	b = address(AF_INET, "127.255.255.255", port_of(&to));
	CHECK_EQ(sendto(s, "x", 1, 0, ADDR(b)), 1);
	CHECK_EQ(recv(r, buf, 9, 0), 1);
}

TEST(udp_any_127)
{
	/* All of 127.0.0.0/8 is this host. */
	int s = SYS(socket(AF_INET, SOCK_DGRAM, 0)), c = SYS(socket(AF_INET, SOCK_DGRAM, 0));
	struct addr a = address(AF_INET, "127.1.2.3", 0), b = address(AF_INET, "127.9.9.9", 0);
	SYS(bind(s, ADDR(a)));
	SYS(bind(c, ADDR(b)));
	a = local(s);
	CHECK_EQ(sendto(c, "x", 1, 0, ADDR(a)), 1);
	struct addr from = {.len = sizeof(from.ss)};
	CHECK_EQ(recvfrom(s, buf, 9, 0, SA(from), &from.len), 1);
	CHECK_STR(text_of(&from), "127.9.9.9");
}

BOTH(udp_splice)
{
	int s[2], p[2];
	udp_pair(af, s);
	SYS(pipe(p));
	CHECK_EQ(write(p[1], "spliced", 7), 7);
	CHECK_EQ(splice(p[0], NULL, s[0], NULL, 7, 0), 7);
	CHECK_EQ(recv(s[1], buf, 100, 0), 7);
	CHECK_MEM(buf, "spliced", 7);
	SYS(put_file("file", "content"));
	int f = SYS(open("file", O_RDONLY));
	off_t off = 2;
	CHECK_EQ(sendfile(s[0], f, &off, 5), 5);
	CHECK_EQ(off, 7);
	CHECK_EQ(recv(s[1], buf, 100, 0), 5);
	CHECK_MEM(buf, "ntent", 5);
}

BOTH(udp_two_readers)
{
	/* One datagram wakes one of those who wait. */
	int s = udp(af), p[2];
	struct addr a = local(s);
	SYS(pipe(p));
	pid_t pid[2];
	for (int i = 0; i < 2; i++) {
		pid[i] = SYS(fork());
		if (pid[i] == 0) {
			char b[8];
			CHECK_EQ(recv(s, b, 8, 0), 1);
			CHECK_EQ(write(p[1], b, 1), 1);
			_exit(0);
		}
	}
	until_blocked(pid[0]);
	until_blocked(pid[1]);
	int c = udp(af);
	CHECK_EQ(sendto(c, "1", 1, 0, ADDR(a)), 1);
	CHECK_EQ(read(p[0], buf, 1), 1);
	CHECK_EQ(sendto(c, "2", 1, 0, ADDR(a)), 1);
	CHECK_EQ(read(p[0], buf + 1, 1), 1);
	CHECK_EXIT(pid[0], 0);
	CHECK_EXIT(pid[1], 0);
	CHECK_MEM(buf, "12", 2);
}
