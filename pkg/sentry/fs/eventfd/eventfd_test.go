package eventfd

import (
	"encoding/binary"
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

var bg = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

func read(e *EventFD) (uint64, error) {
	b := make([]byte, 8)
	_, err := e.Read(bg, usermem.BytesSequence(b), -1)
	return binary.NativeEndian.Uint64(b), err
}

func write(e *EventFD, n uint64) error {
	b := make([]byte, 8)
	binary.NativeEndian.PutUint64(b, n)
	_, _, err := e.Write(bg, usermem.BytesSequence(b), -1, false)
	return err
}

func TestCounter(t *testing.T) {
	e := New(3, false)
	write(e, 4)
	if n, err := read(e); n != 7 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := read(e); err != unix.EAGAIN {
		t.Errorf("empty: %v", err)
	}
	for _, test := range []struct {
		n    uint64
		want error
	}{{math.MaxUint64, unix.EINVAL}, {math.MaxUint64 - 1, nil}, {1, unix.EAGAIN}, {0, nil}} {
		if err := write(e, test.n); err != test.want {
			t.Errorf("write(%d): %v", test.n, err)
		}
	}
	if r := e.Readiness(waiter.EventIn | waiter.EventOut); r != waiter.EventIn {
		t.Errorf("full: readiness %#x", r)
	}
	e.Signal(5)
	if r := e.Readiness(waiter.AllEvents); r&waiter.EventErr == 0 {
		t.Errorf("overflow: readiness %#x", r)
	}
	if err := write(e, 1); err != unix.EAGAIN {
		t.Errorf("write after overflow: %v", err)
	}
	if _, err := e.Read(bg, usermem.BytesSequence(make([]byte, 7)), -1); err != unix.EINVAL {
		t.Errorf("short buffer: %v", err)
	}
}

func TestSemaphore(t *testing.T) {
	e := New(2, true)
	for range 2 {
		if n, err := read(e); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
	}
	if _, err := read(e); err != unix.EAGAIN {
		t.Errorf("empty: %v", err)
	}
}

func BenchmarkWriteRead(b *testing.B) {
	e := New(0, false)
	s := usermem.BytesSequence([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	b.ReportAllocs()
	for range b.N {
		e.Write(bg, s, -1, false)
		e.Read(bg, s, -1)
	}
}
