//go:build ignore

/*
 * Brings a task into one state, says "ready" on standard output, and stays in it: what
 * kill and delete must be able to end. Built statically by blocked_test.go.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buf[1 << 20];
static int p[2];

static void ready(void) { write(1, "ready\n", 6); }
static void *park(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static void read_pipe(void) { pipe(p); ready(); read(p[0], buf, 1); }
static void write_pipe(void) { pipe(p); ready(); write(p[1], buf, sizeof(buf)); }
static void futex_wait(void) { static int w; ready(); syscall(SYS_futex, &w, FUTEX_WAIT, 0, NULL, NULL, 0); }
static void sleeping(void) { struct timespec ts = {100000, 0}; ready(); nanosleep(&ts, NULL); }
static void flocked(void)
{
	int a = open("/tmp/l", O_RDWR | O_CREAT, 0600), b = open("/tmp/l", O_RDWR);
	flock(a, LOCK_EX);
	ready();
	flock(b, LOCK_EX);
}
static void posix_lock(void)
{
	struct flock l = {.l_type = F_WRLCK};
	int fd = open("/tmp/l", O_RDWR | O_CREAT, 0600);
	fcntl(fd, F_SETLK, &l);
	if (fork())
		park(NULL);
	ready();
	fcntl(fd, F_SETLKW, &l);
}
static void fifo_open(void) { mkfifo("/tmp/f", 0600); ready(); open("/tmp/f", O_RDONLY); }
static void disk_fifo_open(void) { unlink("/data/f"); mkfifo("/data/f", 0600); ready(); open("/data/f", O_WRONLY); }
static void wait_child(void)
{
	if (fork() == 0)
		park(NULL);
	ready();
	wait(NULL);
}
static void epolling(void) { struct epoll_event e; int ep = epoll_create1(0); ready(); epoll_wait(ep, &e, 1, -1); }
static void polling(void) { ready(); poll(NULL, 0, -1); }
static void selecting(void) { ready(); select(0, NULL, NULL, NULL, NULL); }
static void pausing(void) { ready(); pause(); }
static void sigwaiting(void) { sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, NULL); ready(); sigwaitinfo(&s, NULL); }
static void suspended(void) { sigset_t s; sigfillset(&s); ready(); sigsuspend(&s); }
static void tty_read(void)
{
	int n, m = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	grantpt(m);
	unlockpt(m);
	(void)n;
	int s = open(ptsname(m), O_RDWR | O_NOCTTY);
	ready();
	read(s, buf, 1);
}
static void vfork_parent(void)
{
	ready();
	if (vfork() == 0)
		for (;;)
			pause();
}
static void accepting(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/tmp/s"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(fd, (void *)&a, sizeof(a));
	listen(fd, 1);
	ready();
	accept(fd, NULL, NULL);
}
static void receiving(void) { socketpair(AF_UNIX, SOCK_DGRAM, 0, p); ready(); recv(p[0], buf, 1, 0); }
static void message_receive(void) { int q = msgget(IPC_PRIVATE, 0600 | IPC_CREAT); ready(); msgrcv(q, buf, 10, 0, 0); }
static void semaphore(void)
{
	int s = semget(IPC_PRIVATE, 1, 0600 | IPC_CREAT);
	struct sembuf b = {0, -1, 0};
	ready();
	semop(s, &b, 1);
}
static void event_fd(void) { int fd = eventfd(0, 0); ready(); read(fd, buf, 8); }
static void spinning(void) { ready(); for (;;) ; }
static void calling(void) { ready(); for (;;) syscall(SYS_getppid); }
static void faulting(void)
{
	ready();
	for (;;) {
		char *m = malloc(1 << 22);
		memset(m, 1, 1 << 22);
		free(m);
	}
}
static void stopped(void)
{
	pid_t c = fork();
	if (c == 0) {
		raise(SIGSTOP);
		park(NULL);
	}
	waitpid(c, NULL, WUNTRACED);
	ready();
	park(NULL);
}
static void traced(void)
{
	pid_t c = fork();
	if (c == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
	}
	waitpid(c, NULL, 0);
	ready();
	park(NULL);
}
static void all_blocked(void)
{
	sigset_t s;
	sigfillset(&s);
	sigprocmask(SIG_BLOCK, &s, NULL);
	for (int i = 1; i < 65; i++)
		signal(i, SIG_IGN);
	ready();
	for (;;)
		sleep(1000);
}
static void threads(void)
{
	pthread_t t;
	for (int i = 0; i < 50; i++)
		pthread_create(&t, NULL, park, NULL);
	ready();
	park(NULL);
}
static void zombies(void)
{
	for (int i = 0; i < 50; i++)
		if (fork() == 0)
			_exit(0);
	ready();
	park(NULL);
}
static void family(void)
{
	for (int i = 0; i < 5; i++)
		fork();
	static int told;
	if (getpid() == 1 && !told++)
		ready();
	park(NULL);
}
static void execing(void)
{
	ready();
	execl("/data/blocker", "blocker", "execing-again", NULL);
}
static void exec_again(void) { execl("/data/blocker", "blocker", "execing-again", NULL); }
static void disk_writing(void)
{
	int fd = open("/data/w", O_RDWR | O_CREAT | O_TRUNC, 0600);
	ready();
	for (;;)
		pwrite(fd, buf, sizeof(buf), 0);
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*f)(void); } states[] = {
	    {"read-pipe", read_pipe}, {"write-pipe", write_pipe}, {"futex", futex_wait}, {"nanosleep", sleeping},
	    {"flock", flocked}, {"posix-lock", posix_lock}, {"fifo-open", fifo_open}, {"disk-fifo-open", disk_fifo_open},
	    {"wait4", wait_child}, {"epoll", epolling}, {"poll", polling}, {"select", selecting}, {"pause", pausing},
	    {"sigwaitinfo", sigwaiting}, {"sigsuspend", suspended}, {"tty-read", tty_read}, {"vfork-parent", vfork_parent},
	    {"accept", accepting}, {"recv", receiving}, {"msgrcv", message_receive}, {"semop", semaphore},
	    {"eventfd", event_fd}, {"spinning", spinning}, {"calling", calling}, {"faulting", faulting},
	    {"stopped-child", stopped}, {"traced-child", traced}, {"all-signals-blocked", all_blocked},
	    {"threads", threads}, {"zombies", zombies}, {"family", family}, {"execing", execing},
	    {"disk-writing", disk_writing}};
	if (argc > 1 && strcmp(argv[1], "execing-again") == 0)
		exec_again();
	if (argc > 1 && strcmp(argv[1], "--list") == 0)
		for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
			puts(states[i].name);
	for (size_t i = 0; argc > 1 && i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(argv[1], states[i].name) == 0)
			states[i].f();
	return argc > 1 && strcmp(argv[1], "--list") == 0 ? 0 : 99;
}
