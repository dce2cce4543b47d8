//go:build ignore

/*
 * Random operations on one file, beside a model of what it holds: what is read is what was
 * written, whichever way either went. A failure names seed, number and kind of the operation.
 *
 * By hand: -DROUNDS=N makes longer runs; TEST_SEED=N in the environment is added to the seeds,
 * TEST_TRACE=1 prints each operation, TEST_FILE=PATH names a file that is there already.
 */
#include "test.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#ifndef ROUNDS
#define ROUNDS 1200
#endif
#define MAX (160 * (long)PAGE) /* of the file */
#define VIEWS 4

/* What a child's operation changes too. Behind size the model holds zeros. */
static struct {
	unsigned char model[MAX];
	long size, low; /* low: least size since the last fork */
	uint64_t rng;
	int op;
	char what[160];
} *s;

/*
 * A mapping. own is what a private one shows where it was written to. What the rest of it shows
 * is the file only until then: a write may copy more pages than its own.
 */
static struct view {
	unsigned char *at;
	long off, pages;
	int private, written, split; /* split: of several mmap calls, which mremap refuses */
	char copied[MAX / PAGE];
	unsigned char own[MAX];
} views[VIEWS + 1]; /* the last one only looks, at all of the file, and stays */

static int fd, app, other; /* read and write, O_APPEND, another file */
static int trace, in_child;
static const char *path;          /* NULL when the file has no name (any more) */
static unsigned long seed;
static unsigned char buf[MAX + 64], back[MAX + 64];

