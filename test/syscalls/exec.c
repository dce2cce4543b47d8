//go:build ignore

/* execve(2), execveat(2), scripts, what survives, the initial stack. */
#include "test.h"
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <sys/auxv.h>

static char buf[8192];

HELPER(check_args)
{
	/* argv: expected environment, then the rest is compared by the caller's count. */
	if (argc != 3 || strcmp(argv[0], "one") || strcmp(argv[1], "") || strcmp(argv[2], "three words"))
		return 1;
	return 0;
}

HELPER(check_state)
{
	struct sigaction sa;
	sigset_t set;
	sigaction(SIGUSR1, NULL, &sa);
	if (sa.sa_handler != SIG_DFL)
		return 1; /* handlers are reset */
	sigaction(SIGUSR2, NULL, &sa);
	if (sa.sa_handler != SIG_IGN)
		return 2; /* ignored stays ignored */
	sigprocmask(SIG_BLOCK, NULL, &set);
	if (!sigismember(&set, SIGWINCH))
		return 3; /* the mask stays */
	sigpending(&set);
	if (!sigismember(&set, SIGWINCH))
		return 4; /* so does what is pending */
	if (fcntl(40, F_GETFD) != -1 || fcntl(41, F_GETFD) == -1)
		return 5; /* close-on-exec */
	stack_t ss;
	sigaltstack(NULL, &ss);
	if (!(ss.ss_flags & SS_DISABLE))
		return 6;
	return 0;
}

HELPER(print_env)
{
	for (char **e = environ; *e; e++)
		printf("%s\n", *e);
	return 0;
}

HELPER(print_args)
{
	for (int i = 0; i < argc; i++)
		printf("[%s]", argv[i]);
	return 0;
}

HELPER(quick)
{
	return 3;
}

/* Runs the block in a child with its standard output caught in buf. */
#define CAPTURE(code)                                                                \
	do {                                                                         \
		int cap_[2];                                                         \
		SYS(pipe(cap_));                                                     \
		CHILD(cc_)                                                           \
		{                                                                    \
			SYS(dup2(cap_[1], 1));                                       \
			SYS(close(cap_[0]));                                         \
			SYS(close(cap_[1]));                                         \
			code;                                                        \
			FAIL("%s: %s", #code, strerror(errno));                      \
		}                                                                    \
		SYS(close(cap_[1]));                                                 \
		size_t n_ = 0;                                                       \
		long r_;                                                             \
		while ((r_ = SYS(read(cap_[0], buf + n_, sizeof(buf) - 1 - n_))) > 0) \
			n_ += r_;                                                    \
		buf[n_] = 0;                                                         \
		SYS(close(cap_[0]));                                                 \
		CHECK_EXIT(cc_, 0);                                                  \
	} while (0)

TEST(exec_passes_arguments)
{
	CHILD(c) helper_exec("check_args", "one", "", "three words", NULL);
	CHECK_EXIT(c, 0);
}

TEST(exec_passes_environment)
{
	char *argv[] = {test_program, "--helper", "print_env", NULL};
	char *envp[] = {"A=1", "B=two words", "", "NOEQUALS", NULL};
	CAPTURE(execve(test_program, argv, envp));
	CHECK_STR(buf, "A=1\nB=two words\n\nNOEQUALS\n");
	CAPTURE(execve(test_program, argv, NULL));
	CHECK_STR(buf, "");
}

TEST(exec_resets_and_keeps)
{
	CHILD(c)
	{
		on_signal(SIGUSR1, (void (*)(int))now_ms, 0);
		on_signal(SIGUSR2, SIG_IGN, 0);
		on_signal(SIGWINCH, (void (*)(int))now_ms, 0);
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGWINCH);
		SYS(sigprocmask(SIG_BLOCK, &set, NULL));
		SYS(raise(SIGWINCH));
		SYS(dup3(0, 40, O_CLOEXEC));
		SYS(dup2(0, 41));
		stack_t ss = {.ss_sp = buf, .ss_size = sizeof(buf)};
		SYS(sigaltstack(&ss, NULL));
		helper_exec("check_state", NULL);
	}
	CHECK_EXIT(c, 0);
}

TEST(exec_errors)
{
	char *argv[] = {"x", NULL};
	SYS(put_file("text", "not a program\n"));
	SYS(put_file("empty", ""));
	CHECK_ERRNO(execv("none", argv), ENOENT);
	CHECK_ERRNO(execv("text", argv), EACCES);
	SYS(chmod("text", 0755));
	SYS(chmod("empty", 0755));
	CHECK_ERRNO(execv("text", argv), ENOEXEC);
	CHECK_ERRNO(execv("empty", argv), ENOEXEC);
	CHECK_ERRNO(execv(".", argv), EACCES);
	CHECK_ERRNO(execv("text/x", argv), ENOTDIR);
	CHECK_ERRNO(execv(bad_ptr(), argv), EFAULT);
	CHECK_ERRNO(execv(test_program, bad_ptr()), EFAULT);
	CHECK_ERRNO(syscall(SYS_execve, test_program, argv, bad_ptr()), EFAULT);
	char *badv[] = {"x", bad_ptr(), NULL};
	CHECK_ERRNO(execv(test_program, badv), EFAULT);
	SYS(symlink("loop", "loop"));
	CHECK_ERRNO(execv("loop", argv), ELOOP);
	CHILD(c)
	{
		SYS(chmod("text", 0700));
		become(1000);
		CHECK_ERRNO(execv("text", argv), EACCES);
	}
	CHECK_EXIT(c, 0);
}

