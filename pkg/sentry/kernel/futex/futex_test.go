package futex

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeMem is memory of 64 KiB at address 0x1000.
type fakeMem struct{ words [16384]uint32 }

const base = 0x1000

func (m *fakeMem) at(addr uintptr) (*uint32, error) {
	if addr < base || addr >= base+65536 {
		return nil, unix.EFAULT
	}
	return &m.words[(addr-base)/4], nil
}

func (m *fakeMem) FutexKey(addr uintptr, _ bool) (Key, error) {
	if _, err := m.at(addr); err != nil {
		return Key{}, err
	}
	return Key{m, uint64(addr)}, nil
}

func (m *fakeMem) LoadUint32(addr uintptr) (uint32, error) {
	p, err := m.at(addr)
	if err != nil {
		return 0, err
	}
	return atomic.LoadUint32(p), nil
}

func (m *fakeMem) CompareAndSwapUint32(addr uintptr, old, new uint32) (uint32, error) {
	p, err := m.at(addr)
	if err != nil {
		return 0, err
	}
	for {
		if atomic.CompareAndSwapUint32(p, old, new) {
			return old, nil
		}
		if v := atomic.LoadUint32(p); v != old {
			return v, nil
		}
	}
}

func (m *fakeMem) CopyIn(addr uintptr, dst []byte) (int, error) {
	for i := 0; i < len(dst); i += 4 {
		v, err := m.LoadUint32(addr + uintptr(i))
		if err != nil {
			return i, err
		}
		binary.LittleEndian.PutUint32(dst[i:], v)
	}
	return len(dst), nil
}

func (m *fakeMem) set(addr uintptr, v uint64) {
	m.words[(addr-base)/4] = uint32(v)
	m.words[(addr-base)/4+1] = uint32(v >> 32)
}

// task is a Waker that counts.
type task struct {
	tid   uint32
	woken atomic.Int32
	c     chan struct{}
}

func (t *task) Wake() {
	t.woken.Add(1)
	if t.c != nil {
		select {
		case t.c <- struct{}{}:
		default:
		}
	}
}

type tasks map[uint32]*task

func (ts tasks) FutexOwner(tid uint32) Waker {
	if t := ts[tid]; t != nil {
		return t
	}
	return nil
}

