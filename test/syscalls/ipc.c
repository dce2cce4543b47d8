//go:build ignore

/* System V shared memory, semaphores and messages; POSIX message queues. */
#include "test.h"
#include <mqueue.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static void own_ns(void) { SYS(unshare(CLONE_NEWIPC)); }

TEST(shm_attach_share_remove)
{
	own_ns();
	int id = SYS(shmget(IPC_PRIVATE, 3 * PAGE, IPC_CREAT | 0600));
	int *p = (int *)SYS(shmat(id, NULL, 0));
	*p = 1;
	CHILD(c)
	{
		CHECK_EQ(*p, 1);
		int *q = (int *)SYS(shmat(id, NULL, 0));
		q[1] = 2;
		SYS(shmdt(q));
	}
	CHECK_EXIT(c, 0);
	CHECK_EQ(p[1], 2);
	struct shmid_ds ds;
	SYS(shmctl(id, IPC_STAT, &ds));
	CHECK_EQ(ds.shm_segsz, 3 * PAGE);
	CHECK_EQ(ds.shm_nattch, 1);
	CHECK_EQ(ds.shm_cpid, getpid());
	SYS(shmctl(id, IPC_RMID, NULL));
	p[2] = 3; /* lives until the last detach */
	SYS(shmctl(id, IPC_STAT, &ds));
	CHECK(ds.shm_perm.mode & SHM_DEST);
	SYS(shmdt(p));
	CHECK_ERRNO(shmctl(id, IPC_STAT, &ds), EINVAL);
}

