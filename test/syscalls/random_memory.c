//go:build ignore

/*
 * Random operations on address spaces, beside a model that says for each page what it contains and
 * allows. A failure names seed, depth of forks, number of the operation, and the operation. To hunt:
 * make test programs with CFLAGS="-O1 -DROUNDS=20000 -DSEEDS=50 -DFIRST=1000".
 */
#include "test.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/uio.h>

#ifndef ROUNDS
#define ROUNDS 250
#endif
#ifndef SEEDS
#define SEEDS 3
#endif
#ifndef FIRST
#define FIRST 1
#endif
enum { N = 80, AREAS = 4, FPAGES = 48, POOL = 8192, HEAP = 24, NONE = -1, BEYOND = -2 };

/* What shared memory contains; it is shared itself. The files come first, then anonymous memory. */
static struct {
	int next; /* first page that was never used */
	int size[AREAS]; /* of the files, in pages */
	unsigned version[POOL];
	unsigned char mem[POOL][PAGE];
} *pool;

struct page {
	unsigned char mapped, prot, shared, lock, nofork, wipe;
	unsigned char own;    /* a private page that was written to */
	unsigned char freed;  /* MADV_FREE: zero is right, too */
	int obj, end;         /* page of the pool behind it, NONE or BEYOND; where that object ends */
	unsigned version;     /* of that page, when the two were equal */
};

struct area {
	unsigned char *base;
	struct page p[N];
	unsigned char own[N][PAGE], buf[N * PAGE];
	uint64_t rng;
	int index, fd, data, mem, pipe[2];
	int seed, depth, op, forks, alone, only, locks;
	char what[120];
};
static struct area areas[AREAS];
static __thread struct area *A;
static __thread sigjmp_buf jump;
static __thread volatile int armed;
static __thread siginfo_t fault;
static unsigned char *heap, tags[HEAP];
static int heap_len;

#define BAD(fmt, ...) FAIL("seed %d op %d.%d (%s): " fmt, A->seed, A->depth, A->op, A->what, ##__VA_ARGS__)
#define OP(...) snprintf(A->what, sizeof(A->what), __VA_ARGS__)
/* The call must give want, or -1 and err if that is not 0. */
#define GIVES(call, want, err) (errno = 0, gives((long)(call), (long)(want), err, #call))

static void gives(long got, long want, int err, const char *call)
{
	if (err)
		want = -1;
	if (got != want || (got == -1 && errno != err))
		BAD("%s = %#lx (%s), want %#lx (%s)", call, got, strerrorname_np(errno), want, strerrorname_np(err));
}

static int rnd(int n) { return (next_random(&A->rng) >> 11) % n; }

static void *at(int i) { return A->base + i * (long)PAGE; }
static int after(int obj, int end) { return obj < 0 ? obj : obj + 1 < end ? obj + 1 : BEYOND; }

static void caught(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	if (!armed)
		BAD("signal %d code %d at %p, page %ld", sig, si->si_code, si->si_addr, ((long)si->si_addr - (long)A->base) / (long)PAGE);
	fault = *si;
	siglongjmp(jump, 1);
}

/* Nothing is behind the page: it lies beyond the end of its file. */
static int beyond(const struct page *p)
{
	return !p->own && (p->obj == BEYOND || (p->obj >= 0 && p->obj / FPAGES < AREAS && p->obj % FPAGES >= pool->size[p->obj / FPAGES]));
}

/* The signal and code that an access gets; 0: none. */
static int fault_of(const struct page *p, int write)
{
	if (!p->mapped)
		return SIGSEGV << 8 | SEGV_MAPERR;
	if (write ? !(p->prot & PROT_WRITE) : !p->prot)
		return SIGSEGV << 8 | SEGV_ACCERR;
	return beyond(p) ? SIGBUS << 8 | BUS_ADRERR : 0;
}

