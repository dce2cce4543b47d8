//go:build ignore

/* Pseudo-terminals: line discipline, termios, job control, window size, packet mode. */
#include "test.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

static char buf[8192];
static int m, s; /* master and slave */
static char slave_name[64];

static void open_pty(void)
{
	int unlock = 0, n;
	m = SYS(open("/dev/ptmx", O_RDWR | O_NOCTTY));
	SYS(ioctl(m, TIOCSPTLCK, &unlock));
	SYS(ioctl(m, TIOCGPTN, &n));
	snprintf(slave_name, sizeof(slave_name), "/dev/pts/%d", n);
	s = SYS(open(slave_name, O_RDWR | O_NOCTTY));
}

static struct termios attrs(void)
{
	struct termios t;
	SYS(tcgetattr(s, &t));
	return t;
}

static void set(tcflag_t *(*pick)(struct termios *), tcflag_t clear, tcflag_t on)
{
	struct termios t = attrs();
	tcflag_t *f = pick(&t);
	*f = (*f & ~clear) | on;
	SYS(tcsetattr(s, TCSANOW, &t));
}
static tcflag_t *iflag(struct termios *t) { return &t->c_iflag; }
static tcflag_t *oflag(struct termios *t) { return &t->c_oflag; }
static tcflag_t *lflag(struct termios *t) { return &t->c_lflag; }

/* Reads what arrives within a moment. */
static const char *drain(int fd)
{
	size_t n = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (n < sizeof(buf) - 1 && poll(&p, 1, 50) == 1 && (p.revents & POLLIN)) {
		long r = read(fd, buf + n, sizeof(buf) - 1 - n);
		if (r <= 0)
			break;
		n += r;
	}
	buf[n] = 0;
	return buf;
}

static void type(const char *text) { CHECK_EQ(write(m, text, strlen(text)), strlen(text)); }

TEST(pty_opens_and_says_tty)
{
	struct stat st;
	open_pty();
	CHECK(isatty(s) && isatty(m));
	SYS(fstat(s, &st));
	CHECK(S_ISCHR(st.st_mode));
	CHECK_EQ(st.st_rdev >> 8, 136);
	CHECK_ERRNO(ioctl(s, TIOCGPTN, buf), ENOTTY);
	CHECK_ERRNO(ioctl(s, 0x5499, buf), ENOTTY);
	CHECK_ERRNO(ioctl(s, TCGETS, bad_ptr()), EFAULT);
	CHECK_STR(ttyname(s), slave_name);
	int peer = SYS(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	SYS(fstat(peer, &st));
	CHECK_EQ(st.st_rdev >> 8, 136);
}

TEST(pty_locked_until_unlocked)
{
	int n;
	m = SYS(open("/dev/ptmx", O_RDWR | O_NOCTTY));
	SYS(ioctl(m, TIOCGPTN, &n));
	snprintf(slave_name, sizeof(slave_name), "/dev/pts/%d", n);
	CHECK_ERRNO(open(slave_name, O_RDWR | O_NOCTTY), EIO);
	int lock = -1;
	SYS(ioctl(m, TIOCGPTLCK, &lock));
	CHECK_EQ(lock, 1);
}

TEST(pty_canonical_lines)
{
	open_pty();
	set(lflag, ECHO, 0);
	type("par");
	struct pollfd p = {.fd = s, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 20), 0);
	type("tial\nsecond\n");
	CHECK_EQ(read(s, buf, 100), 8);
	CHECK_MEM(buf, "partial\n", 8);
	CHECK_EQ(read(s, buf, 3), 3);
	CHECK_EQ(read(s, buf, 100), 4);
	CHECK_MEM(buf, "ond\n", 4);
}

TEST(pty_editing_keys)
{
	open_pty();
	set(lflag, ECHO, 0);
	type("abx\177c\n"); /* erase */
	CHECK_STR(drain(s), "abc\n");
	type("wrong\025right\n"); /* kill line */
	CHECK_STR(drain(s), "right\n");
	type("one two  \027three\n"); /* erase word */
	CHECK_STR(drain(s), "one three\n");
	type("a\026\003b\n"); /* literal next */
	CHECK_STR(drain(s), "a\003b\n");
}

TEST(pty_eof_character)
{
	open_pty();
	set(lflag, ECHO, 0);
	type("\004");
	CHECK_EQ(read(s, buf, 10), 0);
	type("abc\004");
	CHECK_EQ(read(s, buf, 10), 3);
	type("x\n");
	CHECK_EQ(read(s, buf, 10), 2);
}

