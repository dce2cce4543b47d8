//go:build ignore

/* Opening, reading, writing, seeking, truncating: open(2), read(2), write(2), lseek(2)… */
#include "test.h"
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <linux/openat2.h>
#include <linux/falloc.h>

static char buf[1 << 16];

TEST(open_flags_create_excl_trunc)
{
	int fd = SYS(open("f", O_WRONLY | O_CREAT | O_EXCL, 0640));
	struct stat st;
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0640);
	CHECK_EQ(st.st_nlink, 1);
	SYS(write(fd, "hello", 5));
	SYS(close(fd));
	CHECK_ERRNO(open("f", O_WRONLY | O_CREAT | O_EXCL, 0600), EEXIST);
	fd = SYS(open("f", O_RDWR | O_TRUNC));
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, 0);
	CHECK_ERRNO(open("nothing", O_RDONLY), ENOENT);
	CHECK_ERRNO(open("f/x", O_RDONLY), ENOTDIR);
	CHECK_ERRNO(open("f/", O_RDONLY), ENOTDIR);
	CHECK_ERRNO(open("new/", O_RDWR | O_CREAT, 0600), EISDIR);
	CHECK_ERRNO(open("", O_RDONLY), ENOENT);
	CHECK_ERRNO(open(bad_ptr(), O_RDONLY), EFAULT);
}