/* Accesses one byte of page i and checks whether and how that faults. */
static int touch(int i, int write, int byte)
{
	write &= !beyond(&A->p[i]); /* not every platform knows what kind of access it was */
	volatile unsigned char *a = (unsigned char *)at(i) + rnd(PAGE);
	int want = fault_of(&A->p[i], write), got = 0;
	armed = 1;
	if (sigsetjmp(jump, 0) == 0) {
		if (write && want == 0)
			a = at(i);
		if (write)
			*a = byte;
		else
			(void)*a;
	} else {
		got = fault.si_signo << 8 | fault.si_code;
		if (fault.si_addr != a)
			BAD("%s %p faults at %p", write ? "writing" : "reading", a, fault.si_addr);
	}
	armed = 0;
	if (got != want)
		BAD("%s page %d: signal and code %#x, want %#x", write ? "writing" : "reading", i, got, want);
	return got == 0;
}

static const unsigned char *content(int i)
{
	static const unsigned char zero[PAGE];
	struct page *p = &A->p[i];
	return p->own ? A->own[i] : p->obj >= 0 ? pool->mem[p->obj] : zero;
}

/* Says whether page i contains what it must; got is how it was read. */
static void see(int i, const unsigned char *got, const char *how)
{
	struct page *p = &A->p[i];
	const unsigned char *want = content(i);
	if (memcmp(got, want, PAGE) == 0) {
		if (!p->own && p->obj >= 0)
			p->version = pool->version[p->obj];
		return;
	}
	if (p->freed && got[0] == 0 && memcmp(got, got + 1, PAGE - 1) == 0) {
		p->own = p->freed = 0;
		return;
	}
	/* Nobody promises that a private page shows what is written to the file later. */
	if (!p->shared && !p->own && p->obj >= 0 && p->version != pool->version[p->obj]) {
		p->own = 1;
		memcpy(A->own[i], got, PAGE);
		return;
	}
	int k = 0, last = PAGE - 1;
	while (got[k] == want[k])
		k++;
	while (got[last] == want[last])
		last--;
	BAD("page %d by %s (prot %d %s%s%s obj %d) bytes %d to %d: %#x, want %#x", i, how, p->prot, p->shared ? "shared" : "private",
	    p->own ? " own" : "", p->freed ? " freed" : "", p->obj, k, last, got[k], want[k]);
}

static void look(int i)
{
	unsigned char b[PAGE];
	if (A->p[i].mapped && !beyond(&A->p[i])) {
		GIVES(pread(A->mem, b, PAGE, (off_t)at(i)), PAGE, 0);
		see(i, b, "/proc/self/mem");
	}
}

static void check(int i)
{
	struct page *p = &A->p[i];
	unsigned char b[PAGE];
	struct iovec l = {b, PAGE}, r = {at(i), PAGE};
	int how = rnd(8);
	if (how == 0)
		look(i);
	if (fault_of(p, 0)) {
		if (how & 1)
			touch(i, how & 2, 0);
		return;
	}
	if (how == 1 && (p->prot & PROT_READ)) {
		GIVES(process_vm_readv(getpid(), &l, 1, &r, 1, 0), PAGE, 0);
		see(i, b, "process_vm_readv");
	}
	if (how == 2 && !(p->prot & PROT_WRITE))
		touch(i, 1, 0);
	see(i, at(i), "itself");
}

static void check_all(void)
{
	for (int i = 0; i < N; i++)
		check(i);
}

/* How many pages from i on can be accessed, of n. */
static int leading(int i, int n, int write)
{
	int k = 0;
	while (k < n && fault_of(&A->p[i + k], write) == 0)
		k++;
	return k;
}

static int mapped(int i, int n) /* how many pages from i on are mapped */
{
	int k = 0;
	while (k < n && A->p[i + k].mapped)
		k++;
	return k;
}

static int empty(int i, int n)
{
	for (int k = 0; k < n; k++)
		if (A->p[i + k].mapped)
			return 0;
	return 1;
}

static void put(long from, long len)
{
	for (long k = 0; k < len;) {
		int i = (from + k) / PAGE, off = (from + k) % PAGE;
		long part = len - k < (long)PAGE - off ? len - k : (long)PAGE - off;
		struct page *p = &A->p[i];
		if (p->shared) {
			memcpy(pool->mem[p->obj] + off, A->buf + k, part);
			__atomic_add_fetch(&pool->version[p->obj], 1, __ATOMIC_RELAXED);
		} else {
			if (!p->own)
				memcpy(A->own[i], content(i), PAGE);
			p->own = 1, p->freed = 0;
			memcpy(A->own[i] + off, A->buf + k, part);
		}
		k += part;
	}
}

