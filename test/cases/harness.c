//go:build ignore

/* Runs the cases of a test program; see test.h. */
#include "test.h"
#include <dirent.h>
#include <ftw.h>
#include <grp.h>
#include <sys/resource.h>

/* Where descendants of a case report; kept over exec so that helpers can report too. */
#define REPORT_FD 99
#define SKIPPED 77

extern const struct test_case *const __start_test_cases[], *const __stop_test_cases[];
extern const struct test_helper *const __start_test_helpers[] __attribute__((weak));
extern const struct test_helper *const __stop_test_helpers[] __attribute__((weak));

char *test_program;
static char base[PATH_MAX] = "/tmp";

static void report(char kind, const char *text)
{
	char line[600];
	int n = snprintf(line, sizeof(line), "%c%s\n", kind, text);
	if (n >= (int)sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	for (int i = 0; i < n - 1; i++)
		if (line[i] == '\n' || line[i] == '\r')
			line[i] = ' ';
	if (write(REPORT_FD, line, n) != n)
		_exit(2);
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "%s:%d: ", file, line);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	report('F', text);
	_exit(1);
}

void test_skip(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	report('S', text);
	_exit(SKIPPED);
}

void test_mute(void)
{
	int null = open("/dev/null", O_WRONLY);
	dup2(null, REPORT_FD);
	close(null);
}

int wait_status(pid_t pid)
{
	int status;
	pid_t r;
	do
		r = waitpid(pid, &status, 0);
	while (r == -1 && errno == EINTR);
	if (r != pid)
		FAIL("waitpid(%d) = %d: %s", pid, r, strerror(errno));
	return status;
}

char task_state(pid_t tid)
{
	char path[64], buf[512];
	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	if (get_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	char *p = strrchr(buf, ')');
	return p && p[1] ? p[2] : 0;
}

void until_blocked(pid_t tid)
{
	/* Twice in a row, since a task may sleep for a moment on its way. */
	int seen = 0;
	for (long long end = now_ms() + 3000; now_ms() < end;) {
		char c = task_state(tid);
		if (c == 'S' || c == 'D' || c == 'T' || c == 't' || c == 'Z') {
			if (++seen == 3)
				return;
		} else {
			seen = 0;
		}
		sleep_ms(2);
	}
}

void sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&ts, &ts) == -1 && errno == EINTR)
		;
}

long long now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

int put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd == -1)
		return -1;
	size_t n = strlen(text);
	ssize_t w = n ? write(fd, text, n) : 0;
	int e = errno;
	close(fd);
	errno = e;
	return w == (ssize_t)n ? 0 : -1;
}

ssize_t get_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	size_t n = 0;
	ssize_t r = 0;
	while (n < size - 1 && (r = read(fd, buf + n, size - 1 - n)) > 0)
		n += r;
	int e = errno;
	buf[n] = 0;
	close(fd);
	errno = e;
	return r < 0 ? -1 : (ssize_t)n;
}

void become(uid_t uid)
{
	SYS(setgroups(0, NULL));
	SYS(setresgid(uid, uid, uid));
	SYS(setresuid(uid, uid, uid));
}

void *bad_ptr(void)
{
	/* Reserved and forbidden for the rest of the process's life. */
	static void *volatile p;
	if (!p) {
		p = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			FAIL("mmap: %s", strerror(errno));
	}
	return p;
}

void *map_pages(size_t n)
{
	void *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		FAIL("mmap of %zu pages: %s", n, strerror(errno));
	return p;
}

void on_signal(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = flags};
	SYS(sigaction(sig, &sa, NULL));
}

pid_t gettid_(void) { return syscall(SYS_gettid); }

void helper_exec(const char *helper, ...)
{
	char *argv[32] = {test_program, "--helper", (char *)helper};
	va_list ap;
	va_start(ap, helper);
	for (int i = 3; i < 31 && (argv[i] = va_arg(ap, char *)); i++)
		;
	va_end(ap);
	execv(test_program, argv);
	FAIL("exec of %s: %s", test_program, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)f;
	(void)(type == FTW_DP ? rmdir(path) : unlink(path));
	return 0;
}

