//go:build ignore

/*
 * Fills the filesystem of the directory it is given, whose size is 2 MiB and 300 inodes, and
 * says how every way of filling it ends. Built statically by full_test.go.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 1024 };

static char buf[65536];
static sigjmp_buf back;
static volatile int code;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	code = info->si_code;
	siglongjmp(back, sig);
}

static void say(const char *what, long result)
{
	printf("%s: %ld %s\n", what, result, result < 0 ? strerror(errno) : "");
	errno = 0;
}

static void written(void)
{
	int fd = open("file", O_CREAT | O_RDWR | O_TRUNC, 0644);
	long n = 0, r;
	while ((r = write(fd, buf, sizeof(buf))) > 0)
		n += r;
	say("bytes", n);
	say("one more", write(fd, buf, 1));
	say("over the first", pwrite(fd, buf, PAGE, 0));
	say("allocated", fallocate(fd, 0, n, PAGE));
	char *m = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	m[0] = m[PAGE] = 9;
	say("private copy", m[PAGE]);
	munmap(m, 2 * PAGE);
	close(fd);
	say("unlink", unlink("file"));
}

/* Stores into, and system calls with, a mapping of a file that has no room for its pages. */
static void mapped(void)
{
	int fd = open("file", O_CREAT | O_RDWR | O_TRUNC, 0644), p[2], sig;
	volatile int n = 0;
	struct stat st;
	ftruncate(fd, PAGES * PAGE);
	char *m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!(sig = sigsetjmp(back, 1)))
		for (; n < PAGES; n++)
			m[n * PAGE] = 1;
	printf("stores: %d, then signal %d code %d\n", n, sig, code);
	char *hole = m + (PAGES - 8) * PAGE;
	int self = open("/proc/self/exe", O_RDONLY);
	say("read into a hole", read(self, hole, 100));
	pipe(p);
	write(p[1], buf, 5000);
	say("pipe into a hole", read(p[0], hole + 50, 5000));
	say("left in the pipe", read(p[0], buf, 5000));
	say("stat into a hole", fstat(fd, (void *)(hole + PAGE)));
	pid_t child = fork();
	if (!child) {
		signal(SIGBUS, SIG_DFL);
		hole[2 * PAGE] = 1;
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	printf("child: %x\n", status & 0x7f);
	say("room", ftruncate(fd, PAGE));
	say("room", ftruncate(fd, PAGES * PAGE));
	if (!(sig = sigsetjmp(back, 1)))
		hole[0] = 1;
	printf("stored: %d, signal %d\n", hole[0], sig);
	munmap(m, PAGES * PAGE);
	close(fd);
	unlink("file");
}

static void named(void)
{
	char name[32];
	int n = 0, fd;
	for (;; n++) {
		sprintf(name, "f%d", n);
		if ((fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644)) < 0)
			break;
		close(fd);
	}
	say("files", n);
	say("mkdir", mkdir("d", 0755));
	say("symlink", symlink("f0", "l"));
	say("fifo", mkfifo("p", 0644));
	say("rename", rename("f0", "renamed"));
	say("unlink", unlink("renamed"));
	say("mkdir", mkdir("d", 0755));
	say("rmdir", rmdir("d"));
	while (--n > 0) {
		sprintf(name, "f%d", n);
		if (unlink(name))
			say(name, -1);
	}
}

int main(int argc, char **argv)
{
	struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	if (argc != 2 || chdir(argv[1]))
		return 1;
	setvbuf(stdout, NULL, _IONBF, 0);
	sigaction(SIGBUS, &a, NULL);
	sigaction(SIGSEGV, &a, NULL);
	written();
	mapped();
	named();
	return 0;
}
