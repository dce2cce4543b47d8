package sem

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/ipc"
	"runsc/pkg/waiter"
)

var (
	ns   = auth.NewRootUserNamespace()
	root = ipc.Caller{Creds: auth.NewRootCredentials(ns), NS: ns, PID: 1}
	user = ipc.Caller{Creds: auth.NewUserCredentials(1000, 1000, nil, 0, 0, 0, 0, 0, ns), NS: ns, PID: 2}
)

type task struct {
	context.Background
	wake chan struct{}
}

func newTask() *task {
	return &task{context.Background{Creds: root.Creds}, make(chan struct{}, 1)}
}
func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
func (t *task) Block() error { <-t.wake; return nil }
func (t *task) BlockUntil(d int64) error {
	select {
	case <-t.wake:
		return nil
	case <-time.After(time.Duration(d - t.Monotonic())):
		return unix.ETIMEDOUT
	}
}

func newSet(t *testing.T, r *Registry, n int32) int32 {
	id, err := r.Get(root, 0, ipc.Private, n, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func values(t *testing.T, r *Registry, id int32) []uint16 {
	v, err := r.Values(root, id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestGet(t *testing.T) {
	r := NewRegistry()
	for i, test := range []struct {
		c     ipc.Caller
		key   int32
		n     int32
		flags uint32
		want  error
	}{
		{root, 5, 1, 0, unix.ENOENT},
		{root, 5, 0, unix.IPC_CREAT, unix.EINVAL},
		{root, 5, 3, unix.IPC_CREAT | 0o640, nil},
		{root, 5, 3, unix.IPC_CREAT | unix.IPC_EXCL, unix.EEXIST},
		{root, 5, 4, 0, unix.EINVAL},
		{root, 5, 0, 0, nil},
		{user, 5, 0, 0o600, unix.EACCES},
		{user, 5, 0, 0, nil},
		{root, 6, MaxPerSet + 1, unix.IPC_CREAT, unix.EINVAL},
	} {
		if _, err := r.Get(test.c, 0, test.key, test.n, test.flags); err != test.want {
			t.Errorf("step %d: %v, want %v", i, err, test.want)
		}
	}
	a, b := newSet(t, r, 1), newSet(t, r, 1)
	if a == b {
		t.Error("private sets share an id")
	}
	if err := r.Remove(user, a); err != unix.EPERM {
		t.Errorf("removal by a stranger: %v", err)
	}
	r.Remove(root, a)
	if _, err := r.Values(root, a); err != unix.EINVAL {
		t.Errorf("removed: %v", err)
	}
}

func TestOperationsAreAtomic(t *testing.T) {
	r, tk := NewRegistry(), newTask()
	id := newSet(t, r, 3)
	r.SetValues(root, id, []uint16{1, 2, 0}, 0)
	nowait := int16(unix.IPC_NOWAIT)
	for i, test := range []struct {
		ops  []Op
		want error
	}{
		{[]Op{{0, -1, nowait}, {1, -3, nowait}}, unix.EAGAIN},
		{[]Op{{0, 5, 0}, {1, MaxValue, 0}}, unix.ERANGE},
		{[]Op{{0, -1, nowait}, {0, 0, nowait}, {0, 1, nowait}}, nil},
		{[]Op{{0, 0, nowait}}, unix.EAGAIN},
		{[]Op{{3, 1, 0}}, unix.EFBIG},
		{[]Op{{0, 1, semUndo}, {1, -3, nowait | semUndo}}, unix.EAGAIN},
	} {
		if err := r.Operate(tk, root, "p", id, test.ops, -1); err != test.want {
			t.Errorf("step %d: %v, want %v", i, err, test.want)
		}
		if v := values(t, r, id); v[0] != 1 || v[1] != 2 || v[2] != 0 {
			t.Fatalf("step %d: values %v", i, v)
		}
	}
	if err := r.Operate(tk, user, "p", id, []Op{{0, 1, 0}}, -1); err != unix.EACCES {
		t.Errorf("a stranger: %v", err)
	}
	if err := r.Operate(tk, root, "p", id, []Op{{0, -9, 0}}, tk.Monotonic()+1e6); err != unix.EAGAIN {
		t.Errorf("timeout: %v", err)
	}
	r.Exit("p", 7, 0)
	if v := values(t, r, id); v[0] != 1 || v[1] != 2 {
		t.Errorf("failed operations were undone: %v", v)
	}
}

func TestUndo(t *testing.T) {
	r, tk := NewRegistry(), newTask()
	id := newSet(t, r, 2)
	r.Operate(tk, root, "p", id, []Op{{0, 5, semUndo}, {1, 3, 0}}, -1)
	r.Operate(tk, root, "p", id, []Op{{0, -2, semUndo}}, -1)
	r.Operate(tk, root, "q", id, []Op{{0, 4, semUndo}}, -1)
	r.Exit("p", 9, 0)
	if v := values(t, r, id); v[0] != 4 || v[1] != 3 {
		t.Errorf("after p: %v", v)
	}
	if s, _ := r.Semaphore(root, id, 0); s.PID != 9 {
		t.Errorf("last pid %d", s.PID)
	}
	r.SetValue(root, id, 0, 7, 0)
	r.Exit("q", 9, 0)
	if v := values(t, r, id); v[0] != 7 {
		t.Errorf("SETVAL does not forget: %v", v)
	}
}

func TestWaiting(t *testing.T) {
	r := NewRegistry()
	id := newSet(t, r, 1)
	var wg sync.WaitGroup
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := r.Operate(newTask(), root, "p", id, []Op{{0, -1, 0}}, -1); err != nil {
				t.Error(err)
			}
		}()
	}
	for s := (Semaphore{}); s.NCount != 10; {
		s, _ = r.Semaphore(root, id, 0)
		time.Sleep(time.Millisecond)
	}
	r.Operate(newTask(), root, "p", id, []Op{{0, 4, 0}}, -1)
	r.SetValue(root, id, 0, 6, 0)
	for n := int32(-1); n != 0; {
		s, _ := r.Semaphore(root, id, 0)
		if n = s.NCount; n > 0 && s.Value == 0 {
			r.Operate(newTask(), root, "p", id, []Op{{0, 1, 0}}, -1)
		}
		time.Sleep(time.Millisecond)
	}
	wg.Wait()

	err := make(chan error)
	go func() { err <- r.Operate(newTask(), root, "p", id, []Op{{0, -100, 0}}, -1) }()
	for s := (Semaphore{}); s.NCount != 1; {
		s, _ = r.Semaphore(root, id, 0)
	}
	r.Remove(root, id)
	if e := <-err; e != unix.EIDRM {
		t.Errorf("removed while waiting: %v", e)
	}
}
