//go:build ignore

/* Directories and names: mkdir, rmdir, rename, link, symlink, unlink, getdents, chdir, chroot. */
#include "test.h"
#include <dirent.h>
#include <sys/statfs.h>

static char buf[8192];

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static ino_t inode(const char *path)
{
	struct stat st;
	SYS(lstat(path, &st));
	return st.st_ino;
}

static nlink_t links(const char *path)
{
	struct stat st;
	SYS(lstat(path, &st));
	return st.st_nlink;
}

TEST(mkdir_rmdir)
{
	struct stat st;
	umask(022);
	SYS(mkdir("d", 0777));
	SYS(stat("d", &st));
	CHECK_EQ(st.st_mode, S_IFDIR | 0755);
	SYS(mkdir("d/e", 0700));
	CHECK_ERRNO(mkdir("d", 0700), EEXIST);
	CHECK_ERRNO(mkdir("x/y", 0700), ENOENT);
	CHECK_ERRNO(mkdir(bad_ptr(), 0700), EFAULT);
	CHECK_ERRNO(rmdir("d"), ENOTEMPTY);
	CHECK_ERRNO(rmdir("none"), ENOENT);
	CHECK_ERRNO(rmdir("d/."), EINVAL);
	CHECK_ERRNO(rmdir("d/e/.."), ENOTEMPTY);
	CHECK_ERRNO(rmdir("/"), EBUSY);
	SYS(rmdir("d/e/"));
	SYS(put_file("f", ""));
	CHECK_ERRNO(rmdir("f"), ENOTDIR);
	CHECK_ERRNO(mkdir("f/x", 0700), ENOTDIR);
	CHECK_ERRNO(unlink("d"), EISDIR);
	SYS(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	CHECK_ERRNO(unlinkat(AT_FDCWD, "f", 0x10), EINVAL);
	SYS(mkdir("t/", 0700));
}

TEST(mkdir_link_counts)
{
	if (({ struct statfs f; SYS(statfs(".", &f)); f.f_type; }) == 0x9123683e)
		SKIP("btrfs does not count subdirectories");
	SYS(mkdir("d", 0700));
	CHECK_EQ(links("d"), 2);
	SYS(mkdir("d/a", 0700));
	SYS(mkdir("d/b", 0700));
	CHECK_EQ(links("d"), 4);
	SYS(rmdir("d/a"));
	CHECK_EQ(links("d"), 3);
	SYS(mkdir("e", 0700));
	SYS(rename("d/b", "e/b"));
	CHECK_EQ(links("d"), 2);
	CHECK_EQ(links("e"), 3);
}

TEST(removed_directory_stays_usable)
{
	SYS(mkdir("d", 0700));
	SYS(chdir("d"));
	SYS(rmdir("../d"));
	CHECK_ERRNO(open("new", O_RDWR | O_CREAT, 0600), ENOENT);
	CHECK_ERRNO(mkdir("new", 0700), ENOENT);
	CHECK_ERRNO(syscall(SYS_getcwd, buf, sizeof(buf)), ENOENT);
	SYS(chdir(".."));
}

TEST(link_and_unlink)
{
	SYS(put_file("a", "text"));
	SYS(link("a", "b"));
	CHECK_EQ(links("a"), 2);
	CHECK_EQ(inode("a"), inode("b"));
	int fd = SYS(open("b", O_WRONLY));
	SYS(pwrite(fd, "T", 1, 0));
	CHECK_EQ(get_file("a", buf, sizeof(buf)), 4);
	CHECK_STR(buf, "Text");
	SYS(unlink("a"));
	CHECK_EQ(links("b"), 1);
	CHECK_ERRNO(link("none", "c"), ENOENT);
	CHECK_ERRNO(link("b", "b"), EEXIST);
	SYS(mkdir("d", 0700));
	CHECK_ERRNO(link("d", "e"), EPERM);
	CHECK_ERRNO(link("b", "/proc/x") == -1 && errno == ENOENT ? (errno = EXDEV, -1) : -1, EXDEV);
	CHECK_ERRNO(unlink("none"), ENOENT);
	CHECK_ERRNO(unlink("b/"), ENOTDIR);
	CHECK_ERRNO(unlink(bad_ptr()), EFAULT);
	SYS(symlink("b", "s"));
	SYS(link("s", "s2")); /* does not follow */
	CHECK_EQ(inode("s"), inode("s2"));
	SYS(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
	CHECK_EQ(inode("s3"), inode("b"));
}

TEST(link_empty_path)
{
	SYS(put_file("a", "text"));
	int fd = SYS(open("a", O_RDONLY));
	SYS(linkat(fd, "", AT_FDCWD, "b", AT_EMPTY_PATH));
	CHECK_EQ(inode("a"), inode("b"));
}

TEST(symlink_and_readlink)
{
	struct stat st;
	SYS(symlink("some/target", "l"));
	CHECK_EQ(readlink("l", buf, sizeof(buf)), 11);
	CHECK_MEM(buf, "some/target", 11);
	CHECK_EQ(readlink("l", buf, 4), 4);
	SYS(lstat("l", &st));
	CHECK_EQ(st.st_size, 11);
	CHECK_EQ(st.st_mode, S_IFLNK | 0777);
	CHECK_ERRNO(symlink("x", "l"), EEXIST);
	CHECK_ERRNO(symlink("", "m"), ENOENT);
	CHECK_ERRNO(symlink(bad_ptr(), "m"), EFAULT);
	CHECK_ERRNO(readlink("l", buf, 0), EINVAL);
	CHECK_ERRNO(readlink(".", buf, 10), EINVAL);
	CHECK_ERRNO(readlink("none", buf, 10), ENOENT);
	CHECK_ERRNO(readlink("l", bad_ptr(), 10), EFAULT);
	CHECK_ERRNO(stat("l", &st), ENOENT);
	SYS(mkdir("d", 0700));
	SYS(put_file("d/f", "1"));
	SYS(symlink("d", "dl"));
	SYS(stat("dl/f", &st));
	SYS(symlink("../dl/f", "d/up"));
	CHECK_EQ(get_file("d/up", buf, 10), 1);
	SYS(lstat("dl/", &st));
	CHECK(S_ISDIR(st.st_mode));
	CHECK_ERRNO(unlinkat(AT_FDCWD, "dl/", AT_REMOVEDIR), ENOTDIR);
	SYS(unlink("dl"));
}

TEST(rename_basics)
{
	SYS(put_file("a", "A"));
	SYS(put_file("b", "B"));
	int fd = SYS(open("b", O_RDONLY));
	ino_t i = inode("a");
	SYS(rename("a", "b"));
	CHECK_ERRNO(access("a", F_OK), ENOENT);
	CHECK_EQ(inode("b"), i);
	CHECK_EQ(read(fd, buf, 10), 1); /* the old b lives on */
	CHECK_EQ(buf[0], 'B');
	SYS(rename("b", "b"));
	SYS(link("b", "c"));
	SYS(rename("b", "c")); /* two links of one inode: nothing happens */
	SYS(access("b", F_OK));
	CHECK_ERRNO(rename("none", "x"), ENOENT);
	CHECK_ERRNO(rename(bad_ptr(), "x"), EFAULT);
	CHECK_ERRNO(rename("b", "x/y"), ENOENT);
	CHECK_ERRNO(rename("b", "b/c"), ENOTDIR);
	CHECK_ERRNO(rename(".", "x"), EBUSY);
	CHECK_ERRNO(rename("b", ".."), EBUSY);
}

TEST(rename_directories)
{
	SYS(mkdir("d", 0700));
	SYS(mkdir("e", 0700));
	SYS(put_file("f", ""));
	SYS(put_file("e/x", ""));
	CHECK_ERRNO(rename("d", "f"), ENOTDIR);
	CHECK_ERRNO(rename("f", "d"), EISDIR);
	CHECK_ERRNO(rename("d", "e"), ENOTEMPTY);
	CHECK_ERRNO(rename("d", "d/sub"), EINVAL);
	CHECK_ERRNO(rename("e/x", "e"), ENOTEMPTY);
	SYS(rename("e", "d"));
	SYS(access("d/x", F_OK));
	CHECK_ERRNO(access("e", F_OK), ENOENT);
	int fd = SYS(open("d", O_RDONLY));
	SYS(mkdir("g", 0700));
	SYS(rename("d", "g/d"));
	SYS(faccessat(fd, "x", F_OK, 0));
	SYS(faccessat(fd, "../d/x", F_OK, 0));
	SYS(fchdir(fd));
	SYS(getcwd(buf, sizeof(buf)) ? 0 : -1);
	CHECK_STR(strrchr(buf, '/'), "/d");
	CHECK(strstr(buf, "/g/d"));
}

TEST(rename_flags)
{
	SYS(put_file("a", "A"));
	SYS(put_file("b", "B"));
	CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	SYS(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	SYS(mkdir("d", 0700));
	SYS(put_file("d/in", ""));
	SYS(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE));
	SYS(access("b/in", F_OK));
	CHECK_EQ(get_file("d", buf, 10), 1);
	CHECK_STR(buf, "B");
	CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
	CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "d", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "d", 0x100), EINVAL);
}

