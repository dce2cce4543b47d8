//go:build ignore

/*
 * Random traffic through everything that carries bytes. The model: what comes out is what went
 * in, in order and once; the end comes exactly at the end; nobody sleeps for ever. A failure
 * says its seed; by hand, RANDOM_STREAM="SEED ROUNDS" runs others.
 */
#include "inet.h"
#include <mqueue.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <termios.h>

#ifndef ROUNDS
#define ROUNDS 6
#endif
enum { PERIOD = 65521, MOST = 200000, BUFFER = 51 * PAGE, STALL = 8000, CREW = 3, LIMIT = 20 };
enum kind { PIPE, FIFO, UNIX, SEQ, DGRAM, TCP4, TCP6, UDP4, UDP6, EVENT, PTY, MQ };
static const char *const kind_name[] = {"pipe", "fifo", "unix stream", "seqpacket", "unix dgram", "tcp4", "tcp6", "udp4", "udp6", "eventfd", "pty", "mqueue"};
enum how { POLL, PPOLL, SELECT, LEVEL, EDGE, ONESHOT, HOWS };

struct side {
	int fd, ep, aux[2], rights[2];
	int nonblock, shared, fixed, how, told, pause, signals; /* told: a wait has said that it is ready */
	size_t most;
	uint64_t rng;
	char *buf;
	const char *call;
	long asked, gave;
	int done;
};
/* One direction. It lies in shared memory. */
struct channel {
	enum kind kind;
	uint32_t seed;
	int semaphore, timed, crew, wake;
	size_t largest;     /* of a message */
	long total, quit;   /* bytes to send; where the reader leaves, or -1 */
	long sent, got, out, in; /* out and in: messages */
	struct side w, r;
	pthread_mutex_t lock;
};
static struct channel *chan; /* two of them */
static char *table;          /* PERIOD random bytes, over and over */
static char *buffers;         /* one for each side */
static int table_fd;
static __thread volatile long hits; /* signals that this thread has had */

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define ADD(x, n) __atomic_add_fetch(&(x), n, __ATOMIC_SEQ_CST)
#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_SEQ_CST)
#define CALL(s, n, what) ((s)->call = #what, (s)->asked = (n), (s)->gave = -2, (s)->gave = (what))
#define BAD(c, fmt, ...)                                                             \
	FAIL("%s seed %u: " fmt "; sent %ld, got %ld of %ld; writer%s %.60s n=%ld gave %ld how %d nb %d; reader%s %.60s n=%ld gave %ld how %d nb %d crew %d", \
	     kind_name[(c)->kind], chan->seed, ##__VA_ARGS__, (c)->sent, (c)->got, (c)->total, (c)->w.done ? " done" : "", (c)->w.call, (c)->w.asked, (c)->w.gave, \
	     (c)->w.how, (c)->w.nonblock, (c)->r.done ? " done" : "", (c)->r.call, (c)->r.asked, (c)->r.gave, (c)->r.how, (c)->r.nonblock, (c)->crew)

static uint64_t rnd(uint64_t *x, uint64_t n) { return (next_random(x) * 0x2545F4914F6CDD1DULL >> 20) % n; }
#define R(s, n) rnd(&(s)->rng, n)
static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = (a + 1) * 0x9E3779B97F4A7C15ULL ^ (b + 7) * 0xBF58476D1CE4E5B9ULL;
	x ^= x >> 29, x *= 0x94D049BB133111EBULL, x ^= x >> 32;
	return x | 1;
}

static int is_pipe(enum kind k) { return k == PIPE || k == FIFO; }
static int is_tcp(enum kind k) { return k == TCP4 || k == TCP6; }
static int is_udp(enum kind k) { return k == UDP4 || k == UDP6; }
static int has_messages(enum kind k) { return k == SEQ || k == DGRAM || k == MQ || is_udp(k); }
static int is_socket(enum kind k) { return k >= UNIX && k <= UDP6; }
static int has_end(enum kind k) { return is_pipe(k) || k == UNIX || k == SEQ || is_tcp(k); }
static const char *bytes_at(struct channel *c, long at) { return table + (at + c->seed) % PERIOD; }
static size_t message(struct channel *c, long i) { return 1 + mix(c->seed, i) % c->largest; }

static void hit(int sig) { (void)sig, hits++; }

/* Random lengths in the manner of this side. */
static size_t length(struct side *s)
{
	size_t n = s->most;
	switch (R(s, 8)) {
	case 0: n = n < 5 ? n : 5; break;
	case 1: n = n < 5000 ? n : 5000; break;
	case 2: return n < 4096 ? n : 4096 * (1 + R(s, n / 4096));
	}
	return 1 + R(s, n);
}

