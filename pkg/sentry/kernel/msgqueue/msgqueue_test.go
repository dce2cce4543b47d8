package msgqueue

import (
	"testing"

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

func newTask() *task                   { return &task{context.Background{Creds: root.Creds}, make(chan struct{}, 1)} }
func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
func (t *task) Block() error { <-t.wake; return nil }

func TestReceiveChoosesByType(t *testing.T) {
	r, tk := NewRegistry(), newTask()
	id, err := r.Get(root, 0, 7, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []int64{3, 1, 2, 1} {
		if err := r.Send(tk, root, id, Message{typ, []byte{byte(typ)}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i, test := range []struct {
		typ   int64
		flags int32
		size  int
		want  int64
		err   error
	}{
		{2, Copy | unix.IPC_NOWAIT, 9, 2, nil},
		{2, Copy, 9, 0, unix.EINVAL},
		{9, unix.IPC_NOWAIT, 9, 0, unix.ENOMSG},
		{3, 0, 0, 0, unix.E2BIG},
		{3, NoError, 0, 3, nil},
		{1, Except, 9, 2, nil},
		{-5, 0, 9, 1, nil},
		{0, 0, 9, 1, nil},
		{0, unix.IPC_NOWAIT, 9, 0, unix.ENOMSG},
	} {
		m, err := r.Receive(tk, root, id, test.size, test.typ, test.flags)
		if err != test.err || m.Type != test.want {
			t.Errorf("step %d: type %d, %v", i, m.Type, err)
		}
	}
	if _, err := r.Receive(tk, user, id, 9, 0, unix.IPC_NOWAIT); err != unix.EACCES {
		t.Errorf("a stranger: %v", err)
	}
	if err := r.Send(tk, root, id, Message{0, nil}, 0); err != unix.EINVAL {
		t.Errorf("type 0: %v", err)
	}
}

func TestFullQueueBlocksAndRemovalWakes(t *testing.T) {
	r, tk := NewRegistry(), newTask()
	id, _ := r.Get(root, 0, ipc.Private, 0o600)
	big := Message{1, make([]byte, MaxMessage)}
	r.Send(tk, root, id, big, 0)
	r.Send(tk, root, id, big, 0)
	if err := r.Send(tk, root, id, big, unix.IPC_NOWAIT); err != unix.EAGAIN {
		t.Errorf("full: %v", err)
	}
	done := make(chan error)
	go func() { done <- r.Send(newTask(), root, id, big, 0) }()
	if _, err := r.Receive(tk, root, id, MaxMessage, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.Change(user, id, 0, 0, 0o600, 10, 0); err != unix.EPERM {
		t.Errorf("change by a stranger: %v", err)
	}
	go func() { done <- r.Send(newTask(), root, id, big, 0) }()
	go func() {
		_, err := r.Receive(newTask(), root, id, MaxMessage, 77, 0)
		done <- err
	}()
	r.Remove(root, id)
	for range 2 {
		if err := <-done; err != unix.EIDRM && err != unix.EINVAL {
			t.Errorf("removed: %v", err)
		}
	}
}