static void reap_all(pid_t pgid)
{
	if (getpid() == 1) {
		kill(-1, SIGKILL);
		for (long long end = now_ms() + 2000; now_ms() < end; sleep_ms(1)) {
			pid_t r;
			while ((r = waitpid(-1, NULL, WNOHANG)) > 0)
				;
			if (r == -1 && errno == ECHILD)
				return;
		}
		return;
	}
	kill(-pgid, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static const char *signal_name(int sig)
{
	const char *s = sigabbrev_np(sig);
	return s ? s : "?";
}

/* Runs one case and prints its line. Returns whether it did not fail. */
static int run_case(const struct test_case *c, int scale)
{
	char dir[PATH_MAX + 16], text[700] = "", line[1000];
	snprintf(dir, sizeof(dir), "%s/t.XXXXXX", base);
	if (!mkdtemp(dir) || chmod(dir, 0777) == -1) {
		printf("FAIL %s no directory %s: %s\n", c->name, dir, strerror(errno));
		return 0;
	}
	int p[2];
	if (pipe(p) == -1 || fcntl(p[0], F_SETFL, O_NONBLOCK) == -1) {
		printf("FAIL %s pipe: %s\n", c->name, strerror(errno));
		return 0;
	}
	pid_t pid = fork();
	if (pid == -1) {
		printf("FAIL %s fork: %s\n", c->name, strerror(errno));
		return 0;
	}
	if (pid == 0) {
		dup2(p[1], REPORT_FD);
		close(p[0]);
		close(p[1]);
		setsid();
		umask(022);
		/* Whoever runs us may ignore signals, even those that the C library keeps. */
		long action[4] = {0};
		for (int i = 1; i <= 64; i++)
			syscall(SYS_rt_sigaction, i, action, NULL, 8);
		int null = open("/dev/null", O_RDWR);
		if (null >= 0) {
			dup2(null, 0);
			if (null > 2)
				close(null);
		}
		struct rlimit core = {0, RLIM_INFINITY};
		getrlimit(RLIMIT_CORE, &core);
		core.rlim_cur = 0;
		setrlimit(RLIMIT_CORE, &core);
		if (chdir(dir) == -1)
			FAIL("chdir(%s): %s", dir, strerror(errno));
		c->run();
		_exit(0);
	}
	close(p[1]);

	int status = 0, done = 0;
	long long end = now_ms() + 1000LL * (c->seconds ? c->seconds : 10) * scale;
	for (long us = 100; !done; us = us < 5000 ? us * 2 : us) {
		pid_t r;
		while ((r = waitpid(-1, &status, WNOHANG)) > 0)
			if (r == pid) {
				done = 1;
				break;
			}
		if (done || now_ms() > end)
			break;
		struct timespec ts = {0, us * 1000};
		nanosleep(&ts, NULL);
	}
	if (!done)
		kill(pid, SIGKILL);
	reap_all(pid);
	ssize_t n = read(p[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	close(p[0]);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

	/* The first report of a failure, without its newline; else that of a skip. */
	char *why = NULL, *skip = NULL;
	for (char *l = strtok(text, "\n"); l; l = strtok(NULL, "\n")) {
		if (*l == 'F' && !why)
			why = l + 1;
		if (*l == 'S' && !skip)
			skip = l + 1;
	}
	int ok = 1;
	if (why || !done) {
		ok = 0;
		snprintf(line, sizeof(line), "FAIL %s %s%s\n", c->name, done ? "" : "timed out; ", why ? why : "");
	} else if (WIFSIGNALED(status)) {
		ok = 0;
		snprintf(line, sizeof(line), "FAIL %s killed by signal %d (SIG%s)\n", c->name, WTERMSIG(status), signal_name(WTERMSIG(status)));
	} else if (WEXITSTATUS(status) == SKIPPED && skip) {
		snprintf(line, sizeof(line), "SKIP %s %s\n", c->name, skip);
	} else if (WEXITSTATUS(status) != 0) {
		ok = 0;
		snprintf(line, sizeof(line), "FAIL %s exit code %d\n", c->name, WEXITSTATUS(status));
	} else {
		snprintf(line, sizeof(line), "ok %s\n", c->name);
	}
	fputs(line, stdout);
	return ok;
}

int main(int argc, char **argv)
{
	static char self[PATH_MAX];
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!realpath(argv[0], self))
		snprintf(self, sizeof(self), "%s", argv[0]);
	test_program = self;
	if (argc > 2 && strcmp(argv[1], "--helper") == 0) {
		for (const struct test_helper *const *h = __start_test_helpers; h < __stop_test_helpers; h++)
			if (strcmp((*h)->name, argv[2]) == 0)
				return (*h)->run(argc - 3, argv + 3);
		return 125;
	}
	if (argc > 1 && strcmp(argv[1], "--list") == 0) {
		for (const struct test_case *const *c = __start_test_cases; c < __stop_test_cases; c++)
			puts((*c)->name);
		return 0;
	}
	const char *dir = getenv("TEST_TMPDIR"), *s = getenv("TEST_SCALE");
	if (dir && *dir)
		snprintf(base, sizeof(base), "%s", dir);
	int scale = s && atoi(s) > 0 ? atoi(s) : 1;
	int announce = getenv("TEST_ANNOUNCE") != NULL; /* says what is running, for when all dies */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	mkdir(base, 01777);

	int bad = 0;
	for (const struct test_case *const *c = __start_test_cases; c < __stop_test_cases; c++) {
		int wanted = argc < 2;
		for (int i = 1; i < argc; i++)
			wanted |= strcmp(argv[i], (*c)->name) == 0;
		if (!wanted)
			continue;
		if (announce)
			printf("# %s\n", (*c)->name);
		bad |= !run_case(*c, scale);
	}
	return bad;
}