TEST(open_directories)
{
	SYS(mkdir("d", 0755));
	CHECK_ERRNO(open("d", O_WRONLY), EISDIR);
	CHECK_ERRNO(open("d", O_RDWR), EISDIR);
	CHECK_ERRNO(open("d", O_RDONLY | O_CREAT, 0600), EISDIR);
	int fd = SYS(open("d", O_RDONLY | O_DIRECTORY));
	CHECK_ERRNO(read(fd, buf, 1), EISDIR);
	CHECK_ERRNO(write(fd, buf, 1), EBADF);
	SYS(put_file("f", "x"));
	CHECK_ERRNO(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_ERRNO(openat(fd, "x", O_RDONLY), ENOENT);
	CHECK_ERRNO(openat(-1, "x", O_RDONLY), EBADF);
	int f = SYS(open("f", O_RDONLY));
	CHECK_ERRNO(openat(f, "x", O_RDONLY), ENOTDIR);
	int g = SYS(openat(fd, "../f", O_RDONLY));
	CHECK_EQ(read(g, buf, 10), 1);
}

TEST(open_symlinks_and_nofollow)
{
	SYS(put_file("f", "target"));
	SYS(symlink("f", "l"));
	SYS(symlink("loop", "loop"));
	SYS(symlink("nothing", "dangling"));
	CHECK_EQ(SYS(open("l", O_RDONLY)) >= 0, 1);
	CHECK_ERRNO(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	CHECK_ERRNO(open("loop", O_RDONLY), ELOOP);
	CHECK_ERRNO(open("dangling", O_RDONLY), ENOENT);
	CHECK_ERRNO(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	int fd = SYS(open("dangling", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(access("nothing", F_OK), 0);
	SYS(close(fd));
	fd = SYS(open("l", O_PATH | O_NOFOLLOW));
	struct stat st;
	SYS(fstat(fd, &st));
	CHECK(S_ISLNK(st.st_mode));
	CHECK_EQ(readlinkat(fd, "", buf, sizeof(buf)), 1);
	/* Forty links in a row are followed, forty-one are not. */
	char a[16], b[16];
	strcpy(a, "f");
	for (int i = 1; i <= 41; i++) {
		snprintf(b, sizeof(b), "s%d", i);
		SYS(symlink(a, b));
		strcpy(a, b);
	}
	SYS(open("s40", O_RDONLY));
	CHECK_ERRNO(open("s41", O_RDONLY), ELOOP);
}

TEST(open_path_fds)
{
	SYS(put_file("f", "data"));
	int fd = SYS(open("f", O_PATH));
	CHECK_ERRNO(read(fd, buf, 1), EBADF);
	CHECK_ERRNO(write(fd, buf, 1), EBADF);
	CHECK_ERRNO(fchmod(fd, 0600), EBADF);
	CHECK_ERRNO(ftruncate(fd, 0), EBADF);
	CHECK_ERRNO(lseek(fd, 0, SEEK_SET), EBADF);
	CHECK_EQ(fcntl(fd, F_GETFL), O_PATH);
	struct stat st;
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, 4);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = SYS(open(path, O_RDONLY));
	CHECK_EQ(read(r, buf, 10), 4);
	int d = SYS(open(".", O_PATH | O_DIRECTORY));
	SYS(openat(d, "f", O_RDONLY));
	SYS(fchdir(d));
}

TEST(open_tmpfile)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (fd == -1 && errno == EOPNOTSUPP)
		SKIP("this filesystem has no O_TMPFILE");
	SYS(fd);
	SYS(write(fd, "tmp", 3));
	struct stat st;
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 0);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	SYS(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	SYS(stat("named", &st));
	CHECK_EQ(st.st_size, 3);
	CHECK_EQ(st.st_nlink, 1);
	CHECK_ERRNO(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
	fd = SYS(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK_ERRNO(linkat(AT_FDCWD, path, AT_FDCWD, "other", AT_SYMLINK_FOLLOW), ENOENT);
}

TEST(open_append_is_atomic)
{
	int a = SYS(open("f", O_WRONLY | O_CREAT | O_APPEND, 0600));
	int b = SYS(open("f", O_WRONLY | O_APPEND));
	SYS(write(a, "aa", 2));
	SYS(write(b, "bb", 2));
	SYS(lseek(a, 0, SEEK_SET));
	SYS(write(a, "cc", 2));
	CHECK_EQ(lseek(a, 0, SEEK_CUR), 6);
	CHECK_EQ(pwrite(a, "dd", 2, 0), 2); /* appends too on Linux; see pwrite(2), BUGS */
	get_file("f", buf, sizeof(buf));
	CHECK_STR(buf, "aabbccdd");
	SYS(fcntl(a, F_SETFL, 0));
	SYS(pwrite(a, "XX", 2, 0));
	get_file("f", buf, sizeof(buf));
	CHECK_STR(buf, "XXbbccdd");
	for (int i = 0; i < 4; i++) {
		CHILD(c)
		{
			int fd = SYS(open("g", O_WRONLY | O_CREAT | O_APPEND, 0600));
			for (int k = 0; k < 100; k++)
				SYS(write(fd, "0123456789", 10));
		}
	}
	while (wait(NULL) > 0)
		;
	struct stat st;
	SYS(stat("g", &st));
	CHECK_EQ(st.st_size, 4000);
}

TEST(open_getfl_setfl)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_SYNC, 0600));
	CHECK_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK | O_SYNC | 0100000 /* O_LARGEFILE */);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	SYS(fcntl(fd, F_SETFD, 0));
	CHECK_EQ(fcntl(fd, F_GETFD), 0);
	SYS(fcntl(fd, F_SETFL, O_APPEND));
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK | O_ACCMODE), O_APPEND | O_RDWR);
	CHECK_ERRNO(fcntl(fd, 9999), EINVAL);
	CHECK_ERRNO(fcntl(-1, F_GETFL), EBADF);
}