static int cut(struct side *s, struct iovec *v, char *b, size_t n)
{
	int k = 0;
	for (size_t at = 0, l; at < n; at += l, k++) {
		l = k == 4 ? n - at : R(s, n - at + 1);
		v[k] = (struct iovec){b + at, l};
		if (k == 4)
			return 5;
	}
	return k;
}

static void set_mode(struct side *s, int nonblock)
{
	s->nonblock = nonblock;
	if (R(s, 2))
		SYS(ioctl(s->fd, FIONBIO, &nonblock));
	else
		SYS(fcntl(s->fd, F_SETFL, (SYS(fcntl(s->fd, F_GETFL)) & ~O_NONBLOCK) | (nonblock ? O_NONBLOCK : 0)));
}

/* Sends the descriptor through a socket, so that for a moment it is nowhere else. */
static void pass(struct side *s)
{
	union { char b[64]; struct cmsghdr h; } u = {};
	char x = 0;
	struct iovec v = {&x, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = CMSG_SPACE(4)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
	*(int *)CMSG_DATA(h) = s->fd;
	CALL(s, 1, sendmsg(s->rights[0], &m, 0));
	CHECK_EQ(s->gave, 1);
	SYS(close(s->fd));
	if (s->ep != -1)
		SYS(close(s->ep));
	s->ep = -1;
	sched_yield();
	while (CALL(s, 1, recvmsg(s->rights[1], &m, 0)) == -1 && errno == EINTR)
		;
	CHECK_EQ(s->gave, 1);
	s->fd = *(int *)CMSG_DATA(CMSG_FIRSTHDR(&m));
}

static void wait_for(struct channel *c, struct side *s, int events)
{
	int ms = R(s, 12) ? -1 : 1 + R(s, 3), how = s->how, r, add = 0;
	if (how != EDGE && R(s, 16) == 0)
		how = R(s, ONESHOT);
	how = how == EDGE && s->how != EDGE ? POLL : how;
	s->told = 0;
	if (how == POLL || how == PPOLL) {
		struct pollfd p = {s->fd, events, 0};
		struct timespec ts = {0, ms * 1000000L};
		sigset_t none;
		sigemptyset(&none);
		r = how == POLL ? CALL(s, ms, poll(&p, 1, ms)) : CALL(s, ms, ppoll(&p, 1, ms < 0 ? NULL : &ts, &none));
	} else if (how == SELECT) {
		fd_set f;
		FD_ZERO(&f);
		FD_SET(s->fd, &f);
		struct timeval tv = {0, ms * 1000};
		r = CALL(s, ms, select(s->fd + 1, events & POLLIN ? &f : NULL, events & POLLOUT ? &f : NULL, NULL, ms < 0 ? NULL : &tv));
	} else {
		struct epoll_event e = {.events = events | (how == EDGE ? EPOLLET : how == ONESHOT ? EPOLLONESHOT : 0)};
		if (s->ep == -1) {
			s->ep = SYS(epoll_create1(0));
			add = 1;
		}
		if (add || how != EDGE)
			SYS(epoll_ctl(s->ep, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->fd, &e));
		r = CALL(s, ms, epoll_wait(s->ep, &e, 1, ms));
	}
	if (r == -1 && errno != EINTR)
		BAD(c, "wait: %s", strerror(errno));
	if (r == 0 && ms == -1)
		BAD(c, "a wait without limit ended");
	s->told = r == 1 && how != EDGE;
}

static void compare(struct channel *c, const char *b, long at, long n)
{
	const char *w = bytes_at(c, at);
	if (n > 0 && memcmp(b, w, n) != 0) {
		long i = 0;
		while (b[i] == w[i])
			i++;
		const char *f = n - i < 16 ? NULL : memmem(table, 2 * PERIOD, b + i, 16);
		BAD(c, "byte %ld of %ld at %ld is wrong, it belongs at %ld", i, n, at, f ? (long)(f - table + 2 * PERIOD - c->seed % PERIOD) % PERIOD : -1);
	}
}

/* Takes exactly n bytes from the pipe of our own; w says where they belong, or is -1. */
static void drain(struct channel *c, struct side *s, long at, long n)
{
	for (long k = 0, r; k < n; k += r) {
		while ((r = read(s->aux[0], s->buf + k, n - k)) == -1 && errno == EINTR)
			;
		if (r <= 0)
			BAD(c, "our pipe lacks bytes: %ld of %ld", k, n);
	}
	if (at >= 0)
		compare(c, s->buf, at, n);
}

static long get_message(struct channel *c, struct side *s)
{
	size_t want = message(c, c->in), n = R(s, 3) ? want + R(s, 100) : 1 + R(s, want);
	char *b = s->buf + R(s, 8);
	struct iovec v[5];
	struct msghdr m = {.msg_iov = v, .msg_iovlen = cut(s, v, b, n)};
	int end = c->got == c->total, op = R(s, 8), flags = s->nonblock || R(s, 4) ? 0 : MSG_DONTWAIT, more;
	long r, full = 0;
	if (c->kind == MQ) {
		r = CALL(s, n = 8192, mq_receive(s->fd, b, 8192, NULL));
	} else if (op == 0) {
		r = CALL(s, n, read(s->fd, b, n));
	} else if (op == 1) {
		r = CALL(s, n, readv(s->fd, v, m.msg_iovlen));
	} else if (op == 2 && is_udp(c->kind)) {
		SYS(ioctl(s->fd, FIONREAD, &more));
		if (more != 0 && more != (int)want)
			BAD(c, "FIONREAD says %d, want %zu", more, want);
		r = CALL(s, n, recv(s->fd, b, n, flags));
	} else {
		if (op == 3) {
			r = CALL(s, n, recv(s->fd, b, n, flags | MSG_PEEK));
			if (r <= 0)
				goto out;
			if (r != (long)(n < want ? n : want))
				BAD(c, "a peek of %zu gives %ld of %zu", n, r, want);
			compare(c, b, c->got, r);
			memset(b, 0, r);
		}
		full = op & 1 ? MSG_TRUNC : 0;
		r = CALL(s, n, recvmsg(s->fd, &m, flags | full));
		if (r > 0 && !!(m.msg_flags & MSG_TRUNC) != (n < want))
			BAD(c, "msg_flags %#x with %zu of %zu", m.msg_flags, n, want);
	}
out:
	if (r == -1 || end)
		return r;
	if (r != (long)(full || n > want ? want : n))
		BAD(c, "message %ld of %zu bytes: %ld of %zu", c->in, want, r, n);
	compare(c, b, c->got, n < want ? n : want);
	STORE(c->in, c->in + 1);
	return want;
}

/* One read of any kind; its bytes are right, or it fails. */
static long get(struct channel *c, struct side *s)
{
	size_t n = length(s);
	long at = c->got, r, had = hits;
	char *b = s->buf + R(s, 8);
	int sock = is_socket(c->kind), more = 0, k, op = R(s, 14), wait = s->nonblock ? SPLICE_F_NONBLOCK : 0;
	struct iovec v[5];
	if (has_messages(c->kind))
		return get_message(c, s);
	if (c->kind == EVENT) {
		uint64_t x = 0;
		r = CALL(s, 8, read(s->fd, &x, 8));
		if (r == 8 && (c->semaphore ? x != 1 : x << 18 != 0 || x == 0))
			BAD(c, "the counter was %#lx", x);
		return r != 8 ? r : (long)(c->semaphore ? x : x >> 46);
	}
	if (op == 0) {
		k = cut(s, v, b, n);
		r = CALL(s, n, readv(s->fd, v, k));
	} else if (op == 1 && c->kind != PTY) {
		SYS(ioctl(s->fd, FIONREAD, &more));
		r = CALL(s, n, read(s->fd, b, n));
		if (r != -1 && r < more && r < (long)n)
			BAD(c, "FIONREAD says %d, read gives %ld of %zu", more, r, n);
	} else if ((op == 2 || op == 3) && c->kind != PTY) {
		r = CALL(s, n, splice(s->fd, NULL, s->aux[1], NULL, n, wait));
		drain(c, s, at, r);
		b = s->buf;
	} else if (op == 4 && is_pipe(c->kind)) {
		r = CALL(s, n, tee(s->fd, s->aux[1], n, wait));
		if (r <= 0)
			return r;
		drain(c, s, at, r);
		more = r;
		r = CALL(s, n, read(s->fd, b, n));
		if (r < more)
			BAD(c, "tee gives %d, read then %ld", more, r);
	} else if (op == 5 && sock) {
		r = CALL(s, n, recv(s->fd, b, n, MSG_DONTWAIT));
	} else if (op == 6 && sock) {
		r = CALL(s, n, recv(s->fd, b, n, MSG_PEEK));
		if (r <= 0)
			return r;
		compare(c, b, at, n = r);
		memset(b, 0, n);
		r = CALL(s, n, recv(s->fd, b, n, 0));
		if (r != (long)n)
			BAD(c, "a peek of %zu, then %ld", n, r);
	} else if (op == 7 && sock) {
		r = CALL(s, n, recv(s->fd, b, n, MSG_WAITALL));
		if (r >= 0 && r != (long)n && !s->nonblock && !c->timed && hits == had && at + r != c->total)
			BAD(c, "MSG_WAITALL of %zu gives %ld", n, r);
	} else if (op == 8 && is_tcp(c->kind)) {
		return CALL(s, n, recv(s->fd, b, n, MSG_TRUNC));
	} else if (op < 11 && sock) {
		struct msghdr m = {.msg_iov = v, .msg_iovlen = cut(s, v, b, n)};
		r = CALL(s, n, recvmsg(s->fd, &m, 0));
	} else {
		r = CALL(s, n, read(s->fd, b, n));
	}
	compare(c, b, at, r);
	return r;
}

static long put_message(struct channel *c, struct side *s)
{
	size_t n = message(c, c->out);
	char *b = (char *)bytes_at(c, c->sent);
	struct iovec v[5];
	struct msghdr m = {.msg_iov = v, .msg_iovlen = cut(s, v, b, n)};
	long r, op = R(s, 4);
	if (is_udp(c->kind))
		while (c->out - LOAD(c->in) >= 3)
			CALL(s, 0, usleep(50));
	if (c->kind == MQ)
		r = CALL(s, n, mq_send(s->fd, b, n, 0)) == 0 ? (long)n : -1;
	else if (op == 0)
		r = CALL(s, n, write(s->fd, b, n));
	else if (op == 1)
		r = CALL(s, n, writev(s->fd, v, m.msg_iovlen));
	else if (op == 2)
		r = CALL(s, n, send(s->fd, b, n, R(s, 2) ? MSG_DONTWAIT : 0));
	else
		r = CALL(s, n, sendmsg(s->fd, &m, 0));
	if (r != -1 && r != (long)n)
		BAD(c, "a message of %zu bytes, %ld sent", n, r);
	c->out += r > 0;
	return r;
}

static long put(struct channel *c, struct side *s)
{
	size_t n = length(s), left = c->total - c->sent, t;
	n = n < left ? n : left;
	char *b = (char *)bytes_at(c, c->sent);
	long r, had = hits;
	int op = R(s, 12), k = is_pipe(c->kind), wait = s->nonblock ? SPLICE_F_NONBLOCK : 0, flags = 0;
	struct iovec v[5];
	off_t off = b - table;
	if (has_messages(c->kind))
		return put_message(c, s);
	if (c->kind == EVENT) {
		uint64_t x = c->semaphore ? n : n << 46;
		return (r = CALL(s, n, write(s->fd, &x, 8))) == 8 ? (long)n : r;
	}
	if (op < 7 && c->kind != PTY) {
		switch (op) {
		case 0:
			return CALL(s, n, sendfile(s->fd, table_fd, &off, n));
		case 1:
			if (k)
				return CALL(s, n, splice(table_fd, &off, s->fd, NULL, n, wait));
			break;
		case 2:
			v[0] = (struct iovec){b, n};
			if (k)
				return CALL(s, n, vmsplice(s->fd, v, 1, wait));
			break;
		case 3:
			t = n < 30000 ? n : 30000;
			v[0] = (struct iovec){b, t};
			if ((r = CALL(s, t, vmsplice(s->aux[1], v, 1, SPLICE_F_NONBLOCK))) != (long)t)
				BAD(c, "vmsplice into an empty pipe: %ld of %zu", r, t);
			r = k && R(s, 2) ? CALL(s, t, tee(s->aux[0], s->fd, t, wait)) : CALL(s, t, splice(s->aux[0], NULL, s->fd, NULL, t, wait));
			k = errno;
			SYS(ioctl(s->aux[0], FIONREAD, &flags));
			if (flags != (int)t && flags != (int)t - (r > 0 ? r : 0))
				BAD(c, "%ld of %zu spliced, %d left", r, t, flags);
			drain(c, s, flags == (int)t ? c->sent : c->sent + r, flags);
			errno = k;
			return r;
		default:
			if (k)
				break;
			flags = op == 4 ? MSG_DONTWAIT : R(s, 8) || !is_tcp(c->kind) ? 0 : MSG_MORE;
			struct msghdr m = {.msg_iov = v, .msg_iovlen = cut(s, v, b, n)};
			r = op == 6 ? CALL(s, n, sendmsg(s->fd, &m, flags)) : CALL(s, n, send(s->fd, b, n, flags));
			goto out;
		}
	}
	r = op == 7 ? CALL(s, n, writev(s->fd, v, cut(s, v, b, n))) : CALL(s, n, write(s->fd, b, n));
	if (r > 0 && r < (long)n && k && n <= PIPE_BUF)
		BAD(c, "%ld of %zu, which is less than PIPE_BUF", r, n);
out:
	if (r >= 0 && r < (long)n && !s->nonblock && !(flags & MSG_DONTWAIT) && !c->timed && c->quit < 0 && hits == had)
		BAD(c, "a blocking write of %zu gives %ld", n, r);
	return r;
}

/* Things that happen between two calls. */
static void between(struct channel *c, struct side *s)
{
	switch (R(s, 32)) {
	case 0:
	case 1:
		if (s->pause)
			CALL(s, 0, usleep(R(s, s->pause)));
		break;
	case 2:
		if (!s->fixed)
			pass(s);
		break;
	case 3:
		if (!s->fixed)
			set_mode(s, !s->nonblock);
		break;
	case 4:
		if (is_pipe(c->kind) && CALL(s, 0, fcntl(s->fd, F_SETPIPE_SZ, 4096 << R(s, 6))) == -1 && errno != EBUSY)
			BAD(c, "F_SETPIPE_SZ: %s", strerror(errno));
		break;
	case 5:
		sched_yield();
	}
}

static void begin(struct channel *c, struct side *s)
{
	if (c->kind == FIFO)
		while ((s->fd = CALL(s, 0, open("fifo", s == &c->w ? O_WRONLY : O_RDONLY))) == -1)
			if (errno != EINTR)
				BAD(c, "open: %s", strerror(errno));
	SYS(pipe(s->aux));
	SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, s->rights));
	set_mode(s, s->nonblock);
	if (s->signals) {
		struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = s->signals};
		e._sigev_un._tid = gettid_();
		long ns = 1000000 + R(s, 5000000);
		struct itimerspec it = {{0, ns}, {0, ns}};
		timer_t t;
		SYS(timer_create(CLOCK_MONOTONIC, &e, &t));
		SYS(timer_settime(t, 0, &it, NULL));
		*(timer_t *)s->buf = t;
		s->buf += 64;
	}
}

