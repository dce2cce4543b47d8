//go:build ignore

/* Attributes: permissions, owners, times, stat and statx, extended attributes, umask. */
#include "test.h"
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

static char buf[70000];

/* Runs the block as an ordinary user in a child, and checks that it got to the end. */
#define AS_USER(uid)                                                                 \
	for (pid_t as_ = SYS(fork()), once_ = 1; once_; once_ = 0, check_child(as_)) \
		if (as_ == 0)                                                        \
			for (become(uid);; _exit(0))
static void check_child(pid_t pid) { CHECK_EXIT(pid, 0); }

static mode_t mode(const char *path)
{
	struct stat st;
	SYS(lstat(path, &st));
	return st.st_mode & 07777;
}

TEST(perm_bits_are_enforced)
{
	SYS(put_file("f", "x"));
	SYS(chown("f", 1000, 2000));
	SYS(chmod("f", 0640));
	AS_USER(1000)
	{
		SYS(open("f", O_RDWR));
		SYS(access("f", R_OK | W_OK));
		CHECK_ERRNO(access("f", X_OK), EACCES);
	}
	AS_USER(2000) /* the group */
	{
		SYS(open("f", O_RDONLY));
		CHECK_ERRNO(open("f", O_WRONLY), EACCES);
		CHECK_ERRNO(truncate("f", 0), EACCES);
	}
	AS_USER(3000)
	{
		CHECK_ERRNO(open("f", O_RDONLY), EACCES);
		CHECK_ERRNO(chmod("f", 0666), EPERM);
		CHECK_ERRNO(chown("f", 3000, 3000), EPERM);
		struct stat st;
		SYS(stat("f", &st));
	}
	SYS(chmod("f", 0004)); /* the owner's bits decide for the owner */
	AS_USER(1000) CHECK_ERRNO(open("f", O_RDONLY), EACCES);
	AS_USER(3000) SYS(open("f", O_RDONLY));
	SYS(chmod("f", 0));
	SYS(open("f", O_RDWR)); /* root */
	CHECK_ERRNO(access("f", X_OK), EACCES);
}

TEST(perm_directories)
{
	SYS(mkdir("d", 0755));
	SYS(put_file("d/f", "x"));
	SYS(chmod("d", 0744)); /* may list, not search */
	AS_USER(1000)
	{
		CHECK_ERRNO(open("d/f", O_RDONLY), EACCES);
		CHECK_ERRNO(chdir("d"), EACCES);
		SYS(open("d", O_RDONLY));
	}
	SYS(chmod("d", 0711)); /* may search, not list */
	AS_USER(1000)
	{
		SYS(open("d/f", O_RDONLY));
		CHECK_ERRNO(open("d", O_RDONLY), EACCES);
		CHECK_ERRNO(open("d/g", O_RDWR | O_CREAT, 0600), EACCES);
		CHECK_ERRNO(unlink("d/f"), EACCES);
		CHECK_ERRNO(rename("d/f", "d/g"), EACCES);
		CHECK_ERRNO(mkdir("d/e", 0700), EACCES);
		CHECK_ERRNO(symlink("x", "d/l"), EACCES);
	}
}

TEST(perm_sticky_directory)
{
	SYS(mkdir("d", 0777));
	SYS(chmod("d", 01777));
	SYS(put_file("d/f", ""));
	SYS(chown("d/f", 1000, 1000));
	AS_USER(2000)
	{
		CHECK_ERRNO(unlink("d/f"), EPERM);
		CHECK_ERRNO(rename("d/f", "d/g"), EPERM);
		SYS(put_file("d/mine", ""));
		CHECK_ERRNO(rename("d/mine", "d/f"), EPERM);
		SYS(unlink("d/mine"));
	}
	AS_USER(1000) SYS(unlink("d/f"));
}

TEST(perm_setgid_directory)
{
	struct stat st;
	SYS(mkdir("d", 0777));
	SYS(chown("d", 0, 1234));
	SYS(chmod("d", 02777));
	AS_USER(1000)
	{
		SYS(put_file("d/f", ""));
		SYS(mkdir("d/sub", 0755));
	}
	SYS(stat("d/f", &st));
	CHECK_EQ(st.st_gid, 1234);
	CHECK_EQ(st.st_uid, 1000);
	SYS(stat("d/sub", &st));
	CHECK_EQ(st.st_gid, 1234);
	CHECK_EQ(st.st_mode & S_ISGID, S_ISGID);
}