TEST(open_openat2)
{
	struct open_how how = {.flags = O_RDONLY};
	SYS(mkdir("d", 0755));
	SYS(put_file("d/f", "x"));
	SYS(symlink("d", "l"));
	SYS(symlink("/", "d/abs"));
	long fd = SYS(syscall(SYS_openat2, AT_FDCWD, "d/f", &how, sizeof(how)));
	SYS(close(fd));
	int d = SYS(open("d", O_PATH));
	how.resolve = RESOLVE_BENEATH;
	CHECK_ERRNO(syscall(SYS_openat2, d, "../d/f", &how, sizeof(how)), EXDEV);
	CHECK_ERRNO(syscall(SYS_openat2, d, "abs", &how, sizeof(how)), EXDEV);
	SYS(syscall(SYS_openat2, d, "f", &how, sizeof(how)));
	how.resolve = RESOLVE_NO_SYMLINKS;
	CHECK_ERRNO(syscall(SYS_openat2, AT_FDCWD, "l/f", &how, sizeof(how)), ELOOP);
	how.resolve = RESOLVE_IN_ROOT;
	SYS(syscall(SYS_openat2, d, "/../../f", &how, sizeof(how)));
	how.resolve = 0x8000;
	CHECK_ERRNO(syscall(SYS_openat2, d, "f", &how, sizeof(how)), EINVAL);
	how = (struct open_how){.flags = O_RDONLY, .mode = 0600};
	CHECK_ERRNO(syscall(SYS_openat2, d, "f", &how, sizeof(how)), EINVAL);
	CHECK_ERRNO(syscall(SYS_openat2, d, "f", &how, 8), EINVAL);
}

TEST(open_name_too_long)
{
	memset(buf, 'a', 256);
	buf[256] = 0;
	CHECK_ERRNO(open(buf, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
	buf[255] = 0;
	SYS(open(buf, O_RDWR | O_CREAT, 0600));
	memset(buf, '/', 5000);
	buf[5000] = 0;
	CHECK_ERRNO(open(buf, O_RDONLY), ENAMETOOLONG);
	buf[4095] = 0;
	SYS(open(buf, O_RDONLY));
}

TEST(fd_limit_and_lowest_number)
{
	int a = SYS(open("/dev/null", O_RDONLY));
	int b = SYS(open("/dev/null", O_RDONLY));
	SYS(close(a));
	CHECK_EQ(open("/dev/null", O_RDONLY), a);
	struct rlimit rl = {b + 2, b + 2};
	SYS(setrlimit(RLIMIT_NOFILE, &rl));
	CHECK_EQ(open("/dev/null", O_RDONLY), b + 1);
	CHECK_ERRNO(open("/dev/null", O_RDONLY), EMFILE);
	CHECK_ERRNO(dup(a), EMFILE);
	CHECK_ERRNO(fcntl(a, F_DUPFD, b + 2), EINVAL);
	CHECK_ERRNO(dup2(a, b + 2), EBADF);
	CHECK_ERRNO(pipe((int[2]){0}), EMFILE);
	CHECK_ERRNO(close(b + 1000), EBADF);
}

TEST(dup_family)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "0123456789", 10));
	int d = SYS(dup(fd));
	SYS(lseek(d, 3, SEEK_SET));
	CHECK_EQ(read(fd, buf, 2), 2);
	CHECK_MEM(buf, "34", 2);
	CHECK_EQ(dup2(fd, fd), fd);
	CHECK_ERRNO(dup3(fd, fd, 0), EINVAL);
	CHECK_EQ(dup2(fd, 50), 50);
	CHECK_EQ(dup3(fd, 51, O_CLOEXEC), 51);
	CHECK_EQ(fcntl(51, F_GETFD), FD_CLOEXEC);
	CHECK_ERRNO(dup3(fd, 52, O_APPEND), EINVAL);
	CHECK_EQ(fcntl(fd, F_DUPFD, 60), 60);
	CHECK_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 60), 61);
	CHECK_EQ(fcntl(61, F_GETFD), FD_CLOEXEC);
	CHECK_ERRNO(dup(-1), EBADF);
	CHECK_ERRNO(dup2(-1, 5), EBADF);
	CHECK_ERRNO(dup2(fd, -1), EBADF);
}

