package platformtest

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/memmap"
)

var (
	spin     = []byte{0xeb, 0xfe}                               // self: jmp self
	calls    = []byte{0x0f, 0x05, 0xeb, 0xfc}                   // syscall for ever
	countUp  = []byte{0x48, 0xff, 0xc3, 0xeb, 0xfb}             // inc %rbx for ever
	countTen = []byte{0x48, 0xff, 0xc3, 0x0f, 0x05, 0xeb, 0xf9} // inc %rbx; syscall, for ever
)

func testInterruptBefore(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, spin...).cpu()
	for range 3 {
		c.c.Interrupt()
		c.c.Interrupt()
		c.run(platform.EventInterrupt)
	}
	if c.ac.IP() != codeAddr {
		t.Errorf("ip %#x", c.ac.IP())
	}
}

func testInterruptRunning(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, countUp...).cpu()
	last := uint64(0)
	for ran, tries := 0, 0; ran < 5; tries++ {
		if tries == 100 {
			t.Fatalf("the application did not run: %d", last)
		}
		timer := time.AfterFunc(5*time.Millisecond, c.c.Interrupt)
		c.run(platform.EventInterrupt)
		timer.Stop()
		switch rbx := c.ac.Regs.Rbx; {
		case rbx < last:
			t.Fatalf("the application's register went from %d to %d", last, rbx)
		case rbx > last: // else this goroutine got no CPU for so long that the interrupt came first
			ran++
			last = rbx
		}
	}
}

// testInterruptStress: each interrupt ends in an event, however it races with the Switch.
func testInterruptStress(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p, spin...)
	c := pr.cpu()
	var seen atomic.Uint64
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for {
			ev, err := c.c.Switch(c.as, c.ac)
			if err != nil || ev.Kind != platform.EventInterrupt {
				t.Errorf("event %+v: %v", ev, err)
				return
			}
			seen.Add(1)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for i := range 2000 {
		before := seen.Load()
		c.c.Interrupt()
		for end := time.Now().Add(10 * time.Second); seen.Load() == before; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("interrupt %d was lost", i)
			}
		}
	}
	close(stop)
	c.c.Interrupt()
	done.Wait()
}

// testInterruptNoise: interrupts at random moments change nothing of what runs.
func testInterruptNoise(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p, countTen...)
	stop := make(chan struct{})
	var done sync.WaitGroup
	cpus := []*cpu{pr.cpu(), pr.cpu()}
	for _, c := range cpus {
		done.Add(2)
		go func() {
			defer done.Done()
			for i := uint64(0); ; i++ {
				ev, err := c.c.Switch(c.as, c.ac)
				if err != nil {
					t.Error(err)
					return
				}
				if ev.Kind == platform.EventInterrupt {
					i--
					continue
				}
				if ev.Kind != platform.EventSyscall || c.ac.Regs.Rbx != i+1 || c.ac.IP() != codeAddr+5 {
					t.Errorf("step %d: %+v, rbx %d, ip %#x", i, ev, c.ac.Regs.Rbx, c.ac.IP())
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		go func() {
			defer done.Done()
			for {
				select {
				case <-stop:
					return
				default:
					c.c.Interrupt()
					time.Sleep(50 * time.Microsecond)
				}
			}
		}()
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	done.Wait()
}

func testParallel(t *testing.T, p platform.Platform) {
	var done sync.WaitGroup
	shared := newProgram(t, p, countTen...)
	for i := range 16 {
		pr := shared
		if i%2 == 0 {
			pr = newProgram(t, p, countTen...)
		}
		c := pr.cpu()
		done.Add(1)
		go func() {
			defer done.Done()
			for n := uint64(1); n <= 100; n++ {
				ev, err := c.c.Switch(c.as, c.ac)
				if err != nil || ev.Kind != platform.EventSyscall || c.ac.Regs.Rbx != n {
					t.Errorf("context %d step %d: %+v %v rbx %d", i, n, ev, err, c.ac.Regs.Rbx)
					return
				}
				if n%10 == 0 { // memory changes while others run in the same space
					at := 0x1_0000_0000 + uintptr(i)*16*page
					if err := pr.as.MapFile(at, pr.f, memmap.Range{Start: dataOff, End: dataOff + page}, memmap.Read, false); err != nil {
						t.Error(err)
					}
					if err := pr.as.Unmap(at, page); err != nil {
						t.Error(err)
					}
				}
			}
		}()
	}
	done.Wait()
}

// testMove: a context that changes its address space, as execve(2) makes it.
func testMove(t *testing.T, p platform.Platform) {
	a, b := newProgram(t, p, countTen...), newProgram(t, p, countTen...)
	c := a.cpu()
	for n := uint64(1); n <= 20; n++ {
		c.program = a
		if n%2 == 0 {
			c.program = b
		}
		c.run(platform.EventSyscall)
		if c.ac.Regs.Rbx != n {
			t.Fatalf("step %d: rbx %d", n, c.ac.Regs.Rbx)
		}
		c.ac.SetIP(codeAddr)
	}
}

func testManyAddressSpaces(t *testing.T, p platform.Platform) {
	f := NewFile(t, 32*page)
	copy(f.Mem, calls)
	for range 50 {
		pr := &program{t, p, newSpace(t, p), f}
		must(t, pr.as.MapFile(codeAddr, f, memmap.Range{Start: 0, End: page}, memmap.AccessType{Read: true, Execute: true}, false))
		c := pr.cpu()
		c.run(platform.EventSyscall)
		c.c.Release()
		pr.as.Release()
	}
}

// Benchmark measures the round trip of a system call and of a fault with its repair.
func Benchmark(b *testing.B, p platform.Platform) {
	b.Run("syscall", func(b *testing.B) {
		c := newProgram(b, p, calls...).cpu()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.c.Switch(c.as, c.ac); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("syscall-parallel", func(b *testing.B) { // of two processes at a time; ns for both
		one, two := newProgram(b, p, calls...).cpu(), newProgram(b, p, calls...).cpu()
		var done sync.WaitGroup
		for _, c := range []*cpu{one, two} {
			done.Add(1)
			go func() {
				defer done.Done()
				for range b.N {
					if _, err := c.c.Switch(c.as, c.ac); err != nil {
						b.Error(err)
					}
				}
			}()
		}
		done.Wait()
	})
	b.Run("map+unmap", func(b *testing.B) {
		c := newProgram(b, p, calls...).cpu()
		c.run(platform.EventSyscall)
		for b.Loop() {
			must(b, c.as.MapFile(0x7000_0000, c.f, memmap.Range{Start: dataOff, End: dataOff + page}, memmap.ReadWrite, false))
			must(b, c.as.Unmap(0x7000_0000, page))
		}
	})
	b.Run("space", func(b *testing.B) {
		for b.Loop() {
			as := newSpace(b, p)
			as.Release()
		}
	})
	b.Run("space+run", func(b *testing.B) {
		f := NewFile(b, page)
		copy(f.Mem, calls)
		for b.Loop() {
			pr := &program{b, p, newSpace(b, p), f}
			must(b, pr.as.MapFile(codeAddr, f, memmap.Range{Start: 0, End: page}, memmap.AccessType{Read: true, Execute: true}, false))
			c := &cpu{pr, p.NewContext(), newAC()}
			c.run(platform.EventSyscall)
			pr.as.Release()
		}
	})
}