TEST(perm_chown_clears_setuid)
{
	SYS(put_file("f", ""));
	SYS(chmod("f", 06755));
	CHECK_EQ(mode("f"), 06755);
	SYS(chown("f", 1000, 1000));
	CHECK_EQ(mode("f"), 0755);
	SYS(chmod("f", 06755));
	AS_USER(1000)
	{
		int fd = SYS(open("f", O_WRONLY));
		SYS(write(fd, "x", 1));
	}
	CHECK_EQ(mode("f"), 0755);
	SYS(chmod("f", 02644)); /* without group execution it marks mandatory locks: kept */
	AS_USER(1000) SYS(chown("f", -1, 1000));
}

TEST(perm_chmod_by_owner_outside_group_clears_setgid)
{
	SYS(put_file("f", ""));
	SYS(chown("f", 1000, 2000));
	AS_USER(1000) SYS(chmod("f", 02755));
	CHECK_EQ(mode("f"), 0755);
}

TEST(chmod_errors)
{
	SYS(put_file("f", ""));
	SYS(symlink("f", "l"));
	CHECK_ERRNO(chmod("none", 0600), ENOENT);
	CHECK_ERRNO(chmod(bad_ptr(), 0600), EFAULT);
	CHECK_ERRNO(fchmod(-1, 0600), EBADF);
	SYS(chmod("l", 0611));
	CHECK_EQ(mode("f"), 0611);
	CHECK_EQ(mode("l"), 0777);
	int fd = SYS(open("f", O_RDONLY));
	SYS(fchmod(fd, 0123));
	CHECK_EQ(mode("f"), 0123);
	SYS(syscall(SYS_fchmodat, AT_FDCWD, "f", 0321));
	CHECK_EQ(mode("f"), 0321);
}

TEST(chown_variants)
{
	struct stat st;
	SYS(put_file("f", ""));
	SYS(symlink("f", "l"));
	SYS(chown("f", 5, -1));
	SYS(chown("l", -1, 6));
	SYS(lchown("l", 7, 8));
	SYS(stat("f", &st));
	CHECK_EQ(st.st_uid, 5);
	CHECK_EQ(st.st_gid, 6);
	SYS(lstat("l", &st));
	CHECK_EQ(st.st_uid, 7);
	CHECK_EQ(st.st_gid, 8);
	int fd = SYS(open("f", O_RDONLY));
	SYS(fchown(fd, 9, 10));
	SYS(fchownat(fd, "", 11, -1, AT_EMPTY_PATH));
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_uid, 11);
	CHECK_EQ(st.st_gid, 10);
	CHECK_ERRNO(fchownat(AT_FDCWD, "f", 0, 0, 0x8000), EINVAL);
	CHECK_ERRNO(chown("none", 0, 0), ENOENT);
}

TEST(umask_applies)
{
	CHECK_EQ(umask(027), 022);
	SYS(close(SYS(open("f", O_CREAT | O_WRONLY, 0777))));
	CHECK_EQ(mode("f"), 0750);
	SYS(mkdir("d", 0777));
	CHECK_EQ(mode("d"), 0750);
	CHILD(c) CHECK_EQ(umask(0), 027);
	CHECK_EXIT(c, 0);
	CHECK_EQ(umask(01777), 027);
	CHECK_EQ(umask(0), 0777);
}

TEST(access_uses_real_ids)
{
	SYS(put_file("f", ""));
	SYS(chmod("f", 0600));
	CHILD(c)
	{
		SYS(setresuid(1000, 0, 0));
		CHECK_ERRNO(access("f", R_OK), EACCES);
		SYS(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
		SYS(open("f", O_RDONLY));
	}
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(syscall(SYS_access, "f", 99), EINVAL);
	CHECK_ERRNO(access("none", F_OK), ENOENT);
	CHECK_ERRNO(access(bad_ptr(), F_OK), EFAULT);
	CHECK_ERRNO(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, 0x8000), EINVAL);
}