#define BAD(fmt, ...) FAIL("seed %lu, op %d, %s: " fmt, seed, s->op, s->what, ##__VA_ARGS__)
#define NEED(call, want)                                                             \
	do {                                                                         \
		long need_r_ = (long)(call), need_w_ = (long)(want);                 \
		if (need_r_ != need_w_)                                              \
			BAD("%s = %ld (%s), want %ld", #call, need_r_, strerror(errno), need_w_); \
	} while (0)
#define OK(call)                                                                     \
	({                                                                           \
		long ok_r_ = (long)(call);                                           \
		if (ok_r_ == -1)                                                     \
			BAD("%s: %s", #call, strerror(errno));                       \
		ok_r_;                                                               \
	})

static void __attribute__((format(printf, 1, 2))) what(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(s->what, sizeof(s->what), fmt, ap);
	va_end(ap);
	if (trace)
		dprintf(2, "%d: %s [size %ld]\n", s->op, s->what, s->size);
}

static long rnd(long n) { return (next_random(&s->rng) >> 11) % n; }

/* A range of [0, limit) that is not empty: short, of some pages, or long; aligned or not. */
static long range(long limit, long *off)
{
	static const long most[] = {64, 2 * PAGE, 5 * PAGE, 75 * PAGE};
	long n = 1 + rnd(most[rnd(4)]);
	*off = rnd(limit);
	if (rnd(4) == 0)
		*off &= ~(PAGE - 1);
	if (rnd(4) == 0)
		n = (n + PAGE - 1) & ~(PAGE - 1);
	return n < limit - *off ? n : limit - *off;
}

static unsigned char *fill(long n)
{
	unsigned char *b = buf + rnd(64);
	for (long i = 0; i < n; i++)
		b[i] = i & 7 ? b[i - 1] * 5 + 1 : next_random(&s->rng) >> 20;
	return b;
}

static void same(const void *got, const void *want, long n, long off, const char *who)
{
	const unsigned char *g = got, *w = want;
	if (memcmp(g, w, n) == 0)
		return;
	for (long i = 0; i < n; i++)
		if (g[i] != w[i])
			BAD("%s has %#x at %ld, want %#x (size %ld)", who, g[i], off + i, w[i], s->size);
	BAD("%s: a difference came and went", who);
}

static void wrote(long off, const void *b, long n)
{
	memcpy(s->model + off, b, n);
	if (s->size < off + n)
		s->size = off + n;
}

/* What goes with pages behind the end: private copies. */
static void forget(long size)
{
	for (struct view *v = views; v < views + VIEWS; v++)
		for (long p = 0; p < v->pages; p++)
			if (v->off + p * PAGE >= size)
				v->copied[p] = 0;
}

static void resized(long size)
{
	if (size < s->size) {
		memset(s->model + size, 0, s->size - size);
		forget(size);
		if (size < s->low)
			s->low = size;
	}
	s->size = size;
}

static sigjmp_buf jump;
static volatile sig_atomic_t may_fault;

static void bus(int sig)
{
	if (!may_fault)
		BAD("signal %d", sig);
	siglongjmp(jump, 1);
}

static int faults(volatile unsigned char *p)
{
	may_fault = 1;
	int r = sigsetjmp(jump, 1);
	if (r == 0)
		(void)*p;
	may_fault = 0;
	return r;
}

static void check_view(struct view *v, long from, long to)
{
	static const char *const kinds[] = {"the shared mapping", "the private mapping", "the copy in the private mapping"};
	int behind = 0;
	for (long p = from; p < to; p++) {
		long at = v->off + p * PAGE;
		if (v->copied[p])
			same(v->at + p * PAGE, v->own + p * PAGE, PAGE, at, kinds[2]);
		else if (at < s->size && v->written)
			(void)*(volatile unsigned char *)(v->at + p * PAGE);
		else if (at < s->size)
			same(v->at + p * PAGE, s->model + at, PAGE, at, kinds[v->private]);
		else if (!behind++ && !faults(v->at + p * PAGE + rnd(PAGE)))
			BAD("no SIGBUS at %ld, size %ld", at, s->size);
	}
}

static void drop_view(struct view *v)
{
	if (v->pages)
		OK(munmap(v->at, v->pages * PAGE));
	memset(v->copied, 0, sizeof(v->copied));
	v->pages = 0;
}

/* The part of a view that can be touched: its bytes from *x on. 0 if there is none. */
static long part(struct view *v, long *x)
{
	long n = v->pages * PAGE, left = s->size - v->off;
	return n == 0 || left <= 0 ? 0 : range(left < n ? left : n, x);
}

/* The program is about to change n bytes of a view, or the kernel for it. */
static void change(struct view *v, long x, const void *b, long n)
{
	for (long p = x / PAGE; v->private && p <= (x + n - 1) / (long)PAGE; p++)
		if (!v->copied[p]) {
			check_view(v, p, p + 1);
			memcpy(v->own + p * PAGE, v->at + p * PAGE, PAGE);
			v->copied[p] = 1;
		}
	if (v->private)
		v->written = 1, memcpy(v->own + x, b, n);
	else
		wrote(v->off + x, b, n);
}

static void check_file(void)
{
	struct stat st;
	OK(fstat(fd, &st));
	NEED(st.st_size, s->size);
	long used = 0, page = -1;
	for (long i = 0; i < s->size; i++)
		if (s->model[i] && page != i / (long)PAGE)
			page = i / PAGE, used++, i |= PAGE - 1;
	if ((used && !st.st_blocks) || st.st_blocks > 4 * MAX / 512)
		BAD("%ld blocks, %ld pages are not zero", (long)st.st_blocks, used);
	NEED(pread(fd, back, MAX + 1, 0), s->size);
	same(back, s->model, s->size, 0, "the file");
	NEED(pread(fd, back, 1, s->size), 0);
	for (struct view *v = views; v <= views + VIEWS; v++)
		check_view(v, 0, v->pages);
}

static void op_read(void)
{
	long off, n = range(MAX, &off), k = rnd(4), left = s->size - off;
	long want = left < 0 ? 0 : left < n ? left : n;
	unsigned char *b = back + rnd(32);
	b[want] = 0x5a;
	what("%s %ld at %ld", k == 0 ? "read" : k == 1 ? "readv" : "pread", n, off);
	if (k == 0) {
		NEED(lseek(fd, off, SEEK_SET), off);
		NEED(read(fd, b, n), want);
		NEED(lseek(fd, 0, SEEK_CUR), off + want);
	} else if (k == 1) {
		long a = rnd(n + 1);
		struct iovec iov[3] = {{b, a / 2}, {b + a / 2, a - a / 2}, {b + a, n - a}};
		NEED(preadv(fd, iov, 3, off), want);
	} else {
		NEED(pread(fd, b, n, off), want);
	}
	NEED(b[want], 0x5a);
	same(b, s->model + off, want, off, "what was read");
}

static void op_write(void)
{
	long off, n = range(MAX, &off), k = rnd(6), a = rnd(n + 1);
	unsigned char *b = fill(n);
	if (k >= 4) /* append */
		off = s->size, n = n < MAX - off ? n : MAX - off;
	a = a < n ? a : n;
	struct iovec iov[3] = {{b, a / 2}, {b + a / 2, a - a / 2}, {b + a, n - a}};
	static const char *const names[] = {"write", "writev", "pwrite", "pwrite", "append", "pwritev2 append"};
	what("%s %ld at %ld", names[k], n, off);
	if (k == 0) {
		NEED(lseek(fd, off, SEEK_SET), off);
		NEED(write(fd, b, n), n);
		NEED(lseek(fd, 0, SEEK_CUR), off + n);
	} else if (k == 1) {
		NEED(pwritev(fd, iov, 3, off), n);
	} else if (k == 4) {
		NEED(rnd(2) ? write(app, b, n) : pwrite(app, b, n, rnd(MAX)), n);
	} else if (k == 5) {
		NEED(pwritev2(fd, iov, 3, rnd(MAX), RWF_APPEND), n);
	} else {
		NEED(pwrite(fd, b, n, off), n);
	}
	if (n)
		wrote(off, b, n);
}

static void op_truncate(void)
{
	long size = rnd(8) ? rnd(MAX + 1) : s->size / PAGE * PAGE;
	if (rnd(3) == 0)
		size = (s->size - 2 * PAGE + rnd(4 * PAGE));
	size = size < 0 ? 0 : size > MAX ? MAX : size;
	what("truncate to %ld", size);
	OK(path && rnd(2) ? truncate(path, size) : ftruncate(fd, size));
	resized(size);
}

static void op_allocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE};
	int mode = modes[rnd(LEN(modes))];
	long off, n = range(MAX, &off), move = mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
	if (move) { /* whole blocks in the file; private copies are lost in ways of the filesystem's */
		off &= ~(PAGE - 1), n = PAGE * (1 + rnd(8));
		if (off + n >= s->size || s->size + n > MAX || in_child)
			return;
		for (struct view *v = views; v < views + VIEWS; v++)
			if (v->private)
				drop_view(v);
	}
	what("fallocate mode %#x of %ld at %ld", mode, n, off);
	if (fallocate(fd, mode, off, n) == -1) {
		if (errno != EOPNOTSUPP)
			BAD("%s", strerror(errno));
		return;
	}
	long end = off + n, left = s->size - end;
	if (mode == FALLOC_FL_COLLAPSE_RANGE) {
		memmove(s->model + off, s->model + end, left);
		memset(s->model + s->size - n, 0, n);
		s->size -= n;
	} else if (mode == FALLOC_FL_INSERT_RANGE) {
		memmove(s->model + end, s->model + off, s->size - off);
		memset(s->model + off, 0, n);
		s->size += n;
	} else {
		if (mode & ~FALLOC_FL_KEEP_SIZE)
			memset(s->model + off, 0, n);
		if (!(mode & FALLOC_FL_KEEP_SIZE) && s->size < end)
			s->size = end;
	}
}