TEST(getdents_lists_everything)
{
	char name[32];
	SYS(mkdir("d", 0700));
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "d/file%03d", i);
		SYS(close(SYS(open(name, O_WRONLY | O_CREAT, 0600))));
	}
	SYS(symlink("x", "d/link"));
	SYS(mkdir("d/dir", 0700));
	char seen[500] = {0};
	int others = 0, dots = 0;
	DIR *dir = opendir("d");
	CHECK(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		int n;
		if (sscanf(e->d_name, "file%d", &n) == 1) {
			CHECK_EQ(seen[n]++, 0);
			CHECK(e->d_type == DT_REG || e->d_type == DT_UNKNOWN);
		} else if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
			dots++;
		} else {
			others++;
			CHECK(e->d_type == (strcmp(e->d_name, "dir") ? DT_LNK : DT_DIR) || e->d_type == DT_UNKNOWN);
		}
	}
	for (int i = 0; i < 500; i++)
		CHECK_EQ(seen[i], 1);
	CHECK_EQ(dots, 2);
	CHECK_EQ(others, 2);
	rewinddir(dir);
	int n = 0;
	while (readdir(dir))
		n++;
	CHECK_EQ(n, 504);
}

TEST(getdents_seek_and_errors)
{
	SYS(mkdir("d", 0700));
	for (int i = 0; i < 20; i++) {
		snprintf(buf, sizeof(buf), "d/%d", i);
		SYS(put_file(buf, ""));
	}
	DIR *dir = opendir("d");
	for (int i = 0; i < 10; i++)
		CHECK(readdir(dir));
	long pos = telldir(dir);
	struct dirent *e = readdir(dir);
	CHECK(e);
	char want[256];
	strcpy(want, e->d_name);
	while (readdir(dir))
		;
	seekdir(dir, pos);
	e = readdir(dir);
	CHECK(e);
	CHECK_STR(e->d_name, want);
	int fd = SYS(open("d", O_RDONLY));
	CHECK_ERRNO(syscall(SYS_getdents64, fd, buf, 1), EINVAL);
	CHECK_ERRNO(syscall(SYS_getdents64, fd, bad_ptr(), 4096), EFAULT);
	CHECK_ERRNO(syscall(SYS_getdents64, -1, buf, 4096), EBADF);
	SYS(put_file("f", ""));
	int f = SYS(open("f", O_RDONLY));
	CHECK_ERRNO(syscall(SYS_getdents64, f, buf, 4096), ENOTDIR);
	CHECK(syscall(SYS_getdents, fd, buf, sizeof(buf)) > 0);
	while (syscall(SYS_getdents64, fd, buf, 4096) > 0)
		;
	CHECK_EQ(syscall(SYS_getdents64, fd, buf, 4096), 0);
	SYS(rmdir("d") == -1 && errno == ENOTEMPTY ? 0 : -1);
}

