package epoll

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/eventfd"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var bg = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// source is a file whose readiness the test sets.
type source struct {
	vfs.FileDefaults
	waiter.Queue
	state atomic.Uint32
}

func (s *source) Readiness(mask waiter.EventMask) waiter.EventMask {
	return mask & waiter.EventMask(s.state.Load())
}
func (s *source) set(m waiter.EventMask) { s.state.Store(uint32(m)); s.Notify(m) }

func newSource() (*source, *vfs.FileDescription) {
	s := &source{}
	return s, vfs.NewAnonFile("[test]", s, unix.O_RDWR)
}

func collect(ep *EventPoll, max int) []Event {
	b := make([]Event, max)
	return b[:ep.Collect(b)]
}

func TestTriggers(t *testing.T) {
	for _, test := range []struct {
		name   string
		flags  uint32
		second int // events at the second look without news
		third  int // events after another notification
	}{
		{"level", 0, 1, 1},
		{"edge", unix.EPOLLET, 0, 1},
		{"one shot", unix.EPOLLONESHOT, 0, 0},
		{"edge, one shot", unix.EPOLLET | unix.EPOLLONESHOT, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			ep := New()
			s, f := newSource()
			if err := ep.Add(3, f, Event{unix.EPOLLIN | test.flags, 77}); err != nil {
				t.Fatal(err)
			}
			if len(collect(ep, 9)) != 0 {
				t.Error("ready too early")
			}
			s.set(waiter.EventIn | waiter.EventOut)
			if ev := collect(ep, 9); len(ev) != 1 || ev[0] != (Event{unix.EPOLLIN, 77}) {
				t.Errorf("first: %v", ev)
			}
			if ev := collect(ep, 9); len(ev) != test.second {
				t.Errorf("second: %v", ev)
			}
			s.set(waiter.EventIn)
			if ev := collect(ep, 9); len(ev) != test.third {
				t.Errorf("third: %v", ev)
			}
			if err := ep.Modify(3, f, Event{unix.EPOLLIN | test.flags, 78}); err != nil {
				t.Fatal(err)
			}
			if ev := collect(ep, 9); len(ev) != 1 || ev[0].Data != 78 {
				t.Errorf("after Modify: %v", ev)
			}
			s.set(waiter.EventHUp)
			if ev := collect(ep, 9); test.flags&unix.EPOLLONESHOT == 0 && (len(ev) != 1 || ev[0].Events != unix.EPOLLHUP) {
				t.Errorf("hang-up: %v", ev)
			}
			s.set(0)
			if ep.Readiness(waiter.EventIn) != 0 {
				t.Error("still ready")
			}
		})
	}
}

func TestRoundRobin(t *testing.T) {
	ep := New()
	var files []*vfs.FileDescription
	for i := range 5 {
		s, f := newSource()
		s.set(waiter.EventIn)
		ep.Add(int32(i), f, Event{unix.EPOLLIN, uint64(i)})
		files = append(files, f)
	}
	seen := map[uint64]int{}
	for range 5 {
		for _, e := range collect(ep, 2) {
			seen[e.Data]++
		}
	}
	for i := range uint64(5) {
		if seen[i] != 2 {
			t.Errorf("not fair: %v", seen)
			break
		}
	}
	if n := len(collect(ep, 100)); n != 5 {
		t.Errorf("one look reports %d events", n)
	}
	ep.Delete(2, files[2])
	if n := len(collect(ep, 100)); n != 4 {
		t.Errorf("after Delete: %d events", n)
	}
}

func TestControlErrors(t *testing.T) {
	ep := New()
	_, f := newSource()
	epf := vfs.NewAnonFile("[eventpoll]", ep, unix.O_RDWR)
	other := vfs.NewAnonFile("[eventpoll]", New(), unix.O_RDWR)
	in := Event{Events: unix.EPOLLIN}
	excl := Event{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE}
	for i, test := range []struct{ got, want error }{
		{ep.Modify(1, f, in), unix.ENOENT},
		{ep.Delete(1, f), unix.ENOENT},
		{ep.Add(1, f, in), nil},
		{ep.Add(1, f, in), unix.EEXIST},
		{ep.Add(2, f, excl), nil},
		{ep.Modify(2, f, in), unix.EINVAL},
		{ep.Modify(1, f, excl), unix.EINVAL},
		{ep.Add(3, f, Event{Events: unix.EPOLLIN | unix.EPOLLONESHOT | unix.EPOLLEXCLUSIVE}), unix.EINVAL},
		{ep.Add(4, epf, in), unix.EINVAL},
		{ep.Add(5, other, excl), unix.EINVAL},
		{ep.Add(5, other, in), nil},
	} {
		if test.got != test.want {
			t.Errorf("step %d: %v, want %v", i, test.got, test.want)
		}
	}
}

