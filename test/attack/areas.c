//go:build ignore

/* What a platform has in the address space lies beyond the end of what applications may
 * map, and system calls treat it like addresses beyond TASK_SIZE. */
#include "attack.h"
#include <sys/uio.h>

/* Addresses that must be out of reach, page by page. */
static const uintptr_t *out_of_reach(size_t *n)
{
	static uintptr_t list[32];
	size_t i = 0;
	list[i++] = user_end();
	list[i++] = TASK_END;
	list[i++] = 1UL << 47;
	list[i++] = 1UL << 63;
	list[i++] = 0xffff800000000000UL;
	list[i++] = 0xffffffffff600000UL;
	list[i++] = -PAGE;
	if (on("systrap")) {
		uintptr_t more[] = {SLOTS + SLOT_SIZE, SLOTS + SLOT_FRAMES, CODE - PAGE, CODE, CODE + PAGE, CODE + CODE_SIZE, ORDERS, ORDERS + PAGE, RESULTS};
		memcpy(list + i, more, sizeof(more));
		i += LEN(more);
	}
	if (on("ptrace")) {
		uintptr_t more[] = {PTRACE_CODE + PAGE, PTRACE_CODE + 2 * PAGE};
		memcpy(list + i, more, sizeof(more));
		i += LEN(more);
	}
	*n = i;
	return list;
}

TEST(stub_areas_cannot_be_mapped_over)
{
	size_t n;
	const uintptr_t *at = out_of_reach(&n);
	char *mine = map_pages(1);
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(ftruncate(fd, PAGE));
	for (size_t i = 0; i < n; i++) {
		void *p = (void *)at[i];
		CHECK_EQ(CALL0(SYS_getpid), getpid());
		CHECK_ERRNO(mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
		CHECK_ERRNO(mmap(p, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), ENOMEM);
		CHECK_ERRNO(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), ENOMEM);
		CHECK_ERRNO(mmap(p - PAGE, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
		CHECK_ERRNO(munmap(p, PAGE), EINVAL);
		CHECK_ERRNO(mremap(mine, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p), EINVAL);
		CHECK_ERRNO(mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, mine), EFAULT);
		CHECK_ERRNO(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
		/* A hint there is taken for none. */
		char *q = mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(q != MAP_FAILED && q != p);
		CHECK_EQ(*q, 0);
		SYS(munmap(q, PAGE));
	}
	/* Not aligned, and longer than all. */
	CHECK_ERRNO(munmap((void *)PAGE, -2 * PAGE), EINVAL);
	CHECK_ERRNO(munmap((void *)user_end() - PAGE, 2 * PAGE), EINVAL);
	CHECK_ERRNO(munmap((void *)PAGE, TASK_END), EINVAL);
	check_alive();
}

TEST(stub_areas_cannot_be_changed)
{
	size_t n;
	const uintptr_t *at = out_of_reach(&n);
	for (size_t i = 0; i < n; i++) {
		void *p = (void *)at[i];
		unsigned char vec;
		int mode;
		CHECK_ERRNO(mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), ENOMEM);
		CHECK_ERRNO(mprotect(p, PAGE, PROT_NONE), ENOMEM);
		CHECK_ERRNO(madvise(p, PAGE, MADV_DONTNEED), at[i] == (uintptr_t)-PAGE ? EINVAL : ENOMEM);
		CHECK(msync(p, PAGE, MS_SYNC) == -1);
		CHECK(mlock(p, PAGE) == -1);
		CHECK(munlock(p, PAGE) == -1);
		CHECK(mincore(p, PAGE, &vec) == -1);
		CHECK_ERRNO(syscall(SYS_get_mempolicy, &mode, NULL, 0, p, 2 /* MPOL_F_ADDR */), EFAULT);
	}
	CHECK_EQ((long)sbrk(0), (long)sbrk(0));
	CHECK(syscall(SYS_brk, SLOTS) != (long)SLOTS);
	check_alive();
}

TEST(system_calls_do_not_reach_stub_areas)
{
	size_t n;
	const uintptr_t *at = out_of_reach(&n);
	int p[2], mem = SYS(open("/proc/self/mem", O_RDWR));
	SYS(pipe(p));
	char buf[64];
	for (size_t i = 0; i < n; i++) {
		void *a = (void *)at[i];
		if (at[i] == 0xffffffffff600000UL)
			continue; /* the vsyscall page may be readable */
		SYS(write(p[1], "12345678", 8));
		CHECK_ERRNO(read(p[0], a, 8), EFAULT);
		CHECK_ERRNO(write(p[1], a, 8), EFAULT);
		CHECK_ERRNO(syscall(SYS_clock_gettime, CLOCK_MONOTONIC_RAW, a), EFAULT);
		CHECK_ERRNO(open(a, O_RDONLY), EFAULT);
		CHECK_ERRNO(syscall(SYS_futex, a, 0 /* WAIT */, 0, NULL, NULL, 0), EFAULT);
		CHECK_ERRNO(pipe(a), EFAULT);
		struct iovec local = {buf, 8}, remote = {a, 8};
		CHECK_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
		CHECK_ERRNO(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT);
		if (at[i] < 1UL << 63) {
			CHECK(pread(mem, buf, 8, at[i]) <= 0);
			CHECK(pwrite(mem, buf, 8, at[i]) <= 0);
		}
		while (fcntl(p[0], F_SETFL, O_NONBLOCK) == 0 && read(p[0], buf, sizeof(buf)) > 0)
			;
	}
	check_alive();
}

/* The kernel itself writes to addresses that it was told: at the end of a thread and when
 * it delivers a signal. */
TEST(kernel_writes_nothing_to_stub_areas)
{
	size_t n;
	const uintptr_t *at = out_of_reach(&n);
	for (size_t i = 0; i < n; i++) {
		CHILD(gone)
		{
			syscall(SYS_set_tid_address, at[i]);
			syscall(SYS_set_robust_list, at[i], 24);
		}
		CHECK_EXIT(gone, 0);
		CHILD(handles)
		{
			stack_t st = {.ss_sp = (void *)at[i], .ss_size = 16 * PAGE};
			if (sigaltstack(&st, NULL) == -1)
				_exit(0);
			on_signal(SIGUSR1, SIG_DFL, 0);
			struct sigaction sa = {.sa_handler = (void (*)(int))at[i], .sa_flags = SA_ONSTACK};
			SYS(sigaction(SIGUSR1, &sa, NULL));
			raise(SIGUSR1);
			FAIL("the handler at %#lx on a stack there returned", at[i]);
		}
		int status = wait_status(handles);
		CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) || status == 0);
	}
	check_alive();
}

