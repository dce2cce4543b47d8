package mm

import (
	"sync"
	"sync/atomic"

	"runsc/pkg/sentry/usermem"
)

// inflight lets I/O use pages without a lock. A read(2) that waits for a disk must not stop
// the page faults and mmaps of other threads; yet its pages may not be freed under it, nor
// become shared by a fork that the data then misses.
//
// I/O counts itself in, with activeMu held for reading, before it lets go of that lock, and
// out when it is done. References that a change drops after it removed pages wait until all
// I/O that began before the removal is over. Time is cut into epochs for that: I/O of an
// epoch can only hold pages that were removed in this epoch or later. When nobody of the
// last epoch is left, what was removed in it is dropped and the next epoch begins.
//
// I/O that fills memory also lists its addresses. Fork, which holds activeMu for writing,
// gives the child copies of those pages instead of sharing them.
type inflight struct {
	epoch atomic.Uint32
	count [2]atomic.Int64 // running I/O by the parity of the epoch in which it began

	mu      sync.Mutex      // guards the fields below; a leaf
	dropped [2][]droppedRef // by the epoch of the removal
	pending atomic.Bool     // dropped holds something
	fills   *ticket         // I/O that fills memory
}

// ticket is one running I/O.
type ticket struct {
	epoch      uint32
	ar         usermem.AddrRange
	fills      bool // on the list
	prev, next *ticket
}

// begin counts an I/O on ar in. activeMu is held for reading.
func (f *inflight) begin(t *ticket, ar usermem.AddrRange, fills bool) {
	for {
		t.epoch = f.epoch.Load()
		f.count[t.epoch&1].Add(1)
		if f.epoch.Load() == t.epoch {
			break
		}
		f.leave(t) // the epoch ended meanwhile
	}
	t.ar, t.fills = ar, fills
	if fills {
		f.mu.Lock()
		t.prev, t.next = nil, f.fills
		if f.fills != nil {
			f.fills.prev = t
		}
		f.fills = t
		f.mu.Unlock()
	}
}

// end counts it out.
func (f *inflight) end(t *ticket) {
	if t.fills {
		f.mu.Lock()
		if t.prev != nil {
			t.prev.next = t.next
		} else {
			f.fills = t.next
		}
		if t.next != nil {
			t.next.prev = t.prev
		}
		f.mu.Unlock()
		t.prev, t.next = nil, nil
	}
	f.leave(t)
}

func (f *inflight) leave(t *ticket) {
	if f.count[t.epoch&1].Add(-1) == 0 && f.pending.Load() {
		f.settle()
	}
}

// running says whether any I/O is under way.
func (f *inflight) running() bool { return f.count[0].Load() != 0 || f.count[1].Load() != 0 }

// filling appends the ranges that running I/O fills to l.
func (f *inflight) filling(l []usermem.AddrRange) []usermem.AddrRange {
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := f.fills; t != nil; t = t.next {
		l = append(l, t.ar)
	}
	return l
}

// drop lets go of refs, now or when the I/O that may use them is over. No lock is held.
func (f *inflight) drop(refs []droppedRef) {
	if len(refs) == 0 {
		return
	}
	if !f.running() {
		for _, r := range refs {
			r.file.DecRef(r.fr)
		}
		return
	}
	f.mu.Lock()
	e := f.epoch.Load()
	f.dropped[e&1] = append(f.dropped[e&1], refs...)
	f.pending.Store(true)
	f.mu.Unlock()
	f.settle()
}

// settle ends epochs whose I/O is over.
func (f *inflight) settle() {
	for {
		var free []droppedRef
		f.mu.Lock()
		e := f.epoch.Load()
		if old := (e - 1) & 1; f.count[old].Load() == 0 {
			free = f.dropped[old]
			f.dropped[old] = nil
			if len(f.dropped[e&1]) > 0 {
				f.epoch.Store(e + 1)
			}
		}
		more := f.epoch.Load() != e
		f.pending.Store(len(f.dropped[0])+len(f.dropped[1]) > 0)
		f.mu.Unlock()
		for _, r := range free {
			r.file.DecRef(r.fr)
		}
		if !more {
			return
		}
	}
}
