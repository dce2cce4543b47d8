//go:build ignore

/* Address spaces: mmap(2), munmap(2), mprotect(2), brk(2), and what faults do. */
#include "test.h"
#include <setjmp.h>
#include <sys/uio.h>

static sigjmp_buf jump;
static siginfo_t fault;

static void catch(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)uc;
	fault = *si;
	siglongjmp(jump, 1);
}

static void catch_faults(void)
{
	struct sigaction sa = {.sa_sigaction = catch, .sa_flags = SA_SIGINFO};
	SYS(sigaction(SIGSEGV, &sa, NULL));
	SYS(sigaction(SIGBUS, &sa, NULL));
}

/* Evaluates the access and checks that it faults so. */
#define FAULTS(access, sig, code, addr)                                              \
	do {                                                                         \
		if (sigsetjmp(jump, 1) == 0) {                                       \
			access;                                                      \
			FAIL("%s does not fault", #access);                          \
		}                                                                    \
		CHECK_EQ(fault.si_signo, sig);                                       \
		CHECK_EQ(fault.si_code, code);                                       \
		CHECK_EQ(fault.si_addr, addr);                                       \
	} while (0)

TEST(mmap_anonymous_is_zero_and_writable)
{
	unsigned char *p = map_pages(64);
	for (size_t i = 0; i < 64 * PAGE; i += 512)
		CHECK_EQ(p[i], 0);
	memset(p, 0xa5, 64 * PAGE);
	CHECK_EQ(p[64 * PAGE - 1], 0xa5);
	SYS(munmap(p, 64 * PAGE));
}

TEST(mmap_errors)
{
	CHECK_ERRNO(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
	CHECK_ERRNO(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 5), EINVAL);
	CHECK_ERRNO(mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
	CHECK_ERRNO(mmap(NULL, 1UL << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	int fd = SYS(open("f", O_RDONLY | O_CREAT, 0600));
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
	SYS(close(fd));
	fd = SYS(open("f", O_WRONLY));
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0), EACCES);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0), EACCES);
	int p[2];
	SYS(pipe(p));
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, p[0], 0), ENODEV);
	int dir = SYS(open(".", O_RDONLY));
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0), ENODEV);
	CHECK_ERRNO(munmap((void *)1, PAGE), EINVAL);
	CHECK_ERRNO(munmap((void *)PAGE, 0), EINVAL);
}

TEST(mmap_fixed_replaces)
{
	char *p = map_pages(4);
	memset(p, 1, 4 * PAGE);
	void *q = mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(q == p + PAGE);
	CHECK_EQ(p[PAGE], 0);
	CHECK_EQ(p[0], 1);
	CHECK_EQ(p[2 * PAGE], 1);
}