func TestNesting(t *testing.T) {
	for _, upwards := range []bool{true, false} {
		var files []*vfs.FileDescription
		for range 7 {
			files = append(files, vfs.NewAnonFile("[eventpoll]", New(), unix.O_RDWR))
		}
		ep := func(i int) *EventPoll { return files[i].File().(*EventPoll) }
		in := Event{Events: unix.EPOLLIN}
		for n := range 5 {
			i := n + 1
			if !upwards {
				i = 5 - n
			}
			err := ep(i).Add(9, files[i-1], in)
			if want := n == 4; (err == unix.ELOOP) != want {
				t.Errorf("upwards %v: link %d: %v", upwards, n, err)
			}
		}
	}
	a, b := New(), New()
	af, bf := vfs.NewAnonFile("[eventpoll]", a, unix.O_RDWR), vfs.NewAnonFile("[eventpoll]", b, unix.O_RDWR)
	s, f := newSource()
	a.Add(1, f, Event{Events: unix.EPOLLIN, Data: 1})
	b.Add(2, af, Event{Events: unix.EPOLLIN, Data: 2})
	if err := a.Add(3, bf, Event{Events: unix.EPOLLIN}); err != unix.ELOOP {
		t.Errorf("circle: %v", err)
	}
	s.set(waiter.EventIn)
	if ev := collect(b, 9); len(ev) != 1 || ev[0].Data != 2 {
		t.Errorf("outer: %v", ev)
	}
	collect(a, 9)
	s.set(0)
	if ev := collect(b, 9); len(ev) != 0 {
		t.Errorf("outer still ready: %v", ev)
	}
	b.Delete(2, af)
	if err := a.Add(3, bf, Event{Events: unix.EPOLLIN}); err != nil {
		t.Errorf("after the link was cut: %v", err)
	}
}

// TestLevelTriggeredItemsAreNoNewEdge: that an inner instance still has something after a
// look at it is no event for an edge-triggered outer one.
func TestLevelTriggeredItemsAreNoNewEdge(t *testing.T) {
	inner, outer := New(), New()
	innerFile := vfs.NewAnonFile("[eventpoll]", inner, unix.O_RDWR)
	s, f := newSource()
	inner.Add(1, f, Event{Events: unix.EPOLLIN})
	outer.Add(2, innerFile, Event{Events: unix.EPOLLIN | unix.EPOLLET})
	s.set(waiter.EventIn)
	if len(collect(outer, 9)) != 1 || len(collect(inner, 9)) != 1 {
		t.Fatal("no event")
	}
	if ev := collect(outer, 9); len(ev) != 0 {
		t.Errorf("another edge: %v", ev)
	}
}

func TestClosedFilesDisappear(t *testing.T) {
	ep := New()
	s, f := newSource()
	ep.Add(3, f, Event{Events: unix.EPOLLIN})
	s.set(waiter.EventIn)
	f.DecRef(bg)
	if ev := collect(ep, 9); len(ev) != 0 {
		t.Errorf("event of a closed file: %v", ev)
	}
	if len(ep.items) != 0 {
		t.Error("the item is still there")
	}
	for i := range 10000 {
		_, f := newSource()
		if err := ep.Add(int32(i), f, Event{Events: unix.EPOLLIN}); err != nil {
			t.Fatal(err)
		}
		f.DecRef(bg)
	}
	if len(ep.items) > 2*minSweep {
		t.Errorf("%d dead items", len(ep.items))
	}
}

// task is a Context that can block.
type task struct {
	context.Background
	wake chan struct{}
}

func newTask() *task { return &task{Background: *bg, wake: make(chan struct{}, 1)} }

func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
func (t *task) Block() error { <-t.wake; return nil }
func (t *task) BlockUntil(deadline int64) error {
	select {
	case <-t.wake:
		return nil
	case <-time.After(time.Duration(deadline - t.Monotonic())):
		return unix.ETIMEDOUT
	}
}

func TestWaitTimesOut(t *testing.T) {
	ep := New()
	tk := newTask()
	if n, err := ep.Wait(tk, make([]Event, 1), tk.Monotonic()+1e6); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := ep.Wait(bg, make([]Event, 1), NoDeadline); n != 0 || err != unix.EINTR {
		t.Errorf("interrupted: %d, %v", n, err)
	}
}

// TestNoLostEvents has several threads that wait for one event at a time while others make
// counters ready: every count must arrive.
func TestNoLostEvents(t *testing.T) {
	for _, flags := range []uint32{unix.EPOLLET, 0, unix.EPOLLONESHOT} {
		ep := New()
		const files, rounds = 8, 2000
		fds := make([]*vfs.FileDescription, files)
		for i := range fds {
			fds[i] = eventfd.NewFile(0, 0)
			ep.Add(int32(i), fds[i], Event{unix.EPOLLIN | flags, uint64(i)})
		}
		var got atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				tk := newTask()
				b := make([]byte, 8)
				for got.Load() < files*rounds {
					var ev [1]Event
					n, err := ep.Wait(tk, ev[:], tk.Monotonic()+20e6)
					if err != nil {
						t.Error(err)
						return
					}
					if n == 0 {
						continue
					}
					f := fds[ev[0].Data]
					clear(b)
					if _, err := f.Read(tk, usermem.BytesSequence(b)); err == nil {
						got.Add(int64(b[0]) + int64(b[1])<<8 + int64(b[2])<<16)
					}
					if flags == unix.EPOLLONESHOT {
						ep.Modify(int32(ev[0].Data), f, Event{unix.EPOLLIN | flags, ev[0].Data})
					}
				}
			}()
		}
		for i := range files {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range rounds {
					fds[i].File().(*eventfd.EventFD).Signal(1)
				}
			}()
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatalf("flags %#x: only %d of %d events arrived", flags, got.Load(), files*rounds)
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	ep := New()
	var first *source
	for i := range 1000 {
		s, f := newSource()
		ep.Add(int32(i), f, Event{unix.EPOLLIN | unix.EPOLLET, uint64(i)})
		if i == 500 {
			first = s
		}
	}
	buf := make([]Event, 16)
	b.ReportAllocs()
	for range b.N {
		first.set(waiter.EventIn)
		if ep.Collect(buf) != 1 {
			b.Fatal("no event")
		}
	}
}
