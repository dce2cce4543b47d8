//go:build ignore

/* Threads whose registers and hand-over words other threads of their process rewrite: on systrap
 * they lie in slots that the application can write. Each case is about what else may not
 * happen: the process can be killed at once, and others do not notice.
 *
 * On other platforms there is nothing to write, and natively neither; there the threads just run. */
#include "attack.h"
#include <sched.h>

#define SLOTS_TRIED 12

static uint32_t rng = 12345;
static uint32_t next(void) { return rng = rng * 1664525 + 1013904223; }

/* Offsets in a slot, see layout.go. */
enum { STATE = 0, CPU = 4, SENTRY_CPU = 8, SPIN = 12, KIND = 64, SIGNO = 68, ANSWER = 72, LOAD = 76, SELF = 80, FP = 88, STACK = 96, FRAME = 104, INFO = 112, RESUME = 120, TID = 128, GS = 136, REGS = 176 };

static const uint64_t odd[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 0x400000, SLOTS, SLOTS + SLOT_FRAMES, SLOTS + SLOT_SIZE - 8, SLOTS + SLOT_SIZE, CODE, ORDERS, TASK_END, 1UL << 47, 1UL << 63, 0xffff800000000000UL, -1UL, -4096UL, 0x7fffffff};

static void put32(uintptr_t at, uint32_t v) { *(volatile uint32_t *)at = v; }
static void put64(uintptr_t at, uint64_t v) { *(volatile uint64_t *)at = v; }

/* Ways to write into a slot. */
static void states(uintptr_t slot) { put32(slot + STATE, next() >> 16 & 7); }
static void state_app(uintptr_t slot) { put32(slot + STATE, 0); }
static void state_watched(uintptr_t slot) { put32(slot + STATE, 1); }
static void state_sentry(uintptr_t slot) { put32(slot + STATE, 2); }
static void state_sleep(uintptr_t slot) { put32(slot + STATE, 3); }
static void state_dead(uintptr_t slot) { put32(slot + STATE, 4); }
static void kinds(uintptr_t slot) { put32(slot + KIND, next() >> 16 & 7), put32(slot + SIGNO, next() >> 16 & 31), put32(slot + ANSWER, next() >> 20 & 3), put32(slot + LOAD, next() >> 24 & 3); }
static void pointers(uintptr_t slot) { put64(slot + SELF + 8 * (next() >> 16) % 48, odd[(next() >> 16) % LEN(odd)]); }
static void ids(uintptr_t slot) { put32(slot + TID, next() >> 16), put64(slot + GS, odd[(next() >> 16) % LEN(odd)]), put32(slot + CPU, next()), put32(slot + SPIN, -1); }
static void registers(uintptr_t slot) { put64(slot + REGS + (next() >> 16) % 27 * 8, odd[(next() >> 16) % LEN(odd)]); }
static void fp_state(uintptr_t slot) { put64(slot + 0x1000 + (next() >> 16) % 0x600 * 8, (uint64_t)next() << 32 | next()); }
static void frames(uintptr_t slot) { put64(slot + SLOT_SIZE - 8 - (next() >> 16) % 0x200 * 8, odd[(next() >> 16) % LEN(odd)]); }
static void everything(uintptr_t slot) { put32(slot + (next() >> 8) % (SLOT_SIZE / 4) * 4, next() >> 28 ? next() : next() >> 16 & 7); }

static const struct way {
	const char *name;
	void (*write)(uintptr_t slot);
} ways[] = {{"states", states}, {"state_app", state_app}, {"state_watched", state_watched}, {"state_sentry", state_sentry}, {"state_sleep", state_sleep}, {"state_dead", state_dead}, {"kinds", kinds}, {"pointers", pointers}, {"ids", ids}, {"registers", registers}, {"fp_state", fp_state}, {"frames", frames}, {"everything", everything}};

static void (*volatile write_slot)(uintptr_t);
static volatile int first_slot;

static void *scribble(void *arg)
{
	(void)arg;
	stack_t st = {.ss_sp = map_pages(16), .ss_size = 16 * PAGE};
	sigaltstack(&st, NULL);
	for (int i = first_slot;; i++) {
		uintptr_t slot = SLOTS + i % SLOTS_TRIED * SLOT_SIZE;
		/* A burst, so that victims get to run in between. */
		TRY(for (int n = 0; n < 200; n++) write_slot(slot));
		if (!on("systrap"))
			sleep_ms(1);
	}
	return NULL;
}

static void nothing(int sig) { (void)sig; }

static void *victim(void *arg)
{
	long which = (long)arg;
	stack_t st = {.ss_sp = map_pages(16), .ss_size = 16 * PAGE};
	sigaltstack(&st, NULL);
	char *p = map_pages(1);
	int fd[2];
	if (pipe(fd))
		return NULL;
	for (;;) {
		switch (which % 5) {
		case 0:
			CALL0(SYS_getpid);
			break;
		case 1:
			mprotect(p, PAGE, PROT_READ);
			TRY(*(volatile char *)p = 1);
			mprotect(p, PAGE, PROT_READ | PROT_WRITE);
			*(volatile char *)p = 2;
			break;
		case 2:
			raise(SIGUSR1);
			break;
		case 3:
			CALL3(SYS_write, fd[1], p, 1);
			CALL3(SYS_read, fd[0], p, 1);
			break;
		case 4:
			CALL1(SYS_nanosleep, (&(struct timespec){0, 50000}));
			break;
		}
	}
	return NULL;
}

