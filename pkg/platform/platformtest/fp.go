package platformtest

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
)

// Where things lie in an XSAVE area.
const (
	offXMM     = 160
	offXState  = 512
	offYMMHigh = 576
	avx        = 1 << 2
)

func hasAVX() bool { return arch.XCR0()&avx != 0 }

// setXMM gives register i the value v in every 64-bit lane that exists.
func setXMM(fp arch.FPState, i int, v uint64) {
	for lane := range 2 {
		binary.LittleEndian.PutUint64(fp[offXMM+16*i+8*lane:], v)
		if hasAVX() {
			binary.LittleEndian.PutUint64(fp[offYMMHigh+16*i+8*lane:], v)
		}
	}
	if hasAVX() {
		fp[offXState] |= avx
	}
}

// xmm is the value of all lanes of register i, or false if they differ.
func xmm(fp arch.FPState, i int) (uint64, bool) {
	v := binary.LittleEndian.Uint64(fp[offXMM+16*i:])
	for lane := range 2 {
		if binary.LittleEndian.Uint64(fp[offXMM+16*i+8*lane:]) != v {
			return v, false
		}
		if hasAVX() && binary.LittleEndian.Uint64(fp[offYMMHigh+16*i+8*lane:]) != v {
			return v, false
		}
	}
	return v, true
}

// add is xmm0 += xmm1 in all lanes, then a system call, for ever.
func add() []byte {
	if hasAVX() {
		return []byte{0xc5, 0xfd, 0xd4, 0xc1, 0x0f, 0x05, 0xeb, 0xf8} // vpaddq %ymm1,%ymm0,%ymm0
	}
	return []byte{0x66, 0x0f, 0xd4, 0xc1, 0x0f, 0x05, 0xeb, 0xf8} // paddq %xmm1,%xmm0
}

func testFPState(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, 0x0f, 0x05, 0xeb, 0xfc).cpu() // syscall for ever
	c.run(platform.EventSyscall)
	if got, want := c.fp(), arch.NewFPState(); !bytes.Equal(got[:24], want[:24]) || !bytes.Equal(got[offXMM:offXMM+256], want[offXMM:offXMM+256]) {
		t.Error("the initial FP state is not what arch says")
	}
	// What the sentry changes arrives.
	c = newProgram(t, p, add()...).cpu()
	setXMM(c.ac.FP, 0, 1000)
	setXMM(c.ac.FP, 1, 1)
	c.c.FullStateChanged()
	for i := uint64(1); i < 20; i++ {
		c.run(platform.EventSyscall)
		if got, ok := xmm(c.fp(), 0); !ok || got != 1000+i {
			t.Fatalf("after %d steps: %d, lanes equal: %v", i, got, ok)
		}
	}
	setXMM(c.fp(), 0, 5)
	c.c.FullStateChanged()
	c.run(platform.EventSyscall)
	if got, ok := xmm(c.fp(), 0); !ok || got != 6 {
		t.Errorf("changed by the sentry, then by the application: %d %v", got, ok)
	}
	// A copy goes on from where the original was.
	f := c.program.cpu()
	f.ac = c.ac.Fork()
	f.c.FullStateChanged()
	f.run(platform.EventSyscall)
	if got, _ := xmm(f.fp(), 0); got != 7 {
		t.Errorf("in the copy: %d", got)
	}
	if got, _ := xmm(c.fp(), 0); got != 6 {
		t.Errorf("in the original: %d", got)
	}
}

// testFPShared: contexts that take turns in one address space, on changing OS threads, do
// not see each other's state.
func testFPShared(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p, add()...)
	var cpus []*cpu
	for i := range 4 {
		c := pr.cpu()
		setXMM(c.ac.FP, 0, uint64(i)<<32)
		setXMM(c.ac.FP, 1, uint64(i+1))
		c.c.FullStateChanged()
		cpus = append(cpus, c)
	}
	// Three goroutines with an OS thread each take turns.
	var threads []chan func()
	for range 3 {
		work := make(chan func())
		defer close(work)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for f := range work {
				f()
			}
		}()
		threads = append(threads, work)
	}
	for round := uint64(1); round <= 30; round++ {
		for i, c := range cpus {
			done := make(chan error)
			threads[(int(round)*7/3+i)%3] <- func() {
				for {
					ev, err := c.c.Switch(c.as, c.ac)
					if err == nil && ev.Kind == platform.EventInterrupt {
						continue
					}
					if err == nil {
						err = c.c.PullFullState(c.as, c.ac)
					}
					done <- err
					return
				}
			}
			must(t, <-done)
			if got, ok := xmm(c.ac.FP, 0); !ok || got != uint64(i)<<32+round*uint64(i+1) {
				t.Fatalf("round %d, context %d: %#x, lanes equal: %v", round, i, got, ok)
			}
		}
	}
}
