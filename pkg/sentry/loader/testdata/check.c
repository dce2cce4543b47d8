/* A program that looks at what it was started with, and reads the clock. Exit status 0 if all
 * is well; otherwise a line says what is not. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static char bss[100000];
static int data[1000] = {1, 2, 3};

#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); return 1; } } while (0)

static long long ns(const struct timespec *t) { return t->tv_sec * 1000000000LL + t->tv_nsec; }

int main(int argc, char **argv)
{
	CHECK(argc >= 2 && argv[argc] == NULL);
	CHECK(getenv("LIFE") && !strcmp(getenv("LIFE"), "42"));
	for (int i = 0; i < (int)sizeof(bss); i++)
		CHECK(bss[i] == 0);
	CHECK(data[2] == 3 && data[999] == 0);
	CHECK(getauxval(AT_PAGESZ) == 4096 && getauxval(AT_CLKTCK) == 100);
	CHECK(getauxval(AT_SECURE) == 0 && getauxval(AT_UID) == 0);
	CHECK(!strcmp((char *)getauxval(AT_PLATFORM), "x86_64"));
	CHECK(((char *)getauxval(AT_EXECFN))[0] == '/');
	const ElfW(Ehdr) *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
	CHECK(vdso && !memcmp(vdso->e_ident, ELFMAG, SELFMAG));
	const ElfW(Phdr) *ph = (void *)getauxval(AT_PHDR);
	CHECK(ph && getauxval(AT_PHNUM) > 2);
	char *heap = sbrk(0);
	CHECK(sbrk(1 << 20) == heap);
	memset(heap, 1, 1 << 20);

	/* The clock of the vDSO and the kernel's never contradict each other, and the former
	 * takes a fraction of a system call. */
	struct timespec a, b, start, end;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &start) == 0);
	for (int i = 0; i < 200; i++) {
		for (int id = 0; id <= 1; id++) {
			CHECK(syscall(SYS_clock_gettime, id, &a) == 0);
			CHECK(clock_gettime(id, &b) == 0);
			CHECK(ns(&a) <= ns(&b));
			CHECK(syscall(SYS_clock_gettime, id, &a) == 0);
			CHECK(ns(&b) <= ns(&a));
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	long long last = ns(&start);
	for (int i = 0; i < 100000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &end);
		CHECK(ns(&end) >= last);
		last = ns(&end);
	}
	long long each = (last - ns(&start)) / 100000;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < 2000; i++)
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &a);
	clock_gettime(CLOCK_MONOTONIC, &end);
	CHECK(each * 4 < (ns(&end) - ns(&start)) / 2000);
	struct timeval tv;
	CHECK(gettimeofday(&tv, NULL) == 0);
	clock_gettime(CLOCK_REALTIME, &b);
	CHECK(llabs(tv.tv_sec * 1000000000LL + tv.tv_usec * 1000LL - ns(&b)) < 100000000);
	CHECK(llabs(time(NULL) - b.tv_sec) <= 1);
	CHECK(clock_getres(CLOCK_MONOTONIC, &a) == 0 && a.tv_nsec == 1);
	CHECK(sched_getcpu() >= 0 && sched_getcpu() < 2);
	CHECK(clock_gettime(99, &a) == -1 && errno == EINVAL);
	return 0;
}
