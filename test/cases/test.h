/*
 * What a syscall test needs: named cases, checks that say what went wrong, and a few
 * helpers to fork, wait and look. harness.c holds main(): it runs each case in a child
 * of its own, in an empty directory, in a session of its own, with a time limit.
 *
 *   TEST(pipe_eof)
 *   {
 *           int p[2];
 *           SYS(pipe(p));
 *           SYS(close(p[1]));
 *           CHECK_EQ(read(p[0], buf, 1), 0);
 *           CHECK_ERRNO(read(-1, buf, 1), EBADF);
 *   }
 *
 * A check that fails ends the process it runs in. The case fails if any of its processes
 * reported something, or if its first process does not exit with 0. A case that needs
 * what this machine lacks says SKIP("why").
 */
#ifndef TEST_H
#define TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct test_case {
	const char *name;
	void (*run)(void);
	int seconds; /* limit; 0 for the default */
};

#define TEST_LIMIT(id, limit)                                                        \
	static void case_run_##id(void);                                             \
	static const struct test_case case_##id = {#id, case_run_##id, limit};       \
	static const struct test_case *const case_ref_##id                           \
	    __attribute__((section("test_cases"), used)) = &case_##id;               \
	static void case_run_##id(void)
#define TEST(id) TEST_LIMIT(id, 0)

/* A helper is entered by executing "/proc/self/exe --helper NAME ARGS…"; see helper_exec. */
struct test_helper {
	const char *name;
	int (*run)(int argc, char **argv);
};
#define HELPER(id)                                                                   \
	static int helper_run_##id(int argc, char **argv);                           \
	static const struct test_helper helper_##id = {#id, helper_run_##id};        \
	static const struct test_helper *const helper_ref_##id                       \
	    __attribute__((section("test_helpers"), used)) = &helper_##id;           \
	static int helper_run_##id(int argc __attribute__((unused)), char **argv __attribute__((unused)))

/* Reports and ends this process. */
void test_fail(const char *file, int line, const char *fmt, ...) __attribute__((noreturn, format(printf, 3, 4)));
void test_skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* What goes wrong in this process and its children from here on is not the case's failure. */
void test_mute(void);

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(...) test_skip(__VA_ARGS__)

#define CHECK(cond)                                                                  \
	do {                                                                         \
		errno = 0;                                                           \
		if (!(cond))                                                         \
			FAIL("%s is false (errno %s)", #cond, strerror(errno));      \
	} while (0)

/* Fails unless the call gives something else than -1; its value is the call's. */
#define SYS(call)                                                                    \
	({                                                                           \
		long sys_r_ = (long)(call);                                          \
		if (sys_r_ == -1)                                                    \
			FAIL("%s: %s", #call, strerror(errno));                      \
		sys_r_;                                                              \
	})

/* Fails unless the call gives -1 and this errno. */
#define CHECK_ERRNO(call, want)                                                      \
	do {                                                                         \
		errno = 0;                                                           \
		long ce_r_ = (long)(call);                                           \
		int ce_e_ = errno;                                                   \
		if (ce_r_ != -1)                                                     \
			FAIL("%s = %ld, want %s", #call, ce_r_, #want);              \
		if (ce_e_ != (want))                                                 \
			FAIL("%s: %s, want %s", #call, strerrorname_np(ce_e_), #want); \
	} while (0)

#define CHECK_EQ(got, want)                                                          \
	do {                                                                         \
		errno = 0;                                                           \
		long long eq_g_ = (long long)(got), eq_w_ = (long long)(want);       \
		if (eq_g_ != eq_w_)                                                  \
			FAIL("%s = %lld, want %s = %lld (errno %s)", #got, eq_g_, #want, eq_w_, strerror(errno)); \
	} while (0)

#define CHECK_STR(got, want)                                                         \
	do {                                                                         \
		const char *st_g_ = (got), *st_w_ = (want);                          \
		if (strcmp(st_g_, st_w_) != 0)                                       \
			FAIL("%s = \"%s\", want \"%s\"", #got, st_g_, st_w_);        \
	} while (0)

#define CHECK_MEM(got, want, n)                                                      \
	do {                                                                         \
		if (memcmp((got), (want), (n)) != 0)                                 \
			FAIL("%s differs from %s", #got, #want);                     \
	} while (0)

/* CHILD(pid) { … } runs the block in a child, which then exits with 0. */
#define CHILD(pid)                                                                   \
	pid_t pid = (pid_t)SYS(fork());                                              \
	if (pid == 0)                                                                \
		for (;; _exit(0))

/* Waits for a child and checks how it ended. */
#define CHECK_EXIT(pid, code)                                                        \
	do {                                                                         \
		int ex_s_ = wait_status(pid);                                        \
		if (!WIFEXITED(ex_s_) || WEXITSTATUS(ex_s_) != (code))               \
			FAIL("child " #pid ": status %#x, want exit code %d", ex_s_, (int)(code)); \
	} while (0)
#define CHECK_KILLED(pid, sig)                                                       \
	do {                                                                         \
		int ki_s_ = wait_status(pid);                                        \
		if (!WIFSIGNALED(ki_s_) || WTERMSIG(ki_s_) != (sig))                 \
			FAIL("child " #pid ": status %#x, want killed by %s", ki_s_, #sig); \
	} while (0)

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE 4096UL

int wait_status(pid_t pid);                  /* waitpid that retries EINTR and must succeed */
void until_blocked(pid_t tid);               /* returns when the thread sleeps or is stopped */
char task_state(pid_t tid);                  /* third field of /proc/TID/stat, 0 if gone */
void sleep_ms(long ms);
long long now_ms(void);                      /* CLOCK_MONOTONIC */
int put_file(const char *path, const char *text);     /* creates or truncates; -1 and errno */
ssize_t get_file(const char *path, char *buf, size_t size); /* terminates buf; -1 and errno */
void become(uid_t uid);                      /* setresgid, setgroups, setresuid, or fail */
void *bad_ptr(void);                         /* an address that is not mapped */
void *map_pages(size_t n);                   /* private anonymous, readable and writable */
void on_signal(int sig, void (*fn)(int), int flags);
pid_t gettid_(void);
/* The next of a sequence that *state, which is not 0, begins (xorshift). */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
	return *state;
}
/* Replaces the process by a helper of the same program, or fails. */
void helper_exec(const char *helper, ...) __attribute__((noreturn, sentinel));
extern char *test_program; /* absolute path of this program */

#endif
