package timerfd

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/ktime"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

var bg = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

func read(f *TimerFD) (uint64, error) {
	b := make([]byte, 8)
	_, err := f.Read(bg, usermem.BytesSequence(b), -1)
	return binary.NativeEndian.Uint64(b), err
}

func TestReadCountsExpirations(t *testing.T) {
	clock := ktime.NewManualClock(1000)
	f := New(clock, unix.CLOCK_MONOTONIC)
	if _, err := read(f); err != unix.EAGAIN {
		t.Errorf("a timer that is off: %v", err)
	}
	f.Set(0, 10, 10)
	clock.Advance(9)
	if f.Readiness(waiter.AllEvents) != 0 {
		t.Error("ready too early")
	}
	clock.Advance(26)
	if f.Readiness(waiter.AllEvents) == 0 {
		t.Error("not ready")
	}
	if n, err := read(f); n != 3 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := read(f); err != unix.EAGAIN {
		t.Errorf("second read: %v", err)
	}
	clock.Advance(5)
	if n, _ := read(f); n != 1 {
		t.Errorf("the timer stopped after the first read: %d", n)
	}
	clock.Advance(10)
	if left, iv := f.Set(unix.TFD_TIMER_ABSTIME, 1100, 0); left != 10 || iv != 10 {
		t.Errorf("old value %d, %d", left, iv)
	}
	if _, err := read(f); err != unix.EAGAIN {
		t.Errorf("Set did not forget: %v", err)
	}
	clock.Advance(1000)
	if n, _ := read(f); n != 1 {
		t.Errorf("one shot: %d", n)
	}
	f.Set(0, 10, 0)
	f.Set(unix.TFD_TIMER_ABSTIME, 0, 0)
	if left, _ := f.Get(); left != 0 {
		t.Errorf("not off: %d", left)
	}
	if _, err := f.Read(bg, usermem.BytesSequence(make([]byte, 7)), -1); err != unix.EINVAL {
		t.Errorf("short buffer: %v", err)
	}
}

func TestSetTicks(t *testing.T) {
	f := New(ktime.NewManualClock(0), unix.CLOCK_MONOTONIC)
	b := make([]byte, 8)
	if _, err := f.Ioctl(bg, &usermem.Bytes{B: b}, tfdIocSetTicks, 0); err != unix.EINVAL {
		t.Errorf("zero ticks: %v", err)
	}
	b[0] = 42
	if _, err := f.Ioctl(bg, &usermem.Bytes{B: b}, tfdIocSetTicks, 0); err != nil {
		t.Fatal(err)
	}
	if n, _ := read(f); n != 42 {
		t.Errorf("read %d", n)
	}
}