TEST(exec_broken_elf)
{
	char *argv[] = {"x", NULL};
	Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT}, .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1, .e_phoff = 64, .e_ehsize = 64, .e_phentsize = 56, .e_phnum = 1};
	int fd = SYS(open("elf", O_RDWR | O_CREAT, 0755));
	SYS(write(fd, &h, 20)); /* cut off */
	SYS(close(fd));
	CHECK_ERRNO(execv("elf", argv), ENOEXEC);
	h.e_machine = EM_AARCH64;
	fd = SYS(open("arm", O_RDWR | O_CREAT, 0755));
	SYS(write(fd, &h, sizeof(h)));
	SYS(ftruncate(fd, 4096));
	SYS(close(fd));
	CHECK_ERRNO(execv("arm", argv), ENOEXEC);
	h.e_machine = EM_X86_64;
	h.e_phentsize = 3;
	fd = SYS(open("ph", O_RDWR | O_CREAT, 0755));
	SYS(write(fd, &h, sizeof(h)));
	SYS(ftruncate(fd, 4096));
	SYS(close(fd));
	CHECK_ERRNO(execv("ph", argv), ENOEXEC);
}

TEST(exec_file_open_for_writing)
{
	SYS(put_file("s", "#!/bin/true\n"));
	SYS(chmod("s", 0755));
	int fd = SYS(open("s", O_WRONLY));
	CHECK_ERRNO(execl("s", "s", NULL), ETXTBSY);
	SYS(close(fd));
	CHECK_ERRNO(open("/proc/self/exe", O_WRONLY), ETXTBSY);
}

static void script(const char *name, const char *first)
{
	snprintf(buf, sizeof(buf), "%s\n", first);
	SYS(put_file(name, buf));
	SYS(chmod(name, 0755));
}

TEST(exec_scripts)
{
	char line[PATH_MAX];
	/* Linux passes everything after the interpreter as one argument. */
	snprintf(line, sizeof(line), "#! %s --helper", test_program);
	script("print_args", line);
	CAPTURE(execl("print_args", "zero", "a", "b c", NULL));
	/* argv: program --helper <path> a "b c"; the path names the helper */
	CHECK_STR(buf, "[a][b c]");
	CHECK_ERRNO((script("bad", "#!/no/such/interpreter"), execl("bad", "bad", NULL)), ENOENT);
	CHECK_ERRNO((script("none", "#!"), execl("none", "none", NULL)), ENOEXEC);
	CHECK_ERRNO((script("self", "#!./self"), execl("self", "self", NULL)), ELOOP);
}

TEST(exec_script_of_script)
{
	char line[PATH_MAX], cwd[PATH_MAX];
	CHECK(getcwd(cwd, sizeof(cwd) - 100));
	snprintf(line, sizeof(line), "#!%s --helper", test_program);
	script("print_args", line);
	snprintf(line, sizeof(line), "#!%.3000s/print_args", cwd);
	script("outer", line);
	/* The helper's name is the inner script's path, given relative to nothing. */
	CHILD(c)
	{
		execl("outer", "outer", "x", NULL);
		FAIL("exec: %s", strerror(errno));
	}
	CHECK_EXIT(c, 125); /* the harness knows no helper of that long name: it ran */
}

TEST(execveat_variants)
{
	char *argv[] = {"x", "--helper", "quick", NULL}, *envp[] = {NULL};
	int fd = SYS(open(test_program, O_PATH));
	CHILD(a) SYS(syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH));
	CHECK_EXIT(a, 3);
	SYS(symlink(test_program, "link"));
	int dir = SYS(open(".", O_RDONLY));
	CHILD(b) SYS(syscall(SYS_execveat, dir, "link", argv, envp, 0));
	CHECK_EXIT(b, 3);
	CHECK_ERRNO(syscall(SYS_execveat, dir, "link", argv, envp, AT_SYMLINK_NOFOLLOW), ELOOP);
	CHECK_ERRNO(syscall(SYS_execveat, dir, "link", argv, envp, 0x10), EINVAL);
	CHECK_ERRNO(syscall(SYS_execveat, fd, "", argv, envp, 0), ENOENT);
	CHECK_ERRNO(syscall(SYS_execveat, 77, "x", argv, envp, 0), EBADF);
	CHILD(c) SYS(fexecve(SYS(open(test_program, O_RDONLY | O_CLOEXEC)), argv, envp));
	CHECK_EXIT(c, 3);
}