static void finish(struct side *s)
{
	if (s->signals)
		SYS(timer_delete(*(timer_t *)(s->buf - 64)));
	for (int i = 0; i < 2; i++) {
		SYS(close(s->aux[i]));
		SYS(close(s->rights[i]));
	}
	if (s->ep != -1)
		SYS(close(s->ep));
	STORE(s->done, 1);
}

static void *writer(void *arg)
{
	struct channel *c = arg;
	struct side *s = &c->w;
	begin(c, s);
	while (c->sent < c->total) {
		between(c, s);
		if (s->how != EDGE && R(s, 16) == 0)
			wait_for(c, s, POLLOUT);
		long r = put(c, s);
		if (r > 0)
			STORE(c->sent, c->sent + r);
		else if (r == -1 && errno == EAGAIN)
			wait_for(c, s, POLLOUT);
		else if (r == -1 && (errno == EPIPE || errno == ECONNRESET) && c->quit >= 0)
			break;
		else if (r == 0 || errno != EINTR)
			BAD(c, "%.20s = %ld, %s", s->call, r, strerror(errno));
	}
	if (is_socket(c->kind) && has_end(c->kind) && (s->shared || R(s, 2)) && CALL(s, 0, shutdown(s->fd, SHUT_WR)) == -1 && (errno != ENOTCONN || c->quit < 0))
		BAD(c, "shutdown: %s", strerror(errno));
	if (!s->shared)
		SYS(CALL(s, 0, close(s->fd)));
	finish(s);
	return NULL;
}

