//go:build ignore

/* Code that changes while it runs, and code that is not where it was. */
#include "attack.h"

static unsigned char *rwx(size_t pages)
{
	unsigned char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

/* mov $nr,%eax; syscall; ret, aligned so that the number and the instruction can be stored at once. */
static const unsigned char get[] = {0x90, 0x90, 0x90, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
#define NR_AT 4
#define CALL_AT 8

static volatile int stop;

static void *change_number(void *code)
{
	for (unsigned i = 0; !stop; i++)
		*(volatile uint32_t *)((char *)code + NR_AT) = i % 2 ? SYS_getpid : SYS_getppid;
	return NULL;
}

TEST(number_is_rewritten_while_it_runs)
{
	unsigned char *code = rwx(1);
	memcpy(code, get, sizeof(get));
	pthread_t th;
	long pid = getpid(), ppid = getppid();
	CHECK_EQ(pthread_create(&th, NULL, change_number, code), 0);
	for (long long end = now_ms() + 400; now_ms() < end;)
		for (int i = 0; i < 100; i++) {
			long r = ((long (*)(void))code)();
			if (r != pid && r != ppid)
				FAIL("a call gave %ld", r);
		}
	stop = 1;
	pthread_join(th, NULL);
}

static void *change_instruction(void *code)
{
	/* syscall, and a jump over nothing. */
	for (unsigned i = 0; !stop; i++)
		*(volatile uint16_t *)((char *)code + CALL_AT) = i % 2 ? 0x050f : 0x00eb;
	return NULL;
}

TEST(instruction_is_rewritten_while_it_runs)
{
	unsigned char *code = rwx(1);
	memcpy(code, get, sizeof(get));
	pthread_t th;
	long pid = getpid();
	CHECK_EQ(pthread_create(&th, NULL, change_instruction, code), 0);
	for (long long end = now_ms() + 400; now_ms() < end;)
		for (int i = 0; i < 100; i++) {
			long r = ((long (*)(void))code)();
			if (r != pid && r != SYS_getpid)
				FAIL("a call gave %ld", r);
		}
	stop = 1;
	pthread_join(th, NULL);
}

static void *change_mapping(void *code)
{
	/* Another file's page with another number, at the same place. */
	int fd[2];
	for (int i = 0; i < 2; i++) {
		unsigned char text[PAGE] = {0};
		memcpy(text, get, sizeof(get));
		text[NR_AT] = i ? SYS_getppid : SYS_getpid;
		fd[i] = SYS(memfd_create("code", MFD_CLOEXEC));
		CHECK_EQ(write(fd[i], text, PAGE), PAGE);
	}
	for (unsigned i = 0; !stop; i++)
		CHECK(mmap(code, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd[i % 2], 0) != MAP_FAILED);
	return NULL;
}

TEST(page_is_replaced_while_it_runs)
{
	unsigned char *code = rwx(1);
	memcpy(code, get, sizeof(get));
	pthread_t th;
	long pid = getpid(), ppid = getppid();
	CHECK_EQ(pthread_create(&th, NULL, change_mapping, code), 0);
	for (long long end = now_ms() + 400; now_ms() < end;) {
		long r = ((long (*)(void))code)();
		if (r != pid && r != ppid)
			FAIL("a call gave %ld", r);
	}
	stop = 1;
	pthread_join(th, NULL);
}

/* Functions of this program's text. */
__asm__(".text; .balign 64; .globl site_begin, site_syscall, site_end\n"
	"site_begin: mov $39, %eax\n"
	"site_syscall: syscall\n"
	"ret\n"
	"site_end:\n"
	".balign 64; .globl generic_begin, generic_end\n"
	"generic_begin: mov %rdi, %rax; xor %edi, %edi; syscall; cmp $-4095, %rax; ret\n"
	"generic_end:\n"
	".balign 64; .globl twin_begin, twin_second, twin_end\n"
	"twin_begin: mov $39, %eax; syscall; twin_second: mov $110, %eax; syscall; ret\n"
	"twin_end:\n");
extern char site_begin[], site_syscall[], site_end[], generic_begin[], generic_end[], twin_begin[], twin_second[], twin_end[];
#define RUN(f) (((long (*)(long))(f))(SYS_getpid))

/* Often enough that a runtime that optimizes call sites does so. */
static void warm(void)
{
	for (int i = 0; i < 500; i++) {
		CHECK_EQ(RUN(site_begin), getpid());
		CHECK_EQ(RUN(generic_begin), getpid());
		CHECK_EQ(RUN(twin_begin), getppid());
	}
}

/* What /proc/self/mem shows is the program's file. */
TEST(text_shows_original_bytes)
{
	warm();
	int exe = SYS(open("/proc/self/exe", O_RDONLY)), mem = SYS(open("/proc/self/mem", O_RDONLY));
	static const struct {
		const char *from, *to;
	} parts[] = {{site_begin, site_end}, {generic_begin, generic_end}, {twin_begin, twin_end}};
	/* Where the text is in the file. */
	unsigned long lo = 0, hi = 0, off = 0;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %*s %lx", &lo, &hi, &off) == 3 && lo <= (uintptr_t)site_begin && (uintptr_t)site_begin < hi)
			break;
	CHECK(lo <= (uintptr_t)site_begin && (uintptr_t)site_begin < hi);
	for (unsigned i = 0; i < LEN(parts); i++) {
		size_t n = parts[i].to - parts[i].from;
		char want[128], got[128];
		CHECK_EQ(pread(exe, want, n, (uintptr_t)parts[i].from - lo + off), n);
		CHECK_EQ(pread(mem, got, n, (uintptr_t)parts[i].from), n);
		CHECK_MEM(got, want, n);
	}
}

/* A copy of code that has run elsewhere works, near and far. */
TEST(copied_code_runs)
{
	warm();
	for (int round = 0; round < 20; round++) {
		unsigned char *p = rwx(2);
		memcpy(p + 8, site_begin, site_end - site_begin);
		memcpy(p + 128, generic_begin, generic_end - generic_begin);
		memcpy(p + PAGE - 7, twin_begin, twin_end - twin_begin);
		for (int i = 0; i < 50; i++) {
			CHECK_EQ(RUN(p + 8), getpid());
			CHECK_EQ(RUN(p + 128), getpid());
			CHECK_EQ(RUN(p + PAGE - 7), getppid());
		}
		/* Made read-only, as a JIT does. */
		SYS(mprotect(p, 2 * PAGE, PROT_READ | PROT_EXEC));
		for (int i = 0; i < 50; i++)
			CHECK_EQ(RUN(p + 8), getpid());
		SYS(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE));
		p[8 + 1] = SYS_getppid;
		SYS(mprotect(p, 2 * PAGE, PROT_READ | PROT_EXEC));
		for (int i = 0; i < 50; i++)
			CHECK_EQ(RUN(p + 8), getppid());
		munmap(p, 2 * PAGE);
	}
}

/* More call sites than a page of trampolines serves. */
void many_sites(void);
__asm__(".text\n"
	".type many_sites, @function\n"
	"many_sites:\n"
	"push %rbx\n"
	".rept 50\n"
	"mov $40, %ebx\n"
	"1: mov $39, %eax\n"
	"syscall\n"
	"dec %ebx\n"
	"jnz 1b\n"
	".endr\n"
	"pop %rbx\n"
	"ret\n");

/* The mapping with the trampolines of changed call sites, if there is one, vanishes in parts and is
 * replaced by a file while more sites become hot. */
TEST(trampolines_are_taken_away)
{
	for (int how = 0; how < 4; how++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			for (int i = 0; i < 200; i++)
				getppid();
			char line[256];
			unsigned long start = 0, end = 0;
			FILE *maps = fopen("/proc/self/maps", "r");
			while (maps && fgets(line, sizeof(line), maps))
				if (strstr(line, "[trampolines]"))
					sscanf(line, "%lx-%lx", &start, &end);
			int fd = open("/proc/self/exe", O_RDONLY);
			if (start && how == 0)
				madvise((void *)start, end - start, MADV_DONTNEED);
			if (start && how == 1)
				munmap((void *)(start + PAGE), end - start - PAGE);
			if (start && how == 2)
				munmap((void *)start, end - start);
			if (start && how == 3)
				mmap((void *)(start + PAGE), end - start - PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
			for (int i = 0; i < 60; i++) {
				getuid();
				geteuid();
				getgid();
				getegid();
				sched_yield();
			}
			many_sites();
			_exit(0);
		}
		/* It may have destroyed itself. */
		CHECK_EQ(waitpid(child, NULL, 0), child);
	}
	CHECK(getpid() > 0);
}

/* Jumps to the second instruction of a call site, with a number of one's own. */
TEST(jump_into_a_call_site)
{
	warm();
	long r;
	for (int i = 0; i < 100; i++) {
		__asm__ volatile("call *%1" : "=a"(r) : "r"(site_syscall), "0"((long)SYS_getppid) : "rcx", "r11", "memory");
		CHECK_EQ(r, getppid());
		__asm__ volatile("call *%1" : "=a"(r) : "r"(twin_second), "0"(0L) : "rcx", "r11", "memory");
		CHECK_EQ(r, getppid());
	}
}

/* A thread that blocks in a call site of which the text is then changed returns to what was there. */
static void *block_in(void *fd)
{
	char c;
	return (void *)read((long)fd, &c, 1);
}

/* Text made writable and changed, while others run it. */
static void *keep_calling(void *unused)
{
	(void)unused;
	while (!stop)
		if (RUN(twin_begin) != getppid())
			FAIL("a function nobody changed gave something else");
	return NULL;
}

TEST(text_is_made_writable_and_changed)
{
	warm();
	char *page = (char *)((uintptr_t)site_begin & ~(PAGE - 1));
	int p[2];
	SYS(pipe(p));
	pthread_t blocked, calling;
	CHECK_EQ(pthread_create(&blocked, NULL, block_in, (void *)(long)p[0]), 0);
	CHECK_EQ(pthread_create(&calling, NULL, keep_calling, NULL), 0);
	for (int round = 0; round < 30; round++) {
		SYS(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
		static const unsigned char seven[] = {0xb8, 7, 0, 0, 0, 0xc3};
		char old[32];
		memcpy(old, site_begin, sizeof(old));
		memcpy(site_begin, seven, sizeof(seven));
		if (round % 2)
			SYS(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
		CHECK_EQ(RUN(site_begin), 7);
		CHECK_MEM(site_begin, seven, sizeof(seven));
		SYS(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
		memcpy(site_begin, old, sizeof(old));
		CHECK_EQ(RUN(site_begin), getpid());
		site_begin[1] = SYS_getppid;
		CHECK_EQ(RUN(site_begin), getppid());
		site_begin[1] = SYS_getpid;
		SYS(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
		for (int i = 0; i < 20; i++)
			CHECK_EQ(RUN(site_begin), getpid());
		CHILD(pid)
		{
			CHECK_EQ(RUN(site_begin), CALL0(SYS_getpid));
		}
		CHECK_EXIT(pid, 0);
	}
	stop = 1;
	SYS(write(p[1], "x", 1));
	void *r;
	pthread_join(blocked, &r);
	CHECK_EQ((long)r, 1);
	pthread_join(calling, NULL);
}

/* The C library's own text: a whole page of it is copied away, changed and put back. */
TEST(libc_text_is_changed)
{
	CHECK_EQ(syscall(SYS_getpid), getpid());
	char *page = (char *)((uintptr_t)getppid & ~(PAGE - 1));
	char *keep = map_pages(2);
	for (int i = 0; i < 500; i++)
		getppid();
	memcpy(keep, page, 2 * PAGE);
	long ppid = getppid();
	SYS(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	static const unsigned char seven[] = {0xb8, 7, 0, 0, 0, 0xc3};
	memcpy((void *)getppid, seven, sizeof(seven));
	CHECK_EQ(getppid(), 7);
	memcpy(page, keep, 2 * PAGE);
	SYS(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(getppid(), ppid);
	check_alive();
}

/* Signals that arrive at every instruction around a call site. */
static volatile int signals;
static void count(int sig)
{
	(void)sig;
	signals++;
}

TEST(signals_around_a_call_site)
{
	warm();
	on_signal(SIGALRM, count, SA_RESTART);
	struct timespec ts = {0, 150000};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec it = {ts, ts};
	timer_t timer;
	SYS(timer_create(CLOCK_MONOTONIC, &ev, &timer));
	SYS(timer_settime(timer, 0, &it, NULL));
	long pid = getpid(), ppid = getppid();
	for (long long end = now_ms() + 500; now_ms() < end;)
		for (int i = 0; i < 50; i++) {
			CHECK_EQ(RUN(site_begin), pid);
			CHECK_EQ(RUN(twin_begin), ppid);
			CHECK_EQ(RUN(generic_begin), pid);
		}
	timer_delete(timer);
	CHECK(signals > 10);
}
