//go:build ignore

/* futex(2): wait and wake, bitsets, requeue, wake_op, PI, robust lists, waitv. */
#include "test.h"
#include <linux/futex.h>
#include <pthread.h>

static uint32_t *word; /* shared with children */

static long futex(void *uaddr, int op, uint32_t val, const void *timeout, void *uaddr2, uint32_t val3)
{
	return syscall(SYS_futex, uaddr, op, val, timeout, uaddr2, val3);
}

static void shared_words(void)
{
	word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(word != MAP_FAILED);
}

TEST(futex_wait_returns_at_once_when_different)
{
	uint32_t w = 1;
	CHECK_ERRNO(futex(&w, FUTEX_WAIT, 2, NULL, NULL, 0), EAGAIN);
	CHECK_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0), EAGAIN);
	CHECK_EQ(futex(&w, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
}

TEST(futex_wait_times_out)
{
	uint32_t w = 1;
	struct timespec ts = {0, 30000000};
	long long t = now_ms();
	CHECK_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0), ETIMEDOUT);
	CHECK(now_ms() - t >= 29);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += 30000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	CHECK_ERRNO(futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 1, &ts, NULL, ~0U), ETIMEDOUT);
	clock_gettime(CLOCK_REALTIME, &ts);
	CHECK_ERRNO(futex(&w, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 1, &ts, NULL, ~0U), ETIMEDOUT);
}