/* Memory is written by the program or a system call: whole pages up to the first bad one. */
static void op_write(int i, int n)
{
	static const char *const hows[] = {"itself", "read of pipe", "pread", "process_vm_writev", "/proc/self/mem"};
	int how = rnd(LEN(hows));
	n = how == 4 ? 1 : n < 16 ? n : 16;
	int k = leading(i, n, 1);
	if (how == 4)
		k = A->p[i].mapped && !beyond(&A->p[i]) && (!A->p[i].shared || k);
	long from = i * (long)PAGE, len = n * (long)PAGE, want = k * (long)PAGE, left;
	if (k == n) {
		from += rnd(PAGE);
		len -= from % PAGE;
		want = len = 1 + rnd(len);
	}
	OP("write by %s to %d+%#lx, %#lx bytes, %#lx can be", hows[how], i, from % PAGE, len, want);
	for (int j = i; j < i + k; j++) {
		if (!A->p[j].shared)
			look(j);
		/* Whether a page is copied before or after the file changes by the same call is open. */
		for (int o = i; o < i + k; o++)
			if (A->p[j].shared && !A->p[o].shared && !A->p[o].own && A->p[j].obj == A->p[o].obj)
				return;
	}
	for (long j = 0, b = rnd(256), c = rnd(256); j < len; j++)
		A->buf[j] = b + j * c;
	struct iovec l = {A->buf, len}, r = {A->base + from, len};
	switch (how) {
	case 0:
		memcpy(A->base + from, A->buf, want);
		break;
	case 1:
		GIVES(write(A->pipe[1], A->buf, len), len, 0);
		GIVES(read(A->pipe[0], A->base + from, len), want, want ? 0 : EFAULT);
		if ((left = len - want) > 0)
			GIVES(read(A->pipe[0], A->buf + want, left), left, 0);
		break;
	case 2:
		GIVES(pwrite(A->data, A->buf, len, 0), len, 0);
		GIVES(pread(A->data, A->base + from, len, 0), want, want ? 0 : EFAULT);
		break;
	case 3:
		GIVES(process_vm_writev(getpid(), &l, 1, &r, 1, 0), want, want ? 0 : EFAULT);
		break;
	case 4:
		GIVES(pwrite(A->mem, A->buf, len, (off_t)A->base + from), want, want ? 0 : EIO);
	}
	put(from, want);
}

static void op_read(int i, int n)
{
	n = n < 16 ? n : 16;
	long k = leading(i, n, 0), want = k * (long)PAGE, len = n * (long)PAGE;
	if (rnd(2)) {
		OP("write to a pipe from %d+%d, %ld can be", i, n, k);
		GIVES(write(A->pipe[1], at(i), len), want, k ? 0 : EFAULT);
		if (k)
			GIVES(read(A->pipe[0], A->buf, want), want, 0);
	} else {
		OP("pwrite from %d+%d, %ld can be", i, n, k);
		GIVES(pwrite(A->data, at(i), len, 0), want, k ? 0 : EFAULT);
		GIVES(pread(A->data, A->buf, want, 0), want, 0);
	}
	for (int j = 0; j < k; j++)
		see(i + j, A->buf + j * PAGE, "system call");
}

static void set(int i, int n, struct page p)
{
	for (int k = 0; k < n; k++, p.obj = after(p.obj, p.end)) {
		p.version = p.obj >= 0 ? pool->version[p.obj] : 0;
		A->p[i + k] = p;
	}
}

static const int prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_WRITE, PROT_READ | PROT_EXEC};

