// Package memmap says what can be mapped into an application's address space.
//
// Three parties meet here. A Mappable is an object whose content can appear in memory: the
// inode of a regular file, a shared anonymous segment, a System V segment. A File is where
// such content lies on the host: the sentry's memory file (pgalloc) or a host file that the
// gofer donated. A MappingSpace is an address space (mm) that maps Mappables and has to be
// told when a translation no longer holds.
//
// The way of a page fault: mm finds the VMA, asks its Mappable to Translate a range of file
// offsets to ranges of Files, takes a reference on them (File.IncRef), and gives them to the
// platform to map.
//
// Lock order: mm's mapping lock → mm's active lock → the Mappable's own locks → File.
// MappingSpace.Invalidate is called with the Mappable's locks held for its mappings list
// only, never with a lock that Translate needs while mm holds its own (see there).
package memmap

import "runsc/pkg/sentry/usermem"

// PageSize is the only page size that mappings know, in bytes.
const PageSize = 4096

// PageDown rounds down to a page boundary, PageUp up (wrapping to 0 at the top).
func PageDown[T ~uintptr | ~uint64 | ~int64](x T) T { return x &^ (PageSize - 1) }

// PageUp rounds up to a page boundary.
func PageUp[T ~uintptr | ~uint64 | ~int64](x T) T { return (x + PageSize - 1) &^ (PageSize - 1) }

// AccessType says how memory is, or may be, used.
type AccessType struct{ Read, Write, Execute bool }

// The usual access types.
var (
	NoAccess  = AccessType{}
	Read      = AccessType{Read: true}
	Write     = AccessType{Write: true}
	Execute   = AccessType{Execute: true}
	ReadWrite = AccessType{Read: true, Write: true}
	AnyAccess = AccessType{Read: true, Write: true, Execute: true}
)

// SupersetOf says whether a allows all that b asks.
func (a AccessType) SupersetOf(b AccessType) bool {
	return (a.Read || !b.Read) && (a.Write || !b.Write) && (a.Execute || !b.Execute)
}

// Intersect allows what both allow.
func (a AccessType) Intersect(b AccessType) AccessType {
	return AccessType{a.Read && b.Read, a.Write && b.Write, a.Execute && b.Execute}
}

// Any says whether anything is allowed.
func (a AccessType) Any() bool { return a.Read || a.Write || a.Execute }

// Prot is the PROT_* word of mmap(2).
func (a AccessType) Prot() int {
	p := 0
	if a.Read {
		p |= 1
	}
	if a.Write {
		p |= 2
	}
	if a.Execute {
		p |= 4
	}
	return p
}

// String is like "rw-".
func (a AccessType) String() string {
	b := []byte("---")
	if a.Read {
		b[0] = 'r'
	}
	if a.Write {
		b[1] = 'w'
	}
	if a.Execute {
		b[2] = 'x'
	}
	return string(b)
}

// Range is the half-open range [Start, End) of byte offsets in a File or a Mappable.
type Range struct{ Start, End uint64 }

// Length is the number of bytes in the range.
func (r Range) Length() uint64 { return r.End - r.Start }

// IsSupersetOf says whether o lies wholly in r.
func (r Range) IsSupersetOf(o Range) bool { return r.Start <= o.Start && o.End <= r.End }

// Overlaps says whether the ranges share a byte.
func (r Range) Overlaps(o Range) bool { return r.Start < o.End && o.Start < r.End }

// Intersect is the part that both share, empty if there is none.
func (r Range) Intersect(o Range) Range {
	r.Start, r.End = max(r.Start, o.Start), min(r.End, o.End)
	if r.End < r.Start {
		r.End = r.Start
	}
	return r
}

// File is host memory: offsets of one host file descriptor. Ranges are page-aligned.
type File interface {
	// FD is the host descriptor that a platform maps. It stays open while any
	// reference on the file's ranges is held.
	FD() int
	// Blocks appends to dst slices of the sentry's address space that show fr, and
	// returns it. The slices stay valid while a reference on fr is held. EFAULT-safe
	// access only (see usermem).
	Blocks(fr Range, at AccessType, dst [][]byte) ([][]byte, error)
	// IncRef and DecRef count users of the pages in fr.
	IncRef(fr Range)
	DecRef(fr Range)
}

// Translation maps Source, offsets of a Mappable, to File at Offset, with Perms at most.
type Translation struct {
	Source Range
	File   File
	Offset uint64
	Perms  AccessType
}

// FileRange is the range of File for src, which lies in Source.
func (t Translation) FileRange(src Range) Range {
	d := t.Offset - t.Source.Start
	return Range{src.Start + d, src.End + d}
}

// Mappable is what a VMA can show. Ranges are page-aligned offsets of the object.
type Mappable interface {
	// AddMapping tells the object that ms maps offsets from offset on at ar, possibly
	// writable (for files that deny writes and for dirty tracking).
	AddMapping(ms MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) error
	// RemoveMapping undoes AddMapping for ar, a part of what was added.
	RemoveMapping(ms MappingSpace, ar usermem.AddrRange, offset uint64, writable bool)
	// CopyMapping tells that what was mapped at src is now mapped at dst too (fork,
	// mremap).
	CopyMapping(ms MappingSpace, src, dst usermem.AddrRange, offset uint64, writable bool) error
	// Translate returns, appended to dst in rising order and without gaps from
	// required.Start, translations that cover as much of optional (⊇ required) as is
	// cheap. If required is not covered, the error says why: SIGBUS is raised for EFAULT
	// by the caller when the offset lies beyond the end of the object. The caller takes
	// references on the Files before it lets go of the lock that excludes Invalidate.
	Translate(required, optional Range, at AccessType, dst []Translation) ([]Translation, error)
}

// MappingSpace is an address space as a Mappable sees it.
type MappingSpace interface {
	// Invalidate forgets all translations in ar (truncate, hole punching); private
	// copies (copy-on-write pages) go too if private is set. The next access faults.
	Invalidate(ar usermem.AddrRange, private bool)
}