TEST(exec_memfd)
{
	int in = SYS(open(test_program, O_RDONLY)), fd = SYS(memfd_create("prog", MFD_CLOEXEC));
	long n;
	while ((n = SYS(read(in, buf, sizeof(buf)))) > 0)
		SYS(write(fd, buf, n));
	char *argv[] = {"x", "--helper", "quick", NULL};
	CHILD(c) SYS(syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH));
	CHECK_EXIT(c, 3);
}

static void *exec_in_thread(void *arg)
{
	(void)arg;
	helper_exec("quick", NULL);
}

TEST(exec_from_a_thread_takes_over_the_process)
{
	CHILD(c)
	{
		pthread_t t;
		pthread_create(&t, NULL, exec_in_thread, NULL);
		for (;;)
			pause();
	}
	CHECK_EXIT(c, 3);
}

TEST(exec_argument_limits)
{
	/* One string of 128 KiB is too long, one just below is not. */
	static char big[131073];
	memset(big, 'x', 131072);
	CHECK_ERRNO(execl(test_program, test_program, "--helper", "quick", big, NULL), E2BIG);
	big[131071] = 0;
	CHILD(c) helper_exec("quick", big, NULL);
	CHECK_EXIT(c, 3);
	/* Many strings up to a megabyte and a half, with the usual stack of 8 MiB. */
	static char *argv[16000] = {"x", "--helper", "quick"};
	big[80] = 0;
	for (size_t i = 3; i < LEN(argv) - 1; i++)
		argv[i] = big;
	CHILD(d) SYS(execv(test_program, argv));
	CHECK_EXIT(d, 3);
}

TEST(exec_auxv_is_complete)
{
	CHECK_EQ(getauxval(AT_PAGESZ), 4096);
	CHECK_EQ(getauxval(AT_UID), 0);
	CHECK_EQ(getauxval(AT_EUID), 0);
	CHECK_EQ(getauxval(AT_SECURE), 0);
	CHECK_EQ(getauxval(AT_CLKTCK), 100);
	CHECK(getauxval(AT_PHDR) != 0);
	CHECK(getauxval(AT_PHNUM) > 2);
	CHECK_EQ(getauxval(AT_PHENT), 56);
	CHECK(getauxval(AT_ENTRY) != 0);
	CHECK(getauxval(AT_HWCAP) != 0);
	CHECK(getauxval(AT_RANDOM) != 0);
	CHECK(getauxval(AT_SYSINFO_EHDR) != 0);
	CHECK_STR((char *)getauxval(AT_PLATFORM), "x86_64");
	CHECK(strstr((char *)getauxval(AT_EXECFN), "exec"));
	CHECK_MEM((void *)getauxval(AT_SYSINFO_EHDR), "\177ELF", 4);
	unsigned long aux[64];
	int fd = SYS(open("/proc/self/auxv", O_RDONLY));
	long n = SYS(read(fd, aux, sizeof(aux)));
	int found = 0;
	for (int i = 0; i < n / 16; i++)
		found |= aux[2 * i] == AT_RANDOM && aux[2 * i + 1] == getauxval(AT_RANDOM);
	CHECK(found);
}

TEST(exec_proc_self_follows)
{
	long n = SYS(readlink("/proc/self/exe", buf, sizeof(buf)));
	buf[n] = 0;
	CHECK_STR(buf, test_program);
	char line[4096];
	CHILD(c) helper_exec("quick", NULL);
	CHECK_EXIT(c, 3);
	n = get_file("/proc/self/cmdline", line, sizeof(line));
	CHECK(n > 0 && line[n - 1] == 0);
	CHECK_EQ(get_file("/proc/self/environ", line, sizeof(line)) >= 0, 1);
}

TEST(exec_setuid_program)
{
	struct stat st;
	SYS(stat(test_program, &st));
	int in = SYS(open(test_program, O_RDONLY)), out = SYS(open("suid", O_WRONLY | O_CREAT, 0755));
	long n;
	while ((n = SYS(read(in, buf, sizeof(buf)))) > 0)
		SYS(write(out, buf, n));
	SYS(close(out));
	SYS(chown("suid", 1234, 2345));
	SYS(chmod("suid", 06755));
	CHILD(c)
	{
		become(1000);
		execl("./suid", "suid", "--helper", "whoami", NULL);
	}
	CHECK_EXIT(c, 0);
	CHILD(d)
	{
		become(1000);
		SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		execl("./suid", "suid", "--helper", "whoami", NULL);
	}
	CHECK_EXIT(d, 9);
}

HELPER(whoami)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;
	getresuid(&r, &e, &s);
	getresgid(&gr, &ge, &gs);
	if (e == 1000)
		return 9;
	return r == 1000 && e == 1234 && s == 1234 && gr == 1000 && ge == 2345 && gs == 2345 && getauxval(AT_SECURE) ? 0 : 1;
}

TEST(exec_name_becomes_comm)
{
	CHILD(c)
	{
		SYS(symlink(test_program, "a-long-program-name"));
		execl("./a-long-program-name", "zero", "--helper", "comm", NULL);
	}
	CHECK_EXIT(c, 0);
}

HELPER(comm)
{
	char name[16] = "";
	prctl(PR_GET_NAME, name);
	return strcmp(name, "a-long-program-") ? 1 : 0;
}
