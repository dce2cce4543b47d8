//go:build ignore

/* The operations that micro measures. The list is at the end. */
#include "micro.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096, KIB64 = 65536, MIB = 1 << 20 };

static int zero_fd, null_fd, file_fd;
static char path[4200], absent[4200], made[4200], self_path[4096];
static char buf[MIB] __attribute__((aligned(PAGE)));

void prepare_ops(const char *dir, const char *self)
{
	snprintf(self_path, sizeof self_path, "%s", self);
	snprintf(path, sizeof path, "%s/micro.file", dir);
	snprintf(absent, sizeof absent, "%s/micro.absent", dir);
	snprintf(made, sizeof made, "%s/micro.made", dir);
	memset(buf, 1, sizeof buf);
	zero_fd = open("/dev/zero", O_RDONLY);
	null_fd = open("/dev/null", O_WRONLY);
	file_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (zero_fd < 0 || null_fd < 0 || file_fd < 0 || write(file_fd, buf, sizeof buf) != sizeof buf) {
		fprintf(stderr, "micro: files below %s and /dev: %s\n", dir, strerror(errno));
		exit(2);
	}
}

void clean_ops(void) { unlink(path); }

#define REPEAT for (; n > 0; n--)

/* Entering the kernel and coming back. getpid is a number that the compiler has put right
 * before the instruction; the form by syscall() has it in a variable. */
static void getpid_libc(long n) { REPEAT getpid(); }
static void getpid_syscall(long n) { REPEAT syscall(SYS_getpid); }
static void getppid_libc(long n) { REPEAT getppid(); }
static void gettid_syscall(long n) { REPEAT syscall(SYS_gettid); }
static void yield(long n) { REPEAT sched_yield(); }

static void *getpid_thread(void *n) { getpid_libc((long)n); return NULL; }
static void getpid_2threads(long n)
{
	pthread_t t;
	if (pthread_create(&t, NULL, getpid_thread, (void *)n))
		die("pthread_create");
	getpid_libc(n);
	pthread_join(t, NULL);
}

/* No kernel at all, for a look at the machine itself. */
static void compute(long n)
{
	volatile uint32_t x = 1;
	REPEAT x = x * 1664525u + 1013904223u;
}

static void clock_libc(long n) { struct timespec t; REPEAT clock_gettime(CLOCK_MONOTONIC, &t); }
static void clock_syscall(long n) { struct timespec t; REPEAT syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t); }

/* Files. */
static void read1(long n) { REPEAT MUST(read(zero_fd, buf, 1)); }
static void write1(long n) { REPEAT MUST(write(null_fd, buf, 1)); }
static void read64k(long n) { REPEAT MUST(read(zero_fd, buf, KIB64)); }
static void pread4k(long n) { REPEAT MUST(pread(file_fd, buf, PAGE, 0)); }
static void pwrite4k(long n) { REPEAT MUST(pwrite(file_fd, buf, PAGE, 0)); }
static void pread64k(long n) { REPEAT MUST(pread(file_fd, buf, KIB64, 0)); }
static void open_close(long n) { REPEAT close(MUST(open(path, O_RDONLY))); }
static void stat_file(long n) { struct stat st; REPEAT MUST(stat(path, &st)); }
static void stat_absent(long n)
{
	struct stat st;
	REPEAT if (stat(absent, &st) == 0 || errno != ENOENT)
		die("stat of an absent file");
}
static void fstat_file(long n) { struct stat st; REPEAT MUST(fstat(file_fd, &st)); }
static void create_unlink(long n)
{
	REPEAT {
		close(MUST(open(made, O_RDWR | O_CREAT | O_EXCL, 0600)));
		MUST(unlink(made));
	}
}
static void dup_close(long n) { REPEAT close(MUST(dup(null_fd))); }

static int epoll_fd, ends[2];
static void epoll_start(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	MUST(pipe(ends));
	epoll_fd = MUST(epoll_create1(0));
	MUST(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, ends[0], &e));
	MUST(write(ends[1], "x", 1));
}
static void epoll_ready(long n)
{
	struct epoll_event e;
	REPEAT if (epoll_wait(epoll_fd, &e, 1, 0) != 1)
		die("epoll_wait of a readable pipe");
}

/* Two that hand a byte to and fro. The partner reads from one descriptor and writes to
 * another until the end of the first. */
static int to_partner, from_partner;
static pid_t partner;

