package vfs_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/vfs"
)

func lock(typ int16, start, end int64) vfs.FileLock {
	return vfs.FileLock{Type: typ, Start: start, End: end}
}

// process stands for a descriptor table, which owns POSIX locks.
type process struct{ name string }

func TestRangeLocks(t *testing.T) {
	w := newWorld(t)
	fd := w.mustOpen("/f", unix.O_RDWR|unix.O_CREAT, 0o600)
	defer fd.DecRef(w.ctx)
	a, b := &process{"a"}, &process{"b"}
	set := func(owner *process, typ int16, start, end int64) error {
		return fd.SetLock(w.ctx, owner, lock(typ, start, end), false)
	}
	w.want(set(a, unix.F_RDLCK, 0, 100), nil)
	w.want(set(b, unix.F_RDLCK, 50, 150), nil)
	w.want(set(b, unix.F_WRLCK, 120, 150), nil)
	w.want(set(a, unix.F_WRLCK, 0, 10), nil) // upgrade of a part
	w.want(set(a, unix.F_WRLCK, 0, 60), unix.EAGAIN)
	w.want(set(b, unix.F_RDLCK, 5, 6), unix.EAGAIN)
	w.want(set(a, unix.F_UNLCK, 0, vfs.LockEOF), nil)
	w.want(set(b, unix.F_WRLCK, 0, 100), nil)
	if l := fd.GetLock(a, lock(unix.F_RDLCK, 0, vfs.LockEOF)); l.Type != unix.F_WRLCK || l.Start != 0 || l.End != 100 {
		t.Fatalf("%+v", l)
	}
	if l := fd.GetLock(a, lock(unix.F_WRLCK, 100, 120)); l.Type != unix.F_RDLCK || l.Start != 100 || l.End != 120 {
		t.Fatalf("%+v", l)
	}
	if l := fd.GetLock(b, lock(unix.F_WRLCK, 0, vfs.LockEOF)); l.Type != unix.F_UNLCK {
		t.Fatalf("own locks conflict: %+v", l)
	}
	// Closing any descriptor of the file drops the process's locks.
	other := w.mustOpen("/f", unix.O_RDONLY, 0)
	other.OnClose(w.ctx, b)
	other.DecRef(w.ctx)
	w.want(set(a, unix.F_WRLCK, 0, vfs.LockEOF), nil)
}

func TestDescriptionLocks(t *testing.T) {
	w := newWorld(t)
	x := w.mustOpen("/f", unix.O_RDWR|unix.O_CREAT, 0o600)
	y := w.mustOpen("/f", unix.O_RDWR, 0)
	defer y.DecRef(w.ctx)
	w.want(x.SetLock(w.ctx, x, lock(unix.F_WRLCK, 0, 10), false), nil)
	w.want(y.SetLock(w.ctx, y, lock(unix.F_WRLCK, 0, 10), false), unix.EAGAIN)
	if l := y.GetLock(y, lock(unix.F_WRLCK, 0, 10)); l.PID != -1 {
		t.Fatalf("%+v", l)
	}
	w.want(x.Flock(w.ctx, unix.LOCK_SH, false), nil)
	w.want(y.Flock(w.ctx, unix.LOCK_SH, false), nil)
	w.want(y.Flock(w.ctx, unix.LOCK_EX, false), unix.EAGAIN)
	x.DecRef(w.ctx) // the last reference
	w.want(y.SetLock(w.ctx, y, lock(unix.F_WRLCK, 0, 10), false), nil)
	w.want(y.Flock(w.ctx, unix.LOCK_EX, false), nil)
}

// blocked waits until task t sleeps.
func blocked(t *testing.T, c *task) {
	t.Helper()
	for range 10000 {
		if c.blocked.Load() > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the task does not block")
}

func TestLocksBlockAndDeadlockIsFound(t *testing.T) {
	w := newWorld(t)
	fd := w.mustOpen("/f", unix.O_RDWR|unix.O_CREAT, 0o600)
	defer fd.DecRef(w.ctx)
	a, b := &process{"a"}, &process{"b"}
	ta, tb := rootTask(), rootTask()
	w.want(fd.SetLock(ta, a, lock(unix.F_WRLCK, 0, 1), false), nil)
	w.want(fd.SetLock(tb, b, lock(unix.F_WRLCK, 1, 2), false), nil)
	done := make(chan error, 1)
	go func() { done <- fd.SetLock(ta, a, lock(unix.F_WRLCK, 1, 2), true) }()
	blocked(t, ta)
	w.want(fd.SetLock(tb, b, lock(unix.F_WRLCK, 0, 1), true), unix.EDEADLK)
	w.want(fd.SetLock(tb, b, lock(unix.F_UNLCK, 1, 2), true), nil)
	w.want(<-done, nil)

	other := w.mustOpen("/f", unix.O_RDWR, 0)
	w.want(other.Flock(tb, unix.LOCK_EX, true), nil)
	go func() { done <- fd.Flock(ta, unix.LOCK_EX, true) }()
	blocked(t, ta)
	other.DecRef(w.ctx)
	w.want(<-done, nil)
}

func TestWriteAccess(t *testing.T) {
	w := newWorld(t)
	w.write("/f", "#!")
	w.chmod("/f", 0o755)
	x, err := w.v.OpenExecutable(w.ctx, *w.op("/f"))
	w.want(err, nil)
	w.want(x.Inode().Base().DenyWriteAccess(), nil)
	_, err = w.open("/f", unix.O_WRONLY, 0)
	w.want(err, unix.ETXTBSY)
	w.want(w.lookup("/f").Truncate(w.ctx, 0), unix.ETXTBSY)
	x.Inode().Base().AllowWriteAccess()
	fd := w.mustOpen("/f", unix.O_WRONLY, 0)
	w.want(x.Inode().Base().DenyWriteAccess(), unix.ETXTBSY)
	fd.DecRef(w.ctx)
	w.chmod("/f", 0o644)
	_, err = w.v.OpenExecutable(w.ctx, *w.op("/f"))
	w.want(err, unix.EACCES)
}

func TestFileSizeLimit(t *testing.T) {
	w := newWorld(t)
	c := rootTask()
	c.limit = 10
	u := w.as(c)
	fd := u.mustOpen("/f", unix.O_RDWR|unix.O_CREAT, 0o600)
	defer fd.DecRef(c)
	if n, err := fd.Write(c, bytesSeq(make([]byte, 8))); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := fd.Write(c, bytesSeq(make([]byte, 8))); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	_, err := fd.Write(c, bytesSeq(make([]byte, 8)))
	w.want(err, unix.EFBIG)
	w.want(fd.Truncate(c, 11), unix.EFBIG)
	w.want(fd.Truncate(c, 10), nil)
	if c.signals != 2 {
		t.Fatalf("%d signals", c.signals)
	}
}