TEST(mmap_fixed_noreplace)
{
	char *p = map_pages(2);
	CHECK_ERRNO(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	SYS(munmap(p, PAGE));
	CHECK(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
}

TEST(mmap_hint_is_taken_when_free)
{
	char *p = map_pages(2);
	SYS(munmap(p, 2 * PAGE));
	CHECK(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p);
	CHECK(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != p);
}

TEST(mmap_faults_have_right_siginfo)
{
	catch_faults();
	volatile char *p = map_pages(3);
	SYS(munmap((void *)(p + PAGE), PAGE));
	FAULTS(p[PAGE + 5] = 1, SIGSEGV, SEGV_MAPERR, p + PAGE + 5);
	FAULTS((void)p[PAGE + 7], SIGSEGV, SEGV_MAPERR, p + PAGE + 7);
	SYS(mprotect((void *)p, PAGE, PROT_READ));
	CHECK_EQ(p[3], 0);
	FAULTS(p[9] = 1, SIGSEGV, SEGV_ACCERR, p + 9);
	SYS(mprotect((void *)p, PAGE, PROT_NONE));
	FAULTS((void)p[9], SIGSEGV, SEGV_ACCERR, p + 9);
	SYS(mprotect((void *)p, PAGE, PROT_READ | PROT_WRITE));
	p[9] = 4;
	CHECK_EQ(p[9], 4);
}

TEST(mmap_exec_needs_prot_exec)
{
	static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
	unsigned char *p = map_pages(1);
	memcpy(p, code, sizeof(code));
	catch_faults();
	FAULTS(((int (*)(void))(uintptr_t)p)(), SIGSEGV, SEGV_ACCERR, p);
	SYS(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	CHECK_EQ(((int (*)(void))(uintptr_t)p)(), 42);
	FAULTS(*(volatile char *)p = 1, SIGSEGV, SEGV_ACCERR, p);
}

TEST(mmap_self_modifying_code)
{
	unsigned char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	for (int i = 0; i < 50; i++) {
		unsigned char code[] = {0xb8, i, 0, 0, 0, 0xc3};
		memcpy(p, code, sizeof(code));
		CHECK_EQ(((int (*)(void))(uintptr_t)p)(), i);
	}
}

TEST(mmap_sigbus_beyond_eof)
{
	catch_faults();
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "0123456789", 10));
	volatile char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK_EQ(p[9], '9');
	CHECK_EQ(p[10], 0);
	CHECK_EQ(p[PAGE - 1], 0);
	FAULTS((void)p[PAGE], SIGBUS, BUS_ADRERR, p + PAGE);
	FAULTS(p[PAGE + 1] = 1, SIGBUS, BUS_ADRERR, p + PAGE + 1);
	SYS(ftruncate(fd, 2 * PAGE));
	p[PAGE + 1] = 7;
	SYS(ftruncate(fd, 0));
	FAULTS((void)p[0], SIGBUS, BUS_ADRERR, p);
	SYS(ftruncate(fd, 2 * PAGE));
	CHECK_EQ(p[PAGE + 1], 0);
}

TEST(mmap_shared_file_coherence)
{
	char b[8];
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(ftruncate(fd, 3 * PAGE));
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	char *q = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED && q != MAP_FAILED);
	memcpy(p + 100, "mapped", 6);
	CHECK_EQ(pread(fd, b, 6, PAGE + 100), 6);
	CHECK_MEM(b, "mapped", 6);
	CHECK_MEM(q + PAGE + 100, "mapped", 6);
	CHECK_EQ(pwrite(fd, "written", 7, 2 * PAGE), 7);
	CHECK_MEM(p + PAGE, "written", 7);
	SYS(msync(p, 2 * PAGE, MS_SYNC));
	SYS(munmap(p, 2 * PAGE));
	CHECK_EQ(pread(fd, b, 6, PAGE + 100), 6);
	CHECK_MEM(b, "mapped", 6);
}

TEST(mmap_private_file_is_copied_on_write)
{
	char b[4];
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "abcdefgh", 8));
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	p[0] = 'X';
	SYS(pread(fd, b, 1, 0));
	CHECK_EQ(b[0], 'a');
	SYS(pwrite(fd, "Z", 1, 1)); /* p's page is its own now */
	CHECK_EQ(p[1], 'b');
	SYS(close(fd));
	CHECK_EQ(p[0], 'X');
}

TEST(mmap_file_survives_close_and_unlink)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "data", 4));
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	SYS(close(fd));
	SYS(unlink("f"));
	CHECK_MEM(p, "data", 4);
	p[0] = 'D';
	CHECK_EQ(p[0], 'D');
}

TEST(mmap_private_is_copied_at_fork)
{
	int *p = map_pages(100);
	for (size_t i = 0; i < 100; i++)
		p[i * 1024] = i;
	CHILD(c)
	{
		for (size_t i = 0; i < 100; i++)
			CHECK_EQ(p[i * 1024], i);
		for (size_t i = 0; i < 100; i += 2)
			p[i * 1024] = 1000;
		sleep_ms(30);
		for (size_t i = 1; i < 100; i += 2)
			CHECK_EQ(p[i * 1024], i);
	}
	for (size_t i = 1; i < 100; i += 2)
		p[i * 1024] = 2000;
	CHECK_EXIT(c, 0);
	for (size_t i = 0; i < 100; i++)
		CHECK_EQ(p[i * 1024], i % 2 ? 2000 : i);
}