func wait(t *testing.T, tab *Table, m *fakeMem, addr uintptr, mask uint32) *Waiter {
	t.Helper()
	w := &Waiter{Waker: &task{}}
	v, _ := m.LoadUint32(addr)
	if err := tab.Wait(w, m, addr, false, v, mask); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWakeHonoursOrderMaskAndCount(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	a, b, c := wait(t, tab, m, base, 0b01), wait(t, tab, m, base, 0b10), wait(t, tab, m, base, 0b01)
	if n, err := tab.Wake(m, base, false, 0b01, 1); n != 1 || err != nil || !a.Done() || b.Done() || c.Done() {
		t.Fatalf("Wake(mask 01, 1) = %d, %v; done %v %v %v", n, err, a.Done(), b.Done(), c.Done())
	}
	if n, _ := tab.Wake(m, base, false, MatchAny, 100); n != 2 || !b.Done() || !c.Done() {
		t.Fatalf("Wake(any, 100) = %d", n)
	}
	if n, _ := tab.Wake(m, base, false, MatchAny, 100); n != 0 {
		t.Fatalf("Wake of nobody = %d", n)
	}
}

func TestWaitErrors(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	w := &Waiter{Waker: &task{}}
	for _, c := range []struct {
		addr      uintptr
		val, mask uint32
		want      error
	}{
		{base, 1, MatchAny, unix.EAGAIN},
		{base + 1, 0, MatchAny, unix.EINVAL},
		{base, 0, 0, unix.EINVAL},
		{0, 0, MatchAny, unix.EFAULT},
	} {
		if err := tab.Wait(w, m, c.addr, false, c.val, c.mask); err != c.want {
			t.Errorf("Wait(%x, %d, %x) = %v, want %v", c.addr, c.val, c.mask, err, c.want)
		}
	}
	w = wait(t, tab, m, base, MatchAny)
	if tab.Finish(w) {
		t.Error("Finish says woken")
	}
	if n, _ := tab.Wake(m, base, false, MatchAny, 1); n != 0 {
		t.Error("a finished waiter was woken")
	}
}

func TestRequeue(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	var ws []*Waiter
	for i := 0; i < 5; i++ {
		ws = append(ws, wait(t, tab, m, base, MatchAny))
	}
	wrong := uint32(9)
	if _, err := tab.Requeue(m, base, base+64, false, 1, 2, &wrong); err != unix.EAGAIN {
		t.Fatalf("Requeue with a wrong value: %v", err)
	}
	right := uint32(0)
	if n, err := tab.Requeue(m, base, base+64, false, 1, 2, &right); n != 3 || err != nil {
		t.Fatalf("Requeue = %d, %v", n, err)
	}
	if n, _ := tab.Wake(m, base+64, false, MatchAny, 10); n != 2 || !ws[1].Done() || !ws[2].Done() || ws[3].Done() {
		t.Fatalf("%d waiters were moved", n)
	}
	if tab.Finish(ws[3]) || tab.Finish(ws[4]) {
		t.Error("the others were woken")
	}
}

func TestWakeOp(t *testing.T) {
	op := func(o, arg, cmp, cmparg uint32) uint32 { return o<<28 | cmp<<24 | arg&0xfff<<12 | cmparg&0xfff }
	for _, c := range []struct {
		op, old, new uint32
		n            int
	}{
		{op(opSet, 7, cmpEq, 1), 1, 7, 2},
		{op(opAdd, 7, cmpNe, 1), 1, 8, 1},
		{op(opOr, 6, cmpLt, 2), 1, 7, 2},
		{op(opAndn, 1, cmpGe, 2), 3, 2, 2},
		{op(opXor, 3, cmpGt, 0xfff), 1, 2, 2}, // compares with -1
		{op(opOr|opArgShift, 5, cmpLe, 0), 1, 33, 1},
		{op(opAdd, 0xfff, cmpEq, 0), 0, 0xffffffff, 2},
	} {
		tab, m := NewTable(), &fakeMem{}
		wait(t, tab, m, base, MatchAny)
		wait(t, tab, m, base+4, MatchAny)
		m.words[1] = c.old
		n, err := tab.WakeOp(m, base, base+4, false, 1, 1, c.op)
		if n != c.n || err != nil || m.words[1] != c.new {
			t.Errorf("WakeOp(%x) on %d = %d, %v, word %d; want %d, word %d", c.op, c.old, n, err, m.words[1], c.n, c.new)
		}
	}
	if _, err := NewTable().WakeOp(&fakeMem{}, base, base+4, false, 1, 1, op(6, 0, 0, 0)); err != unix.ENOSYS {
		t.Errorf("unknown operation: %v", err)
	}
}

func TestWaitMultiple(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	tk := &task{}
	ws := []*Waiter{{Waker: tk}, {Waker: tk}, {Waker: tk}}
	specs := []WaitSpec{{Addr: base}, {Addr: base + 4}, {Addr: base + 8}}
	if _, done, err := tab.WaitMultiple(ws, m, specs); done || err != nil {
		t.Fatalf("WaitMultiple: %v, %v", done, err)
	}
	tab.Wake(m, base+4, false, MatchAny, 1)
	if i := tab.FinishMultiple(ws); i != 1 || tk.woken.Load() != 1 {
		t.Errorf("FinishMultiple = %d, woken %d times", i, tk.woken.Load())
	}
	specs[2].Val = 5
	if _, _, err := tab.WaitMultiple(ws, m, specs); err != unix.EAGAIN || !ws[0].Done() {
		t.Errorf("WaitMultiple with a wrong value: %v", err)
	}
}

func TestPILockPassesInOrder(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	a, b, c := &task{tid: 1}, &task{tid: 2}, &task{tid: 3}
	ts := tasks{1: a, 2: b, 3: c}
	lock := func(tk *task, try bool) (*Waiter, bool, error) {
		w := &Waiter{Waker: tk}
		taken, err := tab.LockPI(w, m, base, false, tk.tid, try, ts)
		return w, taken, err
	}
	if _, taken, err := lock(a, false); !taken || err != nil || m.words[0] != 1 {
		t.Fatalf("uncontended LockPI: %v, %v, word %x", taken, err, m.words[0])
	}
	if _, _, err := lock(a, false); err != unix.EDEADLK {
		t.Errorf("locking twice: %v", err)
	}
	if _, _, err := lock(b, true); err != unix.EAGAIN {
		t.Errorf("trylock: %v", err)
	}
	wb, _, _ := lock(b, false)
	wc, _, _ := lock(c, false)
	if m.words[0] != 1|Waiters {
		t.Fatalf("word %x with waiters", m.words[0])
	}
	if _, err := tab.Wake(m, base, false, MatchAny, 1); err != unix.EINVAL {
		t.Errorf("plain wake of a PI lock: %v", err)
	}
	if err := tab.UnlockPI(m, base, false, 2); err != unix.EPERM {
		t.Errorf("unlock by another: %v", err)
	}
	if err := tab.UnlockPI(m, base, false, 1); err != nil || !wb.Done() || !wb.Acquired() || wc.Done() {
		t.Fatalf("UnlockPI: %v", err)
	}
	if m.words[0] != 2|Waiters {
		t.Errorf("word %x after hand-over", m.words[0])
	}
	// b dies with the lock.
	delete(ts, 2)
	tab.OwnerDied(b, 2)
	if !wc.Done() || !wc.Acquired() || m.words[0] != 3|OwnerDied {
		t.Errorf("word %x after the owner died", m.words[0])
	}
	if err := tab.UnlockPI(m, base, false, 3); err != nil || m.words[0] != 0 {
		t.Errorf("last unlock: %v, word %x", err, m.words[0])
	}
	m.words[0] = 77
	if _, _, err := lock(a, false); err != unix.ESRCH {
		t.Errorf("lock held by nobody: %v", err)
	}
	if n := tab.piWaiters.Load(); n != 0 {
		t.Errorf("%d PI waiters are counted", n)
	}
}

func TestRequeuePI(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	a, b, c := &task{tid: 1}, &task{tid: 2}, &task{tid: 3}
	ts := tasks{1: a, 2: b, 3: c}
	const cond, lock = base, base + 4
	wb, wc := &Waiter{Waker: b}, &Waiter{Waker: c}
	for _, w := range []*Waiter{wb, wc} {
		if err := tab.WaitRequeuePI(w, m, cond, false, 0, MatchAny, lock, w.Waker.(*task).tid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tab.Wake(m, cond, false, MatchAny, 1); err != unix.EINVAL {
		t.Errorf("plain wake: %v", err)
	}
	if n, err := tab.RequeuePI(m, cond, lock, false, 1, 10, 0, ts); n != 2 || err != nil {
		t.Fatalf("RequeuePI = %d, %v", n, err)
	}
	if !wb.Done() || !wb.Acquired() || wc.Done() || m.words[1] != 2|Waiters {
		t.Fatalf("word %x after requeue", m.words[1])
	}
	if err := tab.UnlockPI(m, lock, false, 2); err != nil || !wc.Acquired() || m.words[1] != 3 {
		t.Errorf("unlock: %v, word %x", err, m.words[1])
	}
}

func TestRobustList(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	const head, e1, e2, off = base + 0x100, base + 0x200, base + 0x300, 16
	m.set(head, e1)
	m.set(head+8, off)
	m.set(head+16, 0)
	m.set(e1, e2)
	m.set(e2, head)
	m.words[(e1+off-base)/4] = 7 | Waiters
	m.words[(e2+off-base)/4] = 8 // held by another
	w := wait(t, tab, m, e1+off, MatchAny)
	tab.ExitRobustList(m, head, 7)
	if !w.Done() || m.words[(e1+off-base)/4] != Waiters|OwnerDied || m.words[(e2+off-base)/4] != 8 {
		t.Errorf("words %x, %x", m.words[(e1+off-base)/4], m.words[(e2+off-base)/4])
	}
	// A circle, and pointers to nowhere, end.
	m.set(e2, e1)
	tab.ExitRobustList(m, head, 7)
	m.set(e1, 0xdead0000)
	tab.ExitRobustList(m, head, 7)
}

// TestMutex runs a futex mutex under contention: a lost wake-up hangs it.
func TestMutex(t *testing.T) {
	tab, m := NewTable(), &fakeMem{}
	counter := 0
	var wg sync.WaitGroup
	for g := 0; g < 4; g++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tk := &task{c: make(chan struct{}, 1)}
			w := &Waiter{Waker: tk}
			for i := 0; i < 2000; i++ {
				for v, _ := m.CompareAndSwapUint32(base, 0, 1); v != 0; {
					if v == 2 || func() bool { x, _ := m.CompareAndSwapUint32(base, 1, 2); return x != 0 }() {
						if tab.Wait(w, m, base, false, 2, MatchAny) == nil {
							for !w.Done() {
								<-tk.c
							}
							tab.Finish(w)
						}
					}
					v, _ = m.CompareAndSwapUint32(base, 0, 2)
				}
				counter++
				if atomic.SwapUint32(&m.words[0], 0) == 2 {
					tab.Wake(m, base, false, MatchAny, 1)
				}
			}
		}()
	}
	wg.Wait()
	if counter != 8000 {
		t.Errorf("counter %d", counter)
	}
}

func BenchmarkWaitWake(b *testing.B) {
	tab, m := NewTable(), &fakeMem{}
	w := &Waiter{Waker: &task{}}
	b.ReportAllocs()
	for b.Loop() {
		tab.Wait(w, m, base, false, 0, MatchAny)
		tab.Wake(m, base, false, MatchAny, 1)
	}
}

func BenchmarkWakeNobody(b *testing.B) {
	tab, m := NewTable(), &fakeMem{}
	b.ReportAllocs()
	for b.Loop() {
		tab.Wake(m, base, false, MatchAny, 1)
	}
}

// countedTasks notes whether the locker was counted when it asked for the owner: an owner that
// leaves after the question looks at the count to see whether anyone may wait for it.
type countedTasks struct {
	tasks
	tab     *Table
	counted bool
}

func (c *countedTasks) FutexOwner(tid uint32) Waker {
	c.counted = c.tab.piWaiters.Load() > 0
	return c.tasks.FutexOwner(tid)
}

func TestLockerIsCountedBeforeItAsksForTheOwner(t *testing.T) {
	owner, locker := &task{tid: 1}, &task{tid: 2}
	for _, alive := range []bool{true, false} {
		tab, m := NewTable(), &fakeMem{}
		m.words[0] = 1
		ts := &countedTasks{tasks: tasks{2: locker}, tab: tab}
		wantErr, wantCount := error(unix.ESRCH), int64(0)
		if alive {
			ts.tasks[1] = owner
			wantErr, wantCount = nil, 1
		}
		if _, err := tab.LockPI(&Waiter{Waker: locker}, m, base, false, 2, false, ts); err != wantErr || !ts.counted {
			t.Errorf("owner alive %v: LockPI: %v; counted: %v", alive, err, ts.counted)
		}
		if n := tab.piWaiters.Load(); n != wantCount {
			t.Errorf("owner alive %v: %d waiters are counted", alive, n)
		}
	}
}
