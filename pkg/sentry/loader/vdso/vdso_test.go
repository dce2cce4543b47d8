package vdso

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
)

func newTestClock(t testing.TB) *Clock {
	t.Helper()
	c, err := New(Options{NumCPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return c
}

func TestImageIsAnELFFileWithVersionedSymbols(t *testing.T) {
	c := newTestClock(t)
	f, err := elf.NewFile(bytes.NewReader(c.Image().ELF()))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 {
		t.Errorf("type %v machine %v", f.Type, f.Machine)
	}
	if got := lookup(t, c, "__vdso_clock_gettime"); got == nil {
		t.Error("__vdso_clock_gettime not found by the hash table")
	}
	if elfHash(version) != 0x3ae75f6 {
		t.Errorf("elfHash(%s) = %#x", version, elfHash(version))
	}
	if gnuHash("__vdso_clock_gettime") != 0x6e43a318 {
		t.Errorf("gnuHash = %#x", gnuHash("__vdso_clock_gettime"))
	}
}

// lookup maps the image executable and finds a symbol by DT_HASH, as a dynamic linker does.
func lookup(t testing.TB, c *Clock, name string) *byte {
	t.Helper()
	m := mapping(t, c)
	le := func(off uint64, n int) uint64 {
		var v uint64
		for i := range n {
			v |= uint64(m[VVarSize+off+uint64(i)]) << (8 * i)
		}
		return v
	}
	var dyn uint64
	for i := range le(56, 2) {
		if le(64+56*i, 4) == uint64(elf.PT_DYNAMIC) {
			dyn = le(64+56*i+16, 8)
		}
	}
	tab := map[uint64]uint64{}
	for ; le(dyn, 8) != 0; dyn += 16 {
		tab[le(dyn, 8)] = le(dyn+8, 8)
	}
	hash := tab[dtHash]
	nbucket := le(hash, 4)
	for i := le(hash+8+4*(uint64(elfHash(name))%nbucket), 4); i != 0; i = le(hash+8+4*nbucket+4*i, 4) {
		sym := tab[dtSymtab] + 24*i
		s := tab[dtStrtab] + le(sym, 4)
		if string(m[VVarSize+s:VVarSize+s+uint64(len(name))+1]) == name+"\x00" {
			if le(tab[dtVersym]+2*i, 2) != 2 {
				t.Errorf("%s has version %d", name, le(tab[dtVersym]+2*i, 2))
			}
			return &m[VVarSize+le(sym+8, 8)]
		}
	}
	return nil
}

func mapping(t testing.TB, c *Clock) []byte {
	t.Helper()
	m, err := unix.Mmap(c.Image().FD(), 0, int(VVarSize+c.Image().ELFSize()), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

type user struct {
	gettime, gettimeofday, time, getres, getcpu *byte
}

func newUser(t testing.TB, c *Clock) user {
	t.Helper()
	u := user{
		lookup(t, c, "__vdso_clock_gettime"), lookup(t, c, "__vdso_gettimeofday"),
		lookup(t, c, "__vdso_time"), lookup(t, c, "__vdso_clock_getres"), lookup(t, c, "__vdso_getcpu"),
	}
	for _, f := range []*byte{u.gettime, u.gettimeofday, u.time, u.getres, u.getcpu} {
		if f == nil {
			t.Fatal("a function is missing")
		}
	}
	return u
}

func (u user) clock(id int32) int64 {
	var ts unix.Timespec
	if r := callC(u.gettime, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0); r != 0 {
		return int64(r)
	}
	return ts.Nano()
}

func TestFunctionsAgreeWithTheClock(t *testing.T) {
	c := newTestClock(t)
	u := newUser(t, c)
	if c.page.mode.Load() == 0 && c.Monotonic() == 0 {
		t.Fatal("no time")
	}
	if c.page.mode.Load() == 0 {
		t.Skip("the counter of this machine is no clock")
	}
	for id := int32(0); id < numClocks; id++ {
		if !IsUserClock(id) {
			continue
		}
		c.Now(id) // fresh parameters: the functions need not ask the host
		before := c.Now(id)
		got := u.clock(id)
		after := c.Now(id)
		if got < before || got > after {
			t.Errorf("clock %d: %d not in [%d, %d]", id, got, before, after)
		}
		var res unix.Timespec
		want := int64(1)
		if id == unix.CLOCK_REALTIME_COARSE || id == unix.CLOCK_MONOTONIC_COARSE {
			want = CoarseResolution
		}
		if r := callC(u.getres, uintptr(id), uintptr(unsafe.Pointer(&res)), 0); r != 0 || res.Nano() != want {
			t.Errorf("clock_getres(%d) = %d, %v", id, r, res)
		}
		if r := callC(u.getres, uintptr(id), 0, 0); r != 0 {
			t.Errorf("clock_getres(%d, NULL) = %d", id, r)
		}
	}
	var tv unix.Timeval
	zone := [2]int32{7, 7}
	before := c.Realtime() / 1000
	callC(u.gettimeofday, uintptr(unsafe.Pointer(&tv)), uintptr(unsafe.Pointer(&zone)), 0)
	got := tv.Sec*1e6 + tv.Usec
	if after := c.Realtime() / 1000; got < before || got > after || zone != [2]int32{} {
		t.Errorf("gettimeofday %d not in [%d, %d], zone %v", got, before, after, zone)
	}
	var sec int64
	if r := callC(u.time, uintptr(unsafe.Pointer(&sec)), 0, 0); int64(r) != sec || sec < before/1e6 || sec > before/1e6+2 {
		t.Errorf("time = %d, stored %d", r, sec)
	}
	var cpu, node uint32 = 99, 99
	if r := callC(u.getcpu, uintptr(unsafe.Pointer(&cpu)), uintptr(unsafe.Pointer(&node)), 0); r != 0 || cpu > 1 || node != 0 {
		t.Errorf("getcpu = %d, cpu %d node %d", r, cpu, node)
	}
	// Clocks of others go to the kernel, here the host's.
	if ns := u.clock(unix.CLOCK_PROCESS_CPUTIME_ID); ns <= 0 {
		t.Errorf("CPU time %d", ns)
	}
}

func TestTimeStaysCloseToTheHost(t *testing.T) {
	c := newTestClock(t)
	var worst int64
	for range 200 {
		var ts unix.Timespec
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
		low := ts.Nano()
		got := c.Monotonic()
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
		if got < low {
			worst = max(worst, low-got)
		} else if got > ts.Nano() {
			worst = max(worst, got-ts.Nano())
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	}
	if worst > 100_000 {
		t.Errorf("%d ns from the host's clock", worst)
	}
	t.Logf("at most %d ns from the host's clock; life of a line %d ns", worst, scale(c.page.valid.Load(), c.page.mult.Load()))
}

func TestTimeNeverGoesBack(t *testing.T) {
	c := newTestClock(t)
	u := newUser(t, c)
	c.Monotonic()
	if c.page.mode.Load() == 0 {
		t.Skip("the counter of this machine is no clock")
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			last := int64(0)
			for i := range 200_000 {
				var now int64
				if i%2 == 0 && c.page.valid.Load() > 1<<20 {
					now = c.Monotonic()
				} else {
					now = c.Now(unix.CLOCK_MONOTONIC)
				}
				if now < last {
					t.Errorf("%d after %d", now, last)
					return
				}
				last = now
				if i%1000 == 0 {
					c.mu.Lock()
					c.refresh()
					c.mu.Unlock()
					now = u.clock(unix.CLOCK_MONOTONIC)
					if now < last {
						t.Errorf("application: %d after %d", now, last)
						return
					}
					last = now
				}
			}
		})
	}
	wg.Wait()
}

// fakeSource is a host whose clocks the test drives.
type fakeSource struct {
	tsc       uint64
	mono      float64
	real      int64
	rate      float64 // nanoseconds per cycle
	step      uint64  // cycles that pass with each look
	realShift int64
}

func (f *fakeSource) advance(cycles uint64) {
	f.tsc += cycles
	f.mono += float64(cycles) * f.rate
}

func (f *fakeSource) TSC() uint64      { f.advance(f.step); return f.tsc }
func (f *fakeSource) Monotonic() int64 { f.advance(f.step); return int64(f.mono) }
func (f *fakeSource) Realtime() int64  { f.advance(f.step); return int64(f.mono) + f.realShift }

func TestSlewsThroughRateChangesOfTheHost(t *testing.T) {
	src := &fakeSource{tsc: 1 << 40, mono: 5e9, rate: 0.4, step: 30, realShift: 1e18}
	c := &Clock{}
	if err := c.init(src, true); err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	rng := rand.New(rand.NewPCG(1, 2))
	last := int64(0)
	var worst int64
	for i := range 20_000 {
		if i%500 == 499 {
			src.rate = 0.4 * (1 + (rng.Float64()-0.5)*100e-6) // NTP at work: ±50 ppm
		}
		src.advance(rng.Uint64N(20_000_000)) // up to 8 ms
		now := c.Monotonic()
		if now < last {
			t.Fatalf("step %d: %d after %d", i, now, last)
		}
		last = now
		d := now - int64(src.mono)
		worst = max(worst, d, -d)
		if r := c.Realtime() - c.Monotonic(); r < 1e18-1000 || r > 1e18+1000 {
			t.Fatalf("realtime - monotonic = %d", r)
		}
	}
	if !c.usable || worst > 50_000 {
		t.Errorf("usable %v, %d ns from the host", c.usable, worst)
	}
	t.Logf("at most %d ns from the host", worst)
}

func TestSettingTheHostsClockIsSeen(t *testing.T) {
	src := &fakeSource{tsc: 1 << 40, mono: 5e9, rate: 0.4, step: 30, realShift: 1e18}
	c := &Clock{}
	if err := c.init(src, true); err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	c.Realtime()
	src.realShift -= 3600e9
	src.advance(2e9)
	if d := c.Realtime() - c.Monotonic() - (1e18 - 3600e9); d < -1000 || d > 1000 {
		t.Errorf("an hour back: off by %d ns", d)
	}
}

func TestACounterThatIsNoClockIsGivenUp(t *testing.T) {
	src := &fakeSource{tsc: 1 << 40, mono: 5e9, rate: 0.4, step: 30}
	c := &Clock{}
	if err := c.init(src, true); err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	last := int64(0)
	for i := range 100 {
		src.rate = 0.2 + 0.2*float64(i%3)
		src.advance(1e9)
		now := c.Monotonic()
		if now < last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
	if c.usable || c.page.mode.Load() != 0 {
		t.Error("the counter is still in use")
	}
	if d := c.Monotonic() - int64(src.mono); d < 0 || d > 1e6 {
		t.Errorf("%d ns from the host's clock", d)
	}
}

func TestMonotonicGoesOnAfterRestore(t *testing.T) {
	c := newTestClock(t)
	c.BeforeSave()
	saved := c.savedMono
	c.savedMono += 1000e9
	saved += 1000e9
	c.Release()
	if err := c.AfterLoad(); err != nil {
		t.Fatal(err)
	}
	if d := c.Monotonic() - saved; d < 0 || d > 10e9 {
		t.Errorf("monotonic is %d ns after the checkpoint", d)
	}
}

func TestTranslateRefusesWrites(t *testing.T) {
	im := newTestClock(t).Image()
	r := memmap.Range{End: VVarSize}
	if _, err := im.Translate(r, r, memmap.Write, nil); err == nil {
		t.Error("writable")
	}
	tr, err := im.Translate(r, memmap.Range{End: 1 << 40}, memmap.Read, nil)
	if err != nil || len(tr) != 1 || tr[0].Perms.Write || tr[0].Source.End != VVarSize+im.ELFSize() {
		t.Errorf("%v %v", tr, err)
	}
	if _, err := im.Translate(memmap.Range{End: 1 << 40}, memmap.Range{End: 1 << 40}, memmap.Read, nil); err == nil {
		t.Error("beyond the end")
	}
}

func TestSecondsConstant(t *testing.T) {
	// The division by 10^9 of the text is checked here over its whole range.
	c := newTestClock(t)
	u := newUser(t, c)
	rng := rand.New(rand.NewPCG(3, 4))
	page := (*params)(unsafe.Pointer(&c.image.mem[0]))
	for i := range 100_000 {
		ns := int64(rng.Uint64() >> (1 + i%40))
		if i < 1000 {
			ns = int64(i/3)*1e9 + int64(i%3) - 1 + 1e9
		}
		page.mode.Store(1)
		page.tscBase.Store(rdtsc() + 1<<50) // in the future: no time passes
		page.valid.Store(1)
		page.monoBase.Store(ns)
		var ts unix.Timespec
		callC(u.gettime, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ts)), 0)
		if ts.Sec != ns/1e9 || ts.Nsec != ns%1e9 {
			t.Fatalf("%d: %v", ns, ts)
		}
		var tv unix.Timeval
		callC(u.gettimeofday, uintptr(unsafe.Pointer(&tv)), 0, 0)
		if tv.Sec != ns/1e9 || tv.Usec != ns%1e9/1000 {
			t.Fatalf("%d: %v", ns, tv)
		}
	}
}

func BenchmarkMonotonic(b *testing.B) {
	c := newTestClock(b)
	b.ReportAllocs()
	for b.Loop() {
		c.Monotonic()
	}
}

func BenchmarkApplicationClockGettime(b *testing.B) {
	c := newTestClock(b)
	u := newUser(b, c)
	c.Monotonic()
	c.page.valid.Store(1 << 60)
	b.ReportAllocs()
	for b.Loop() {
		u.clock(unix.CLOCK_MONOTONIC)
	}
}

// callC calls a function of the image: by a thunk that moves the arguments from where Go
// has them to where C has them. It is a variable so that a call runs no Go code that could
// move the stack which arguments point to.
var callC = func() func(fn *byte, a, b, c uintptr) uintptr {
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	copy(code, []byte{
		0x48, 0x89, 0xfa, // mov %rdi, %rdx
		0x48, 0x89, 0xdf, // mov %rbx, %rdi
		0x48, 0x89, 0xce, // mov %rcx, %rsi
		0xff, 0xe0, // jmp *%rax
	})
	closure := &struct{ code *byte }{&code[0]}
	return *(*func(fn *byte, a, b, c uintptr) uintptr)(unsafe.Pointer(&closure))
}()