TEST(mmap_cow_through_generations)
{
	int *p = map_pages(1);
	*p = 1;
	CHILD(a)
	{
		*p = 2;
		CHILD(b)
		{
			CHECK_EQ(*p, 2);
			*p = 3;
			CHILD(d)
			{
				CHECK_EQ(*p, 3);
				*p = 4;
			}
			CHECK_EXIT(d, 0);
			CHECK_EQ(*p, 3);
		}
		CHECK_EXIT(b, 0);
		CHECK_EQ(*p, 2);
	}
	CHECK_EXIT(a, 0);
	CHECK_EQ(*p, 1);
}

TEST(mmap_kernel_writes_break_cow)
{
	char *p = map_pages(1);
	int pi[2];
	strcpy(p, "parent");
	SYS(pipe(pi));
	CHILD(c)
	{
		SYS(write(pi[1], "child!", 6));
		CHECK_EQ(read(pi[0], p, 6), 6);
		CHECK_MEM(p, "child!", 6);
	}
	CHECK_EXIT(c, 0);
	CHECK_STR(p, "parent");
}

TEST(mmap_shared_anonymous_across_fork)
{
	int *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	p[0] = 1;
	CHILD(c)
	{
		CHECK_EQ(p[0], 1);
		p[1] = 2;
		p[3 * 1024] = 3; /* a page that the parent never touched */
	}
	CHECK_EXIT(c, 0);
	CHECK_EQ(p[1], 2);
	CHECK_EQ(p[3 * 1024], 3);
}

TEST(mmap_shared_file_across_processes)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(ftruncate(fd, PAGE));
	volatile int *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHILD(c)
	{
		int fd2 = SYS(open("f", O_RDWR));
		volatile int *q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd2, 0);
		CHECK(q != MAP_FAILED);
		q[0] = 77;
	}
	CHECK_EXIT(c, 0);
	CHECK_EQ(p[0], 77);
}

/* Pages from the middle of memory that is not the process's own alone, one after the other: what
 * is around them stays, here and there. */
