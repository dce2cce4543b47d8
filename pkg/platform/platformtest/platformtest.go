// Package platformtest is the conformance test of platforms: what pkg/platform promises,
// tried with small pieces of machine code. A platform's own test calls Run.
//
// Each test makes address spaces and contexts of one shared platform, puts code into a memory
// file, and steps through the events. The application's side is raw x86-64 code; comments
// give the assembly.
package platformtest

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

const (
	page     = memmap.PageSize
	codeAddr = uintptr(0x40_0000)
	dataAddr = uintptr(0x50_0000)
)

// Options say what is different between platforms.
type Options struct {
	// Stubs counts the host processes that serve the platform's address spaces; nil if it
	// has none.
	Stubs func() int
	// Code is where the platform's own code lies in application address spaces, and
	// Writable what the application can write there, because nothing in it is believed.
	Code, Writable [2]uintptr
	// MayBreak says that an application that jumps into Code may lose its process.
	MayBreak bool
}

// Run runs all tests on a platform that make makes.
func Run(t *testing.T, make func() (platform.Platform, error), o Options) {
	stubs := o.Stubs
	p, err := make()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		f    func(*testing.T, platform.Platform)
	}{
		{"Syscall", testSyscall},
		{"SyscallKeepsRegisters", testRegisters},
		{"NoRestart", testNoRestart},
		{"Faults", testFaults},
		{"FaultRepair", testFaultRepair},
		{"StraddlingInstruction", testStraddle},
		{"Signals", testSignals},
		{"SingleStep", testSingleStep},
		{"Int80", testInt80},
		{"Vsyscall", testVsyscall},
		{"SegmentBases", testSegmentBases},
		{"FPState", testFPState},
		{"FPStateOfContextsSharingAnAddressSpace", testFPShared},
		{"MapUnmapProtect", testMapping},
		{"BatchOrder", testBatch},
		{"LargeBatch", testLargeBatch},
		{"MappingErrors", testMappingErrors},
		{"OutOfReach", func(t *testing.T, p platform.Platform) { testOutOfReach(t, p, o) }},
		{"JumpsIntoTheStub", func(t *testing.T, p platform.Platform) { testJumps(t, p, o) }},
		{"Isolation", testIsolation},
		{"InterruptBefore", testInterruptBefore},
		{"InterruptRunning", testInterruptRunning},
		{"InterruptNeverLost", testInterruptStress},
		{"InterruptsDoNotDisturb", testInterruptNoise},
		{"Parallel", testParallel},
		{"ContextMovesBetweenAddressSpaces", testMove},
		{"ManyAddressSpaces", testManyAddressSpaces},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.f(t, p) })
	}
	if stubs != nil {
		t.Run("ReleaseEndsProcesses", func(t *testing.T) {
			// Those of the tests before may still be dying.
			waitFor(t, func() bool { return stubs() <= 2 })
			before := stubs()
			var all []platform.AddressSpace
			for range 20 {
				all = append(all, newSpace(t, p))
			}
			if n := stubs(); n < before+19 { // a spare one may have been used
				t.Errorf("%d processes, %d before", n, before)
			}
			for _, as := range all {
				as.Release()
			}
			waitFor(t, func() bool { return stubs() <= before+1 })
		})
	}
	p.Close()
	if stubs != nil && stubs() != 0 {
		t.Errorf("%d processes are left after Close", stubs())
	}
}

// waitFor polls for a condition.
func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the condition does not come")
		}
	}
}

// File is a memory file: a memfd that is mapped here too.
type File struct {
	f   *os.File
	Mem []byte
}

// NewFile makes a memory file of size bytes.
func NewFile(t testing.TB, size int) *File {
	t.Helper()
	fd, err := unix.MemfdCreate("platformtest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := &File{f: os.NewFile(uintptr(fd), "memory")}
	if err := f.f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	if f.Mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(f.Mem); f.f.Close() })
	return f
}

// FD implements memmap.File.
func (f *File) FD() int { return int(f.f.Fd()) }

// Blocks implements memmap.File.
func (f *File) Blocks(fr memmap.Range, _ memmap.AccessType, dst [][]byte) ([][]byte, error) {
	return append(dst, f.Mem[fr.Start:fr.End]), nil
}

// IncRef implements memmap.File.
func (f *File) IncRef(memmap.Range) {}

// DecRef implements memmap.File.
func (f *File) DecRef(memmap.Range) {}

// u64 is the word at byte off of the file.
func (f *File) u64(off int) uint64 { return binary.LittleEndian.Uint64(f.Mem[off:]) }

func (f *File) setU64(off int, v uint64) { binary.LittleEndian.PutUint64(f.Mem[off:], v) }

func newSpace(t testing.TB, p platform.Platform) platform.AddressSpace {
	t.Helper()
	as, err := p.NewAddressSpace()
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// program is an address space with code at codeAddr (file offset 0), read and execute, and
// data at dataAddr (file offset 16 pages, 16 pages), read and write.
type program struct {
	t  testing.TB
	p  platform.Platform
	as platform.AddressSpace
	f  *File
}

const dataOff = 16 * page

func newProgram(t testing.TB, p platform.Platform, code ...byte) *program {
	t.Helper()
	pr := &program{t, p, newSpace(t, p), NewFile(t, 32*page)}
	t.Cleanup(pr.as.Release)
	copy(pr.f.Mem, code)
	must(t, pr.as.MapFile(codeAddr, pr.f, memmap.Range{Start: 0, End: 16 * page}, memmap.AccessType{Read: true, Execute: true}, false))
	must(t, pr.as.MapFile(dataAddr, pr.f, memmap.Range{Start: dataOff, End: dataOff + 16*page}, memmap.ReadWrite, false))
	return pr
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cpu is a context of a program and its state.
type cpu struct {
	*program
	c  platform.Context
	ac *arch.Context
}

func (pr *program) cpu() *cpu {
	c := &cpu{pr, pr.p.NewContext(), newAC()}
	pr.t.Cleanup(c.c.Release)
	return c
}

// run switches until an event, which must be of the given kind. An EventInterrupt that
// nobody asked for is passed over: a platform may make them.
func (c *cpu) run(kind platform.EventKind) platform.Event {
	c.t.Helper()
	for {
		ev, err := c.c.Switch(c.as, c.ac)
		if err != nil {
			c.t.Fatal(err)
		}
		if ev.Kind == platform.EventInterrupt && kind != platform.EventInterrupt {
			continue
		}
		if ev.Kind != kind {
			c.t.Fatalf("event %+v at %#x, want kind %d", ev, c.ac.IP(), kind)
		}
		return ev
	}
}

// fp brings the FP state into c.ac.
func (c *cpu) fp() arch.FPState {
	c.t.Helper()
	must(c.t, c.c.PullFullState(c.as, c.ac))
	return c.ac.FP
}

func newAC() *arch.Context {
	ac := arch.NewContext()
	ac.SetIP(codeAddr)
	ac.SetStack(dataAddr + 8*page)
	return ac
}