static void partner_start(int out, int partner_in, int partner_out, int in)
{
	to_partner = out, from_partner = in;
	partner = MUST(fork());
	if (partner)
		return;
	char c;
	close(out), close(in);
	while (read(partner_in, &c, 1) == 1 && write(partner_out, &c, 1) == 1)
		;
	_exit(0);
}
static void partner_stop(void)
{
	close(to_partner);
	if (from_partner != to_partner)
		close(from_partner);
	kill(partner, SIGKILL);
	waitpid(partner, NULL, 0);
}
static void ping_pong(long n)
{
	char c = 0;
	REPEAT {
		MUST(write(to_partner, &c, 1));
		if (read(from_partner, &c, 1) != 1)
			die("read from the partner");
	}
}
static void pipes_start(void)
{
	int there[2], back[2];
	MUST(pipe(there));
	MUST(pipe(back));
	partner_start(there[1], there[0], back[1], back[0]);
	close(there[0]), close(back[1]);
}
static void sockets_start(void)
{
	int s[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	partner_start(s[0], s[1], s[1], s[0]);
	close(s[1]);
}

static void pipe_start(void) { MUST(pipe(ends)); }
static void pipe_self(long n)
{
	char c = 0;
	REPEAT {
		MUST(write(ends[1], &c, 1));
		MUST(read(ends[0], &c, 1));
	}
}

/* The word says whose turn it is. */
enum { OURS, THEIRS, END };
static uint32_t turn;
static pthread_t futex_partner;

static void give_turn(uint32_t to)
{
	__atomic_store_n(&turn, to, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static uint32_t await_turn(uint32_t while_it_is)
{
	uint32_t t;
	while ((t = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) == while_it_is)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, while_it_is, NULL, NULL, 0);
	return t;
}
static void *futex_thread(void *arg)
{
	while (await_turn(OURS) != END)
		give_turn(OURS);
	return arg;
}
static void futex_start(void)
{
	turn = OURS;
	if (pthread_create(&futex_partner, NULL, futex_thread, NULL))
		die("pthread_create");
}
static void futex_stop(void)
{
	give_turn(END);
	pthread_join(futex_partner, NULL);
}
static void futex_ping_pong(long n)
{
	REPEAT {
		give_turn(THEIRS);
		await_turn(THEIRS);
	}
}
static void futex_wake_none(long n) { REPEAT MUST(syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)); }

/* Memory. */
static char *map(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}
static void map_and_touch(long n, size_t touched)
{
	REPEAT {
		char *p = map(KIB64);
		for (size_t i = 0; i < touched; i += PAGE)
			p[i] = 1;
		munmap(p, KIB64);
	}
}
static void mmap_munmap(long n) { map_and_touch(n, 0); }
static void mmap_touch1(long n) { map_and_touch(n, PAGE); }
static void mmap_touch16(long n) { map_and_touch(n, KIB64); }
static void mmap_file(long n)
{
	REPEAT {
		volatile char *p = mmap(NULL, KIB64, PROT_READ, MAP_PRIVATE, file_fd, 0);
		if (p == MAP_FAILED)
			die("mmap of a file");
		p[0];
		munmap((void *)p, KIB64);
	}
}

static volatile char *page;
static void page_start(void)
{
	page = map(PAGE);
	page[0] = 1;
}
static void mprotect_twice(long n)
{
	REPEAT {
		MUST(mprotect((void *)page, PAGE, PROT_READ));
		MUST(mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE));
		page[0] = 1;
	}
}

/* First touches of anonymous memory, in areas of up to 256 MiB; each round maps and unmaps
 * what it touches. */
enum { PAGES = 65536 };
static void fault_seq(long n)
{
	while (n > 0) {
		long pages = n < PAGES ? n : PAGES;
		char *p = map(pages * PAGE);
		for (long i = 0; i < pages; i++)
			p[i * PAGE] = 1;
		munmap(p, pages * PAGE);
		n -= pages;
	}
}
static uint16_t scattered[PAGES];
static void scatter(void)
{
	uint32_t x = 2463534242u; /* xorshift */
	for (int i = 0; i < PAGES; i++)
		scattered[i] = i;
	for (int i = PAGES - 1; i > 0; i--) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		int j = x % (i + 1);
		uint16_t t = scattered[i];
		scattered[i] = scattered[j], scattered[j] = t;
	}
}
static void fault_random(long n)
{
	while (n > 0) {
		long pages = n < PAGES ? n : PAGES;
		char *p = map((size_t)PAGES * PAGE);
		for (long i = 0; i < pages; i++)
			p[(size_t)scattered[i] * PAGE] = 1;
		munmap(p, (size_t)PAGES * PAGE);
		n -= pages;
	}
}