/* Reads once, or up to EAGAIN. Returns whether that was the end. */
static int take(struct channel *c, struct side *s, int once)
{
	long r;
	do {
		if (c->got == c->total && !has_end(c->kind))
			return 1;
		int told = s->told;
		s->told = 0;
		r = get(c, s);
		if (r == -1 && errno == EAGAIN) {
			if (told)
				BAD(c, "%.20s: EAGAIN after a wait that said there is something", s->call);
			return 0;
		}
		if (r == -1 && errno != EINTR)
			BAD(c, "%.20s: %s", s->call, strerror(errno));
		if (r == 0 && c->got != c->total)
			BAD(c, "the end came early, %.20s", s->call);
		if (r > 0 && c->got + r > c->total)
			BAD(c, "%ld bytes too many", c->got + r - c->total);
		STORE(c->got, c->got + (r > 0 ? r : 0));
	} while (r != 0 && (!once || r == -1));
	return r == 0 || (c->got == c->total && !has_end(c->kind));
}

static void *crew(void *arg)
{
	struct channel *c = arg;
	struct side s = c->r;
	for (;;) {
		struct epoll_event e;
		c->r.call = "crew's epoll_wait";
		int n = epoll_wait(s.ep, &e, 1, -1);
		if (n == -1 && errno == EINTR)
			continue;
		CHECK_EQ(n, 1);
		if (e.data.fd == c->wake)
			return NULL;
		CHECK_EQ(pthread_mutex_lock(&c->lock), 0);
		int end = c->r.done || take(c, &c->r, s.how != EDGE);
		e = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.fd = s.fd};
		if (end && !c->r.done) {
			c->r.done = 2;
			SYS(eventfd_write(c->wake, 1));
		} else if (s.how == ONESHOT) {
			SYS(epoll_ctl(s.ep, EPOLL_CTL_MOD, s.fd, &e));
		}
		CHECK_EQ(pthread_mutex_unlock(&c->lock), 0);
	}
}