/* The application sees of these areas what it can read, and can write nothing but slots. */
TEST(stub_code_and_orders_are_read_only)
{
	try_init();
	volatile char *ro[] = {(char *)CODE, (char *)CODE + PAGE, (char *)ORDERS, (char *)ORDERS + 3 * PAGE, (char *)RESULTS, (char *)PTRACE_CODE, (char *)PTRACE_CODE + PAGE, (char *)PTRACE_CODE + 4 * PAGE};
	for (unsigned i = 0; i < LEN(ro); i++) {
		volatile char *p = ro[i];
		/* Natively other things may lie there. */
		if (!platform() || (uintptr_t)p < user_end())
			continue;
		CHECK_EQ(TRY(*p = 1), SIGSEGV);
		CHECK_EQ(tried.si_addr == p, 1);
		CHECK_EQ(TRY(__asm__ volatile("lock incl %0" : "+m"(*(volatile int *)p))), SIGSEGV);
	}
	check_alive();
}

TEST(maps_and_smaps_do_not_show_the_stub)
{
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	char line[512];
	while (fgets(line, sizeof(line), f)) {
		unsigned long lo, hi;
		CHECK_EQ(sscanf(line, "%lx-%lx", &lo, &hi), 2);
		if (platform() && lo < 1UL << 63 && hi > user_end())
			FAIL("maps has %s", line);
		if (strstr(line, "runsc"))
			FAIL("maps has %s", line);
	}
}

/* Many mappings, and their end, by threads at once, while others run in the same space. */
static void *mapper(void *stop)
{
	while (!*(volatile int *)stop) {
		char *p = map_pages(64);
		for (int i = 0; i < 64; i += 2)
			mprotect(p + i * PAGE, PAGE, PROT_READ);
		p[PAGE] = 1;
		munmap(p, 64 * PAGE);
	}
	return NULL;
}

TEST(address_space_changes_flood)
{
	volatile int stop = 0;
	pthread_t th[16];
	for (unsigned i = 0; i < LEN(th); i++)
		CHECK_EQ(pthread_create(&th[i], NULL, mapper, (void *)&stop), 0);
	for (long long end = now_ms() + 700; now_ms() < end;)
		check_alive();
	stop = 1;
	for (unsigned i = 0; i < LEN(th); i++)
		pthread_join(th[i], NULL);
}