static void *ends_at_once(void *arg) { return arg; }

/* New threads all the time: what a slot holds when its thread has not begun yet. */
static void *breeder(void *arg)
{
	for (;;) {
		pthread_t th[4];
		int n = 0;
		while (n < 4 && pthread_create(&th[n], NULL, ends_at_once, arg) == 0)
			n++;
		while (n-- > 0)
			pthread_join(th[n], NULL);
		if (fork() == 0)
			_exit(0);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	return NULL;
}

/* Starts an attack in this process. Does not return. */
static void attack(const struct way *w, int breed) __attribute__((noreturn));
static void attack(const struct way *w, int breed)
{
	pthread_t th;
	try_init();
	on_signal(SIGUSR1, nothing, SA_RESTART | SA_ONSTACK);
	write_slot = w->write;
	pthread_create(&th, NULL, scribble, NULL);
	if (breed)
		pthread_create(&th, NULL, breeder, NULL);
	for (long i = 0; i < 5; i++)
		pthread_create(&th, NULL, victim, (void *)i);
	victim(0);
	for (;;)
		pause();
}

static void survive(const char *name, int breed)
{
	for (unsigned i = 0; i < LEN(ways); i++) {
		if (strcmp(ways[i].name, name) != 0)
			continue;
		CHILD(pid)
		{
			test_mute();
			attack(&ways[i], breed);
		}
		int ended = 0;
		for (long long end = attack_end(350); now_ms() < end; sleep_ms(1)) {
			check_alive();
			if (!ended && waitpid(pid, NULL, WNOHANG) == pid)
				ended = 1;
		}
		if (!ended)
			must_die(pid);
		check_alive();
		return;
	}
	FAIL("no way %s", name);
}

/* Writes into a slot from the moment it exists, before its thread has begun. */
static volatile int hunted;

static void *hunter(void *value)
{
	stack_t st = {.ss_sp = map_pages(16), .ss_size = 16 * PAGE};
	sigaltstack(&st, NULL);
	for (;;) {
		int slot = hunted;
		TRY(while (slot == hunted) put32(SLOTS + slot * SLOT_SIZE, (uint32_t)(long)value));
	}
	return NULL;
}

static void *sleeps(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

/* Threads that begin while others write to their slots. The first and the hunter have 0 and 1. */
static void hunt_forever(long value) __attribute__((noreturn));
static void hunt_forever(long value)
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 32 * PAGE);
	pthread_t th;
	try_init();
	hunted = 2;
	pthread_create(&th, NULL, hunter, (void *)value);
	for (int i = 2; i < 100 && platform(); i++) {
		hunted = i;
		sleep_ms(1);
		if (pthread_create(&th, &small, sleeps, NULL))
			break;
	}
	for (;;)
		pause();
}

static void hunt(long value)
{
	for (int round = 0; round < 3; round++) {
		CHILD(pid)
		{
			test_mute();
			hunt_forever(value);
		}
		for (long long end = attack_end(200); now_ms() < end; sleep_ms(1))
			check_alive();
		must_die(pid);
	}
}

/* For scenarios around a container: attack until the end. */
HELPER(forever)
{
	puts("ready");
	fflush(stdout);
	for (unsigned i = 0; i < LEN(ways) && argc > 0; i++)
		if (strcmp(argv[0], ways[i].name) == 0) {
			if (fork() == 0) /* one that others do not wait for */
				attack(&ways[i], 1);
			attack(&ways[i], 1);
		}
	hunt_forever(0);
}
HELPER(ways)
{
	for (unsigned i = 0; i < LEN(ways); i++)
		puts(ways[i].name);
	puts("begin");
	return 0;
}

TEST(slots_of_threads_that_begin_app) { hunt(0); }
TEST(slots_of_threads_that_begin_watched) { hunt(1); }
TEST(slots_of_threads_that_begin_sleep) { hunt(3); }
TEST(slots_of_threads_that_begin_dead) { hunt(4); }

TEST(slots_states) { survive("states", 0); }
TEST(slots_state_app) { survive("state_app", 0); }
TEST(slots_state_watched) { survive("state_watched", 0); }
TEST(slots_state_sentry) { survive("state_sentry", 0); }
TEST(slots_state_sleep) { survive("state_sleep", 0); }
TEST(slots_state_dead) { survive("state_dead", 0); }
TEST(slots_kinds) { survive("kinds", 0); }
TEST(slots_pointers) { survive("pointers", 0); }
TEST(slots_ids) { survive("ids", 0); }
TEST(slots_registers) { survive("registers", 0); }
TEST(slots_fp_state) { survive("fp_state", 0); }
TEST(slots_frames) { survive("frames", 0); }
TEST(slots_everything) { survive("everything", 0); }
TEST(slots_states_of_new_threads) { survive("states", 1); }
TEST(slots_state_app_of_new_threads) { survive("state_app", 1); }
TEST(slots_state_dead_of_new_threads) { survive("state_dead", 1); }
TEST(slots_ids_of_new_threads) { survive("ids", 1); }
TEST(slots_everything_of_new_threads) { survive("everything", 1); }
