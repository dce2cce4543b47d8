//go:build ignore

/*
 * How much n threads of one process get done together. The threads work in pairs, a leader
 * and a follower. One turn of a pair is SYSCALLS cheap system calls in each of them at the
 * same time, then a hand-off from leader to follower and back by futex, and one there and
 * back by pipe. A thread without a partner writes to itself. Every system call and every
 * hand-off counts as one operation.
 *
 *	{"metric":"threads_8","ops_per_s":812345.1,"ops":812345,"seconds":1.000}
 */
#include "micro.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

enum { SYSCALLS = 16, HAND_OFFS = 4 };
enum { LEADERS, FOLLOWERS, END };

struct pair {
	uint32_t turn; /* futex: whose it is, or END */
	int alone;
	int there[2], back[2]; /* pipes */
	unsigned long turns;   /* written by the leader */
} __attribute__((aligned(128)));

static volatile int stop;
static int zero_fd, null_fd;

static void plain_calls(void)
{
	char c = 0;
	for (int i = 0; i < SYSCALLS; i += 4) {
		getppid();
		syscall(SYS_gettid);
		MUST(read(zero_fd, &c, 1));
		MUST(write(null_fd, &c, 1));
	}
}

static void give(uint32_t *turn, uint32_t to)
{
	__atomic_store_n(turn, to, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static uint32_t wait_while(uint32_t *turn, uint32_t old)
{
	uint32_t t;
	while ((t = __atomic_load_n(turn, __ATOMIC_SEQ_CST)) == old)
		syscall(SYS_futex, turn, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
	return t;
}

static void *lead(void *arg)
{
	struct pair *p = arg;
	char c = 0;
	for (; !stop; p->turns++) {
		plain_calls();
		if (p->alone) {
			give(&p->turn, LEADERS);
			give(&p->turn, LEADERS);
			MUST(write(p->there[1], &c, 1));
			MUST(read(p->there[0], &c, 1));
			continue;
		}
		give(&p->turn, FOLLOWERS);
		wait_while(&p->turn, FOLLOWERS);
		MUST(write(p->there[1], &c, 1));
		MUST(read(p->back[0], &c, 1));
	}
	give(&p->turn, END);
	return NULL;
}

static void *follow(void *arg)
{
	struct pair *p = arg;
	char c;
	for (;;) {
		plain_calls();
		if (wait_while(&p->turn, LEADERS) == END)
			return NULL;
		give(&p->turn, LEADERS);
		MUST(read(p->there[0], &c, 1));
		MUST(write(p->back[1], &c, 1));
	}
}

static void start_thread(pthread_t *t, void *(*f)(void *), struct pair *p)
{
	if ((errno = pthread_create(t, NULL, f, p)))
		die("pthread_create");
}

void scale(int n, long ms)
{
	int npairs = (n + 1) / 2;
	struct pair *pairs = aligned_alloc(128, npairs * sizeof *pairs);
	pthread_t *threads = calloc(n, sizeof *threads);
	if (!pairs || !threads)
		die("malloc");
	memset(pairs, 0, npairs * sizeof *pairs);
	zero_fd = MUST(open("/dev/zero", O_RDONLY));
	null_fd = MUST(open("/dev/null", O_WRONLY));
	uint64_t began = now();
	for (int i = 0; i < npairs; i++) {
		struct pair *p = &pairs[i];
		MUST(pipe(p->there));
		MUST(pipe(p->back));
		p->alone = 2 * i + 1 == n;
		start_thread(&threads[2 * i], lead, p);
		if (!p->alone)
			start_thread(&threads[2 * i + 1], follow, p);
	}
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t) && errno == EINTR)
		;
	stop = 1;
	double ops = 0;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	double seconds = (now() - began) / 1e9;
	for (int i = 0; i < npairs; i++)
		ops += (double)pairs[i].turns * ((pairs[i].alone ? 1 : 2) * SYSCALLS + HAND_OFFS);
	printf("{\"metric\":\"threads_%d\",\"ops_per_s\":%.1f,\"ops\":%.0f,\"seconds\":%.3f}\n", n, ops / seconds, ops, seconds);
	fflush(stdout);
}