TEST(pty_echo)
{
	open_pty();
	type("hi\n");
	CHECK_STR(drain(m), "hi\r\n");
	type("\001");
	CHECK_STR(drain(m), "^A"); /* ECHOCTL */
	type("x\177");
	CHECK_STR(drain(m), "x\b \b"); /* ECHOE */
	set(lflag, ECHO, ECHONL);
	type("quiet\n");
	CHECK_STR(drain(m), "\r\n");
}

TEST(pty_output_processing)
{
	open_pty();
	SYS(write(s, "a\nb\n", 4));
	CHECK_STR(drain(m), "a\r\nb\r\n");
	set(oflag, ONLCR, 0);
	SYS(write(s, "a\nb", 3));
	CHECK_STR(drain(m), "a\nb");
	set(oflag, 0, OCRNL);
	SYS(write(s, "a\rb", 3));
	CHECK_STR(drain(m), "a\nb");
	set(oflag, OPOST, 0);
	SYS(write(s, "a\rb", 3));
	CHECK_STR(drain(m), "a\rb");
}

TEST(pty_input_processing)
{
	open_pty();
	set(lflag, ECHO, 0);
	type("a\r");
	CHECK_STR(drain(s), "a\n"); /* ICRNL */
	set(iflag, ICRNL, 0);
	type("a\rb\n");
	CHECK_STR(drain(s), "a\rb\n");
	set(iflag, 0, IGNCR);
	type("a\rb\n");
	CHECK_STR(drain(s), "ab\n");
	set(iflag, IGNCR, ISTRIP);
	type("\341\n");
	CHECK_STR(drain(s), "a\n");
}

TEST(pty_raw_mode_min_and_time)
{
	open_pty();
	struct termios t = attrs();
	cfmakeraw(&t);
	t.c_cc[VMIN] = 3, t.c_cc[VTIME] = 0;
	SYS(tcsetattr(s, TCSANOW, &t));
	CHILD(c)
	{
		CHECK_EQ(read(s, buf, 10) >= 3, 1);
	}
	type("a");
	until_blocked(c);
	CHECK_EQ(waitpid(c, NULL, WNOHANG), 0);
	type("\003c"); /* ^C is a byte like another */
	CHECK_EXIT(c, 0);
	t.c_cc[VMIN] = 0, t.c_cc[VTIME] = 1;
	SYS(tcsetattr(s, TCSANOW, &t));
	long long b = now_ms();
	CHECK_EQ(read(s, buf, 10), 0);
	CHECK(now_ms() - b >= 80);
	t.c_cc[VTIME] = 0;
	SYS(tcsetattr(s, TCSANOW, &t));
	CHECK_EQ(read(s, buf, 10), 0);
}

TEST(pty_termios_round_trip)
{
	open_pty();
	struct termios t = attrs();
	CHECK_EQ(t.c_lflag & (ICANON | ECHO | ISIG | IEXTEN), ICANON | ECHO | ISIG | IEXTEN);
	CHECK_EQ(t.c_cc[VINTR], 3);
	CHECK_EQ(t.c_cc[VEOF], 4);
	CHECK_EQ(t.c_cc[VSUSP], 26);
	CHECK_EQ(cfgetospeed(&t), B38400);
	cfsetspeed(&t, B9600);
	t.c_cc[VINTR] = 7;
	SYS(tcsetattr(s, TCSADRAIN, &t));
	struct termios u;
	SYS(tcgetattr(m, &u));
	CHECK_EQ(cfgetospeed(&u), B9600);
	CHECK_EQ(u.c_cc[VINTR], 7);
	SYS(tcflush(s, TCIOFLUSH));
	SYS(tcdrain(s));
}

TEST(pty_flush_and_queue_sizes)
{
	int n;
	open_pty();
	set(lflag, ECHO, 0);
	type("abc\ndef");
	struct pollfd p = {.fd = s, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 1000), 1);
	SYS(ioctl(s, FIONREAD, &n));
	CHECK_EQ(n, 4);
	SYS(tcflush(s, TCIFLUSH));
	type("x\n");
	CHECK_STR(drain(s), "x\n");
	SYS(write(s, "out", 3));
	p.fd = m;
	CHECK_EQ(poll(&p, 1, 1000), 1);
	SYS(ioctl(m, TIOCINQ, &n));
	CHECK_EQ(n, 3);
}