/* Maps something else, or changes a mapping. */
static void op_map(void)
{
	struct view *v = views + rnd(VIEWS);
	long pages = 1 + rnd(rnd(2) ? 8 : MAX / PAGE), k = rnd(8);
	if (!v->pages || k < 2) {
		drop_view(v);
		v->off = rnd(MAX / PAGE) * PAGE;
		v->private = rnd(3) == 0, v->written = v->split = 0;
		v->pages = pages < (MAX - v->off) / (long)PAGE ? pages : (MAX - v->off) / (long)PAGE;
		what("mmap %s %ld pages at %ld", v->private ? "private" : "shared", v->pages, v->off);
		v->at = mmap(NULL, v->pages * PAGE, PROT_READ | PROT_WRITE, v->private ? MAP_PRIVATE : MAP_SHARED, fd, v->off);
		OK(v->at);
		return;
	}
	long from = rnd(v->pages), n = 1 + rnd(v->pages - from), room = (MAX - v->off) / PAGE;
	unsigned char *p = v->at + from * PAGE, *to;
	if (k == 2 && !v->split) {
		what("mremap from %ld to %ld pages", v->pages, pages = pages < room ? pages : room);
		v->at = mremap(v->at, v->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
		OK(v->at);
		for (; v->pages > pages; v->pages--)
			v->copied[v->pages - 1] = 0;
		v->pages = pages;
	} else if (k == 3 && !v->split) {
		what("mremap of %ld pages to elsewhere", v->pages);
		to = mmap(NULL, v->pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		NEED(mremap(v->at, v->pages * PAGE, v->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
		v->at = to;
	} else if (k == 4 && from > 0) { /* the start goes */
		what("munmap of %ld pages", from);
		OK(munmap(v->at, from * PAGE));
		v->at = p, v->off += from * PAGE, v->pages -= from;
		memmove(v->copied, v->copied + from, v->pages);
		memset(v->copied + v->pages, 0, from);
		memmove(v->own, v->own + from * PAGE, v->pages * PAGE);
	} else if (k == 5) {
		what("mmap of %ld pages over page %ld", n, from);
		NEED(mmap(p, n * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | (v->private ? MAP_PRIVATE : MAP_SHARED), fd, v->off + from * PAGE), p);
		memset(v->copied + from, 0, n);
		v->split = 1;
	} else if (k == 6) {
		what("DONTNEED of %ld pages from %ld, %s", n, from, v->private ? "private" : "shared");
		OK(madvise(p, n * PAGE, MADV_DONTNEED));
		v->written &= n < v->pages;
		memset(v->copied + from, 0, n);
	} else if (!v->private) {
		what("MADV_REMOVE of %ld pages at %ld", n, v->off + from * PAGE);
		if (madvise(p, n * PAGE, MADV_REMOVE) == 0)
			memset(s->model + v->off + from * PAGE, 0, n * PAGE);
	}
	check_view(v, 0, v->pages);
}

static void op_look(void)
{
	struct view *v = views + rnd(VIEWS);
	long from = v->pages ? rnd(v->pages) : 0;
	what("read of a mapping at %ld", v->off + from * (long)PAGE);
	check_view(v, from, v->pages);
	/* The kernel meets the same end. */
	long end = (s->size + PAGE - 1) & ~(PAGE - 1);
	if (v->pages && !v->private && end >= v->off && end < v->off + v->pages * (long)PAGE)
		NEED(pwrite(other, v->at + end - v->off, 1, 0) == -1 && errno == EFAULT, 1);
}

static void store(struct view *v)
{
	long x, n = part(v, &x), tail = -s->size & (PAGE - 1);
	if (!n)
		return;
	what("store of %ld at %ld, %s", n, v->off + x, v->private ? "private" : "shared");
	unsigned char *b = fill(n);
	change(v, x, b, n);
	memcpy(v->at + x, b, n);
	if (!v->private && rnd(20) == 0)
		OK(msync(v->at, v->pages * PAGE, rnd(2) ? MS_SYNC : MS_ASYNC));
	unsigned char *end = v->at + s->size - v->off;
	if (v->private || !tail || end >= v->at + v->pages * PAGE)
		return;
	/* What is stored behind the end is not in the file. */
	*end = 0xee;
	NEED(pread(fd, back, 2, s->size), 0);
	NEED(lseek(fd, 0, SEEK_END), s->size);
	*end = 0;
}

static void op_store(void) { store(views + rnd(VIEWS)); }

/* Reads and writes whose memory is a mapping of the same file. */
static void op_io_of_view(void)
{
	struct view *v = views + rnd(VIEWS);
	long x, n = part(v, &x), off = rnd(MAX);
	if (!n || off + n > MAX || (off < v->off + x + n + (long)PAGE && v->off + x < off + n + (long)PAGE))
		return;
	if (rnd(2)) {
		what("pwrite %ld at %ld of a mapping at %ld, %s", n, off, v->off + x, v->private ? "private" : "shared");
		memcpy(back, v->at + x, n);
		NEED(pwrite(fd, v->at + x, n, off), n);
		wrote(off, back, n);
	} else if (off + n <= s->size) {
		what("pread %ld at %ld to a mapping at %ld, %s", n, off, v->off + x, v->private ? "private" : "shared");
		memcpy(back, s->model + off, n);
		change(v, x, back, n);
		NEED(pread(fd, v->at + x, n, off), n);
	}
}

/* Moves n bytes with one of the calls that copy in the kernel, all of them. */
static void copy(int k, int in, loff_t from, int out, loff_t to, long n)
{
	int p[2];
	NEED(lseek(out, to, SEEK_SET), to);
	OK(pipe(p));
	for (long r, w; n > 0; n -= r) {
		r = k == 0 ? sendfile(out, in, &from, n) : k == 1 ? copy_file_range(in, &from, out, &to, n, 0)
								   : splice(in, &from, p[1], NULL, n, 0);
		if (r <= 0)
			BAD("%ld bytes to go: %ld (%s)", n, r, strerror(errno));
		for (long m = k == 2 ? r : 0; m > 0; m -= w)
			if ((w = splice(p[0], NULL, out, &to, m, 0)) <= 0)
				BAD("splice to the file: %ld (%s)", w, strerror(errno));
	}
	OK(close(p[0]));
	OK(close(p[1]));
}

static void op_copy(void)
{
	static const char *const names[] = {"sendfile", "copy_file_range", "splice"};
	long off, n = range(MAX, &off), k = rnd(3), to, way = rnd(3);
	if (way && off + n > s->size)
		return;
	if (way == 0) {
		what("%s %ld in, at %ld", names[k], n, off);
		unsigned char *b = fill(n);
		NEED(pwrite(other, b, n, 100), n);
		copy(k, other, 100, fd, off, n);
		wrote(off, b, n);
	} else if (way == 1) {
		what("%s %ld out, at %ld", names[k], n, off);
		copy(k, fd, off, other, 50, n);
		NEED(pread(other, back, n, 50), n);
		same(back, s->model + off, n, off, "the copy");
	} else if ((to = rnd(MAX)) + n <= MAX && (to >= off + n || off >= to + n)) {
		what("%s %ld from %ld to %ld", names[k], n, off, to);
		copy(k, fd, off, fd, to, n);
		wrote(to, s->model + off, n);
	}
}

/* Between data and data there are zeros. */
static void op_holes(void)
{
	what("SEEK_DATA and SEEK_HOLE");
	for (long hole = 0, data; hole < s->size;) {
		data = lseek(fd, hole, SEEK_DATA);
		if (data == -1) {
			NEED(errno, ENXIO);
			data = s->size;
		}
		for (long i = hole; i < data; i++)
			if (s->model[i])
				BAD("%ld to %ld is a hole, but %ld is %#x", hole, data, i, s->model[i]);
		if (data == s->size)
			break;
		hole = OK(lseek(fd, data, SEEK_HOLE));
		NEED(hole > data && hole <= s->size, 1);
	}
}

static void open_again(int trunc)
{
	char name[64];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	const char *p = path ? path : name;
	int f = OK(open(p, O_RDWR | trunc)), a = OK(open(p, O_WRONLY | O_APPEND));
	OK(close(fd));
	OK(close(app));
	fd = f, app = a;
}

static void op_name(void)
{
	int k = rnd(60);
	if (k < 20) {
		what("open again%s", k == 0 ? " with O_TRUNC" : "");
		open_again(k == 0 ? O_TRUNC : 0);
		if (k == 0)
			resized(0);
	} else if (k < 26) {
		what("sync");
		OK(k & 1 ? fsync(fd) : fdatasync(app));
	} else if (path && k < 45) {
		what("link, rename and unlink");
		OK(k & 1 ? rename(path, "r") : link(path, "r"));
		OK(rename("r", path) == 0 && (k & 1 || unlink("r") == 0) ? 0 : -1);
	} else if (path && k == 45) {
		what("loss of the name");
		OK(rnd(2) ? unlink(path) : rename(put_file("r", "new") == 0 ? "r" : "", path));
		path = NULL;
	}
	check_file();
}

static void op_child(void);

static const struct op {
	void (*run)(void);
	int weight;
} ops[] = {{op_read, 15}, {op_write, 15}, {op_truncate, 6}, {op_allocate, 8}, {op_look, 8}, {op_store, 12},
	{op_io_of_view, 8}, {op_copy, 8}, {op_holes, 2}, {op_map, 10}, {op_name, 6}, {op_child, 1}};

static void one(int kinds)
{
	int n = 0, i = 0;
	for (int k = 0; k < kinds; k++)
		n += ops[k].weight;
	for (n = rnd(n); n >= ops[i].weight; i++)
		n -= ops[i].weight;
	ops[i].run();
}

/* Another process with the same mappings does something. Its private copies are its own. */
static void op_child(void)
{
	what("fork");
	s->low = MAX;
	CHILD(pid) {
		in_child = 1;
		for (struct view *v = views; v < views + VIEWS; v++)
			store(v);
		for (int i = 0; i < 4; i++)
			one(9);
		check_file();
	}
	CHECK_EXIT(pid, 0);
	forget(s->low);
	check_file();
}

enum where { DIRECTORY, SHM, MEMFD };

static void start(enum where where, unsigned long n)
{
	const char *more = getenv("TEST_SEED"), *given = getenv("TEST_FILE");
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(s != MAP_FAILED);
	seed = n + (more ? strtoul(more, NULL, 0) : 0);
	s->rng = seed * 0x9e3779b97f4a7c15 + 1;
	trace = getenv("TEST_TRACE") != NULL;
	on_signal(SIGBUS, bus, 0);
	on_signal(SIGSEGV, bus, 0);
	path = where == MEMFD ? NULL : where == DIRECTORY && given ? given : "f";
	if (where == MEMFD)
		fd = SYS(memfd_create("f", 0)), other = SYS(memfd_create("o", 0));
	else
		fd = SYS(open(path, O_RDONLY | O_CREAT, 0600)), other = SYS(open("o", O_RDWR | O_CREAT, 0600));
	s->size = SYS(pread(fd, s->model, MAX, 0));
	struct view *all = views + VIEWS;
	all->pages = MAX / PAGE;
	all->at = mmap(NULL, MAX, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(all->at != MAP_FAILED);
	app = dup(fd);
	open_again(0);
	check_file();
}

static void run(enum where where, unsigned long n)
{
	start(where, n);
	for (s->op = 1; s->op <= ROUNDS; s->op++) {
		one(LEN(ops));
		if (s->op % 50 == 0)
			check_file();
	}
	check_file();
}

static void in(enum where where, unsigned long n, void (*body)(enum where, unsigned long))
{
	char dir[] = "/dev/shm/t.XXXXXX";
	if (where == SHM && (!mkdtemp(dir) || chdir(dir) == -1))
		SKIP("%s: %s", dir, strerror(errno));
	CHILD(pid) {
		body(where, n);
	}
	int status = wait_status(pid);
	if (where == SHM)
		unlink("f"), unlink("o"), unlink("r"), rmdir(dir);
	CHECK_EQ(status, 0);
}

#define RANDOM(name, where, n) \
	TEST_LIMIT(name, 60) { in(where, n, run); }

RANDOM(random_file_1, DIRECTORY, 1)
RANDOM(random_file_2, DIRECTORY, 2)
RANDOM(random_file_3, DIRECTORY, 3)
RANDOM(random_shm_1, SHM, 4)
RANDOM(random_shm_2, SHM, 5)
RANDOM(random_memfd_1, MEMFD, 6)
RANDOM(random_memfd_2, MEMFD, 7)

/*
 * Threads that each have a range of the file, with borders in the middle of pages, and one
 * more thread that changes what is behind all of them.
 */
#define THREADS 3
#define SPAN (37 * (long)PAGE + 777)

static unsigned char *shown; /* the whole file, by all threads */
static atomic_int left;

static void *own_range(void *arg)
{
	long me = (long)arg, start = me * SPAN, x, kind;
	uint64_t r = s->rng + me * 0x12345;
	unsigned char *b = malloc(SPAN), *mine = s->model + start;
#define EXPECT(cond)                                                                 \
	if (!(cond))                                                                 \
	FAIL("seed %lu, thread %ld, op %d, kind %ld of %ld at %ld: %s is false (%s)", seed, me, i, kind, n, start + x, #cond, strerror(errno))
	for (int i = 0; i < ROUNDS / 2; i++) {
		x = next_random(&r) % SPAN, kind = next_random(&r) % 6;
		long n = 1 + next_random(&r) % (i & 1 ? 3000 : SPAN), page = (start + x) & (PAGE - 1);
		n = n < SPAN - x ? n : SPAN - x;
		if (kind < 3)
			memset(mine + x, next_random(&r), n), mine[x] = i, mine[x + n - 1] = i;
		if (kind < 2) {
			EXPECT(pwrite(fd, mine + x, n, start + x) == n);
		} else if (kind == 2) {
			memcpy(shown + start + x, mine + x, n);
		} else if (kind == 3) {
			EXPECT(pread(fd, b, n, start + x) == n);
			EXPECT(memcmp(b, mine + x, n) == 0);
		} else if (kind == 4) {
			unsigned char *p = mmap(NULL, page + n, PROT_READ | PROT_WRITE, i & 2 ? MAP_SHARED : MAP_PRIVATE, fd, start + x - page);
			EXPECT(p != MAP_FAILED);
			EXPECT(memcmp(p + page, mine + x, n) == 0);
			EXPECT(munmap(p, page + n) == 0);
		} else {
			EXPECT(madvise(shown + start + x - page, page + n, MADV_DONTNEED) == 0);
		}
		EXPECT(memcmp(shown + start + x, mine + x, n) == 0);
	}
	atomic_fetch_sub(&left, 1);
	return NULL;
}

static void threads(enum where where, unsigned long n)
{
	start(where, n);
	pthread_t t[THREADS];
	long end = THREADS * SPAN;
	SYS(ftruncate(fd, end));
	shown = mmap(NULL, MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(shown != MAP_FAILED);
	left = THREADS;
	for (long i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, own_range, (void *)i), 0);
	for (s->op = 1; left; s->op++) {
		long at = end + rnd(MAX - end - 4 * PAGE), m = 1 + rnd(2 * PAGE);
		what("operations behind %ld", end);
		OK(ftruncate(fd, at));
		NEED(write(app, fill(m), m), m);
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, m);
		NEED(pread(fd, back, m, at), m);
		for (long i = 0; i < m; i++)
			NEED(back[i], 0);
		NEED(faults(shown + MAX - PAGE), 1);
		OK(ftruncate(fd, end));
		if (rnd(8) == 0) {
			CHILD(pid) {
				NEED(faults(shown + rnd(end)), 0);
			}
			CHECK_EXIT(pid, 0);
		}
	}
	for (long i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	s->size = end;
	check_file();
}

TEST_LIMIT(random_threads, 60) { in(DIRECTORY, 8, threads); }
TEST_LIMIT(random_threads_shm, 60) { in(SHM, 9, threads); }
TEST_LIMIT(random_threads_memfd, 60) { in(MEMFD, 10, threads); }