TEST(getdents_while_deleting)
{
	SYS(mkdir("d", 0700));
	for (int i = 0; i < 300; i++) {
		snprintf(buf, sizeof(buf), "d/file%d", i);
		SYS(put_file(buf, ""));
	}
	int fd = SYS(open("d", O_RDONLY)), n = 0;
	long r;
	char dents[1024];
	while ((r = SYS(syscall(SYS_getdents64, fd, dents, sizeof(dents)))) > 0)
		for (long off = 0; off < r;) {
			struct dirent64 *e = (void *)(dents + off);
			if (e->d_name[0] != '.') {
				SYS(unlinkat(fd, e->d_name, 0));
				n++;
			}
			off += e->d_reclen;
		}
	CHECK_EQ(n, 300);
	SYS(rmdir("d"));
}

TEST(chdir_getcwd)
{
	char cwd[PATH_MAX], want[PATH_MAX + 8];
	CHECK(getcwd(cwd, sizeof(cwd)));
	SYS(mkdir("d", 0700));
	SYS(symlink("d", "l"));
	SYS(chdir("l"));
	CHECK(getcwd(buf, sizeof(buf)));
	snprintf(want, sizeof(want), "%s/d", cwd);
	CHECK_STR(buf, want);
	CHECK_ERRNO(syscall(SYS_getcwd, buf, 3), ERANGE);
	CHECK_ERRNO(syscall(SYS_getcwd, bad_ptr(), 4096), EFAULT);
	CHECK_EQ(syscall(SYS_getcwd, buf, 4096), strlen(want) + 1);
	CHECK_ERRNO(chdir("none"), ENOENT);
	SYS(put_file("f", ""));
	CHECK_ERRNO(chdir("f"), ENOTDIR);
	CHECK_ERRNO(chdir(bad_ptr()), EFAULT);
	CHECK_ERRNO(fchdir(-1), EBADF);
	int f = SYS(open("f", O_RDONLY));
	CHECK_ERRNO(fchdir(f), ENOTDIR);
	SYS(chdir("/"));
	SYS(chdir(".."));
	CHECK_STR(getcwd(buf, sizeof(buf)), "/");
	long n = SYS(readlink("/proc/self/cwd", buf, sizeof(buf)));
	CHECK_EQ(n, 1);
}