TEST(close_range_closes_and_marks)
{
	for (int i = 40; i < 50; i++)
		SYS(dup2(0, i));
	SYS(syscall(SYS_close_range, 42, 44, 0));
	CHECK_ERRNO(fcntl(43, F_GETFD), EBADF);
	CHECK_EQ(fcntl(45, F_GETFD), 0);
	SYS(syscall(SYS_close_range, 45, 49, 4 /* CLOSE_RANGE_CLOEXEC */));
	CHECK_EQ(fcntl(47, F_GETFD), FD_CLOEXEC);
	CHECK_ERRNO(syscall(SYS_close_range, 5, 4, 0), EINVAL);
	CHECK_ERRNO(syscall(SYS_close_range, 4, 5, 64), EINVAL);
}

TEST(read_write_positions)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(write(fd, "0123456789", 10), 10);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
	CHECK_EQ(read(fd, buf, 10), 0);
	CHECK_EQ(pread(fd, buf, 4, 3), 4);
	CHECK_MEM(buf, "3456", 4);
	CHECK_EQ(pwrite(fd, "AB", 2, 20), 2);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
	CHECK_EQ(read(fd, buf, 100), 12);
	CHECK_MEM(buf, "\0\0\0\0\0\0\0\0\0\0AB", 12);
	CHECK_ERRNO(pread(fd, buf, 1, -1), EINVAL);
	CHECK_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
	CHECK_ERRNO(lseek(fd, 0, 99), EINVAL);
	CHECK_EQ(lseek(fd, -2, SEEK_END), 20);
	CHECK_EQ(lseek(fd, 100, SEEK_END), 122);
	CHECK_EQ(read(fd, buf, 1), 0);
	CHECK_EQ(read(fd, bad_ptr(), 0), 0);
	SYS(lseek(fd, 0, SEEK_SET));
	CHECK_ERRNO(read(fd, bad_ptr(), 5), EFAULT);
	CHECK_ERRNO(write(fd, bad_ptr(), 5), EFAULT);
	int r = SYS(open("f", O_RDONLY)), w = SYS(open("f", O_WRONLY));
	CHECK_ERRNO(write(r, "x", 1), EBADF);
	CHECK_ERRNO(read(w, buf, 1), EBADF);
	CHECK_ERRNO(read(-1, buf, 1), EBADF);
}

TEST(vectored_io)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	struct iovec v[3] = {{"one", 3}, {"", 0}, {"three", 5}};
	CHECK_EQ(writev(fd, v, 3), 8);
	char a[2], b[4], c[10];
	struct iovec r[3] = {{a, 2}, {b, 4}, {c, 10}};
	CHECK_EQ(preadv(fd, r, 3, 0), 8);
	CHECK_MEM(a, "on", 2);
	CHECK_MEM(b, "ethr", 4);
	CHECK_MEM(c, "ee", 2);
	CHECK_EQ(pwritev(fd, v, 1, 100), 3);
	CHECK_EQ(preadv2(fd, r, 1, -1, 0), 2); /* at the offset, and moves it */
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
	CHECK_EQ(pwritev2(fd, v, 1, -1, RWF_APPEND), 3);
	struct stat st;
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, 106);
	CHECK_ERRNO(preadv2(fd, r, 1, 0, 0x4000), EOPNOTSUPP);
}

TEST(lseek_data_and_hole)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(ftruncate(fd, 1 << 20));
	SYS(pwrite(fd, "x", 1, 512 * 1024));
	long d = SYS(lseek(fd, 0, SEEK_DATA));
	CHECK(d <= 512 * 1024 && d % 512 == 0);
	long h = SYS(lseek(fd, 512 * 1024, SEEK_HOLE));
	CHECK(h > 512 * 1024 && h <= 1 << 20);
	CHECK_ERRNO(lseek(fd, 1 << 20, SEEK_DATA), ENXIO);
	CHECK_ERRNO(lseek(fd, 1 << 21, SEEK_HOLE), ENXIO);
	CHECK_ERRNO(lseek(fd, -1, SEEK_DATA), ENXIO);
}

