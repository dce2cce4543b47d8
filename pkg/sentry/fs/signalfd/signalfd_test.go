package signalfd

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

// task is a Source and a Context.
type task struct {
	context.Background
	pending []arch.SignalInfo
	queue   waiter.Queue
	woken   int
}

func newTask() *task {
	return &task{Background: context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}}
}

func (t *task) SignalQueue() *waiter.Queue { return &t.queue }
func (t *task) PendingSignals() (s arch.SignalSet) {
	for _, i := range t.pending {
		s |= arch.SignalBit(i.Signo)
	}
	return s
}
func (t *task) TakeSignal(set arch.SignalSet) (arch.SignalInfo, bool) {
	for n, i := range t.pending {
		if set&arch.SignalBit(i.Signo) != 0 {
			t.pending = append(t.pending[:n:n], t.pending[n+1:]...)
			return i, true
		}
	}
	return arch.SignalInfo{}, false
}
func (t *task) NotifyEvent(waiter.EventMask) { t.woken++ }
func (t *task) SignalSource() any            { return t }
func (t *task) send(i arch.SignalInfo) {
	t.pending = append(t.pending, i)
	t.queue.Notify(waiter.EventIn)
}

func TestReadTakesSignalsOfTheReader(t *testing.T) {
	parent, child := newTask(), newTask()
	f := New(parent, arch.SignalBit(int32(unix.SIGUSR1))|arch.SignalBit(int32(unix.SIGCHLD)))
	parent.send(arch.NewUserSignal(int32(unix.SIGUSR1), arch.SiUser, 7, 1000))
	b := make([]byte, 300)
	if _, err := f.Read(child, usermem.BytesSequence(b), -1); err != unix.EAGAIN {
		t.Errorf("the child reads its parent's signals: %v", err)
	}
	if f.ReadinessFor(child, waiter.AllEvents) != 0 || f.ReadinessFor(parent, waiter.AllEvents) == 0 {
		t.Error("readiness is not the task's")
	}
	parent.send(arch.NewUserSignal(int32(unix.SIGUSR2), arch.SiUser, 7, 1000))
	parent.send(arch.SignalInfo{Signo: int32(unix.SIGCHLD), Code: arch.CldExited})
	n, err := f.Read(parent, usermem.BytesSequence(b), -1)
	if n != 256 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if s := binary.NativeEndian.Uint32(b); s != uint32(unix.SIGUSR1) || b[12] != 7 {
		t.Errorf("signal %d from %d", s, b[12])
	}
	if s := binary.NativeEndian.Uint32(b[128:]); s != uint32(unix.SIGCHLD) {
		t.Errorf("signal %d", s)
	}
	if _, err := f.Read(parent, usermem.BytesSequence(b[:100]), -1); err != unix.EINVAL {
		t.Errorf("short buffer: %v", err)
	}
}

func TestWakersOfTasksWaitForTheirOwnSignals(t *testing.T) {
	parent, child := newTask(), newTask()
	f := New(parent, arch.SignalBit(1))
	e := waiter.Entry{Mask: waiter.EventIn, Listener: child}
	f.EventRegister(&e)
	child.send(arch.NewKernelSignal(1))
	if child.woken != 1 {
		t.Error("not woken")
	}
	f.ReadinessFor(parent, waiter.AllEvents)
	f.EventUnregister(&e)
	if !child.queue.IsEmpty() {
		t.Error("still registered")
	}
}

func TestEncodeValueOfQueuedSignal(t *testing.T) {
	i := arch.NewUserSignal(40, arch.SiQueue, 3, 4)
	i.SetValue(0x1122334455667788)
	b := encode(&i)
	if v := binary.NativeEndian.Uint64(b[48:]); v != 0x1122334455667788 {
		t.Errorf("ssi_ptr %#x", v)
	}
	if v := binary.NativeEndian.Uint32(b[44:]); v != 0x55667788 {
		t.Errorf("ssi_int %#x", v)
	}
}