/* Signals. */
static volatile sig_atomic_t caught;
static void on_signal(int sig) { (void)sig, caught++; }
static void signal_start(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	MUST(sigaction(SIGUSR1, &sa, NULL));
}
static void signal_self(long n)
{
	long want = caught + n;
	REPEAT raise(SIGUSR1);
	if (caught != (sig_atomic_t)want)
		die("signals were lost");
}
static void on_segv(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)uc;
	if (mprotect(si->si_addr, PAGE, PROT_READ | PROT_WRITE))
		_exit(3);
}
static void segv_start(void)
{
	struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
	MUST(sigaction(SIGSEGV, &sa, NULL));
	page_start();
}
static void segv_mprotect(long n)
{
	REPEAT {
		MUST(mprotect((void *)page, PAGE, PROT_NONE));
		page[0] = 1;
	}
}

/* Threads and processes. */
static void *nothing(void *arg) { return arg; }
static void thread_join(long n)
{
	REPEAT {
		pthread_t t;
		if ((errno = pthread_create(&t, NULL, nothing, NULL)))
			die("pthread_create");
		pthread_join(t, NULL);
	}
}
static void await(pid_t pid)
{
	int status;
	if (waitpid(pid, &status, 0) != pid || status)
		die("a child failed");
}
static void fork_wait(long n)
{
	REPEAT {
		pid_t pid = MUST(fork());
		if (!pid)
			_exit(0);
		await(pid);
	}
}
static void fork_touch1m(long n)
{
	REPEAT {
		pid_t pid = MUST(fork());
		if (!pid) {
			for (int i = 0; i < MIB; i += PAGE)
				((volatile char *)buf)[i] = 2;
			_exit(0);
		}
		await(pid);
	}
}
static char *const child_argv[] = {"micro", "-nothing", NULL}, *const child_env[] = {NULL};
static void fork_exec(long n)
{
	REPEAT {
		pid_t pid = MUST(fork());
		if (!pid) {
			execve(self_path, child_argv, child_env);
			_exit(127);
		}
		await(pid);
	}
}
static void spawn(long n)
{
	REPEAT {
		pid_t pid;
		if ((errno = posix_spawn(&pid, self_path, NULL, NULL, child_argv, child_env)))
			die("posix_spawn");
		await(pid);
	}
}

const struct metric metrics[] = {
	{"compute", compute, NULL, NULL},
	{"clock", clock_libc, NULL, NULL},
	{"clock_syscall", clock_syscall, NULL, NULL},
	{"getpid", getpid_libc, NULL, NULL},
	{"getpid_syscall", getpid_syscall, NULL, NULL},
	{"getppid", getppid_libc, NULL, NULL},
	{"gettid_syscall", gettid_syscall, NULL, NULL},
	{"getpid_2threads", getpid_2threads, NULL, NULL},
	{"sched_yield", yield, NULL, NULL},
	{"read1", read1, NULL, NULL},
	{"write1", write1, NULL, NULL},
	{"read64k", read64k, NULL, NULL},
	{"pread4k", pread4k, NULL, NULL},
	{"pwrite4k", pwrite4k, NULL, NULL},
	{"pread64k", pread64k, NULL, NULL},
	{"open_close", open_close, NULL, NULL},
	{"stat", stat_file, NULL, NULL},
	{"stat_absent", stat_absent, NULL, NULL},
	{"fstat", fstat_file, NULL, NULL},
	{"create_unlink", create_unlink, NULL, NULL},
	{"dup_close", dup_close, NULL, NULL},
	{"epoll_ready", epoll_ready, epoll_start, NULL},
	{"pipe_self", pipe_self, pipe_start, NULL},
	{"pipe_pingpong", ping_pong, pipes_start, partner_stop},
	{"unix_pingpong", ping_pong, sockets_start, partner_stop},
	{"futex_pingpong", futex_ping_pong, futex_start, futex_stop},
	{"futex_wake_none", futex_wake_none, NULL, NULL},
	{"mmap_munmap", mmap_munmap, NULL, NULL},
	{"mmap_touch1", mmap_touch1, NULL, NULL},
	{"mmap_touch16", mmap_touch16, NULL, NULL},
	{"mmap_file", mmap_file, NULL, NULL},
	{"mprotect_touch", mprotect_twice, page_start, NULL},
	{"fault_seq", fault_seq, NULL, NULL},
	{"fault_random", fault_random, scatter, NULL},
	{"signal_self", signal_self, signal_start, NULL},
	{"segv_mprotect", segv_mprotect, segv_start, NULL},
	{"thread_join", thread_join, NULL, NULL},
	{"fork_wait", fork_wait, NULL, NULL},
	{"fork_touch1m", fork_touch1m, NULL, NULL},
	{"fork_exec", fork_exec, NULL, NULL},
	{"spawn", spawn, NULL, NULL},
	{NULL, NULL, NULL, NULL},
};