TEST(truncate_and_ftruncate)
{
	SYS(put_file("f", "0123456789"));
	SYS(truncate("f", 4));
	CHECK_EQ(get_file("f", buf, sizeof(buf)), 4);
	SYS(truncate("f", 8));
	CHECK_EQ(get_file("f", buf, sizeof(buf)), 8);
	CHECK_MEM(buf, "0123\0\0\0\0", 8);
	CHECK_ERRNO(truncate("f", -1), EINVAL);
	CHECK_ERRNO(truncate("none", 1), ENOENT);
	CHECK_ERRNO(truncate(".", 1), EISDIR);
	CHECK_ERRNO(truncate(bad_ptr(), 1), EFAULT);
	int r = SYS(open("f", O_RDONLY));
	CHECK_ERRNO(ftruncate(r, 1), EINVAL);
	CHECK_ERRNO(ftruncate(-1, 1), EBADF);
	struct rlimit rl = {1000, 1000};
	SYS(setrlimit(RLIMIT_FSIZE, &rl));
	on_signal(SIGXFSZ, SIG_IGN, 0);
	CHECK_ERRNO(truncate("f", 2000), EFBIG);
	int w = SYS(open("f", O_WRONLY));
	CHECK_EQ(pwrite(w, buf, 100, 950), 50);
	CHECK_ERRNO(pwrite(w, buf, 1, 1000), EFBIG);
}

TEST(rlimit_fsize_sends_sigxfsz)
{
	CHILD(c)
	{
		struct rlimit rl = {10, 10};
		SYS(setrlimit(RLIMIT_FSIZE, &rl));
		int fd = SYS(open("f", O_WRONLY | O_CREAT, 0600));
		CHECK_EQ(write(fd, buf, 100), 10);
		write(fd, buf, 1);
	}
	CHECK_KILLED(c, SIGXFSZ);
}

/* Mappings follow the end of a file that loses a part of its middle. */
TEST(fallocate_collapse_range_mapped)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pwrite(fd, &"abcd"[i], 1, i * PAGE), 1);
	SYS(ftruncate(fd, 4 * PAGE));
	volatile char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK_EQ(p[PAGE] + p[3 * PAGE], 'b' + 'd');
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, PAGE, PAGE) == -1 && errno == EOPNOTSUPP)
		SKIP("this filesystem cannot do that");
	CHECK_EQ(lseek(fd, 0, SEEK_END), 3 * PAGE);
	CHECK_EQ(p[0], 'a');
	CHECK_EQ(p[PAGE], 'c');
	CHECK_EQ(p[2 * PAGE], 'd');
	CHILD(pid) {
		(void)p[3 * PAGE];
	}
	CHECK_KILLED(pid, SIGBUS);
	CHILD(first) {
		p[0] = 'x';
	}
	CHECK_EXIT(first, 0);
	CHECK_EQ(p[0], 'x');
}

TEST(fallocate_modes)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	struct stat st;
	if (fallocate(fd, 0, 0, 10000) == -1 && errno == EOPNOTSUPP)
		SKIP("no fallocate on this filesystem");
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, 10000);
	SYS(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, 10000);
	memset(buf, 1, 10000);
	SYS(pwrite(fd, buf, 10000, 0));
	SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
	SYS(pread(fd, buf, 10000, 0));
	CHECK_EQ(buf[4095], 1);
	CHECK_EQ(buf[4096], 0);
	CHECK_EQ(buf[8191], 0);
	CHECK_EQ(buf[8192], 1);
	CHECK_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
	CHECK_ERRNO(fallocate(fd, 0, -1, 10), EINVAL);
	CHECK_ERRNO(fallocate(fd, 0, 0, 0), EINVAL);
	int r = SYS(open("f", O_RDONLY));
	CHECK_ERRNO(fallocate(r, 0, 0, 10), EBADF);
	int p[2];
	SYS(pipe(p));
	CHECK_ERRNO(fallocate(p[1], 0, 0, 10), ESPIPE);
}

