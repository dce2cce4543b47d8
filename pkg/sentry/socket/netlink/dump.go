package netlink

import (
	"golang.org/x/sys/unix"
)

// dumper is what is left of the answer to a request for everything of a kind.
type dumper interface {
	// emit appends the next message, or nothing if the next entry is not wanted, and returns
	// false at the end. h has all but the type.
	emit(w *builder, h header) bool
}

// dump is a dumper at work. It belongs to its socket.
type dump struct {
	dumper
	h header
	// rest is a message that did not fit in the last datagram.
	rest []byte
}

// Sizes of the datagrams of a dump in bytes: the smallest buffer that readers have, and what is
// given to those who offer more.
const (
	dumpSmall = 3776
	dumpLarge = 32 << 10
)

// startDump begins to answer r by d. EBUSY: another dump is not yet at its end.
func (r *request) startDump(d dumper) error {
	s := r.s
	s.mu.Lock()
	if s.dump != nil {
		s.mu.Unlock()
		return unix.EBUSY
	}
	h := r.reply(0)
	h.flags = unix.NLM_F_MULTI
	s.dump = &dump{dumper: d, h: h}
	ready := s.continueDump()
	s.mu.Unlock()
	if ready {
		r.s.notifyReadable()
	}
	return errDumping
}

// continueDump queues the next datagram of the dump and says whether it did. mu is held.
func (s *Socket) continueDump() bool {
	d := s.dump
	limit := min(max(s.largest, dumpSmall), dumpLarge)
	w := builder{b: d.rest}
	d.rest = nil
	for {
		at := len(w.b)
		if !d.emit(&w, d.h) {
			h := d.h
			h.typ = unix.NLMSG_DONE
			w.begin(h)
			w.u32(0)
			w.end()
			s.dump = nil
			break
		}
		if len(w.b) > limit && at > 0 {
			d.rest = append([]byte(nil), w.b[at:]...)
			w.b = w.b[:at]
			break
		}
	}
	if !s.push(datagram{data: w.b}) {
		s.dump = nil // the reader is told that something is missing
		return false
	}
	return true
}

// listDump is what dumpers have in common: a list and how far it has been shown.
type listDump[T any] struct {
	list []T
	at   int
}

// next returns the next entry; false: there is none.
func (l *listDump[T]) next() (v T, ok bool) {
	if l.at == len(l.list) {
		return v, false
	}
	v = l.list[l.at]
	l.at++
	return v, true
}
