package fd

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func open(n int) bool {
	_, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	return err == nil
}

func TestCloseActsOnce(t *testing.T) {
	f, err := OpenAt(unix.AT_FDCWD, "/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := f.Num()
	if !open(n) {
		t.Fatalf("descriptor %d is not open", n)
	}
	if err := f.Close(); err != nil || open(n) || f.Num() != -1 {
		t.Fatalf("after Close: err %v, open %v, Num %d", err, open(n), f.Num())
	}
	if err := f.Close(); err != nil {
		t.Fatalf("second Close = %v", err)
	}
}

func TestReleaseKeepsTheDescriptorOpen(t *testing.T) {
	f, err := Dup(2)
	if err != nil {
		t.Fatal(err)
	}
	n := f.Release()
	if f.Close() != nil || !open(n) {
		t.Fatal("Close after Release closed the descriptor")
	}
	unix.Close(n)
}

func TestFromFileTakesOver(t *testing.T) {
	before := OpenCount()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f, err := FromFile(r)
	if err != nil {
		t.Fatal(err)
	}
	flags, _ := unix.FcntlInt(uintptr(f.Num()), unix.F_GETFL, 0)
	if flags&unix.O_NONBLOCK != 0 {
		t.Error("descriptor is non-blocking")
	}
	w.Close()
	f.Close()
	if after := OpenCount(); after > before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}