static void *reader(void *arg)
{
	struct channel *c = arg;
	struct side *s = &c->r;
	begin(c, s);
	if (c->crew) {
		pthread_t t[CREW];
		c->wake = SYS(eventfd(0, 0));
		s->ep = SYS(epoll_create1(0));
		struct epoll_event e = {.events = EPOLLIN, .data.fd = c->wake};
		SYS(epoll_ctl(s->ep, EPOLL_CTL_ADD, c->wake, &e));
		e = (struct epoll_event){.events = EPOLLIN | (s->how == EDGE ? EPOLLET : s->how == ONESHOT ? EPOLLONESHOT : 0), .data.fd = s->fd};
		SYS(epoll_ctl(s->ep, EPOLL_CTL_ADD, s->fd, &e));
		for (int i = 0; i < CREW; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, crew, c), 0);
		for (int i = 0; i < CREW; i++)
			CHECK_EQ(pthread_join(t[i], NULL), 0);
		SYS(close(c->wake));
	}
	for (int end = c->crew; !end && (c->quit < 0 || c->got < c->quit);) {
		between(c, s);
		if (R(s, 8) == 0 && s->how != EDGE && (has_end(c->kind) || c->got < c->total))
			wait_for(c, s, POLLIN);
		end = take(c, s, 1);
		if (!end && errno == EAGAIN && s->gave == -1)
			wait_for(c, s, POLLIN);
	}
	struct pollfd p = {s->fd, POLLIN, 0};
	if (!has_end(c->kind) && CALL(s, 0, poll(&p, 1, 0)) == 1)
		BAD(c, "there is more after the end");
	if (!s->shared)
		SYS(CALL(s, 0, close(s->fd)));
	finish(s);
	return NULL;
}