TEST(pty_window_size)
{
	struct winsize w = {24, 80, 0, 0}, v;
	open_pty();
	SYS(ioctl(m, TIOCSWINSZ, &w));
	SYS(ioctl(s, TIOCGWINSZ, &v));
	CHECK_EQ(v.ws_col, 80);
	CHILD(c)
	{
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGWINCH);
		SYS(sigprocmask(SIG_BLOCK, &set, NULL));
		SYS(setsid());
		SYS(ioctl(s, TIOCSCTTY, 0));
		SYS(write(s, "r", 1));
		int sig;
		sigwait(&set, &sig);
		SYS(ioctl(s, TIOCGWINSZ, &v));
		CHECK_EQ(v.ws_row, 50);
	}
	CHECK_EQ(read(m, buf, 1), 1);
	w.ws_row = 50;
	SYS(ioctl(m, TIOCSWINSZ, &w));
	CHECK_EXIT(c, 0);
}

TEST(pty_hangup)
{
	open_pty();
	SYS(write(s, "bye", 3));
	SYS(close(s));
	CHECK_EQ(read(m, buf, 10), 3);
	CHECK_ERRNO(read(m, buf, 10), EIO);
	struct pollfd p = {.fd = m, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
	s = SYS(open(slave_name, O_RDWR | O_NOCTTY)); /* comes back */
	SYS(write(s, "x", 1));
	CHECK_EQ(read(m, buf, 10), 1);
	SYS(close(m));
	CHECK_EQ(read(s, buf, 10), 0);
	CHECK_ERRNO(write(s, "x", 1), EIO);
	CHECK_ERRNO(open(slave_name, O_RDWR), ENOENT);
}

TEST(pty_controlling_terminal)
{
	open_pty();
	CHECK_ERRNO(ioctl(s, TIOCGPGRP, buf), ENOTTY);
	SYS(ioctl(s, TIOCSCTTY, 0));
	CHECK_EQ(tcgetsid(s), getpid());
	CHECK_EQ(tcgetpgrp(s), getpid());
	int tty = SYS(open("/dev/tty", O_RDWR));
	SYS(write(tty, "via", 3));
	CHECK_STR(drain(m), "via");
	CHECK_ERRNO(tcsetpgrp(s, 99999), ESRCH == errno ? ESRCH : EPERM);
	CHECK_ERRNO(tcsetpgrp(s, -1), EINVAL);
	CHILD(c)
	{
		SYS(setsid());
		CHECK_ERRNO(ioctl(s, TIOCGPGRP, buf), ENOTTY);
		CHECK_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
		CHECK_ERRNO(ioctl(s, TIOCSCTTY, 0), EPERM); /* another session's */
	}
	CHECK_EXIT(c, 0);
	on_signal(SIGHUP, SIG_IGN, 0);
	SYS(ioctl(s, TIOCNOTTY));
	CHECK_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
}

TEST(pty_opening_takes_the_terminal)
{
	open_pty();
	SYS(close(s));
	s = SYS(open(slave_name, O_RDWR)); /* a session leader without one */
	CHECK_EQ(tcgetsid(s), getpid());
}

TEST(pty_interrupt_characters)
{
	static const struct { const char *key; int sig; } k[] = {{"\003", SIGINT}, {"\034", SIGQUIT}, {"\032", SIGTSTP}};
	open_pty();
	SYS(ioctl(s, TIOCSCTTY, 0));
	on_signal(SIGTTOU, SIG_IGN, 0);
	for (size_t i = 0; i < LEN(k); i++) {
		CHILD(c)
		{
			setpgid(0, 0);
			tcsetpgrp(s, getpid());
			SYS(write(s, "r", 1));
			for (;;)
				pause();
		}
		CHECK_EQ(read(m, buf, 1), 1);
		type("typed ahead");
		type(k[i].key); /* goes to the foreground group, and flushes */
		int st;
		CHECK_EQ(waitpid(c, &st, WUNTRACED), c);
		if (k[i].sig == SIGTSTP) {
			CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGTSTP);
			kill(c, SIGKILL);
			wait_status(c);
		} else {
			CHECK(WIFSIGNALED(st) && WTERMSIG(st) == k[i].sig);
		}
		drain(m);
	}
}