static void op_mmap(int i, int n)
{
	int kind = rnd(5), fd = -1, o = 0;
	struct page p = {.mapped = 1, .prot = prots[rnd(LEN(prots))], .obj = NONE, .lock = A->locks && rnd(16) == 0, .shared = kind & 1};
	if (kind >= 2 && kind <= 3) {
		o = rnd(FPAGES);
		n = n < FPAGES - o ? n : FPAGES - o;
		p.obj = A->index * FPAGES + o, p.end = (A->index + 1) * FPAGES;
		fd = A->fd;
	} else if (kind == 1) {
		p.obj = __atomic_fetch_add(&pool->next, n, __ATOMIC_RELAXED), p.end = p.obj + n;
		if (p.end > POOL)
			p.shared = 0, p.obj = NONE;
	}
	int flags = (p.shared ? MAP_SHARED : MAP_PRIVATE) | (fd < 0 ? MAP_ANONYMOUS : 0) | (p.lock ? MAP_LOCKED : 0) |
		    (rnd(4) ? 0 : MAP_POPULATE) | (rnd(4) ? 0 : MAP_NORESERVE);
	int how = rnd(4), err = 0;
	unsigned char *hint = how == 0 && A->alone ? NULL : at(i), *r;
	if (hint && how == 1)
		flags |= MAP_FIXED_NOREPLACE, err = empty(i, n) ? 0 : EEXIST;
	else if (hint && !(how == 2 && empty(i, n)))
		flags |= MAP_FIXED;
	OP("mmap %p %d+%d prot %d flags %#x file page %d", hint, i, n, p.prot, flags, o);
	if (hint) {
		GIVES(mmap(hint, n * PAGE, p.prot, flags, fd, o * PAGE), at(i), err);
		if (err)
			return;
	} else {
		CHECK((r = mmap(NULL, n * PAGE, p.prot, flags, fd, o * PAGE)) != MAP_FAILED);
		if (r >= A->base && r < A->base + N * PAGE)
			i = (r - A->base) / PAGE;
		else
			GIVES(mremap(r, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(i)), at(i), 0);
	}
	set(i, n, p);
}

/* mremap of pages that one mmap may have made. Linux may have them in several mappings all the
 * same (EFAULT). */
static void op_mremap(int i, int n)
{
	struct page *p = &A->p[i], old[N];
	static unsigned char own[AREAS][N][PAGE];
	if (!p->mapped)
		return;
	int k = 1, obj = p->obj;
	for (; k < n; k++) {
		struct page *q = &p[k];
		obj = after(obj, p->end);
		if (!q->mapped || q->prot != p->prot || q->shared != p->shared || q->lock != p->lock || q->nofork != p->nofork || q->wipe != p->wipe || q->obj != obj || q->end != p->end)
			break;
	}
	n = k;
	int m = 1 + rnd(20), j = rnd(N - m), how = rnd(4), flags = MREMAP_MAYMOVE | MREMAP_FIXED, zero = 0, fits = i + m <= N;
	if (how == 1 && !p->lock)
		m = n, j = rnd(N - m), flags |= MREMAP_DONTUNMAP;
	else if (how == 2)
		flags = m < n || !A->alone ? 0 : MREMAP_MAYMOVE;
	else if (how == 3 && p->shared && rnd(4) == 0)
		zero = 1;
	if (flags & MREMAP_FIXED ? j < i + n && i < j + m : !fits)
		return;
	OP("mremap %d+%d to %d+%d flags %d%s", i, n, flags & MREMAP_FIXED ? j : i, m, flags, zero ? " dup" : "");
	unsigned char *r = mremap(at(i), zero ? 0 : n * PAGE, m * PAGE, flags, at(j));
	int e = errno;
	if (r == MAP_FAILED && e == EFAULT) {
		if (m <= n && !(flags & MREMAP_FIXED))
			BAD("EFAULT");
		SYS(munmap(at(i), n * PAGE));
		set(i, n, (struct page){0});
		if (flags & MREMAP_FIXED) {
			SYS(munmap(at(j), m * PAGE));
			set(j, m, (struct page){0});
		}
		return;
	}
	if (flags == 0 && m > n && !empty(i + n, m - n)) {
		if (r != MAP_FAILED || e != ENOMEM)
			BAD("%p %s, want ENOMEM", r, strerrorname_np(e));
		return;
	}
	if (r == MAP_FAILED)
		BAD("%s", strerrorname_np(e));
	if (!(flags & MREMAP_FIXED)) {
		if (r != at(i) && !(r >= A->base && r < A->base + N * PAGE)) { /* elsewhere, and back */
			GIVES(mremap(r, m * PAGE, m * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(i)), at(i), 0);
			r = at(i);
		}
		j = (r - A->base) / PAGE;
	}
	if (flags & MREMAP_FIXED && r != at(j))
		BAD("%p, want page %d", r, j);
	memcpy(old, p, n * sizeof(*p));
	memcpy(own[A->index], A->own[i], n * PAGE);
	if (flags & MREMAP_DONTUNMAP)
		for (k = 0; k < n; k++)
			p[k].own = p[k].freed = 0, p[k].version = p[k].obj >= 0 ? pool->version[p[k].obj] : 0;
	else if (!zero)
		set(i, n, (struct page){0});
	struct page q = old[0];
	q.own = q.freed = 0;
	set(j, m, q);
	if (!zero) {
		memcpy(&A->p[j], old, (m < n ? m : n) * sizeof(*p));
		memcpy(A->own[j], own[A->index], (m < n ? m : n) * PAGE);
	}
}

