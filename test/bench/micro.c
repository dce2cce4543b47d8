//go:build ignore

/*
 * micro measures what single operations of the kernel cost.
 *
 *	micro [-only NAME,...] [-ms N] [-dir D] [-hogs N]
 *	micro -threads N,... [-ms N]
 *	micro -list
 *	micro -spin SECONDS
 *
 * Each metric of micro_ops.c is measured in a process of its own: the number of operations
 * is doubled until a round takes its share of -ms (default 100), then ROUNDS rounds are
 * taken. A line of JSON on standard output has the median and the best round, in
 * nanoseconds an operation:
 *
 *	{"metric":"getpid","ns":102.4,"best":101.9,"rounds":9,"iters":108000}
 *
 * A metric that fails, dies or does not end has a line with "error" instead, and the rest
 * goes on. The exit status is 1 then.
 *
 * -hogs N keeps N processes spinning meanwhile. -dir is where the files of the metrics are
 * (default /tmp). -threads measures throughput instead, see micro_scale.c. -spin is one such
 * hog alone. Nothing outlives micro, and none of it runs without a bound.
 */
#include "micro.h"
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum {
	ROUNDS = 9,
	LIMIT = 20,	 /* seconds that a metric may take beyond what it was given */
	HOG_LIMIT = 600, /* seconds that a hog spins at most */
	MAX_HOGS = 64,
};

static long ms = 100;
static const char *only;
static char *why; /* shared with the processes of the metrics: what failed */

_Noreturn void die(const char *what)
{
	if (why && !*why)
		snprintf(why, 200, "%s: %s", what, strerror(errno));
	_exit(3);
}

static int listed(const char *name)
{
	if (!only)
		return 1;
	size_t len = strlen(name);
	for (const char *p = only; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, name, len) && (p[len] == ',' || !p[len]))
			return 1;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void print(const char *name, double *v, int rounds, long iters)
{
	qsort(v, rounds, sizeof *v, by_value);
	double median = rounds % 2 ? v[rounds / 2] : (v[rounds / 2 - 1] + v[rounds / 2]) / 2;
	printf("{\"metric\":\"%s\",\"ns\":%.1f,\"best\":%.1f,\"rounds\":%d,\"iters\":%ld}\n", name, median, v[0], rounds, iters);
	fflush(stdout);
}

static double timed(const struct metric *m, long n)
{
	uint64_t began = now();
	m->run(n);
	return now() - began;
}

static double least(double a, double b) { return a < b ? a : b; }

static void measure(const struct metric *m)
{
	double share = ms * 1e6 / ROUNDS, took;
	long n = 1;
	if (m->start)
		m->start();
	/* The better of two, so that one disturbance does not make the rounds short. */
	while ((took = timed(m, n)) < share / 2 || (took = least(took, timed(m, n))) < share / 2)
		n *= took < share / 32 ? 8 : 2;
	if ((n *= share / took) < 1)
		n = 1;
	double v[ROUNDS];
	int r = 0;
	for (uint64_t began = now(); r < ROUNDS && (r < 3 || now() - began < ms * 2e6); r++)
		v[r] = timed(m, n) / n;
	if (m->stop)
		m->stop();
	print(m->name, v, r, n);
}

static void run_metric(const void *m) { measure(m); }
static void run_scale(const void *n) { scale(*(const int *)n, ms); }

/* isolated runs f in a process group of its own and ends it when it takes too long. It
 * returns whether f came to its end, and prints an error in the name of f otherwise. */
static int isolated(const char *name, void (*f)(const void *), const void *arg)
{
	sigset_t chld, old;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &old);
	*why = 0;
	pid_t pid = fork();
	if (!pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &old, NULL);
		f(arg);
		exit(0);
	}
	int status = -1, late = 0;
	uint64_t deadline = now() + LIMIT * 1000000000ull + ms * 1000000ull;
	if (pid > 0) {
		setpgid(pid, pid);
		while (waitpid(pid, &status, WNOHANG) == 0 && !late) {
			int64_t left = deadline - now();
			struct timespec t = {left / 1000000000, left % 1000000000};
			late = left <= 0 || (sigtimedwait(&chld, NULL, &t) < 0 && errno == EAGAIN);
		}
		kill(-pid, SIGKILL); /* whatever it has left */
		if (late)
			waitpid(pid, &status, 0);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (status == 0 && !late)
		return 1;
	char text[64];
	if (pid < 0)
		snprintf(text, sizeof text, "fork: %s", strerror(errno));
	else if (late)
		snprintf(text, sizeof text, "no end within %d s", LIMIT);
	else if (WIFSIGNALED(status))
		snprintf(text, sizeof text, "killed by signal %d", WTERMSIG(status));
	else
		snprintf(text, sizeof text, "exit status %d", WEXITSTATUS(status));
	for (char *p = why; *p; p++) /* it stands in JSON */
		if (*p == '"' || *p == '\\' || *p < ' ')
			*p = '\'';
	printf("{\"metric\":\"%s\",\"error\":\"%s%s%s\"}\n", name, text, *why ? ": " : "", why);
	fflush(stdout);
	return 0;
}