TEST(sync_family)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "x", 1));
	SYS(fsync(fd));
	SYS(fdatasync(fd));
	SYS(sync_file_range(fd, 0, 1, SYNC_FILE_RANGE_WRITE));
	CHECK_ERRNO(sync_file_range(fd, 0, 1, 0x100), EINVAL);
	SYS(syncfs(fd));
	CHECK_ERRNO(fsync(-1), EBADF);
	SYS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	CHECK_EQ(posix_fadvise(fd, 0, 0, 77), EINVAL);
	SYS(readahead(fd, 0, 100));
}

TEST(unlinked_open_file_lives_on)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(write(fd, "still here", 10));
	SYS(unlink("f"));
	CHECK_ERRNO(access("f", F_OK), ENOENT);
	CHECK_EQ(pread(fd, buf, 100, 0), 10);
	SYS(write(fd, "!", 1));
	struct stat st;
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 0);
	CHECK_EQ(st.st_size, 11);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	long n = SYS(readlink(path, buf, sizeof(buf)));
	buf[n] = 0;
	CHECK(strstr(buf, "/f (deleted)"));
	int again = SYS(open(path, O_RDONLY));
	CHECK_EQ(read(again, buf, 100), 11);
	SYS(fchmod(fd, 0400));
}

TEST(open_o_direct_accepted)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT | O_DIRECT, 0600));
	char *p = map_pages(2);
	memset(p, 'd', 2 * PAGE);
	CHECK_EQ(write(fd, p, 2 * PAGE), 2 * PAGE);
	CHECK_EQ(pread(fd, p, PAGE, 0), PAGE);
	CHECK_EQ(p[0], 'd');
}

TEST(file_large_offsets)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(pwrite(fd, "end", 3, 5L << 30), 3);
	struct stat st;
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_size, (5L << 30) + 3);
	CHECK(st.st_blocks < 10000);
	CHECK_EQ(pread(fd, buf, 3, 5L << 30), 3);
	CHECK_MEM(buf, "end", 3);
	CHECK_ERRNO(pwrite(fd, "x", 1, LONG_MAX), EINVAL == errno ? EINVAL : EFBIG);
}

TEST(file_many_writers_share_offset)
{
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	for (int i = 0; i < 4; i++) {
		CHILD(c)
		{
			for (int k = 0; k < 200; k++)
				CHECK_EQ(write(fd, "abcde", 5), 5);
		}
	}
	int st;
	while (wait(&st) > 0)
		CHECK_EQ(st, 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4000);
	CHECK_EQ(get_file("f", buf, sizeof(buf)), 4000);
	for (int i = 0; i < 4000; i += 5)
		CHECK_MEM(buf + i, "abcde", 5);
}

TEST(dev_null_zero_full_random)
{
	int fd = SYS(open("/dev/null", O_RDWR));
	CHECK_EQ(write(fd, "xyz", 3), 3);
	CHECK_EQ(read(fd, buf, 3), 0);
	fd = SYS(open("/dev/zero", O_RDWR));
	memset(buf, 1, 100);
	CHECK_EQ(read(fd, buf, 100), 100);
	CHECK_EQ(buf[99], 0);
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK_EQ(p[5], 0);
	p[5] = 1;
	fd = SYS(open("/dev/full", O_RDWR));
	CHECK_ERRNO(write(fd, "x", 1), ENOSPC);
	CHECK_EQ(read(fd, buf, 10), 10);
	fd = SYS(open("/dev/urandom", O_RDONLY));
	char a[32] = {0}, b[32] = {0};
	CHECK_EQ(read(fd, a, 32), 32);
	CHECK_EQ(read(fd, b, 32), 32);
	CHECK(memcmp(a, b, 32) != 0);
	struct stat st;
	SYS(stat("/dev/null", &st));
	CHECK(S_ISCHR(st.st_mode));
	CHECK_EQ(st.st_rdev, 0x103);
	CHECK_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
}