static int advise(int i, int n, int advice)
{
	int err = 0;
	for (struct page *p = &A->p[i]; p < &A->p[i + n]; p++) {
		if (!p->mapped) {
			err = ENOMEM;
			continue;
		}
		switch (advice) {
		case MADV_DONTNEED:
			if (p->lock)
				return EINVAL;
			p->own = p->freed = 0;
			if (p->obj >= 0 && !p->shared)
				p->version = pool->version[p->obj];
			break;
		case MADV_FREE:
			if (p->lock || p->obj != NONE)
				return EINVAL;
			p->freed = p->own;
			break;
		case MADV_REMOVE:
			if (p->lock || p->obj == NONE)
				return EINVAL;
			if (!p->shared)
				return EACCES;
			if (p->obj >= 0) {
				memset(pool->mem[p->obj], 0, PAGE);
				__atomic_add_fetch(&pool->version[p->obj], 1, __ATOMIC_RELAXED);
			}
			break;
		case MADV_DONTFORK:
		case MADV_DOFORK:
			p->nofork = advice == MADV_DONTFORK;
			break;
		case MADV_WIPEONFORK:
			if (p->obj != NONE)
				return EINVAL;
			p->wipe = 1;
			break;
		case MADV_KEEPONFORK:
			p->wipe = 0;
		}
	}
	return err;
}

static void op_lock(int i, int n)
{
	int lock = rnd(2), k = mapped(i, n);
	if (!A->locks)
		return;
	OP("%s %d+%d", lock ? "mlock" : "munlock", i, n);
	int r = lock ? mlock(at(i), n * PAGE) : munlock(at(i), n * PAGE);
	if (r == 0 ? k < n : errno != ENOMEM || (k == n && (!lock || leading(i, n, 0) == n)))
		BAD("%d %s", r, r ? strerrorname_np(errno) : "");
	while (k-- > 0)
		A->p[i + k].lock = lock;
}

/* /proc/self/maps: rights and kind of each page. */
static void op_maps(void)
{
	int fd = SYS(open("/proc/self/maps", O_RDONLY)), len = 0, n;
	unsigned char seen[N] = {0};
	OP("maps");
	while ((n = SYS(read(fd, A->buf + len, sizeof(A->buf) - 1 - len))) > 0)
		len += n;
	close(fd);
	A->buf[len] = 0;
	for (char *l = (char *)A->buf, *end; *l; l = strchr(l, '\n') + 1) {
		unsigned long from = strtoul(l, &end, 16), to = strtoul(end + 1, &end, 16), offset = strtoul(end + 6, NULL, 16);
		for (int i = 0; i < N; i++) {
			struct page *p = &A->p[i];
			unsigned long a = (unsigned long)at(i);
			if (a < from || a >= to)
				continue;
			char want[] = {p->prot & PROT_READ ? 'r' : '-', p->prot & PROT_WRITE ? 'w' : '-', p->prot & PROT_EXEC ? 'x' : '-', p->shared ? 's' : 'p'};
			if (!p->mapped || seen[i]++ || memcmp(end + 1, want, 4))
				BAD("page %d, mapped %d, rights %.4s in %.60s", i, p->mapped, want, l);
			if (p->obj >= 0 && p->obj < AREAS * FPAGES && offset + (a - from) != p->obj % FPAGES * PAGE)
				BAD("page %d, file's page %d in %.60s", i, p->obj % FPAGES, l);
		}
	}
	for (int i = 0; i < N; i++)
		if (A->p[i].mapped != seen[i])
			BAD("page %d: mapped %d", i, A->p[i].mapped);
}