static void pair(struct channel *c, uint64_t *x, int fd[2])
{
	enum kind k = c->kind;
	struct termios t;
	int zero = 0, n;
	char name[64];
	if (k == PIPE) {
		SYS(pipe(fd));
		n = fd[0], fd[0] = fd[1], fd[1] = n;
		if (rnd(x, 2))
			SYS(fcntl(fd[0], F_SETPIPE_SZ, 4096 << rnd(x, 8)));
	} else if (k == FIFO) {
		unlink("fifo");
		SYS(mkfifo("fifo", 0600));
	} else if (k == UNIX || k == SEQ || k == DGRAM) {
		SYS(socketpair(AF_UNIX, k == UNIX ? SOCK_STREAM : k == SEQ ? SOCK_SEQPACKET : SOCK_DGRAM, 0, fd));
	} else if (is_tcp(k)) {
		tcp_pair(k == TCP4 ? AF_INET : AF_INET6, fd);
	} else if (is_udp(k)) {
		udp_pair(k == UDP4 ? AF_INET : AF_INET6, fd);
	} else if (k == EVENT) {
		fd[0] = SYS(eventfd(0, c->semaphore ? EFD_SEMAPHORE : 0));
		fd[1] = SYS(dup(fd[0]));
	} else if (k == MQ) {
		struct mq_attr a = {.mq_maxmsg = 1 + rnd(x, 10), .mq_msgsize = 8192};
		snprintf(name, sizeof(name), "/stream-%d", getpid());
		fd[0] = SYS(mq_open(name, O_WRONLY | O_CREAT | O_EXCL, 0600, &a));
		fd[1] = SYS(mq_open(name, O_RDONLY));
		SYS(mq_unlink(name));
	} else {
		fd[0] = SYS(open("/dev/ptmx", O_RDWR | O_NOCTTY));
		SYS(ioctl(fd[0], TIOCSPTLCK, &zero));
		SYS(ioctl(fd[0], TIOCGPTN, &n));
		snprintf(name, sizeof(name), "/dev/pts/%d", n);
		fd[1] = SYS(open(name, O_RDWR | O_NOCTTY));
		SYS(tcgetattr(fd[1], &t));
		cfmakeraw(&t);
		SYS(tcsetattr(fd[1], TCSANOW, &t));
	}
	c->largest = rnd(x, 2) ? 1000 : k == MQ ? 8192 : is_udp(k) ? 60000 : 150000;
	for (int i = 0; i < 2 && is_socket(k); i++) {
		n = rnd(x, 3) ? 1 << 20 : is_tcp(k) ? 20000 : 4000;
		if (rnd(x, 2) == 0) {
			set_int(fd[i], SOL_SOCKET, SO_SNDBUF, n);
			if (!is_tcp(k))
				c->largest = c->largest < (size_t)n ? c->largest : n;
			if (!is_udp(k))
				set_int(fd[i], SOL_SOCKET, SO_RCVBUF, n);
		}
		if (is_tcp(k))
			set_int(fd[i], IPPROTO_TCP, TCP_NODELAY, rnd(x, 2));
		if (c->timed) {
			timeout(fd[i], SO_RCVTIMEO, 1 + rnd(x, 5));
			timeout(fd[i], SO_SNDTIMEO, 1 + rnd(x, 5));
		}
	}
}

