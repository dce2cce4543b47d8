package mm

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
)

// sharedAnon is memory of MAP_SHARED|MAP_ANONYMOUS: a range of the memory file that every
// mapping of it shows. It is its own Identity; the last reference frees the memory.
type sharedAnon struct {
	mf   *pgalloc.MemoryFile
	fr   memmap.Range
	ino  uint64
	refs atomic.Int64
}

var sharedAnonInodes atomic.Uint64

// newSharedAnon makes a segment of length bytes with one reference.
func newSharedAnon(mf *pgalloc.MemoryFile, length uint64) (*sharedAnon, error) {
	fr, err := mf.Allocate(length, pgalloc.AllocOpts{})
	if err != nil {
		return nil, err
	}
	s := &sharedAnon{mf: mf, fr: fr, ino: 0x1000 + sharedAnonInodes.Add(1)}
	s.refs.Store(1)
	return s, nil
}

// AddMapping implements memmap.Mappable.
func (*sharedAnon) AddMapping(memmap.MappingSpace, usermem.AddrRange, uint64, bool) error { return nil }

// RemoveMapping implements memmap.Mappable.
func (*sharedAnon) RemoveMapping(memmap.MappingSpace, usermem.AddrRange, uint64, bool) {}

// CopyMapping implements memmap.Mappable.
func (*sharedAnon) CopyMapping(_ memmap.MappingSpace, _, _ usermem.AddrRange, _ uint64, _ bool) error {
	return nil
}

// Translate implements memmap.Mappable. mremap can make a mapping longer than the segment;
// the rest raises SIGBUS as in Linux.
func (s *sharedAnon) Translate(required, optional memmap.Range, _ memmap.AccessType, dst []memmap.Translation) ([]memmap.Translation, error) {
	src := optional.Intersect(memmap.Range{End: s.fr.Length()})
	if src.Length() > 0 {
		dst = append(dst, memmap.Translation{Source: src, File: s.mf, Offset: s.fr.Start + src.Start, Perms: memmap.AnyAccess})
	}
	if !src.IsSupersetOf(required) {
		return dst, unix.EFAULT
	}
	return dst, nil
}

// PunchHole implements memmap.HolePuncher.
func (s *sharedAnon) PunchHole(r memmap.Range) error {
	r = r.Intersect(memmap.Range{End: s.fr.Length()})
	if r.Length() > 0 {
		s.mf.Decommit(memmap.Range{Start: s.fr.Start + r.Start, End: s.fr.Start + r.End})
	}
	return nil
}

// MappedName implements memmap.Identity.
func (*sharedAnon) MappedName() string { return "/dev/zero (deleted)" }

// DeviceID implements memmap.Identity.
func (*sharedAnon) DeviceID() uint64 { return 1 }

// InodeID implements memmap.Identity.
func (s *sharedAnon) InodeID() uint64 { return s.ino }

// IncRef implements memmap.Identity.
func (s *sharedAnon) IncRef() { s.refs.Add(1) }

// DecRef implements memmap.Identity.
func (s *sharedAnon) DecRef() {
	if n := s.refs.Add(-1); n == 0 {
		s.mf.DecRef(s.fr)
	} else if n < 0 {
		panic("mm: more references of a shared segment dropped than taken")
	}
}