TEST(stat_fields)
{
	struct stat st, d;
	SYS(put_file("f", "123"));
	SYS(stat("f", &st));
	SYS(stat(".", &d));
	CHECK_EQ(st.st_dev, d.st_dev);
	CHECK_EQ(st.st_size, 3);
	CHECK(st.st_ino != d.st_ino && st.st_ino != 0);
	CHECK(st.st_blksize > 0);
	CHECK_EQ(st.st_uid, 0);
	CHECK_ERRNO(stat("none", &st), ENOENT);
	CHECK_ERRNO(stat("f", bad_ptr()), EFAULT);
	CHECK_ERRNO(stat(bad_ptr(), &st), EFAULT);
	CHECK_ERRNO(fstat(-1, &st), EBADF);
	CHECK_ERRNO(fstatat(AT_FDCWD, "", &st, 0), ENOENT);
	CHECK_ERRNO(fstatat(AT_FDCWD, "f", &st, 0x8000000), EINVAL);
	int fd = SYS(open("f", O_RDONLY));
	SYS(fstatat(fd, "", &d, AT_EMPTY_PATH));
	CHECK_EQ(d.st_ino, st.st_ino);
}

TEST(statx_fields)
{
	struct statx sx;
	SYS(put_file("f", "12345"));
	SYS(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &sx));
	CHECK_EQ(sx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	CHECK_EQ(sx.stx_size, 5);
	CHECK_EQ(sx.stx_mode, S_IFREG | 0644);
	CHECK_EQ(sx.stx_nlink, 1);
	struct stat st;
	SYS(stat("f", &st));
	CHECK_EQ(sx.stx_ino, st.st_ino);
	CHECK_EQ(sx.stx_mtime.tv_sec, st.st_mtim.tv_sec);
	CHECK_EQ(sx.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
	CHECK_ERRNO(statx(AT_FDCWD, "f", 0, 0x80000000, &sx), EINVAL);
	CHECK_ERRNO(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &sx), EINVAL);
	CHECK_ERRNO(statx(AT_FDCWD, "f", 0, STATX_SIZE, bad_ptr()), EFAULT);
	SYS(statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, 0, &sx));
	SYS(symlink("none", "l"));
	SYS(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx));
	CHECK(S_ISLNK(sx.stx_mode));
}

TEST(times_set_and_read)
{
	struct stat st;
	SYS(put_file("f", ""));
	struct timespec ts[2] = {{1000, 123456789}, {2000, 987654321}};
	SYS(utimensat(AT_FDCWD, "f", ts, 0));
	SYS(stat("f", &st));
	CHECK_EQ(st.st_atim.tv_sec, 1000);
	CHECK_EQ(st.st_atim.tv_nsec, 123456789);
	CHECK_EQ(st.st_mtim.tv_sec, 2000);
	CHECK_EQ(st.st_mtim.tv_nsec, 987654321);
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_nsec = UTIME_NOW;
	int fd = SYS(open("f", O_RDWR));
	SYS(futimens(fd, ts));
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_atim.tv_sec, 1000);
	CHECK(labs(st.st_mtim.tv_sec - time(NULL)) < 5);
	ts[0].tv_nsec = 1000000000;
	CHECK_ERRNO(futimens(fd, ts), EINVAL);
	struct timeval tv[2] = {{11, 22}, {33, 44}};
	SYS(utimes("f", tv));
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_atim.tv_nsec, 22000);
	CHECK_EQ(st.st_mtim.tv_sec, 33);
	struct utimbuf ub = {5, 6};
	SYS(utime("f", &ub));
	SYS(fstat(fd, &st));
	CHECK_EQ(st.st_mtim.tv_sec, 6);
	SYS(symlink("f", "l"));
	struct timespec lt[2] = {{77, 0}, {88, 0}};
	SYS(utimensat(AT_FDCWD, "l", lt, AT_SYMLINK_NOFOLLOW));
	SYS(lstat("l", &st));
	CHECK_EQ(st.st_mtim.tv_sec, 88);
	AS_USER(1000)
	{
		CHECK_ERRNO(utimensat(AT_FDCWD, "f", lt, 0), EPERM);
		CHECK_ERRNO(utimensat(AT_FDCWD, "f", NULL, 0), EACCES);
	}
}