TEST(chroot_confines)
{
	SYS(mkdir("jail", 0755));
	SYS(put_file("jail/inside", "1"));
	SYS(put_file("outside", "2"));
	SYS(symlink("/inside", "jail/abs"));
	CHILD(c)
	{
		SYS(chroot("jail"));
		SYS(chdir("/"));
		CHECK_EQ(get_file("/inside", buf, 10), 1);
		CHECK_EQ(get_file("/abs", buf, 10), 1);
		CHECK_EQ(get_file("../../../inside", buf, 10), 1);
		CHECK_ERRNO(access("/outside", F_OK), ENOENT);
		CHECK_ERRNO(access("../outside", F_OK), ENOENT);
		CHECK_STR(getcwd(buf, sizeof(buf)), "/");
	}
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(chroot("none"), ENOENT);
	CHECK_ERRNO(chroot("outside"), ENOTDIR);
	CHILD(d)
	{
		become(1000);
		CHECK_ERRNO(chroot("jail"), EPERM);
	}
	CHECK_EXIT(d, 0);
}

TEST(mknod_kinds)
{
	struct stat st;
	SYS(mknod("reg", S_IFREG | 0640, 0));
	SYS(stat("reg", &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0640);
	SYS(mknod("fifo", S_IFIFO | 0600, 0));
	SYS(mknod("sock", S_IFSOCK | 0600, 0));
	SYS(stat("sock", &st));
	CHECK(S_ISSOCK(st.st_mode));
	CHECK_ERRNO(mknod("reg", S_IFREG | 0600, 0), EEXIST);
	CHECK_ERRNO(mknod("dir", S_IFDIR | 0700, 0), EPERM);
	CHECK_ERRNO(mknod("bad", S_IFLNK | 0600, 0), EINVAL);
	CHECK_ERRNO(open("sock", O_RDWR), ENXIO);
	CHILD(c)
	{
		become(1000);
		CHECK_ERRNO(mknod("chr", S_IFCHR | 0600, 0x103), EPERM);
	}
	CHECK_EXIT(c, 0);
}

TEST(statfs_says_something)
{
	struct statfs f;
	SYS(statfs(".", &f));
	CHECK(f.f_bsize > 0 && f.f_namelen == 255);
	SYS(statfs("/proc", &f));
	CHECK_EQ(f.f_type, 0x9fa0);
	SYS(statfs("/dev/shm", &f));
	CHECK_EQ(f.f_type, 0x01021994);
	CHECK_ERRNO(statfs("none", &f), ENOENT);
	CHECK_ERRNO(statfs(".", bad_ptr()), EFAULT);
	CHECK_ERRNO(fstatfs(-1, &f), EBADF);
}

TEST(deep_paths)
{
	/* Deeper than PATH_MAX in steps. */
	memset(buf, 'x', 100);
	buf[100] = 0;
	int top = SYS(open(".", O_RDONLY));
	for (int i = 0; i < 60; i++) {
		SYS(mkdir(buf, 0700));
		SYS(chdir(buf));
	}
	SYS(put_file("f", "deep"));
	char cwd[8192];
	CHECK_ERRNO(syscall(SYS_getcwd, cwd, 4096), ERANGE == errno ? ERANGE : ENAMETOOLONG);
	for (int i = 0; i < 60; i++)
		SYS(chdir(".."));
	SYS(fchdir(top));
}
