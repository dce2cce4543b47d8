//go:build ignore

/* mount(2) and friends, in a mount namespace of the case's own. */
#include "test.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>

static char buf[65536];

static void own_ns(void)
{
	if (unshare(CLONE_NEWNS) == -1)
		FAIL("unshare: %s", strerror(errno));
	SYS(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

TEST(mount_tmpfs)
{
	struct statfs f;
	own_ns();
	SYS(mkdir("m", 0700));
	SYS(put_file("m/hidden", ""));
	SYS(mount("none", "m", "tmpfs", MS_NOSUID, "size=1m,mode=1770,uid=5,gid=6"));
	CHECK_ERRNO(access("m/hidden", F_OK), ENOENT);
	struct stat st;
	SYS(stat("m", &st));
	CHECK_EQ(st.st_mode, S_IFDIR | 01770);
	CHECK_EQ(st.st_uid, 5);
	CHECK_EQ(st.st_gid, 6);
	SYS(statfs("m", &f));
	CHECK_EQ(f.f_type, 0x01021994);
	CHECK_EQ(f.f_blocks * f.f_bsize, 1 << 20);
	CHECK(f.f_flags & 2 /* ST_NOSUID */);
	int fd = SYS(open("m/big", O_RDWR | O_CREAT, 0600));
	long n = 0, w;
	while ((w = write(fd, buf, sizeof(buf))) > 0)
		n += w;
	CHECK_EQ(n, 1 << 20);
	CHECK_ERRNO(write(fd, buf, 1), ENOSPC);
	CHECK_ERRNO(rmdir("m"), EBUSY);
	CHECK_ERRNO(umount("m"), EBUSY);
	SYS(close(fd));
	SYS(umount("m"));
	SYS(access("m/hidden", F_OK));
	CHECK_ERRNO(umount("m"), EINVAL);
}

TEST(mount_errors)
{
	own_ns();
	SYS(mkdir("m", 0700));
	SYS(put_file("f", ""));
	CHECK_ERRNO(mount("none", "none", "tmpfs", 0, NULL), ENOENT);
	CHECK_ERRNO(mount("none", "f", "tmpfs", 0, NULL), ENOTDIR);
	CHECK_ERRNO(mount("none", "m", "nosuchfs", 0, NULL), ENODEV);
	CHECK_ERRNO(mount("none", "m", "tmpfs", 0, "nonsense=1"), EINVAL);
	CHECK_ERRNO(mount("m", "f", NULL, MS_BIND, NULL), ENOTDIR);
	CHECK_ERRNO(mount("none", "m", NULL, MS_REMOUNT, NULL), EINVAL);
	CHECK_ERRNO(umount2("m", 0x100), EINVAL);
	CHILD(c)
	{
		become(1000);
		CHECK_ERRNO(mount("none", "m", "tmpfs", 0, NULL), EPERM);
		CHECK_ERRNO(umount("/"), EPERM);
	}
	CHECK_EXIT(c, 0);
}

TEST(mount_bind_and_read_only)
{
	own_ns();
	SYS(mkdir("a", 0700));
	SYS(mkdir("b", 0700));
	SYS(put_file("a/f", "text"));
	SYS(mount("a", "b", NULL, MS_BIND, NULL));
	CHECK_EQ(get_file("b/f", buf, 100), 4);
	SYS(put_file("b/g", "via b"));
	SYS(access("a/g", F_OK));
	CHECK_ERRNO(link("a/f", "b/x"), EXDEV);
	SYS(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	CHECK_ERRNO(put_file("b/h", ""), EROFS);
	CHECK_ERRNO(unlink("b/f"), EROFS);
	CHECK_ERRNO(chmod("b/f", 0600), EROFS);
	CHECK_ERRNO(access("b/f", W_OK), EROFS);
	SYS(put_file("a/h", ""));
	CHECK_ERRNO(rename("a/f", "b/x"), EXDEV);
	CHECK_ERRNO(link("a/f", "b/x"), EROFS);
	SYS(umount("b"));
	/* One file over another. */
	SYS(put_file("one", "1"));
	SYS(put_file("two", "2"));
	SYS(mount("one", "two", NULL, MS_BIND, NULL));
	get_file("two", buf, 100);
	CHECK_STR(buf, "1");
	CHECK_ERRNO(unlink("two"), EBUSY);
}

TEST(mount_bind_recursive_and_move)
{
	own_ns();
	SYS(mkdir("a", 0700));
	SYS(mkdir("b", 0700));
	SYS(mkdir("c", 0700));
	SYS(mount("none", "a", "tmpfs", 0, NULL));
	SYS(mkdir("a/sub", 0700));
	SYS(mount("none", "a/sub", "tmpfs", 0, NULL));
	SYS(put_file("a/sub/deep", ""));
	SYS(mount("a", "b", NULL, MS_BIND, NULL));
	CHECK_ERRNO(access("b/sub/deep", F_OK), ENOENT);
	SYS(umount("b"));
	SYS(mount("a", "b", NULL, MS_BIND | MS_REC, NULL));
	SYS(access("b/sub/deep", F_OK));
	SYS(mount("b", "c", NULL, MS_MOVE, NULL));
	SYS(access("c/sub/deep", F_OK));
	CHECK_ERRNO(access("b/sub", F_OK), ENOENT);
	CHECK_ERRNO(umount("c"), EBUSY);
	SYS(umount2("c", MNT_DETACH));
}

TEST(mount_detach_keeps_open_files)
{
	own_ns();
	SYS(mkdir("m", 0700));
	SYS(mount("none", "m", "tmpfs", 0, NULL));
	int fd = SYS(open("m/f", O_RDWR | O_CREAT, 0600));
	SYS(umount2("m", MNT_DETACH));
	SYS(write(fd, "alive", 5));
	CHECK_EQ(pread(fd, buf, 10, 0), 5);
	CHECK_ERRNO(access("m/f", F_OK), ENOENT);
}

TEST(mount_namespace_is_private)
{
	own_ns();
	SYS(mkdir("m", 0700));
	CHILD(c)
	{
		SYS(unshare(CLONE_NEWNS));
		SYS(mount("none", "m", "tmpfs", 0, NULL));
		SYS(put_file("m/inside", ""));
	}
	CHECK_EXIT(c, 0);
	CHECK_ERRNO(access("m/inside", F_OK), ENOENT);
}

TEST(mount_noexec_nodev_nosuid)
{
	own_ns();
	SYS(mkdir("m", 0755));
	SYS(mount("none", "m", "tmpfs", MS_NOEXEC | MS_NODEV, NULL));
	SYS(put_file("m/script", "#!/bin/sh\n"));
	SYS(chmod("m/script", 0755));
	CHECK_ERRNO(execl("m/script", "x", NULL), EACCES);
	CHECK_ERRNO(access("m/script", X_OK), EACCES);
	int fd = SYS(open("m/script", O_RDONLY));
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0), EPERM);
}

TEST(mount_lines_in_proc)
{
	char dir[PATH_MAX], want[PATH_MAX + 64];
	own_ns();
	SYS(mkdir("m", 0700));
	CHECK(getcwd(dir, sizeof(dir)));
	SYS(mount("source", "m", "tmpfs", MS_NOEXEC, NULL));
	get_file("/proc/self/mounts", buf, sizeof(buf));
	snprintf(want, sizeof(want), "source %s/m tmpfs rw,noexec", dir);
	CHECK(strstr(buf, want));
	get_file("/proc/self/mountinfo", buf, sizeof(buf));
	snprintf(want, sizeof(want), " / %s/m rw,noexec", dir);
	CHECK(strstr(buf, want));
	CHECK(strstr(buf, " - tmpfs source "));
}

TEST(pivot_root_changes_the_root)
{
	CHILD(c)
	{
		own_ns();
		SYS(mkdir("new", 0755));
		SYS(mount("none", "new", "tmpfs", 0, NULL));
		SYS(mkdir("new/old", 0755));
		SYS(put_file("new/mark", ""));
		CHECK_ERRNO(syscall(SYS_pivot_root, "new", "/nowhere"), ENOENT);
		SYS(syscall(SYS_pivot_root, "new", "new/old"));
		SYS(chdir("/"));
		SYS(access("/mark", F_OK));
		SYS(umount2("/old", MNT_DETACH));
		SYS(rmdir("/old"));
	}
	CHECK_EXIT(c, 0);
}

TEST(mount_proc_in_new_pid_namespace)
{
	own_ns();
	SYS(mkdir("p", 0755));
	SYS(unshare(CLONE_NEWPID));
	CHILD(c)
	{
		SYS(mount("proc", "p", "proc", 0, NULL));
		long n = SYS(readlink("p/self", buf, 100));
		buf[n] = 0;
		CHECK_STR(buf, "1");
	}
	CHECK_EXIT(c, 0);
}
