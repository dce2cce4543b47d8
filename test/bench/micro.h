/* What the parts of micro share: the clock, the end on an error, and runs that cannot hang. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A metric is one operation of the kernel. run does it n times and alone is measured; start
 * and stop, which may be absent, surround all rounds of it. */
struct metric {
	const char *name;
	void (*run)(long n);
	void (*start)(void);
	void (*stop)(void);
};

/* All metrics, ended by one without a name. */
extern const struct metric metrics[];

/* prepare_ops makes the files that metrics work on in dir; clean_ops removes them. */
void prepare_ops(const char *dir, const char *self);
void clean_ops(void);

/* scale lets n threads work for ms milliseconds and prints how much they did. */
void scale(int n, long ms);

/* die ends the process and lets the metric's line say why. */
_Noreturn void die(const char *what);

#define MUST(x) ({ __typeof__(x) r_ = (x); if ((long)r_ == -1) die(#x); r_; })

static inline uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}