static void op_heap(void)
{
	int n = rnd(HEAP), cut = n ? rnd(PAGE) : 0;
	OP("brk %d to %d pages", heap_len, n);
	GIVES(syscall(SYS_brk, heap + n * PAGE - cut), heap + n * PAGE - cut, 0);
	for (int i = heap_len; i < n; i++)
		tags[i] = 0;
	heap_len = n;
	for (int i = 0; i < n; i++)
		if (heap[i * PAGE] != tags[i] || heap[i * PAGE + PAGE - 1] != tags[i])
			BAD("page %d of the heap: %d, want %d", i, heap[i * PAGE], tags[i]);
	if (n > 0) {
		int i = rnd(n);
		memset(heap + i * PAGE, tags[i] = rnd(256), PAGE);
	}
}

static void op_truncate(void)
{
	int n = rnd(FPAGES + 1), first = A->index * FPAGES;
	OP("ftruncate to %d pages", n);
	SYS(ftruncate(A->fd, n * PAGE));
	for (int i = 0; i < N; i++)
		if (A->p[i].obj >= first + n && A->p[i].obj < first + FPAGES)
			A->p[i].own = 0;
	for (int i = n; i < FPAGES; i++) {
		memset(pool->mem[first + i], 0, PAGE);
		pool->version[first + i]++;
	}
	for (int i = 0; i < N; i++) /* these pages are gone, so what comes must be the file's */
		if (A->p[i].obj >= first + n && A->p[i].obj < first + FPAGES)
			A->p[i].version = pool->version[A->p[i].obj];
	pool->size[A->index] = n;
}

static void steps(int n);

/* Parent and child change their memory in turns. */
static void op_fork(void)
{
	int turns = rnd(4), n = 1 + rnd(6), go[2], back[2];
	char c = 0;
	OP("fork, %d turns", turns);
	int op = A->op, only = A->only;
	SYS(pipe(go));
	SYS(pipe(back));
	A->only = 0;
	CHILD(pid)
	{
		A->depth++;
		A->rng += 12345;
		A->mem = SYS(open("/proc/self/mem", O_RDWR));
		close(go[1]);
		close(back[0]);
		for (struct page *p = A->p; p < A->p + N; p++) {
			p->lock = 0;
			if (p->wipe)
				p->own = p->freed = 0;
			if (p->nofork)
				*p = (struct page){0};
		}
		for (int t = 0; t < turns; t++) {
			CHECK_EQ(read(go[0], &c, 1), 1);
			steps(n);
			SYS(write(back[1], &c, 1));
		}
		CHECK_EQ(read(go[0], &c, 1), 1);
		check_all();
		op_maps();
	}
	close(go[0]);
	close(back[1]);
	for (int t = 0; t < turns; t++) {
		SYS(write(go[1], &c, 1));
		CHECK_EQ(read(back[0], &c, 1), 1);
		steps(n);
	}
	SYS(write(go[1], &c, 1));
	OP("end of the child of %d", op);
	if (rnd(2))
		check_all();
	CHECK_EXIT(pid, 0);
	close(go[1]);
	close(back[0]);
	A->only = only;
	check_all();
}

HELPER(random_memory_nothing) { return 3; }

static void op_vfork(void)
{
	char *argv[] = {test_program, "--helper", "random_memory_nothing", NULL};
	OP("vfork and exec");
	pid_t pid = vfork();
	if (pid == 0) {
		execv(test_program, argv);
		_exit(1);
	}
	CHECK_EXIT(pid, 3);
}