TEST(times_change_with_the_file)
{
	struct stat a, b;
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
	SYS(futimens(fd, old));
	SYS(fstat(fd, &a));
	SYS(write(fd, "x", 1));
	SYS(fstat(fd, &b));
	CHECK(b.st_mtim.tv_sec > 1000);
	SYS(futimens(fd, old));
	SYS(fchmod(fd, 0644));
	SYS(fstat(fd, &b));
	CHECK_EQ(b.st_mtim.tv_sec, 1000);
	CHECK(b.st_ctim.tv_sec > 1000);
	SYS(ftruncate(fd, 0));
	SYS(fstat(fd, &b));
	CHECK(b.st_mtim.tv_sec > 1000);
	SYS(mkdir("d", 0700));
	SYS(utimensat(AT_FDCWD, "d", old, 0));
	SYS(put_file("d/new", ""));
	SYS(stat("d", &b));
	CHECK(b.st_mtim.tv_sec > 1000);
	SYS(utimensat(AT_FDCWD, "d", old, 0));
	SYS(unlink("d/new"));
	SYS(stat("d", &b));
	CHECK(b.st_mtim.tv_sec > 1000);
}

static void need_xattr(void)
{
	SYS(put_file("f", ""));
	if (setxattr("f", "user.probe", "1", 1, 0) == -1 && errno == EOPNOTSUPP)
		SKIP("no user xattrs on this filesystem");
	SYS(removexattr("f", "user.probe"));
}

TEST(xattr_set_get_list_remove)
{
	need_xattr();
	SYS(setxattr("f", "user.a", "value", 5, 0));
	CHECK_EQ(getxattr("f", "user.a", buf, sizeof(buf)), 5);
	CHECK_MEM(buf, "value", 5);
	CHECK_EQ(getxattr("f", "user.a", NULL, 0), 5);
	CHECK_ERRNO(getxattr("f", "user.a", buf, 3), ERANGE);
	CHECK_ERRNO(getxattr("f", "user.none", buf, 3), ENODATA);
	CHECK_ERRNO(setxattr("f", "user.a", "x", 1, XATTR_CREATE), EEXIST);
	CHECK_ERRNO(setxattr("f", "user.b", "x", 1, XATTR_REPLACE), ENODATA);
	CHECK_ERRNO(setxattr("f", "user.b", "x", 1, 8), EINVAL);
	SYS(setxattr("f", "user.b", "", 0, XATTR_CREATE));
	int fd = SYS(open("f", O_RDONLY));
	long n = SYS(flistxattr(fd, buf, sizeof(buf)));
	int found = 0;
	for (char *p = buf; p < buf + n; p += strlen(p) + 1)
		found += strcmp(p, "user.a") == 0 || strcmp(p, "user.b") == 0;
	CHECK_EQ(found, 2);
	CHECK_ERRNO(flistxattr(fd, buf, 2), ERANGE);
	SYS(fremovexattr(fd, "user.a"));
	CHECK_ERRNO(removexattr("f", "user.a"), ENODATA);
	CHECK_ERRNO(fgetxattr(fd, "user.a", buf, 10), ENODATA);
}

TEST(xattr_errors)
{
	need_xattr();
	CHECK_ERRNO(setxattr("none", "user.a", "x", 1, 0), ENOENT);
	CHECK_ERRNO(setxattr("f", "nonsense", "x", 1, 0), EOPNOTSUPP);
	CHECK_ERRNO(setxattr("f", "user.", "x", 1, 0), EINVAL);
	CHECK_ERRNO(setxattr("f", "user.a", bad_ptr(), 1, 0), EFAULT);
	CHECK_ERRNO(setxattr("f", bad_ptr(), "x", 1, 0), EFAULT);
	CHECK_ERRNO(setxattr("f", "user.a", buf, 65537, 0), E2BIG);
	memset(buf, 'a', 300);
	memcpy(buf, "user.", 5);
	buf[300] = 0;
	CHECK_ERRNO(setxattr("f", buf, "x", 1, 0), ERANGE);
	SYS(symlink("f", "l"));
	CHECK_ERRNO(lsetxattr("l", "user.a", "x", 1, 0), EPERM);
	SYS(chmod("f", 0444));
	AS_USER(1000)
	{
		CHECK_ERRNO(setxattr("f", "user.a", "x", 1, 0), EACCES);
		CHECK_ERRNO(getxattr("f", "trusted.x", buf, 1), ENODATA);
		CHECK_ERRNO(setxattr("f", "trusted.x", "x", 1, 0), EPERM);
	}
}

TEST(xattr_of_directories_and_fifos)
{
	need_xattr();
	SYS(mkdir("d", 0700));
	SYS(setxattr("d", "user.a", "1", 1, 0));
	SYS(mkfifo("p", 0600));
	CHECK_ERRNO(setxattr("p", "user.a", "1", 1, 0), EPERM);
}