/* The first calls of clock_gettime in this process are measured by themselves: a clock that
 * is slow until it is calibrated shows here, in the first program of a sandbox. */
enum { FIRST_CALLS = 100 };
static double first_calls[ROUNDS];

static void measure_first_calls(void)
{
	struct timespec t;
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t began = now();
		for (int i = 1; i < FIRST_CALLS; i++)
			clock_gettime(CLOCK_MONOTONIC, &t);
		first_calls[r] = (double)(now() - began) / FIRST_CALLS;
	}
}

static void spin(long seconds)
{
	uint64_t deadline = now() + seconds * 1000000000ull;
	while (now() < deadline)
		for (volatile int i = 0; i < 1000000; i++)
			;
	exit(0);
}

static pid_t hogs[MAX_HOGS];

static void start_hogs(int n)
{
	for (int i = 0; i < n; i++) {
		hogs[i] = fork();
		if (hogs[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			spin(HOG_LIMIT);
		}
		if (hogs[i] < 0) {
			perror("micro: fork");
			exit(2);
		}
	}
}

static void stop_hogs(int n)
{
	for (int i = 0; i < n; i++) {
		kill(hogs[i], SIGKILL);
		waitpid(hogs[i], NULL, 0);
	}
}

static _Noreturn void usage(void)
{
	fputs("usage: micro [-only NAME,...] [-ms N] [-dir D] [-hogs N] [-threads N,...] [-list] [-spin SECONDS]\n", stderr);
	exit(2);
}

static long number(const char *s, long least, long most)
{
	char *end;
	long n = strtol(s, &end, 10);
	if (end == s || (*end && *end != ',') || n < least || n > most)
		usage();
	return n;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "-nothing")) /* what fork_exec executes */
		return 0;
	measure_first_calls();
	const char *dir = "/tmp", *threads = NULL;
	int nhogs = 0;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-list")) {
			puts("clock_first");
			for (const struct metric *m = metrics; m->name; m++)
				puts(m->name);
			return 0;
		}
		if (i + 1 == argc)
			usage();
		const char *value = argv[++i];
		if (!strcmp(argv[i - 1], "-only"))
			only = value;
		else if (!strcmp(argv[i - 1], "-ms"))
			ms = number(value, 1, 60000);
		else if (!strcmp(argv[i - 1], "-dir"))
			dir = value;
		else if (!strcmp(argv[i - 1], "-hogs"))
			nhogs = number(value, 0, MAX_HOGS);
		else if (!strcmp(argv[i - 1], "-threads"))
			threads = value;
		else if (!strcmp(argv[i - 1], "-spin"))
			spin(number(value, 1, HOG_LIMIT));
		else
			usage();
	}
	why = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (why == MAP_FAILED) {
		perror("micro: mmap");
		return 2;
	}
	start_hogs(nhogs);
	int failed = 0;
	if (threads) {
		for (const char *p = threads; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
			int n = number(p, 1, 1024);
			char name[32];
			snprintf(name, sizeof name, "threads_%d", n);
			failed += !isolated(name, run_scale, &n);
		}
	} else {
		char self[4096];
		ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
		self[len < 0 ? 0 : len] = 0;
		prepare_ops(dir, len < 0 ? argv[0] : self);
		if (listed("clock_first"))
			print("clock_first", first_calls, ROUNDS, FIRST_CALLS);
		for (const struct metric *m = metrics; m->name; m++)
			if (listed(m->name))
				failed += !isolated(m->name, run_metric, m);
		clean_ops();
	}
	stop_hogs(nhogs);
	return failed > 0;
}