TEST(madvise_dontneed_inside_shared_pages)
{
	enum { N = 64 };
	for (int kind = 0; kind < 2; kind++) {
		unsigned char *p;
		if (kind == 0) {
			p = map_pages(N);
		} else {
			int fd = SYS(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
			SYS(ftruncate(fd, N * PAGE));
			p = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
			CHECK(p != MAP_FAILED);
			SYS(close(fd));
		}
		for (int i = 0; i < N; i++)
			memset(p + i * PAGE, i + 1, PAGE);
		int go[2];
		SYS(pipe(go));
		pid_t pid = SYS(fork());
		if (pid == 0) {
			char c;
			close(go[1]);
			if (read(go[0], &c, 1) != 0)
				_exit(2);
			for (int i = 0; i < N; i++)
				if (p[i * PAGE] != i + 1 || p[i * PAGE + PAGE - 1] != i + 1)
					_exit(1);
			_exit(0);
		}
		SYS(close(go[0]));
		for (int k = 0, i = 5; k < N / 2; k++, i = (i + 29) % N) {
			SYS(madvise(p + i * PAGE, PAGE, MADV_DONTNEED));
			CHECK_EQ(p[i * PAGE], 0);
		}
		int left = 0;
		for (int i = 0; i < N; i++) {
			CHECK(p[i * PAGE] == 0 || p[i * PAGE] == i + 1);
			left += p[i * PAGE] != 0;
		}
		CHECK_EQ(left, N / 2);
		SYS(close(go[1]));
		int status;
		SYS(waitpid(pid, &status, 0));
		CHECK_EQ(status, 0);
		SYS(munmap(p, N * PAGE));
	}
}

TEST(mmap_populate_and_noreserve)
{
	unsigned char vec[16];
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(p != MAP_FAILED);
	SYS(mincore(p, 16 * PAGE, vec));
	for (size_t i = 0; i < 16; i++)
		CHECK_EQ(vec[i] & 1, 1);
	/* A reservation far beyond memory, as runtimes make them. */
	char *q = mmap(NULL, 1UL << 38, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(q != MAP_FAILED);
	SYS(mprotect(q + (1UL << 37), 1 << 20, PROT_READ | PROT_WRITE));
	q[(1UL << 37) + 5] = 1;
	CHECK_EQ(q[(1UL << 37) + 5], 1);
	SYS(munmap(q, 1UL << 38));
}

TEST(mmap_growsdown_stack)
{
	char *p = mmap(NULL, 256 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	SYS(munmap(p, 512 * 1024));
	SYS(munmap(p + 512 * 1024, 256 * PAGE - 512 * 1024));
	char *s = mmap(p + 900 * 1024, 8 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	CHECK(s != MAP_FAILED);
	s[-100] = 5;
	CHECK_EQ(s[-100], 5);
	s[-3 * (int)PAGE] = 6;
	CHECK_EQ(s[-3 * (int)PAGE], 6);
}

static int deep(int n)
{
	volatile char frame[4096];
	frame[0] = n;
	return n == 0 ? frame[0] : deep(n - 1) + frame[0] - (char)n;
}

TEST(mmap_main_stack_grows)
{
	CHECK_EQ(deep(1000), 0); /* 4 MiB of the usual 8 */
}

TEST(mmap_stack_limit_is_kept)
{
	CHILD(c) { deep(1 << 20); }
	CHECK_KILLED(c, SIGSEGV);
}

TEST(mprotect_errors)
{
	char *p = map_pages(4);
	CHECK_ERRNO(mprotect(p + 1, PAGE, PROT_READ), EINVAL);
	SYS(munmap(p + 2 * PAGE, PAGE));
	CHECK_ERRNO(mprotect(p, 4 * PAGE, PROT_READ), ENOMEM);
	CHECK_EQ(mprotect(p + 1 * PAGE, 0, PROT_READ), 0);
	CHECK_ERRNO(mprotect(p, PAGE, 0x40000000), EINVAL);
	int fd = SYS(open("f", O_RDONLY | O_CREAT, 0600));
	void *q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(q != MAP_FAILED);
	CHECK_ERRNO(mprotect(q, PAGE, PROT_READ | PROT_WRITE), EACCES);
}

TEST(mprotect_keeps_content_and_splits)
{
	char *p = map_pages(10);
	for (int i = 0; i < 10; i++)
		p[i * PAGE] = i;
	for (int i = 0; i < 10; i += 2)
		SYS(mprotect(p + i * PAGE, PAGE, PROT_READ));
	for (int i = 1; i < 10; i += 2)
		p[i * PAGE] += 50;
	SYS(mprotect(p, 10 * PAGE, PROT_READ | PROT_WRITE));
	for (int i = 0; i < 10; i++)
		CHECK_EQ(p[i * PAGE], i % 2 ? i + 50 : i);
}

TEST(syscalls_on_protected_memory_fault)
{
	char *p = map_pages(2);
	int pi[2];
	SYS(pipe(pi));
	SYS(mprotect(p, PAGE, PROT_READ));
	CHECK_EQ(write(pi[1], p, 10), 10);
	CHECK_ERRNO(read(pi[0], p, 10), EFAULT);
	SYS(mprotect(p, PAGE, PROT_NONE));
	CHECK_ERRNO(write(pi[1], p, 10), EFAULT);
	/* A write that reaches the bad page transfers what came before it. */
	SYS(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	SYS(mprotect(p + PAGE, PAGE, PROT_NONE));
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(write(fd, p + PAGE - 10, 20), 10);
	CHECK_ERRNO(stat(p + PAGE, (struct stat *)p), EFAULT);
	memset(p + PAGE - 4, 'x', 4);
	CHECK_ERRNO(open(p + PAGE - 4, O_RDONLY), EFAULT);
}

TEST(munmap_middle_and_many)
{
	char *p = map_pages(100);
	unsigned char vec;
	for (int i = 1; i < 100; i += 2)
		SYS(munmap(p + i * PAGE, PAGE));
	for (int i = 0; i < 100; i += 2)
		p[i * PAGE] = 1;
	CHECK_ERRNO(mincore(p + PAGE, PAGE, &vec), ENOMEM);
	SYS(munmap(p, 100 * PAGE));
	CHECK_ERRNO(mincore(p, PAGE, &vec), ENOMEM);
	SYS(munmap(p, 100 * PAGE)); /* holes are no error */
}

TEST(brk_grows_and_shrinks)
{
	char *start = (char *)syscall(SYS_brk, 0);
	CHECK_EQ(syscall(SYS_brk, start + 10 * PAGE), (long)(start + 10 * PAGE));
	start[9 * PAGE] = 3;
	CHECK_EQ(start[9 * PAGE], 3);
	CHECK_EQ(syscall(SYS_brk, start + PAGE), (long)(start + PAGE));
	CHECK_EQ(syscall(SYS_brk, start + 10 * PAGE), (long)(start + 10 * PAGE));
	CHECK_EQ(start[9 * PAGE], 0);
	/* A break that cannot be is refused by keeping the old one. */
	CHECK_EQ(syscall(SYS_brk, 1), (long)(start + 10 * PAGE));
	CHECK_EQ(syscall(SYS_brk, 1L << 50), (long)(start + 10 * PAGE));
}

TEST(mremap_grows_moves_shrinks)
{
	char *p = map_pages(4);
	memset(p, 7, 4 * PAGE);
	char *q = mremap(p, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	CHECK_EQ(q[4 * PAGE - 1], 7);
	CHECK_EQ(q[4 * PAGE], 0);
	q[63 * PAGE] = 1;
	CHECK(mremap(q, 64 * PAGE, 2 * PAGE, 0) == q);
	unsigned char vec;
	CHECK_ERRNO(mincore(q + 2 * PAGE, PAGE, &vec), ENOMEM);
	char *to = map_pages(2);
	CHECK(mremap(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CHECK_EQ(to[PAGE], 7);
	CHECK_ERRNO(mincore(q, PAGE, &vec), ENOMEM);
}

TEST(mremap_in_place_needs_room)
{
	char *p = map_pages(8);
	SYS(munmap(p + 4 * PAGE, 2 * PAGE));
	CHECK(mremap(p, 4 * PAGE, 5 * PAGE, 0) == p);
	CHECK(mremap(p, 5 * PAGE, 6 * PAGE, 0) == p);
	CHECK_ERRNO(mremap(p, 6 * PAGE, 7 * PAGE, 0), ENOMEM);
}

TEST(mremap_errors)
{
	char *p = map_pages(4);
	CHECK_ERRNO(mremap(p + 1, PAGE, PAGE, 0), EINVAL);
	CHECK_ERRNO(mremap(p, PAGE, 0, 0), EINVAL);
	CHECK_ERRNO(mremap(p, PAGE, PAGE, 64), EINVAL);
	CHECK_ERRNO(mremap(p, PAGE, PAGE, MREMAP_FIXED, p + PAGE), EINVAL);
	CHECK_ERRNO(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE), EINVAL);
	SYS(munmap(p, PAGE));
	CHECK_ERRNO(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
}

TEST(mremap_shared_duplicates_with_zero_size)
{
	int *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*p = 5;
	int *q = mremap(p, 0, PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	CHECK_EQ(*q, 5);
	*q = 6;
	CHECK_EQ(*p, 6);
}

TEST(mremap_duplicates_from_the_middle)
{
	unsigned char vec;
	for (int kind = 0; kind < 2; kind++) {
		int fd = kind ? SYS(memfd_create("m", 0)) : -1;
		if (kind)
			SYS(ftruncate(fd, 8 * PAGE));
		char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | (kind ? 0 : MAP_ANONYMOUS), fd, 0);
		CHECK(p != MAP_FAILED);
		for (int i = 0; i < 8; i++)
			p[i * PAGE] = i + 1;
		char *q = map_pages(3);
		CHECK(mremap(p + 3 * PAGE, 0, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(q[i * PAGE], i + 4);
		q[PAGE] = 77;
		CHECK_EQ(p[4 * PAGE], 77);
		/* Onto itself: what was there goes first. */
		CHECK_ERRNO(mremap(p + 3 * PAGE, 0, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 3 * PAGE), EFAULT);
		CHECK_ERRNO(mincore(p + 4 * PAGE, PAGE, &vec), ENOMEM);
		CHECK_EQ(p[2 * PAGE], 3);
		CHECK_EQ(p[5 * PAGE], 6);
		CHECK_EQ(q[0], 4);
	}
}

TEST(mremap_dontunmap_of_a_private_file)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "file", 4));
	SYS(ftruncate(fd, 2 * PAGE));
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	memcpy(p, "mine", 4);
	char *q = (char *)SYS(syscall(SYS_mremap, p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	CHECK_MEM(q, "mine", 4);
	CHECK_MEM(p, "file", 4);
}

TEST(mremap_dontunmap)
{
	char *p = map_pages(2);
	p[0] = 9;
	char *q = (char *)SYS(syscall(SYS_mremap, p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	CHECK(q != p);
	CHECK_EQ(q[0], 9);
	CHECK_EQ(p[0], 0);
}

TEST(madvise_dontneed_drops_private_pages)
{
	char *p = map_pages(4);
	memset(p, 1, 4 * PAGE);
	SYS(madvise(p + PAGE, 2 * PAGE, MADV_DONTNEED));
	CHECK_EQ(p[0], 1);
	CHECK_EQ(p[PAGE], 0);
	CHECK_EQ(p[3 * PAGE - 1], 0);
	CHECK_EQ(p[3 * PAGE], 1);
	/* A private file mapping shows the file again. */
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "file", 4));
	char *q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	q[0] = 'X';
	SYS(madvise(q, PAGE, MADV_DONTNEED));
	CHECK_MEM(q, "file", 4);
}

TEST(madvise_dontfork_and_wipeonfork)
{
	char *p = map_pages(3);
	memset(p, 1, 3 * PAGE);
	SYS(madvise(p, PAGE, MADV_DONTFORK));
	SYS(madvise(p + PAGE, PAGE, MADV_WIPEONFORK));
	CHILD(c)
	{
		unsigned char vec;
		CHECK_ERRNO(mincore(p, PAGE, &vec), ENOMEM);
		CHECK_EQ(p[PAGE], 0);
		CHECK_EQ(p[2 * PAGE], 1);
	}
	CHECK_EXIT(c, 0);
	CHECK_EQ(p[0], 1);
	CHECK_EQ(p[PAGE], 1);
}

TEST(madvise_accepts_and_refuses)
{
	char *p = map_pages(4);
	static const int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_DOFORK};
	for (size_t i = 0; i < LEN(advice); i++)
		if (madvise(p, 4 * PAGE, advice[i]) == -1 && !((advice[i] == MADV_HUGEPAGE || advice[i] == MADV_NOHUGEPAGE) && errno == EINVAL))
			FAIL("madvise %d: %s", advice[i], strerror(errno));
	CHECK_ERRNO(madvise(p, PAGE, 999), EINVAL);
	CHECK_ERRNO(madvise(p + 1, PAGE, MADV_NORMAL), EINVAL);
	SYS(munmap(p + PAGE, PAGE));
	CHECK_ERRNO(madvise(p, 4 * PAGE, MADV_DONTNEED), ENOMEM);
	CHECK_EQ(madvise(p, 0, MADV_NORMAL), 0);
}

TEST(madvise_remove_punches_shared)
{
	int fd = SYS(memfd_create("m", 0));
	SYS(ftruncate(fd, 4 * PAGE));
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(p, 1, 4 * PAGE);
	SYS(madvise(p + PAGE, PAGE, MADV_REMOVE));
	char b;
	CHECK_EQ(pread(fd, &b, 1, PAGE), 1);
	CHECK_EQ(b, 0);
	CHECK_EQ(p[2 * PAGE], 1);
}

TEST(madvise_remove_up_to_what_refuses)
{
	int fd = SYS(memfd_create("m", 0));
	SYS(ftruncate(fd, 4 * PAGE));
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	memset(p, 1, 4 * PAGE);
	CHECK(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, PAGE) == p + PAGE);
	CHECK_ERRNO(madvise(p, 3 * PAGE, MADV_REMOVE), EACCES);
	CHECK_EQ(p[0], 0);
	CHECK_EQ(p[PAGE], 1);
	CHECK_EQ(p[2 * PAGE], 1);
	CHECK(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
	CHECK_ERRNO(madvise(p + PAGE, 2 * PAGE, MADV_REMOVE), EINVAL);
	CHECK_EQ(p[2 * PAGE], 1);
}

TEST(mincore_errors)
{
	unsigned char vec[4];
	char *p = map_pages(2);
	SYS(mincore(p, 2 * PAGE, vec));
	CHECK_ERRNO(mincore(p + 1, PAGE, vec), EINVAL);
	CHECK_ERRNO(mincore(p, PAGE, bad_ptr()), EFAULT);
}

TEST(mlock_family)
{
	char *p = map_pages(4);
	SYS(mlock(p, 2 * PAGE));
	SYS(munlock(p, 2 * PAGE));
	SYS(mlock2(p, PAGE, MLOCK_ONFAULT));
	CHECK_ERRNO(syscall(SYS_mlock2, p, PAGE, 8), EINVAL);
	SYS(mlockall(MCL_CURRENT));
	SYS(munlockall());
	CHECK_ERRNO(mlockall(0), EINVAL);
	CHECK_ERRNO(mlockall(64), EINVAL);
	SYS(munmap(p + PAGE, PAGE));
	CHECK_ERRNO(mlock(p, 3 * PAGE), ENOMEM);
}

TEST(mlock_stops_at_a_hole)
{
	char *p = map_pages(4);
	SYS(munmap(p + PAGE, PAGE));
	CHECK_ERRNO(mlock(p, 3 * PAGE), ENOMEM);
	CHECK_ERRNO(madvise(p, PAGE, MADV_DONTNEED), EINVAL);
	SYS(madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED));
	CHECK_ERRNO(mlock(p + PAGE, 2 * PAGE), ENOMEM);
	SYS(madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED));
	SYS(mlock(p + 2 * PAGE, PAGE));
	CHECK_ERRNO(munlock(p, 3 * PAGE), ENOMEM);
	SYS(madvise(p, PAGE, MADV_DONTNEED));
	CHECK_ERRNO(madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED), EINVAL);
}

TEST(msync_errors)
{
	char *p = map_pages(2);
	CHECK_ERRNO(msync(p + 1, PAGE, MS_SYNC), EINVAL);
	CHECK_ERRNO(msync(p, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	CHECK_ERRNO(msync(p, PAGE, 64), EINVAL);
	SYS(msync(p, PAGE, MS_ASYNC | MS_INVALIDATE));
	SYS(munmap(p + PAGE, PAGE));
	CHECK_ERRNO(msync(p, 2 * PAGE, MS_SYNC), ENOMEM);
}

TEST(memory_of_maps_lines)
{
	char line[512], want[64];
	char *p = map_pages(3);
	SYS(mprotect(p + PAGE, PAGE, PROT_READ));
	snprintf(want, sizeof(want), "%lx-%lx r--p 00000000 00:00 0", (long)p + PAGE, (long)p + 2 * PAGE);
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	int found = 0, stack = 0, vdso = 0, heap = 0;
	sbrk(100);
	while (fgets(line, sizeof(line), f)) {
		found |= strncmp(line, want, strlen(want)) == 0;
		stack |= strstr(line, "[stack]") != NULL;
		vdso |= strstr(line, "[vdso]") != NULL;
		heap |= strstr(line, "[heap]") != NULL;
	}
	CHECK(found);
	CHECK(stack);
	CHECK(vdso);
	CHECK(heap);
}

TEST(process_vm_readv_and_writev)
{
	char *p = map_pages(1);
	strcpy(p, "before");
	int go[2];
	SYS(pipe(go));
	CHILD(c)
	{
		char b;
		read(go[0], &b, 1);
		CHECK_STR(p, "after!");
	}
	strcpy(p, "parent");
	char b[8] = "";
	struct iovec l = {b, 7}, r = {p, 7};
	CHECK_EQ(process_vm_readv(c, &l, 1, &r, 1, 0), 7);
	CHECK_STR(b, "before");
	strcpy(b, "after!");
	CHECK_EQ(process_vm_writev(c, &l, 1, &r, 1, 0), 7);
	SYS(write(go[1], "x", 1));
	CHECK_EXIT(c, 0);
	CHECK_STR(p, "parent");
	CHECK_ERRNO(process_vm_readv(c, &l, 1, &r, 1, 0), ESRCH);
	CHECK_ERRNO(process_vm_readv(getpid(), &l, 1, &r, 1, 1), EINVAL);
	struct iovec bad = {bad_ptr(), 7};
	CHECK_ERRNO(process_vm_readv(getpid(), &l, 1, &bad, 1, 0), EFAULT);
	struct iovec half = {p + PAGE - 3, 7};
	mprotect(p + PAGE, PAGE, PROT_NONE);
	(void)half;
}

TEST(memory_proc_self_mem)
{
	char *p = map_pages(1), b[8] = "";
	strcpy(p, "secret");
	int fd = SYS(open("/proc/self/mem", O_RDWR));
	CHECK_EQ(pread(fd, b, 6, (off_t)p), 6);
	CHECK_STR(b, "secret");
	CHECK_EQ(pwrite(fd, "public", 6, (off_t)p), 6);
	CHECK_STR(p, "public");
	CHECK_ERRNO(pread(fd, b, 6, (off_t)bad_ptr() + (1L << 46)), EIO);
}

TEST(memory_huge_mapping_touched_sparsely)
{
	char *p = mmap(NULL, 1UL << 32, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	for (unsigned long i = 0; i < 1UL << 32; i += 1UL << 26)
		p[i] = i >> 26;
	for (unsigned long i = 0; i < 1UL << 32; i += 1UL << 26)
		CHECK_EQ(p[i], (char)(i >> 26));
	SYS(munmap(p, 1UL << 32));
}

TEST(memory_thousand_mappings)
{
	char *p = mmap(NULL, 2000 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	for (size_t i = 0; i < 2000; i += 2)
		CHECK(mmap(p + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + i * PAGE);
	for (size_t i = 0; i < 2000; i += 2)
		p[i * PAGE] = i;
	CHILD(c)
	{
		for (size_t i = 0; i < 2000; i += 2)
			CHECK_EQ(p[i * PAGE], (char)i);
	}
	CHECK_EXIT(c, 0);
	SYS(munmap(p, 2000 * PAGE));
}

TEST(memory_rlimit_as)
{
	char line[256];
	/* Room for a little more than what there is. */
	FILE *f = fopen("/proc/self/statm", "r");
	CHECK(f && fgets(line, sizeof(line), f));
	fclose(f);
	unsigned long lim = atol(line) * PAGE + (8 << 20);
	CHECK_EQ(syscall(SYS_prlimit64, 0, 9 /* RLIMIT_AS */, (unsigned long[]){lim, lim}, NULL), 0);
	CHECK_ERRNO(mmap(NULL, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	CHECK(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}