TEST(pty_background_io)
{
	open_pty();
	SYS(ioctl(s, TIOCSCTTY, 0));
	CHILD(r)
	{
		setpgid(0, 0);
		read(s, buf, 1);
	}
	setpgid(r, r);
	int st;
	CHECK_EQ(waitpid(r, &st, WUNTRACED), r);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGTTIN);
	kill(r, SIGKILL);
	wait_status(r);
	CHILD(i)
	{
		setpgid(0, 0);
		on_signal(SIGTTIN, SIG_IGN, 0);
		CHECK_ERRNO(read(s, buf, 1), EIO);
		SYS(write(s, "w", 1)); /* allowed without TOSTOP */
	}
	CHECK_EXIT(i, 0);
	set(lflag, 0, TOSTOP);
	CHILD(w)
	{
		setpgid(0, 0);
		write(s, "x", 1);
	}
	setpgid(w, w);
	CHECK_EQ(waitpid(w, &st, WUNTRACED), w);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGTTOU);
	kill(w, SIGKILL);
	wait_status(w);
	CHILD(a)
	{
		setpgid(0, 0);
		struct termios t = attrs();
		tcsetattr(s, TCSANOW, &t);
	}
	setpgid(a, a);
	CHECK_EQ(waitpid(a, &st, WUNTRACED), a);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGTTOU);
	kill(a, SIGKILL);
	wait_status(a);
}

TEST(pty_leader_exit_hangs_up)
{
	open_pty();
	int p[2];
	SYS(pipe(p));
	CHILD(leader)
	{
		SYS(setsid());
		SYS(ioctl(s, TIOCSCTTY, 0));
		CHILD(fg)
		{
			SYS(write(p[1], "x", 1));
			for (;;)
				pause();
		}
		SYS(read(p[0], buf, 1));
		SYS(write(p[1], &fg, sizeof(fg)));
	}
	SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHECK_EXIT(leader, 0);
	pid_t fg;
	SYS(read(p[0], &fg, sizeof(fg)));
	CHECK_KILLED(fg, SIGHUP);
	SYS(ioctl(s, TIOCSCTTY, 0)); /* free for another session */
}

TEST(pty_packet_mode)
{
	int on = 1;
	open_pty();
	SYS(ioctl(m, TIOCPKT, &on));
	SYS(write(s, "data", 4));
	CHECK_EQ(read(m, buf, 100), 5);
	CHECK_MEM(buf, "\0data", 5);
	SYS(tcflush(s, TCIFLUSH));
	CHECK_EQ(read(m, buf, 100), 1);
	CHECK_EQ(buf[0], TIOCPKT_FLUSHREAD);
	struct termios t = attrs();
	t.c_iflag &= ~IXON;
	SYS(tcsetattr(s, TCSANOW, &t));
	CHECK_EQ(read(m, buf, 100), 1);
	CHECK_EQ(buf[0] & TIOCPKT_NOSTOP, TIOCPKT_NOSTOP);
}

TEST(pty_flow_control)
{
	open_pty();
	set(lflag, ECHO, 0);
	type("\023"); /* ^S */
	sleep_ms(50); /* Linux handles input in the background */
	CHILD(c) SYS(write(s, "later", 5));
	until_blocked(c);
	struct pollfd p = {.fd = m, .events = POLLIN};
	CHECK_EQ(poll(&p, 1, 30), 0);
	type("\021"); /* ^Q */
	CHECK_EXIT(c, 0);
	CHECK_STR(drain(m), "later");
}

TEST(pty_tiocsti_and_exclusive)
{
	open_pty();
	SYS(ioctl(s, TIOCEXCL));
	CHILD(c)
	{
		become(1000);
		CHECK(open(slave_name, O_RDWR | O_NOCTTY) == -1);
	}
	CHECK_EXIT(c, 0);
	SYS(ioctl(s, TIOCNXCL));
	SYS(open(slave_name, O_RDWR | O_NOCTTY));
}

TEST(pty_bulk_both_ways)
{
	open_pty();
	struct termios t = attrs();
	cfmakeraw(&t);
	SYS(tcsetattr(s, TCSANOW, &t));
	CHILD(c)
	{
		static char b[4096];
		memset(b, 'z', sizeof(b));
		for (int i = 0; i < 50; i++)
			for (int at = 0; at < 4096;)
				at += SYS(write(s, b + at, 4096 - at));
	}
	long total = 0;
	while (total < 50 * 4096)
		total += SYS(read(m, buf, sizeof(buf)));
	CHECK_EQ(total, 50 * 4096);
	CHECK_EXIT(c, 0);
}