static void step(void)
{
	static const int advices[] = {MADV_DONTNEED, MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK};
	static const int hints[] = {MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_WILLNEED, MADV_COLD, MADV_NORMAL, MADV_SEQUENTIAL};
	unsigned char vec[N];
	int i = rnd(N), n = 1 + rnd(rnd(2) ? 4 : 24), k, prot, a;
	n = n < N - i ? n : N - i;
	A->op++;
	if (rnd(A->forks) == 0 && A->depth < 3) {
		rnd(8) ? op_fork() : op_vfork();
		return;
	}
	switch (rnd(32)) {
	case 0 ... 4:
		op_mmap(i, n);
		break;
	case 5:
		OP("munmap %d+%d", i, n);
		SYS(munmap(at(i), n * PAGE));
		set(i, n, (struct page){0});
		break;
	case 6 ... 8:
		prot = prots[rnd(LEN(prots))];
		OP("mprotect %d+%d prot %d", i, n, prot);
		k = mapped(i, n);
		GIVES(mprotect(at(i), n * PAGE, prot), 0, k < n ? ENOMEM : 0);
		while (k-- > 0)
			A->p[i + k].prot = prot;
		break;
	case 9 ... 11:
		op_mremap(i, n);
		break;
	case 12 ... 14:
		a = advices[rnd(LEN(advices))];
		OP("madvise %d+%d %d", i, n, a);
		k = advise(i, n, a);
		GIVES(madvise(at(i), n * PAGE, a), 0, k);
		break;
	case 15:
		madvise(at(i), n * PAGE, hints[rnd(LEN(hints))]);
		break;
	case 16:
		op_lock(i, n);
		break;
	case 17:
		OP("mincore %d+%d", i, n);
		GIVES(mincore(at(i), n * PAGE, vec), 0, mapped(i, n) < n ? ENOMEM : 0);
		break;
	case 18:
		op_maps();
		break;
	case 19:
		if (A->alone)
			op_heap();
		break;
	case 20:
		if (A->only && rnd(2))
			op_truncate();
		break;
	case 21 ... 22:
		op_read(i, n);
		break;
	default:
		op_write(i, n);
	}
	for (k = -1; k <= n; k++)
		if (i + k >= 0 && i + k < N)
			check(i + k);
	if (A->op % 32 == 0)
		check_all();
}

static void steps(int n)
{
	while (n-- > 0)
		step();
}

static void setup(int index, int seed, int forks, int alone)
{
	struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER};
	struct rlimit lim;
	SYS(sigaction(SIGSEGV, &sa, NULL));
	SYS(sigaction(SIGBUS, &sa, NULL));
	SYS(getrlimit(RLIMIT_MEMLOCK, &lim));
	A = &areas[index];
	memset(A, 0, sizeof(*A));
	if (index == 0) {
		pool = mmap(NULL, sizeof(*pool), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		CHECK(pool != MAP_FAILED);
		pool->next = AREAS * FPAGES;
		heap = (unsigned char *)((syscall(SYS_brk, 0) + 2 * PAGE - 1) & -PAGE);
		heap_len = 0;
		SYS(syscall(SYS_brk, heap));
	}
	A->index = index, A->seed = seed, A->forks = forks, A->alone = A->only = alone;
	A->locks = lim.rlim_cur >= AREAS * N * PAGE;
	A->rng = seed * 0x9e3779b97f4a7c15ULL + index + 1;
	A->fd = SYS(memfd_create("file", 0));
	A->data = SYS(memfd_create("data", 0));
	SYS(ftruncate(A->fd, FPAGES * PAGE));
	pool->size[index] = FPAGES;
	SYS(pipe(A->pipe));
	A->mem = SYS(open("/proc/self/mem", O_RDWR));
	A->base = mmap(NULL, (N + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(A->base != MAP_FAILED);
	A->base += PAGE;
	SYS(munmap(A->base, N * PAGE));
}

static void one_process(int forks, int rounds)
{
	for (int seed = FIRST; seed < FIRST + SEEDS; seed++) {
		CHILD(pid)
		{
			setup(0, seed, forks, 1);
			steps(rounds);
			check_all();
		}
		CHECK_EXIT(pid, 0);
	}
}

TEST_LIMIT(random_memory_of_a_process, 30) { one_process(200, 2 * ROUNDS); }
TEST_LIMIT(random_memory_of_processes, 30) { one_process(12, ROUNDS / 2); }

static void *work(void *arg)
{
	A = arg;
	steps(ROUNDS / 2);
	check_all();
	return NULL;
}

TEST_LIMIT(random_memory_of_threads, 30)
{
	for (int seed = FIRST; seed < FIRST + SEEDS; seed++) {
		CHILD(pid)
		{
			pthread_t t[AREAS];
			for (int i = 0; i < AREAS; i++)
				setup(i, seed, 60, 0);
			for (int i = 1; i < AREAS; i++)
				CHECK_EQ(pthread_create(&t[i], NULL, work, &areas[i]), 0);
			A = &areas[0];
			A->forks = 10;
			work(A);
			for (int i = 1; i < AREAS; i++)
				CHECK_EQ(pthread_join(t[i], NULL), 0);
		}
		CHECK_EXIT(pid, 0);
	}
}