TEST(futex_errors)
{
	uint32_t w[2] = {1, 1};
	struct timespec bad = {0, 1000000000};
	CHECK_ERRNO(futex((char *)w + 1, FUTEX_WAIT, 1, NULL, NULL, 0), EINVAL);
	CHECK_ERRNO(futex(bad_ptr(), FUTEX_WAIT, 1, NULL, NULL, 0), EFAULT);
	CHECK_ERRNO(futex(w, FUTEX_WAIT, 1, &bad, NULL, 0), EINVAL);
	CHECK_ERRNO(futex(w, FUTEX_WAIT, 1, bad_ptr(), NULL, 0), EFAULT);
	CHECK_ERRNO(futex(w, 99, 1, NULL, NULL, 0), ENOSYS);
	CHECK_ERRNO(futex(w, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0), EINVAL);
	CHECK_ERRNO(futex(w, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
	CHECK_ERRNO(futex(w, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
	CHECK_ERRNO(futex(w, FUTEX_CMP_REQUEUE, 1, (void *)1, &w[1], 7), EAGAIN);
}

TEST(futex_wakes_between_processes)
{
	shared_words();
	pid_t c[4];
	for (int i = 0; i < 4; i++) {
		CHILD(p) SYS(futex(word, FUTEX_WAIT, 0, NULL, NULL, 0));
		c[i] = p;
		until_blocked(p);
	}
	CHECK_EQ(futex(word, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
	CHECK_EXIT(c[0], 0); /* the first to wait is the first to go */
	CHECK_EQ(futex(word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0), 3);
	for (int i = 1; i < 4; i++)
		CHECK_EXIT(c[i], 0);
}

TEST(futex_shared_file_mappings_meet)
{
	int fd = SYS(memfd_create("f", 0));
	SYS(ftruncate(fd, PAGE));
	CHILD(c)
	{
		map_pages(7);
		uint32_t *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		SYS(futex(p + 5, FUTEX_WAIT, 0, NULL, NULL, 0));
	}
	until_blocked(c);
	uint32_t *q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK_EQ(futex(q + 4, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
	CHECK_EQ(futex(q + 5, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
	CHECK_EXIT(c, 0);
}

TEST(futex_private_is_per_process)
{
	uint32_t w = 0;
	CHILD(c)
	{
		struct timespec ts = {0, 100000000};
		CHECK_ERRNO(futex(&w, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0), ETIMEDOUT);
	}
	until_blocked(c);
	CHECK_EQ(futex(&w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
	CHECK_EXIT(c, 0);
}

TEST(futex_bitsets_select)
{
	shared_words();
	CHILD(a) SYS(futex(word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 1));
	CHILD(b) SYS(futex(word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 2));
	until_blocked(a);
	until_blocked(b);
	CHECK_EQ(futex(word, FUTEX_WAKE_BITSET, 10, NULL, NULL, 4), 0);
	CHECK_EQ(futex(word, FUTEX_WAKE_BITSET, 10, NULL, NULL, 2), 1);
	CHECK_EXIT(b, 0);
	CHECK_EQ(futex(word, FUTEX_WAKE, 10, NULL, NULL, 0), 1);
	CHECK_EXIT(a, 0);
}

TEST(futex_requeue)
{
	shared_words();
	pid_t c[3];
	for (int i = 0; i < 3; i++) {
		CHILD(p) SYS(futex(word, FUTEX_WAIT, 0, NULL, NULL, 0));
		c[i] = p;
		until_blocked(p);
	}
	CHECK_EQ(futex(word, FUTEX_CMP_REQUEUE, 1, (void *)10, word + 1, 0), 3);
	CHECK_EXIT(c[0], 0);
	CHECK_EQ(futex(word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
	CHECK_EQ(futex(word + 1, FUTEX_WAKE, 10, NULL, NULL, 0), 2);
	CHECK_EXIT(c[1], 0);
	CHECK_EXIT(c[2], 0);
}

TEST(futex_wake_op)
{
	shared_words();
	word[0] = 0, word[1] = 5;
	CHILD(a) SYS(futex(word, FUTEX_WAIT, 0, NULL, NULL, 0));
	CHILD(b) SYS(futex(word + 1, FUTEX_WAIT, 5, NULL, NULL, 0));
	until_blocked(a);
	until_blocked(b);
	/* word[1] += 3; wake one of word[0]; and one of word[1] if it was 5. */
	CHECK_EQ(futex(word, FUTEX_WAKE_OP, 1, (void *)1, word + 1, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)), 2);
	CHECK_EQ(word[1], 8);
	CHECK_EXIT(a, 0);
	CHECK_EXIT(b, 0);
	CHECK_EQ(futex(word, FUTEX_WAKE_OP, 1, (void *)1, word + 1, FUTEX_OP(FUTEX_OP_ANDN, 8, FUTEX_OP_CMP_GT, 100)), 0);
	CHECK_EQ(word[1], 0);
}

TEST(futex_wait_is_interrupted)
{
	shared_words();
	CHILD(c)
	{
		on_signal(SIGUSR1, (void (*)(int))now_ms, 0);
		CHECK_ERRNO(futex(word, FUTEX_WAIT, 0, NULL, NULL, 0), EINTR);
	}
	until_blocked(c);
	kill(c, SIGUSR1);
	CHECK_EXIT(c, 0);
}

TEST(futex_pi_locks)
{
	shared_words();
	*word = 0;
	SYS(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	CHECK_EQ(*word, gettid_());
	CHECK_ERRNO(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0), EDEADLK);
	CHILD(c)
	{
		CHECK_ERRNO(futex(word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0), EAGAIN);
		CHECK_ERRNO(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), EPERM);
		SYS(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
		CHECK_EQ(*word & FUTEX_TID_MASK, gettid_());
		SYS(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	}
	until_blocked(c);
	CHECK(*word & FUTEX_WAITERS);
	SYS(futex(word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	CHECK_EXIT(c, 0);
	*word = 99999; /* nobody's tid */
	CHECK_ERRNO(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0), ESRCH);
}

TEST(futex_pi_timeout)
{
	shared_words();
	SYS(futex(word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	CHILD(c)
	{
		struct timespec ts;
		clock_gettime(CLOCK_REALTIME, &ts); /* absolute, already over */
		CHECK_ERRNO(futex(word, FUTEX_LOCK_PI, 0, &ts, NULL, 0), ETIMEDOUT);
	}
	CHECK_EXIT(c, 0);
}

TEST(futex_robust_list)
{
	struct robust_list_head *head, mine;
	size_t len;
	static struct { struct robust_list list; uint32_t futex; } *m;
	m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHILD(c)
	{
		mine.list.next = &m->list;
		m->list.next = &mine.list;
		mine.futex_offset = (char *)&m->futex - (char *)&m->list;
		mine.list_op_pending = NULL;
		SYS(syscall(SYS_set_robust_list, &mine, sizeof(mine)));
		SYS(syscall(SYS_get_robust_list, 0, &head, &len));
		CHECK(head == &mine && len == sizeof(mine));
		m->futex = gettid_() | FUTEX_WAITERS;
	}
	CHECK_EXIT(c, 0);
	CHECK_EQ(m->futex & FUTEX_OWNER_DIED, FUTEX_OWNER_DIED);
	CHECK_EQ(m->futex & FUTEX_TID_MASK, 0);
	CHECK_ERRNO(syscall(SYS_set_robust_list, &mine, 5), EINVAL);
	CHECK_ERRNO(syscall(SYS_get_robust_list, 99999, &head, &len), ESRCH);
}

TEST(futex_robust_mutex_of_libc)
{
	pthread_mutex_t *mu = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	CHECK_EQ(pthread_mutex_init(mu, &a), 0);
	CHILD(c)
	{
		pthread_mutex_lock(mu);
		raise(SIGKILL);
	}
	CHECK_KILLED(c, SIGKILL);
	CHECK_EQ(pthread_mutex_lock(mu), EOWNERDEAD);
	CHECK_EQ(pthread_mutex_consistent(mu), 0);
	CHECK_EQ(pthread_mutex_unlock(mu), 0);
	CHECK_EQ(pthread_mutex_lock(mu), 0);
}

struct waiter_v { uint64_t val, uaddr; uint32_t flags, reserved; };

TEST(futex_waitv_any)
{
	shared_words();
	struct waiter_v v[3];
	for (int i = 0; i < 3; i++)
		v[i] = (struct waiter_v){.val = i, .uaddr = (uintptr_t)(word + i), .flags = 2 /* FUTEX_32 */};
	word[0] = 0, word[1] = 1, word[2] = 2;
	CHILD(c) CHECK_EQ(syscall(449, v, 3, 0, NULL, 0), 1);
	until_blocked(c);
	CHECK_EQ(futex(word + 1, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
	CHECK_EXIT(c, 0);
	word[2] = 9;
	CHECK_ERRNO(syscall(449, v, 3, 0, NULL, 0), EAGAIN);
	CHECK_ERRNO(syscall(449, v, 0, 0, NULL, 0), EINVAL);
	CHECK_ERRNO(syscall(449, v, 3, 1, NULL, 0), EINVAL);
	v[0].flags = 0;
	CHECK_ERRNO(syscall(449, v, 3, 0, NULL, 0), EINVAL);
}

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;

static void *pinger(void *arg)
{
	long me = (long)arg;
	for (int i = 0; i < 500; i++) {
		pthread_mutex_lock(&mu);
		while (turn != me)
			pthread_cond_wait(&cond, &mu);
		turn = !me;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mu);
	}
	return NULL;
}

TEST(futex_condition_variables)
{
	pthread_t a, b;
	pthread_create(&a, NULL, pinger, (void *)0L);
	pthread_create(&b, NULL, pinger, (void *)1L);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
}

TEST(futex_wait_in_private_file_mapping_and_cow)
{
	/* A shared futex in private memory is private to the process after fork. */
	uint32_t *p = map_pages(1);
	CHILD(c)
	{
		struct timespec ts = {0, 50000000};
		CHECK_ERRNO(futex(p, FUTEX_WAIT, 0, &ts, NULL, 0), ETIMEDOUT);
	}
	until_blocked(c);
	CHECK_EQ(futex(p, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
	CHECK_EXIT(c, 0);
}