static void one_round(enum kind k, uint32_t seed)
{
	uint64_t x = mix(seed, k);
	int fd[2] = {-1, -1}, both, alike;
	struct channel *c = chan;
	pthread_t th[4];
	pid_t pid[2];
	memset(chan, 0, 2 * sizeof(*chan));
	both = (k == UNIX || is_tcp(k) || k == SEQ || k == PTY) && rnd(&x, 3) == 0;
	c->timed = is_socket(k) && rnd(&x, 6) == 0;
	c->semaphore = k == EVENT && rnd(&x, 3) == 0;
	c->kind = k, c->seed = seed;
	pair(c, &x, fd);
	alike = rnd(&x, 2);
	c[1] = c[0];
	for (int i = 0; i <= both; i++) {
		struct side *side[2] = {&c[i].w, &c[i].r};
		size_t most = MOST;
		c[i].seed = seed + i;
		for (int j = 0; j < 2; j++) {
			struct side *s = side[j];
			static const size_t sizes[] = {8, 300, 5000, MOST};
			*s = (struct side){.fd = k == FIFO ? -1 : fd[i ^ j], .ep = -1, .rng = mix(x, 2 * i + j), .call = "nothing"};
			s->fixed = s->shared = both || k == EVENT || k == PTY;
			s->nonblock = both || k == EVENT ? alike : rnd(&x, 2);
			s->how = rnd(&x, HOWS);
			s->pause = rnd(&x, 2) ? 0 : 1 + rnd(&x, 2000);
			s->signals = rnd(&x, 2) ? 0 : rnd(&x, 2) ? SIGUSR1 : SIGUSR2;
			s->most = k == EVENT ? (c->semaphore ? 50 : 131071) : sizes[rnd(&x, 4)];
			s->buf = buffers + (2 * i + j) * BUFFER;
			most = s->most < most && !has_messages(k) ? s->most : most;
		}
		c[i].total = most < 20 ? rnd(&x, 3000) : most <= 300 ? rnd(&x, 60000) : rnd(&x, k == PTY ? 150000 : 1500000);
		if (c->semaphore)
			c[i].total %= 1000;
		if (has_messages(k)) {
			int n = rnd(&x, 100);
			c[i].total = 0;
			for (int m = 0; m < n; m++)
				c[i].total += message(&c[i], m);
		}
		c[i].quit = has_end(k) && !both && rnd(&x, 4) == 0 ? (long)rnd(&x, c[i].total + 1) : -1;
		c[i].crew = !both && c[i].quit < 0 && k != FIFO && k != EVENT && rnd(&x, 4) == 0;
		if (c[i].crew) {
			c[i].r.how = LEVEL + rnd(&x, 3);
			c[i].r.nonblock = c[i].r.fixed = 1;
			if (c[i].total == 0)
				c[i].crew = has_end(k);
		}
	}
	int separate[4] = {}, n = 0;
	for (int i = 0; i < 2 && !both; i++)
		if (rnd(&x, 2)) {
			separate[i] = 1;
			if ((pid[i] = SYS(fork())) == 0) {
				if (fd[!i] != -1 && !separate[!i] && !c->w.shared)
					SYS(close(fd[!i]));
				(i ? reader : writer)(c);
				_exit(0);
			}
			if (fd[i] != -1 && !c->w.shared)
				SYS(close(fd[i]));
		}
	for (int i = 0; i < (both ? 4 : 2); i++)
		if (!separate[i])
			CHECK_EQ(pthread_create(&th[n++], NULL, i & 1 ? reader : writer, c + i / 2), 0);
	long last = -1, now, done = 0;
	for (long long since = now_ms(), t; done != (both ? 4 : 2);) {
		int status;
		done = !!LOAD(c[0].w.done) + (LOAD(c[0].r.done) == 1) + (both ? LOAD(c[1].w.done) + LOAD(c[1].r.done) : 0);
		for (int i = 0; i < 2; i++)
			if (separate[i] && waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				if (WIFEXITED(status) && WEXITSTATUS(status))
					_exit(1);
				if (status)
					BAD(c, "child %d ended with %#x", i, status);
				separate[i] = 2;
			}
		now = LOAD(c[0].sent) + LOAD(c[0].got) + LOAD(c[1].sent) + LOAD(c[1].got) + done;
		t = now_ms();
		if (now != last)
			since = t;
		last = now;
		if (t - since > STALL)
			BAD(LOAD(c[0].r.done) && LOAD(c[0].w.done) ? c + 1 : c, "stands still");
		usleep(300);
	}
	while (n)
		CHECK_EQ(pthread_join(th[--n], NULL), 0);
	for (int i = 0; i < 2; i++) {
		if (separate[i] == 1)
			CHECK_EXIT(pid[i], 0);
		if (c->w.shared)
			SYS(close(fd[i]));
	}
}

