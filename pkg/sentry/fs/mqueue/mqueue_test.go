package mqueue

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var ns = auth.NewRootUserNamespace()

type task struct {
	context.Background
	wake  chan struct{}
	attr  *Attr
	limit uint64
}

func newTask() *task {
	return &task{Background: context.Background{Creds: auth.NewRootCredentials(ns)}, wake: make(chan struct{}, 1), limit: 819200}
}
func (t *task) QueueLimit() uint64     { return t.limit }
func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
func (t *task) Block() error           { <-t.wake; return nil }
func (t *task) BlockUntil(int64) error { return unix.ETIMEDOUT }
func (t *task) QueueAttr() (Attr, bool) {
	if t.attr == nil {
		return Attr{}, false
	}
	return *t.attr, true
}

func newQueue(t *testing.T, f *Filesystem, tk *task, name string, flags uint32) *File {
	t.Helper()
	i, err := f.root.Create(tk, name, vfs.NewOwner{Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	file, _ := i.Open(tk, flags)
	return file.(*File)
}

func TestOrderOfMessages(t *testing.T) {
	tk := newTask()
	f := newQueue(t, New(tk, vfs.New()), tk, "q", unix.O_RDWR)
	for i, p := range []uint32{1, 5, 1, 9, 5} {
		if err := f.Send(tk, []byte{byte(i)}, p, true, NoDeadline); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []byte{3, 1, 4, 0, 2} {
		m, _, err := f.Receive(tk, 8192, true, NoDeadline)
		if err != nil || m[0] != want {
			t.Errorf("got %v, %v, want %d", m, err, want)
		}
	}
	if _, _, err := f.Receive(tk, 8192, true, NoDeadline); err != unix.EAGAIN {
		t.Errorf("empty: %v", err)
	}
	if _, _, err := f.Receive(tk, 8192, false, 1); err != unix.ETIMEDOUT {
		t.Errorf("timeout: %v", err)
	}
	if _, _, err := f.Receive(tk, 8191, true, NoDeadline); err != unix.EMSGSIZE {
		t.Errorf("short buffer: %v", err)
	}
	if err := f.Send(tk, make([]byte, 8193), 0, true, NoDeadline); err != unix.EMSGSIZE {
		t.Errorf("long message: %v", err)
	}
	if err := f.Send(tk, nil, MaxPriority, true, NoDeadline); err != unix.EINVAL {
		t.Errorf("priority: %v", err)
	}
}

func TestFullQueueBlocks(t *testing.T) {
	tk := newTask()
	tk.attr = &Attr{2, 10}
	f := newQueue(t, New(tk, vfs.New()), tk, "q", unix.O_RDWR)
	f.Send(tk, nil, 0, true, NoDeadline)
	f.Send(tk, nil, 0, true, NoDeadline)
	if err := f.Send(tk, nil, 0, true, NoDeadline); err != unix.EAGAIN {
		t.Errorf("full: %v", err)
	}
	if f.Readiness(waiter.EventOut) != 0 {
		t.Error("full but writable")
	}
	done := make(chan error)
	go func() { done <- f.Send(newTask(), []byte("x"), 0, false, NoDeadline) }()
	f.Receive(tk, 10, false, NoDeadline)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type notifier struct{ told, released int }

func (n *notifier) Notify(context.Context)        { n.told++ }
func (n *notifier) Status() (int32, int32, int32) { return 0, 10, 42 }
func (n *notifier) Released(context.Context)      { n.released++ }

func TestNotify(t *testing.T) {
	tk := newTask()
	fs := New(tk, vfs.New())
	f := newQueue(t, fs, tk, "q", unix.O_RDWR)
	n := &notifier{}
	f.SetNotifier(n)
	if err := f.SetNotifier(n); err != unix.EBUSY {
		t.Errorf("second registration: %v", err)
	}
	b := make([]byte, 100)
	if c, _ := f.Read(tk, usermem.BytesSequence(b), 0); !strings.Contains(string(b[:c]), "SIGNO:10    NOTIFY_PID:42") {
		t.Errorf("text %q", b[:c])
	}
	f.Send(tk, nil, 0, true, NoDeadline)
	f.Send(tk, nil, 0, true, NoDeadline)
	if n.told != 1 {
		t.Errorf("told %d times", n.told)
	}
	f.SetNotifier(n)
	f.RemoveNotifier(tk, 41)
	f.RemoveNotifier(tk, 42)
	if n.released != 1 {
		t.Errorf("released %d times", n.released)
	}
	f.SetNotifier(n)
	f.Release(tk)
	if n.released != 2 {
		t.Errorf("released %d times", n.released)
	}
}

func TestLimitsAndUnlink(t *testing.T) {
	tk := newTask()
	fs := New(tk, vfs.New())
	tk.limit = 100000
	newQueue(t, fs, tk, "a", unix.O_RDWR)
	if _, err := fs.root.Create(tk, "a", vfs.NewOwner{}); err != unix.EEXIST {
		t.Errorf("exists: %v", err)
	}
	if _, err := fs.root.Create(tk, "b", vfs.NewOwner{}); err != unix.EMFILE {
		t.Errorf("RLIMIT_MSGQUEUE: %v", err)
	}
	i, _ := fs.root.Lookup(tk, "a")
	if err := fs.root.Unlink(tk, "a", i); err != nil {
		t.Fatal(err)
	}
	if fs.count != 1 {
		t.Error("gone while it is open")
	}
	vfs.PutInode(tk, i)
	vfs.PutInode(tk, i) // the creator's
	if fs.count != 0 || len(fs.bytes) != 0 {
		t.Errorf("count %d, bytes %v", fs.count, fs.bytes)
	}
	for _, a := range []Attr{{0, 1}, {1, 0}, {hardMessages + 1, 1}, {1, hardSize + 1}} {
		tk.attr = &a
		if _, err := fs.root.Create(tk, "c", vfs.NewOwner{}); err != unix.EINVAL {
			t.Errorf("%+v: %v", a, err)
		}
	}
}
