//go:build ignore

/* Moving data inside the kernel: sendfile, splice, tee, vmsplice, copy_file_range; inotify. */
#include "test.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char buf[1 << 16];

TEST(sendfile_to_file_pipe_socket)
{
	SYS(put_file("in", "0123456789"));
	int in = SYS(open("in", O_RDONLY)), out = SYS(open("out", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(sendfile(out, in, NULL, 4), 4);
	CHECK_EQ(lseek(in, 0, SEEK_CUR), 4);
	off_t off = 6;
	CHECK_EQ(sendfile(out, in, &off, 100), 4);
	CHECK_EQ(off, 10);
	CHECK_EQ(lseek(in, 0, SEEK_CUR), 4);
	CHECK_EQ(sendfile(out, in, &off, 100), 0);
	get_file("out", buf, sizeof(buf));
	CHECK_STR(buf, "01236789");
	int p[2], s[2];
	SYS(pipe(p));
	off = 0;
	CHECK_EQ(sendfile(p[1], in, &off, 10), 10);
	CHECK_EQ(read(p[0], buf, 100), 10);
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	off = 5;
	CHECK_EQ(sendfile(s[1], in, &off, 10), 5);
	CHECK_EQ(read(s[0], buf, 100), 5);
	CHECK_MEM(buf, "56789", 5);
}

TEST(sendfile_errors)
{
	SYS(put_file("in", "0123456789"));
	int in = SYS(open("in", O_RDWR)), ap = SYS(open("ap", O_WRONLY | O_CREAT | O_APPEND, 0600));
	int p[2];
	off_t off = -1;
	SYS(pipe(p));
	CHECK_ERRNO(sendfile(ap, in, NULL, 1), EINVAL);
	CHECK_ERRNO(sendfile(-1, in, NULL, 1), EBADF);
	CHECK_ERRNO(sendfile(p[1], -1, NULL, 1), EBADF);
	CHECK_ERRNO(sendfile(p[0], in, NULL, 1), EBADF);
	CHECK_ERRNO(sendfile(p[1], in, &off, 1), EINVAL);
	CHECK_ERRNO(sendfile(p[1], in, bad_ptr(), 1), EFAULT);
}

TEST(splice_file_pipe_file)
{
	SYS(put_file("in", "spliced data"));
	int in = SYS(open("in", O_RDONLY)), out = SYS(open("out", O_RDWR | O_CREAT, 0600));
	int p[2];
	SYS(pipe(p));
	loff_t off = 8;
	CHECK_EQ(splice(in, &off, p[1], NULL, 100, 0), 4);
	CHECK_EQ(off, 12);
	CHECK_EQ(splice(in, NULL, p[1], NULL, 8, SPLICE_F_MOVE), 8);
	CHECK_EQ(splice(p[0], NULL, out, NULL, 100, 0), 12);
	get_file("out", buf, sizeof(buf));
	CHECK_STR(buf, "dataspliced ");
	CHECK_ERRNO(splice(p[0], NULL, out, NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
	CHECK_ERRNO(splice(in, NULL, out, NULL, 1, 0), EINVAL);
	CHECK_ERRNO(splice(p[0], &off, out, NULL, 1, 0), ESPIPE);
	CHECK_ERRNO(splice(in, NULL, p[1], NULL, 1, 0x100), EINVAL);
	CHECK_EQ(splice(in, NULL, p[1], NULL, 0, 0), 0);
}

TEST(splice_pipe_to_pipe_and_eof)
{
	int a[2], b[2];
	SYS(pipe(a));
	SYS(pipe(b));
	SYS(write(a[1], "hello", 5));
	CHECK_EQ(splice(a[0], NULL, b[1], NULL, 3, 0), 3);
	CHECK_EQ(read(b[0], buf, 10), 3);
	SYS(close(a[1]));
	CHECK_EQ(splice(a[0], NULL, b[1], NULL, 10, 0), 2);
	CHECK_EQ(splice(a[0], NULL, b[1], NULL, 10, 0), 0);
	CHECK_ERRNO(splice(b[0], NULL, b[1], NULL, 1, 0), EINVAL);
}

TEST(splice_to_socket)
{
	int s[2], p[2];
	SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	SYS(pipe(p));
	SYS(write(p[1], "net", 3));
	CHECK_EQ(splice(p[0], NULL, s[0], NULL, 10, 0), 3);
	CHECK_EQ(read(s[1], buf, 10), 3);
	SYS(write(s[0], "back", 4));
	CHECK_EQ(splice(s[1], NULL, p[1], NULL, 10, 0), 4);
	CHECK_EQ(read(p[0], buf, 10), 4);
}

TEST(tee_duplicates)
{
	int a[2], b[2];
	SYS(pipe(a));
	SYS(pipe(b));
	SYS(write(a[1], "copy me", 7));
	CHECK_EQ(tee(a[0], b[1], 4, 0), 4);
	CHECK_EQ(read(b[0], buf, 10), 4);
	CHECK_MEM(buf, "copy", 4);
	CHECK_EQ(read(a[0], buf, 10), 7);
	CHECK_ERRNO(tee(a[0], b[1], 1, SPLICE_F_NONBLOCK), EAGAIN);
	CHECK_ERRNO(tee(0, b[1], 1, 0), EINVAL);
}

TEST(vmsplice_into_pipe)
{
	int p[2];
	struct iovec v[2] = {{"abc", 3}, {"defg", 4}};
	SYS(pipe(p));
	CHECK_EQ(vmsplice(p[1], v, 2, 0), 7);
	CHECK_EQ(read(p[0], buf, 10), 7);
	CHECK_MEM(buf, "abcdefg", 7);
	SYS(write(p[1], "xyz", 3));
	struct iovec r = {buf, 10};
	CHECK_EQ(vmsplice(p[0], &r, 1, 0), 3);
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_ERRNO(vmsplice(fd, v, 1, 0), EBADF);
}

TEST(copy_file_range_basics)
{
	SYS(put_file("in", "0123456789"));
	int in = SYS(open("in", O_RDWR)), out = SYS(open("out", O_RDWR | O_CREAT, 0600));
	loff_t a = 2, b = 5;
	CHECK_EQ(copy_file_range(in, &a, out, &b, 3, 0), 3);
	CHECK_EQ(a, 5);
	CHECK_EQ(b, 8);
	CHECK_EQ(get_file("out", buf, sizeof(buf)), 8);
	CHECK_MEM(buf, "\0\0\0\0\0" "234", 8);
	CHECK_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 10);
	CHECK_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 0);
	CHECK_ERRNO(copy_file_range(in, NULL, out, NULL, 1, 1), EINVAL);
	a = 0, b = 2;
	CHECK_ERRNO(copy_file_range(in, &a, in, &b, 5, 0), EINVAL);
	int r = SYS(open("out", O_RDONLY)), ap = SYS(open("out", O_WRONLY | O_APPEND));
	CHECK_ERRNO(copy_file_range(in, &a, r, NULL, 5, 0), EBADF);
	CHECK_ERRNO(copy_file_range(in, &a, ap, NULL, 5, 0), EBADF);
	int d = SYS(open(".", O_RDONLY));
	CHECK_ERRNO(copy_file_range(d, NULL, out, NULL, 5, 0), EISDIR);
	int p[2];
	SYS(pipe(p));
	CHECK_ERRNO(copy_file_range(p[0], NULL, out, NULL, 5, 0), EINVAL);
}

static int next_event(int fd, uint32_t *mask, char *name, uint32_t *cookie)
{
	static char q[4096] __attribute__((aligned(8)));
	static size_t have, at;
	if (at >= have) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, 500) != 1)
			return 0;
		have = SYS(read(fd, q, sizeof(q)));
		at = 0;
	}
	struct inotify_event *e = (void *)(q + at);
	at += sizeof(*e) + e->len;
	*mask = e->mask;
	strcpy(name, e->len ? e->name : "");
	if (cookie)
		*cookie = e->cookie;
	return e->wd;
}