static void random_stream(enum kind k)
{
	size_t size = 2 * PERIOD + MOST;
	unsigned seed = 1, rounds = ROUNDS;
	uint64_t x = 99;
	char *text = getenv("RANDOM_STREAM");
	if (text)
		sscanf(text, "%u %u", &seed, &rounds);
	chan = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	buffers = map_pages(4 * BUFFER / PAGE);
	table_fd = SYS(memfd_create("table", 0));
	SYS(ftruncate(table_fd, size));
	table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, table_fd, 0);
	for (size_t i = 0; i < size; i++)
		table[i] = i < PERIOD ? (char)rnd(&x, 256) : table[i - PERIOD];
	on_signal(SIGUSR1, hit, 0);
	on_signal(SIGUSR2, hit, SA_RESTART);
	on_signal(SIGPIPE, SIG_IGN, 0);
	for (unsigned i = 0; i < rounds; i++)
		one_round(k, seed + i);
}

#define CASE(id, k) TEST_LIMIT(random_stream_##id, LIMIT) { random_stream(k); }
CASE(pipe, PIPE)
CASE(fifo, FIFO)
CASE(unix, UNIX)
CASE(seqpacket, SEQ)
CASE(dgram, DGRAM)
CASE(tcp_v4, TCP4)
CASE(tcp_v6, TCP6)
CASE(udp_v4, UDP4)
CASE(udp_v6, UDP6)
CASE(eventfd, EVENT)
CASE(pty, PTY)
CASE(mqueue, MQ)

/* Many writers and readers of one thing, who sleep in the call itself: every record comes out once. */
enum { WRITERS = 3, READERS = 3, RECORDS = 400 };
static int crowd_fd[2], crowd_seen[WRITERS * RECORDS];
static long crowd_got;

static void *crowd_writer(void *arg)
{
	uint64_t x = mix((long)arg, 3);
	for (long i = 0; i < RECORDS; i++) {
		long rec[2] = {(long)arg * RECORDS + i, ~((long)arg * RECORDS + i)};
		CHECK_EQ(write(crowd_fd[0], rec, 16), 16);
		if (rnd(&x, 50) == 0)
			usleep(rnd(&x, 300));
	}
	return NULL;
}

static void *crowd_reader(void *arg)
{
	uint64_t x = mix((long)arg, 4);
	long rec[2];
	for (;;) {
		CHECK_EQ(read(crowd_fd[1], rec, 16), 16);
		if (rec[0] == -1)
			return NULL;
		CHECK(rec[1] == ~rec[0] && rec[0] >= 0 && rec[0] < WRITERS * RECORDS);
		CHECK_EQ(ADD(crowd_seen[rec[0]], 1), 1);
		ADD(crowd_got, 1);
		if (rnd(&x, 50) == 0)
			usleep(rnd(&x, 300));
	}
}

TEST_LIMIT(random_stream_crowd, LIMIT)
{
	static const enum kind kinds[] = {PIPE, SEQ, DGRAM};
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t t[WRITERS + READERS];
		enum kind k = kinds[round % 3];
		int p[2];
		long end[2] = {-1, 0};
		crowd_got = 0;
		memset(crowd_seen, 0, sizeof(crowd_seen));
		if (k == PIPE) {
			SYS(pipe(p));
			crowd_fd[0] = p[1], crowd_fd[1] = p[0];
			SYS(fcntl(p[1], F_SETPIPE_SZ, 4096));
		} else {
			SYS(socketpair(AF_UNIX, k == SEQ ? SOCK_SEQPACKET : SOCK_DGRAM, 0, crowd_fd));
			set_int(crowd_fd[0], SOL_SOCKET, SO_SNDBUF, 1);
		}
		for (long i = 0; i < WRITERS + READERS; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, i < WRITERS ? crowd_writer : crowd_reader, (void *)i), 0);
		for (long long since = now_ms(); LOAD(crowd_got) < WRITERS * RECORDS; usleep(500))
			if (now_ms() - since > STALL)
				FAIL("%s, round %d: %ld of %d records", kind_name[k], round, LOAD(crowd_got), WRITERS * RECORDS);
		for (int i = 0; i < READERS; i++)
			CHECK_EQ(write(crowd_fd[0], end, 16), 16);
		for (int i = 0; i < WRITERS + READERS; i++)
			CHECK_EQ(pthread_join(t[i], NULL), 0);
		SYS(close(crowd_fd[0]));
		SYS(close(crowd_fd[1]));
	}
}
