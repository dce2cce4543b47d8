package socket

import (
	"sync"

	"runsc/pkg/sentry/usermem"
)

// Source is a message in an application's memory, consumed as it is read. It is a
// tcpip.Source.
type Source struct{ seq usermem.Sequence }

// Sink is where a message goes to in an application's memory. It is a tcpip.Sink.
type Sink struct{ seq usermem.Sequence }

// The pools are caches only: an interface wants a pointer, and a call shall not allocate.
var (
	sources = sync.Pool{New: func() any { return new(Source) }}
	sinks   = sync.Pool{New: func() any { return new(Sink) }}
)

// NewSource returns a Source of the bytes of seq. Free gives it back.
func NewSource(seq usermem.Sequence) *Source {
	s := sources.Get().(*Source)
	s.seq = seq
	return s
}

// Len is the number of bytes that are left.
func (s *Source) Len() int { return s.seq.Len() }

// Read fills b from the front of what is left. EFAULT.
func (s *Source) Read(b []byte) (int, error) {
	n, err := s.seq.CopyIn(b)
	s.seq = s.seq.DropFirst(n)
	return n, err
}

// Free gives up s.
func (s *Source) Free() {
	s.seq = usermem.Sequence{}
	sources.Put(s)
}

// NewSink returns a Sink that fills seq. Free gives it back.
func NewSink(seq usermem.Sequence) *Sink {
	s := sinks.Get().(*Sink)
	s.seq = seq
	return s
}

// Len is the room that is left in bytes.
func (s *Sink) Len() int { return s.seq.Len() }

// Write appends b, as much as there is room for. EFAULT.
func (s *Sink) Write(b []byte) (int, error) {
	n, err := s.seq.CopyOut(b)
	s.seq = s.seq.DropFirst(n)
	return n, err
}

// Skip leaves the next n bytes as they are.
func (s *Sink) Skip(n int) { s.seq = s.seq.DropFirst(n) }

// Free gives up s.
func (s *Sink) Free() {
	s.seq = usermem.Sequence{}
	sinks.Put(s)
}