#define EVENT(want_mask, want_name)                                                  \
	do {                                                                         \
		uint32_t m_ = 0;                                                     \
		char n_[256] = "";                                                   \
		if (!next_event(fd, &m_, n_, &cookie))                               \
			FAIL("no event, want %s of \"%s\"", #want_mask, want_name);  \
		if (m_ != (uint32_t)(want_mask) || strcmp(n_, want_name) != 0)       \
			FAIL("event %#x of \"%s\", want %s of \"%s\"", m_, n_, #want_mask, want_name); \
	} while (0)

TEST(inotify_directory)
{
	uint32_t cookie;
	int fd = SYS(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
	CHECK_ERRNO(read(fd, buf, sizeof(buf)), EAGAIN);
	SYS(mkdir("d", 0700));
	SYS(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
	int f = SYS(open("d/f", O_WRONLY | O_CREAT, 0600));
	EVENT(IN_CREATE, "f");
	EVENT(IN_OPEN, "f");
	SYS(write(f, "x", 1));
	EVENT(IN_MODIFY, "f");
	SYS(close(f));
	EVENT(IN_CLOSE_WRITE, "f");
	SYS(chmod("d/f", 0644));
	EVENT(IN_ATTRIB, "f");
	SYS(rename("d/f", "d/g"));
	EVENT(IN_MOVED_FROM, "f");
	uint32_t c = cookie;
	EVENT(IN_MOVED_TO, "g");
	CHECK(c == cookie && c != 0);
	SYS(mkdir("d/sub", 0700));
	EVENT(IN_CREATE | IN_ISDIR, "sub");
	SYS(unlink("d/g"));
	EVENT(IN_DELETE, "g");
	SYS(rmdir("d/sub"));
	EVENT(IN_DELETE | IN_ISDIR, "sub");
	SYS(rmdir("d"));
	EVENT(IN_DELETE_SELF, "");
	EVENT(IN_IGNORED, "");
}

TEST(inotify_file_and_masks)
{
	uint32_t cookie;
	SYS(put_file("f", ""));
	int fd = SYS(inotify_init());
	int wd = SYS(inotify_add_watch(fd, "f", IN_MODIFY));
	CHECK_EQ(inotify_add_watch(fd, "f", IN_CLOSE_WRITE | IN_MASK_ADD), wd);
	int f = SYS(open("f", O_WRONLY));
	SYS(write(f, "a", 1));
	SYS(write(f, "b", 1)); /* equal events in a row become one */
	SYS(close(f));
	EVENT(IN_MODIFY, "");
	EVENT(IN_CLOSE_WRITE, "");
	SYS(inotify_rm_watch(fd, wd));
	EVENT(IN_IGNORED, "");
	CHECK_ERRNO(inotify_rm_watch(fd, wd), EINVAL);
	SYS(inotify_add_watch(fd, "f", IN_OPEN | IN_ONESHOT));
	SYS(close(SYS(open("f", O_RDONLY))));
	EVENT(IN_OPEN, "");
	EVENT(IN_IGNORED, "");
}

TEST(inotify_errors)
{
	int fd = SYS(inotify_init());
	CHECK_ERRNO(inotify_init1(1), EINVAL);
	CHECK_ERRNO(inotify_add_watch(fd, "none", IN_OPEN), ENOENT);
	CHECK_ERRNO(inotify_add_watch(fd, ".", 0), EINVAL);
	CHECK_ERRNO(inotify_add_watch(0, ".", IN_OPEN), EINVAL);
	CHECK_ERRNO(inotify_add_watch(-1, ".", IN_OPEN), EBADF);
	CHECK_ERRNO(inotify_rm_watch(fd, 77), EINVAL);
	SYS(put_file("f", ""));
	CHECK_ERRNO(inotify_add_watch(fd, "f", IN_OPEN | IN_ONLYDIR), ENOTDIR);
	int wd = SYS(inotify_add_watch(fd, "f", IN_OPEN));
	CHECK_ERRNO(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_CREATE), EEXIST);
	SYS(close(SYS(open("f", O_RDONLY))));
	CHECK_ERRNO(read(fd, buf, 3), EINVAL);
	CHECK(wd > 0);
}