TEST(shm_keys_and_errors)
{
	own_ns();
	int id = SYS(shmget(0x1234, PAGE, IPC_CREAT | IPC_EXCL | 0600));
	CHECK_ERRNO(shmget(0x1234, PAGE, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	CHECK_EQ(shmget(0x1234, 0, 0), id);
	CHECK_ERRNO(shmget(0x1234, 2 * PAGE, 0), EINVAL);
	CHECK_ERRNO(shmget(0x9999, PAGE, 0), ENOENT);
	CHECK_ERRNO(shmget(IPC_PRIVATE, 0, IPC_CREAT), EINVAL);
	CHECK_ERRNO(shmat(99999, NULL, 0), EINVAL);
	CHECK_ERRNO(shmdt(bad_ptr()), EINVAL);
	char *ro = (char *)SYS(shmat(id, NULL, SHM_RDONLY));
	CHILD(c) *(volatile char *)ro = 1;
	CHECK_KILLED(c, SIGSEGV);
	CHILD(d)
	{
		become(1000);
		CHECK_ERRNO(shmat(id, NULL, 0), EACCES);
		CHECK_ERRNO(shmctl(id, IPC_RMID, NULL), EPERM);
	}
	CHECK_EXIT(d, 0);
}

static struct sembuf op(int n, int v, int flags) { return (struct sembuf){n, v, flags}; }
static int semop1(int id, int n, int v, int flags)
{
	struct sembuf b = op(n, v, flags);
	return semop(id, &b, 1);
}

TEST(sem_operations)
{
	own_ns();
	int id = SYS(semget(IPC_PRIVATE, 3, IPC_CREAT | 0600));
	SYS(semctl(id, 0, SETVAL, 5));
	SYS(semop1(id, 0, -3, 0));
	CHECK_EQ(semctl(id, 0, GETVAL), 2);
	CHECK_ERRNO(semop1(id, 0, -3, IPC_NOWAIT), EAGAIN);
	struct sembuf both[2] = {op(0, -1, 0), op(1, -1, IPC_NOWAIT)};
	CHECK_ERRNO(semop(id, both, 2), EAGAIN); /* all or nothing */
	CHECK_EQ(semctl(id, 0, GETVAL), 2);
	CHECK_EQ(semctl(id, 0, GETPID), getpid());
	unsigned short all[3] = {7, 8, 9};
	SYS(semctl(id, 0, SETALL, all));
	CHECK_EQ(semctl(id, 2, GETVAL), 9);
	CHECK_ERRNO(semctl(id, 0, SETVAL, 40000), ERANGE);
	CHECK_ERRNO(semop1(id, 5, 1, 0), EFBIG);
	CHECK_ERRNO(semctl(id, 5, GETVAL), EINVAL);
	CHECK_ERRNO(semop(id, both, 0), EINVAL);
	CHECK_ERRNO(semop(99999, both, 1), EINVAL);
}

TEST(sem_waits_and_wakes)
{
	own_ns();
	int id = SYS(semget(IPC_PRIVATE, 1, IPC_CREAT | 0600));
	CHILD(a) SYS(semop1(id, 0, -2, 0));
	until_blocked(a);
	CHECK_EQ(semctl(id, 0, GETNCNT), 1);
	SYS(semop1(id, 0, 1, 0));
	sleep_ms(10);
	CHECK_EQ(waitpid(a, NULL, WNOHANG), 0);
	SYS(semop1(id, 0, 1, 0));
	CHECK_EXIT(a, 0);
	SYS(semctl(id, 0, SETVAL, 1));
	CHILD(z) SYS(semop1(id, 0, 0, 0)); /* waits for zero */
	until_blocked(z);
	CHECK_EQ(semctl(id, 0, GETZCNT), 1);
	SYS(semop1(id, 0, -1, 0));
	CHECK_EXIT(z, 0);
	struct sembuf b = op(0, -1, 0);
	struct timespec ts = {0, 20000000};
	CHECK_ERRNO(semtimedop(id, &b, 1, &ts), EAGAIN);
}

TEST(sem_undo_and_removal)
{
	own_ns();
	int id = SYS(semget(IPC_PRIVATE, 1, IPC_CREAT | 0600));
	SYS(semctl(id, 0, SETVAL, 3));
	CHILD(c) SYS(semop1(id, 0, -2, SEM_UNDO));
	CHECK_EXIT(c, 0);
	CHECK_EQ(semctl(id, 0, GETVAL), 3);
	CHILD(w) CHECK_ERRNO(semop1(id, 0, -10, 0), EIDRM);
	until_blocked(w);
	SYS(semctl(id, 0, IPC_RMID));
	CHECK_EXIT(w, 0);
}

struct message { long type; char text[64]; };

TEST(msg_types_and_order)
{
	own_ns();
	struct message m = {2, "two"};
	int id = SYS(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
	SYS(msgsnd(id, &m, 4, 0));
	m = (struct message){1, "one"};
	SYS(msgsnd(id, &m, 4, 0));
	m = (struct message){3, "three"};
	SYS(msgsnd(id, &m, 6, 0));
	CHECK_EQ(msgrcv(id, &m, 64, -2, 0), 4); /* the lowest up to 2 */
	CHECK_STR(m.text, "one");
	CHECK_EQ(msgrcv(id, &m, 64, 3, 0), 6);
	CHECK_ERRNO(msgrcv(id, &m, 2, 0, 0), E2BIG);
	CHECK_EQ(msgrcv(id, &m, 2, 0, MSG_NOERROR), 2);
	CHECK_ERRNO(msgrcv(id, &m, 64, 0, IPC_NOWAIT), ENOMSG);
	m.type = 0;
	CHECK_ERRNO(msgsnd(id, &m, 4, 0), EINVAL);
	CHECK_ERRNO(msgsnd(id, &m, 1 << 20, 0), EINVAL);
	struct msqid_ds ds;
	SYS(msgctl(id, IPC_STAT, &ds));
	CHECK_EQ(ds.msg_qnum, 0);
	CHECK_EQ(ds.msg_lspid, getpid());
	CHILD(w) CHECK_ERRNO(msgrcv(id, &m, 64, 0, 0), EIDRM);
	until_blocked(w);
	SYS(msgctl(id, IPC_RMID, NULL));
	CHECK_EXIT(w, 0);
}

TEST(msg_blocks_when_full)
{
	own_ns();
	static struct { long type; char text[4096]; } m = {1, ""};
	int id = SYS(msgget(IPC_PRIVATE, IPC_CREAT | 0600)), n = 0;
	while (msgsnd(id, &m, 4096, IPC_NOWAIT) == 0)
		n++;
	CHECK(n >= 1);
	CHILD(c) SYS(msgsnd(id, &m, 4096, 0));
	until_blocked(c);
	SYS(msgrcv(id, &m, 4096, 0, 0));
	CHECK_EXIT(c, 0);
}

static mqd_t open_mq(const char *name, int flags)
{
	struct mq_attr a = {.mq_maxmsg = 3, .mq_msgsize = 32};
	mqd_t q = mq_open(name, flags, 0600, &a);
	if (q == -1 && errno == ENOSYS)
		SKIP("no POSIX message queues");
	return SYS(q);
}

TEST(mq_priorities)
{
	char b[32];
	unsigned prio;
	mqd_t q = open_mq("/test", O_RDWR | O_CREAT | O_EXCL);
	SYS(mq_send(q, "low", 3, 1));
	SYS(mq_send(q, "high", 4, 9));
	SYS(mq_send(q, "low2", 4, 1));
	CHECK_EQ(mq_receive(q, b, 32, &prio), 4);
	CHECK_EQ(prio, 9);
	CHECK_EQ(mq_receive(q, b, 32, &prio), 3);
	CHECK_ERRNO(mq_receive(q, b, 5, NULL), EMSGSIZE);
	CHECK_ERRNO(mq_send(q, b, 33, 0), EMSGSIZE);
	CHECK_ERRNO(mq_send(q, b, 1, 40000), EINVAL);
	struct mq_attr a;
	SYS(mq_getattr(q, &a));
	CHECK_EQ(a.mq_curmsgs, 1);
	CHECK_EQ(a.mq_maxmsg, 3);
	SYS(mq_unlink("/test"));
	CHECK_ERRNO(mq_open("/test", O_RDWR), ENOENT);
	CHECK_ERRNO(mq_unlink("/test"), ENOENT);
}

TEST(mq_blocks_times_out_notifies)
{
	char b[32];
	mqd_t q = open_mq("/test2", O_RDWR | O_CREAT);
	SYS(mq_unlink("/test2"));
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	CHECK_ERRNO(mq_timedreceive(q, b, 32, NULL, &ts), ETIMEDOUT);
	CHILD(c) CHECK_EQ(mq_receive(q, b, 32, NULL), 2);
	until_blocked(c);
	SYS(mq_send(q, "hi", 2, 0));
	CHECK_EXIT(c, 0);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	SYS(sigprocmask(SIG_BLOCK, &s, NULL));
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	SYS(mq_notify(q, &ev));
	CHECK_ERRNO(mq_notify(q, &ev), EBUSY);
	SYS(mq_send(q, "x", 1, 0));
	siginfo_t si;
	CHECK_EQ(sigwaitinfo(&s, &si), SIGUSR1);
	CHECK_EQ(si.si_code, SI_MESGQ);
}
